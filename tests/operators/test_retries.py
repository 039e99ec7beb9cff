"""Jobs that retry dead letters: bounded, one job at a time, continued after restarts, each dead letter only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from crmgate.errors import JobRunning, NoSuchOperation, Rejected, Unavailable
from crmgate.model import State
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import BATCH, Retries
from crmgate.store.audit import Audit
from tests.dead_letters import add_dead_letters
from tests.world import World


@pytest.fixture
def desk(world: World, redis_client: redis.Redis) -> Desk:
    retries = Retries(redis_client, world.ledger, Inventory(redis_client), world.delivery.recipient)
    return Desk(world.ledger, world.gateway, world.delivery, retries)


def finish(world: World, desk: Desk, seconds: float = 120) -> None:
    """Let the worker work until no job runs."""
    until = world.now + seconds
    while desk.retries.step() is not None:
        assert world.now < until
        world.pass_time(0.5)
    world.pass_time(1)


def test_a_preview_changes_nothing(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 5)
    world.now += 100
    count, fixed = desk.retries.preview(Filter())
    assert (count.number, count.exact, fixed.dead_before) == (5, True, world.now)
    assert world.ledger.stats()["dead_letters"] == 5
    assert desk.retries.current() is None
    assert desk.retries.step() is None


def test_every_one_is_delivered_once_the_oldest_first(world: World, desk: Desk) -> None:
    made = add_dead_letters(world.ledger, 130)
    world.now += 500
    job = desk.start_retries(Filter(), "ada")
    assert (job.state, job.total, job.who) == ("running", 130, "ada")
    finish(world, desk)
    assert list(world.crm.records) == made  # which also says: none twice
    done = desk.retries.get(job.id)
    assert done is not None
    assert (done.state, done.seen, done.released) == ("finished", 130, 130)
    assert world.ledger.stats()["dead_letters"] == 0


def test_a_batch_is_bounded_and_waits_until_there_is_room(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 130)
    world.now += 500
    job = desk.start_retries(Filter(), "ada")
    for _ in range(5):
        desk.retries.step()
    stats = world.ledger.stats()
    assert stats["dead_letters"] >= 130 - BATCH - 4  # 4 may be under way
    assert stats["waiting"] <= BATCH + 4
    world.pass_time(1)
    assert desk.retries.step()
    assert desk.retries.get(job.id).released > BATCH  # type: ignore[union-attr]


def test_while_the_crm_is_unavailable_no_further_ones_are_sent(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 130)
    world.now += 500
    world.crm.trouble = lambda _operation: Unavailable("down")
    desk.start_retries(Filter(), "ada")
    for _ in range(200):
        desk.retries.step()
        world.pass_time(0.5)
    assert world.ledger.stats()["dead_letters"] >= 130 - 2 * BATCH
    world.crm.trouble = lambda _operation: None
    finish(world, desk, 300)
    world.pass_time(60)
    assert len(world.crm.records) == 130


def test_operations_tried_at_a_shut_gate_take_room_too(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 3)
    world.now += 500
    world.redis.zadd("{crmgate}:tried:acme", {f"{number}": world.now for number in range(BATCH)})
    desk.start_retries(Filter(), "ada")
    assert desk.retries.step() == 0
    assert world.ledger.stats()["dead_letters"] == 3


def test_only_matching_dead_letters_are_retried(world: World, desk: Desk) -> None:
    kept = add_dead_letters(world.ledger, 40, code="duplicate")
    made = add_dead_letters(world.ledger, 70, code="timeout", at=world.now + 0.5)
    world.now += 500
    count, fixed = desk.retries.preview(Filter(code="timeout"))
    assert count.number == 70
    job = desk.start_retries(fixed, "ada")
    finish(world, desk)
    assert list(world.crm.records) == made
    assert world.states([world.stored(i) for i in kept]) == {"dead"}
    done = desk.retries.get(job.id)
    assert done is not None
    assert (done.total, done.seen, done.released) == (70, 70, 70), "the index has only those"


def test_a_job_ignores_dead_letters_after_its_preview(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 3)
    world.now += 500
    _, fixed = desk.retries.preview(Filter())
    later = add_dead_letters(world.ledger, 2, at=world.now + 1)
    world.now += 10
    world.crm.trouble = lambda _operation: Rejected("no")
    job = desk.start_retries(fixed, "ada")
    finish(world, desk)
    assert desk.retries.get(job.id).released == 3  # type: ignore[union-attr]
    assert world.ledger.stats()["dead_letters"] == 5
    assert all(len(world.stored(i).events) == 1 for i in later)


def test_a_time_to_come_is_not_waited_for(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 3)
    world.now += 500
    world.crm.trouble = lambda _operation: Rejected("no")
    job = desk.start_retries(Filter(dead_before=world.now + 10_000), "ada")
    finish(world, desk)
    assert desk.retries.get(job.id).released == 3  # type: ignore[union-attr]


def test_one_job_runs_at_a_time(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 3)
    world.now += 500
    job = desk.start_retries(Filter(), "ada")
    with pytest.raises(JobRunning) as refused:
        desk.start_retries(Filter(), "bob")
    assert refused.value.job == job.id
    finish(world, desk)
    assert desk.start_retries(Filter(), "bob").id != job.id


def test_a_cancelled_job_does_nothing_more(world: World, desk: Desk) -> None:
    add_dead_letters(world.ledger, 130)
    world.now += 500
    job = desk.start_retries(Filter(), "ada")
    desk.retries.step()
    ended = desk.cancel_retries(job.id, "bob")
    assert (ended.state, ended.ended_at) == ("cancelled", world.now)
    finish(world, desk)
    assert len(world.crm.records) == ended.released < 130
    assert desk.cancel_retries(job.id, "bob").state == "cancelled"
    with pytest.raises(NoSuchOperation):
        desk.cancel_retries("0" * 32, "bob")


def meanwhile(world: World, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Run an action between the selection of a batch and its release."""
    original, acted = world.ledger.release_batch, []

    def release_batch(*arguments: Any, **options: Any) -> Any:
        if not acted:
            acted.append(True)
            act()
        return original(*arguments, **options)

    monkeypatch.setattr(world.ledger, "release_batch", release_batch)


def test_of_two_workers_one_goes_on(world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    add_dead_letters(world.ledger, 70)
    world.now += 500
    job = desk.start_retries(Filter(), "ada")
    meanwhile(world, monkeypatch, desk.retries.step)
    assert desk.retries.step() == 0
    stands = desk.retries.get(job.id)
    assert stands is not None
    assert (stands.state, stands.seen, stands.released) == ("running", BATCH, BATCH)


def test_an_operation_discarded_meanwhile_stays_discarded(
    world: World, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add_dead_letters(world.ledger, 5)
    world.now += 500
    job = desk.start_retries(Filter(), "ada")
    meanwhile(world, monkeypatch, lambda: desk.discard(made[2], "a test", "bob"))
    finish(world, desk)
    assert world.stored(made[2]).state == "discarded"
    done = desk.retries.get(job.id)
    assert done is not None
    assert (done.seen, done.released, len(world.crm.records)) == (5, 4, 4)


def test_another_process_goes_on_with_it(world: World, desk: Desk, redis_client: redis.Redis) -> None:
    made = add_dead_letters(world.ledger, 70)
    world.now += 500
    desk.start_retries(Filter(), "ada")
    desk.retries.step()
    desk.retries = Retries(redis_client, world.ledger, Inventory(redis_client), world.delivery.recipient)
    finish(world, desk)
    assert list(world.crm.records) == made


def test_those_of_one_person_are_sent_one_after_another(world: World, desk: Desk) -> None:
    world.crm.trouble = lambda _operation: Rejected("no")
    letters = []
    for session in ("", "s1", "s2"):
        letters.append(world.apply(1, session=session))
        world.pass_time(1)  # they are retried in the order in which they died
    assert world.states(letters) == {State.DEAD}
    world.crm.trouble = lambda _operation: None
    desk.start_retries(Filter(), "ada")
    assert desk.retries.step() == 3
    assert [world.stored(letter).behind for letter in letters] == ["", letters[0].id, letters[1].id]
    finish(world, desk)
    assert list(world.crm.records) == [letter.id for letter in letters]


def test_every_change_is_in_the_audit_log(world: World, desk: Desk, redis_client: redis.Redis) -> None:
    [one, two, three] = add_dead_letters(world.ledger, 3)
    desk.retry(one, "ada")
    desk.discard(two, "a test of Jane Doe", "ada")
    desk.amend(desk.get(three), {"first_name": "Jane", "email": "test2@example.com"}, "bob")
    job = desk.start_retries(Filter(), "bob")
    desk.cancel_retries(job.id, "ada")
    entries = [(entry.who, entry.what, entry.on) for entry in reversed(Audit(redis_client).recent())]
    assert entries == [
        ("ada", "dead_letters.retry", one), ("ada", "dead_letters.discard", two), ("bob", "dead_letters.edit", three),
        ("bob", "dead_letters.retries.start", job.id), ("ada", "dead_letters.retries.cancel", job.id),
    ]  # fmt: skip
    assert all("Jane" not in entry.detail for entry in Audit(redis_client).recent())

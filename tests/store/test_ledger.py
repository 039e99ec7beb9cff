"""The ledger on a real Redis: what it holds it never lets go of, and only one holder at a time may speak for it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.model import Activity, State, Suspicion
from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.entries import Claim, NotClaimed, Result, Written
from crmgate.store.figures import Figures
from crmgate.store.gate import Gate
from crmgate.store.keys import RECEIPT_SECONDS, WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.ledger import Ledger
from crmgate.store.scripts import ALARM_GRACE
from crmgate.store.wakeups import wake_message
from tests.processes import RedisProcess
from tests.store.steps import (
    AWAY,
    ESPO,
    FAILED,
    INVALID,
    NOW,
    RECORD,
    REFUSED,
    WELL,
    accept,
    alarm,
    claim,
    lease,
    operation,
    stored,
    sweep,
    verify,
)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """A ledger whose clock stands."""
    ledger.clock = lambda: NOW
    return ledger


def test_accepting_twice_keeps_the_first(ledger: Ledger) -> None:
    first = accept(ledger)
    assert ledger.accept(replace(first, payload={"first_name": "Other"}), ESPO, alarm=0).what == "exists"
    assert ledger.get(first.id) == first
    assert ledger.stats()["accepted"] == 1


def test_accepted_operation_can_be_read_back_whole(ledger: Ledger) -> None:
    accepted = accept(ledger)
    assert ledger.get(accepted.id) == accepted


def test_accept_wakes_a_worker_in_the_same_step(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = operation()
    assert ledger.accept(accepted, ESPO, alarm=0).what == "accepted"
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(accepted.id)]


def test_no_key_of_an_unfinished_operation_expires(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, delay=5, look=False)
    figures = (keys.hour("").encode(), keys.day("").encode())
    names = [name for name in redis_client.scan_iter() if not name.startswith(figures)]
    assert {redis_client.ttl(name) for name in names} == {-1}


def test_every_key_shares_the_hash_tag(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, delay=5, look=False, wake=True)
    claim(ledger, accepted.id, "L2", NOW + 5)
    ledger.record_held(lease(accepted, "L2"), ESPO, REFUSED, look=False)
    ledger.beat("w")
    names = redis_client.keys()
    assert len(names) == 15
    assert all(name.startswith(b"{crmgate}:") for name in names)


def test_only_one_of_many_gets_the_lease(ledger: Ledger) -> None:
    accepted = accept(ledger)
    answers: list[Claim | NotClaimed] = []
    barrier = threading.Barrier(16)

    def compete(number: int) -> None:
        barrier.wait()
        answers.append(claim(ledger, accepted.id, f"L{number}"))

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(answer, Claim) for answer in answers) == 1
    assert answers.count(NotClaimed("leased")) == 15


def test_claim_repeated_by_its_holder_is_granted_again(ledger: Ledger) -> None:
    """The client repeats a command whose answer was lost with the connection."""
    accepted = accept(ledger)
    assert isinstance(claim(ledger, accepted.id, "L1"), Claim)
    assert isinstance(claim(ledger, accepted.id, "L1"), Claim)


def test_a_lease_that_ran_out_is_taken_over_and_the_crm_is_asked_first(ledger: Ledger) -> None:
    accepted = accept(ledger)
    first = claim(ledger, accepted.id, "L1")
    assert isinstance(first, Claim)
    assert not first.look_first
    assert claim(ledger, accepted.id, "L2", NOW + 19) == NotClaimed("leased")
    second = claim(ledger, accepted.id, "L2", NOW + 21)
    assert isinstance(second, Claim)
    assert second.look_first


def test_an_inline_lease_is_taken_with_the_accept(ledger: Ledger) -> None:
    accepted = accept(ledger, lease="WEB", seconds=8)
    assert claim(ledger, accepted.id, "L1", NOW + 7) == NotClaimed("leased")
    late = claim(ledger, accepted.id, "L1", NOW + 9)
    assert isinstance(late, Claim)
    assert late.look_first


def test_the_holder_of_a_lost_lease_cannot_report_a_failure(ledger: Ledger) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id, "L1")
    claim(ledger, accepted.id, "L2", NOW + 21)
    late = lease(accepted, "L1")
    assert ledger.record_waiting(late, ESPO, AWAY, delay=99, look=False).written is Written.LOST
    assert ledger.record_held(late, ESPO, REFUSED, look=False).written is Written.LOST
    assert ledger.record_dead(late, ESPO, INVALID, look=False).written is Written.LOST
    assert ledger.gate(ESPO) == Gate(), "nor does it say anything about the provider"
    stored = ledger.get(accepted.id)
    assert stored is not None
    assert (stored.state, stored.events) == (State.DELIVERING, ())


def test_a_confirmation_is_recorded_without_the_lease(ledger: Ledger) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id, "L1")
    claim(ledger, accepted.id, "L2", NOW + 21)
    assert ledger.record_delivered(lease(accepted, "L1"), ESPO, WELL, RECORD).written is Written.DELIVERED
    assert ledger.record_delivered(lease(accepted, "L2"), ESPO, WELL, RECORD).written is Written.ENDED
    assert ledger.stats()["delivered"] == 1


def test_a_delivered_operation_leaves_a_receipt_without_personal_data(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_delivered(lease(accepted, "L1"), ESPO, WELL, RECORD)
    receipt = ledger.get(accepted.id)
    assert receipt is not None
    assert (receipt.state, receipt.delivered, receipt.payload) == ("delivered", RECORD, {})
    assert receipt.events == (WELL.attempt,)
    key = f"{{crmgate}}:op:{accepted.id}"
    assert 0 < redis_client.ttl(key) <= RECEIPT_SECONDS  # type: ignore[operator]
    assert b"canary" not in b"".join(redis_client.hgetall(key).values())  # type: ignore[union-attr]
    assert alarm(redis_client, accepted.id) is None
    assert claim(ledger, accepted.id, "L2") == NotClaimed("delivered")


def test_a_waiting_operation_is_claimed_when_due_and_not_before(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, delay=5, look=True)
    assert alarm(redis_client, accepted.id) == NOW + 5 + ALARM_GRACE
    assert claim(ledger, accepted.id, "L2", NOW + 4.9) == NotClaimed("early")
    again = claim(ledger, accepted.id, "L2", NOW + 5)
    assert isinstance(again, Claim)
    assert (again.look_first, again.counted, again.operation.events) == (True, 1, (FAILED.attempt,))


def test_a_failed_inline_attempt_schedules_its_retry_in_the_same_step(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    accepted = accept(ledger, lease="WEB", seconds=8)
    message = wake_message(accepted.id)
    ledger.record_waiting(lease(accepted, "WEB"), ESPO, FAILED, delay=1, look=False, wake=True)
    assert redis_client.zrange(WAKE_SCHEDULE, 0, -1, withscores=True) == [(message, NOW + 1)]


def test_only_an_operation_whose_attempt_decided_so_becomes_a_dead_letter(ledger: Ledger) -> None:
    accepted = accept(ledger)
    assert not ledger.make_dead_letter(accepted.id)
    claim(ledger, accepted.id)
    assert ledger.record_dead(lease(accepted, "L1"), ESPO, FAILED, look=False).written is Written.DEAD
    assert claim(ledger, accepted.id, "L2") == NotClaimed("exhausted")
    assert ledger.make_dead_letter(accepted.id)
    assert not ledger.make_dead_letter(accepted.id)
    letter = ledger.get(accepted.id)
    assert letter is not None
    assert ledger.stats()["dead_letters"] == 1
    assert (letter.id, letter.state, letter.payload, letter.events) == (
        accepted.id,
        "dead",
        accepted.payload,
        (FAILED.attempt,),
    )
    assert claim(ledger, accepted.id, "L2", NOW + 99) == NotClaimed("dead")
    assert ledger.stats()["dead"] == 1


def test_an_unknown_operation_is_not_claimed_and_leaves_no_alarm(ledger: Ledger, redis_client: redis.Redis) -> None:
    redis_client.zadd("{crmgate}:due", {"nope": NOW})
    assert claim(ledger, "nope") == NotClaimed("unknown")
    assert alarm(redis_client, "nope") is None


def test_the_sweep_wakes_what_is_due_once_a_round(ledger: Ledger, redis_client: redis.Redis) -> None:
    verify(ledger)
    due, later = accept(ledger, alarm=-1), accept(ledger, alarm=10)
    redis_client.delete(WAKE_LIST)
    assert sweep(ledger, NOW, again=30).woken == 1
    assert sweep(ledger, NOW, again=30).woken == 0
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(due.id)]
    assert (alarm(redis_client, due.id), alarm(redis_client, later.id)) == (NOW + 30, NOW + 10)


def test_the_sweep_does_not_pile_wakeups_up(ledger: Ledger, redis_client: redis.Redis) -> None:
    verify(ledger)
    for _ in range(5):
        accept(ledger)
    redis_client.delete(WAKE_LIST)
    assert sweep(ledger, NOW, again=30, limit=3).woken == 3
    assert sweep(ledger, NOW, again=30, limit=3).woken == 0
    redis_client.delete(WAKE_LIST)
    assert sweep(ledger, NOW, again=30, limit=3).woken == 2


def test_a_suspect_that_nobody_releases_is_discarded_with_its_payload(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    """The old one goes, the young one stays; a released one is no suspect; at most 100 go in one sweep."""
    day = 86_400
    ages = {"old": 31, "released": 31, "young": 29}
    kept = {
        name: accept(ledger, at=NOW - age * day, suspect=Suspicion.INCOMPLETE).id for name, age in ages.items()
    }  # fmt: skip
    assert ledger.release(kept["released"], ESPO)
    sweep(ledger, NOW)
    found = {name: stored(ledger, each) for name, each in kept.items()}
    assert [each.state for each in found.values()] == ["discarded", "waiting", "suspect"]
    assert (found["old"].payload, found["old"].suspicion) == ({}, Suspicion.INCOMPLETE)
    assert found["old"].events[-1].detail == "nobody released it within 30 days"
    assert 0 < redis_client.ttl(keys.op(kept["old"])) <= keys.DROPPED_SECONDS
    assert ledger.stats()["suspects_expired"] == 1
    for _ in range(101):
        accept(ledger, at=NOW - 40 * day, suspect=Suspicion.FAST)
    sweep(ledger, NOW, suspects=39 * day)
    assert redis_client.zcard(keys.SUSPECT) == 2, "the young one, and one for the next sweep"


def test_many_attempts_keep_the_first_and_the_last(ledger: Ledger) -> None:
    accepted = accept(ledger)
    for number in range(120):
        assert isinstance(claim(ledger, accepted.id, f"L{number}", NOW + number), Claim)
        attempt = Result(replace(FAILED.attempt, at=float(number), counted=False))
        ledger.record_waiting(lease(accepted, f"L{number}"), ESPO, attempt, delay=number + 1, look=False)
    stored = ledger.get(accepted.id)
    assert stored is not None
    times = [attempt.at for attempt in stored.events]
    assert times == [*range(10), *range(80, 120)]


def test_workers_are_seen_while_they_beat(ledger: Ledger) -> None:
    ledger.beat("a")
    ledger.clock = lambda: NOW + 20
    ledger.beat("b")
    ledger.clock = lambda: NOW + 31
    assert ledger.workers_seen(30) == 1
    ledger.leave("b")
    assert ledger.workers_seen(30) == 0


def test_an_unavailable_redis_is_reported_without_the_payload(redis_process: RedisProcess) -> None:
    ledger = Ledger(connect("redis://127.0.0.1:1/0", 0.2), wake_message)
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.accept(operation(), ESPO, alarm=0)
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_lost_clicks_are_counted_and_remembered_for_a_while(ledger: Ledger, redis_client: redis.Redis) -> None:
    ledger.count_click(Activity("telegram"))
    figures = Figures(redis_client)
    figures.count_lost_clicks({"full": 2})
    figures.count_lost_clicks({"full": 1, "stopped": 1})
    assert figures.lost_clicks() == {"full": 3, "stopped": 1}
    assert {"clicks:telegram": 1, "clicks_lost": 4}.items() <= ledger.stats().items()
    assert 0 < redis_client.ttl("{crmgate}:clicks_lost") <= 900  # type: ignore[operator]

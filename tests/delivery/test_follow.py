"""A delivery takes the next operation along: in which order, until when, and what happens if that one fails."""

from __future__ import annotations

import time

import pytest

from crmgate.delivery.outcome import Following, Outcome
from crmgate.errors import Rejected
from crmgate.model import Kind, Operation, State
from crmgate.policy import Dead, Retry
from crmgate.store.keys import WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.wakeups import wake_message
from tests.world import Crm, World, away, well


def ready(world: World) -> None:
    """Let the credentials prove themselves: until then one operation is tried at a time."""
    world.apply(99, inline=True)


def first_of(world: World, number: int) -> tuple[Outcome, list[Operation]]:
    """Accept `number` operations, one a second, and attempt the first."""
    operations = []
    for each in range(number):
        operations.append(world.apply(each))
        world.now += 1
    world.redis.rpop(WAKE_LIST)
    return world.delivery.attempt(operations[0].id, more=lambda: True), operations


def drain(world: World, outcome: Outcome, most: int = 100) -> list[str]:
    """Follow until nothing follows, or `most` operations were attempted; their ids in order."""
    ids: list[str] = []
    while outcome.following:
        ids.append(outcome.following.claim.operation.id)
        outcome = world.delivery.follow(outcome.following, more=lambda: len(ids) < most)
    return ids


def test_one_wakeup_delivers_everything_that_waits_in_order(world: World) -> None:
    ready(world)
    outcome, operations = first_of(world, 30)
    assert drain(world, outcome) == [operation.id for operation in operations[1:]]
    assert world.states(operations) == {State.DELIVERED}
    assert list(world.crm.records)[1:] == [operation.id for operation in operations]
    assert world.redis.llen(WAKE_LIST) == 0


def test_nothing_is_taken_once_the_caller_stops(world: World) -> None:
    ready(world)
    outcome, operations = first_of(world, 5)
    assert len(drain(world, outcome, most=2)) == 2
    assert [world.stored(operation).state for operation in operations[:3]] == [State.DELIVERED] * 3
    assert not {State.DELIVERING, State.DELIVERED} & world.states(operations[3:])
    world.work()
    assert world.states(operations) == {State.DELIVERED}


def test_one_that_fails_is_retried_by_the_schedule_of_the_ledger(world: World) -> None:
    ready(world)
    outcome, operations = first_of(world, 3)
    assert outcome.following
    world.crm.trouble = away
    failed = world.delivery.follow(outcome.following, more=lambda: True)
    assert isinstance(failed.verdict, Retry)
    assert failed.following is None
    due = world.redis.zscore(WAKE_SCHEDULE, wake_message(operations[1].id))
    assert due == pytest.approx(world.now + failed.verdict.delay)
    world.crm.trouble = well
    world.pass_time(3)
    assert world.states(operations) == {State.DELIVERED}


def test_one_that_is_refused_becomes_a_dead_letter(world: World) -> None:
    ready(world)
    outcome, operations = first_of(world, 2)
    assert outcome.following
    world.crm.trouble = lambda _operation: Rejected("no", fields={"city": "no"})
    assert isinstance(world.delivery.follow(outcome.following).verdict, Dead)
    assert world.stored(operations[1]).state == State.WAITING
    world.work()
    assert world.stored(operations[1]).state == State.DEAD


def test_a_process_that_is_killed_with_an_operation_only_delays_it(world: World) -> None:
    ready(world)
    outcome, operations = first_of(world, 2)
    assert outcome.following  # nobody attempts it
    world.pass_time(world.delivery.plan.longest_lease + 12)
    assert world.states(operations) == {State.DELIVERED}


def test_nothing_is_sent_after_the_deadline(world: World) -> None:
    ready(world)
    outcome, operations = first_of(world, 2)
    assert outcome.following
    late = Following(outcome.following.claim, time.monotonic() - 0.001)
    before = len(world.crm.sent)
    assert isinstance(world.delivery.follow(late).verdict, Retry)
    assert len(world.crm.sent) == before
    world.pass_time(3)
    assert world.states(operations) == {State.DELIVERED}


def test_the_deadline_is_that_of_the_worker_from_before_the_lease(world: World) -> None:
    ready(world)
    before = time.monotonic()
    outcome, _ = first_of(world, 2)
    assert outcome.following
    assert before < outcome.following.deadline < time.monotonic() + world.delivery.plan.worker_budget


def test_a_delivery_to_another_crm_takes_nothing(world: World) -> None:
    """What waits is for the active CRM."""
    world.apply(1, session="s1", inline=True)
    update = world.click("s1")
    assert update.kind == Kind.LOG_ACTIVITY
    old = world.crm
    world.other = {"acme": old}
    world.use(Crm(world, "other"))
    ready(world)
    waiting = world.apply(2)
    world.redis.delete(WAKE_LIST)
    world.redis.lpush(WAKE_LIST, wake_message(waiting.id))
    outcome = world.delivery.attempt(update.id, more=lambda: True)
    assert (update.id in old.records, outcome.following) == (True, None)
    assert world.redis.lrange(WAKE_LIST, 0, -1) == [wake_message(waiting.id)]


def test_an_operation_on_a_record_of_another_crm_is_not_taken(world: World) -> None:
    world.apply(1, session="s1", inline=True)
    update = world.click("s1")
    old = world.crm
    world.other = {"acme": old}
    world.use(Crm(world, "other"))
    ready(world)
    first = world.apply(2)
    world.redis.delete(WAKE_LIST)
    world.redis.lpush(WAKE_LIST, wake_message(update.id))
    assert world.delivery.attempt(first.id, more=lambda: True).following is None
    world.work()
    assert update.id in old.records

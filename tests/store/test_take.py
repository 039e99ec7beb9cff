"""The operation that is taken in the step that records a delivery: which one, and what it never is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from crmgate.model import Kind, Operation, State
from crmgate.store import keys
from crmgate.store.entries import Claim, NotClaimed, Recorded, Wanted, Written
from crmgate.store.keys import WAKE_LIST
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests import world
from tests.store.steps import ESPO, NOW, RECORD, WELL, accept, claim, lease, stored, verify

WANTED = Wanted("NEXT", 20.0, (Kind.CREATE_LEAD,))
PERSON = "a" * 32


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """A ledger whose clock stands, with credentials that have worked."""
    ledger.clock = lambda: NOW
    verify(ledger)
    return ledger


def deliver(ledger: Ledger, operation: Operation, token: str = "L1", to: object = ESPO) -> Recorded:
    """Record a delivery, and take the next operation."""
    return ledger.record_delivered(lease(operation, token), to, WELL, RECORD, WANTED)  # type: ignore[arg-type]


def begun(ledger: Ledger, client: redis.Redis) -> Operation:
    """An operation under way, without a wake-up in the list."""
    first = accept(ledger)
    assert isinstance(claim(ledger, first.id), Claim)
    client.delete(WAKE_LIST)
    return first


def queued(client: redis.Redis) -> list[bytes]:
    """The wake-ups, the next one last."""
    return client.lrange(WAKE_LIST, 0, -1)  # type: ignore[return-value]


def test_the_oldest_wakeup_is_taken(ledger: Ledger, redis_client: redis.Redis) -> None:
    first = begun(ledger, redis_client)
    second, third = accept(ledger), accept(ledger)
    recorded = deliver(ledger, first)
    assert recorded.written is Written.DELIVERED
    assert recorded.following == Claim(
        replace(second, state=State.DELIVERING, events=()), "NEXT", look_first=False, counted=0, at=NOW
    )
    assert queued(redis_client) == [wake_message(third.id)]
    assert claim(ledger, second.id, "OTHER") == NotClaimed("leased")
    assert redis_client.zscore(keys.DUE, second.id) == NOW + 20


def test_nothing_is_taken_if_nothing_waits_or_nothing_is_wanted(ledger: Ledger, redis_client: redis.Redis) -> None:
    assert deliver(ledger, begun(ledger, redis_client)).following is None
    second = begun(ledger, redis_client)
    waiting = accept(ledger)
    assert ledger.record_delivered(lease(second, "L1"), ESPO, WELL, RECORD).following is None
    assert queued(redis_client) == [wake_message(waiting.id)]


def test_an_operation_that_waited_for_a_place_is_taken(ledger: Ledger, redis_client: redis.Redis) -> None:
    one_at_a_time = replace(ESPO, most=1)
    first = begun(ledger, redis_client)
    waiting = Operation("b" * 32, Kind.CREATE_LEAD, {"email": "b@example.com"}, NOW)
    assert ledger.accept(waiting, one_at_a_time, alarm=0).what == "held"
    recorded = deliver(ledger, first, to=one_at_a_time)
    assert recorded.following
    assert recorded.following.operation.id == waiting.id
    another = accept(ledger)
    assert ledger.claim(another.id, one_at_a_time, "L9", seconds=20) == NotClaimed("held")


def test_the_follower_of_a_person_is_taken_after_the_one_before_it(ledger: Ledger, redis_client: redis.Redis) -> None:
    first = accept(ledger, people=[PERSON])
    claim(ledger, first.id)
    redis_client.delete(WAKE_LIST)
    second, third = accept(ledger, people=[PERSON]), accept(ledger, people=[PERSON])
    redis_client.lpush(WAKE_LIST, wake_message(third.id))
    recorded = deliver(ledger, first)
    assert recorded.following
    assert recorded.following.operation.id == second.id
    assert stored(ledger, third.id).behind == second.id
    after = deliver(ledger, second, "NEXT")
    assert after.following
    assert after.following.operation.id == third.id


def test_nothing_is_taken_while_the_gate_is_shut(ledger: Ledger, redis_client: redis.Redis) -> None:
    first = begun(ledger, redis_client)
    waiting = accept(ledger)
    ledger.pause(ESPO)
    assert deliver(ledger, first).following is None
    assert redis_client.zscore(keys.held("espocrm"), waiting.id) == NOW


def test_what_has_ended_or_is_under_way_is_passed_over(ledger: Ledger, redis_client: redis.Redis) -> None:
    first = begun(ledger, redis_client)
    gone, busy, next_one = accept(ledger), accept(ledger), accept(ledger)
    ledger.discard(gone.id, ESPO, reason="test")
    claim(ledger, busy.id, "BUSY")
    redis_client.rpush(WAKE_LIST, wake_message("c" * 32))
    recorded = deliver(ledger, first)
    assert recorded.following
    assert recorded.following.operation.id == next_one.id
    assert queued(redis_client) == []


@pytest.mark.parametrize(
    "message",
    [
        b"\x80\x04no JSON",
        b"[]",
        b'{"id":"x","name":"another.task","args":["x"]}',
        b'{"id":"ID","name":"crmgate.worker.deliver","args":["ID"],"retries":2,"retry_delay":5}',
    ],
)
def test_a_message_for_huey_stays_where_it_was(ledger: Ledger, redis_client: redis.Redis, message: bytes) -> None:
    first = begun(ledger, redis_client)
    waiting = accept(ledger)
    message = message.replace(b"ID", waiting.id.encode())
    redis_client.rpush(WAKE_LIST, message)
    recorded = deliver(ledger, first)
    assert (recorded.written, recorded.following) == (Written.DELIVERED, None)
    assert queued(redis_client) == [wake_message(waiting.id), message]


def test_an_operation_without_a_retry_left_stays_for_huey(ledger: Ledger, redis_client: redis.Redis) -> None:
    spent = begun(ledger, redis_client)
    ledger.record_dead(lease(spent, "L1"), ESPO, WELL, look=False, wake=True)
    [message] = queued(redis_client)
    first = accept(ledger)
    claim(ledger, first.id)
    redis_client.delete(WAKE_LIST)
    redis_client.lpush(WAKE_LIST, message)
    assert deliver(ledger, first).following is None
    assert queued(redis_client) == [message]


def test_a_record_that_runs_twice_takes_one_operation(ledger: Ledger, redis_client: redis.Redis) -> None:
    """A connection broke before the answer: the script runs again. The operation is searched for after its lease."""
    first = begun(ledger, redis_client)
    second, third = accept(ledger), accept(ledger)
    deliver(ledger, first)
    again = deliver(ledger, first)
    assert (again.written, again.following) == (Written.ENDED, None)
    assert queued(redis_client) == [wake_message(third.id)]
    with world.at(ledger, NOW + 21):
        found = ledger.claim(second.id, ESPO, "LATER", seconds=20)
    assert isinstance(found, Claim)
    assert found.look_first


def test_with_replicas_nothing_is_taken(redis_client: redis.Redis) -> None:
    """A lease has to be on them before the CRM is asked, and the record does not wait for them."""
    ledger = Ledger(redis_client, wake_message)
    ledger.clock = lambda: NOW
    verify(ledger)
    first = begun(ledger, redis_client)
    waiting = accept(ledger)
    replicated = Ledger(redis_client, wake_message, replicas=1, patience=0.01)
    replicated.clock = lambda: NOW
    assert deliver(replicated, first).following is None
    assert queued(redis_client) == [wake_message(waiting.id)]

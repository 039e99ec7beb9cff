"""The figures of attempts in Redis, and the age of the oldest operation."""

from __future__ import annotations

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.model import Event, EventType, Kind, Operation
from crmgate.store.client import connect
from crmgate.store.figures import Figures, counted
from crmgate.store.ledger import Ledger
from tests.world import START, World


def count(client: redis.Redis, kind: Kind, attempt: Event, accepted_at: float = START) -> None:
    for name, number in counted(Operation("x", kind, {}, accepted_at), attempt).items():
        client.hincrby("{crmgate}:attempts", name, number)


def test_attempts_are_counted_by_outcome_and_time(redis_client: redis.Redis) -> None:
    figures = Figures(redis_client)
    for seconds, code in ((0.02, ""), (0.05, ""), (0.3, "timeout"), (45.0, "timeout")):
        outcome = EventType.FAILED if code else EventType.DELIVERED
        count(redis_client, Kind.CREATE_LEAD, Event(START, seconds, "espocrm", outcome, code))
    count(redis_client, Kind.LOG_ACTIVITY, Event(START, 0.02, "bitrix", EventType.DELIVERED))
    found = figures.attempts()
    bitrix, espocrm = found.durations
    assert found.counts == {
        ("espocrm", "create_lead", "delivered"): 2,
        ("espocrm", "create_lead", "timeout"): 2,
        ("bitrix", "log_activity", "delivered"): 1,
    }
    assert espocrm.buckets == (
        ("0.05", 2), ("0.1", 2), ("0.25", 2), ("0.5", 3), ("1", 3), ("2.5", 3), ("5", 3), ("10", 3), ("30", 3),
        ("+Inf", 4),
    )  # fmt: skip
    assert (espocrm.seconds, bitrix.seconds) == (45.37, 0.02)


def test_the_time_to_the_delivery_begins_with_the_acceptance(redis_client: redis.Redis) -> None:
    figures = Figures(redis_client)
    for waited in (0.0, 0.7, 90.0, 100_000.0, -5.0):  # the last one: Redis's clock was set back
        count(redis_client, Kind.CREATE_LEAD, Event(START, 0.2, "acme", EventType.DELIVERED), START - waited)
    count(redis_client, Kind.CREATE_LEAD, Event(START, 0.2, "acme", EventType.FAILED, "timeout"), START - 90)
    [took] = figures.attempts().deliveries
    buckets = dict(took.buckets)
    assert [buckets[bound] for bound in ("0.5", "1", "60", "300", "86400", "+Inf")] == [2, 3, 3, 4, 4, 5]
    assert took.seconds == pytest.approx(100_091.5)


def test_a_repair_does_not_count_as_a_slow_delivery() -> None:
    repaired = Operation("x", Kind.CREATE_LEAD, {}, START - 86400, repairs=1)
    numbers = counted(repaired, Event(START, 0.2, "acme", EventType.DELIVERED))
    assert numbers == {"count|acme|create_lead|delivered": 1, "le|acme|0.25": 1, "ms|acme": 200}


def test_the_oldest_is_found_wherever_it_waits(ledger: Ledger, redis_client: redis.Redis) -> None:
    figures, world = Figures(redis_client), World(ledger, redis_client)
    assert figures.oldest_waiting() is None
    world.apply()
    world.now += 50
    world.apply()
    assert figures.oldest_waiting() == START
    redis_client.zadd("{crmgate}:held:x", {"a": START - 60, "b": START + 1})
    redis_client.sadd("{crmgate}:providers", "x")
    assert figures.oldest_waiting() == START - 60
    redis_client.zadd("{crmgate}:tried:x", {"c": START - 90})
    assert figures.oldest_waiting() == START - 90


def test_the_share_of_memory_is_that_of_maxmemory(redis_client: redis.Redis) -> None:
    figures = Figures(redis_client)
    assert figures.memory_share() == 0.0
    redis_client.config_set("maxmemory", redis_client.info("memory")["used_memory"] * 4)
    try:
        assert figures.memory_share() == pytest.approx(0.25, abs=0.1)
    finally:
        redis_client.config_set("maxmemory", 0)
    redis_client.execute_command("ACL SETUSER", "default", "-info")
    try:
        assert figures.memory_share() is None, "not known is not none"
    finally:
        redis_client.execute_command("ACL SETUSER", "default", "+info")
    with pytest.raises(LedgerUnavailable):
        Figures(connect("redis://127.0.0.1:1/0", 0.2)).memory_share()

"""Meters: how many uses pass, how long a refused caller has to wait, and what happens while Redis is unavailable."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from crmgate.store.client import connect
from crmgate.store.limits import CAPACITY, PAUSE, Limit, Limiter, Use
from tests.processes import RedisProcess

MINUTE = Limit(3, 60)
START = 1_800_000_000.0


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(redis_client: redis.Redis, redis_process: RedisProcess, clock: Clock) -> Iterator[Limiter]:
    client = connect(redis_process.url)
    yield Limiter(client, clock)
    client.close()


def by(who: str, limit: Limit = MINUTE) -> Use:
    return Use("applications", who, limit)


@pytest.mark.parametrize("where", ["take", "take_here"])
def test_as_many_as_the_limit_says_at_once_and_then_one_at_a_time(limiter: Limiter, clock: Clock, where: str) -> None:
    take = getattr(limiter, where)
    assert [take([by("a")]) for _ in range(3)] == [0, 0, 0]
    assert take([by("a")]) == pytest.approx(20, abs=0.01), "one of three a minute is free again after 20 s"
    clock.now += 19.9
    assert take([by("a")]) == pytest.approx(0.1, abs=0.01), "asking in vain costs nothing"
    clock.now += 0.1
    assert take([by("a")]) == 0
    assert take([by("b")]) == 0, "somebody else is not concerned"
    clock.now += 3600
    assert [take([by("a")]) > 0 for _ in range(4)] == [False, False, False, True], "idle time is not saved up"


def test_a_clock_that_is_set_back_delays_no_request_by_more_than_the_limit(limiter: Limiter, clock: Clock) -> None:
    assert [limiter.take([by("a")]) for _ in range(3)] == [0, 0, 0]
    clock.now -= 3600
    assert limiter.take([by("a")]) == pytest.approx(20, abs=0.01)


def test_the_time_is_that_of_redis(
    redis_client: redis.Redis, redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, limiter = time.time, Limiter(connect(redis_process.url))
    for hosts_clock in (0, 600, -60):
        monkeypatch.setattr(time, "time", lambda ahead=hosts_clock: true() + ahead)
        assert limiter.take([by("a", Limit(3, 3600))]) == 0
    assert limiter.take([by("a", Limit(3, 3600))]) > 0


@pytest.mark.parametrize("where", ["take", "take_here"])
def test_several_meters_count_together_or_not_at_all(limiter: Limiter, where: str) -> None:
    take = getattr(limiter, where)
    strict, lenient = by("person", Limit(1, 60)), by("address", Limit(4, 60))
    assert take([strict, lenient]) == 0
    for _ in range(5):
        assert take([strict, lenient]) > 0
    assert [take([lenient]) > 0 for _ in range(4)] == [False, False, False, True]


def test_redis_holds_digests_that_vanish_by_themselves(limiter: Limiter, redis_client: redis.Redis) -> None:
    limiter.take([by("203.0.113.7"), by("canary@example.com")])
    keys = redis_client.keys("*")
    assert len(keys) == 2
    for key in keys:
        assert key.startswith(b"{crmgate}:limit:applications:")
        assert b"203" not in key.rpartition(b":")[2][:4]
        assert b"canary" not in key + redis_client.get(key)
        assert 0 < redis_client.pttl(key) <= 20_000


def test_a_refusal_is_counted(limiter: Limiter, redis_client: redis.Redis) -> None:
    for _ in range(5):
        limiter.take([by("a")])
    assert redis_client.hget("{crmgate}:stats", "limited") == b"2"


def test_limits_take_one_round_trip(limiter: Limiter, redis_client: redis.Redis) -> None:
    limiter.take([by("warm")])
    before = redis_client.info("commandstats")
    limiter.take_shared([by("a"), by("b"), by("c")])
    after = redis_client.info("commandstats")
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    scripts = {"cmdstat_evalsha", "cmdstat_get", "cmdstat_set", "cmdstat_info"}
    assert calls["cmdstat_evalsha"] == 1
    assert {name for name, number in calls.items() if number} <= scripts


def test_without_redis_each_process_counts_for_itself_and_waits_once(tmp_path: Path, clock: Clock) -> None:
    server = RedisProcess(tmp_path)
    server.start()
    try:
        limiter = Limiter(connect(server.url, timeout=2.0), clock)
        assert limiter.take([by("a")]) == 0
        server.popen.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        limiter.take([by("b")])  # finds out
        begun = time.monotonic()
        answers = [limiter.take([by("a")]) > 0 for _ in range(4)]
        assert [limiter.take_shared([by("a")]) for _ in range(4)] == [0, 0, 0, 0], "nobody counts these"
        assert time.monotonic() - begun < 2.0 < PAUSE, "a silent Redis is asked once"
        assert answers == [False, False, False, True], "nothing is refused that need not be, and a flood still is"
    finally:
        server.popen.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
        server.kill()


def test_the_memory_of_a_process_is_bounded(limiter: Limiter) -> None:
    for number in range(CAPACITY + 100):
        limiter.take_here([by(str(number))])
    assert len(limiter._here._empty_at) <= CAPACITY

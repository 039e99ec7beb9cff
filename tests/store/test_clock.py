"""Redis's clock, how far the clocks of hosts differ from it, and that the ledger asks no other."""

from __future__ import annotations

import time

import pytest
import redis

from crmgate.model import Kind, Operation, Rate, new_id
from crmgate.store import keys
from crmgate.store.clock import KEPT, Clocks, check, redis_time
from crmgate.store.entries import Claim
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger

TO = Recipient("acme", "c1", most=2)


def clocks(client: redis.Redis, host: str, ahead: float) -> Clocks:
    return Clocks(client, lambda: time.time() + ahead, host)


def test_the_time_of_redis_has_fractions_of_a_second(redis_client: redis.Redis) -> None:
    before = time.time()
    times = [redis_time(redis_client) for _ in range(10)]
    assert before - 0.001 <= times[0] < times[-1] <= time.time() + 0.001
    assert len(set(times)) == 10


def test_each_host_keeps_its_own_offset(redis_client: redis.Redis) -> None:
    for host, ahead in (("a", 45.0), ("b", -45.0), ("c", 0.0), ("a", 600.0)):
        clocks(redis_client, host, ahead).note()
    assert clocks(redis_client, "d", 5.0).offsets() == pytest.approx({"a": 600, "b": -45, "c": 0}, abs=1)


def test_a_host_that_is_gone_is_forgotten(redis_client: redis.Redis) -> None:
    clocks(redis_client, "gone", 45.0).note()
    redis_client.hset(keys.CLOCKS, "gone", f"45.000 {time.time() - KEPT - 1:.3f}")
    assert clocks(redis_client, "here", 0.0).offsets() == {}
    clocks(redis_client, "here", 0.0).note()
    assert redis_client.hkeys(keys.CLOCKS) == [b"here"]


def test_a_slow_redis_gives_no_measurement(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.5])
    monkeypatch.setattr("crmgate.store.clock.time.monotonic", lambda: next(ticks, 2.0))
    slow = clocks(redis_client, "slow", 0.0)
    slow.note()
    monkeypatch.undo()
    assert slow.offsets() == {}


@pytest.mark.parametrize("offset", [0.0, 1.9, -1.9])
def test_a_small_difference_is_no_warning(offset: float) -> None:
    assert check({"a": offset}).ok


def test_a_warning_names_host_and_offset_to_operators_only() -> None:
    offsets = {"web-1": 0.2, "web-2": 44.96, "worker": -2.1}
    assert "web-2 is 45.0 s ahead, worker is 2.1 s behind." in check(offsets).detail
    public = check(offsets, names=False)
    assert not public.ok
    assert "a host is 45.0 s ahead, a host is 2.1 s behind." in public.detail


class TestHostsWhoseClocksDiffer:
    """Each call comes from another host, whose clock is wrong in another way."""

    @pytest.fixture(autouse=True)
    def _wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        true, calls = time.time, iter(range(10**9))
        offsets = (45, -45, 600, -60)
        monkeypatch.setattr(time, "time", lambda: true() + offsets[next(calls) % 4])

    @staticmethod
    def claims(ledger: Ledger, to: Recipient, number: int) -> list[Claim]:
        ids = [new_id() for _ in range(number)]
        for one in ids:
            ledger.accept(Operation(one, Kind.CREATE_LEAD, {}, time.time()), to, alarm=60)
        found = [ledger.claim(one, to, one, seconds=60) for one in ids]
        return [claim for claim in found if isinstance(claim, Claim)]

    @staticmethod
    def verify(ledger: Ledger, redis_client: redis.Redis) -> None:
        """The credentials have worked before: else one attempt runs at a time."""
        redis_client.hset(keys.gate("acme"), "verified", "c1")

    def test_they_keep_the_number_of_attempts(self, ledger: Ledger, redis_client: redis.Redis) -> None:
        self.verify(ledger, redis_client)
        assert len(self.claims(ledger, TO, 8)) == 2

    def test_they_keep_the_rate(self, ledger: Ledger, redis_client: redis.Redis) -> None:
        self.verify(ledger, redis_client)
        rated = Recipient("acme", "c1", rate=Rate(per_second=0.01, burst=6, reserve=2))
        assert len(self.claims(ledger, rated, 8)) == 3

    def test_they_respect_each_others_leases(self, ledger: Ledger, redis_client: redis.Redis) -> None:
        [first] = self.claims(ledger, TO, 1)
        others = [ledger.claim(first.operation.id, TO, f"L{number}", seconds=60) for number in range(8)]
        assert not [other for other in others if isinstance(other, Claim)]
        assert not ledger.discard(first.operation.id, TO, reason="under way")

    def test_they_agree_on_the_time(self, ledger: Ledger, redis_client: redis.Redis) -> None:
        [claim] = self.claims(ledger, TO, 1)
        ledger.beat("worker")
        times = [
            claim.at, claim.operation.accepted_at, *(at for _, at in redis_client.zscan_iter(keys.WORKERS)),
            redis_client.zscore(keys.OPS, claim.operation.id), redis_time(redis_client), ledger.now(),
        ]  # fmt: skip
        assert max(times) - min(times) < 30
        assert ledger.workers_seen(30) == 1

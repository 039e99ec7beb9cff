"""The watch reports an incident once, whichever process has it, and reports its end once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from crmgate.operators import watch
from crmgate.operators.watch import Watch
from crmgate.store import keys
from crmgate.store.clock import Clocks
from crmgate.store.figures import Figures
from crmgate.store.ledger import Ledger
from crmgate.store.watch import Watchbook
from tests.processes import wait_until
from tests.world import World, away, refused

Reports = list[tuple[str, dict[str, Any]]]


class Watches:
    """Several web processes on one Redis, with one clock."""

    def __init__(self, world: World, client: redis.Redis, number: int = 2, limit: float = 900.0) -> None:
        self.world, self.client, self.reports, self.limit = world, client, Reports(), limit
        self.all = [self.another() for _ in range(number)]

    def another(self) -> Watch:
        def notify(hook: str, **arguments: Any) -> None:
            self.reports.append((hook, arguments))

        book, figures = Watchbook(self.client), Figures(self.client)
        clocks = Clocks(self.client, self.world.clock)
        return Watch(book, self.world.ledger, figures, clocks, notify, self.limit, clock=self.world.clock)

    def pass_time(self, seconds: float, *, worker: bool = True) -> None:
        """Let time pass in steps of 5 s, with or without a worker that beats."""
        until = self.world.now + seconds
        while self.world.now < until:
            self.world.now += watch.BEAT
            if worker:
                self.world.ledger.beat("w")
            for each in self.all:
                each.look()

    @property
    def hooks(self) -> list[str]:
        return [hook for hook, _ in self.reports]


@pytest.fixture
def watches(world: World, redis_client: redis.Redis) -> Watches:
    return Watches(world, redis_client)


def test_a_worker_that_lives_is_no_incident(watches: Watches) -> None:
    watches.pass_time(300)
    assert watches.reports == []


def test_a_dead_worker_is_reported_once_by_several_processes(watches: Watches) -> None:
    watches.pass_time(10)
    watches.world.apply()
    watches.pass_time(55, worker=False)
    assert watches.reports == []
    watches.pass_time(600, worker=False)
    assert watches.reports == [("worker_missing", {"seconds": 60.0, "waiting": 1})]
    watches.pass_time(20)
    assert watches.hooks == ["worker_missing", "worker_back"]


def test_a_worker_that_restarts_in_an_orderly_way_is_no_incident(watches: Watches, ledger: Ledger) -> None:
    watches.pass_time(100)
    ledger.leave("w")
    watches.pass_time(50, worker=False)
    watches.pass_time(20)
    assert watches.reports == []


def test_a_worker_that_never_started_is_reported(watches: Watches) -> None:
    watches.pass_time(70, worker=False)
    assert watches.hooks == ["worker_missing"]


def test_a_process_that_takes_the_watch_over_does_not_report_again(watches: Watches) -> None:
    watches.pass_time(100, worker=False)
    watches.all = [watches.another()]
    watches.client.delete(keys.WATCH)  # as when it expires
    watches.pass_time(100, worker=False)
    assert watches.hooks == ["worker_missing"]
    watches.pass_time(20)
    assert watches.hooks == ["worker_missing", "worker_back"]


@pytest.fixture
def full(redis_client: redis.Redis) -> Iterator[Callable[[bool], None]]:
    """Make Redis refuse every write that needs memory, or take writes again."""

    def change(full: bool) -> None:
        redis_client.config_set("maxmemory", 1 if full else 0)

    yield change
    change(False)


def test_a_redis_that_takes_no_writes_is_reported_once(watches: Watches, full: Callable[[bool], None]) -> None:
    watches.pass_time(10)
    full(True)
    watches.pass_time(10, worker=False)
    assert watches.reports == []
    watches.pass_time(300, worker=False)
    [(hook, arguments)] = watches.reports
    assert hook == "ledger_unavailable"
    assert arguments["reason"].startswith("OOM: ")
    full(False)
    watches.pass_time(55, worker=False)  # the silence of the workers counts from now on
    watches.pass_time(20)
    assert watches.hooks == ["ledger_unavailable", "ledger_available"]
    assert watches.reports[1][1]["seconds"] == 310.0


def test_a_short_absence_of_redis_is_no_incident(watches: Watches, full: Callable[[bool], None]) -> None:
    watches.pass_time(10)
    full(True)
    watches.pass_time(10, worker=False)
    full(False)
    watches.pass_time(10)
    assert watches.reports == []


def test_a_nearly_full_redis_is_reported_once_and_again_after_there_was_room(
    watches: Watches, full: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    def use(share: float) -> None:
        watches.client.config_set("maxmemory", int(watches.client.info("memory")["used_memory"] / share))
        watches.pass_time(15)

    watches.world.crm.trouble = away
    watches.world.apply()
    use(0.5)
    assert watches.reports == []
    use(0.9)
    use(0.75)
    use(0.9)
    [(hook, arguments)] = watches.reports
    assert hook == "ledger_nearly_full"
    assert 0.8 <= arguments["share"] < 1.0
    assert arguments["waiting"] == 1
    assert "Redis is nearly full: " in caplog.text
    use(0.5)
    use(0.9)
    assert watches.hooks == ["ledger_nearly_full"] * 2
    full(False)  # without a limit it is never full
    watches.pass_time(15)
    assert watches.hooks == ["ledger_nearly_full"] * 2


def test_a_long_wait_is_reported_once_and_again_after_it_was_over(watches: Watches) -> None:
    watches.world.crm.trouble = away
    first = watches.world.apply()
    watches.pass_time(900)
    assert watches.reports == []
    watches.pass_time(900)
    assert watches.reports == [("waiting_too_long", {"seconds": 905.0, "waiting": 1})]
    watches.world.crm.trouble = lambda _operation: None
    watches.world.run(first)
    watches.world.crm.trouble = away
    watches.pass_time(10)
    watches.world.apply(1)
    watches.pass_time(1000)
    assert watches.hooks == ["waiting_too_long"] * 2


def test_an_operation_that_was_sent_while_its_crm_was_shut_counts(watches: Watches) -> None:
    watches.world.crm.trouble = refused
    watches.world.run(watches.world.apply())
    watches.pass_time(910)
    assert watches.reports == [("waiting_too_long", {"seconds": 905.0, "waiting": 1})]


def test_without_a_limit_no_wait_is_reported(world: World, redis_client: redis.Redis) -> None:
    watches = Watches(world, redis_client, limit=0.0)
    world.apply()
    watches.pass_time(3000)
    assert watches.reports == []


def test_one_thread_of_each_process_watches(watches: Watches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BEAT", 0.01)
    [first, _] = watches.all

    def threads() -> int:
        return sum(thread.name == "watch" for thread in threading.enumerate())

    before = threads()
    first.start()
    first.start()
    assert threads() == before + 1
    wait_until("it looks", lambda: watches.client.exists(keys.WATCH))
    first.stop()
    wait_until("it ends", lambda: threads() == before)
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
    first.start()
    assert threads() == before + 1
    first.stop()
    wait_until("it ends", lambda: threads() == before)

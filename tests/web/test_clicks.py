"""The queue of clicks never blocks, retries for a while and reports lost clicks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from crmgate.errors import LedgerUnavailable
from crmgate.model import Activity
from crmgate.store.limits import Use
from crmgate.web.clicks import Clicks
from tests.processes import DEADLINE, wait_until

CLICK = Activity("telegram", "REF-SECRET", session="session-secret")


class Store:
    """Stands in for the ledger: `broken` is raised, `hung` until it is set blocks."""

    def __init__(self) -> None:
        self.clicks: list[Activity] = []
        self.reported: dict[str, int] = {}
        self.broken: Exception | None = None
        self.awake = threading.Event()
        self.awake.set()
        self.tried = 0

    def record(self, activity: Activity, uses: Sequence[Use]) -> bool:
        assert not uses
        self.tried += 1
        assert self.awake.wait(DEADLINE)
        if self.broken:
            raise self.broken
        self.clicks.append(activity)
        return True

    def report(self, reasons: Mapping[str, int]) -> None:
        if self.broken:
            raise self.broken
        for reason, number in reasons.items():
            self.reported[reason] = self.reported.get(reason, 0) + number


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.broken = None
    store.awake.set()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("crmgate"), "propagate", True)
    return caplog


def test_a_hung_store_keeps_nobody_waiting_and_the_queue_is_bounded(store: Store) -> None:
    clicks = Clicks(store.record, store.report, capacity=10)
    store.awake.clear()
    begun = time.monotonic()
    for _ in range(100):
        clicks.offer(CLICK)
    assert time.monotonic() - begun < DEADLINE / 2
    assert clicks.lost()["too many at once"] in (89, 90)
    store.awake.set()
    wait_until("the rest is recorded", lambda: len(store.clicks) >= 10)
    wait_until("the loss is reported", lambda: store.reported)
    assert sum(store.reported.values()) + len(store.clicks) == 100
    wait_until("nothing is left to report", lambda: not clicks.lost())
    clicks.stop()


def test_a_short_outage_loses_nothing(store: Store) -> None:
    clicks = Clicks(store.record, store.report)
    store.broken = LedgerUnavailable("ConnectionError")
    clicks.offer(CLICK)
    clicks.offer(CLICK)
    wait_until("it was tried again", lambda: store.tried > 2)
    store.broken = None
    wait_until("both are recorded", lambda: len(store.clicks) == 2)
    clicks.stop()
    assert (clicks.lost(), store.reported) == ({}, {})


def test_a_long_outage_is_reported_without_personal_data(store: Store, logged: pytest.LogCaptureFixture) -> None:
    clicks = Clicks(store.record, store.report, patience=0.0)
    store.broken = LedgerUnavailable("ConnectionError")
    clicks.offer(CLICK)
    wait_until("it is lost", lambda: clicks.lost() == {"Redis did not answer": 1})
    wait_until("it is logged", lambda: logged.messages)
    assert logged.messages == ["clicks on messenger links: 1 dropped (Redis did not answer)"]
    assert "secret" not in logged.text.lower()
    store.broken = None
    wait_until("the loss is reported without another click", lambda: store.reported == {"Redis did not answer": 1})
    clicks.stop()


def test_an_unexpected_error_loses_one_click_only(store: Store, logged: pytest.LogCaptureFixture) -> None:
    clicks = Clicks(store.record, store.report)
    store.broken = ValueError("secret")
    clicks.offer(CLICK)
    wait_until("it is lost", clicks.lost)
    store.broken = None
    clicks.offer(CLICK)
    wait_until("the next one is recorded", lambda: len(store.clicks) == 1)
    clicks.stop()
    [reason] = store.reported
    assert reason.startswith("an unexpected ValueError in test_clicks.py:")
    assert "secret" not in logged.text.lower()


def test_an_orderly_stop_records_what_is_in_hand(store: Store) -> None:
    clicks = Clicks(store.record, store.report)
    store.awake.clear()
    for _ in range(50):
        clicks.offer(CLICK)
    threading.Timer(0.05, store.awake.set).start()
    clicks.stop()
    assert (len(store.clicks), clicks.lost()) == (50, {})
    clicks.offer(CLICK)
    assert clicks.lost() == {"the process stopped": 1}


def test_a_stop_does_not_wait_for_ever(store: Store, logged: pytest.LogCaptureFixture) -> None:
    clicks = Clicks(store.record, store.report)
    store.awake.clear()
    for _ in range(5):
        clicks.offer(CLICK)
    clicks.stop(0.05)
    assert clicks.lost() == {"the process stopped": 5}
    assert logged.messages == ["clicks on messenger links: 5 dropped (the process stopped)"]

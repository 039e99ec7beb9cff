"""Recording clicks while the visitor is already on the way: a redirect waits neither for the CRM nor for Redis.

A click goes into a bounded queue of the process, and one thread records it, as a rule within a millisecond. While Redis
does not answer it is tried again for `PATIENCE` seconds; what cannot be recorded is counted and logged, without saying
whose it was. An orderly stop records what is in hand first; SIGKILL loses it.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crmgate.errors import LedgerUnavailable
from crmgate.model import Activity, Kind

if TYPE_CHECKING:
    from crmgate.services import Services

log = logging.getLogger(__name__)

CAPACITY = 1000
PATIENCE = 5.0
"""Seconds for which a click is tried again: long enough for a restart of Redis."""
PAUSE = 0.1
FAREWELL = 5.0
"""Seconds that an orderly stop may take to record what is in hand."""
DOUBLE_CLICK = 60.0

NO_REDIS = "Redis did not answer"
FULL = "too many at once"
NO_THREAD = "no thread could be started"
STOPPED = "the process stopped"
TOO_MANY = "too many from one address"


@dataclass(frozen=True, slots=True)
class _Click:
    activity: Activity
    until: float


class Clicks:
    """A process's queue of clicks. `record` and `report` (what was lost, by reason) may raise `LedgerUnavailable`."""

    def __init__(
        self, record: Callable[[Activity], None], report: Callable[[Mapping[str, int]], None], *,
        capacity: int = CAPACITY, patience: float = PATIENCE,
    ) -> None:  # fmt: skip
        self._record, self._report, self._patience = record, report, patience
        self._queue: queue.Queue[_Click | None] = queue.Queue(capacity)
        self._lock = threading.Lock()
        self._lost: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()
        self._failing = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = 0

    def offer(self, activity: Activity) -> None:
        """Take a click. Never waits, never raises."""
        if self._stopping.is_set():
            self._lose(STOPPED)
            return
        try:
            self._start()
            self._queue.put_nowait(_Click(activity, time.monotonic() + self._patience))
        except queue.Full:
            self._lose(FULL)
        except RuntimeError:  # the system lets no thread be started; the next click tries again
            self._lose(NO_THREAD)

    def drop(self) -> None:
        """Count a click that is one too many from its address as lost. Never waits, never raises."""
        self._lose(TOO_MANY)

    def lost(self) -> dict[str, int]:
        """What this process lost and could not report yet, by reason."""
        with self._lock:
            return dict(self._lost)

    def stop(self, seconds: float = FAREWELL) -> None:
        """Record what is in hand, for at most so many seconds; the rest is lost."""
        if self._thread is None or self._process != os.getpid() or self._stopping.is_set():
            return
        self._stopping.set()
        with suppress(queue.Full):  # then the thread has enough to do, and sees `_stopping` when it is done
            self._queue.put_nowait(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._lose(STOPPED, 1 + sum(click is not None for click in self._drain()))
        self._log_losses()

    def _drain(self) -> Iterator[_Click | None]:
        with suppress(queue.Empty):
            while True:
                yield self._queue.get_nowait()

    def _start(self) -> None:
        """With the first click, and again in a process that was forked since: threads do not survive that."""
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process == os.getpid():
                return
            thread = threading.Thread(target=self._run, name="clicks", daemon=True)
            thread.start()
            self._thread, self._process = thread, os.getpid()
            atexit.register(self.stop)

    def _run(self) -> None:
        while True:
            try:
                click = self._queue.get(timeout=1.0)
            except queue.Empty:
                click = None
            if click is not None:
                self._settle(click)
            elif self._stopping.is_set():
                return
            self._log_losses()
            if click is None or not self._failing:
                self._report_losses()

    def _settle(self, click: _Click) -> None:
        """Record a click, or lose it. One whose time is over is not tried while Redis is known to be away."""
        while not (self._failing and self._over(click)):
            try:
                self._record(click.activity)
            except LedgerUnavailable:
                self._failing = True
                self._stopping.wait(PAUSE)
            except Exception as error:
                self._lose(f"an unexpected {type(error).__name__}")
                return
            else:
                self._failing = False
                return
        self._lose(NO_REDIS)

    def _over(self, click: _Click) -> bool:
        return time.monotonic() >= click.until or self._stopping.is_set()

    def _lose(self, reason: str, number: int = 1) -> None:
        with self._lock:
            self._lost[reason] += number
            self._unlogged[reason] += number

    def _report_losses(self) -> None:
        reported = self.lost()
        if reported:
            with suppress(Exception):  # whatever it is: the thread has to live, and reports again in a second
                self._report(reported)
                with self._lock:
                    self._lost -= Counter(reported)

    def _log_losses(self) -> None:
        with self._lock:
            unlogged, self._unlogged = self._unlogged, Counter()
        for reason, number in unlogged.items():
            log.error("clicks on messenger links were lost: %d (%s)", number, reason)


def for_services(services: Callable[[], Services]) -> Clicks:
    """The queue that records with the gateway that `services` gives."""
    return Clicks(
        lambda activity: record(services(), activity), lambda reasons: services().ledger.count_lost_clicks(reasons)
    )


def record(services: Services, activity: Activity) -> None:
    """Record a click once: the same channel and referral code of a session within a minute is a double click."""
    if not services.settings.minimal_leads:
        count(services, activity)
        return
    services.gateway.submit(
        Kind.CREATE_MINIMAL_LEAD, activity.to_dict(), inline=False, repeats=DOUBLE_CLICK,
        content=[activity.session, activity.channel, activity.referral_code], last_resort=False,
    )  # fmt: skip


def count(services: Services, activity: Activity) -> None:
    """Keep a click as a number, where `MINIMAL_LEADS` is off."""
    services.ledger.count(f"clicks:{activity.channel}")

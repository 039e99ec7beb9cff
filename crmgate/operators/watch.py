"""Reports incidents that a worker cannot report: no worker, Redis unavailable or nearly full, a wait that is too long.

Each web process has a thread that checks every `BEAT` seconds. One process at a time holds the watch, an entry in Redis
that expires, and only that process reports. So several web processes send one message. While Redis is unavailable the
last holder reports that. The thread also measures the clock of its host.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from crmgate.errors import LedgerUnavailable, SpoolUnavailable
from crmgate.store.checks import NEARLY_FULL
from crmgate.store.clock import Clocks
from crmgate.store.figures import Figures
from crmgate.store.ledger import Ledger
from crmgate.store.spool import Spool
from crmgate.store.watch import Watchbook

log = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two checks."""
WORKER_MISSING = 60.0
"""Seconds without a heartbeat of any worker after which the worker is reported as missing."""
LEDGER_AWAY = 15.0
"""Seconds without a successful write after which Redis is reported as unavailable. A restart takes less."""
ROOM_AGAIN = 0.7
"""Share of Redis's `maxmemory` below which a nearly full Redis is reported again the next time."""


class Watch:
    """The watch of one process. `notify` calls a listener hook with the name and arguments of an incident.

    `limit` is the longest wait of an operation in seconds that is not reported; 0 reports none. `spool` is the spool of
    this host, which the report about Redis counts. `clock` measures durations in this process, in seconds.

    A process that starts while Redis is unavailable acts as the holder of the watch.
    """

    def __init__(
        self, book: Watchbook, ledger: Ledger, figures: Figures, clocks: Clocks, notify: Callable[..., None],
        limit: float, spool: Spool | None = None, *, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._book, self._ledger, self._figures, self._clocks = book, ledger, figures, clocks
        self._notify, self._limit, self._spool, self._clock = notify, limit, spool, clock
        self._process, self._stop = 0, threading.Event()
        self._holds = True
        self._since = clock()
        self._heartbeat = 0.0
        self._failed_at: float | None = None
        self._reported_away = False

    def start(self) -> None:
        """Start the thread of this process; a further call in the same process does nothing."""
        if self._process == os.getpid():
            return
        self._process, self._stop = os.getpid(), threading.Event()
        atexit.register(self._stop.set)
        threading.Thread(target=self._run, args=(self._stop,), name="watch", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread of this process after its current check."""
        self._stop.set()

    def look(self) -> None:
        """Check once, and report incidents that began or ended. Logs an error instead of raising it."""
        try:
            self._look(self._clock())
        except LedgerUnavailable as error:
            self._away(self._clock(), str(error))
        except Exception:
            log.exception("watch: an unexpected error; the watch continues")

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT):
            self.look()

    def _look(self, now: float) -> None:
        name = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"  # after a fork the child has another name
        held, self._holds = self._holds, self._book.hold(name)
        self._clocks.note()
        if self._failed_at is not None:
            self._back(now)
        elif not held:
            self._since = now
        if self._holds:
            at = self._ledger.now()
            self._look_for_workers(at, now - self._since)
            self._look_at_waiting(at)
            self._look_at_memory(at)

    def _away(self, now: float, reason: str) -> None:
        if self._failed_at is None:
            self._failed_at = now
        if self._holds and not self._reported_away and now - self._failed_at >= LEDGER_AWAY:
            self._reported_away = True
            log.error("Redis has been unavailable for %.0f s (%s)", now - self._failed_at, reason)
            self._notify("ledger_unavailable", reason=reason, spooled=self._spooled())

    def _spooled(self) -> int | None:
        """Number of submissions in the spool of this host; None if it takes none."""
        if self._spool is None or not self._spool.on:
            return None
        try:
            return self._spool.figures().operations
        except SpoolUnavailable as error:
            log.error("%s", error)
            return None

    def _back(self, now: float) -> None:
        """Report that Redis is available again. Workers need time for a heartbeat: their silence counts from now."""
        assert self._failed_at is not None
        seconds, self._failed_at, self._since = now - self._failed_at, None, now
        if self._reported_away:
            self._reported_away = False
            log.warning("Redis is available again after %.0f s", seconds)
            self._notify("ledger_available", seconds=seconds)

    def _look_for_workers(self, now: float, watched: float) -> None:
        """Report that no worker runs, or that one runs again. `watched`: seconds for which this process watches."""
        # A worker that stops gracefully removes its heartbeat: this process remembers the last one. After Redis's clock
        # was set back, the heartbeat of a dead worker is in the future.
        self._heartbeat = min(max(self._heartbeat, self._book.last_heartbeat()), now)
        silent = min(now - self._heartbeat, watched)
        if silent >= WORKER_MISSING:
            waiting = self._ledger.stats()["waiting"]
            if self._book.announce("worker_missing", now):
                log.error("no worker was seen for %.0f s", silent)
                self._notify("worker_missing", seconds=silent, waiting=waiting)
        elif now - self._heartbeat < WORKER_MISSING and self._book.withdraw("worker_missing"):
            log.warning("a worker runs again")
            self._notify("worker_back")

    def _look_at_waiting(self, now: float) -> None:
        oldest = self._figures.oldest_waiting() if self._limit else None
        waited = 0.0 if oldest is None else now - oldest
        if self._limit and waited > self._limit:
            waiting = self._ledger.stats()["waiting"]
            if self._book.announce("waiting_too_long", now):
                log.error("the oldest operation has waited for %.0f s", waited)
                self._notify("waiting_too_long", seconds=waited, waiting=waiting)
        elif waited <= self._limit / 2:  # half the limit: the wait of a long queue varies around the limit
            self._book.withdraw("waiting_too_long")

    def _look_at_memory(self, now: float) -> None:
        share = self._figures.memory_share() or 0.0
        if share >= NEARLY_FULL:
            waiting = self._ledger.stats()["waiting"]
            if self._book.announce("ledger_nearly_full", now):
                log.error("Redis is nearly full: %.0f %% of its maxmemory is in use", share * 100)
                self._notify("ledger_nearly_full", share=share, waiting=waiting)
        elif share < ROOM_AGAIN:  # the share varies: no second report while it stays near the limit
            self._book.withdraw("ledger_nearly_full")

"""Moves what is in the spool to Redis, in its order, in one web process of the host at a time.

Every web process has a thread that looks every `BEAT` seconds, also for what an earlier process left. A process holds
the spool's lock while it moves what Redis takes; the system releases the lock of a killed process. A submission that
Redis took is removed from the spool afterwards: after a crash in between it goes to Redis again, under the same id, and
Redis records it once. A full disk may refuse the removal: the process then keeps the ids, and goes on with the rest.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from crmgate.delivery.gateway import Gateway
from crmgate.errors import LedgerUnavailable, SpoolUnavailable
from crmgate.store.ledger import Ledger
from crmgate.store.spool import Spool
from crmgate.store.vault import Undecryptable

log = logging.getLogger(__name__)

BEAT = 0.5
"""Seconds between two looks at the spool."""
BATCH = 50
"""Number of submissions that are removed from the spool in one step."""
LATE = 60.0
"""Age of the oldest submission in seconds from which listeners are called."""
NEARLY_FULL = 0.8
"""Used share of `SPOOL_MAX` from which listeners are called once more."""


class Drain:
    """Drains the spool of this host. `notify` calls a listener hook by its name."""

    def __init__(self, spool: Spool, gateway: Gateway, ledger: Ledger, notify: Callable[..., None]) -> None:
        self._spool, self._gateway, self._ledger, self._notify = spool, gateway, ledger, notify
        self._process, self._stop = 0, threading.Event()
        self._starting = threading.Lock()
        self._refused: set[str] = set()
        """Ids that were logged as not recordable."""
        self._recorded: set[str] = set()
        """Ids that Redis has and the spool still has: a full disk may refuse to remove them."""

    def start(self) -> None:
        """Start the thread of this process; a further call in the same process does nothing."""
        if not self._spool.on or self._process == os.getpid():
            return
        with self._starting:
            if self._process == os.getpid():
                return
            self._process, self._stop = os.getpid(), threading.Event()
            atexit.register(self._stop.set)
            threading.Thread(target=self._run, args=(self._stop,), name="spool", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread of this process after its current step."""
        self._stop.set()

    def look(self) -> None:
        """Drain the spool, if this process gets its lock, until it is empty or Redis takes nothing."""
        if not self._spool.empty():
            with self._spool.claimed() as mine:
                if mine:
                    self._drain()
        self._spool.tidy()

    def _run(self, stop: threading.Event) -> None:
        problem = ""
        while not stop.wait(BEAT):
            before, problem = problem, ""
            try:
                self.look()
            except SpoolUnavailable as error:
                problem = str(error)
                if problem != before:
                    log.error("the spool is not drained: %s", problem)
            except Exception:
                log.exception("spool: an unexpected error; draining continues")

    def _drain(self) -> None:
        """Move submissions to Redis until the end of the spool, or until Redis takes nothing."""
        place, moved, works = 0, 0, True
        while works and (batch := self._spool.ids(place, BATCH)):
            before = len(self._recorded)
            try:
                for place, name in batch:  # noqa: B007
                    works = name in self._recorded or self._move(name)
                    if not works or self._stop.is_set():
                        break
            finally:
                moved += len(self._recorded) - before
                with suppress(SpoolUnavailable):
                    self._remove()
            works = works and not self._stop.is_set()
        if moved:
            log.warning("%d submissions from the spool are recorded", moved)
        self._report()
        self._remove()

    def _remove(self) -> None:
        """Remove what Redis has. If that fails, the next call does it; until then nothing is recorded again."""
        if self._recorded:
            self._spool.remove([*self._recorded])
            self._recorded.clear()

    def _move(self, name: str) -> bool:
        """Record one submission; false if Redis takes nothing. One that Redis refuses alone stays, and others go on."""
        try:
            self._record(name)
        except LedgerUnavailable as error:
            if not self._takes_writes():
                return False
            self._refuse(name, str(error))
        except Undecryptable as error:
            self._refuse(name, str(error))
        except (ValueError, SpoolUnavailable) as error:
            self._refuse(name, type(error).__name__)
        else:
            self._recorded.add(name)
        return True

    def _record(self, name: str) -> None:
        """Record one submission. Tries again after a short failure of Redis, so that no later one overtakes it."""
        entry = self._spool.read(name)
        if entry is None:
            return
        if entry.operation.unreadable:
            raise Undecryptable(entry.operation.unreadable)
        try:
            self._gateway.record_spooled(entry)
        except LedgerUnavailable:
            if not self._takes_writes():
                raise
            self._gateway.record_spooled(entry)

    def _takes_writes(self) -> bool:
        return self._ledger.health()[0].ok

    def _refuse(self, name: str, reason: str) -> None:
        if name not in self._refused:
            self._refused.add(name)
            log.error("operation %s stays in the spool: it cannot be recorded (%s)", name, reason)

    def _report(self) -> None:
        """Call the listeners if the spool is not drained for long, or nearly full: once each until it is empty."""
        found = self._spool.figures()
        if not found.operations:
            self._refused.clear()
            return
        causes = {"late": found.oldest >= LATE, "full": found.share >= NEARLY_FULL}
        if self._spool.announce([cause for cause, is_so in causes.items() if is_so]):
            log.error(
                "the spool holds %d submissions, the oldest for %.0f s; %.0f %% of SPOOL_MAX are in use",
                found.operations, found.oldest, found.share * 100,
            )  # fmt: skip
            self._notify(
                "spool_waiting", operations=found.operations, size=found.size, seconds=found.oldest, share=found.share
            )

"""Runs work in the background: a bounded queue and one thread, in each process that uses it.

Clicks behind a redirect are recorded this way, and every listener plugin is called this way. At the end of a process,
also after SIGTERM, the waiting calls are finished within `STOP_SECONDS` seconds; SIGKILL loses them. A call that is
dropped is counted and logged with the reason, never with its content.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

log = logging.getLogger(__name__)

Work = Callable[[], None]
Report = Callable[[Mapping[str, int]], None]

CAPACITY = 1000
"""Calls that may wait in one process."""
STOP_SECONDS = 5.0
"""Seconds that the end of a process may take to finish the waiting calls of all its background workers together."""
PAUSE = 1.0
"""Seconds between two log lines, and between two reports, about dropped calls."""

FULL = "too many at once"
NO_THREAD = "no thread could be started"
STOPPED = "the process stopped"


def _nothing() -> None:
    """Work that only wakes the thread."""


class Background:
    """Calls functions one after the other on a thread of its own, which starts with the first call.

    A fork leaves the parent's thread, queue and counts to the parent: the child begins with its own.
    """

    def __init__(
        self, name: str, *, capacity: int = CAPACITY, last: Work = _nothing, report: Report | None = None
    ) -> None:  # fmt: skip
        """`name` stands in the log. `last` is called on the thread when the process ends.

        `report` gets the number of dropped calls by reason; when it raises, the same numbers are reported again later.
        """
        self._make = partial(_Worker, name, capacity, last, report)
        self._workers: dict[int, _Worker] = {}

    def offer(self, work: Work) -> None:
        """Call `work` on the thread, after all earlier calls. Returns at once and never raises; a full queue drops it.

        A call that raises is counted as dropped and disturbs no other.
        """
        self._worker().offer(work)

    def drop(self, reason: str, number: int = 1) -> None:
        """Count and log calls that are dropped for a reason of the caller's."""
        self._worker().dropped.add(reason, number)

    def dropped(self) -> dict[str, int]:
        """Number of calls that this process dropped and has not reported yet, by reason."""
        return self._worker().dropped.numbers()

    @property
    def stopping(self) -> threading.Event:
        """Set when this process ends: waiting calls should not try again then."""
        return self._worker().stopping

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Finish the waiting calls within `seconds` and drop the rest, and all later ones."""
        worker = self._worker()
        worker.close()
        worker.join(seconds)

    def _worker(self) -> _Worker:
        """The worker of this process. `setdefault` is atomic, and needs no lock that a fork could leave locked."""
        process = os.getpid()
        if process not in self._workers:
            self._workers.setdefault(process, self._make())
        return self._workers[process]


def _unexpected(error: BaseException) -> str:
    """Type and place of an exception; its message may hold personal data."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"an unexpected {type(error).__name__} in {Path(place.filename).name}:{place.lineno}"


class _Worker:
    """The queue and the thread of one process."""

    def __init__(self, name: str, capacity: int, last: Work, report: Report | None) -> None:
        self.process = os.getpid()
        self.stopping = threading.Event()
        self.dropped = _Dropped(name, report)
        self._name, self._last = name, last
        self._queue: queue.Queue[Work] = queue.Queue(capacity)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def offer(self, work: Work) -> None:
        """Put `work` into the queue. During a stop only the thread itself may: what waits may lead to further calls."""
        if self.stopping.is_set() and threading.current_thread() is not self._thread:
            self.dropped.add(STOPPED)
            return
        try:
            self._start()
            self._queue.put_nowait(work)
        except queue.Full:
            self.dropped.add(FULL)
        except RuntimeError:  # the system starts no thread; the next call tries again
            self.dropped.add(NO_THREAD)

    def close(self) -> None:
        """Begin to stop."""
        self.stopping.set()
        with suppress(queue.Full):  # then the thread is awake
            self._queue.put_nowait(_nothing)

    def join(self, seconds: float) -> None:
        """Wait for the thread for at most `seconds`, then drop what is left."""
        left = 0
        if self._thread is not None:
            self._thread.join(max(seconds, 0.0))
            left = int(self._thread.is_alive())
        left += sum(work is not _nothing for work in self._drain())
        if left:
            self.dropped.add(STOPPED, left)
        self.dropped.log()
        _started.discard(self)

    def _start(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    thread.start()
                    self._thread = thread
                    _started.add(self)

    def _run(self) -> None:
        while not (self.stopping.is_set() and self._queue.empty()):
            self._call(self._next())
            self.dropped.settle()
        self._call(self._last)
        self.dropped.settle(at_once=True)

    def _next(self) -> Work:
        try:
            return self._queue.get(timeout=PAUSE)
        except queue.Empty:
            return _nothing

    def _call(self, work: Work) -> None:
        try:
            work()
        except BaseException as error:  # `sys.exit()` too: signals do not reach this thread, so it is the caller's own
            self.dropped.add(_unexpected(error))

    def _drain(self) -> Iterator[Work]:
        with suppress(queue.Empty):
            while True:
                yield self._queue.get_nowait()


class _Dropped:
    """Counts dropped calls, logs the new ones at most once in `PAUSE` seconds, and reports them."""

    def __init__(self, name: str, report: Report | None) -> None:
        self._name, self._report = name, report
        self._lock = threading.Lock()
        self._numbers: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()
        self._logged_at = self._reported_at = float("-inf")

    def add(self, reason: str, number: int = 1) -> None:
        with self._lock:
            self._numbers[reason] += number
            self._unlogged[reason] += number
        self._log_sometimes()

    def numbers(self) -> dict[str, int]:
        with self._lock:
            return dict(self._numbers)

    def settle(self, *, at_once: bool = False) -> None:
        """Log and report new dropped calls, at most once in `PAUSE` seconds unless `at_once`. On the thread only."""
        self._log_sometimes()
        if at_once or time.monotonic() >= self._reported_at + PAUSE:
            self._reported_at = time.monotonic()
            self._report_all()

    def log(self) -> None:
        """Log the dropped calls that are not logged yet."""
        with self._lock:
            unlogged, self._unlogged = self._unlogged, Counter()
            self._logged_at = time.monotonic()
        for reason, number in unlogged.items():
            log.error("%s: %d dropped (%s)", self._name, number, reason)

    def _log_sometimes(self) -> None:
        if self._unlogged and time.monotonic() >= self._logged_at + PAUSE:
            self.log()

    def _report_all(self) -> None:
        numbers = self.numbers()
        if self._report is None or not numbers:
            return
        try:
            self._report(numbers)
        except Exception as error:
            log.debug("%s: the number of dropped calls could not be reported (%s)", self._name, type(error).__name__)
        else:
            with self._lock:
                self._numbers -= Counter(numbers)


_started: set[_Worker] = set()


@atexit.register
def stop_all(seconds: float = STOP_SECONDS) -> None:
    """Stop all background workers of this process, within `seconds` together."""
    deadline = time.monotonic() + seconds
    workers = [worker for worker in list(_started) if worker.process == os.getpid()]
    for worker in workers:
        worker.close()
    for worker in workers:
        worker.join(deadline - time.monotonic())

"""Worker process, started with `huey_consumer crmgate.worker.huey -k thread -g TERM`.

Huey waits between attempts: a failed attempt raises, and Huey runs the task again after the delay that the policy
chose. When no retry is left, Huey's error signal records the dead letter. The ledger is the source of truth: if a task
is lost, the sweeper finds the overdue operation and wakes it.

One task delivers many operations: the step that records a delivery takes the next operation that waits. So Huey's work
for a task, and its round trips, are needed once for each burst, not once for each delivery.

With `-g TERM` a SIGTERM lets running tasks finish; Huey's default interrupts them.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, assert_never

from huey import RedisHuey
from huey.constants import EmptyData
from huey.signals import SIGNAL_ERROR
from huey.storage import SCHEDULE_POP_LUA, RedisStorage

from crmgate import logs
from crmgate.errors import ConfigError, LedgerUnavailable, ProviderError
from crmgate.operators.comparison import CrmShut
from crmgate.policy import Dead, Done, Hold, Retry
from crmgate.services import Services, start
from crmgate.store.checks import report
from crmgate.store.client import RedisAddress, connect
from crmgate.store.clock import redis_time
from crmgate.store.entries import NoClaim
from crmgate.store.keys import WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.wakeups import JsonSerializer

log = logging.getLogger(__name__)

PULSE_SECONDS = 2.0
"""Seconds between two heartbeats, and between two sweeps for overdue operations."""
JOB_SECONDS = 0.2
"""Seconds that a retry job waits before it checks again whether more operations may be released."""
MOST_THREADS = 64
"""Largest number of attempts at once in one process: with more, the interpreter lock of the process is the limit."""
SPARE_THREADS = 2
"""Threads for wake-ups that need no request, such as one for a dead letter, while all attempts wait for the CRM."""
LEAVE_SECONDS = 5.0
"""Seconds that the end of the consumer waits for the pulse to end."""


class WakeupStorage(RedisStorage):  # type: ignore[misc]
    """Huey's queue and schedule under the ledger's keys.

    A wake-up has no result and is never revoked. The result store is not read, which saves two round trips for each
    task.
    """

    def __init__(self, name: str, *, address: RedisAddress, **options: Any) -> None:
        super().__init__(name, **options)
        # Huey takes a URL or a connection pool, and a cluster has neither. The client it made has not connected.
        self.conn = connect(address, blocking=self.read_timeout)
        self._pop = self.conn.register_script(SCHEDULE_POP_LUA)
        self.queue_key, self.schedule_key = WAKE_LIST, WAKE_SCHEDULE

    def convert_ts(self, ts: datetime) -> float:
        """Convert Huey's naive UTC time, by this host's clock, to seconds since the epoch by Redis's clock."""
        return ts.replace(tzinfo=UTC).timestamp() - time.time() + redis_time(self.conn)

    def peek_data(self, key: str) -> Any:  # noqa: ARG002
        return EmptyData

    def peek_many(self, keys: Any) -> dict[str, bytes]:  # noqa: ARG002
        return {}

    def delete_data(self, key: str) -> bool:  # noqa: ARG002
        return False


class WakeupHuey(RedisHuey):  # type: ignore[misc]
    """Huey with crmgate's log format."""

    _consumer: Any = None
    threads = 1
    """Smallest number of threads of the consumer."""

    def create_consumer(self, **options: Any) -> Any:
        """Create the consumer. `huey_consumer` calls this after it has given Huey's logger a handler.

        It has the threads that `CRM_MAX_CONCURRENCY` can use, unless `--workers` names a larger number.
        """
        logs.adopt("huey")
        options["workers"] = max(options.get("workers", 1), self.threads)
        consumer = super().create_consumer(**options)
        # Huey sets them after its threads have started: a SIGTERM in between would lose the tasks they took.
        consumer._set_signal_handlers()
        self._consumer = consumer
        return consumer

    def ready_to_run(self, task: Any, timestamp: Any = None) -> bool:  # noqa: ARG002
        """True: a wake-up leaves the schedule when it is due by Redis's clock. Huey would ask this host's clock."""
        return True

    @property
    def stopping(self) -> bool:
        """Whether the consumer stops, as opposed to one of its threads."""
        return self._consumer is not None and bool(self._consumer.stop_flag.is_set())


class DeliveryFailed(Exception):
    """Makes Huey retry a task. The gateway has logged the failure."""


class _Expected(logging.Filter):
    """Drops Huey's traceback of a failed attempt, which the gateway has logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], DeliveryFailed))


def _start() -> Services:
    try:
        services = start()
    except ConfigError as error:
        sys.exit("crmgate cannot start:\n" + "\n".join(f"- {problem}" for problem in error.problems))
    logs.configure(services.settings.log_level, services.settings.log_format)
    report(services.ledger.health())
    logging.getLogger("huey").addFilter(_Expected())
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no log line has them
    return services


services = _start()
delivery, ledger, retries = services.delivery, services.ledger, services.desk.retries
huey = WakeupHuey(
    "crmgate", storage_class=WakeupStorage, serializer=JsonSerializer(), results=False, address=services.settings.redis
)

huey.threads = min(services.settings.max_concurrency, MOST_THREADS) + SPARE_THREADS


@huey.task(context=True)  # type: ignore[untyped-decorator]
def deliver(operation_id: str, task: Any = None) -> None:
    """Attempt to deliver an operation, and then those that wait, until one fails or none waits.

    The verdict of the policy decides whether Huey retries the task. The further operations have no task of their own:
    the ledger schedules their next attempts.
    """
    with logs.bound(operation=operation_id):
        outcome = delivery.attempt(operation_id, more=_runs)
    following = outcome.following
    while following is not None:
        with logs.bound(operation=following.claim.operation.id):
            following = delivery.follow(following, more=_runs).following
    match outcome.verdict:
        case Retry(delay, left):
            task.retries, task.retry_delay = left + 1, max(delay, 0.001)
            raise DeliveryFailed
        case Dead():
            task.retries = 0
            raise DeliveryFailed
        case Done() | Hold() | None:
            pass
        case _:
            assert_never(outcome.verdict)
    if outcome.reason is NoClaim.EXHAUSTED:  # the last attempt was made, but its dead letter was not recorded
        task.retries = 0
        raise DeliveryFailed


def _runs() -> bool:
    """Whether the consumer runs: once it stops, a task takes no further operation."""
    return not huey.stopping


@huey.signal(SIGNAL_ERROR)  # type: ignore[untyped-decorator]
def record_dead_letter(_signal: str, task: Any, error: Exception | None = None) -> None:
    """Record the dead letter of a task that failed without a retry left; if this fails, the sweeper repeats it."""
    if isinstance(error, DeliveryFailed) and not task.retries:
        delivery.record_dead_letter(task.args[0])


class Pulse:
    """Thread that sends the heartbeat of the worker and wakes overdue operations; one for each process.

    It continues until the consumer stops, also after an error, and after another thread has ended.
    """

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._started = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._job: threading.Thread | None = None
        self._comparison: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Huey calls this in each worker thread; only the first call has an effect."""
        if self._started.acquire(blocking=False):
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread and remove the worker from the list of running workers, if the consumer stops.

        Huey calls this in every worker thread that ends, also in one that an exception ends.
        """
        if huey.stopping:
            self._stop.set()
            self._thread.join(LEAVE_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            _guard("pulse", self._beat)
            self._stop.wait(PULSE_SECONDS)
        _guard("pulse", ledger.leave, self.name)

    def _beat(self) -> None:
        """Sweep and record the heartbeat of the worker. Raises `LedgerUnavailable`."""
        swept, doubtful = delivery.tend()
        ledger.beat(self.name)  # a full Redis refuses it, so it comes after the sweep
        services.clocks.note()
        services.inventory.trim(ledger.now())
        services.causes.repair(ledger.refile)
        services.index.renew()
        services.expiry.discard_old()
        services.rewriter.daily()
        self._begin_job()
        self._begin_comparison()
        if swept.woken:
            log.info("woke %d operations that were due", swept.woken)
        for provider in doubtful:  # on another thread: a CRM that hangs would stop the heartbeat
            _in_thread("probe", delivery.probe, provider)

    def _begin_job(self) -> None:
        """Continue the job that retries dead letters, if there is one, in its own thread: it can take minutes.

        If the thread of a job has ended, the job continues with the next beat.
        """
        if (self._job is None or not self._job.is_alive()) and retries.step() is not None:
            self._job = _in_thread("retries", self._carry_out)

    def _begin_comparison(self) -> None:
        """Compare the receipts with the CRM once a day, in a thread of its own: it can take minutes."""
        if services.settings.reconcile != "daily" or (self._comparison is not None and self._comparison.is_alive()):
            return
        if services.reconcile.is_due():
            self._comparison = _in_thread("reconcile", _compare, self.name)

    def _carry_out(self) -> None:
        while (looked_at := retries.step()) is not None and not self._stop.is_set():
            if not looked_at:
                self._stop.wait(JOB_SECONDS)


def _compare(process: str) -> None:
    try:
        report = services.reconcile.daily(process)
    except (CrmShut, ProviderError) as error:
        log.warning("the comparison with the CRM ended early: %s", error)
        return
    if report is not None:
        log.info("compared %d delivered operations with the CRM: it lacks %d", report.checked, report.missing)


def _in_thread(name: str, work: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=_guard, args=(name, work, *arguments), name=name, daemon=True)
    thread.start()
    return thread


def _guard(name: str, work: Callable[..., object], *arguments: object) -> None:
    """Call `work` and log what it raises: no signal reaches these threads, so nothing has to end them."""
    try:
        work(*arguments)
    except LedgerUnavailable as error:
        log.warning("the ledger is unavailable (%s)", error)
    except BaseException:
        log.exception("%s: an unexpected error; the thread continues", name)


pulse = Pulse()
huey.on_startup()(pulse.start)
huey.on_shutdown()(pulse.stop)

"""The worker: `huey_consumer crmgate.worker.huey -w 8 -k thread -g TERM`.

Huey does the waiting: a failed attempt raises, and Huey brings the task back after the delay that the policy chose.
When no retry is left, Huey's error signal records the dead letter. The ledger holds the truth: a lost task costs the
time until the sweeper finds the alarm.

`-g TERM` lets SIGTERM finish what is in hand; Huey's own default for it is to interrupt.
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
from crmgate.errors import ConfigError, LedgerUnavailable
from crmgate.policy import Dead, Done, Hold, Retry
from crmgate.services import Services, start
from crmgate.store.checks import report
from crmgate.store.client import RedisAddress, connect
from crmgate.store.entries import NoClaim
from crmgate.store.keys import WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.wakeups import JsonSerializer

log = logging.getLogger(__name__)

PULSE_SECONDS = 2.0
"""Between two heartbeats, and between two sweeps for operations that nobody woke."""

JOB_SECONDS = 0.2
"""Between two looks of a job at whether there is room for more."""
LEAVE_SECONDS = 5.0
"""That the end of the consumer waits for the pulse to end."""


class WakeupStorage(RedisStorage):  # type: ignore[misc]
    """Huey's queue and schedule beside the ledger's keys.

    A wake-up has no result and is never revoked, so that the result store is not asked: two round trips a task less.
    """

    def __init__(self, name: str, *, address: RedisAddress, **options: Any) -> None:
        super().__init__(name, **options)
        # Huey takes a URL or a pool; a cluster has neither. What it made of no address has not connected.
        self.conn = connect(address, blocking=self.read_timeout)
        self._pop = self.conn.register_script(SCHEDULE_POP_LUA)
        self.queue_key, self.schedule_key = WAKE_LIST, WAKE_SCHEDULE

    def convert_ts(self, ts: datetime) -> float:
        """Huey's naive UTC time as seconds since the epoch, whatever the time zone of the host."""
        return ts.replace(tzinfo=UTC).timestamp()

    def peek_data(self, key: str) -> Any:  # noqa: ARG002
        return EmptyData

    def peek_many(self, keys: Any) -> dict[str, bytes]:  # noqa: ARG002
        return {}

    def delete_data(self, key: str) -> bool:  # noqa: ARG002
        return False


class WakeupHuey(RedisHuey):  # type: ignore[misc]
    """Huey, logging like everything else."""

    _consumer: Any = None

    def create_consumer(self, **options: Any) -> Any:
        """Called by `huey_consumer`, which has just given Huey's logger a handler of its own."""
        logs.adopt("huey")
        consumer = super().create_consumer(**options)
        # Huey does this once its threads work: a SIGTERM before that would kill what they took.
        consumer._set_signal_handlers()
        self._consumer = consumer
        return consumer

    @property
    def stopping(self) -> bool:
        """Whether the consumer stops, as opposed to one of its threads."""
        return self._consumer is not None and bool(self._consumer.stop_flag.is_set())


class DeliveryFailed(Exception):
    """Tells Huey that an attempt failed; the log has the details."""


class _Expected(logging.Filter):
    """Drops Huey's traceback of a failed attempt: the gateway has logged the failure already."""

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
    return services


services = _start()
delivery, ledger, retries = services.delivery, services.ledger, services.desk.retries
huey = WakeupHuey(
    "crmgate", storage_class=WakeupStorage, serializer=JsonSerializer(), results=False, address=services.settings.redis
)


@huey.task(context=True)  # type: ignore[untyped-decorator]
def deliver(operation_id: str, task: Any = None) -> None:
    """Attempt one operation. What Huey does next is the policy's verdict."""
    with logs.bound(operation=operation_id):
        outcome = delivery.attempt(operation_id)
    match outcome.verdict:
        case Retry(at, left):
            task.retries, task.retry_delay = left + 1, max(at - time.time(), 0.001)
            raise DeliveryFailed
        case Dead():
            task.retries = 0
            raise DeliveryFailed
        case Done() | Hold() | None:
            pass
        case _:
            assert_never(outcome.verdict)
    if outcome.reason is NoClaim.EXHAUSTED:  # the attempt was made, but its dead letter was never recorded
        task.retries = 0
        raise DeliveryFailed


@huey.signal(SIGNAL_ERROR)  # type: ignore[untyped-decorator]
def record_dead_letter(_signal: str, task: Any, error: Exception | None = None) -> None:
    """Huey has no signal for "no retries left": it is an error with none left. Should it fail, the sweeper returns."""
    if isinstance(error, DeliveryFailed) and not task.retries:
        delivery.bury(task.args[0])


class Pulse:
    """One thread in each process that reports the worker as alive and wakes due operations that nobody woke.

    It goes on until the consumer stops, whatever error it meets and whichever other thread dies.
    """

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._started = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._job: threading.Thread | None = None

    def start(self) -> None:
        """Huey calls this in every worker thread; the first one counts."""
        if self._started.acquire(blocking=False):
            self._thread.start()

    def stop(self) -> None:
        """Huey calls this in every worker thread that ends, also in one that dies: only a stop of the consumer counts.

        Takes the worker off the list of living ones.
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
        """Sweep and say that the worker lives. Raises `LedgerUnavailable`."""
        swept, doubtful = delivery.tend()
        ledger.beat(self.name, now=time.time())  # last: a full Redis refuses it
        services.inventory.trim(time.time())
        self._begin_job()
        if swept.woken:
            log.info("woke %d operations that were due", swept.woken)
        for provider in doubtful:  # not here: a CRM that hangs would stop the heart
            _in_thread("probe", delivery.probe, provider)

    def _begin_job(self) -> None:
        """Go on with the job that retries dead letters, if one runs, in a thread of its own: it has much to do.

        A job whose thread died goes on with the next beat.
        """
        if (self._job is None or not self._job.is_alive()) and retries.step() is not None:
            self._job = _in_thread("retries", self._carry_out)

    def _carry_out(self) -> None:
        while (looked_at := retries.step()) is not None and not self._stop.is_set():
            if not looked_at:
                self._stop.wait(JOB_SECONDS)


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
        log.exception("%s: an unexpected error; it goes on", name)


pulse = Pulse()
huey.on_startup()(pulse.start)
huey.on_shutdown()(pulse.stop)

"""Progress display for long commands: the job that retries dead letters, and exports."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, assert_never

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from crmgate.cli.output import clean
from crmgate.model import rfc3339
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Count
from crmgate.operators.retries import Job
from crmgate.policy import WORKER_SILENCE
from crmgate.services import Services
from crmgate.store.entries import JobState
from crmgate.store.gate import explain

STALL = 3.0
"""Seconds without progress after which the reason is shown."""
POLL = 0.3
"""Seconds between two readings of a job's state."""

T = TypeVar("T")


class RateColumn(ProgressColumn):
    """Entries per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal. Yields a function that takes the number of finished entries.

    `total` is the number of entries, None if it is unknown.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeElapsedColumn(),
               TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def counted(entries: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    """Yield `entries` and show the progress through them; `total` as for `progress`."""
    with progress(what, total) as done:
        for number, entry in enumerate(entries, 1):
            yield entry
            done(number)


def follow(parts: Services, job: Job) -> Job:
    """Show a job's progress until it ends, or until Ctrl-C, which leaves it running. Returns its last known state.

    Raises `LedgerUnavailable` if Redis stops answering.
    """
    shown = ""
    try:
        with progress("Retrying dead letters", job.total) as done:
            while job.state == JobState.RUNNING:
                if parts.ledger.now() - max(job.started_at, job.moved_at) > STALL and (why := _why(parts)) != shown:
                    shown = why
                    sys.stderr.write(f"{why}\n")
                time.sleep(POLL)
                job = parts.desk.retries.get(job.id) or job
                done(job.seen)
    except KeyboardInterrupt:
        left = "The job continues in the worker: `crmgate dlq retry --follow` shows it, --cancel ends it."
        click.echo(f"\n{left}", err=True)
    return job


def to_json(job: Job) -> dict[str, Any]:
    """The job as an object for JSON."""
    names = ("id", "state", "who", "total", "seen", "released")
    times = {"started_at": job.started_at, "ended_at": job.ended_at}
    return {name: getattr(job, name) for name in names} | {
        name: rfc3339(at) if at else None for name, at in times.items()
    }


def ended(job: Job) -> str:
    """A sentence with the state and the result of a job."""
    return f"{_status(job.state)}: {job.released} of {job.total} dead letters are waiting again ({job.id})."


def _status(state: JobState) -> str:
    if not state.known:
        return f"The job has the state {state}"
    match state:
        case JobState.RUNNING:
            return "The job is running"
        case JobState.FINISHED:
            return "The job is finished"
        case JobState.CANCELLED:
            return "The job was cancelled"
        case _:
            assert_never(state)


def number_of(count: Count) -> str:
    """The number of dead letters in words."""
    return f"{count.number:,}{'' if count.exact else ' or more'} dead letters"


def latest(desk: Desk) -> Job:
    """The job that was started last. Raises `click.ClickException` if no job was started."""
    job = desk.retries.current()
    if job is None:
        raise click.ClickException("there is no job: `crmgate dlq retry --all` starts one")
    return job


def _why(parts: Services) -> str:
    """Why a job makes no progress."""
    if not parts.ledger.workers_seen(WORKER_SILENCE):
        start = "start one with `huey_consumer crmgate.worker.huey`"
        return f"No worker was seen for {WORKER_SILENCE:.0f} s, and only a worker can retry: {start}."
    if shut := explain(parts.desk.waiting.gate()):
        return f"{clean(parts.crm.label)} takes nothing now: {shut.what}. The job waits. What to do: {shut.remedy}."
    return "Other operations wait for the CRM: the job continues when fewer of them wait."

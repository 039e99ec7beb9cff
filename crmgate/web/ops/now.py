"""`/ops/`: what happens now, why, and what to press."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Response

from crmgate.model import Operation, State
from crmgate.operators.inventory import Filter
from crmgate.policy import WORKER_SILENCE
from crmgate.store.gate import explain
from crmgate.web.ops import figures
from crmgate.web.ops.progress import progress
from crmgate.web.ops.shell import blueprint, page
from crmgate.web.services import services

EVENTS = 10
"""Number of events that the page shows."""


@dataclass(frozen=True, slots=True)
class RecentEvent:
    """An event of the operation `on`. `at` is in seconds since the epoch."""

    at: float
    what: str
    on: str = ""
    tracking_code: str = ""
    code: str = ""
    detail: str = ""


@blueprint.get("/")
def now() -> Response:
    """Gate, worker, Redis, waiting operations, causes of dead letters, the running job, the last events."""
    parts = services()
    gate = parts.desk.waiting.gate()
    redis, *dangers = parts.ledger.health()
    at, oldest = parts.ledger.now(), parts.figures.oldest_waiting()
    job = parts.desk.retries.current()
    stats = parts.ledger.stats()
    return page(
        "ops/now.html",
        gate=gate, stopped=explain(gate), workers=parts.ledger.workers_seen(WORKER_SILENCE), silence=WORKER_SILENCE,
        redis=redis, dangers=[danger for danger in dangers if not danger.ok], stats=stats,
        waited=at - oldest if oldest else 0.0, causes=figures.causes(), hours=figures.hours(at),
        job=progress(job, at, shut=bool(gate.cause)) if job else None, happenings=_happenings(),
        spool=figures.spool(),
    )  # fmt: skip


def _happenings() -> list[RecentEvent]:
    """The last events, newest first, of the operations that were accepted or became dead letters last."""
    inventory = services().inventory
    lists = (inventory.page(Filter(state=state), limit=EVENTS) for state in (None, State.DEAD))
    found = {event for each in lists for operation in each.items for event in _of(operation)}
    return sorted(found, key=lambda event: event.at, reverse=True)[:EVENTS]


def _of(operation: Operation) -> Iterator[RecentEvent]:
    yield RecentEvent(operation.accepted_at, "accepted", operation.id, operation.tracking_code)
    for event in operation.events:
        yield RecentEvent(event.at, event.outcome, operation.id, operation.tracking_code, event.code, event.detail)

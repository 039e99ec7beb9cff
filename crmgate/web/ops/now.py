"""`/ops/`: what happens now, why, and what to do."""

from __future__ import annotations

import logging

from flask import Response

from crmgate.errors import SpoolUnavailable
from crmgate.policy import WORKER_SILENCE
from crmgate.store.gate import explain
from crmgate.store.spool import SpoolFigures
from crmgate.web.ops.progress import progress
from crmgate.web.ops.shell import blueprint, page
from crmgate.web.services import services

log = logging.getLogger(__name__)


@blueprint.get("/")
def now() -> Response:
    """Gate, worker, Redis, what waits, causes of dead letters, what the CRM lacks, the running job, the last events."""
    parts = services()
    gate = parts.desk.waiting.gate()
    redis, *dangers = parts.ledger.health()
    at, oldest = parts.ledger.now(), parts.figures.oldest_waiting()
    causes = parts.numbers.causes()
    job = parts.desk.retries.current()
    return page(
        "ops/now.html",
        gate=gate, stopped=explain(gate), workers=parts.ledger.workers_seen(WORKER_SILENCE), silence=WORKER_SILENCE,
        redis=redis, dangers=[danger for danger in dangers if not danger.ok], stats=parts.ledger.stats(),
        waited=at - oldest if oldest else 0.0, causes=causes.items, unfiled=causes.dead - causes.indexed,
        hours=parts.numbers.hours(), spool=_spool(), compared=parts.reconcile.last(),
        job=progress(job, at, shut=bool(gate.cause)) if job else None, happenings=parts.numbers.latest(),
    )  # fmt: skip


def _spool() -> SpoolFigures:
    """What the spool of this host holds; zeros without a spool."""
    own = services().spool
    try:
        return own.figures() if own and own.on else SpoolFigures()
    except SpoolUnavailable as error:
        log.error("%s", error)
        return SpoolFigures()

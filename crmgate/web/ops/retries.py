"""`/ops/retries`: retry all dead letters that match a filter, with the count first, progress and cancel."""

from __future__ import annotations

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.errors import NoSuchOperation
from crmgate.web.ops import filters
from crmgate.web.ops.progress import progress
from crmgate.web.ops.shell import actor, blueprint, go, page, require_operate
from crmgate.web.services import services


@blueprint.get("/retries/new")
def new_retry() -> Response:
    """The number of dead letters that match, before anything is done. The filter excludes later dead letters."""
    require_operate()
    count, fixed = services().desk.retries.preview(filters.asked().filter)
    running = services().desk.retries.current()
    return page("ops/retry_new.html", count=count, fields=filters.fields(fixed), wanted=fixed, running=running)


@blueprint.post("/retries")
def start_retry() -> BaseResponse:
    """Start the job."""
    require_operate()
    job = services().desk.start_retries(filters.asked(request.form).filter, actor())
    return go("ops.retry_job", job_id=job.id)


@blueprint.get("/retries/<job_id>")
def retry_job(job_id: str) -> Response:
    """A job with its progress."""
    parts = services()
    job = parts.desk.retries.get(job_id)
    if job is None:
        raise NoSuchOperation
    shown = progress(job, parts.ledger.now(), shut=bool(parts.desk.waiting.gate().cause))
    return page("ops/retry_job.html", progress=shown, fields=filters.fields(job.filter))


@blueprint.post("/retries/<job_id>/cancel")
def cancel_retry(job_id: str) -> BaseResponse:
    """Cancel the job after its current batch."""
    require_operate()
    services().desk.cancel_retries(job_id, actor())
    return go("ops.retry_job", job_id=job_id)

"""`/api/v1/dead-letters/retries`: retries many dead letters with a job that the workers run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, url_for
from marshmallow import Schema, fields

from crmgate.errors import NoSuchOperation
from crmgate.operators.inventory import Filter
from crmgate.operators.retries import Job
from crmgate.store.tokens import Scope
from crmgate.web.answers import JobSchema, LatestJobSchema, PreviewSchema
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import FilterSchema, members_of, read_many, selection
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("retries", __name__, url_prefix="/api/v1/dead-letters/retries")

_TAG = "Dead letters"
_JOB = {
    "name": "job_id", "in": "path", "required": True, "example": "88c58fe866724682b5bfaf3062997351",
    "description": "The `id` of a job.", "schema": {"type": "string"},
}  # fmt: skip


class RetriesSchema(Schema):
    """The dead letters to retry, and whether to start the job."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    filter = fields.Nested(FilterSchema)
    start = fields.Boolean(metadata={"description": "Start the job; without it the answer is a preview."})


@blueprint.post("")
@Describe(
    "Retry many", _TAG,
    {
        200: ResponseDoc("The preview; no job was started.", PreviewSchema),
        202: ResponseDoc("The job was started.", JobSchema, ("Location",)),
    },
    token=Scope.OPERATE, problems=[*READ_BODY, ProblemCode.JOB_RUNNING],
    body=Body(RetriesSchema, (
        Example("Preview", {"filter": {"code": "timeout"}}, 200),
        Example("Start", {"filter": {"code": "timeout"}, "start": True}, 202),
    )),
)  # fmt: skip
def create() -> Response:
    """Preview a job, or with `start` start it. The filter in the answer fixes the selection for a later start."""
    token = require(Scope.OPERATE)
    asked = read_many(read_body()[0], ("filter", "start"))
    if not asked.start:
        return answer(previewed(asked.filter))
    job = services().desk.start_retries(asked.filter, token.name)
    response = answer(_job(job), 202)
    response.headers["Location"] = url_for("retries.show", job_id=job.id)
    return response


@blueprint.get("")
@Describe("Show the last job", _TAG, {200: ResponseDoc("The job, or null.", LatestJobSchema)}, token=Scope.READ)
def latest() -> Response:
    """The job that was started last."""
    require(Scope.READ)
    job = services().desk.retries.current()
    return answer({"job": _job(job) if job else None})


@blueprint.get("/<job_id>")
@Describe(
    "Show a job", _TAG, {200: ResponseDoc("The job with its progress.", JobSchema)}, token=Scope.READ,
    parameters=[_JOB], problems=[ProblemCode.NOT_FOUND],
)  # fmt: skip
def show(job_id: str) -> Response:
    """A job with its progress."""
    require(Scope.READ)
    job = services().desk.retries.get(job_id)
    if job is None:
        raise NoSuchOperation
    return answer(_job(job))


@blueprint.delete("/<job_id>")
@Describe(
    "Cancel a job", _TAG, {200: ResponseDoc("The cancelled job.", JobSchema)}, token=Scope.OPERATE,
    parameters=[_JOB], problems=[ProblemCode.NOT_FOUND],
)  # fmt: skip
def cancel(job_id: str) -> Response:
    """Cancel a job after its current batch. Dead letters that it already retried are not taken back."""
    token = require(Scope.OPERATE)
    return answer(_job(services().desk.cancel_retries(job_id, token.name)))


def previewed(wanted: Filter) -> dict[str, Any]:
    """The number of dead letters that match, and the filter that selects exactly these."""
    count, fixed = services().desk.retries.preview(wanted)
    return {"count": count.number, "exact": count.exact, "filter": selection(fixed)}


def _job(job: Job) -> dict[str, Any]:
    members = members_of(asdict(job))
    del members["cursor"]
    return members | {"filter": selection(job.filter)}

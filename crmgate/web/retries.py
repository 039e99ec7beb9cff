"""`/api/v1/dead-letters/retries`: retries many dead letters with a job that the workers run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, url_for
from marshmallow import Schema, fields

from crmgate.errors import NoSuchOperation
from crmgate.operators.inventory import Filter
from crmgate.operators.retries import Job
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.store.tokens import Scope
from crmgate.web.answers import JobSchema, LatestJobSchema, PreviewSchema
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import FilterSchema, members_of, read_filter, selection
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
    wanted, start = _read(read_body()[0])
    if not start:
        count, fixed = services().desk.retries.preview(wanted)
        return answer({"count": count.number, "exact": count.exact, "filter": selection(fixed)})
    job = services().desk.start_retries(wanted, token.name)
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


def _read(body: Mapping[str, Any]) -> tuple[Filter, bool]:
    wanted, start = body.get("filter") or {}, body.get("start", False)
    errors = [
        FieldError(name[:64], FieldCode.UNKNOWN_FIELD, "Expected one of: filter, start.")
        for name in body.keys() - {"filter", "start"}
    ]
    if not isinstance(wanted, Mapping):
        errors.append(FieldError("filter", FieldCode.INVALID_TYPE, "Expected an object."))
    if not isinstance(start, bool):
        errors.append(FieldError("start", FieldCode.INVALID_TYPE, "Expected true or false."))
    if errors:
        raise InvalidFields(errors)
    return read_filter(wanted, "filter"), start


def _job(job: Job) -> dict[str, Any]:
    members = members_of(asdict(job))
    del members["cursor"]
    return members | {"filter": selection(job.filter)}

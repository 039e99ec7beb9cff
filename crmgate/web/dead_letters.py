"""`/api/v1/dead-letters`: what waits for a person, and what a person can do about it.

Suspects are dealt with here, too (`state=suspect`). Whoever may only look sees no payload: that is personal data.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, stream_with_context
from marshmallow import Schema

from crmgate.channels import known_channels
from crmgate.model import Operation, State
from crmgate.operators import export
from crmgate.operators.desk import KEPT_ASIDE
from crmgate.schemas import FieldWarning
from crmgate.schemas.coded import Group
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.edit import edited
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import Text
from crmgate.store.audit import Action
from crmgate.store.tokens import Scope, Token
from crmgate.web.answers import DeadLetterSchema, ListedSchema, SummarySchema
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.codes import ProblemCode
from crmgate.web.filters import DeadLettersQuery, ExportQuery, read_list
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.operations import ID
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer, details, listed, summary
from crmgate.web.services import services

REASON = 300
"""Characters of the reason for which something is discarded."""

blueprint = Blueprint("dead_letters", __name__, url_prefix="/api/v1/dead-letters")


_TAG = "Dead letters"
_ONE = (ProblemCode.NOT_FOUND, ProblemCode.NOT_A_DEAD_LETTER)
_VERSION = {
    "name": "If-Match", "in": "header", "description": "The `ETag` that came with what you edited. Needed.",
    "schema": {"type": "string"}, "example": '"3"',
}  # fmt: skip
_EDITS = (
    Example("Correct a number", {"phone": "+905321234567"}, 200),
    Example("Correct a click", {"channel": "whatsapp", "metadata": {"page": "/prices"}}, 200),
)


class PatchSchema(Schema):
    """Fields of the payload with their new values; null takes one away (RFC 7396)."""


class ReasonSchema(Group):
    """Why something is discarded."""

    reason = Text(REASON, required=True, example="A test of ours.", about="Leave out whom it is about.")


@blueprint.get("")
@Describe(
    "List dead letters", _TAG, {200: ResponseDoc("A page of them, the latest first.", ListedSchema)},
    token=Scope.READ, query=DeadLettersQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def index() -> Response:
    """The dead letters (or with `state=suspect` the suspects), the newest first."""
    require(Scope.READ)
    asked = read_list(request.args, KEPT_ASIDE, State.DEAD)
    page = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    return answer(listed(page.items, page.next))


@blueprint.get("/<operation_id>")
@Describe(
    "Look at one", _TAG, {200: ResponseDoc("It, with its history.", DeadLetterSchema, ("ETag",))},
    token=Scope.READ, parameters=[ID], problems=_ONE,
)  # fmt: skip
def show(operation_id: str) -> Response:
    """One of them with its history; its payload too for who may change it. `ETag` is the version for an edit."""
    token = require(Scope.READ)
    return _whole(services().desk.get(operation_id), token)


@blueprint.patch("/<operation_id>")
@Describe(
    "Edit one", _TAG, {200: ResponseDoc("It, as it is now.", DeadLetterSchema, ("ETag",))},
    token=Scope.OPERATE, parameters=[ID, _VERSION],
    body=Body(PatchSchema, _EDITS),
    problems=[*_ONE, *READ_BODY, ProblemCode.CHANGED_MEANWHILE, ProblemCode.VERSION_REQUIRED],
)  # fmt: skip
def edit(operation_id: str) -> Response:
    """Change fields of the payload of an application or a click (RFC 7396), checked as by the door that took it.

    `session`, and of a click `occurred_at`, stay as they are.
    """
    token = require(Scope.OPERATE)
    body, desk = read_body(), services().desk
    operation = desk.get(operation_id)
    if operation.version != _version():
        raise Problem(ProblemCode.CHANGED_MEANWHILE, "Nothing was changed. Read it again and edit that version.")
    settings = services().settings
    payload, warnings = edited(
        operation, body,
        default_region=settings.default_phone_region, channels=known_channels(settings.channels),
    )  # fmt: skip
    return _whole(desk.amend(operation, payload, token.name), token, warnings)


@blueprint.post("/<operation_id>/retry")
@Describe(
    "Retry one", _TAG, {202: ResponseDoc("It waits again.", SummarySchema, (), "waiting")},
    token=Scope.OPERATE, parameters=[ID], problems=_ONE,
)  # fmt: skip
def retry(operation_id: str) -> Response:
    """Try it again, with all its retries: 202, for the CRM has not seen it yet."""
    token = require(Scope.OPERATE)
    return answer(summary(services().desk.retry(operation_id, token.name)), 202)


@blueprint.delete("/<operation_id>")
@Describe(
    "Discard one", _TAG, {200: ResponseDoc("It has ended.", SummarySchema, (), "discarded")},
    token=Scope.OPERATE, parameters=[ID], problems=[*_ONE, *READ_BODY],
    body=Body(ReasonSchema, (Example("A test", {"reason": "A test of ours."}, 200),)),
)  # fmt: skip
def discard(operation_id: str) -> Response:
    """End it without a delivery; the reason in the body stands in its history."""
    token = require(Scope.OPERATE)
    reason = read_body().get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidFields([FieldError("reason", FieldCode.REQUIRED, "Say why; leave out whom it is about.")])
    if len(reason) > REASON:
        message = f"At most {REASON} characters are accepted."
        raise InvalidFields([FieldError("reason", FieldCode.TOO_LONG, message)])
    return answer(summary(services().desk.discard(operation_id, reason.strip(), token.name)))


@blueprint.get("/export")
@Describe(
    "Export all of them", _TAG,
    {200: ResponseDoc("One a line.", headers=("Content-Disposition",), media="text/csv", also=("application/jsonl",))},
    token=Scope.OPERATE, query=ExportQuery, problems=[ProblemCode.INVALID_QUERY],
)  # fmt: skip
def download() -> Response:
    """All that pass the filter with their payloads, as `format=csv` or `jsonl`, sent while they are read."""
    token = require(Scope.OPERATE)
    query = request.args.to_dict()
    form = query.pop("format", "csv")
    if form not in export.TYPES:
        error = FieldError("format", FieldCode.INVALID_CHOICE, f"Expected one of: {', '.join(export.TYPES)}.")
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the query and ask again.", errors=[error])
    asked = read_list(query, KEPT_ASIDE, State.DEAD)
    state = asked.filter.state or State.DEAD
    services().audit.record(token.name, Action.EXPORT, state, form)
    name = f"attachment; filename=crmgate-{state}.{form}"
    lines = export.lines(services().inventory.all(asked.filter), form)
    headers = {"Content-Disposition": name, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(stream_with_context(lines), headers=headers, content_type=export.TYPES[form])


def _whole(operation: Operation, token: Token, warnings: tuple[FieldWarning, ...] = ()) -> Response:
    body: dict[str, Any] = summary(operation) | details(operation) | {"version": operation.version}
    if token.allows(Scope.OPERATE):
        body["payload"] = operation.payload
    if warnings:
        body["warnings"] = warnings
    response = answer(body)
    response.set_etag(str(operation.version))
    return response


def _version() -> int:
    """The version that the caller edited. Raises `Problem`: 428 without one (RFC 6585)."""
    tags = request.if_match.as_set()
    if len(tags) != 1:
        detail = "Nothing was changed. Send the ETag that came with it in the header If-Match."
        raise Problem(ProblemCode.VERSION_REQUIRED, detail)
    [tag] = tags
    return int(tag) if tag.isdecimal() and tag.isascii() and len(tag) < 10 else -1

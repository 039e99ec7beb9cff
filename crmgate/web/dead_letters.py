"""`/api/v1/dead-letters`: what waits for a person, and what a person can do about it.

Suspects are dealt with here, too (`state=suspect`). Whoever may only look sees no payload: that is personal data.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, stream_with_context

from crmgate import export
from crmgate.desk import KEPT_ASIDE
from crmgate.model import Operation, State
from crmgate.tokens import Scope, Token
from crmgate.web.auth import require
from crmgate.web.body import read_body
from crmgate.web.codes import FieldCode, ProblemCode
from crmgate.web.filters import read_list
from crmgate.web.problems import FieldError, InvalidBody, Problem
from crmgate.web.receipts import answer, details, listed, summary
from crmgate.web.schemas import FieldWarning
from crmgate.web.schemas.edit import edited
from crmgate.web.services import services

REASON = 300
"""Characters of the reason for which something is discarded."""

blueprint = Blueprint("dead_letters", __name__, url_prefix="/api/v1/dead-letters")


@blueprint.get("")
def index() -> Response:
    """The dead letters (or with `state=suspect` the suspects), the newest first."""
    require(Scope.READ)
    asked = read_list(request.args, KEPT_ASIDE, State.DEAD)
    page = services().inventory.page(asked.filter, asked.cursor, asked.limit)
    return answer(listed(page.items, page.next))


@blueprint.get("/<operation_id>")
def show(operation_id: str) -> Response:
    """One of them with its history; its payload too for who may change it. `ETag` is the version for an edit."""
    token = require(Scope.READ)
    return _whole(services().desk.get(operation_id), token)


@blueprint.patch("/<operation_id>")
def edit(operation_id: str) -> Response:
    """Change fields of the payload (RFC 7396), checked as by the door that took it."""
    token = require(Scope.OPERATE)
    body, desk = read_body(), services().desk
    operation = desk.get(operation_id)
    if operation.version != _version():
        raise Problem(ProblemCode.CHANGED_MEANWHILE, "Nothing was changed. Read it again and edit that version.")
    payload, warnings = edited(operation, body, default_region=services().settings.default_phone_region)
    return _whole(desk.amend(operation, payload, token.name), token, warnings)


@blueprint.post("/<operation_id>/retry")
def retry(operation_id: str) -> Response:
    """Try it again, with all its retries: 202, for the CRM has not seen it yet."""
    token = require(Scope.OPERATE)
    return answer(summary(services().desk.retry(operation_id, token.name)), 202)


@blueprint.delete("/<operation_id>")
def discard(operation_id: str) -> Response:
    """End it without a delivery; the reason in the body stands in its history."""
    token = require(Scope.OPERATE)
    reason = read_body().get("reason")
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidBody([FieldError("reason", FieldCode.REQUIRED, "Say why; leave out whom it is about.")])
    if len(reason) > REASON:
        message = f"At most {REASON} characters are accepted."
        raise InvalidBody([FieldError("reason", FieldCode.TOO_LONG, message)])
    return answer(summary(services().desk.discard(operation_id, reason.strip(), token.name)))


@blueprint.get("/export")
def download() -> Response:
    """All that pass the filter with their payloads, as `format=csv` or `jsonl`, sent while they are read."""
    token = require(Scope.OPERATE)
    query = request.args.to_dict()
    form = query.pop("format", "csv")
    if form not in export.TYPES:
        error = FieldError("format", FieldCode.INVALID_CHOICE, f"Expected one of: {', '.join(export.TYPES)}.")
        raise Problem(ProblemCode.INVALID_QUERY, "Correct the query and ask again.", errors=[error])
    asked = read_list(query, KEPT_ASIDE, State.DEAD)
    services().audit.record(token.name, "dead_letters.export", asked.filter.state, form)
    name = f"attachment; filename=crmgate-{asked.filter.state}.{form}"
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

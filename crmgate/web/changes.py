"""Shared by the routes for dead letters and operations: an operator edits, retries or discards one operation."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from marshmallow import Schema

from crmgate.channels import known_channels
from crmgate.model import Operation
from crmgate.schemas import FieldWarning
from crmgate.schemas.coded import Group
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.edit import edited
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import Text
from crmgate.store.tokens import Scope, Token
from crmgate.web.answers import DeadLetterSchema, SummarySchema
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer, details, summary
from crmgate.web.services import services

REASON = 300
"""Largest number of characters in the reason for a discard."""
ID = {
    "name": "operation_id", "in": "path", "required": True, "example": "88c58fe866724682b5bfaf3062997351",
    "description": "The `id` of a receipt.", "schema": {"type": "string"},
}  # fmt: skip
UNCHANGEABLE = (ProblemCode.NOT_FOUND, ProblemCode.NOT_A_DEAD_LETTER, ProblemCode.UNDER_WAY)
"""Problems of an operation that an operator cannot change."""
_VERSION = {
    "name": "If-Match", "in": "header", "description": "The `ETag` of the version that you edited. Required.",
    "schema": {"type": "string"}, "example": '"3"',
}  # fmt: skip
_EDITS = (
    Example("Correct a number", {"phone": "+905321234567"}, 200),
    Example("Correct a click", {"channel": "whatsapp", "metadata": {"page": "/prices"}}, 200),
)


class PatchSchema(Schema):
    """Fields of the payload with their new values; null removes a field (RFC 7396)."""


class ReasonSchema(Group):
    """The reason for a discard."""

    reason = Text(REASON, required=True, example="A test of ours.", about="Kept with the receipt: no personal data.")


def describe_edit(summary: str, tag: str) -> Describe:
    """The description of a route that edits one operation."""
    return Describe(
        summary, tag, {200: ResponseDoc("The changed operation.", DeadLetterSchema, ("ETag",))},
        token=Scope.OPERATE, parameters=[ID, _VERSION], body=Body(PatchSchema, _EDITS),
        problems=[*UNCHANGEABLE, *READ_BODY, ProblemCode.CHANGED_MEANWHILE, ProblemCode.VERSION_REQUIRED],
    )  # fmt: skip


def describe_retry(summary: str, tag: str) -> Describe:
    """The description of a route that retries one operation."""
    return Describe(
        summary, tag, {202: ResponseDoc("The operation waits; `waits` has the reason.", SummarySchema, (), "waiting")},
        token=Scope.OPERATE, parameters=[ID], problems=UNCHANGEABLE,
    )  # fmt: skip


def describe_discard(summary: str, tag: str) -> Describe:
    """The description of a route that discards one operation."""
    return Describe(
        summary, tag, {200: ResponseDoc("The operation has ended.", SummarySchema, (), "discarded")},
        token=Scope.OPERATE, parameters=[ID], problems=[*UNCHANGEABLE, *READ_BODY],
        body=Body(ReasonSchema, (Example("A test", {"reason": "A test of ours."}, 200),)),
    )  # fmt: skip


def edit(operation_id: str) -> Response:
    """Apply the merge patch in the body (RFC 7396) to an operation's payload, if `If-Match` names its version.

    Raises `Problem` (412 for another version, 428 without one), `InvalidFields`, the errors in `UNCHANGEABLE`, and
    `LedgerUnavailable`.
    """
    token = require(Scope.OPERATE)
    (body, _), desk = read_body(), services().desk
    operation = desk.get(operation_id)
    if operation.version != _version():
        raise Problem(ProblemCode.CHANGED_MEANWHILE, "Nothing was changed. Read it again and edit that version.")
    settings = services().settings
    payload, warnings = edited(
        operation, body,
        default_region=settings.default_phone_region, channels=known_channels(settings.channels),
    )  # fmt: skip
    return whole(desk.amend(operation, payload, token.name), token, warnings)


def retry(operation_id: str) -> Response:
    """Retry an operation now. Answers 202, because the CRM does not have it yet."""
    token = require(Scope.OPERATE)
    return answer(summary(services().desk.retry(operation_id, token.name)), 202)


def discard(operation_id: str) -> Response:
    """End an operation without a delivery, for the reason in the body."""
    token = require(Scope.OPERATE)
    return answer(summary(services().desk.discard(operation_id, _reason(), token.name)))


def whole(operation: Operation, token: Token, warnings: tuple[FieldWarning, ...] = ()) -> Response:
    """The answer with an operation, its history and its payload, masked for `read`. `ETag` is the version."""
    payload = services().payloads.shown(operation, token.scope, token.name)
    body: dict[str, Any] = summary(operation) | details(operation) | {"payload": payload}
    if warnings:
        body["warnings"] = warnings
    return with_version(answer(body), operation)


def with_version(response: Response, operation: Operation) -> Response:
    """Set the version of the operation as the `ETag` of `response`, and return it."""
    response.set_etag(str(operation.version))
    return response


def _reason() -> str:
    reason = read_body()[0].get("reason")
    if errors := no_reason(reason):
        raise InvalidFields(errors)
    return str(reason).strip()


def no_reason(reason: object) -> list[FieldError]:
    """The error of a reason for a discard; empty if it is one."""
    if not isinstance(reason, str) or not reason.strip():
        return [FieldError("reason", FieldCode.REQUIRED, "Give a reason, without personal data.")]
    if len(reason) > REASON:
        return [FieldError("reason", FieldCode.TOO_LONG, f"At most {REASON} characters are accepted.")]
    return []


def _version() -> int:
    """The version in `If-Match`; -1 if it is not a version. Raises `Problem`: 428 without exactly one (RFC 6585)."""
    tags = request.if_match.as_set()
    if len(tags) != 1:
        detail = "Nothing was changed. Send the ETag of the version that you edited in the header If-Match."
        raise Problem(ProblemCode.VERSION_REQUIRED, detail)
    [tag] = tags
    return int(tag) if tag.isdecimal() and tag.isascii() and len(tag) < 10 else -1

"""What every submission has in common, an application or a click: reading it, handing it over, answering."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from flask import Response, jsonify, redirect, request, url_for
from werkzeug.http import parse_list_header
from werkzeug.wrappers import Response as BaseResponse

from crmgate.delivery.identity import known_by
from crmgate.errors import KeyReused, StillRunning
from crmgate.model import Kind, Operation, State
from crmgate.schemas import FieldWarning
from crmgate.schemas.faults import InvalidFields
from crmgate.web import limits, traps
from crmgate.web.answers import SubmittedSchema
from crmgate.web.auth import caller
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.codes import ProblemCode
from crmgate.web.next_url import next_url
from crmgate.web.openapi import ResponseDoc
from crmgate.web.pages import FORM_TYPES, page, wants_page
from crmgate.web.problems import Problem
from crmgate.web.receipts import crm_record, receipt
from crmgate.web.services import services

DOUBLE_CLICK = 60.0
"""Seconds in which the same content from the same session, sent without a key, is the same submission."""
MAX_KEY = 255
KEY = re.compile(rf"[ -~]{{1,{MAX_KEY}}}")

T = TypeVar("T")

# What every door for submissions says of itself in the description of the API.
_HEADERS, _PAGE = ("Location", "Preference-Applied"), ("text/html",)
ANSWERS = {
    201: ResponseDoc("The CRM has it. A browser's form gets a page.", SubmittedSchema, _HEADERS, also=_PAGE),
    202: ResponseDoc("It is recorded, and will reach the CRM.", SubmittedSchema, _HEADERS, "waiting", also=_PAGE),
    303: ResponseDoc("A form's `_next`: it is recorded, and the browser is sent there.", headers=_HEADERS),
}
PROBLEMS = (
    *READ_BODY, ProblemCode.INVALID_IDEMPOTENCY_KEY, ProblemCode.STILL_RUNNING, ProblemCode.IDEMPOTENCY_KEY_REUSED,
    ProblemCode.RATE_LIMITED, ProblemCode.SERVICE_UNAVAILABLE,
)  # fmt: skip
PARAMETERS = (
    {
        "name": "Idempotency-Key", "in": "header", "example": "b0a3d0c4-6a3e-4c53-8f7e-3d0a4a9b8c11",
        "description": "Makes it safe to send again: for 24 hours the same key and content are the same submission.",
        "schema": {"type": "string", "pattern": f"^{KEY.pattern}$"},
    },
    {
        "name": "Prefer", "in": "header", "example": "respond-async",
        "description": "`respond-async` (RFC 7240) does not wait for the CRM: 202.", "schema": {"type": "string"},
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Form:
    """How a body came in: where its form wants to lead the visitor, and whether a robot seems to have filled it in."""

    goal: str | None = None
    suspect: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """What is handed over, and what its sender should know. `thanks` is the page for a browser.

    `content` makes two submissions the same, where the payload holds more than the sender said.
    """

    kind: Kind
    payload: dict[str, Any]
    warnings: Sequence[FieldWarning]
    thanks: str
    content: Any = None


def read(
    parse: Callable[[dict[str, Any]], T], people: Callable[[T], tuple[str, ...]] = lambda _parsed: ()
) -> tuple[T, Form]:
    """The parsed body and how it came in, counted by its address and the `people` in it.

    Raises `InvalidFields` with every error at once, and `Problem`, 429 among them.
    """
    limit = services().settings.limits.address
    try:
        parsed, form = _read(parse)
        key = _idempotency_key()
    except (InvalidFields, Problem):
        limits.admit(limit)  # what has a fault is work, too
        raise
    limits.admit(limit, people(parsed), known_by(key) if key else "")
    return parsed, form


def _read(parse: Callable[[dict[str, Any]], T]) -> tuple[T, Form]:
    settings, raw = services().settings, read_body()
    suspect = traps.caught(raw, settings.honeypot_field, settings.min_fill_seconds)
    goal, errors = next_url(raw, settings.allowed_origins) if request.mimetype in FORM_TYPES else (None, [])
    try:
        parsed = parse(raw)
    except InvalidFields as invalid:
        raise InvalidFields([*invalid.errors, *errors]) from None
    if errors:
        raise InvalidFields(errors)
    return parsed, Form(goal, suspect)


def deliver(submission: Submission, form: Form) -> BaseResponse:
    """Accept it: 201 when the CRM has it, 202 while it waits; a form with `_next` gets 303."""
    asynchronous = _prefers_async()
    inline = not asynchronous and services().settings.delivery != "queued"
    operation = _submit(submission, inline and not form.suspect, form.suspect)
    response = redirect(form.goal, 303) if form.goal else _answer(operation, submission)
    if asynchronous:
        response.headers["Preference-Applied"] = "respond-async"
    return response


def _submit(submission: Submission, inline: bool, suspect: bool) -> Operation:
    """Hand it over; the same `Idempotency-Key`, or a double click without one, gets the same operation."""
    try:
        return services().gateway.submit(
            submission.kind, submission.payload, inline=inline, key=_idempotency_key(), repeats=DOUBLE_CLICK,
            content=submission.content, suspect=suspect,
        )  # fmt: skip
    except KeyReused:
        detail = "Nothing was stored. A key belongs to one submission: make a new one for another."
        raise Problem(ProblemCode.IDEMPOTENCY_KEY_REUSED, detail) from None
    except StillRunning:
        detail = "Send it again in a moment to get its answer."
        raise Problem(ProblemCode.STILL_RUNNING, detail, headers={"Retry-After": "1"}) from None


def _idempotency_key() -> str:
    """The key of the request, empty without one (draft-ietf-httpapi-idempotency-key-header-07)."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if key and not KEY.fullmatch(key):
        detail = f"It takes 1 to {MAX_KEY} printable ASCII characters, such as a UUID."
        raise Problem(ProblemCode.INVALID_IDEMPOTENCY_KEY, detail)
    return key


def _prefers_async() -> bool:
    """Whether the caller asks not to wait for the CRM: `Prefer: respond-async` (RFC 7240, 4.1)."""
    preferences = parse_list_header(",".join(request.headers.getlist("Prefer")))
    return any(item.partition(";")[0].strip().lower() == "respond-async" for item in preferences)


def _answer(operation: Operation, submission: Submission) -> Response:
    delivered = operation.state == State.DELIVERED
    response = (
        _thanks(operation, submission) if wants_page() else jsonify(_receipt(operation, delivered, submission.warnings))
    )
    response.status_code = 201 if delivered else 202
    response.headers["Location"] = url_for("operations.show", operation_id=operation.id)
    return response


def _receipt(operation: Operation, delivered: bool, warnings: Sequence[FieldWarning]) -> dict[str, object]:
    # To its sender a submission that a person has to look at is simply not there yet.
    body: dict[str, object] = {**receipt(operation), "status": "delivered" if delivered else "waiting"}
    if operation.delivered and caller():
        body["crm"] = crm_record(operation.delivered)
    return body | told(warnings)


def told(warnings: Sequence[FieldWarning]) -> dict[str, object]:
    """The warnings as a part of an answer; nothing where there are none."""
    return {"warnings": [asdict(warning) for warning in warnings]} if warnings else {}


def _thanks(operation: Operation, submission: Submission) -> Response:
    return page("Thank you", [submission.thanks, f"Your tracking code is {operation.tracking_code}."])

"""`POST /api/v1/applications`: a submission of the website's form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict

from flask import Blueprint, Response, jsonify, redirect, request, url_for
from werkzeug.http import parse_list_header
from werkzeug.wrappers import Response as BaseResponse

from crmgate.errors import KeyReused, StillRunning
from crmgate.model import Kind, Operation, State
from crmgate.web.auth import caller
from crmgate.web.body import read_body
from crmgate.web.codes import ProblemCode
from crmgate.web.next_url import next_url
from crmgate.web.pages import FORM_TYPES, page, wants_page
from crmgate.web.problems import FieldError, InvalidBody, Problem
from crmgate.web.receipts import crm_record, receipt
from crmgate.web.schemas import FieldWarning, Parsed, parse_application
from crmgate.web.services import services

DOUBLE_CLICK = 60.0
"""Seconds in which the same body from the same session, sent without a key, is the same submission."""
MAX_KEY = 255
KEY = re.compile(rf"[ -~]{{1,{MAX_KEY}}}")

blueprint = Blueprint("applications", __name__, url_prefix="/api/v1/applications")


@blueprint.post("")
def create() -> BaseResponse:
    """Accept a submission: 201 when the CRM has it, 202 while it waits; a form with `_next` gets 303."""
    raw = read_body()
    settings = services().settings
    goal, errors = next_url(raw, settings.allowed_origins) if request.mimetype in FORM_TYPES else (None, [])
    parsed = _parse(raw, settings.default_phone_region, errors)
    asynchronous = _prefers_async()
    inline = not asynchronous and settings.delivery != "queued"
    operation = _submit(parsed, inline)
    response = redirect(goal, 303) if goal else _answer(operation, parsed.warnings)
    if asynchronous:
        response.headers["Preference-Applied"] = "respond-async"
    return response


def _submit(parsed: Parsed, inline: bool) -> Operation:
    """Hand the submission over; the same `Idempotency-Key`, or a double click without one, gets the same operation."""
    key, payload = _idempotency_key(), parsed.lead.to_dict()
    try:
        return services().gateway.submit(Kind.CREATE_LEAD, payload, inline=inline, key=key, repeats=DOUBLE_CLICK)
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


def _parse(raw: dict[str, object], region: str, errors: Sequence[FieldError]) -> Parsed:
    """The submission; `errors` found before are reported together with its own."""
    try:
        parsed = parse_application(raw, default_region=region)
    except InvalidBody as invalid:
        raise InvalidBody([*invalid.errors, *errors]) from None
    if errors:
        raise InvalidBody(errors)
    return parsed


def _prefers_async() -> bool:
    """Whether the caller asks not to wait for the CRM: `Prefer: respond-async` (RFC 7240, 4.1)."""
    preferences = parse_list_header(",".join(request.headers.getlist("Prefer")))
    return any(item.partition(";")[0].strip().lower() == "respond-async" for item in preferences)


def _answer(operation: Operation, warnings: Sequence[FieldWarning]) -> Response:
    delivered = operation.state == State.DELIVERED
    response = _thanks(operation) if wants_page() else jsonify(_receipt(operation, delivered, warnings))
    response.status_code = 201 if delivered else 202
    response.headers["Location"] = url_for("operations.show", operation_id=operation.id)
    return response


def _receipt(operation: Operation, delivered: bool, warnings: Sequence[FieldWarning]) -> dict[str, object]:
    # To its sender a submission that a person has to look at is simply not there yet.
    body: dict[str, object] = {**receipt(operation), "status": "delivered" if delivered else "waiting"}
    if operation.delivered and caller():
        body["crm"] = crm_record(operation.delivered)
    if warnings:
        body["warnings"] = [asdict(warning) for warning in warnings]
    return body


def _thanks(operation: Operation) -> Response:
    code = f"Your tracking code is {operation.tracking_code}."
    return page("Thank you", ["We have received your application.", code])

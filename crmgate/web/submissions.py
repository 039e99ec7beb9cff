"""Shared by applications and clicks: read a submission, hand it to the gateway, answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Request, Response, redirect
from werkzeug.datastructures import Headers
from werkzeug.http import parse_list_header
from werkzeug.wrappers import Response as BaseResponse

from crmgate.errors import KeyReused, StillRunning, TooMany
from crmgate.model import Kind, Operation, State, Suspicion
from crmgate.schemas import FieldWarning, Parsed, ParsedEvent
from crmgate.store.limits import Metered, Use
from crmgate.store.tokens import Scope
from crmgate.web import limits, traps
from crmgate.web.answers import SubmittedSchema
from crmgate.web.auth import caller, offered
from crmgate.web.body import READ_BODY, read_body
from crmgate.web.codes import ProblemCode
from crmgate.web.current import current
from crmgate.web.next_url import next_url
from crmgate.web.openapi import ResponseDoc
from crmgate.web.pages import FORM_TYPES, page, wants_page
from crmgate.web.problems import Problem
from crmgate.web.receipts import address_of, crm_record, encoded, receipt
from crmgate.web.services import services

if TYPE_CHECKING:
    from crmgate.services import Services

DOUBLE_CLICK = 60.0
"""Seconds during which the same content without an Idempotency-Key counts as the same submission."""
MAX_KEY = 255
KEY = re.compile(rf"[ -~]{{1,{MAX_KEY}}}")
_STRING = re.compile(
    r'"((?:[ !#-\[\]-~]|\\["\\])*)"'  # RFC 9651, 3.3.3
    r'(?: *; *[a-z*][a-z0-9_.*-]*(?:=(?:"(?:[ !#-\[\]-~]|\\["\\])*"|[^\s";,]+))?)*'  # parameters, 3.1.2
)

T = TypeVar("T", bound=Parsed | ParsedEvent)

# The common part of the OpenAPI description of the routes for submissions.
_HEADERS, _PAGE = ("Location", "Preference-Applied"), ("text/html",)
ANSWERS = {
    201: ResponseDoc(
        "The CRM has the submission. A browser's form gets a page.", SubmittedSchema, _HEADERS, also=_PAGE
    ),
    202: ResponseDoc(
        "The submission is recorded, in Redis or on the disk of the host, and waits.",
        SubmittedSchema,
        _HEADERS,
        "waiting",
        also=_PAGE,
    ),
    303: ResponseDoc("The submission is recorded; the browser is redirected to `_next`.", headers=_HEADERS),
}
PROBLEMS = (
    *READ_BODY, ProblemCode.INVALID_IDEMPOTENCY_KEY, ProblemCode.STILL_RUNNING, ProblemCode.IDEMPOTENCY_KEY_REUSED,
    ProblemCode.RATE_LIMITED, ProblemCode.SERVICE_UNAVAILABLE,
)  # fmt: skip
PARAMETERS = (
    {
        "name": "Idempotency-Key", "in": "header", "example": "b0a3d0c4-6a3e-4c53-8f7e-3d0a4a9b8c11",
        "description": "Makes a repetition safe: for 24 hours the same key and content are the same submission. It"
        " must be unguessable, such as a random UUID. Each site (`Origin`) and each API token has its own keys. The"
        " form of a structured field is the same key: `\"uuid\"` equals `uuid`.",
        "schema": {"type": "string", "pattern": f"^{KEY.pattern}$"},
    },
    {
        "name": "Prefer", "in": "header", "example": "respond-async",
        "description": "`respond-async` (RFC 7240) does not wait for the CRM: 202.", "schema": {"type": "string"},
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Form:
    """What to do with a submission.

    `goal` is the address in `_next`; with `suspect` it is kept for an operator. `key` is its Idempotency-Key, which
    belongs to a `scope`. `metered` are the uses of rate limits that the ledger counts.
    """

    goal: str | None
    suspect: Suspicion | None
    key: str
    scope: str
    metered: Metered


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission for the gateway, with its warnings and `thanks`, the text of the page for a browser.

    `content` identifies a repeated submission; None means the payload. A click sets it, because its payload also
    contains the time.
    """

    kind: Kind
    payload: dict[str, Any]
    warnings: Sequence[FieldWarning]
    thanks: str
    content: Any = None


def read(
    parse: Callable[[dict[str, Any]], T], persons: Callable[[T], list[Use]] = lambda _parsed: []
) -> tuple[T, Form]:
    """Count the request for its address and parse its body. `persons` returns the uses that make it a suspect.

    Raises `InvalidFields` with every error at once, and `Problem`: those of `read_body`, 400 for an invalid
    Idempotency-Key, and 429 if the address exceeds its limit.
    """
    sent, token = current(), offered()
    unlimited = bool(token) and limits.lifted(Scope.OPERATE)
    refusing = limits.admit_here(unlimited)
    try:
        parsed, goal, suspect = _read(parse, sent)
        key = _idempotency_key(sent)
    except Exception:
        limits.count(refusing)
        raise
    metered = Metered(refusing, [] if unlimited else persons(parsed))
    return parsed, Form(goal, suspect, key, _scope(token, sent), metered)


def _read(parse: Callable[[dict[str, Any]], T], sent: Request) -> tuple[T, str | None, Suspicion | None]:
    settings = services().settings
    raw, warnings = read_body()
    suspect = traps.caught(raw, settings.honeypot_field, settings.min_fill_seconds)
    goal, refused = next_url(raw) if sent.mimetype in FORM_TYPES else (None, [])
    return _with(parse(raw), [*warnings, *refused]), goal, suspect


def _with(parsed: T, warnings: Sequence[FieldWarning]) -> T:
    return replace(parsed, warnings=(*warnings, *parsed.warnings)) if warnings else parsed


def deliver(submission: Submission, form: Form) -> BaseResponse:
    """Hand a submission to the gateway. Answers 201 when the CRM has it, 202 while it waits, 303 with `_next`.

    Raises `Problem` (409, 422) for a conflicting Idempotency-Key, and `NotAccepted` if it was not stored.
    """
    parts, sent = services(), current()
    asynchronous = "HTTP_PREFER" in sent.environ and _prefers_async(sent)
    inline = not asynchronous and parts.settings.delivery != "queued"
    operation = _submit(parts, submission, form, inline and not form.suspect)
    response = redirect(form.goal, 303) if form.goal else _answer(operation, submission)
    if asynchronous:
        response.headers["Preference-Applied"] = "respond-async"
    return response


def _submit(parts: Services, submission: Submission, form: Form, inline: bool) -> Operation:
    """Create the operation. The same `Idempotency-Key`, or a double click without one, returns the same operation."""
    try:
        return parts.gateway.submit(
            submission.kind, submission.payload, inline=inline, key=form.key, repeats=DOUBLE_CLICK,
            scope=form.scope, content=submission.content, suspect=form.suspect, metered=form.metered,
        )  # fmt: skip
    except TooMany as error:
        limits.refuse(error.wait)
    except KeyReused:
        detail = "Nothing was stored. A key belongs to one submission: use a new key for another one."
        raise Problem(ProblemCode.IDEMPOTENCY_KEY_REUSED, detail) from None
    except StillRunning:
        detail = "Send it again in a moment to get its answer."
        raise Problem(ProblemCode.STILL_RUNNING, detail, headers={"Retry-After": "1"}) from None


def _idempotency_key(request: Request) -> str:
    """The key of the request, empty without one (draft-ietf-httpapi-idempotency-key-header-07)."""
    sent: str = request.environ.get("HTTP_IDEMPOTENCY_KEY", "").strip()
    key = _unquoted(sent) if sent.startswith('"') else sent
    if sent and not KEY.fullmatch(key):
        detail = f"Expected 1 to {MAX_KEY} printable ASCII characters, such as a UUID, with or without quotation marks."
        raise Problem(ProblemCode.INVALID_IDEMPOTENCY_KEY, detail)
    return key


def _unquoted(item: str) -> str:
    """The text of a structured field that is a String (RFC 9651, 3.3.3), without parameters; empty if malformed."""
    match = _STRING.fullmatch(item)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else ""


def _scope(token: str, request: Request) -> str:
    """Whose the Idempotency-Key is: that of the API token, else of the site whose script or form sent the request.

    The token is not verified: no other sender knows it, and the scope must not change while Redis does not answer.
    """
    return f"token {token}" if token else request.environ.get("HTTP_ORIGIN", "")


def _prefers_async(sent: Request) -> bool:
    """Whether the caller asks not to wait for the CRM: `Prefer: respond-async` (RFC 7240, 4.1)."""
    preferences = parse_list_header(sent.environ["HTTP_PREFER"])
    return any(item.partition(";")[0].strip().lower() == "respond-async" for item in preferences)


class _Complete(Response):
    """An answer with all its headers: Werkzeug need not look for those that are missing."""

    def get_wsgi_headers(self, _environ: Any) -> Headers:
        return self.headers


def _answer(operation: Operation, submission: Submission) -> Response:
    delivered = operation.state == State.DELIVERED
    status, location = 201 if delivered else 202, ("Location", address_of(operation.id))
    if wants_page():
        response = _thanks(operation, submission)
        response.status_code = status
        response.headers.add(*location)
        return response
    text = encoded(_receipt(operation, delivered, submission.warnings)).encode()
    headers = Headers()
    headers.add(*location)
    headers.add("Content-Length", str(len(text)))
    return _Complete(text, status, headers, content_type="application/json")


def _receipt(operation: Operation, delivered: bool, warnings: Sequence[FieldWarning]) -> dict[str, object]:
    # To its sender, a dead letter or suspect is still waiting.
    body: dict[str, object] = {**receipt(operation), "status": "delivered" if delivered else "waiting"}
    if operation.delivered and caller():
        body["crm"] = crm_record(operation.delivered)
    return body | warnings_member(warnings)


def warnings_member(warnings: Sequence[FieldWarning]) -> dict[str, object]:
    """The member `warnings` of an answer; absent if there are none."""
    return {"warnings": [asdict(warning) for warning in warnings]} if warnings else {}


def _thanks(operation: Operation, submission: Submission) -> Response:
    return page("Thank you", [submission.thanks, f"Your tracking code is {operation.tracking_code}."])

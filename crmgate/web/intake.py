"""`/in/<source>`: takes what form tools post. A tool cannot correct an error, so no value in the body is refused.

The secret of the source is in `?token=` or in `Authorization: Bearer`, or it is the key of the tool's signature.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, NoReturn

from flask import Blueprint, Response, request

from crmgate.model import Kind, Operation, Suspicion
from crmgate.sources.leads import ReceivedLead
from crmgate.sources.model import Handshake, Source, SourceRequest
from crmgate.sources.signatures import same
from crmgate.sources.tools import tool_of
from crmgate.store.limits import Metered
from crmgate.store.tokens import Scope
from crmgate.web import limits
from crmgate.web.answers import ReceivedSchema, SentSchema
from crmgate.web.auth import offered
from crmgate.web.body import READ_BODY, read_raw
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi import Body, Describe, ResponseDoc
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer, receipt
from crmgate.web.services import services

blueprint = Blueprint("intake", __name__, url_prefix="/in")

REPEATS = 600.0
"""Seconds during which the same content without a delivery id counts as the same submission."""
TOKENS = ("token", "hub.verify_token")
"""Parameters of the query with the secret; the second one is Meta's."""
_SCOPE = "source\n"
"""Begins the scope of a delivery id. A header cannot contain a line break: no `Origin` of another request is equal."""
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="crmgate"'}
_WRONG = "Nothing was stored. Send the secret of this source as ?token=..., or sign the body with it."
_TAG = "Sources"
_PROBLEMS = (ProblemCode.NOT_FOUND, ProblemCode.WRONG_SECRET, ProblemCode.RATE_LIMITED)
_PARAMETERS = (
    {
        "name": "source", "in": "path", "required": True, "example": "typeform",
        "description": "The name of a source that is switched on.", "schema": {"type": "string"},
    },
    {
        "name": "token", "in": "query", "description": "The secret of the source.", "schema": {"type": "string"},
    },
)  # fmt: skip


@blueprint.post("/<source>")
@Describe(
    "Take what a form tool sends", _TAG,
    {200: ResponseDoc("It is recorded, or it was a handshake.", ReceivedSchema, also=("text/plain",))},
    problems=(*_PROBLEMS, *(code for code in READ_BODY if code in (ProblemCode.BODY_TOO_LARGE,
              ProblemCode.INCOMPLETE_BODY)), ProblemCode.SERVICE_UNAVAILABLE),
    parameters=_PARAMETERS, body=Body(SentSchema),
)  # fmt: skip
def receive(source: str) -> Response:
    """Record the submissions in the body of a form tool. They are sent to the CRM afterwards.

    A repetition with the same delivery id answers the same for 24 hours, whatever its body is. A submission without a
    contact is kept for an operator (`complete` is false). The body is what the tool sends: JSON or a form.
    """
    known = _source(source)
    by_token = _has_token(known)
    if not by_token and tool_of(known.tool or known.name).check is None:
        _refuse()
    sent = _sent(read_raw())
    if not _is_signed(known, sent, by_token):
        _refuse()
    limits.admit_source(known.name)
    parsed = services().sources.parse(known, sent)
    if isinstance(parsed, Handshake):
        return _reply(parsed)
    readings = [services().sources.read(known, received) for received in parsed]
    return answer({"received": len(readings), "items": [_stored(known, reading) for reading in readings]})


@blueprint.get("/<source>")
@Describe(
    "Answer a handshake", _TAG, {200: ResponseDoc("The answer to the handshake.", media="text/plain")},
    problems=_PROBLEMS, parameters=_PARAMETERS,
)  # fmt: skip
def shake_hands(source: str) -> Response:
    """Answer a tool that verifies the address: the value of `hub.challenge` (Meta), else `ok`. Nothing is stored."""
    known = _source(source)
    if not _has_token(known):
        _refuse()
    limits.admit_source(known.name)
    return _reply(services().sources.handshake(known, _sent(b"")))


def _source(name: str) -> Source:
    found = services().sources.get(name)
    if found is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no such source: SOURCE_<NAME>_SECRET switches one on.")
    return found


def _has_token(source: Source) -> bool:
    """Whether the request has the secret. Raises `Problem` (401, 429) for a wrong one."""
    given = [text for text in (*(request.args.get(name) for name in TOKENS), offered()) if text]
    if given and not all(same(text, source.secret) for text in given):
        _refuse()
    return bool(given)


def _is_signed(source: Source, sent: SourceRequest, by_token: bool) -> bool:
    """Whether the signature is right; without a signature, whether the request has the token."""
    check = tool_of(source.tool or source.name).check
    signed = check(source.secret, sent, time.time()) if check else None
    return by_token if signed is None else signed


def _refuse() -> NoReturn:
    """Raise `Problem`: 401, or 429 for an address with too many wrong secrets."""
    limits.count_failure()
    raise Problem(ProblemCode.WRONG_SECRET, _WRONG, headers=_CHALLENGE)


def _sent(body: bytes) -> SourceRequest:
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() != "authorization"}
    query = {name: value for name, value in request.args.items() if name not in TOKENS}
    return SourceRequest(request.method, headers, body, query, services().settings.default_form_charset)


def _stored(source: Source, reading: ReceivedLead) -> dict[str, Any]:
    """Record a submission. Raises `NotAccepted` and `LedgerUnavailable`: the tool sends it again."""
    key, scope = reading.delivery_id, f"{_SCOPE}{source.name}"
    suspect = None if reading.complete else Suspicion.INCOMPLETE
    people = limits.of_people(reading.people)
    if people and limits.lifted(Scope.OPERATE):
        people = []
    operation = services().gateway.submit(
        Kind.CREATE_LEAD, reading.payload, inline=False, key=key, repeats=REPEATS, scope=scope,
        content=[key] if key else None, suspect=suspect, metered=Metered(reviewing=people),
    )  # fmt: skip
    return _item(operation, reading)


def _item(operation: Operation, reading: ReceivedLead) -> dict[str, Any]:
    warnings = [asdict(warning) for warning in reading.warnings]
    return receipt(operation) | {"complete": reading.complete, "warnings": warnings}


def _reply(reply: Handshake) -> Response:
    return Response(reply.text, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-store"})

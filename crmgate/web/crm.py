"""`/api/v1/crm`: tests the connection to the CRM, pauses and resumes deliveries."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from crmgate.errors import LedgerUnavailable
from crmgate.model import rfc3339
from crmgate.operators.waiting import gate_json
from crmgate.store.gate import Gate
from crmgate.store.tokens import Scope
from crmgate.web.answers import ConnectionSchema, ProviderGateSchema
from crmgate.web.auth import require
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("crm", __name__, url_prefix="/api/v1/crm")

_TAG = "Operating"


@blueprint.get("/test")
@Describe(
    "Test the connection to the CRM", _TAG, token=Scope.READ,
    answers={
        200: ResponseDoc("The CRM answers, accepts the credentials and has the fields.", ConnectionSchema),
        503: ResponseDoc("Not connected; `checks` has the reason.", ConnectionSchema),
    },
)  # fmt: skip
def test() -> Response:
    """Answers 200 when connected, else 503. The result may be some seconds old (`tested_at`).

    `gate` shows whether operations are sent to the CRM: a connected CRM may be paused, or refuse operations.
    """
    require(Scope.READ)
    at, connection = services().connection.result()
    checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in connection.checks]
    body = {
        "provider": connection.provider, "connected": connection.connected, "latency_ms": connection.latency_ms,
        "checks": checks, "tested_at": rfc3339(at), "gate": _gate(),
    }  # fmt: skip
    return answer(body, 200 if connection.connected else 503)


@blueprint.post("/pause")
@Describe(
    "Pause deliveries to the CRM", _TAG, {200: ResponseDoc("Deliveries are paused.", ProviderGateSchema)},
    token=Scope.OPERATE,
)  # fmt: skip
def pause() -> Response:
    """Send nothing to the CRM until `resume`. Submissions are accepted and wait; attempts under way end as usual."""
    token = require(Scope.OPERATE)
    return _gate_answer(services().desk.pause(token.name))


@blueprint.post("/resume")
@Describe(
    "Resume deliveries to the CRM", _TAG,
    {200: ResponseDoc("The pause has ended (`cause` is null), or the CRM is tried now.", ProviderGateSchema)},
    token=Scope.OPERATE,
)  # fmt: skip
def resume() -> Response:
    """End a pause, or try the CRM now if nothing is sent for another cause.

    `cause` in the answer is null after a pause; another cause remains until the CRM has been tried.
    """
    token = require(Scope.OPERATE)
    return _gate_answer(services().desk.resume(token.name))


def _gate_answer(gate: Gate) -> Response:
    return answer({"provider": services().delivery.recipient.provider} | gate_json(gate))


def _gate() -> dict[str, Any] | None:
    """The state of the gate; None while Redis does not answer, because a connection test needs no Redis."""
    try:
        return gate_json(services().desk.waiting.gate())
    except LedgerUnavailable:
        return None

"""`/api/v1/crm`: the connection to the CRM, and whether anything is sent there."""

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
        200: ResponseDoc("The CRM is there, takes the credentials and has the fields.", ConnectionSchema),
        503: ResponseDoc("It is not connected: `checks` says why.", ConnectionSchema),
    },
)  # fmt: skip
def test() -> Response:
    """200 when connected, else 503; the result may be some seconds old (`tested_at`).

    `gate` says whether anything is sent to the CRM: a CRM that is connected may be paused, or refuse what is sent.
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
    "Pause deliveries to the CRM", _TAG, {200: ResponseDoc("Nothing is sent any longer.", ProviderGateSchema)},
    token=Scope.OPERATE,
)  # fmt: skip
def pause() -> Response:
    """Send nothing to the CRM until `resume`. Submissions are accepted and wait; attempts under way end as usual."""
    token = require(Scope.OPERATE)
    return _steered(services().desk.pause(token.name))


@blueprint.post("/resume")
@Describe(
    "Resume deliveries to the CRM", _TAG,
    {200: ResponseDoc("A pause has ended, or the CRM is tried now: `cause` says which.", ProviderGateSchema)},
    token=Scope.OPERATE,
)  # fmt: skip
def resume() -> Response:
    """End a pause, or have the CRM tried now if nothing is sent for another cause.

    `cause` in the answer is null after a pause; another cause stays until the CRM has been tried.
    """
    token = require(Scope.OPERATE)
    return _steered(services().desk.resume(token.name))


def _steered(gate: Gate) -> Response:
    return answer({"provider": services().delivery.recipient.provider} | gate_json(gate))


def _gate() -> dict[str, Any] | None:
    """The state of the gate; None while Redis does not answer, which does not prevent a connection test."""
    try:
        return gate_json(services().desk.waiting.gate())
    except LedgerUnavailable:
        return None

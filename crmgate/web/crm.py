"""`GET /api/v1/crm/test`: whether the CRM is there, takes the credentials and has the fields."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from crmgate.model import rfc3339
from crmgate.store.tokens import Scope
from crmgate.web.answers import ConnectionSchema
from crmgate.web.auth import require
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.services import services

blueprint = Blueprint("crm", __name__, url_prefix="/api/v1/crm")


@blueprint.get("/test")
@Describe(
    "Test the connection to the CRM", "Operating", token=Scope.READ,
    answers={
        200: ResponseDoc("The CRM is there, takes the credentials and has the fields.", ConnectionSchema),
        503: ResponseDoc("It is not connected: `checks` says why.", ConnectionSchema),
    },
)  # fmt: skip
def test() -> Response:
    """200 when connected, else 503; the result may be some seconds old (`tested_at`)."""
    require(Scope.READ)
    at, connection = services().connection.result()
    checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in connection.checks]
    response = jsonify(
        provider=connection.provider, connected=connection.connected, latency_ms=connection.latency_ms,
        checks=checks, tested_at=rfc3339(at),
    )  # fmt: skip
    response.status_code = 200 if connection.connected else 503
    response.headers["Cache-Control"] = "no-store"
    return response

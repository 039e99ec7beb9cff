"""`GET /healthz` (the process is alive) and `GET /readyz` (it can do its work)."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from crmgate.errors import LedgerUnavailable
from crmgate.model import Check, rfc3339
from crmgate.web.services import services

blueprint = Blueprint("health", __name__)

WORKER_SILENCE = 30.0
"""Seconds after which a worker that gave no sign of life counts as gone."""
_START_WORKER = "start one with `huey_consumer crmgate.worker.huey`"


@blueprint.get("/healthz")
def alive() -> Response:
    """200 whenever the process answers: a reason to restart it must not be a broken neighbour."""
    return _uncached({"status": "ok"}, 200)


@blueprint.get("/readyz")
def ready() -> Response:
    """200 when submissions are recorded and delivered, else 503; each check says what to do.

    A Redis that could lose what it has recorded is told, but takes no traffic away: nowhere else would be safer.
    """
    redis, *dangers = services().ledger.health()
    needed = [redis, _provider(), _worker()]
    checks, well = [*needed, *dangers], all(check.ok for check in needed)
    body = {"ready": well, "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks]}
    return _uncached(body, 200 if well else 503)


def _uncached(body: dict[str, object], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _provider() -> Check:
    """A CRM that is away, or refuses, does not make the gateway unready: submissions are accepted and wait."""
    if not services().settings.provider:
        remedy = "set CRM_PROVIDER to a name from `crmgate plugins list`"
        return Check("provider", False, f"No CRM is configured: {remedy}.")
    try:
        gate = services().ledger.gate(services().gateway.to)
    except LedgerUnavailable:
        return Check("provider", True, "A CRM is configured.")
    waiting = f"{gate.held} submissions wait and go on by themselves"
    match gate.cause:
        case "outage":
            return Check("provider", True, f"The CRM has not answered since {rfc3339(gate.since)}; {waiting}.")
        case "refused":
            repair = f"correct them; {waiting}"
            return Check(
                "provider", True, f"The CRM has refused the credentials since {rfc3339(gate.since)}: {repair}."
            )  # fmt: skip
    return Check("provider", True, "A CRM is configured, and takes requests.")


def _worker() -> Check:
    silence = f"{WORKER_SILENCE:.0f} s"
    try:
        count = services().ledger.workers_seen(WORKER_SILENCE)
    except LedgerUnavailable:
        return Check("worker", False, "Whether a worker runs cannot be told while Redis does not answer.")
    if count:
        return Check("worker", True, f"{count} seen within {silence}.")
    return Check("worker", False, f"No worker seen for {silence}: {_START_WORKER}.")

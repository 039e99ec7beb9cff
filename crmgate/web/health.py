"""`GET /healthz` (the process is alive) and `GET /readyz` (it can do its work)."""

from __future__ import annotations

from collections import Counter

from flask import Blueprint, Response, jsonify

from crmgate.errors import LedgerUnavailable
from crmgate.model import Check
from crmgate.operators.waiting import advice
from crmgate.policy import WORKER_SILENCE
from crmgate.store.keys import LOST_CLICKS_SECONDS
from crmgate.web.answers import AliveSchema, ReadySchema
from crmgate.web.auth import caller
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.services import clicks, services

blueprint = Blueprint("health", __name__)

_START_WORKER = "start one with `huey_consumer crmgate.worker.huey`"


@blueprint.get("/healthz")
@Describe("Ask whether the process lives", "Operating", {200: ResponseDoc("It does.", AliveSchema)})
def alive() -> Response:
    """200 whenever the process answers: a reason to restart it must not be a broken neighbour."""
    return _uncached({"status": "ok"}, 200)


@blueprint.get("/readyz")
@Describe(
    "Ask whether it can do its work", "Operating",
    {
        200: ResponseDoc("Submissions are recorded and delivered.", ReadySchema),
        503: ResponseDoc("They are not: `checks` says what to do.", ReadySchema),
    },
)  # fmt: skip
def ready() -> Response:
    """200 when submissions are recorded and delivered, else 503; each check says what to do.

    A Redis that could lose what it has recorded is told, but takes no traffic away: nowhere else would be safer.
    """
    redis, *dangers = services().ledger.health()
    # One question to a silent Redis is enough: each would cost REDIS_TIMEOUT.
    needed = [redis, _provider(redis.ok), _worker(redis.ok), _clicks(redis.ok)]
    checks, well = [*needed, *dangers], all(check.ok for check in needed)
    body = {"ready": well, "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks]}
    return _uncached(body, 200 if well else 503)


def _uncached(body: dict[str, object], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _provider(redis: bool) -> Check:
    """A CRM that is away, or refuses, does not make the gateway unready: submissions are accepted and wait."""
    if not services().settings.provider:
        remedy = "set CRM_PROVIDER to a name from `crmgate plugins list`"
        return Check("provider", False, f"No CRM is configured: {remedy}.")
    try:
        gate = services().ledger.gate(services().delivery.recipient) if redis else None
    except LedgerUnavailable:
        gate = None
    if gate is None:
        return Check("provider", True, "A CRM is configured.")
    # Fields and codes of the CRM are for operators only.
    stopped = advice(gate, detail=caller() is not None)
    return Check("provider", True, stopped or "A CRM is configured, and takes requests.")


def _worker(redis: bool) -> Check:
    silence = f"{WORKER_SILENCE:.0f} s"
    try:
        count = services().ledger.workers_seen(WORKER_SILENCE) if redis else None
    except LedgerUnavailable:
        count = None
    if count is None:
        return Check("worker", False, "Whether a worker runs cannot be told while Redis does not answer.")
    if count:
        return Check("worker", True, f"{count} seen within {silence}.")
    return Check("worker", False, f"No worker seen for {silence}: {_START_WORKER}.")


def _clicks(redis: bool) -> Check:
    """Clicks lost a while ago are told, but no reason to send no more visitors here."""
    lost = Counter(clicks().lost())
    try:
        shared = services().ledger.lost_clicks() if redis else None
    except LedgerUnavailable:
        shared = None
    if shared is None:
        return Check("clicks", False, f"Clicks cannot be recorded while Redis does not answer.{_told(lost)}")
    lost += Counter(shared)
    return Check("clicks", True, f"Clicks are recorded.{_told(lost)}")


def _told(lost: Counter[str]) -> str:
    reasons = ", ".join(f"{number} ({reason})" for reason, number in sorted(lost.items()))
    return f" Lost in the last {LOST_CLICKS_SECONDS // 60} minutes: {reasons}." if lost else ""

"""`GET /healthz` (the process is alive) and `GET /readyz` (it can do its work)."""

from __future__ import annotations

from collections import Counter

from flask import Blueprint, Response, jsonify

from crmgate.errors import LedgerUnavailable, SpoolUnavailable
from crmgate.model import Check
from crmgate.operators.waiting import advice
from crmgate.policy import WORKER_SILENCE
from crmgate.store import clock
from crmgate.store.keys import LOST_CLICKS_SECONDS
from crmgate.web.answers import AliveSchema, ReadySchema
from crmgate.web.auth import caller
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.services import clicks, services

blueprint = Blueprint("health", __name__)

_START_WORKER = "start one with `huey_consumer crmgate.worker.huey`"


@blueprint.get("/healthz")
@Describe("Check liveness", "Operating", {200: ResponseDoc("The process is alive.", AliveSchema)})
def alive() -> Response:
    """Answers 200 whenever the process answers. Redis and the CRM have no effect: a restart would not help them."""
    return _uncached({"status": "ok"}, 200)


@blueprint.get("/readyz")
@Describe(
    "Check readiness", "Operating",
    {
        200: ResponseDoc("Submissions are accepted. With `degraded` they only go into the spool.", ReadySchema),
        503: ResponseDoc("They are not; `checks` has the remedy.", ReadySchema),
    },
)  # fmt: skip
def ready() -> Response:
    """Answers 200 when submissions are recorded and delivered, else 503; each failed check has its remedy.

    While Redis is unavailable and the spool takes submissions, the answer is 200 with `degraded`: they are accepted,
    and delivered when Redis is back.

    A Redis that could lose data, and a host whose clock is wrong, are reported, but the answer stays 200: no other
    instance would be safer, and deliveries use Redis's clock.
    """
    redis, *dangers = services().ledger.health()
    # A Redis that does not answer is asked only once: each query would take REDIS_TIMEOUT.
    needed = [redis, _provider(redis.ok), _worker(redis.ok), _clicks(redis.ok)]
    spool = _spool()
    degraded = not redis.ok and needed[1].ok and any(check.ok for check in spool)
    checks, well = [*needed, *_clocks(redis.ok), *spool, *dangers], degraded or all(check.ok for check in needed)
    body = {
        "ready": well, "degraded": degraded,
        "checks": [{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks],
    }  # fmt: skip
    return _uncached(body, 200 if well else 503)


def _uncached(body: dict[str, object], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _provider(redis: bool) -> Check:
    """Fails only if no CRM is configured: while the CRM is unavailable, submissions are accepted and wait."""
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
        return Check("worker", False, "Workers cannot be checked while Redis is not usable.")
    if count:
        return Check("worker", True, f"{count} seen within {silence}.")
    return Check("worker", False, f"No worker seen for {silence}: {_START_WORKER}.")


def _clocks(redis: bool) -> tuple[Check, ...]:
    """Reports hosts whose clocks are wrong, by name to callers with a token; nothing while they are unknown."""
    try:
        offsets = services().clocks.offsets() if redis else None
    except LedgerUnavailable:
        offsets = None
    return () if offsets is None else (clock.check(offsets, names=caller() is not None),)


def _spool() -> tuple[Check, ...]:
    """Whether the spool of this host takes submissions, and what it holds; nothing without the setting SPOOL_DIR."""
    spool = services().spool
    if spool is None:
        return ()
    if not spool.on:
        return (Check("spool", False, f"{spool.problem}. It takes a folder that this user may write."),)
    try:
        found = spool.figures()
    except SpoolUnavailable as error:
        return (Check("spool", False, f"{error}."),)
    if found.share >= 1:
        return (Check("spool", False, f"It is full, with {found.operations} submissions: raise SPOOL_MAX."),)
    if not found.operations:
        return (Check("spool", True, "It is empty."),)
    size = f"{found.size / 1e6:.1f} MB"
    return (Check("spool", True, f"{found.operations} submissions ({size}), the oldest for {found.oldest:.0f} s."),)


def _clicks(redis: bool) -> Check:
    """Reports lost clicks, but fails only while clicks cannot be recorded."""
    lost = Counter(clicks().lost())
    try:
        shared = services().figures.lost_clicks() if redis else None
    except LedgerUnavailable:
        shared = None
    if shared is None:
        return Check("clicks", False, f"Clicks cannot be recorded while Redis is not usable.{_losses(lost)}")
    lost += Counter(shared)
    return Check("clicks", True, f"Clicks are recorded.{_losses(lost)}")


def _losses(lost: Counter[str]) -> str:
    reasons = ", ".join(f"{number} ({reason})" for reason, number in sorted(lost.items()))
    return f" Lost in the last {LOST_CLICKS_SECONDS // 60} minutes: {reasons}." if lost else ""

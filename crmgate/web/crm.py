"""`/api/v1/crm`: tests the CRM, compares its fields, sets it up, pauses and resumes deliveries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Response

from crmgate.errors import ConfigError, LedgerUnavailable, ProviderError
from crmgate.model import rfc3339
from crmgate.operators.crm_setup import is_done, steps_json
from crmgate.operators.waiting import gate_json
from crmgate.schemas.coded import Group
from crmgate.schemas.fields import Text
from crmgate.store.gate import Gate
from crmgate.store.tokens import Scope
from crmgate.web.answers import ConnectionSchema, ProviderGateSchema
from crmgate.web.auth import require
from crmgate.web.body import READ_BODY, has_body, read_fields
from crmgate.web.changes import REASON
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.operator_answers import CrmFieldsSchema, PlanSchema, SetupSchema
from crmgate.web.problems import Problem
from crmgate.web.receipts import answer
from crmgate.web.services import services

blueprint = Blueprint("crm", __name__, url_prefix="/api/v1/crm")

_TAG = "Operating"


class WhySchema(Group):
    """The reason for a pause or a resumption."""

    json_schema = {"additionalProperties": False}  # noqa: RUF012

    reason = Text(REASON, example="The CRM is updated.", about="For the audit log: no personal data.")


_REASON = Body(WhySchema, (Example("With a reason", {"reason": "The CRM is updated."}, 200),), optional=True)


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


@blueprint.get("/fields")
@Describe(
    "Compare the fields of the CRM with the mapping", _TAG,
    {200: ResponseDoc("The fields with their states.", CrmFieldsSchema)},
    token=Scope.READ, problems=[ProblemCode.CRM_FAILED],
)  # fmt: skip
def fields() -> Response:
    """Each mapped fact with its field in the CRM, then the required fields of the CRM that no fact fills.

    The result may be some seconds old.
    """
    require(Scope.READ)
    with asking():
        found = services().crm_setup.fields()
    return answer(_names() | found.to_json())


@blueprint.get("/setup")
@Describe(
    "Show the plan of the set-up", _TAG, {200: ResponseDoc("The steps.", PlanSchema)},
    token=Scope.READ, problems=[ProblemCode.CRM_FAILED, ProblemCode.NOT_CONFIGURED],
)  # fmt: skip
def plan() -> Response:
    """What `POST` would create in the CRM. Changes nothing. The result may be some seconds old."""
    require(Scope.READ)
    with asking():
        found = services().crm_setup.plan()
    return answer(_names() | {"done": is_done(found), "steps": steps_json(found)})


@blueprint.post("/setup")
@Describe(
    "Set the CRM up", _TAG, {200: ResponseDoc("The steps, and new settings.", SetupSchema)},
    token=Scope.OPERATE, problems=[ProblemCode.CRM_FAILED, ProblemCode.NOT_CONFIGURED],
)  # fmt: skip
def setup() -> Response:
    """Create the fields, roles and users in the CRM that are missing. Existing ones stay unchanged.

    `settings` has new settings for the gateway. They contain secrets and are shown only now. After an error, finished
    steps are kept: ask again to do the rest.
    """
    token = require(Scope.OPERATE)
    with asking():
        found = services().crm_setup.apply(token.name)
    new = services().crm_setup.new_settings(found)
    return answer(_names() | {"done": is_done(found), "steps": steps_json(found), "settings": new})


@blueprint.post("/pause")
@Describe(
    "Pause deliveries to the CRM", _TAG, {200: ResponseDoc("Deliveries are paused.", ProviderGateSchema)},
    token=Scope.OPERATE, body=_REASON, problems=READ_BODY,
)  # fmt: skip
def pause() -> Response:
    """Send nothing to the CRM until `resume`. Submissions are accepted and wait; attempts under way end as usual."""
    token = require(Scope.OPERATE)
    return _gate_answer(services().desk.pause(token.name, _reason()))


@blueprint.post("/resume")
@Describe(
    "Resume deliveries to the CRM", _TAG,
    {200: ResponseDoc("The pause has ended (`cause` is null), or the CRM is tried now.", ProviderGateSchema)},
    token=Scope.OPERATE, body=_REASON, problems=READ_BODY,
)  # fmt: skip
def resume() -> Response:
    """End a pause, or try the CRM now if nothing is sent for another cause.

    `cause` in the answer is null after a pause; another cause remains until the CRM has been tried.
    """
    token = require(Scope.OPERATE)
    return _gate_answer(services().desk.resume(token.name, _reason()))


def _reason() -> str:
    """The reason in the body, which is optional."""
    return str(read_fields(WhySchema()).get("reason", "")).strip() if has_body() else ""


@contextmanager
def asking() -> Iterator[None]:
    """Turn an error of the CRM, and missing settings, into a `Problem`."""
    try:
        yield
    except ProviderError as error:
        problem = Problem(ProblemCode.CRM_FAILED, str(error))
    except ConfigError as error:
        problem = Problem(ProblemCode.NOT_CONFIGURED, " ".join(error.problems))
    else:
        return
    raise problem


def _names() -> dict[str, str]:
    return {"provider": services().crm.name, "label": services().crm.label}


def _gate_answer(gate: Gate) -> Response:
    return answer({"provider": services().delivery.recipient.provider} | gate_json(gate))


def _gate() -> dict[str, Any] | None:
    """The state of the gate; None while Redis does not answer, because a connection test needs no Redis."""
    try:
        return gate_json(services().desk.waiting.gate())
    except LedgerUnavailable:
        return None

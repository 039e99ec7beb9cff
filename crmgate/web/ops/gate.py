"""Pause and resume of the deliveries to the CRM."""

from __future__ import annotations

from flask import request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.web.changes import REASON
from crmgate.web.codes import ProblemCode
from crmgate.web.ops.shell import actor, blueprint, go, require_operate
from crmgate.web.problems import Problem
from crmgate.web.services import services


@blueprint.post("/crm/pause")
def pause() -> BaseResponse:
    """Send nothing to the CRM until an operator resumes it."""
    require_operate()
    services().desk.pause(actor(), _reason())
    return _back()


@blueprint.post("/crm/resume")
def resume() -> BaseResponse:
    """End a pause, or try the CRM now."""
    require_operate()
    services().desk.resume(actor(), _reason())
    return _back()


def _reason() -> str:
    """The reason for the audit log, which is optional. Raises `Problem` (422) for one that is too long."""
    reason = request.form.get("reason", "").strip()
    if len(reason) > REASON:
        raise Problem(ProblemCode.INVALID_BODY, f"A reason has at most {REASON} characters. Nothing was changed.")
    return reason


def _back() -> BaseResponse:
    """The page with the button."""
    return go("ops.crm" if request.form.get("on") == "crm" else "ops.now")

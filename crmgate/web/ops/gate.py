"""Pause and resume of the deliveries to the CRM."""

from __future__ import annotations

from werkzeug.wrappers import Response as BaseResponse

from crmgate.web.ops.shell import actor, blueprint, go, require_operate
from crmgate.web.services import services


@blueprint.post("/crm/pause")
def pause() -> BaseResponse:
    """Send nothing to the CRM until an operator resumes it."""
    require_operate()
    services().desk.pause(actor())
    return go("ops.now")


@blueprint.post("/crm/resume")
def resume() -> BaseResponse:
    """End a pause, or try the CRM now."""
    require_operate()
    services().desk.resume(actor())
    return go("ops.now")

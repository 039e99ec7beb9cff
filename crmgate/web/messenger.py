"""`POST /api/v1/messenger-events`: a click on a messenger link, told by the website."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, jsonify, redirect
from werkzeug.wrappers import Response as BaseResponse

from crmgate.channels import WELL_KNOWN
from crmgate.model import Kind, rfc3339
from crmgate.web import clicks, cookies, submissions
from crmgate.web.schemas import ParsedEvent, parse_event
from crmgate.web.services import services

blueprint = Blueprint("messenger", __name__, url_prefix="/api/v1/messenger-events")


@blueprint.post("")
def create() -> BaseResponse:
    """Accept a click; where `MINIMAL_LEADS` is off it is only counted, and there is no operation to ask for."""
    parsed, form = submissions.read(_parse)
    if not services().settings.minimal_leads:
        if not form.suspect:
            clicks.count(services(), parsed.activity)
        return (
            redirect(form.goal, 303)
            if form.goal
            else jsonify({"status": "counted"} | submissions.told(parsed.warnings))
        )
    payload = parsed.activity.to_dict()
    said = {name: value for name, value in payload.items() if name != "occurred_at"}
    submission = submissions.Submission(
        Kind.CREATE_MINIMAL_LEAD, payload, parsed.warnings, "We look forward to your message.", said
    )
    return submissions.deliver(submission, form)


def _parse(raw: dict[str, Any]) -> ParsedEvent:
    known = {*WELL_KNOWN, *services().settings.channels}
    now = rfc3339(time.time())
    return parse_event(raw, channels=known, occurred_at=now, remembered=cookies.remembered())

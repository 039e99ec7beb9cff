"""`POST /api/v1/messenger-events`: accepts a click on a messenger link that the website reports."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, jsonify, redirect
from werkzeug.wrappers import Response as BaseResponse

from crmgate.channels import known_channels
from crmgate.model import Kind, rfc3339
from crmgate.schemas import ParsedEvent, parse_event
from crmgate.schemas.event import MessengerEventSchema
from crmgate.store.limits import Use
from crmgate.web import clicks, cookies, limits, submissions
from crmgate.web.answers import CountedSchema
from crmgate.web.openapi import Body, Describe, Example, ResponseDoc
from crmgate.web.openapi.convert import sample
from crmgate.web.pages import FORM_TYPES
from crmgate.web.services import services

blueprint = Blueprint("messenger", __name__, url_prefix="/api/v1/messenger-events")


_ANSWERS = {
    200: ResponseDoc("The click was only counted: `MINIMAL_LEADS` is off.", CountedSchema),
    **submissions.ANSWERS,
}
_EXAMPLES = (
    Example("The least", {"channel": "telegram", "referral_code": "REF1"}),
    Example("All fields", sample(MessengerEventSchema)),
    Example("A form", {"channel": "whatsapp", "ref": "REF1", "page": "/prices"}, media=FORM_TYPES[0]),
)


@blueprint.post("")
@Describe(
    "Report a click on a messenger link", "Submissions", _ANSWERS, problems=submissions.PROBLEMS, more_with_token=True,
    parameters=submissions.PARAMETERS, body=Body(MessengerEventSchema, _EXAMPLES, forms=True),
)  # fmt: skip
def create() -> BaseResponse:
    """Accept a click. If `MINIMAL_LEADS` is off, the click is only counted and there is no operation.

    The first click of a session creates a minimal lead, later clicks are logged on it, and an application of the same
    session completes it. Field names and `Idempotency-Key` work as for an application; unknown fields are kept in
    `metadata`. `GET /go/{channel}` does the same for a plain link, without a script.
    """
    parsed, form = submissions.read(_parse, lambda parsed: _of_session(parsed.activity.session))
    if not services().settings.minimal_leads:
        limits.count(form.metered.refusing)
        if not form.suspect:
            clicks.count(services(), parsed.activity)
        return (
            redirect(form.goal, 303)
            if form.goal
            else jsonify({"status": "counted"} | submissions.warnings_member(parsed.warnings))
        )
    payload = parsed.activity.to_dict()
    content = {name: value for name, value in payload.items() if name != "occurred_at"}
    submission = submissions.Submission(
        Kind.CREATE_MINIMAL_LEAD, payload, parsed.warnings, "We look forward to your message.", content
    )
    return submissions.deliver(submission, form)


def _of_session(session: str) -> list[Use]:
    """The use of a session by a click: everyone who knows the session can write on its lead."""
    return clicks.of_session(services(), session) if session else []


def _parse(raw: dict[str, Any]) -> ParsedEvent:
    now = rfc3339(time.time())
    channels = known_channels(services().settings.channels)
    return parse_event(raw, channels=channels, occurred_at=now, remembered=cookies.remembered())

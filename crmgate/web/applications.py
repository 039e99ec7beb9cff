"""`POST /api/v1/applications`: a submission of the website's form."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from werkzeug.wrappers import Response as BaseResponse

from crmgate.model import Kind
from crmgate.web import cookies, submissions
from crmgate.web.schemas import Parsed, parse_application
from crmgate.web.services import services

blueprint = Blueprint("applications", __name__, url_prefix="/api/v1/applications")


@blueprint.post("")
def create() -> BaseResponse:
    """Accept an application; the visitor's cookies say the session and the referral code where the body does not."""
    parsed, form = submissions.read(_parse, lambda parsed: (parsed.lead.email, parsed.lead.phone))
    submission = submissions.Submission(
        Kind.CREATE_LEAD, parsed.lead.to_dict(), parsed.warnings, "We have received your application."
    )
    return submissions.deliver(submission, form)


def _parse(raw: dict[str, Any]) -> Parsed:
    region = services().settings.default_phone_region
    return parse_application(raw, default_region=region, remembered=cookies.remembered())

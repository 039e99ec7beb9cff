"""`POST /api/v1/applications`: accepts a submission of the website's form."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from werkzeug.wrappers import Response as BaseResponse

from crmgate.model import Kind
from crmgate.schemas import ApplicationSchema, Parsed, parse_application
from crmgate.web import cookies, limits, submissions
from crmgate.web.openapi import Body, Describe, Example
from crmgate.web.openapi.convert import sample
from crmgate.web.pages import FORM_TYPES
from crmgate.web.services import services

blueprint = Blueprint("applications", __name__, url_prefix="/api/v1/applications")


_EXAMPLES = (
    Example("The least", {"personal_info": {"first_name": "Ada", "email": "ada@example.com"}}),
    Example("All fields", sample(ApplicationSchema)),
    Example("Flat names", {"firstName": "Ada", "phone": "0532 123 45 67", "utm_source": "google", "ref": "REF1"}),
    Example(
        "Do not wait for the CRM", {"first_name": "Ada", "email": "ada@example.com"}, 202, {"Prefer": "respond-async"}
    ),
    Example("A form", {"first_name": "Ada", "email": "ada@example.com", "consent": "on"}, media=FORM_TYPES[0]),
)


@blueprint.post("")
@Describe(
    "Send an application", "Submissions", submissions.ANSWERS, problems=submissions.PROBLEMS,
    parameters=submissions.PARAMETERS, body=Body(ApplicationSchema, _EXAMPLES, forms=True), more_with_token=True,
)  # fmt: skip
def create() -> BaseResponse:
    """Accept an application. Session and referral code come from the visitor's cookies if the body has none.

    - Nested, flat and camelCase names mean the same: `personal_info.first_name`, `personal_info[first_name]`,
      `first_name`, `firstName`. `ref` is `referral_code`.
    - Usual names in English, Turkish and Russian are known too (`your-name`, `E-posta`, `Телефон`), and full names are
      split. The setting `FIELD_ALIASES` adds names.
    - One good contact is enough: an unusable email or phone beside it is kept in `custom` and named in `warnings`.
    - Fields that are not known are kept in `custom` and named in `warnings`: at most 50.
    - It is safe to repeat a request with the same `Idempotency-Key`: for 24 hours the same key and content are the same
      submission. Without a key the same content from the same session is the same submission for 60 seconds.
    """
    parsed, form = submissions.read(_parse, lambda parsed: limits.of_people((parsed.lead.email, parsed.lead.phone)))
    submission = submissions.Submission(
        Kind.CREATE_LEAD, parsed.lead.to_dict(), parsed.warnings, "We have received your application."
    )
    return submissions.deliver(submission, form)


def _parse(raw: dict[str, Any]) -> Parsed:
    settings = services().settings
    return parse_application(
        raw, default_region=settings.default_phone_region, remembered=cookies.remembered(),
        aliases=settings.field_aliases,
    )  # fmt: skip

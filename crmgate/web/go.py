"""`GET /go/<channel>`: a messenger link. Redirects the visitor at once; the click is recorded in the background."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from functools import partial

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.channels import canonical_name
from crmgate.model import Activity, rfc3339
from crmgate.schemas import NO_REFERRAL, parse_event
from crmgate.schemas.event import MessengerEventSchema
from crmgate.schemas.faults import InvalidFields
from crmgate.schemas.vocabulary import MESSENGER_EVENT, snake
from crmgate.web import cookies, limits
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.openapi.convert import query_of
from crmgate.web.origins import from_own_site
from crmgate.web.problems import Problem
from crmgate.web.robots import is_robot
from crmgate.web.services import clicks, services

blueprint = Blueprint("go", __name__, url_prefix="/go")

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",  # hides the visitor's page from the messenger
}
_CODES = ("referral_code", "session")
_LONGEST_CODE = 255
"""Characters that are kept of a referral code that no messenger can carry."""


_CHANNEL = {
    "name": "channel", "in": "path", "required": True, "description": "In either case; `telegramBot` is `telegram`.",
    "schema": {"type": "string"}, "example": "telegram",
}  # fmt: skip


@blueprint.get("/<channel>")
@Describe(
    "Follow a messenger link", "Submissions",
    {302: ResponseDoc("Redirect to the messenger, with the referral code.", headers=("Location", "Set-Cookie"))},
    parameters=[_CHANNEL, *query_of(MessengerEventSchema, "channel")], problems=[ProblemCode.NOT_FOUND],
)  # fmt: skip
def leave(channel: str) -> BaseResponse:
    """Redirect the visitor to the configured address of the channel. The query cannot change that address.

    The click is recorded in the background. Unknown fields, and a referral code that no messenger can carry, are kept
    in `metadata`.
    """
    target = services().settings.channels.get(canonical_name(channel))
    if target is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no such channel.")
    own_session = cookies.remembered().get("session") or secrets.token_urlsafe(16)
    click = _read(target.name, own_session)
    code = "" if click.referral_code == NO_REFERRAL else click.referral_code
    response = redirect(target.link(code))
    response.headers.update(_HEADERS)
    if not is_robot(request):
        # A person who passes a link on must not pass the session on: the two would become one lead.
        is_theirs = click.session == own_session or from_own_site()
        _remember(response, click.session if is_theirs else "", code)
        _record(click)
    return response


def _remember(response: BaseResponse, session: str, code: str) -> None:
    """Set the cookies for what is not empty."""
    known = {"session": session, "referral_code": code}
    cookies.remember(response, {name: text for name, text in known.items() if text})


def _record(click: Activity) -> None:
    if (uses := limits.admit_click()) is None:
        clicks().drop()
    else:
        clicks().offer(click, uses)


def _read(channel: str, own_session: str) -> Activity:
    """The click from the query and the cookies; drops an invalid session, and the other fields of a query too large."""
    remembered = {"referral_code": NO_REFERRAL} | cookies.remembered() | {"session": own_session}
    parse = partial(parse_event, channels={channel}, occurred_at=rfc3339(time.time()), remembered=remembered)
    query = request.args.to_dict()
    codes = {name: _cut(text) for name, text in query.items() if MESSENGER_EVENT.targets.get(snake(name)) in _CODES}
    try:
        event = parse(query | codes | {"channel": channel})
    except InvalidFields:
        event = parse(codes | {"channel": channel})
    metadata = {name: text for name, text in event.activity.metadata.items() if name != "session"}
    return replace(event.activity, metadata=metadata)


def _cut(code: str) -> str:
    return code if len(code) <= _LONGEST_CODE else f"{code[:_LONGEST_CODE]}…"

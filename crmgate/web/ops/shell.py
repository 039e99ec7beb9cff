"""The frame of every page: the guard before it, the headers after it, and the navigation.

A request that changes something is a form post of the own origin that carries the session's CSRF value. No page is
stored by a cache, is framed, or runs a script that is not a file of this package.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from crmgate.store.sessions import OpsSession
from crmgate.store.tokens import Scope
from crmgate.web.codes import ProblemCode
from crmgate.web.ops import cookie
from crmgate.web.ops.words import FILTERS
from crmgate.web.origins import origin
from crmgate.web.problems import Problem
from crmgate.web.services import services

NAVIGATION = (
    ("ops.now", "Now", "n"),
    ("ops.operations", "Operations", "o"),
    ("ops.suspects", "Suspects", "s"),
    ("ops.crm", "CRM", "c"),
    ("ops.numbers", "Numbers", "m"),
    ("ops.persons", "Person", "p"),
    ("ops.audit", "Audit", "a"),
    ("ops.tokens", "Tokens", "t"),
)
"""Pages in the menu: endpoint, title, and the key after `g` that opens the page."""
NEED_OPERATE = ("ops.persons", "ops.tokens")
"""Pages of the menu that an operator who may only read does not get."""
PUBLIC = ("ops.static", "ops.login", "ops.log_in")
"""Endpoints that need no session."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    # With `no-referrer`, which other answers have, browsers send `Origin: null` with the post of a form.
    "Referrer-Policy": "same-origin",
}
STATIC_AGE = 365 * 24 * 3600
"""Seconds for which a browser may keep a static file; its address changes with its content."""

blueprint = Blueprint("ops", __name__, url_prefix="/ops", template_folder="templates", static_folder="static")


def visit() -> OpsSession:
    """The session of the current request."""
    session: OpsSession = g.ops_session
    return session


def actor() -> str:
    """The name of the operator, for the audit."""
    return visit().token.name


def may_operate() -> bool:
    """Whether the operator may change something and see personal data."""
    return visit().token.allows(Scope.OPERATE)


def require_operate() -> None:
    """Raise `Problem` (403) for an operator who may only read."""
    if not may_operate():
        detail = "You are logged in with a token that may only read. Log in with a token of the scope operate."
        raise Problem(ProblemCode.INSUFFICIENT_SCOPE, detail)


def page(template: str, status: int = 200, **context: Any) -> Response:
    """A page of `template`. Its ETag saves the answer of a poll that changes nothing."""
    response = make_response(render_template(template, **context), status)
    if request.method == "GET" and status == 200:
        response.add_etag()
        response.make_conditional(request)
    return response


def go(endpoint: str, **values: Any) -> BaseResponse:
    """After a change: the page to read next (303)."""
    return redirect(url_for(endpoint, **values), 303)


def asset(name: str) -> str:
    """Address of a static file; it changes with the content of the file."""
    return url_for("ops.static", filename=name, v=_version(name))


@functools.lru_cache(maxsize=100)  # one file has many addresses: `./ops.js`
def _version(name: str) -> str:
    return hashlib.sha256((Path(__file__).parent / "static" / name).read_bytes()).hexdigest()[:12]


@blueprint.before_request
def _guard() -> BaseResponse | None:
    if request.method == "POST":
        _check_origin()
    if request.endpoint in PUBLIC:
        return None
    session = cookie.session()
    if session is None:
        return _to_login()
    g.ops_session = session
    if request.method == "POST" and not session.carries(request.form.get("csrf", "")):
        detail = "The form does not belong to your session. Open the page again and repeat the action."
        raise Problem(ProblemCode.INVALID_BODY, detail)
    return None


def _check_origin() -> None:
    """Raise `Problem` (403) unless a page of this gateway sent the form. Every browser states the origin of a post."""
    sent = origin(request.headers.get("Origin", ""))
    if sent is None or sent != origin(request.host_url):
        detail = "The form came from another site, or a proxy changes Host or X-Forwarded-Proto. Nothing was changed."
        raise Problem(ProblemCode.INSUFFICIENT_SCOPE, detail)


def _to_login() -> BaseResponse:
    back = request.full_path.rstrip("?") if request.method == "GET" else url_for("ops.now")
    target = url_for("ops.login", next=back)
    if "HX-Request" in request.headers:  # a poll of a page whose session has ended
        return Response(status=401, headers={"HX-Redirect": url_for("ops.login")})
    return redirect(target, 303)


@blueprint.after_request
def _add_headers(response: Response) -> Response:
    if request.endpoint != "ops.static":
        response.headers.update(HEADERS)
    elif response.status_code in (200, 304) and _is_current((request.view_args or {})["filename"]):
        response.cache_control.public, response.cache_control.no_cache = True, None
        response.cache_control.max_age, response.cache_control.immutable = STATIC_AGE, True
    return response


def _is_current(name: str) -> bool:
    """Whether the address of a static file names its content here; a process of another version has other content."""
    return request.args.get("v") == _version(name)


@blueprint.context_processor
def _frame() -> dict[str, Any]:
    """What every template can use."""
    session: OpsSession | None = g.get("ops_session")
    operates = session is not None and session.token.allows(Scope.OPERATE)
    return {
        "navigation": [entry for entry in NAVIGATION if operates or entry[0] not in NEED_OPERATE],
        "asset": asset, "session": session, "operates": operates,
        "provider": services().settings.provider, "here": request.endpoint,
    }  # fmt: skip


@blueprint.record_once
def _words(state: Any) -> None:
    """Add the filters for templates."""
    app = state.app
    app.jinja_env.filters.update(FILTERS)

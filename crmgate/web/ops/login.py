"""`/ops/login`: log in with an API token or a one-time code, and log out.

The link of `crmgate ops login-link` has its code in the fragment of the address. Browsers do not send a fragment, so no
log, proxy or Referer header has it; a script moves it into the form.
"""

from __future__ import annotations

import math
import re

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from crmgate.store.limits import Limit, by_address
from crmgate.store.sessions import CODE_PREFIX
from crmgate.store.tokens import Scope, Token
from crmgate.web.codes import ProblemCode
from crmgate.web.ops import cookie
from crmgate.web.ops.shell import blueprint, page, visit
from crmgate.web.problems import Problem
from crmgate.web.services import services

ATTEMPTS = Limit(10, 60)
"""Log-ins of one network address."""
# A path without dots and percent signs: `/ops/../` would leave the pages.
_OWN_PAGE = re.compile(r"/ops/[A-Za-z0-9/_-]*(\?[A-Za-z0-9._~&=%+:,-]*)?")


@blueprint.get("/login")
def login() -> BaseResponse:
    """The form; an explanation while no token of the scope `operate` exists."""
    if not _open():
        return page("ops/off.html", 404)
    if cookie.session():
        return redirect(own_page(request.args.get("next", "")), 303)
    return _form()


@blueprint.post("/login")
def log_in() -> BaseResponse:
    """Begin a session under a new id, whatever cookie the browser sent. Ends the session that it had."""
    _admit()
    if not _open():
        return page("ops/off.html", 404)
    if not cookie.confidential():
        return _form("Log in over https: over http others on the network can read the token.", 403)
    token = _token(request.form.get("secret", "").strip())
    if token is None:
        return _form("This token or code is not valid. A code works once, for 10 minutes.", 401)
    if before := cookie.session():
        services().sessions.end(before)
    response = redirect(own_page(request.form.get("next", "")), 303)
    cookie.set_session(response, services().sessions.begin(token))
    return response


@blueprint.post("/logout")
def log_out() -> BaseResponse:
    """End the session."""
    services().sessions.end(visit())
    response = redirect(url_for("ops.login"), 303)
    cookie.delete_session(response)
    return response


def own_page(target: str) -> str:
    """`target` if it is a path of these pages, else the first page."""
    return target if _OWN_PAGE.fullmatch(target) and "//" not in target else url_for("ops.now")


def _form(error: str = "", status: int = 200) -> Response:
    target = request.values.get("next", "")
    return page("ops/login.html", status, error=error, next=target, confidential=cookie.confidential())


def _token(secret: str) -> Token | None:
    parts = services()
    return parts.sessions.redeem(secret) if secret.startswith(CODE_PREFIX) else parts.tokens.verify(secret)


def _open() -> bool:
    """Whether a token exists that may change something."""
    return any(token.allows(Scope.OPERATE) for token in services().tokens.all())


def _admit() -> None:
    """Count a log-in for its address. Raises `Problem` (429) above the limit."""
    wait = services().limiter.take(by_address("ops.login", request.remote_addr or "", ATTEMPTS))
    if wait:
        seconds = math.ceil(wait)
        detail = f"There were too many log-ins from your address. Try again in {seconds} s."
        raise Problem(ProblemCode.RATE_LIMITED, detail, headers={"Retry-After": str(seconds)})

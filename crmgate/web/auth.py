"""Authentication: `Authorization: Bearer` (RFC 6750) with an API token.

A route for operators calls `require(Scope.READ)` or `require(Scope.OPERATE)` first. A public route that shows operators
more calls `caller()`.
"""

from __future__ import annotations

from flask import request

from crmgate.errors import LedgerUnavailable
from crmgate.store.tokens import Scope, Token
from crmgate.web.codes import ProblemCode
from crmgate.web.current import environ
from crmgate.web.problems import Problem
from crmgate.web.services import services

CHALLENGE = 'Bearer realm="crmgate"'
_HOW = "Send the header Authorization: Bearer with a token from `crmgate tokens new`."


def offered() -> str:
    """The token in the request, not verified; empty without one."""
    if "HTTP_AUTHORIZATION" not in environ():
        return ""
    given = request.authorization
    return (given.token or "") if given is not None and given.type == "bearer" else ""


def require(scope: Scope) -> Token:
    """The caller's token. Raises `Problem`: 401 without a valid one, 403 when it does not allow `scope`.

    Raises `LedgerUnavailable` (503) when the token can only be verified in Redis and Redis does not answer.
    """
    if not (text := offered()):
        raise Problem(ProblemCode.TOKEN_REQUIRED, _HOW, headers={"WWW-Authenticate": CHALLENGE})
    token = services().tokens.verify(text)
    if token is None:
        # RFC 6750, 3.1
        raise Problem(ProblemCode.INVALID_TOKEN, _HOW, headers=_challenge("invalid_token"))
    if not token.allows(scope):
        detail = f"This needs a token with the scope {scope}."
        headers = _challenge("insufficient_scope", f', scope="{scope}"')
        raise Problem(ProblemCode.INSUFFICIENT_SCOPE, detail, headers=headers)
    return token


def caller() -> Token | None:
    """The caller's token if it is valid; None without one, for an invalid one, and while Redis does not answer."""
    try:
        return services().tokens.verify(text) if (text := offered()) else None
    except LedgerUnavailable:
        return None


def _challenge(error: str, more: str = "") -> dict[str, str]:
    return {"WWW-Authenticate": f'{CHALLENGE}, error="{error}"{more}'}

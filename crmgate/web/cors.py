"""Which sites' scripts may send submissions and read the answers: those of ALLOWED_ORIGINS (Fetch, 3.2: CORS).

No credentials: a script on another origin sends no cookies, and no site can act as somebody who is logged in. Own
lines instead of flask-cors, which takes part of an origin (`[::1]`) for a regular expression.
"""

from __future__ import annotations

from flask import Flask, Response, request

from crmgate.web.services import services

DOORS = ("applications", "messenger", "operations")
"""The blueprints that are for visitors' scripts. What is for operators is not for scripts of other sites."""
_ANSWER = {"Access-Control-Expose-Headers": "Location, Retry-After"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key, Prefer",
    "Access-Control-Max-Age": "7200",
}


def init_app(app: Flask) -> None:
    """Tell browsers whose scripts may read an answer. Preflights are answered by Flask itself."""
    app.after_request(_allow)


def _allow(response: Response) -> Response:
    if request.blueprint not in DOORS:
        return response
    response.vary.add("Origin")
    origin = request.headers.get("Origin", "")
    if origin and origin in services().settings.allowed_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers.update(_PREFLIGHT if _is_preflight() else _ANSWER)
    return response


def _is_preflight() -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers

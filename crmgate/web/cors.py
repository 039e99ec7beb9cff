"""CORS (Fetch, 3.2): scripts of the sites in ALLOWED_ORIGINS may send submissions and read the answers.

Credentials are not allowed: a script on another origin sends no cookies and cannot act as a visitor who is logged in.
This module replaces flask-cors, which treats part of an origin (`[::1]`) as a regular expression.
"""

from __future__ import annotations

from flask import Flask, Response, request

from crmgate.web.services import services

DOORS = ("applications", "messenger", "operations")
"""The blueprints for visitors' scripts. Scripts of other sites cannot use the routes for operators."""
_ANSWER = {"Access-Control-Expose-Headers": "Location, Retry-After"}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Content-Type, Idempotency-Key, Prefer",
    "Access-Control-Max-Age": "7200",
}


def init_app(app: Flask) -> None:
    """Add the CORS headers to the answers of `app`. Flask itself answers preflight requests."""
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

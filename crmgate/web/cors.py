"""CORS (Fetch, 3.2): scripts of the sites in ALLOWED_ORIGINS may send submissions and read the answers.

Credentials are not allowed: a script on another origin sends no cookies and cannot act as a visitor who is logged in.
This module replaces flask-cors, which treats part of an origin (`[::1]`) as a regular expression.
"""

from __future__ import annotations

from flask import Request

from crmgate.config import Settings
from crmgate.web.headers import Headers

BLUEPRINTS = ("applications", "messenger", "operations")
"""The blueprints for visitors' scripts. Scripts of other sites cannot use the routes for operators."""
_VARY = ("Vary", "Origin")
_ANSWER = (("Access-Control-Expose-Headers", "Location, Retry-After"),)
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, POST"),
    ("Access-Control-Allow-Headers", "Content-Type, Idempotency-Key, Prefer"),
    ("Access-Control-Max-Age", "7200"),
)


def allow(headers: Headers, sent: Request, settings: Settings) -> None:
    """Add the CORS headers to an answer. Flask itself answers preflight requests."""
    if sent.url_rule is None or sent.url_rule.endpoint.partition(".")[0] not in BLUEPRINTS:
        return
    headers.append(_VARY)
    origin = sent.environ.get("HTTP_ORIGIN", "")
    if origin and origin in settings.allowed_origins:
        headers.append(("Access-Control-Allow-Origin", origin))
        headers += _PREFLIGHT if _is_preflight(sent) else _ANSWER


def _is_preflight(sent: Request) -> bool:
    return sent.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in sent.environ

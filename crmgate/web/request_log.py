"""Logs and counts each request: method, route, status and duration, but no path, query or client address.

The path of an operation contains its id, which is enough to read its status. Unknown paths and queries may contain a
visitor's input. An address is personal data.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from flask import Flask, Response, g, request

from crmgate import logs
from crmgate.web import metrics
from crmgate.web.request_id import request_id

QUIET = {"health.alive", "health.ready", "metrics.metrics"}
"""Endpoints that machines poll every few seconds: logged only with LOG_LEVEL=DEBUG."""
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Log and count every request of `app`. Call it before other handlers are registered."""
    app.before_request(_begin)
    app.after_request(_end)


def route() -> str:
    """The URL rule of the current request; `-` if no rule matches."""
    return request.url_rule.rule if request.url_rule else "-"


def method() -> str:
    """The method of the current request; `OTHER` for an unknown method."""
    return request.method if request.method in METHODS else "OTHER"


def _begin() -> None:
    g.begun = time.perf_counter()
    logs.begin(request_id=request_id())


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - g.begun
    facts: dict[str, Any] = {"method": method(), "route": route(), "status": response.status_code}
    metrics.count(facts["method"], facts["route"], response.status_code, seconds)
    level = logging.DEBUG if request.endpoint in QUIET else logging.INFO
    log.log(level, "%(method)s %(route)s %(status)s", facts, extra=facts | {"duration_ms": round(seconds * 1000, 1)})
    return response

"""One line and one count a request: method, route, status, duration. Neither its path nor its query, nor who sent it.

The path of an operation holds its id, which is all it takes to see its status, and whatever a visitor typed may stand
in a path that does not exist, or in a query. An address is personal data.
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
"""Endpoints that machines ask every few seconds: told with LOG_LEVEL=DEBUG only."""
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Log and count every request of `app`; to be called before anything else looks at requests."""
    app.before_request(_begin)
    app.after_request(_end)


def route() -> str:
    """The route of the current request as it is written in the code; `-` where there is none."""
    return request.url_rule.rule if request.url_rule else "-"


def method() -> str:
    """The method of the current request; `OTHER` for one that somebody made up."""
    return request.method if request.method in METHODS else "OTHER"


def _begin() -> None:
    g.begun = time.perf_counter()
    logs.begin(request_id=request_id())


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - g.begun
    told: dict[str, Any] = {"method": method(), "route": route(), "status": response.status_code}
    metrics.count(told["method"], told["route"], response.status_code, seconds)
    level = logging.DEBUG if request.endpoint in QUIET else logging.INFO
    log.log(level, "%(method)s %(route)s %(status)s", told, extra=told | {"duration_ms": round(seconds * 1000, 1)})
    return response

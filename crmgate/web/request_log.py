"""Logs and counts each request: method, route, status and duration, but no path, query or client address.

The path of an operation contains its id, which is enough to read its status. Unknown paths and queries may contain a
visitor's input. An address is personal data.
"""

from __future__ import annotations

import logging

from flask import Request

from crmgate import logs
from crmgate.web import metrics

QUIET = {"health.alive", "health.ready", "metrics.metrics"}
"""Endpoints that machines poll every few seconds: logged only with LOG_LEVEL=DEBUG."""
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

log = logging.getLogger(__name__)


def record(sent: Request, status: int, seconds: float) -> None:
    """Log and count an answered request. An unknown method is `OTHER`; the route is `-` if no URL rule matches."""
    method = sent.method if sent.method in METHODS else "OTHER"
    route = sent.url_rule.rule if sent.url_rule else "-"
    metrics.count(method, route, status, seconds)
    level = logging.DEBUG if sent.url_rule and sent.url_rule.endpoint in QUIET else logging.INFO
    if log.isEnabledFor(level):
        facts = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 1)}
        logs.emit(log, level, f"{method} {route} {status}", facts)

"""The HTTP door: it reads requests, asks the gateway, and writes answers. It knows no CRM."""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from crmgate.web import (
    applications,
    cors,
    crm,
    dead_letters,
    docs,
    go,
    headers,
    health,
    messenger,
    metrics,
    operations,
    problems,
    request_id,
    request_log,
    retries,
    services,
)
from crmgate.web import demo as demo_page
from crmgate.web.body import MAX_BYTES, MAX_FORM_PARTS

SCRIPT_AGE = 3600
"""Seconds for which a browser need not ask again for `/static/crmgate.js`; afterwards the answer is mostly a 304."""


def init_app(app: Flask, *, demo: bool = False) -> None:
    """Register every route, the answers to failures and the limits on bodies."""
    app.config.update(MAX_CONTENT_LENGTH=MAX_BYTES, MAX_FORM_MEMORY_SIZE=MAX_BYTES, MAX_FORM_PARTS=MAX_FORM_PARTS)
    app.config.update(SEND_FILE_MAX_AGE_DEFAULT=SCRIPT_AGE)
    request_log.init_app(app)
    request_id.init_app(app)
    problems.init_app(app)
    services.init_app(app)
    cors.init_app(app)
    headers.init_app(app)
    rooms = (applications, messenger, go, operations, dead_letters, retries, crm, health, metrics, docs)
    for room in (*rooms, *([demo_page] if demo else [])):
        app.register_blueprint(room.blueprint)


def trust_proxies(app: Flask, number: int) -> None:
    """Believe the last `number` entries of X-Forwarded-For, which as many proxies have added, and X-Forwarded-Proto.

    The latter has one entry as a rule: proxies set it or pass it on. The host is left as the Host header says it, since
    few proxies overwrite X-Forwarded-Host.
    """
    if number:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=1, x_host=0)  # type: ignore[method-assign]

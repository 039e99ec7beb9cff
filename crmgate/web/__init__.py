"""The HTTP interface: reads requests, calls the gateway and writes answers. Contains nothing specific to a CRM."""

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
"""Seconds for which a browser may cache `/static/crmgate.js` without revalidation."""


def init_app(app: Flask, *, demo: bool = False) -> None:
    """Register every route, the error handlers and the limits on request bodies; with `demo` also the demo page."""
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
    """Trust the last `number` entries of X-Forwarded-For, one for each proxy, and X-Forwarded-Proto. 0 trusts none.

    X-Forwarded-Proto usually has one entry, because proxies set it or pass it on. The host comes from the Host header,
    because few proxies overwrite X-Forwarded-Host.
    """
    if number:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=number, x_proto=1, x_host=0)  # type: ignore[method-assign]

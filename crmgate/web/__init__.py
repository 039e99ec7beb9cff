"""The HTTP interface: reads requests, calls the gateway and writes answers. Contains nothing specific to a CRM."""

from __future__ import annotations

from flask import Flask

from crmgate.web import (
    applications,
    audit,
    crm,
    dead_letters,
    discards,
    docs,
    edits,
    finish,
    go,
    health,
    intake,
    messenger,
    metrics,
    operations,
    ops,
    persons,
    plugins,
    problems,
    proxies,
    reconcile,
    retries,
    services,
    stats,
    tokens,
)
from crmgate.web import demo as demo_page
from crmgate.web.body import MAX_BYTES
from crmgate.web.proxies import trust_proxies

__all__ = ["init_app", "trust_proxies"]

SCRIPT_AGE = 3600
"""Seconds for which a browser may cache `/static/crmgate.js` without revalidation."""


def init_app(app: Flask, *, demo: bool = False) -> None:
    """Register every route, the error handlers and the limits on request bodies; with `demo` also the demo page."""
    app.config.update(MAX_CONTENT_LENGTH=MAX_BYTES)
    app.config.update(SEND_FILE_MAX_AGE_DEFAULT=SCRIPT_AGE)
    finish.init_app(app)
    problems.init_app(app)
    services.init_app(app)
    proxies.init_app(app)
    public = (applications, messenger, intake, go, operations)
    for_operators = (
        dead_letters, retries, edits, discards, persons, stats, reconcile, crm, plugins, audit, tokens, health, metrics,
        docs, ops,
    )  # fmt: skip
    for room in (*public, *for_operators, *([demo_page] if demo else [])):
        app.register_blueprint(room.blueprint)

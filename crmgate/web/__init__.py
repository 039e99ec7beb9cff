"""The HTTP door: it reads requests, asks the gateway, and writes answers. It knows no CRM."""

from __future__ import annotations

from flask import Flask

from crmgate.web import applications, health, operations, problems, request_id
from crmgate.web import demo as demo_page
from crmgate.web.body import MAX_BYTES, MAX_FORM_PARTS

SCRIPT_AGE = 3600
"""Seconds for which a browser need not ask again for `/static/crmgate.js`; afterwards the answer is mostly a 304."""


def init_app(app: Flask, *, demo: bool = False) -> None:
    """Register every route, the answers to failures and the limits on bodies."""
    app.config.update(MAX_CONTENT_LENGTH=MAX_BYTES, MAX_FORM_MEMORY_SIZE=MAX_BYTES, MAX_FORM_PARTS=MAX_FORM_PARTS)
    app.config.update(SEND_FILE_MAX_AGE_DEFAULT=SCRIPT_AGE)
    request_id.init_app(app)
    problems.init_app(app)
    for room in (applications, operations, health, *([demo_page] if demo else [])):
        app.register_blueprint(room.blueprint)

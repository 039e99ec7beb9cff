"""The HTTP door: it reads requests, asks the gateway, and writes answers. It knows no CRM."""

from __future__ import annotations

from flask import Flask

from crmgate.web import applications, crm, health, metrics, operations, problems, request_id, request_log
from crmgate.web.body import MAX_BYTES, MAX_FORM_PARTS


def init_app(app: Flask) -> None:
    """Register every route, the answers to failures and the limits on bodies."""
    app.config.update(MAX_CONTENT_LENGTH=MAX_BYTES, MAX_FORM_MEMORY_SIZE=MAX_BYTES, MAX_FORM_PARTS=MAX_FORM_PARTS)
    request_log.init_app(app)
    request_id.init_app(app)
    problems.init_app(app)
    for room in (applications, operations, crm, health, metrics):
        app.register_blueprint(room.blueprint)

"""The application factory of the sandbox: storage, behaviour, the API and the page."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from flask import Flask, Response, abort, request
from flask.json.provider import DefaultJSONProvider

from crmgate.sandbox import api, page
from crmgate.sandbox.behaviour import Control
from crmgate.sandbox.context import SandboxParts
from crmgate.sandbox.store import Store

DEFAULT_KEY = "sandbox"
DEFAULT_GATEWAY = "http://127.0.0.1:8000"
MAX_BODY = 1024 * 1024

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: that would turn the Origin of our own forms into `null`.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def create_app(
    database: Path,
    *,
    key: str = DEFAULT_KEY,
    gateway_url: str = DEFAULT_GATEWAY,
    allowed_hosts: Collection[str] = (),
) -> Flask:
    """The sandbox CRM with its leads in `database`.

    `gateway_url` is only shown in the example on the page. `allowed_hosts` are accepted domain names (addresses and
    names without a dot are always accepted).
    """
    app = Flask(__name__)
    app.extensions["sandbox"] = SandboxParts(Store(database), Control(), key, gateway_url.rstrip("/"))
    app.config.update(
        # A key of this process only: the session holds nothing but the token of the page's forms.
        SECRET_KEY=secrets.token_bytes(32),
        # Browsers share cookies between ports of a host: the gateway's must not be overwritten.
        SESSION_COOKIE_NAME="sandbox_session",
        SESSION_COOKIE_SAMESITE="Strict",
        MAX_CONTENT_LENGTH=MAX_BODY,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    cast(DefaultJSONProvider, app.json).sort_keys = False
    app.before_request(lambda: _refuse_foreign_host(allowed_hosts))
    app.after_request(_secure)
    for blueprint in (api.records, api.steering, page.page):
        app.register_blueprint(blueprint)
    return app


def _refuse_foreign_host(allowed: Collection[str]) -> None:
    """Prevent DNS rebinding: a foreign page could point its own domain at this machine and read the leads."""
    host = request.host.rsplit(":", 1)[0] if not request.host.endswith("]") else request.host
    if not (host in allowed or "." not in host or host.endswith(".localhost") or _is_address(host.strip("[]"))):
        abort(403, f"This sandbox does not answer to the name {host}. Start it with --allow-host {host}.")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _secure(response: Response) -> Response:
    headers: dict[str, Any] = SECURITY_HEADERS
    response.headers.update(headers)
    return response

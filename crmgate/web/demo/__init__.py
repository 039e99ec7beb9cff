"""`GET /demo`: a website's page with a form, to try the gateway with. Only `crmgate dev` has it."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template

from crmgate.web.services import services

CHANNELS = {"telegram": "Telegram", "whatsapp": "WhatsApp", "instagram": "Instagram"}

_HEADERS = {
    # As strict as a website's policy can be: what works here needs no exception anywhere.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

blueprint = Blueprint("demo", __name__, url_prefix="/demo", template_folder="templates", static_folder="static")


@blueprint.get("")
def show() -> Response:
    """The page, with a link to the sandbox CRM where that is the provider."""
    sandbox = services().settings.environ.get("SANDBOX_URL", "")
    response = make_response(render_template("demo.html", channels=CHANNELS, sandbox=sandbox))
    response.headers.update(_HEADERS)
    return response

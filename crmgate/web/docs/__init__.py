"""`GET /api/v1/openapi.json`: the OpenAPI document, for programs. `GET /docs`: the same as a page for people."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, current_app, render_template, request

from crmgate import __version__
from crmgate.channels import known_channels
from crmgate.schemas.event import KnownChannels
from crmgate.web.docs.page import page
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.openapi.document import build
from crmgate.web.services import services

_DOCUMENT = "crmgate.openapi"
_PAGE = {
    # The page uses only its own stylesheet and its own script.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}

blueprint = Blueprint("docs", __name__, template_folder="templates")


@blueprint.get("/api/v1/openapi.json")
@Describe(
    "Read this description", "Operating",
    {
        200: ResponseDoc("The document, in OpenAPI 3.1.", media="application/json", headers=("ETag",)),
        304: ResponseDoc("Not changed (`If-None-Match`).", headers=("ETag",)),
    },
)  # fmt: skip
def document() -> Response:
    """Public, also for scripts of other sites. `/docs` shows the same as a page."""
    response = Response(json.dumps(_document(), ensure_ascii=False), mimetype="application/json")
    response.headers["Access-Control-Allow-Origin"] = "*"
    return _cached(response)


@blueprint.get("/docs")
def show() -> Response:
    """The page. Works without JavaScript and without access to the internet."""
    base = request.host_url.rstrip("/")
    html = render_template("docs.html", version=__version__, base=base, page=page(_document(), base))
    response = Response(html, mimetype="text/html", headers=_PAGE)
    return _cached(response)


def _document() -> dict[str, Any]:
    """The OpenAPI document, built once for each process, because routes and settings do not change."""
    known = current_app.extensions
    if _DOCUMENT not in known:
        with KnownChannels(known_channels(services().settings.channels)):
            known[_DOCUMENT] = build(current_app._get_current_object())  # type: ignore[attr-defined]
    found: dict[str, Any] = known[_DOCUMENT]
    return found


def _cached(response: Response) -> Response:
    """Let browsers and caches store the answer and revalidate it each time, so that a new version shows at once."""
    response.headers["Cache-Control"] = "public, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response

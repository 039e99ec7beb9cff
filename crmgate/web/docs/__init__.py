"""`GET /api/v1/openapi.json`: the OpenAPI document, for programs. `GET /docs`: the same as a page for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from flask import Blueprint, Response, current_app, render_template, request
from markupsafe import Markup

from crmgate import __version__
from crmgate.channels import known_channels
from crmgate.schemas.event import KnownChannels
from crmgate.web.docs.page import page
from crmgate.web.openapi import Describe, ResponseDoc
from crmgate.web.openapi.document import build
from crmgate.web.pages import page as small_page
from crmgate.web.services import services

T = TypeVar("T")

_DOCUMENT, _JSON, _HTML = "crmgate.openapi", "crmgate.openapi.json", "crmgate.docs"
_BASE = "https://gateway.invalid"  # takes the place of the address of the gateway in the page
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
    text = _once(_JSON, lambda: json.dumps(_document(), ensure_ascii=False))
    response = Response(text, mimetype="application/json")
    response.headers["Access-Control-Allow-Origin"] = "*"
    return _cached(response, "public")


@blueprint.get("/")
def front() -> Response:
    """A page for people who open the address of the gateway. It says nothing about its configuration or its state."""
    here = ["This is a gateway between a website and its CRM. It takes the forms of the website."]
    return small_page("crmgate", here, [Markup('<a href="/docs">How programs use it</a>')])


@blueprint.get("/docs")
def show() -> Response:
    """The page. Works without JavaScript and without access to the internet."""
    html = _once(_HTML, _render)
    # It contains the host of the request, so no shared cache may store it for others.
    response = Response(html.replace(_BASE, request.host_url.rstrip("/")), mimetype="text/html", headers=_PAGE)
    response.vary.add("Host")
    return _cached(response, "private")


def _render() -> str:
    return render_template("docs.html", version=__version__, base=_BASE, page=page(_document(), _BASE))


def _document() -> dict[str, Any]:
    """The OpenAPI document."""
    return _once(_DOCUMENT, _build)


def _build() -> dict[str, Any]:
    with KnownChannels(known_channels(services().settings.channels)):
        return build(current_app._get_current_object())  # type: ignore[attr-defined]


def _once(name: str, make: Callable[[], T]) -> T:
    """The result of `make`, which is called once in each process, because routes and settings do not change."""
    known = current_app.extensions
    if name not in known:
        known[name] = make()
    found: T = known[name]
    return found


def _cached(response: Response, who: Literal["public", "private"]) -> Response:
    """Let browsers, and with `public` also caches, store the answer and revalidate it each time.

    A new version shows at once.
    """
    response.headers["Cache-Control"] = f"{who}, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response

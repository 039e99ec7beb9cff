"""Plain HTML pages for visitors whose browser posts a form directly to the gateway."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from flask import Response
from markupsafe import Markup

from crmgate.web.current import current

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

_STYLE = Markup(
    ":root{color-scheme:light dark}"
    "body{margin:0;font:1.05rem/1.55 system-ui,sans-serif;background:Canvas;color:CanvasText}"
    "main{max-width:34rem;margin:12vh auto;padding:0 1.5rem}"
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 1rem}"
    "ul{padding-left:1.2rem}li{margin:.4rem 0}"
)
_PAGE = Markup(
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<title>{title}</title><style>{style}</style></head>\n<body><main><h1>{title}</h1>\n{body}\n</main></body></html>\n"
)


def _digest(text: str) -> str:
    """The hash of an inline style for a Content-Security-Policy (CSP 3, 2.3.1): base64 of its SHA-256."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_HEADERS = {
    # The page needs no script and no image. Markup that escaping missed could still load nothing.
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_digest(_STYLE)}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def wants_page() -> bool:
    """Whether the request is a browser's form post: its `Accept` prefers HTML to JSON."""
    sent = current()
    if sent.mimetype not in FORM_TYPES:
        return False
    accept = sent.accept_mimetypes
    return accept["text/html"] > accept["application/json"]


def page(title: str, paragraphs: Iterable[str], items: Iterable[str] = (), *, status: int = 200) -> Response:
    """A page with paragraphs and an optional list; every text is escaped."""
    body = [Markup("<p>{}</p>").format(text) for text in paragraphs]
    entries = Markup("").join(Markup("<li>{}</li>").format(item) for item in items)
    if entries:
        body.append(Markup("<ul>{}</ul>").format(entries))
    html = _PAGE.format(title=title, style=_STYLE, body=Markup("\n").join(body))
    return Response(html, status, headers=_HEADERS, mimetype="text/html")

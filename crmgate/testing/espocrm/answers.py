"""The outer forms of EspoCRM's answers: JSON as PHP writes it, refusals, and the HTML of the web server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crmgate.testing.server import Response

JSON = "application/json"
HTML = "text/html; charset=UTF-8"
FRAMEWORK_HTML = "text/html;charset=UTF-8"
NGINX_HTML = "text/html; charset=utf-8"

_FRESH = {
    "X-App-Timestamp": "1795403482",
    "Expires": "0",
    "Cache-Control": "no-store, no-cache, must-revalidate, post-check=0, pre-check=0",
}


class EspoError(Exception):
    """An answer other than success. Without a `reason` there is no `X-Status-Reason`; an empty one is sent empty."""

    def __init__(
        self,
        status: int,
        reason: str | None = None,
        body: Any = None,
        *,
        content_type: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, reason)
        if body is None:
            body = ""
        text = body if isinstance(body, str) else to_json(body)
        reasons = {} if reason is None else {"X-Status-Reason": reason}
        self.response = Response(status, text, {**(headers or {}), **reasons}, content_type)


def to_json(value: Any) -> str:
    """JSON with PHP's escapes, non-ASCII and slash included; a slash occurs only inside strings."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/")


def success(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """200 with a JSON body; None: with an empty one."""
    return Response(200, "" if value is None else to_json(value), {**_FRESH, **(headers or {})})


def translated(label: str, data: Mapping[str, Any], scope: str | None = None) -> dict[str, Any]:
    return {"messageTranslation": {"label": label, "scope": scope, "data": dict(data)}}


def invalid(entity: str, name: str, rule: str) -> EspoError:
    """The error for a field that breaks a rule. EspoCRM reports only the first such field."""
    return EspoError(
        400,
        f"Field validation failure; entityType: {entity}, field: {name}, type: {rule}.",
        translated("validationFailure", {"field": name, "type": rule}),
    )


def crashed() -> EspoError:
    """The error for an unexpected exception in EspoCRM: a status without a body (HTML if the database is down)."""
    return EspoError(500)


def framework_page(status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page of the framework below EspoCRM: no such route, or not with this method."""
    page = (
        '<!doctype html><html lang="en">    <head>        <meta charset="utf-8">        <meta name="viewport" '
        f'content="width=device-width, initial-scale=1">        <title>{title}</title>        <style>            '
        "body{margin:0;padding:30px;font:12px/1.5 Helvetica,Arial,Verdana,sans-serif}            "
        "h1{margin:0;font-size:48px;font-weight:normal;line-height:48px}            "
        "strong{display:inline-block;width:65px}        </style>    </head>    <body>        "
        f'<h1>{title}</h1>        <div><p>{text}</p></div>        <a href="#" onclick="window.history.go(-1)">'
        "Go Back</a>    </body></html>"
    )
    return Response(status, page, headers or {}, FRAMEWORK_HTML)


def no_route() -> Response:
    text = "The requested resource could not be found. Please verify the URI and try again."
    return framework_page(404, "404 Not Found", text)


def no_method(allowed: str, *, asked: bool) -> Response:
    """405; to OPTIONS (`asked`) the same page goes out with 200."""
    text = "The request method is not supported for the requested resource."
    return framework_page(200 if asked else 405, "405 Method Not Allowed", text, {"Allow": allowed})


def nginx_page(status: int, title: str, headers: Mapping[str, str] | None = None) -> Response:
    page = (
        f"<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1>"
        "</center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    )
    return Response(status, page, headers or {}, NGINX_HTML)

"""The id of a request, in every problem and in the `X-Request-ID` header of every answer."""

from __future__ import annotations

import re
import secrets

from flask import Flask, Response, g, request

HEADER = "X-Request-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id() -> str:
    """The id of the current request: the caller's `X-Request-ID` if it is valid, else a new one."""
    if "request_id" not in g:
        given = request.headers.get(HEADER, "")
        g.request_id = given if _ACCEPTED.fullmatch(given) else secrets.token_hex(16)
    return str(g.request_id)


def _echo(response: Response) -> Response:
    response.headers[HEADER] = request_id()
    return response


def init_app(app: Flask) -> None:
    """Echo the id in every answer of `app`."""
    app.after_request(_echo)

"""The id of a request, in every problem and in the `X-Request-ID` header of every answer."""

from __future__ import annotations

import re
import secrets
from typing import Any

from crmgate.web.current import environ

HEADER = "X-Request-ID"
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = "crmgate.request_id"


def request_id() -> str:
    """The id of the current request."""
    return id_of(environ())


def id_of(environ: dict[str, Any]) -> str:
    """The id of the request with this WSGI environment: its `X-Request-ID` if it is valid, else a new one."""
    known: str | None = environ.get(_KEY)
    if known is None:
        given = environ.get("HTTP_X_REQUEST_ID", "")
        known = environ[_KEY] = given if given and _ACCEPTED.fullmatch(given) else secrets.token_hex(16)
    return known

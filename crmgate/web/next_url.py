"""Where a form post may send the visitor afterwards: `_next`, without becoming an open redirect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import request

from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Browsers read a backslash as a slash and drop tabs and line breaks, so that what they open would be another
# address than the one checked here.
_AMBIGUOUS = re.compile(r"[\\\s\x00-\x1f\x7f]")
# Two leading slashes would be another host.
_HTTP_OR_PATH = re.compile(r"https?://|/(?!/)", re.IGNORECASE)

Origin = tuple[str, str, int]


def next_url(raw: Mapping[str, Any], allowed_origins: Iterable[str]) -> tuple[str | None, list[FieldError]]:
    """The address in `_next`, absolute, and the error if it leads to an origin that is not allowed.

    Allowed are the listed origins and the one that the request was sent to.
    """
    value = raw.get("_next") or ""
    if value == "":
        return None, []
    target = _absolute(value)
    allowed = {_origin(address) for address in (*allowed_origins, request.host_url)}
    if target is not None and _origin(target) in allowed - {None}:
        return target, []
    message = "Expected an address on this site or on one of the allowed origins."
    return None, [FieldError("_next", FieldCode.INVALID_NEXT, message)]


def _absolute(value: Any) -> str | None:
    if not isinstance(value, str) or _AMBIGUOUS.search(value) or not _HTTP_OR_PATH.match(value):
        return None
    return request.host_url.rstrip("/") + value if value.startswith("/") else value


def _origin(address: str) -> Origin | None:
    """Scheme, host and port (RFC 6454); None for what has no such origin, or carries credentials."""
    try:
        parts = urlsplit(address)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port

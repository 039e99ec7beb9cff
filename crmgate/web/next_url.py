"""`_next`: the page to which a form post redirects the visitor. Restricted to allowed origins: no open redirect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import request

from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Browsers read a backslash as a slash and drop tabs and line breaks: they would open another address than the one that
# was checked here.
_AMBIGUOUS = re.compile(r"[\\\s\x00-\x1f\x7f]")
# Two leading slashes would lead to another host.
_HTTP_OR_PATH = re.compile(r"https?://|/(?!/)", re.IGNORECASE)

Origin = tuple[str, str, int]


def next_url(raw: Mapping[str, Any], allowed_origins: Iterable[str]) -> tuple[str | None, list[FieldError]]:
    """The absolute address in `_next`, None without one; and an error if its origin is not allowed.

    Allowed origins are `allowed_origins` and the gateway's own.
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
    """Scheme, host and port (RFC 6454); None for an address without them, or with credentials."""
    try:
        parts = urlsplit(address)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port

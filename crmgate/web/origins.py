"""Origins of web pages (RFC 6454): which sites belong to the operator of this gateway."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from crmgate.web.services import services

_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


def is_own(address: str) -> bool:
    """Whether the origin of an address is one of `ALLOWED_ORIGINS`, or the gateway's own."""
    return origin(address) in {origin(own) for own in (*services().settings.allowed_origins, request.host_url)} - {None}


def from_own_site() -> bool:
    """Whether a page of an own site sent the request, by its headers Origin and Referer.

    Browsers set both. A program can forge them, but not in the browser of another person.
    """
    return any(is_own(request.headers.get(name, "")) for name in ("Origin", "Referer"))


def origin(address: str) -> Origin | None:
    """Scheme, host and port (RFC 6454); None for an address without them, or with credentials."""
    try:
        parts = urlsplit(address)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port

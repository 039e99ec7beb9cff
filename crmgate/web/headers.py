"""Security headers of every answer. A page that needs other values sets them itself.

Strict-Transport-Security is missing on purpose: only the proxy in front knows whether the domain always has TLS.
"""

from __future__ import annotations

Headers = list[tuple[str, str]]
"""The headers of an answer, as WSGI passes them."""

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE = tuple(SAFE.items())


def secure(headers: Headers) -> None:
    """Add the headers that an answer does not have yet."""
    given = {name for name, _ in headers}
    headers += [header for header in _SAFE if header[0] not in given]

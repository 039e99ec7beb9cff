"""Security headers of every answer. A page that needs other values sets them itself.

Strict-Transport-Security is missing on purpose: only the proxy in front knows whether the domain always has TLS.
"""

from __future__ import annotations

from flask import Flask, Response

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def init_app(app: Flask) -> None:
    """Add the headers that an answer of `app` does not have yet."""
    app.after_request(_add)


def _add(response: Response) -> Response:
    for name, value in SAFE.items():
        response.headers.setdefault(name, value)
    return response

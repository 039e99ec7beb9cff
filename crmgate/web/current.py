"""The request that this thread handles, without the proxies of Flask: each use of one costs half a dozen calls."""

from __future__ import annotations

from typing import Any

from flask import Request, request


def current() -> Request:
    """The current request itself."""
    return request._get_current_object()  # type: ignore[attr-defined,no-any-return]


def environ() -> dict[str, Any]:
    """The WSGI environment of the current request. A header is `HTTP_` and its name (PEP 3333)."""
    return current().environ

"""The body and the credentials of a request, in the form of the library `requests`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from requests import PreparedRequest

Form = Mapping[str, str | Sequence[str]] | Sequence[tuple[str, str]]
"""Fields of a form. A name can have several values."""
Files = Mapping[str, Any] | Sequence[tuple[str, Any]]
"""Files of a form by name: the content, or (file name, content), or (file name, content, media type)."""
Auth = tuple[str, str] | Callable[[PreparedRequest], PreparedRequest]
"""User and password for Basic authentication, or a function that adds credentials to a prepared request."""


def request_arguments(
    *, json: Any = None, data: Form | None = None, content: str | bytes | None = None, files: Files | None = None,
    auth: Auth | None = None, **others: Any,
) -> dict[str, Any]:  # fmt: skip
    """Arguments of `requests.Session.request`. Raises `TypeError` for more than one body."""
    bodies = (json is not None, content is not None, data is not None or files is not None)
    if sum(bodies) > 1:
        raise TypeError("a request has one body: json, or content, or data and files")
    body = data if content is None else _encoded(content)
    return {**others, "json": json, "data": body, "files": files, "auth": _credentials(auth)}


def _encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _credentials(auth: Auth | None) -> Any:
    """User and password are sent in UTF-8 (RFC 7617); `requests` alone refuses letters outside Latin-1."""
    return tuple(part.encode() for part in auth) if isinstance(auth, tuple) else auth

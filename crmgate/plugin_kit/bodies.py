"""A request in the form of the library `requests`: its body, its credentials, and its preparation."""

from __future__ import annotations

import functools
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


class LeanRequest(PreparedRequest):
    """A request that prepares nothing twice, and nothing that is empty."""

    def prepare_url(self, url: Any, params: Any) -> None:
        if params is None:
            self.url = _prepared(url)
        else:
            super().prepare_url(url, params)

    def prepare_auth(self, auth: Any, url: Any = "") -> None:
        if auth is not None or "@" in url:
            super().prepare_auth(auth, url)

    def prepare_cookies(self, cookies: Any) -> None:
        if cookies:
            super().prepare_cookies(cookies)


@functools.lru_cache(100)
def _prepared(url: str) -> str | None:
    """An address without parameters as it is sent. A plugin has few of them that it uses again and again."""
    request = PreparedRequest()
    request.prepare_url(url, None)
    return request.url

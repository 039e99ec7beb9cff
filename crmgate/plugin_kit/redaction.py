"""Masks secrets in texts."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from urllib.parse import quote, urlsplit

CONCEALED = 20
"""Number of secrets outside the settings that a redactor remembers."""
_CREDENTIALS = re.compile(r"\b(Basic|Bearer) +[\w.~+/=-]{6,}", re.ASCII)


class Redactor:
    """Masks the secrets of settings, secrets that were added later, and credentials of a header Authorization."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({form for value in secrets for form in _forms(value)}, key=len, reverse=True)
        self._added = deque[str](maxlen=CONCEALED)

    def conceal(self, value: str) -> None:
        """Mask this value too. The last `CONCEALED` values count."""
        if value and value not in self._added:
            self._added.append(value)

    def redact(self, text: str) -> str:
        """`text` with every secret masked."""
        for value in (*self._secrets, *self._added):
            text = text.replace(value, "***")
        return _CREDENTIALS.sub(r"\1 ***", text)


def _forms(value: str) -> Iterator[str]:
    """Forms in which a secret can occur in a text: complete, percent-encoded, and the long parts of an address."""
    yield value
    yield quote(value, safe="")
    if "://" in value:
        path = urlsplit(value).path.strip("/")
        yield from (part for part in (path, *path.split("/")) if len(part) >= 8)

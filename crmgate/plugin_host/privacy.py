"""Masks the personal data of one operation in a text, such as an error of a CRM that quotes what the visitor typed."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

MASK = "…"
SHORTEST = 4
"""Minimum length of a masked value in characters: shorter ones occur in every text by chance."""
_NATIONAL = 7
"""Number of last digits by which a phone number is recognised, with any country code and trunk prefix."""
_PHONE_LIKE = re.compile(r"(?:\+|%2B)?\(?[0-9](?:[\s().\-/–]*[0-9]){6,}", re.ASCII | re.IGNORECASE)
_NAMES = ("first_name", "last_name")


def mask(text: str, payload: Mapping[str, Any]) -> str:
    """`text` with the values of `payload` replaced by `…`, in any case, escaped or not.

    Values have at least 4 characters. Single words of a name count as values. A phone number is found in any spelling.
    """
    if not text:
        return text
    for value in sorted(_values(payload), key=len, reverse=True):
        text = _without(text, value)
    return _without_phone(text, str(payload.get("phone") or ""))


def _values(payload: Mapping[str, Any]) -> set[str]:
    """Strings of the payload that are long enough, and the words of the names."""
    words = (word for name in _NAMES for word in re.split(r"[\s-]+", str(payload.get(name) or "")))
    return {value for value in (*_strings(payload), *words) if len(value) >= SHORTEST}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def _without(text: str, value: str) -> str:
    for form in {value, html.escape(value), json.dumps(value)[1:-1], quote(value, safe="")}:
        whole = re.escape(form) if "@" in value else rf"(?<!\w){re.escape(form)}(?!\w)"
        text = re.sub(whole, MASK, text, flags=re.IGNORECASE)
    return text


def _without_phone(text: str, phone: str) -> str:
    """`text` without numbers that end as `phone` does."""
    end = _digits(phone)[-_NATIONAL:]
    if len(end) < _NATIONAL:
        return text
    return _PHONE_LIKE.sub(lambda found: MASK if _digits(found[0]).endswith(end) else found[0], text)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdecimal())

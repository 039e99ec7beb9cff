"""Reading what a plugin sent, and finding a visitor's words in it, however the CRM wants them written."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

from crmgate.testing.server import Request

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))
"""Characters that a plugin may put into a text to disarm markup."""


def decoded(request: Request) -> str:
    """Address and body of a request as text: JSON and forms by their values, anything else as it is."""
    parts = [unquote(request.path), *(value for _, value in parse_qsl(request.query)), *_body(request)]
    return "\n".join(parts)


def _body(request: Request) -> Iterator[str]:
    text = request.body.decode("utf-8", "replace")
    try:
        yield from texts(json.loads(text))
    except ValueError:
        form = "urlencoded" in request.header("Content-Type")
        yield from (value for _, value in parse_qsl(text)) if form else (text,)


def texts(value: Any) -> Iterator[str]:
    """Every text and number inside a JSON value, as text. Truth values are nobody's words."""
    match value:
        case dict():
            yield from (text for item in value.values() for text in texts(item))
        case list() | tuple():
            yield from (text for item in value for text in texts(item))
        case None | bool():
            return
        case _ if str(value).strip():
            yield str(value)


def contains(told: str, value: str) -> bool:
    """Whether `value` stands in `told` as a word of its own; of a phone number the digits count."""
    if re.fullmatch(r"\+\d{7,15}", value) and value[1:] in re.sub(r"\D", "", told):
        return True
    return bool(re.search(rf"(?<!\w){re.escape(normalised(value))}(?!\w)", normalised(told)))


def normalised(text: str) -> str:
    """A text without what may differ between two ways to write it: composition, HTML escapes, blanks."""
    plain = unicodedata.normalize("NFC", html.unescape(text)).translate(INVISIBLE)
    return " ".join(plain.split())

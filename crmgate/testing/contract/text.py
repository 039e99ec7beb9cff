"""Decodes requests, and searches them for values of a visitor in any notation."""

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
"""Invisible characters that a plugin may insert to disable markup."""


HTML_TAG = re.compile(r"</?(?:a|b|br|div|em|h[1-6]|i|li|ol|p|span|strong|table|td|tr|ul)\b[^<>]*>", re.IGNORECASE)
"""A tag that a plugin writes into a text that the CRM shows as HTML."""


def sent_texts(request: Request) -> list[str]:
    """The values of the body of a request."""
    return list(_body(request))


def decoded(request: Request) -> str:
    """Address and body of a request as text: the values of JSON and of forms, and any other body unchanged."""
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
    """Texts and numbers in a JSON value, as text, without truth values."""
    match value:
        case dict():
            yield from (text for item in value.values() for text in texts(item))
        case list() | tuple():
            yield from (text for item in value for text in texts(item))
        case None | bool():
            return
        case _ if str(value).strip():
            yield str(value)


def contains(sent: str, value: str) -> bool:
    """Whether `sent` contains `value` as a separate word. Phone numbers are compared by their digits."""
    if re.fullmatch(r"\+\d{7,15}", value) and value[1:] in re.sub(r"\D", "", sent):
        return True
    return bool(re.search(rf"(?<!\w){re.escape(normalised(value))}(?!\w)", normalised(sent)))


def normalised(text: str) -> str:
    """A text in Unicode NFC, without HTML escapes, invisible characters and blanks around `<`, and with single blanks.

    A plugin may put blanks there to disable markup.
    """
    plain = unicodedata.normalize("NFC", html.unescape(text)).translate(INVISIBLE)
    return re.sub(r" ?< ?", "<", " ".join(plain.split()))

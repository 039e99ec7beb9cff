"""Cleans text and JSON values, so that every later step can store, compare and send them."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")
# C0 and C1 controls and DEL, without tab, line feed and carriage return. Format characters stay: Persian needs
# the zero-width non-joiner, emoji the joiner.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_SPACE = " \t\r\n\v\f"  # an empty text is in it, too
_INVISIBLE = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Characters without a shape of their own, besides spaces and format characters: fillers, variation selectors."""
_LONGEST_RUN = 30
_MAY_BE_LONG_RUN = re.compile(rf"[^\w\x00-\x7f]{{{_LONGEST_RUN + 1}}}")
"""More characters in a row that are neither letters nor ASCII, which combining marks never are."""
_GRAPHEME_JOINER = "\u034f"


def clean(text: str) -> str:
    """`text` trimmed, in Unicode NFC and without control characters; a lone surrogate becomes U+FFFD.

    A browser sends a lone surrogate after truncating a text inside an emoji; it cannot be encoded as UTF-8. A text
    without a visible character becomes empty.
    """
    if not text.isprintable():  # every control character and surrogate is unprintable, and so is a line break
        text = _CONTROLS.sub("", _SURROGATES.sub("\ufffd", text))
    if text.isascii():
        return text.strip() if text[:1] in _SPACE or text[-1:] in _SPACE else text
    if not ("!" <= text[0] <= "~" or any(map(_is_visible, text))):
        return ""
    return unicodedata.normalize("NFC", _stream_safe(text) if text[_LONGEST_RUN:] else text).strip()


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in ("Cf", "Zs", "Zl", "Zp") and not char.isspace() and char not in _INVISIBLE


def _stream_safe(text: str) -> str:
    """`text` with a joiner after 30 combining marks in a row (UAX #15, 13: Stream-Safe Text Format).

    No language needs that many. Normalising them takes quadratic time: half a second for one body.
    """
    if not _MAY_BE_LONG_RUN.search(text):
        return text
    result, run = [], 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run > _LONGEST_RUN:
            result.append(_GRAPHEME_JOINER)
            run = 1
        result.append(char)
    return "".join(result)


def tidy(value: Any) -> Any:
    """`value` with its text cleaned; of a list, each entry in its place."""
    if type(value) is str:
        return clean(value)
    return [tidy(entry) for entry in value] if isinstance(value, list) else value


def is_blank(value: Any) -> bool:
    """Whether a tidy value is empty: null, an empty text or object, or a list of such values."""
    if type(value) is list:
        return all(map(is_blank, value))
    return value is None or value in ("", {})


def as_text(value: Any) -> str:
    """Any JSON value as clean text: `true`, `3.50`, and objects and lists as compact JSON."""
    if value is None or isinstance(value, str):
        return clean(value or "")
    if isinstance(value, bool | dict | list):
        return clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return str(value)

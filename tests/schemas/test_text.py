"""The cleaning of text."""

from __future__ import annotations

import itertools
import unicodedata

from crmgate.schemas.text import clean
from tests.cases import all_cases


@all_cases(
    ("text", "kept"),
    [
        ("\ud83d", "\ufffd"),
        ("a\udc00b", "a\ufffdb"),
        ("\ud83d\ude00", "\ufffd\ufffd"),
        ("\x00\x1b[31m\x7f\x85", "[31m"),
        (" \u00a0\u2003a b\n", "a b"),
        ("a\r\n\tb", "a\r\n\tb"),
        ("I\u0307stanbul", "İstanbul"),
        ("\u200fسلام\u200c", "\u200fسلام\u200c"),
        ("👨‍👩‍👧 🇹🇷", "👨‍👩‍👧 🇹🇷"),
        ("\u200b\u200d\u2060\ufeff", ""),
        ("\u3164 \u2800\u034f\ufe0f\u00ad", ""),
        ("\u200bA\u200b", "\u200bA\u200b"),
        ("\u0301", "\u0301"),
    ],
)
def test_clean(text: str, kept: str) -> None:
    assert clean(text) == kept
    assert clean(clean(text)) == kept


def test_long_runs_of_combining_marks_are_broken() -> None:
    text = clean("a" + "\u0301\u0323" * 15_000)
    runs = [len(list(run)) for marks, run in itertools.groupby(text, unicodedata.combining) if marks]
    assert max(runs) <= 30
    assert clean("a" + "\u0301\u0323" * 10) == unicodedata.normalize("NFC", "a" + "\u0301\u0323" * 10)

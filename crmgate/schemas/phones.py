"""Converts phone numbers to E.164 (ITU-T E.164), and detects text that the conversion drops."""

from __future__ import annotations

import re
import unicodedata

import phonenumbers

_INTERNATIONAL_PREFIX = re.compile(r"[\s(]*00")


def without_format_characters(text: str) -> str:
    """`text` without invisible characters: numbers copied from a messenger are enclosed in U+202A and U+202C."""
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def to_e164(typed: str, region: str) -> str | None:
    """The number in E.164, a number of `region` (ISO 3166) if it has no country code; None if it is not possible.

    Checks whether the number is possible, not whether it is valid: numbering plans change faster than libraries, and a
    CRM accepts possible numbers.
    """
    text = _ascii_digits(without_format_characters(typed))
    # 00 is the international prefix in most countries but not in all (the USA has 011); people write it everywhere.
    if _INTERNATIONAL_PREFIX.match(text):
        text = _INTERNATIONAL_PREFIX.sub("+", text, count=1)
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def says_more(typed: str, e164: str) -> bool:
    """Whether `typed` contains more than the number `e164`, such as an extension or a word."""
    digits = "".join(char for char in _ascii_digits(typed) if char.isdecimal())
    country_code = phonenumbers.parse(e164).country_code
    national = e164.removeprefix(f"+{country_code}")
    return any(char.isalpha() for char in typed) or not digits.endswith(national)


def _ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)

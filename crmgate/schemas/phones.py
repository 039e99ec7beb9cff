"""Reads phone numbers as people and form tools write them, and converts them to E.164 (ITU-T E.164)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberDesc

from crmgate.schemas.readings import Doubt, Reading

_LETTERS = re.compile(r"[^\W\d_]")
_GARBLED = re.compile(r"undefined|null|\bNaN", re.IGNORECASE)
_EXIT = re.compile(r"[\s(]*00")
_BETWEEN = re.compile(r"[^\W\d_]+|[,;|&:#=\n]+|(?=\+)")
"""What stands between two numbers, or between a number and a remark."""
_SLASH = re.compile(r"[/\\]")
_WRITTEN = re.compile(r"\(?\+?\(?\d(?:[ .()-]{0,2}\d){5,17}", re.ASCII)
"""A number in a usual notation."""
_NEVER = "(?!)"  # a pattern that matches nothing
_NO_MARKS = str.maketrans("", "", " .()-")
_SHORTEST = 7
"""Fewest digits of a number; fewer digits after a slash belong to the number before it."""
_EXIT_CODES = ("011", "810")
"""International prefixes of North America and of Russia, beside 00."""


def without_format_characters(text: str) -> str:
    """`text` without invisible characters: numbers copied from a messenger are enclosed in U+202A and U+202C."""
    if text.isascii():
        return text
    return "".join(char for char in text if unicodedata.category(char) != "Cf")


def read(typed: str, region: str) -> Reading | None:
    """The first phone number in a text; None if there is no possible one.

    It is a number of `region` (ISO 3166) if it has no country code. A number that is not valid there but is valid with
    a `+` in front has its country code already. A number that is only possible is accepted with a doubt, because
    numbering plans change faster than libraries.
    """
    text = _prepared(typed)
    if usual := _usual(text, region):
        return Reading(usual)
    number = _certain(text, region) or _worded(text, region)
    if number is not None:
        return Reading(_e164(number), _doubt(typed, text, number))
    possible = _first_possible(text, region)
    if possible is None:
        return None
    doubt = _doubt(typed, text, possible)
    # With + it is the number that was meant, whether the numbering plan of the library has it or not.
    return Reading(_e164(possible), Doubt.POSSIBLE if doubt is Doubt.NONE and "+" not in text else doubt)


def _prepared(typed: str) -> str:
    """`typed` with ASCII digits, and with + as the international prefix.

    00 is that prefix in most countries but not in all (the USA has 011); people write it everywhere.
    """
    text = without_format_characters(typed)
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
        text = text.replace("＋", "+").replace("／", "/")
    return _EXIT.sub("+", text, count=1) if _EXIT.match(text) else text


class _Plan(NamedTuple):
    """A simple numbering plan. `written` matches a number without marks, `valid` its national part."""

    code: str
    written: re.Pattern[str]
    valid: re.Pattern[str]


def _usual(text: str, region: str) -> str:
    """The E.164 form of a valid mobile or fixed-line number of `region`, with nothing else in the text; else empty.

    It is the result of the library, which needs 270 calls for it. Any other text is left to the library.
    """
    plan = _plan(region) if _WRITTEN.fullmatch(text) else None
    match = plan.written.fullmatch(text.translate(_NO_MARKS)) if plan else None
    return f"+{plan.code}{match[1]}" if plan and match and plan.valid.fullmatch(match[1]) else ""


@lru_cache(maxsize=8)
def _plan(region: str) -> _Plan | None:
    """The plan of a region; None if more than the prefixes 00 and 0 has to be known to read its numbers."""
    plan = phonenumbers.PhoneMetadata.metadata_for_region(region)
    if plan is None or plan.international_prefix != "00" or plan.national_prefix_for_parsing not in ("0", None):
        return None
    code = plan.country_code or 0
    if plan.national_prefix_transform_rule or len(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]) > 1:
        return None
    trunk = "0|" if plan.national_prefix_for_parsing else ""
    written = re.compile(rf"(?:\+{code}|{trunk}(?!{code}))([1-9]\d+)", re.ASCII)
    valid = f"(?={_pattern(plan.general_desc)})(?:{_pattern(plan.mobile)}|{_pattern(plan.fixed_line)})"
    return _Plan(str(code), written, re.compile(valid, re.ASCII))


def _pattern(kind: PhoneNumberDesc | None) -> str:
    """A pattern for the numbers of one kind that have one of its lengths; the lengths are below 0 if there are none."""
    if kind is None:
        return _NEVER
    lengths = "|".join(rf"\d{{{length}}}" for length in kind.possible_length if length > 0) or _NEVER
    return rf"(?=(?:{lengths})\Z)(?:{kind.national_number_pattern or _NEVER})\Z"


def _certain(text: str, region: str) -> PhoneNumber | None:
    """The number of a text that is nothing but a valid number; None for any other text."""
    if _LETTERS.search(text):
        return None
    number = _parsed(text, region)
    return number if number is not None and phonenumbers.is_valid_number(number) else None


def _worded(text: str, region: str) -> PhoneNumber | None:
    """The first valid number of a text with other words, other numbers, or a known mistake."""
    for candidate in _candidates(text, region):
        if phonenumbers.is_valid_number(candidate):
            return candidate
    return None


def _candidates(text: str, region: str) -> Iterator[PhoneNumber]:
    """Yield the numbers that the text can mean, from the most to the least probable."""
    for run in _runs(text):
        yield from _meanings(run, region)
        for part in _parts(run):
            yield from _numbers(part, region)
    yield from _numbers(text, region)  # letters for digits: 1-800-FLOWERS
    if not _LETTERS.search(text):
        yield from _meanings(_digits(text), region)


def _parts(run: str) -> Iterator[str]:
    """Yield what two numbers, a number and an extension, or a time and a number can consist of."""
    words = run.split()
    yield from (" ".join(words[:count]) for count in range(len(words) - 1, 0, -1))
    yield from (" ".join(words[count:]) for count in range(1, len(words)))


def _runs(text: str) -> Iterator[str]:
    """Yield the parts of a text that are long enough for a number."""
    for part in _BETWEEN.split(text):
        sides = _SLASH.split(part)
        several = all(len(_digits(side)) >= _SHORTEST for side in sides)
        yield from (run for run in (sides if several else [part]) if len(_digits(run)) >= _SHORTEST)


def _meanings(run: str, region: str) -> Iterator[PhoneNumber]:
    """Yield what one number can mean: as typed, with its country code but without +, and with a known mistake."""
    digits = _digits(run)
    numbers = [number for text in (run, digits, _with_code(digits, region)) for number in _numbers(text, region)]
    yield from numbers
    for number in numbers:
        yield from _numbers(_mended(number), region)
    yield from (
        number for code in _EXIT_CODES if digits.startswith(code)
        for number in _numbers(f"+{digits.removeprefix(code)}", region)
    )  # fmt: skip
    if len(digits) == 11 and digits.startswith("8"):  # the trunk prefix of Russia and Kazakhstan
        yield from _numbers(f"+7{digits[1:]}", region)


def _with_code(digits: str, region: str) -> str:
    """The digits after a `+`; after a 0, only if they begin with the region's own country code."""
    bare = digits.lstrip("0")
    own = str(phonenumbers.country_code_for_region(region))
    return f"+{bare}" if bare == digits or bare.startswith(own) else ""


def _mended(number: PhoneNumber) -> str:
    """A number without a known mistake in its country code or in its national part; empty if there is none."""
    code, national = number.country_code, str(number.national_number)
    if code == 52 and len(national) == 11 and national.startswith("1"):  # WhatsApp's Mexican mobile numbers
        return f"+52{national[1:]}"
    if code == 55 and len(national) == 10 and national[2] in "6789":  # a Brazilian mobile number before 2016
        return f"+55{national[:2]}9{national[2:]}"
    if national.startswith(str(code)):  # the country code twice: the form has it beside the field
        return f"+{national}"
    return ""


def _numbers(text: str, region: str) -> Iterator[PhoneNumber]:
    number = _parsed(text, region) if text else None
    if number is not None:
        yield number


def _first_possible(text: str, region: str) -> PhoneNumber | None:
    for run in _runs(text):
        number = _parsed(run, region)
        if number is not None and phonenumbers.is_possible_number(number):
            return number
    return None


def _parsed(text: str, region: str) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None


def _e164(number: PhoneNumber) -> str:
    return f"+{number.country_code}{phonenumbers.national_significant_number(number)}"


def _doubt(typed: str, text: str, number: PhoneNumber) -> Doubt:
    """Whether the text contains more than the number, such as an extension or a word."""
    national = phonenumbers.national_significant_number(number)
    digits = _digits(text)
    before = digits.removesuffix(national)
    if _LETTERS.search(text) or not digits.endswith(national) or not _is_prefix(before, number.country_code):
        return _garbled(typed) or Doubt.PARTLY
    return Doubt.NONE


def _is_prefix(before: str, code: int | None) -> bool:
    """Whether the digits before a national number are its country code, an exit code or a trunk prefix."""
    return not before or re.fullmatch(rf"(0{{0,3}}|011|810)({code})?[018]?", before) is not None


def _garbled(typed: str) -> Doubt | None:
    return Doubt.BROKEN if _GARBLED.search(typed) else None


def _digits(text: str) -> str:
    return "".join(filter(str.isdecimal, text))

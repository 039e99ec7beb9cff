"""Cleans and validates the value of one field as EspoCRM does, by the type of the field."""

from __future__ import annotations

import datetime
import re
import unicodedata
from typing import Any

from crmgate.testing.espocrm.metadata import FieldDef

POSSIBLE_LENGTHS = {"1": {10}, "90": {7, 10, 12, 13}}
"""Possible numbers of digits after a country code. With other country codes, a number has at most 15 digits."""
MEDIUMTEXT_BYTES = 16_777_215
"""Maximum size of a text field in the database. A longer text passes the validation and fails in the database."""

_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
)
_URL = re.compile(r"(?:https?://)?[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:[/?#]\S*)?")
_BAD_CHARACTERS = re.compile(r"[<>=]")
_PHONE_PUNCTUATION = re.compile(r"[\s().\-/]")


def fold(value: object) -> str:
    """Form in which the database compares a text: without case, accents and trailing spaces (`utf8mb4_unicode_ci`)."""
    bare = (c for c in unicodedata.normalize("NFD", str(value).casefold()) if not unicodedata.combining(c))
    return "".join(bare).rstrip(" ")


def clean(definition: FieldDef, value: Any, *, international_phones: bool = True) -> Any:
    """The value in the form in which EspoCRM stores it if it is valid."""
    match definition["type"]:
        case "varchar" | "url":
            return _text(value).strip() or None
        case "text":
            return _text(value) or None
        case "email":
            return value.strip() or None if isinstance(value, str) else value
        case "phone":
            return _phone(value, international_phones)
        case "int":
            number = _number(value)
            return value if number is None else int(number)
        case "currency" | "float":
            number = _number(value)
            return value if number is None else number
        case "bool":
            return value in (True, 1, "1", "true")
        case "datetime":
            return _utc(value)
    return value


def flaw(definition: FieldDef, value: Any, *, international_phones: bool = True) -> str | None:
    """EspoCRM's name of the rule that a cleaned value breaks; None if the value is valid."""
    match definition["type"]:
        case "varchar" | "text" | "url":
            return _text_flaw(definition, value)
        case "enum":
            return None if (value or "") in definition["options"] else "valid"
        case "multiEnum":
            return _multi_enum_flaw(definition, value)
        case "email":
            return None if value is None or (isinstance(value, str) and _EMAIL.fullmatch(value)) else "emailAddress"
        case "phone":
            return None if value is None or not international_phones or possible_phone(value) else "valid"
        case "int" | "currency" | "float":
            return _number_flaw(definition, value)
        case "date":
            return None if value is None or (isinstance(value, str) and _is_date(value)) else "valid"
        case "datetime":
            return None if value is None or (isinstance(value, str) and _parse_stored(value)) else "valid"
    return None


def possible_phone(value: object) -> bool:
    """Whether a number is in E.164 and has a length that is possible for its country code."""
    if not isinstance(value, str) or not re.fullmatch(r"\+[1-9]\d{6,14}", value):
        return False
    lengths = next((allowed for code, allowed in POSSIBLE_LENGTHS.items() if value.startswith("+" + code)), None)
    code_length = next((len(code) for code in POSSIBLE_LENGTHS if value.startswith("+" + code)), 0)
    return lengths is None or len(value) - 1 - code_length in lengths


def _text(value: Any) -> str:
    match value:
        case None | False:
            return ""
        case True:
            return "1"
        case dict() | list():
            return "Object" if isinstance(value, dict) else "Array"
    return str(value)


def _phone(value: Any, international: bool) -> Any:
    if not isinstance(value, str):
        return value
    return (_PHONE_PUNCTUATION.sub("", value) if international else value) or None


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if number.is_integer() else number


def _utc(value: Any) -> Any:
    """ISO 8601 with a zone in the stored form; any other value unchanged, for the validation."""
    if not isinstance(value, str) or "T" not in value:
        return value
    try:
        moment = datetime.datetime.fromisoformat(value)
    except ValueError:
        return value
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S") if moment.tzinfo else value


def _parse_stored(value: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.strptime(value, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None


def _is_date(value: str) -> bool:
    try:
        datetime.datetime.strptime(value, "%Y-%m-%d")
    except ValueError:
        return False
    return True


def _text_flaw(definition: FieldDef, value: str | None) -> str | None:
    if value is None:
        return None
    if len(value) > definition.get("maxLength", len(value)):
        return "maxLength"
    if "pattern" in definition and _BAD_CHARACTERS.search(value):
        return "pattern"
    return "valid" if definition["type"] == "url" and not _URL.fullmatch(value) else None


def _multi_enum_flaw(definition: FieldDef, value: Any) -> str | None:
    if value is not None and not isinstance(value, list):
        return "array"
    return None if all(option in definition["options"] for option in value or ()) else "valid"


def _number_flaw(definition: FieldDef, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, int | float):
        return "valid"
    if value < definition.get("min", value):
        return "min"
    return "max" if value > definition.get("max", value) else None

"""Converts values of facts to the form that a CRM field takes: lists, booleans, numbers, dates.

No value is guessed. A value that has no such form is not sent, and goes into the description.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum, auto
from typing import Any, NamedTuple

from crmgate.model import Consent

CUSTOM_PREFIX = "custom_"
WORDS: Mapping[str, bool] = {
    "yes": True, "true": True, "on": True, "1": True, "given": True,
    "no": False, "false": False, "off": False, "0": False, "not given": False,
}  # fmt: skip
"""Words for the two values of a boolean field, in lower case."""
LARGEST = 2**31 - 1
"""Largest number of an integer field in a database."""
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,9})", re.ASCII)
# Three digits after a comma can be thousands. A leading zero is part of a code or a phone number.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,6}|,[0-9]{1,2})?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class ValueForm(Enum):
    """Form of one value of a field."""

    TEXT = auto()
    BOOLEAN = auto()
    INTEGER = auto()
    NUMBER = auto()
    DATE = auto()
    MOMENT = auto()


SUITED: Mapping[ValueForm, frozenset[str]] = {
    ValueForm.BOOLEAN: frozenset({"consent", "scholarship", "scholarship_needed", "university_chosen"}),
    ValueForm.INTEGER: frozenset({"graduation_year", "gpa", "budget"}),
    ValueForm.NUMBER: frozenset({"graduation_year", "gpa", "budget"}),
    ValueForm.DATE: frozenset({"birth_date", "start_date"}),
    ValueForm.MOMENT: frozenset({"occurred_at"}),
}
"""Facts whose values can have a form, besides custom facts. Every fact has a text."""


class Converted(NamedTuple):
    """Value to send (None: none), and the part of the original value for the description (None: none)."""

    sent: Any
    rest: Any


@dataclass(frozen=True)
class FieldType:
    """Form of a field's values. `several`: the field takes a list.

    `options` maps the texts that a list field accepts to the values to send; None: it accepts any text.
    `moment_format` is the format of a moment for `strftime`; the moment is in UTC.
    """

    form: ValueForm = ValueForm.TEXT
    several: bool = False
    options: Mapping[str, str] | None = None
    moment_format: str = "%Y-%m-%dT%H:%M:%S+00:00"

    def suits(self, fact: str) -> bool:
        """Whether values of a fact can have this form."""
        return self.form is ValueForm.TEXT or fact.startswith(CUSTOM_PREFIX) or fact in SUITED[self.form]

    def convert(self, value: Any, table: Mapping[str, str] | None = None) -> Converted:
        """The value as the field takes it. `table` maps its text to the CRM's; a text outside the table is not sent.

        A text that the table changes is sent and described.
        """
        return self._several(value, table) if self.several else self._single(value, table)

    def _several(self, value: Any, table: Mapping[str, str] | None) -> Converted:
        converted = [self._single(entry, table) for entry in listed(value)]
        sent = [one.sent for one in converted if one.sent is not None]
        rest = tuple(one.rest for one in converted if one.rest is not None)
        return Converted(list(dict.fromkeys(sent)) or None, rest or None)

    def _single(self, value: Any, table: Mapping[str, str] | None) -> Converted:
        if table is None:
            return self._formed(value)
        words = text(value)
        if words not in table:
            return Converted(None, value)
        return Converted(self._formed(table[words]).sent, None if table.get(words) == words else value)

    def _formed(self, value: Any) -> Converted:
        if self.options is not None:
            words = text(value)
            return Converted(self.options[words], None) if words in self.options else Converted(None, value)
        match self.form:
            case ValueForm.TEXT:
                return Converted(value if isinstance(value, str | int | float | bool) else text(value), None)
            case ValueForm.MOMENT:
                return _whole(self._moment(value), value)
            case ValueForm.BOOLEAN if isinstance(value, Consent):
                return Converted(value.given, value if value.text or value.at else None)
        return _whole(_FORMS[self.form](text(value)), value)

    def _moment(self, value: Any) -> str | None:
        moment = _instant(text(value))
        return moment.strftime(self.moment_format) if moment else None


def text(value: Any) -> str:
    """Value of a fact as text."""
    if type(value) is str:
        return value
    match value:
        case tuple() | list():
            return ", ".join(map(text, value))
        case Consent():
            return _consent(value)
        case bool():
            return "yes" if value else "no"
    return str(value)


def listed(value: Any) -> list[Any]:
    """The entries of a value that is a list, else the value as the only entry."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _whole(sent: Any, value: Any) -> Converted:
    """The complete value is sent or described. None: it does not have the form of the field."""
    return Converted(sent, value if sent is None else None)


def _consent(consent: Consent) -> str:
    answer = "given" if consent.given else "not given"
    return answer + (f" at {consent.at}" if consent.at else "") + (f" ({consent.text})" if consent.text else "")


def _boolean(words: str) -> bool | None:
    return WORDS.get(words.strip().casefold())


def _integer(words: str) -> int | None:
    number = int(words) if _INTEGER.fullmatch(words) else None
    return number if number is not None and abs(number) <= LARGEST else None


def _number(words: str) -> int | float | None:
    if not _NUMBER.fullmatch(words):
        return None
    number = float(words.replace(",", "."))
    return int(number) if number.is_integer() else number


def _date(words: str) -> str | None:
    try:
        return date.fromisoformat(words).isoformat() if _DATE.fullmatch(words) else None
    except ValueError:
        return None


def _instant(words: str) -> datetime | None:
    """A moment with a time zone (RFC 3339), in UTC."""
    try:
        moment = datetime.fromisoformat(words)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


_FORMS: Mapping[ValueForm, Callable[[str], Any]] = {
    ValueForm.BOOLEAN: _boolean,
    ValueForm.INTEGER: _integer,
    ValueForm.NUMBER: _number,
    ValueForm.DATE: _date,
}

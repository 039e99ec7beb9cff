"""The field types of a submission. No message contains the sent value."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from marshmallow.experimental.context import Context

from crmgate.model import rfc3339
from crmgate.schemas import emails, phones
from crmgate.schemas.answers import last_of, yes_or_no
from crmgate.schemas.coded import NOTHING, Coded, Mended, single, texts_in
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.moments import day, moment
from crmgate.schemas.readings import Reading
from crmgate.schemas.text import as_text, is_blank

CUSTOM_TEXT = 2_000
"""Largest number of characters in an unknown field, or in a field whose value crmgate cannot use."""
CONTACT_TEXT = 1_000
"""Largest number of characters in which an email address is looked for."""
_LINE_BREAKS = re.compile(r"[\r\n\t]+")
_YEAR = re.compile(r"(?<!\d)(?:19\d\d|20\d\d|2100)(?!\d)", re.ASCII)


class PhoneRegion(Context[str]):
    """Context with the ISO 3166 country of phone numbers without a country code, for fields that are read."""


class Text(Coded[str]):
    """A text of at most `limit` characters, on one line unless `lines`. JSON numbers and booleans are read as text.

    `numbers` and `booleans` recommend a number and a boolean. Several values are joined with `join`, if it is given.
    """

    expected = "a text"

    def __init__(
        self, limit: int, *, lines: bool = False, numbers: bool = False, booleans: bool = False,
        forgiving: bool = False, join: str = "", **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(**options)
        self.limit, self.lines, self.numbers, self.booleans = limit, lines, numbers, booleans
        self.forgiving, self.join = forgiving, join

    def json_schema(self) -> dict[str, Any]:
        types = ["string"]
        if self.numbers:
            types.append("number")
        if self.booleans:
            types.append("boolean")
        return {"type": types if len(types) > 1 else "string", "maxLength": self.limit}

    def read(self, value: Any) -> str:
        is_short = type(value) is str and not value[self.limit :]
        text: str = value if is_short else self.text(self._as_typed(value), self.limit)
        one_line = self.lines or not ("\n" in text or "\r" in text or "\t" in text)
        return text if one_line else _LINE_BREAKS.sub(" ", text)

    def _as_typed(self, value: Any) -> Any:
        if isinstance(value, bool):
            return ("yes" if value else "no") if self.booleans else value
        if not isinstance(value, list) or not self.join or any(isinstance(entry, dict | list) for entry in value):
            return value
        texts = [as_text(self._as_typed(entry)) for entry in value if not is_blank(entry)]
        if self.booleans and all(yes_or_no(text) is not None for text in texts):
            return last_of(texts)
        return self.join.join(dict.fromkeys(texts))

    def mend(self, value: Any, fault: str) -> Mended:
        """Of a text that is too long the beginning."""
        typed = self._as_typed(single(value))
        if not isinstance(typed, str | int | float):
            return super().mend(value, fault)
        text = as_text(typed)
        # The whole text if `custom` has room for it, else what does not fit here.
        kept = text if self.limit < CUSTOM_TEXT else text[self.limit :]
        message = f"Only the first {self.limit:,} characters were used; the text was"
        return Mended(text[: self.limit].rstrip(), kept, WarningCode.CUT, message)


class PageCode(Coded[str]):
    """A text that matches `pattern`, which the page fills in. `default` stands for any other value."""

    forgiving = True

    def __init__(self, pattern: re.Pattern[str], *, default: Any = NOTHING, **options: Any) -> None:
        super().__init__(**options)
        self.pattern, self.default = pattern, default
        self.expected = f"1 to 64 of the characters {pattern.pattern.removesuffix('{1,64}')}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": CUSTOM_TEXT}

    def read(self, value: Any) -> str:
        text = self.text(value, CUSTOM_TEXT)
        if not self.pattern.fullmatch(text):
            raise self.wrong_type()
        return text

    def mend(self, value: Any, fault: str) -> Mended:
        """The first of several values, else the default."""
        mended = super().mend(value, fault)
        return replace(mended, value=self.default) if mended.value is NOTHING else mended


class TextList(Coded[tuple[str, ...]]):
    """At most `entries` texts of `limit` characters each; a single text is a list of one. Skips blank entries."""

    expected = "a list of texts"
    forgiving = True

    def __init__(self, entries: int, limit: int, **options: Any) -> None:
        super().__init__(**options)
        self.entries, self.inner = entries, Text(limit)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "maxItems": self.entries, "items": self.inner.json_schema()}

    def read(self, value: Any) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if len(values) > self.entries:
            raise self.make_error("too_many", limit=self.entries)
        return tuple(self.inner.read(entry) for entry in values if not is_blank(entry))

    def mend(self, value: Any, fault: str) -> Mended:
        """The entries that are texts, cut to the limits."""
        texts = [text[: self.inner.limit].rstrip() for text in texts_in(value)[: self.entries]]
        message = f"{fault.removesuffix('.')}; all values were"
        return Mended(texts or NOTHING, value, WarningCode.PARTLY_READ, message)


class Email(Coded[Reading]):
    """The first email address in a text."""

    expected = "a text"
    default_error_messages = {"invalid_email": "Expected an email address {hint}."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "email", "maxLength": emails.LONGEST}

    def read(self, value: Any) -> Reading:
        text = self.text(value, CONTACT_TEXT)
        try:
            return emails.read(text)
        except emails.NoAddress as error:
            if len(text) > emails.LONGEST:
                raise self.make_error("too_long", limit=emails.LONGEST) from None
            raise self.make_error("invalid_email", hint=error) from None


class Phone(Coded[Reading]):
    """The first phone number in a text, in E.164; a JSON number is read by its digits."""

    expected = "a text"
    default_error_messages = {  # noqa: RUF012
        "invalid_phone": "Expected a phone number with its country code, such as +90 532 123 45 67."
    }

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": 100}

    def read(self, value: Any) -> Reading:
        reading = phones.read(self.text(_digits_of(single(value)), 100), PhoneRegion.get())
        if reading is None:
            raise self.make_error("invalid_phone")
        return reading


def _digits_of(value: Any) -> Any:
    """A JSON number without its fraction: a spreadsheet sends 5321234567.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Year(Coded[int]):
    """A year from 1900 to 2100, as a number or as its four digits."""

    expected = "a year"
    forgiving = True
    default_error_messages = {"invalid_number": "Expected a year from 1900 to 2100."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["integer", "string"], "minimum": 1900, "maximum": 2100, "pattern": r"^(19\d\d|20\d\d|2100)$"}

    def read(self, value: Any) -> int:
        text = self.text(value, CUSTOM_TEXT).removesuffix(".0")
        # Checked as text first, because int() of many digits is slow.
        if not _YEAR.fullmatch(text):
            raise self.make_error("invalid_number")
        return int(text)

    def mend(self, value: Any, fault: str) -> Mended:
        """The only year in a text such as `June 2027`."""
        years = set(_YEAR.findall(as_text(value)[:CUSTOM_TEXT]))
        if len(years) == 1 and isinstance(value, str):
            return Mended(years.pop(), value, WarningCode.PARTLY_READ, "Only the year was used; the whole text was")
        return super().mend(value, fault)


class BirthDate(Coded[str]):
    """A date in the past, as `2001-12-31` or `31.12.2001`; converted to the former (RFC 3339 full-date).

    Other notations are read if they are unambiguous. A date that cannot be, or that is in the future, is refused: the
    visitor mistyped it. A text that is no date is kept, because it comes from a page with another notation.
    """

    expected = "a past date such as 2001-12-31 or 31.12.2001"
    default_error_messages = {"invalid_date": "Expected a past date such as 2001-12-31 or 31.12.2001."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        # Not `format: date`, which excludes the second notation.
        return {"type": "string", "pattern": r"^(\d{4}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.\d{4})$"}

    def read(self, value: Any) -> str:
        text = self.text(value, CUSTOM_TEXT)
        try:
            found = day(text)
        except ValueError:
            found = None if _is_default(text) else date.max
        if found is None or found.year < 1900:
            raise self.wrong_type()
        if found > datetime.now(UTC).date():
            raise self.make_error("invalid_date")
        return found.isoformat()


def _is_default(text: str) -> bool:
    """Whether a program wrote a date for none, such as 0000-00-00."""
    return not text.strip("0-/.:TZ ")


class Moment(Coded[str]):
    """A time in RFC 3339, or in any notation of programs; converted to UTC."""

    expected = "a time such as 2026-11-23T10:00:00Z"
    forgiving = True
    default_error_messages = {"invalid_date": "Expected a time with its zone, such as 2026-11-23T10:00:00Z."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}

    def read(self, value: Any) -> str:
        found = moment(self.text(value, CUSTOM_TEXT))
        if found is None or not found[1]:
            raise self.make_error("invalid_date")
        return rfc3339(found[0])

    def mend(self, value: Any, fault: str) -> Mended:
        """A time without its zone counts as UTC."""
        found = moment(value) if isinstance(value, str) else None
        if found is None:
            return super().mend(value, fault)
        message = "The time has no zone and was read as UTC; the text was"
        return Mended(rfc3339(found[0]), value, WarningCode.PARTLY_READ, message)


class TextMap(Coded[dict[str, str]]):
    """At most `entries` texts of `limit` characters by name; `canonical.Canonical.keep` applies the limits."""

    def __init__(self, entries: int, name_limit: int, limit: int, **options: Any) -> None:
        super().__init__(**options)
        self.entries, self.name_limit, self.limit = entries, name_limit, limit

    def json_schema(self) -> dict[str, Any]:
        names = {"maxLength": self.name_limit}
        texts = {"type": "string", "maxLength": self.limit}
        return {
            "type": "object", "maxProperties": self.entries, "propertyNames": names, "additionalProperties": texts
        }  # fmt: skip

    def read(self, value: Any) -> dict[str, str]:
        texts: dict[str, str] = value
        return texts

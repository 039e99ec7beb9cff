"""The field types of an application. No message contains the sent value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from marshmallow import ValidationError
from marshmallow.experimental.context import Context

from crmgate.model import rfc3339
from crmgate.schemas import emails, phones
from crmgate.schemas.coded import Coded
from crmgate.schemas.readings import Reading

PhoneRegion = Context[str]
"""Context with the ISO 3166 country of phone numbers without a country code, for a schema that loads."""

CONTACT_TEXT = 1_000
"""Largest number of characters in which an email address is looked for."""
_LINE_BREAKS = re.compile(r"[\r\n\t]+")
_YES_NO = {
    "yes": True, "true": True, "on": True, "1": True,
    "no": False, "false": False, "off": False, "0": False,
}  # fmt: skip
_DATE = re.compile(r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})|(?P<D>\d{1,2})\.(?P<M>\d{1,2})\.(?P<Y>\d{4})", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Text(Coded[str]):
    """A text of at most `limit` characters, on one line unless `lines`.

    `numbers` also accepts JSON numbers, in their original notation; `booleans` accepts true and false as yes and no.
    """

    def __init__(
        self, limit: int, *, lines: bool = False, numbers: bool = False, booleans: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.limit, self.lines, self.numbers, self.booleans = limit, lines, numbers, booleans
        self.expected = "a text"
        if numbers:
            self.expected += " or a number"
        if booleans:
            self.expected += ", true or false"

    def json_schema(self) -> dict[str, Any]:
        types = ["string"]
        if self.numbers:
            types.append("number")
        if self.booleans:
            types.append("boolean")
        return {"type": types if len(types) > 1 else "string", "maxLength": self.limit}

    def read(self, value: Any) -> str:
        text = self.text(self._as_typed(value), self.limit)
        return text if self.lines else _LINE_BREAKS.sub(" ", text)

    def _as_typed(self, value: Any) -> Any:
        if isinstance(value, bool):
            return ("yes" if value else "no") if self.booleans else value
        return str(value) if self.numbers and isinstance(value, int | float) else value


class TextList(Coded[tuple[str, ...]]):
    """At most `entries` texts of `limit` characters each; a single text is a list of one. Skips blank entries."""

    expected = "a list of texts"

    def __init__(self, entries: int, limit: int, **options: Any) -> None:
        super().__init__(**options)
        self.entries, self.inner = entries, Text(limit)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "maxItems": self.entries, "items": self.inner.json_schema()}

    def read(self, value: Any) -> tuple[str, ...]:
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list):
            raise self.wrong_type()
        if len(values) > self.entries:
            raise self.make_error("too_many", limit=self.entries)
        return self._each(values)

    def _each(self, values: list[Any]) -> tuple[str, ...]:
        texts, errors = [], {}
        for index, entry in enumerate(values):
            if entry in (None, ""):
                continue
            try:
                texts.append(self.inner.deserialize(entry))
            except ValidationError as error:
                errors[index] = error.messages
        if errors:
            raise ValidationError(errors)
        return tuple(texts)


class Choice(Coded[str]):
    """One of `choices`, in upper or lower case."""

    expected = "a text"
    default_error_messages = {"invalid_choice": "Expected one of: {options}."}  # noqa: RUF012

    def __init__(self, *choices: str, **options: Any) -> None:
        super().__init__(**options)
        self.choices = choices

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": [str(choice) for choice in self.choices]}

    def read(self, value: Any) -> str:
        word = self.text(value, 1_000).casefold()
        if word not in self.choices:
            raise self.make_error("invalid_choice", options=", ".join(self.choices))
        return word


class YesNo(Coded[bool]):
    """A boolean, or a form's word for one (a ticked checkbox sends `on`)."""

    expected = "yes, no, true or false"
    default_error_messages = {"invalid_choice": "Expected yes or no."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"enum": [True, False, *_YES_NO]}

    def read(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = self.text(value, 1_000).casefold()
        if word not in _YES_NO:
            raise self.make_error("invalid_choice")
        return _YES_NO[word]


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
        reading = phones.read(self.text(_digits_of(value), 100), PhoneRegion.get())
        if reading is None:
            raise self.make_error("invalid_phone")
        return reading


def _digits_of(value: Any) -> Any:
    """A JSON number as text: spreadsheets and form tools send phone numbers as numbers."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Year(Coded[int]):
    """A year from 1900 to 2100, as a number or as its four digits."""

    expected = "a year"
    default_error_messages = {"invalid_number": "Expected a year from 1900 to 2100."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["integer", "string"], "minimum": 1900, "maximum": 2100, "pattern": r"^(19\d\d|20\d\d|2100)$"}

    def read(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.wrong_type()
        # Checked as text first, because int() of a number such as 1e300 is slow.
        if not re.fullmatch(r"\d{4}", str(value)) or not 1900 <= int(str(value)) <= 2100:
            raise self.make_error("invalid_number")
        return int(str(value))


class BirthDate(Coded[str]):
    """A date in the past, as `2001-12-31` or `31.12.2001`; converted to the former (RFC 3339 full-date)."""

    expected = "a text"
    default_error_messages = {"invalid_date": "Expected a past date such as 2001-12-31 or 31.12.2001."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        # Not `format: date`, which excludes the second notation.
        return {"type": "string", "pattern": r"^(\d{4}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.\d{4})$"}

    def read(self, value: Any) -> str:
        match = _DATE.fullmatch(self.text(value, 100))
        try:
            day = _as_date(match.groupdict()) if match else None
        except ValueError:
            day = None
        if day is None or not date(1900, 1, 1) <= day <= datetime.now(UTC).date():
            raise self.make_error("invalid_date")
        return day.isoformat()


def _as_date(parts: Mapping[str, str | None]) -> date:
    year, month, day = (int(parts[name] or parts[name.upper()] or 0) for name in "ymd")
    return date(year, month, day)


class Moment(Coded[str]):
    """A time in RFC 3339; converted to UTC."""

    expected = "a text"
    default_error_messages = {"invalid_date": "Expected a time such as 2026-11-23T10:00:00Z."}  # noqa: RUF012

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}

    def read(self, value: Any) -> str:
        text = self.text(value, 100)
        try:
            if _RFC3339.fullmatch(text):
                return rfc3339(datetime.fromisoformat(text.upper()).timestamp())
        except (ValueError, OverflowError):  # the 31st of February, the year 0
            pass
        raise self.make_error("invalid_date")


class TextMap(Coded[dict[str, str]]):
    """At most `entries` texts of `limit` characters by name; a name has at most `name_limit` characters."""

    default_error_messages = {  # noqa: RUF012
        "too_many": "At most {limit:,} unknown fields are kept; this one exceeds the limit.",
        "too_long": "{what} may have at most {limit:,} characters.",
    }

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
        errors = {}
        for number, (name, text) in enumerate(texts.items()):
            error = self._check(number, name, text)
            if error is not None:
                errors[name[: self.name_limit]] = error.messages
            if number == self.entries:
                break  # one error is enough; a body can contain thousands of fields
        if errors:
            raise ValidationError(errors)
        return texts

    def _check(self, number: int, name: str, text: str) -> ValidationError | None:
        if number == self.entries:
            return self.make_error("too_many", limit=self.entries)
        if len(name) > self.name_limit:
            return self.make_error("too_long", what="The name of a field", limit=self.name_limit)
        if len(text) > self.limit:
            return self.make_error("too_long", what="An unknown field", limit=self.limit)
        return None

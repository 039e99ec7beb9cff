"""marshmallow fields whose errors have a code and a message.

`canonical.canonicalise` has prepared the input: text is clean, and blank values are absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from marshmallow import Schema, ValidationError, fields

from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.schemas.faults import FieldError
from crmgate.schemas.text import as_text, is_blank

T = TypeVar("T")

NOTHING = object()
"""The `value` of a `Mended` field that has none."""


@dataclass(frozen=True, slots=True)
class Mended:
    """The usable part of a value that its field does not accept.

    `value` replaces the sent one, `kept` goes to `custom`. `message` begins the warning; its end says where `kept` is.
    """

    value: Any
    kept: Any
    code: WarningCode
    message: str


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One entry of a marshmallow error list."""

    code: FieldCode
    message: str


class Coded(fields.Field[T]):
    """A field whose error keys are `FieldCode` values. `expected` completes "Expected ...".

    `example` and `about` are for the OpenAPI document; `json_schema` describes the accepted values.
    """

    forgiving = False
    """Whether the page offers the values, so that the visitor cannot correct one: it is kept instead of refused."""

    expected = "another type"
    default_error_messages = {  # noqa: RUF012 - marshmallow merges these along the class hierarchy
        "required": "This field is required.",
        "invalid_type": "Expected {expected}.",
        "too_long": "At most {limit:,} characters are accepted.",
        "too_many": "At most {limit:,} entries are accepted.",
    }

    def __init__(self, *, example: Any = None, about: str = "", **options: Any) -> None:
        metadata = {"description": about, "examples": None if example is None else [example]}
        super().__init__(metadata={name: value for name, value in metadata.items() if value}, **options)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of recommended values; `read` may accept more."""
        raise NotImplementedError

    def make_error(self, key: str, **details: Any) -> ValidationError:
        """A `ValidationError` with the `FieldFault` for the error `key`; `details` complete its message."""
        return ValidationError([FieldFault(FieldCode(key), str(self.error_messages[key]).format(**details))])

    def _deserialize(self, value: Any, *_context: Any, **_options: Any) -> T:
        return self.read(value)

    def read(self, value: Any) -> T:
        """Convert `value`. Raises the `ValidationError` of `make_error` if it is not accepted."""
        raise NotImplementedError

    def wrong_type(self) -> ValidationError:
        """The error for a JSON type that this field does not accept."""
        return self.make_error("invalid_type", expected=self.expected)

    def forgives(self, code: FieldCode) -> bool:
        """Whether `mend` applies to an error: a wrong type always comes from a page or a program."""
        return self.forgiving or code is FieldCode.INVALID_TYPE

    def mend(self, value: Any, fault: str) -> Mended:
        """The usable part of `value`, which `read` refuses with the message `fault`: of a list the first entry."""
        if isinstance(value, list) and len(entries := _different(value)) > 1:
            message = "Only the first of several values was used; the others were"
            return Mended(entries[0], single(entries[1:]), WarningCode.CONFLICTING_VALUES, message)
        return Mended(NOTHING, value, WarningCode.UNUSABLE_VALUE, f"{fault.removesuffix('.')}; it was")

    def text(self, value: Any, limit: int) -> str:
        """`value` as a text of at most `limit` characters: also a number, a boolean, and the only entry of a list.

        Raises `ValidationError`.
        """
        found = value if type(value) is str else self._only(value)
        if len(found) > limit:
            raise self.make_error("too_long", limit=limit)
        return found

    def _only(self, value: Any) -> str:
        found = single(value)
        if not isinstance(found, str | int | float):
            raise self.wrong_type()
        return as_text(found)


def single(value: Any) -> Any:
    """The only entry of a list, at any depth; `value` itself if it is no such list."""
    while isinstance(value, list) and len(entries := _different(value)) == 1:
        [value] = entries
    return value


def _different(entries: list[Any]) -> list[Any]:
    """The different entries that are not blank, in order."""
    found: dict[str, Any] = {}
    for entry in entries:
        if not is_blank(entry):
            found.setdefault(as_text(entry), entry)
    return list(found.values())


def texts_in(value: Any) -> list[str]:
    """The texts in `value`, which may be a list of lists; objects and blank entries are left out."""
    if isinstance(value, list):
        return [text for entry in value for text in texts_in(entry)]
    return [] if isinstance(value, dict) or is_blank(value) else [as_text(value)]


class Group(Schema):
    """A group of fields of a submission. `json_schema` adds to the JSON Schema of the fields."""

    json_schema: ClassVar[Mapping[str, Any]] = {"additionalProperties": True}


def flatten(messages: Mapping[Any, Any], path: str = "") -> Iterator[FieldError]:
    """Yield marshmallow's nested messages as errors with dotted paths."""
    for name, inner in messages.items():
        # "_schema" has the errors of a group as a whole.
        where = path if name == "_schema" else f"{path}.{name}".lstrip(".")
        if isinstance(inner, Mapping):
            yield from flatten(inner, where)
        else:
            yield from (FieldError(where, fault.code, fault.message) for fault in inner)

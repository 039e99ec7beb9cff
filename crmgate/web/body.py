"""Reads a request body (JSON or form) into one plain dictionary."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes

from flask import Request, request
from marshmallow import ValidationError
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from crmgate.schemas import forms
from crmgate.schemas.canonical import FieldWarning
from crmgate.schemas.charset import codec
from crmgate.schemas.coded import Group, flatten
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.forms import FormField, MalformedForm
from crmgate.schemas.labelled import labelled
from crmgate.schemas.text import clean
from crmgate.web.codes import ProblemCode
from crmgate.web.current import current
from crmgate.web.pages import FORM_TYPES
from crmgate.web.problems import Problem
from crmgate.web.services import services

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
MAX_FORM_PARTS = 200
URLENCODED, MULTIPART = FORM_TYPES
ACCEPTED = ("application/json", *FORM_TYPES)
_UNTYPED = ("", "text/plain")
"""What programs send that set no type: the content decides."""

READ_BODY = (
    ProblemCode.EMPTY_BODY, ProblemCode.MALFORMED_JSON, ProblemCode.MALFORMED_FORM, ProblemCode.TOO_DEEP,
    ProblemCode.INCOMPLETE_BODY, ProblemCode.BODY_TOO_LARGE, ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    ProblemCode.INVALID_BODY,
)  # fmt: skip
"""Problems of every view that reads a body."""

_JSON = re.compile(r"(?:application|text)/(?:x-)?json|[a-z0-9.-]+/[a-z0-9.+-]+\+json")
_FORM = re.compile(rb"[\w%.+\[\]-]+=")
_PARTS = re.compile(rb"[\r\n]*--[^\r\n]+\r?\n(?:[^\r\n]+\r?\n)*?Content-Disposition:", re.IGNORECASE)


class WrittenFloat(float):
    """A JSON number that keeps its notation: a person who typed 3.50 expects 3.50, not 3.5."""

    def __new__(cls, written: str) -> WrittenFloat:
        number = super().__new__(cls, written)
        if math.isinf(number):
            raise ValueError("out of range")
        number.written = written
        return number

    written: str

    def __str__(self) -> str:
        return self.written


def read_body() -> tuple[dict[str, Any], list[FieldWarning]]:
    """The body of the current request, with names and values unchanged, and warnings for its sender.

    A form may be JSON that has the wrong type, and the reverse: the content decides. Raises `Problem`: 400 (empty,
    malformed, too deep), 408 (cut off), 413 (too large), 415 (another media type); and `InvalidFields` for a file while
    `REFUSE_FILES` is on.
    """
    try:
        sent = current()
        return _read(_whole(sent), sent.mimetype)
    except RequestEntityTooLarge:
        limit = f"A body may have {MAX_BYTES // 1024} KB, and a form {MAX_FORM_PARTS} parts."
        raise Problem(ProblemCode.BODY_TOO_LARGE, limit) from None
    except MalformedForm as error:
        raise Problem(ProblemCode.MALFORMED_FORM, str(error)) from None
    except ClientDisconnected:
        raise _incomplete() from None


def read_fields(schema: Group) -> dict[str, Any]:
    """The body of an operator's request, read with `schema`; a null or empty value counts as absent.

    Raises the problems of `read_body`, and `InvalidFields` with every error: names that are not in `schema`, too.
    """
    (body, _), known = read_body(), ", ".join(schema.fields)
    errors = [
        FieldError(clean(name)[:64], FieldCode.UNKNOWN_FIELD, f"Expected one of: {known}.")
        for name in body.keys() - schema.fields.keys()
    ]
    try:
        fields: dict[str, Any] = schema.load(
            {name: body[name] for name in schema.fields if body.get(name) not in (None, "")}
        )
    except ValidationError as error:
        errors += flatten(error.messages_dict)
    if errors:
        raise InvalidFields(errors)
    return fields


def has_body() -> bool:
    """Whether the current request has a body, for routes where it is optional."""
    return bool(request.mimetype or request.content_length or "Transfer-Encoding" in request.headers)


def read_raw() -> bytes:
    """The body of the current request, unread. Raises `Problem`: 408 (cut off), 413 (too large)."""
    try:
        return _whole(current())
    except RequestEntityTooLarge:
        raise Problem(ProblemCode.BODY_TOO_LARGE, f"A body may have {MAX_BYTES // 1024} KB.") from None
    except ClientDisconnected:
        raise _incomplete() from None


def _read(data: bytes, kind: str) -> tuple[dict[str, Any], list[FieldWarning]]:
    is_json = kind == "application/json" or _JSON.fullmatch(kind)
    if not (is_json or kind in FORM_TYPES or kind in _UNTYPED):
        raise _unsupported()
    if not data:
        _refuse_empty()
    if _PARTS.match(data) or (kind == MULTIPART and data[:1] != b"{"):
        return _read_form(forms.multipart(data, request.mimetype_params.get("boundary", ""), MAX_FORM_PARTS))
    text = data.removeprefix(b"\xef\xbb\xbf")
    if is_json and not _FORM.match(text):
        return _read_json(data), []
    if (value := _json_in_form(text)) is not None:
        return value, []
    if not is_json and kind in _UNTYPED and b"=" not in data:
        raise _unsupported()
    is_plain = kind == "text/plain" and b"\n" in text.strip()
    return _read_form(forms.plain(text) if is_plain else forms.urlencoded(text))


def _json_in_form(data: bytes) -> dict[str, Any] | None:
    """The JSON object that was sent as a form; None if it is a form."""
    start = data.lstrip()[:4].lower()
    if start.startswith((b"{", b"[{", b"[ ")):
        return _read_json(data)
    if start.startswith((b"%7b", b"%5b%")):
        return _json_in_form(unquote_to_bytes(data.replace(b"+", b" ")).removesuffix(b"="))
    return None


def _unsupported() -> Problem:
    return Problem(
        ProblemCode.UNSUPPORTED_MEDIA_TYPE,
        f"Send the body as one of: {', '.join(ACCEPTED)}.",
        headers={"Accept": ", ".join(ACCEPTED)},  # RFC 9110, 15.5.16
    )


def _refuse_empty() -> NoReturn:
    raise Problem(ProblemCode.EMPTY_BODY, "Send the fields of the submission in the body of the request.")


def _malformed(detail: str) -> Problem:
    return Problem(ProblemCode.MALFORMED_JSON, detail)


def _too_deep() -> Problem:
    return Problem(ProblemCode.TOO_DEEP, f"Objects and lists may be nested at most {MAX_DEPTH} deep.")


def _incomplete() -> Problem:
    """The problem for a broken connection, or a sender that exceeded the server's timeout."""
    return Problem(ProblemCode.INCOMPLETE_BODY, "Nothing was stored. Please send it again.")


def _whole(sent: Request) -> bytes:
    """The complete body. Raises `Problem` for a truncated one, which looks like a shorter body to the reader."""
    announced = sent.content_length
    try:
        if announced is not None and announced <= MAX_BYTES:
            data = sent.environ["wsgi.input"].read(announced)
        else:
            data = sent.get_data()
    except HTTPException:
        raise
    except Exception:  # each server raises its own exception for malformed chunks
        raise _incomplete() from None
    if len(data) < (announced or 0):
        raise _incomplete()
    if announced is None and len(data) >= MAX_BYTES:  # Werkzeug truncates a chunked body without an error
        raise RequestEntityTooLarge
    return bytes(data)


def _read_json(data: bytes) -> dict[str, Any]:
    text = _decode(data)
    if not text.strip():
        _refuse_empty()
    parsed = _parse(text)
    value = _object(parsed)
    # A text with few brackets is not deep; JSON inside a text can hide them.
    if (text.count("{") + text.count("[") > MAX_DEPTH or value is not parsed) and _deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _object(value: Any) -> dict[str, Any]:
    """The object in the body: the body itself, the only entry or the answers of a list, or JSON encoded twice."""
    if isinstance(value, list) and value and all(map(labelled, value)):
        value = {"fields": value}  # jQuery's serializeArray
    elif isinstance(value, list) and len(value) == 1:
        [value] = value
    elif isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        value = _parse(value)
    if not isinstance(value, dict):
        raise _malformed("The body must be a JSON object: {...}.")
    return value


def _decode(data: bytes) -> str:
    # Not by `json.loads`, which guesses UTF-16 and UTF-32 and accepts encoded surrogates.
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        declared = codec(request.mimetype_params.get("charset", ""))
        if declared not in ("", "utf-8"):
            return _decode_as(data, declared)
        raise _malformed(f"The body is not UTF-8 (byte {error.start}).") from None


def _decode_as(data: bytes, declared: str) -> str:
    try:
        return data.decode(declared)
    except UnicodeDecodeError:
        raise _malformed("The body is not in the charset that its Content-Type names.") from None


def _parse(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # an integer of more than 4,300 digits, a float beyond the range
        raise _malformed("A number is out of range.") from None


def _refuse_constant(_name: str) -> NoReturn:
    raise _malformed("NaN and Infinity are not JSON (RFC 8259).")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object. Raises `Problem` for a duplicate name, because one of its values would be lost silently."""
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = _first_duplicate(name for name, _ in pairs)
        raise _malformed(f'The name "{clean(twice)[:64]}" occurs twice in one object.')
    return result


_DECODER = json.JSONDecoder(parse_float=WrittenFloat, parse_constant=_refuse_constant, object_pairs_hook=_unique_names)


def _first_duplicate(names: Iterable[str]) -> str:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise LookupError


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child for node in level for child in (node.values() if type(node) is dict else node)
            if type(child) in (dict, list)
        ]  # fmt: skip
        if not level:
            return False
    return True


def _read_form(parts: Sequence[forms.Part]) -> tuple[dict[str, Any], list[FieldWarning]]:
    settings = services().settings
    written, guessed = forms.read(parts, request.mimetype_params.get("charset", ""), settings.default_form_charset)
    # An empty file input is sent as a file without a name.
    files = [part for part in written if part.size is not None and part.text]
    if files and settings.refuse_files:
        raise InvalidFields([_file_refused(name) for name in dict.fromkeys(part.name for part in files)])
    fields = _joined([*_fields(written), *map(_mention, files)])
    if not fields:
        _refuse_empty()
    return fields, [*_about_charset(guessed), *map(_left_out, files)]


def _fields(written: Sequence[FormField]) -> Iterator[tuple[str, str]]:
    return ((part.name, part.text) for part in written if part.size is None)


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The fields by name; of a repeated name all values as a list."""
    sent: dict[str, list[str]] = {}
    for name, value in pairs:
        sent.setdefault(name, []).append(value)  # a part may have no name
    return {name: values[0] if len(values) == 1 else values for name, values in sent.items()}


def _about_charset(guessed: str) -> Iterator[FieldWarning]:
    if guessed:
        message = f"The form is not UTF-8 and names no charset; it was read as {guessed.replace('cp', 'windows-')}."
        yield FieldWarning(forms.CHARSET, WarningCode.CHARSET_GUESSED, message)


def _mention(file: FormField) -> tuple[str, str]:
    name = file.name.removesuffix("[]")
    return f"custom[{name}]", f"{_described(file)}: not stored"


def _left_out(file: FormField) -> FieldWarning:
    message = f"The file {_described(file)} was left out: files are not stored."
    return FieldWarning(clean(file.name)[:64], WarningCode.FILE_LEFT_OUT, message)


def _described(file: FormField) -> str:
    return f"{clean(file.text)[:200]} ({file.size:,} bytes)"


def _file_refused(name: str) -> FieldError:
    return FieldError(clean(name)[:64], FieldCode.FILE_REFUSED, "Files are not accepted; send the form without it.")

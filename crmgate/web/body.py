"""Reads a request body (JSON or form) into one plain dictionary."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from flask import request
from marshmallow import ValidationError
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from crmgate.schemas.coded import Group, flatten
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.text import clean
from crmgate.web.codes import ProblemCode
from crmgate.web.pages import FORM_TYPES
from crmgate.web.problems import Problem

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
MAX_FORM_PARTS = 200
ACCEPTED = ("application/json", *FORM_TYPES)

READ_BODY = (
    ProblemCode.EMPTY_BODY, ProblemCode.MALFORMED_JSON, ProblemCode.TOO_DEEP, ProblemCode.INCOMPLETE_BODY,
    ProblemCode.BODY_TOO_LARGE, ProblemCode.UNSUPPORTED_MEDIA_TYPE, ProblemCode.INVALID_BODY,
)  # fmt: skip
"""Problems of every view that reads a body."""


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


def read_body() -> dict[str, Any]:
    """The body of the current request, with names and values unchanged.

    Raises `Problem`: 400 (empty, malformed, too deep), 408 (cut off), 413 (too large), 415 (another media type),
    422 (a file).
    """
    try:
        return _read()
    except RequestEntityTooLarge:
        limit = f"A body may have {MAX_BYTES // 1024} KB, and a form {MAX_FORM_PARTS} parts."
        raise Problem(ProblemCode.BODY_TOO_LARGE, limit) from None
    except ClientDisconnected:
        raise _incomplete() from None


def read_fields(schema: Group) -> dict[str, Any]:
    """The body of an operator's request, read with `schema`; a null or empty value counts as absent.

    Raises the problems of `read_body`, and `InvalidFields` with every error: names that are not in `schema`, too.
    """
    body, known = read_body(), ", ".join(schema.fields)
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
        return _whole()
    except RequestEntityTooLarge:
        raise Problem(ProblemCode.BODY_TOO_LARGE, f"A body may have {MAX_BYTES // 1024} KB.") from None
    except ClientDisconnected:
        raise _incomplete() from None


def _read() -> dict[str, Any]:
    if request.mimetype == "application/json":
        return _read_json(_whole())
    if request.mimetype in FORM_TYPES:
        return _read_form()
    if not request.mimetype and not request.get_data(cache=False):
        _refuse_empty()
    raise Problem(
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


def _whole() -> bytes:
    """The complete body. Raises `Problem` for a truncated one, which looks like a shorter body to the reader."""
    try:
        data = request.get_data()
    except HTTPException:
        raise
    except Exception:  # each server raises its own exception for malformed chunks
        raise _incomplete() from None
    if len(data) < (request.content_length or 0):
        raise _incomplete()
    if request.content_length is None and len(data) >= MAX_BYTES:  # Werkzeug truncates a chunked body without an error
        raise RequestEntityTooLarge
    return data


def _read_json(data: bytes) -> dict[str, Any]:
    text = _decode(data)
    if not text.strip():
        _refuse_empty()
    value = _parse(text)
    if not isinstance(value, dict):
        raise _malformed("The body must be a JSON object: {...}.")
    if _deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _decode(data: bytes) -> str:
    # Not by `json.loads`, which guesses UTF-16 and UTF-32 and accepts encoded surrogates.
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _malformed(f"The body is not UTF-8 (byte {error.start}).") from None


def _parse(text: str) -> Any:
    try:
        return json.loads(
            text, parse_float=WrittenFloat, parse_constant=_refuse_constant, object_pairs_hook=_unique_names
        )
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
        level = [child for node in level for child in _children(node) if isinstance(child, dict | list)]
    return bool(level)


def _children(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node


def _read_form() -> dict[str, Any]:
    _whole()  # refuses a truncated body; Flask parses the form from the cached data
    sent: dict[str, list[str]] = {}
    for name, values in request.form.lists():
        sent.setdefault(name or "", []).extend(values)  # a part may have no name
    fields = {name: values[0] if len(values) == 1 else values for name, values in sent.items()}
    # An empty file input is sent as a file without a name.
    files = [name or "" for name, file in request.files.items(multi=True) if file.filename]
    if files:
        raise InvalidFields([_file_refused(name) for name in dict.fromkeys(files)])
    if not fields:
        _refuse_empty()
    return fields


def _file_refused(name: str) -> FieldError:
    return FieldError(clean(name)[:64], FieldCode.FILE_REFUSED, "Files are not accepted; send the form without it.")

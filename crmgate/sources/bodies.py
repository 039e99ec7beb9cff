"""Parses the body of a request, JSON or a form, and finds values in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header

from crmgate.schemas import forms
from crmgate.schemas.charset import AUTO, codec, decode

MAX_DEPTH = 20
MAX_FIELDS = 1_000
_PARTS = re.compile(r"\[([^\[\]]*)\]")


def parse_body(content_type: str, body: bytes, default_charset: str = AUTO) -> Any:
    """A JSON value, or the fields of a form as a nested dictionary. Raises `ValueError` for anything else.

    JSON is recognised under each media type. A number with a point keeps its notation, as a text. Of a file only the
    name is kept. `default_charset` is the value of `DEFAULT_FORM_CHARSET`.
    """
    mimetype, options = parse_options_header(content_type)
    charset = options.get("charset", "")
    is_json = mimetype.endswith("json")
    if mimetype != "multipart/form-data" and (is_json or body.lstrip()[:1] in (b"{", b"[")):
        try:
            return _json(body, charset)
        except ValueError:
            if is_json:
                raise
    parts = _multipart(body, options) if mimetype == "multipart/form-data" else forms.urlencoded(body)
    if len(parts) > MAX_FIELDS:
        raise ValueError("too many fields")
    fields, _guessed = forms.read(parts, charset, default_charset)
    return nested((field.name, field.text) for field in fields if field.size is None or field.text)


def _multipart(body: bytes, options: Mapping[str, str]) -> list[forms.Part]:
    try:
        return forms.multipart(body, options.get("boundary", ""), MAX_FIELDS)
    except RequestEntityTooLarge:
        raise ValueError("too many fields") from None


def _json(body: bytes, charset: str) -> Any:
    text = decode(body.removeprefix(b"\xef\xbb\xbf"), codec(charset))
    if text is None:
        raise ValueError("not in its charset")
    try:
        value = json.loads(text, parse_float=str, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _deeper_than(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    return value


def _refuse(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node) if isinstance(child, dict | list)]
    return bool(level)


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def nested(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a form, nested by the brackets in their names as PHP does. A repeated field becomes a list."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        *path, leaf = _segments(name)
        place = result
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                place, leaf = result, name
                break
        _add(place, leaf, value)
    return {name: _lists(value) for name, value in result.items()}


def _segments(name: str) -> list[str]:
    base, bracket, rest = name.partition("[")
    parts = _PARTS.findall(bracket + rest)
    if not base or not parts or len(parts) > MAX_DEPTH or base + "".join(f"[{part}]" for part in parts) != name:
        return [name]
    return [base, *parts]


def _add(place: dict[str, Any], name: str, value: Any) -> None:
    if name not in place:
        place[name] = value
    elif isinstance(place[name], list):
        place[name].append(value)
    else:
        place[name] = [place[name], value]


def _lists(value: Any) -> Any:
    """`value` with each dictionary whose names are `""` or numbers as a list."""
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(child) for name, child in value.items()}
    if not all(name == "" or name.isdecimal() for name in inner):
        return inner
    entries: list[Any] = []
    for child in inner.values():
        entries += child if isinstance(child, list) else [child]
    return entries


def at(data: Any, path: str) -> Any:
    """The value at a dotted path, None if there is none. A number selects an entry; a name may contain dots itself."""
    if not path:
        return data
    if isinstance(data, Mapping):
        return data[path] if path in data else _further(data, path)
    head, _, tail = path.partition(".")
    if isinstance(data, list) and head.isdecimal() and int(head) < len(data):
        return at(data[int(head)], tail)
    return None


def _further(data: Mapping[str, Any], path: str) -> Any:
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        head, tail = ".".join(parts[:length]), ".".join(parts[length:])
        if head in data and (found := at(data[head], tail)) is not None:
            return found
    return None

"""A whole body of a form, with what a visitor typed into it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from crmgate.schemas.labelled import labelled

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True)
class Case:
    """A body; the words of the name and the contacts that are fields of the lead, and every typed value."""

    name: str
    body: bytes
    kind: str
    person: str
    typed: list[Any]


def form(name: str, person: str, fields: Mapping[str, str], charset: str = "utf-8", kind: str = FORM) -> Case:
    typed = [value for key, value in fields.items() if key != "_charset_"]
    return Case(name, urlencode(fields, encoding=charset).encode(), kind, person, typed)


def posted(name: str, person: str, body: Any, charset: str = "utf-8") -> Case:
    kind = JSON if charset == "utf-8" else f"{JSON}; charset={charset}"
    return Case(name, json.dumps(body, ensure_ascii=False).encode(charset), kind, person, [*typed_in(body)])


def typed_in(value: Any) -> Iterator[Any]:
    """The values in a body; of an object with a label only its value."""
    if answer := labelled(value):
        yield from typed_in(answer[1])
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from typed_in(inner)
    elif value not in (None, "", True, False):
        yield value

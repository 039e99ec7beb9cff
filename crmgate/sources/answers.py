"""Turns the answers of a form into fields: one name and one plain value for each answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crmgate.schemas.labelled import VALUES, Answer, labelled
from crmgate.schemas.text import clean
from crmgate.schemas.vocabulary import named

_ABOUT = ("form", "event", "site", "page", "workspace", "account", "company", "organization", "team", "campaign",
          "webhook", "meta")  # fmt: skip
"""Objects about the form and its owner: their names are not those of the person."""
_DATA = re.compile(r"data:([\w/+.-]+)[^,]{0,100};base64,")


def collected(answers: Iterable[Answer]) -> dict[str, Any]:
    """The fields of a submission. Further answers with one name are a list, by what people see, else `name (2)`."""
    result: dict[str, Any] = {}
    for names, value in answers:
        if (found := plain(value)) in ("", []):
            continue
        name = chosen(names)
        if name in result:
            if result[name] == found:
                continue
            name = _another(names, name, result)
        result[name] = [*_listed(result[name]), *_listed(found)] if name in result else found
    return result


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _another(names: tuple[str, ...], name: str, taken: Mapping[str, Any]) -> str:
    """A name for a further answer: what the visitor saw, else `name` with a number."""
    return next((each for each in reversed(names) if each and each not in taken), f"{name} (2)")


def chosen(names: Iterable[str]) -> str:
    """The first name that is a known field, else the last one."""
    given = [name for name in map(clean, names) if name] or ["unnamed"]
    return next((name for name in given if named(name)), given[-1])


def plain(value: Any) -> Any:
    """A text, number or truth value as it is; a list of them; of anything nested its leaves as one text."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(_leaves(value))
    if isinstance(value, list):
        entries = [found for found in map(plain, value) if found not in ("", [])]
        flat = [", ".join(map(str, entry)) if isinstance(entry, list) else entry for entry in entries]
        return flat[0] if len(flat) == 1 else flat
    if isinstance(value, int | float):
        return value
    data = _DATA.match(str(value))
    return f"(a file: {data[1]})" if data else clean(str(value))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _leaves(child)
    elif (found := plain(value)) != "":
        yield str(found)


def flat(data: Any, parent: str = "") -> Iterator[Answer]:
    """Every answer in a body of unknown shape: objects with a label and a value, all other values by their names."""
    if not isinstance(data, Mapping):
        yield from _inside(("",), data)
        return
    for name, value in data.items():
        yield from _inside(_names(parent, str(name)), value)


def _names(parent: str, name: str) -> tuple[str, ...]:
    """The names of a member: `utm.source` before `source`, `form name` instead of `name`."""
    if not parent:
        return (name,)
    return (f"{parent} {name}",) if parent.lower() in _ABOUT else (f"{parent}.{name}", name)


def _inside(names: tuple[str, ...], value: Any) -> Iterator[Answer]:
    if isinstance(value, Mapping):
        yield from _members(names, value)
    elif isinstance(value, list) and any(isinstance(entry, Mapping | list) for entry in value):
        for entry in value:
            yield from _inside(names, entry)
    else:
        yield names, value


def _members(names: tuple[str, ...], value: Mapping[str, Any]) -> Iterator[Answer]:
    if answer := labelled(value):
        yield answer
        return
    alone = [value[key] for key in VALUES if key in value and value.keys() <= {key, "type"}]
    if alone and not isinstance(alone[0], Mapping | list):
        yield names, alone[0]
    else:
        yield from flat(value, names[-1])

"""Turns the answers of a form into fields: one name and one plain value for each answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crmgate.schemas.labelled import Answer, labelled
from crmgate.schemas.text import clean
from crmgate.sources.labels import field_of


def collected(answers: Iterable[Answer]) -> dict[str, Any]:
    """The fields of a submission. Two answers with the same name become `name` and `name (2)`."""
    result: dict[str, Any] = {}
    for names, value in answers:
        if (found := plain(value)) in ("", []):
            continue
        name = chosen(names)
        if result.get(name, found) != found:
            name = _another(names, name, result)
        result[name] = found
    return result


def _another(names: tuple[str, ...], name: str, taken: Mapping[str, Any]) -> str:
    """A name for a second answer: what the visitor saw, else `name` with a number."""
    numbered = (f"{name} ({number})" for number in range(2, len(taken) + 3))
    return next(each for each in (*reversed(names), *numbered) if each and each not in taken)


def chosen(names: Iterable[str]) -> str:
    """The first name that is a known field, else the last one."""
    given = [name for name in map(clean, names) if name] or ["unnamed"]
    return next((name for name in given if field_of(name)), given[-1])


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
    return value if isinstance(value, int | float) else clean(str(value))


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for child in value:
            yield from _leaves(child)
    elif (found := plain(value)) != "":
        yield str(found)


def flat(data: Any) -> Iterator[Answer]:
    """Every answer in a body of unknown shape: objects with a label and a value, all other values by their names."""
    if not isinstance(data, Mapping):
        yield from _inside("", data)
        return
    for name, value in data.items():
        yield from _inside(str(name), value)


def _inside(name: str, value: Any) -> Iterator[Answer]:
    if isinstance(value, Mapping):
        answer = labelled(value)
        yield from [answer] if answer else flat(value)
    elif isinstance(value, list) and any(isinstance(entry, Mapping | list) for entry in value):
        for entry in value:
            yield from _inside(name, entry)
    else:
        yield (name,), value

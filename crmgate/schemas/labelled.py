"""Finds answers that are objects with a label and a value, such as `{"name": "email", "value": "ada@example.com"}`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Answer = tuple[tuple[str, ...], Any]
"""The names of an answer, first those for programs (id, ref), last the title that the visitor sees, and its value."""
Find = Callable[[str], str | None]
"""Looks up the field that a name means; None for a name that is not known."""

_FOR_PROGRAMS = ("ref", "key", "custom_key", "slug", "id", "name", "field", "column_id")
_FOR_PEOPLE = ("label", "title", "question", "text_label", "field_label", "column_name")
VALUES = ("value", "values", "answer", "answers", "raw_value", "response", "string_value")


def labelled(data: Any) -> Answer | None:
    """The answer in an object such as `{"label": "E-mail", "value": "ada@example.com"}`; None if it is none."""
    if not isinstance(data, Mapping):
        return None
    value_of = next((key for key in VALUES if key in data), None)
    names = tuple(str(data[key]) for key in (*_FOR_PROGRAMS, *_FOR_PEOPLE) if isinstance(data.get(key), str | int))
    return (names, _worded(data[value_of], data.get("options"))) if value_of and names else None


def _worded(value: Any, options: Any) -> Any:
    """A choice by its text, where a tool sends the ids of the chosen `options`."""
    known = [each for each in options if isinstance(each, Mapping)] if isinstance(options, list) else []
    texts = {each.get("id"): each.get("text") or each.get("label") for each in known}
    if isinstance(value, list):
        return [texts.get(each, each) if isinstance(each, str | int) else each for each in value]
    return texts.get(value, value) if isinstance(value, str | int) else value


def answers_in(name: str, value: Any, find: Find) -> list[tuple[str, Any]]:
    """The answers in a list of labelled objects, or in one such object called `name`, by the best name of each.

    Empty for any other value.
    """
    if isinstance(value, Mapping):
        answer = None if value.keys().isdisjoint(VALUES) else _alone(value, find)
        return [(_best((name, *answer[0]), find), answer[1])] if answer else []
    answers = list(map(labelled, value)) if value and isinstance(value[0], Mapping) else []
    if not answers or not all(answers):
        return []
    return [(_best(names, find), inner) for names, inner in filter(None, answers)]


def _alone(value: Mapping[str, Any], find: Find) -> Answer | None:
    """The answer in an object; None if the object has fields of its own beside it."""
    describing = (*_FOR_PROGRAMS, *_FOR_PEOPLE, *VALUES)
    if any(find(key) for key in value if key not in describing):
        return None
    return labelled(value)


def _best(names: tuple[str, ...], find: Find) -> str:
    """The first name that is known, else the last one, which people read."""
    return next((name for name in names if find(name)), names[-1])

"""Finds the person in a body whose names nobody knows: by names inside unknown objects, and by the values themselves.

It is the last resort before the submission is refused. A form whose fields are called `input_2` cannot be corrected by
its visitor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.schemas import phones
from crmgate.schemas.canonical import Canonical, split_name
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.entries import mapping
from crmgate.schemas.fields import PhoneRegion
from crmgate.schemas.labelled import labelled
from crmgate.schemas.labels import words_of
from crmgate.schemas.readings import Doubt
from crmgate.schemas.text import as_text, is_blank, tidy
from crmgate.schemas.vocabulary import EMAIL, FIRST_NAME, FULL_NAME_PATH, LAST_NAME, PHONE, flat_name, snake

_DEEPEST = 12
_NAMES = frozenset({FULL_NAME_PATH, FIRST_NAME, LAST_NAME})
_OF_OTHERS = frozenset({
    "form", "event", "site", "page", "workspace", "account", "company", "organization", "team", "campaign", "webhook",
    "context", "parent", "guardian", "mother", "father", "emergency", "to", "recipient", "recipients", "cc",
    "bcc", "admin", "owner", "from", "veli", "anne", "baba",
})  # fmt: skip
"""Words in the names of what belongs to the form, to its owner or to another person."""
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]{2,}")
_PHONE = re.compile(r"[+(0][\d\s().-]{8,23}")  # a number without one of these is an id or a time as often

NO_NAME = "-"
"""The first name of a lead that has neither a name nor an email."""
STAND_IN = "There was no name; a stand-in was used."

Leaf = tuple[str, Any]
"""The dotted path of a value in a body, and the value."""


def recognise(canonical: Canonical) -> None:
    """Add the name and the contact that the known names lack, each with a warning."""
    fields = canonical.fields
    if FIRST_NAME in fields and (EMAIL in fields or PHONE in fields):
        return
    leaves = [leaf for leaf in _leaves("", canonical.raw) if _OF_OTHERS.isdisjoint(words_of(leaf[0]))]
    _by_names(canonical, leaves)
    if EMAIL not in fields and PHONE not in fields:
        _by_values(canonical, leaves)
        if FIRST_NAME not in fields and (EMAIL in fields or PHONE in fields):
            fields[FIRST_NAME] = stand_in(fields.get(EMAIL))
            canonical.warn(FIRST_NAME, WarningCode.STAND_IN, STAND_IN)


def stand_in(email: Any) -> str:
    """The first name of a lead without one: the first part of its email, else `NO_NAME`."""
    return as_text(email).partition("@")[0][:100] or NO_NAME


def _leaves(path: str, value: Any, depth: int = 0) -> Iterator[Leaf]:
    members = mapping(value) if isinstance(value, str) else value
    if depth > _DEEPEST or not isinstance(members, Mapping | list) or not members:
        yield path, tidy(value)
    elif isinstance(members, list):
        for entry in members:
            yield from _leaves(path, entry, depth + 1)
    elif answer := labelled(members):
        yield from _leaves(f"{path}.{answer[0][-1]}", answer[1], depth + 1)
    else:
        for name, inner in members.items():
            yield from _leaves(f"{path}.{name}".removeprefix("."), inner, depth + 1)


def _by_names(canonical: Canonical, leaves: list[Leaf]) -> None:
    """Take the values that have a known name inside an object with an unknown one."""
    wanted = _NAMES if FIRST_NAME not in canonical.fields else frozenset[str]()
    if EMAIL not in canonical.fields and PHONE not in canonical.fields:
        wanted |= {EMAIL, PHONE}
    for path, value in leaves:
        outer, _, name = path.rpartition(".")
        target = canonical.words.find(name) if outer and not is_blank(value) else None
        if target in wanted and target not in canonical.fields:
            _take(canonical, target, path, value)
    if FULL_NAME_PATH in canonical.fields:
        split_name(canonical)


def _by_values(canonical: Canonical, leaves: list[Leaf]) -> None:
    """Take the first value of an unknown field that is an email address, or else a phone number."""
    unknown = [
        (path, as_text(value)) for path, value in leaves
        if canonical.words.find(path) is None and snake(path) not in canonical.words.targets
    ]  # fmt: skip
    for target, fits in ((EMAIL, _EMAIL.fullmatch), (PHONE, _is_phone)):
        for path, text in unknown:
            if fits(text):
                _take(canonical, target, path.removeprefix("custom."), text)
                return


def _is_phone(text: str) -> bool:
    reading = phones.read(text, PhoneRegion.get()) if _PHONE.fullmatch(text) else None
    return reading is not None and reading.doubt is Doubt.NONE


def _take(canonical: Canonical, target: str, name: str, value: Any) -> None:
    canonical.fields[target], canonical.renamed[target] = value, name
    if canonical.custom.get(name) == as_text(value):
        del canonical.custom[name]
    message = f"This field is not known; its value was taken as {flat_name(target)}."
    canonical.warn(name, WarningCode.RECOGNISED, message)

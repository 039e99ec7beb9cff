"""Lists the fields in a body, each with the path that its name means.

A field may be nested (`personal_info.first_name`), flat (`first_name`), in the form notation for nesting
(`personal_info[first_name]`, `universities[]`), inside a wrapper (`data[first_name]`), in camelCase, or have another
name: an alias, one of the setting FIELD_ALIASES, or one that forms usually give it (`names.TABLE`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from crmgate.schemas.labelled import VALUES, answers_in, labelled
from crmgate.schemas.labels import INSIDE
from crmgate.schemas.vocabulary import (
    BIRTH_DATE,
    CONTACT_PATH,
    CUSTOM,
    FULL_NAME_PATH,
    PHONE,
    Vocabulary,
    alias_key,
    snake,
)

CONTROLS = frozenset({"_next", "_charset_"})
"""Names of fields that are instructions for the gateway. `_t` and the honeypot are removed before."""
WRAPPERS = frozenset({
    "answers", "applicant", "application", "attributes", "body", "client", "contact", "contacts", "customer", "data",
    "fields", "form", "form_data", "form_fields", "formdata", "input", "inquiry", "json", "lead", "leads", "params",
    "payload", "person", "properties", "response", "responses", "student", "submission", "user", "values", "variables",
})  # fmt: skip
"""Names that frameworks put around the fields of a form, as in `lead[email]`."""
_DESCRIPTION = frozenset({"id", "name", "title", "type", "slug", "url"})
"""What describes the form itself, as in `{"form": {"name": "Footer"}}`, if there is nothing else beside it."""
FURTHER = "further"
"""The target of further objects in a list of which only the first one is read."""

_NO_OBJECT = frozenset({str, int, bool, list})
_LIST_SUFFIX = re.compile(r"\[\d*\]\Z")
_ENDS = frozenset("]0123456789")
_DOT_INDEX = re.compile(r"\.\d+\Z")
_PART = re.compile(r"([^\[\]]+)\[(country|area|phone|day|month|year)\]", re.IGNORECASE)
_ANSWER = re.compile(r"([^\[\]]+)\[(\d+)\]\[(\w+)\]")
_INNER_INDEX = re.compile(r"\.\d+(?=\.)")


class Rank(IntEnum):
    """Precedence of a name when a field was sent under several."""

    NESTED = 0
    FLAT = 1
    SETTING = 2
    USUAL = 3
    CONTACT = 4
    """A name for a contact of either kind."""


@dataclass(slots=True)
class SentField:
    """A field in a body. `target` is its path, `CUSTOM`, `FURTHER`, or None for a name that is not known."""

    name: str
    """The name as it was sent; dotted if it was nested."""
    value: Any
    target: str | None
    rank: Rank = Rank.NESTED


def entries(
    raw: Mapping[str, Any], words: Vocabulary, aliases: Mapping[str, str]
) -> tuple[dict[str, Any], list[SentField]]:
    """The fields of `raw`: the values of the nested ones by path, and all others. The first ones take precedence."""
    fields = _Fields(words, aliases)
    fields.read(raw)
    return fields.nested, fields.found


class _Fields:
    """Collects the fields of a body. `nested` has the first plain value of each field inside its group."""

    def __init__(self, words: Vocabulary, aliases: Mapping[str, str]) -> None:
        self.words, self.aliases = words, aliases
        self.nested: dict[str, Any] = {}
        self.found: list[SentField] = []

    def add(self, name: str, value: Any, target: str | None, rank: Rank = Rank.NESTED) -> None:
        self.found.append(SentField(name, value, target, rank))

    def read(self, raw: Mapping[str, Any], outer: str = "") -> None:
        """Add the fields of `raw`. `outer` is the name of the wrapper around them, with a dot."""
        if [name for name in raw if name[-1:] in _ENDS]:
            raw = _join_parts(_join_lists(_join_answers(raw), self.words.targets), self.words)
        for name, value in raw.items():
            if name not in CONTROLS:
                self._entry(outer, name, value)

    def _entry(self, outer: str, name: str, value: Any) -> None:
        words, aliases = self.words, self.aliases
        dotted = name if name in words.targets or name in words.groups else _dotted(name)
        path = dotted if dotted is name else snake(dotted)
        target = words.targets.get(path)
        may_be_answers = type(value) is not str and words.usual and _may_be_answers(value)
        if aliases and alias_key(name) in aliases:
            self.add(outer + name, value, *_of_setting(aliases[alias_key(name)], words))
        elif may_be_answers and (answers := answers_in(name, value, words.find)):
            self.found += [self._renamed_one(label, inner) for label, inner in answers]
        elif path[:6] == CUSTOM and path[6:7] in ("", "."):
            self._custom(dotted, value)
        elif path in words.groups and (members := value if type(value) is dict else mapping(value)):
            self._group(outer + name, path, members)
            if members is not value:
                self._further(outer + name, value)
        elif target is not None and not _is_derived(target, value):
            self.add(outer + name, value, target, Rank.NESTED if "." in path else Rank.FLAT)
        elif path == "form" and isinstance(value, Mapping) and _DESCRIPTION.issuperset(value):
            self.add(outer + name, value, None)
        elif path in WRAPPERS and (members := mapping(value)):
            self.read(members, f"{outer}{name}.")
            self._further(outer + name, value)
        else:
            self._renamed(outer + name, value)

    def _custom(self, dotted: str, value: Any) -> None:
        name = dotted.partition(".")[2]
        if name:
            self.add(name, value, CUSTOM)
            return
        for member, inner in (mapping(value) or {"custom": value}).items():
            self.add(member, inner, CUSTOM)
        self._further("custom", value)

    def _group(self, name: str, path: str, members: Mapping[str, Any]) -> None:
        known, simple, nested = self.words.members[path], self.words.simple, self.nested
        for member, inner in members.items():
            target = known[member] if member in known else self.words.in_group(path, member)
            if target in simple and type(inner) in _NO_OBJECT and target not in nested:
                nested[target] = inner  # nearly every field
            elif target is None or _is_derived(target, inner):
                self._renamed(f"{name}.{member}", inner)
            else:
                self.add(f"{name}.{member}", inner, target)

    def _renamed(self, name: str, value: Any) -> None:
        """Add the field with a usual name, or those inside an object of the form tool."""
        entry = self._renamed_one(name, value)
        if isinstance(value, Mapping) and self.words.usual and entry.target != PHONE:
            members = [self._renamed_one(path, inner) for path, inner in _members(name, value)]
            for member in members:
                if not _is_own(member, entry):
                    member.target = None
            if any(member.target for member in members):
                self.found += members
                return
        self.found.append(entry)

    def _renamed_one(self, name: str, value: Any) -> SentField:
        """The field that FIELD_ALIASES, a name inside wrappers or a usual name means."""
        words, aliases = self.words, self.aliases
        setting = aliases.get(alias_key(name)) if aliases else None
        if setting is not None:
            return SentField(name, value, *_of_setting(setting, words))
        path = _inner(name)
        if (target := words.targets.get(path)) not in (None, CONTACT_PATH, FULL_NAME_PATH):
            return SentField(name, value, target)
        found = words.find(name) or words.find(path)
        return SentField(name, value, found, Rank.CONTACT if found == CONTACT_PATH else Rank.USUAL)

    def _further(self, name: str, value: Any) -> None:
        """Add the further objects of a list, of which only the first one is read."""
        if isinstance(value, str):
            value = _from_json(value)
        if isinstance(value, list) and len(value) > 1 and isinstance(value[0], Mapping):
            self.add(name, value[1:], FURTHER)


def _may_be_answers(value: Any) -> bool:
    """Whether a value can be a labelled object, or a list of them (`answers_in`)."""
    return type(value) is list or (type(value) is dict and not value.keys().isdisjoint(VALUES))


def _dotted(name: str) -> str:
    """A name in the form notation (`a[b][c]`) with dots (`a.b.c`)."""
    return name.replace("][", ".").replace("[", ".").replace("]", "")


def _is_derived(target: str, value: Any) -> bool:
    """Whether the name is no field itself, or its value is an object of parts."""
    if type(value) in _NO_OBJECT:
        return target == CONTACT_PATH
    return target == CONTACT_PATH or (target != PHONE and isinstance(value, Mapping))


def _is_own(member: SentField, entry: SentField) -> bool:
    """Whether a member has a field by its own name, or is the value of the field that the object is called."""
    return member.target != entry.target or snake(member.name.rpartition(".")[2]).replace("_", "") in INSIDE


def _of_setting(target: str, words: Vocabulary) -> tuple[str, Rank]:
    return words.targets.get(target, target), Rank.SETTING


def _inner(name: str) -> str:
    """`email` for `lead.email`, `education.level` for `education.0.level`: without wrappers and without indexes."""
    path = _INNER_INDEX.sub("", snake(_dotted(name)))
    outer, _, inner = path.partition(".")
    while outer in WRAPPERS and inner:
        path = inner
        outer, _, inner = path.partition(".")
    return path


def _members(name: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for member, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _members(f"{name}.{member}", inner)
        else:
            yield f"{name}.{member}", inner


def mapping(value: Any) -> Mapping[str, Any]:
    """The members of an object, also of the first object in a list, or of an object as JSON text; empty otherwise."""
    if type(value) is dict:
        return value
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        value = _from_json(value)
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        value = value[0]
    return value if isinstance(value, Mapping) else {}


def _from_json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None  # a text that only begins like JSON


def _join_answers(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """`raw` with `fields[0][name]`, `fields[0][value]`, `fields[1][name]` ... joined into one list `fields`.

    A script writes a form in this way that sends what jQuery's `serializeArray` returns as a form.
    """
    joined = {base: list(answers.values()) for base, answers in _answers(raw).items() if base not in raw}
    joined = {base: answers for base, answers in joined.items() if all(map(labelled, answers))}
    if not joined:
        return raw
    rest = {name: value for name, value in raw.items() if _list_of_answers(name) not in joined}
    return rest | joined


def _answers(raw: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """The members of objects in lists, by the name of the list and by the index of the object."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, value in raw.items():
        if name.endswith("]") and (match := _ANSWER.fullmatch(name)):
            base, index, member = match.groups()
            found.setdefault(base, {}).setdefault(index, {})[member] = value
    return found


def _list_of_answers(name: str) -> str:
    """`fields` for `fields[0][value]`; empty for another name."""
    match = _ANSWER.fullmatch(name)
    return match[1] if match else ""


def _join_lists(raw: Mapping[str, Any], targets: Mapping[str, str]) -> Mapping[str, Any]:
    """`raw` with `name[]`, `name[0]`, `name[1]`, `name.0` ... joined into one list `name`."""
    bases = {name: base for name in raw if name[-1:] in _ENDS and (base := _base(name, targets)) != name}
    if not bases:
        return raw
    lists = set(bases.values())
    result: dict[str, Any] = {}
    for name, value in raw.items():
        base = bases.get(name, name)
        if base in lists:
            result.setdefault(base, []).extend(value if isinstance(value, list) else [value])
        else:
            result[name] = value
    return result


def _base(name: str, targets: Mapping[str, str]) -> str:
    if name.endswith("]"):
        return _LIST_SUFFIX.sub("", name)
    base = _DOT_INDEX.sub("", name)
    return base if snake(base) in targets else name


def _join_parts(raw: Mapping[str, Any], words: Vocabulary) -> Mapping[str, Any]:
    """`raw` with the parts of a phone number (`q5_phone[area]`, `q5_phone[phone]`) or of a date as one text."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in raw.items():
        if name.endswith("]") and (match := _PART.fullmatch(name)) and words.find(match[1]) in (PHONE, BIRTH_DATE):
            parts.setdefault(match[1], {})[match[2].lower()] = value
    joined = {base: text for base, sent in parts.items() if base not in raw and (text := _in_one(sent))}
    if not joined:
        return raw
    rest = {name: value for name, value in raw.items() if name.partition("[")[0] not in joined}
    return rest | joined


def _in_one(parts: Mapping[str, Any]) -> str:
    """A phone number or a date of its parts; empty if a part is missing or too much."""
    if not all(isinstance(value, str) for value in parts.values()):
        return ""
    if parts.keys() == {"day", "month", "year"}:
        return "-".join(parts[part].zfill(2) for part in ("year", "month", "day"))
    if "phone" in parts and parts.keys() <= {"country", "area", "phone"}:
        return " ".join(parts[part] for part in ("country", "area", "phone") if parts.get(part))
    return ""

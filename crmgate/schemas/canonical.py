"""Translates the field names of a form to canonical names, before validation.

A field may be nested (`personal_info.first_name`), flat (`first_name`), in the form notation for nesting
(`personal_info[first_name]`, `universities[]`), in camelCase, or have another name: an alias, one of the setting
FIELD_ALIASES, or one that forms usually give it (`names.TABLE`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from marshmallow import Schema
from marshmallow import fields as marshmallow_fields

from crmgate.schemas import full_names
from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.schemas.event import MessengerEventSchema
from crmgate.schemas.faults import FieldError
from crmgate.schemas.names import CONTACT, FULL_NAME, field_of
from crmgate.schemas.text import as_text, clean, is_blank, tidy

ALIASES: Mapping[str, str] = {
    "ref": "referral_code",
    "session_id": "session",
    "email_address": "personal_info.email",
    "phone_number": "personal_info.phone",
    "education_level": "education.level",
    "field_of_study": "education.field",
    "consent": "consent.given",
}
"""Path of a field by its alias. Aliases also work inside the field's group (`education.field_of_study`)."""

FULL_NAME_PATH = f"personal_info.{FULL_NAME}"
CONTACT_PATH = f"personal_info.{CONTACT}"
FIRST_NAME, LAST_NAME = "personal_info.first_name", "personal_info.last_name"
PHONE, EMAIL = "personal_info.phone", "personal_info.email"
_SEPARATORS = {PHONE: ", ", EMAIL: ", ", FULL_NAME_PATH: " "}
"""What joins the parts of a value that was sent in parts."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LIST_SUFFIX = re.compile(r"\[\d*\]\Z")


@dataclass(frozen=True, slots=True)
class FieldWarning:
    """A field that was accepted but changed, or stored under another name."""

    field: str
    code: WarningCode
    message: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The field names of one kind of body: the path of each accepted name in snake_case, and the groups."""

    targets: Mapping[str, str]
    groups: Mapping[str, bool]
    """Whether each group is required."""
    rest: str = "custom"
    """Name of the field that keeps unknown fields."""
    usual: bool = False
    """Whether the fields may have the usual names of `names.TABLE`."""

    def find(self, name: str) -> str | None:
        """The path of the field with one of its usual names; None if there is none."""
        flat = field_of(name) if self.usual else None
        return None if flat is None else self.targets[flat]

    def in_group(self, group: str, member: str) -> str | None:
        """The path of the field `member` of a group, by any of its names."""
        path = self.targets.get(f"{group}.{snake(member)}")
        if path is None and (found := self.find(member)) and found.startswith(f"{group}."):
            return found
        return path


@dataclass
class Canonical:
    """A body by canonical names: known `fields` by dotted path, and all others in `custom`. `raw` is the body."""

    words: Vocabulary
    raw: Mapping[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)
    warnings: list[FieldWarning] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Names that were sent and are not known."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Name that was sent for each field that has it from FIELD_ALIASES or the usual names."""
    others: dict[str, list[Any]] = field(default_factory=dict)
    """Further values of a field that were sent, in the order of precedence."""

    def keep(self, name: str, value: Any) -> None:
        """Put `value` into `custom`; a second value for the same name is appended on a new line."""
        value = tidy(value)
        if is_blank(value):
            return
        name, text = clean(name) or "unnamed", as_text(value)
        known = self.custom.get(name)
        self.custom[name] = text if known in (None, text) else f"{known}\n{text}"

    def warn(self, name: str, code: WarningCode, message: str) -> None:
        """Add a warning about the field `name`."""
        self.warnings.append(FieldWarning(clean(name), code, message))

    def nested(self) -> dict[str, Any]:
        """The nested dictionary that the schema loads."""
        result: dict[str, Any] = {name: {} for name, required in self.words.groups.items() if required}
        result["custom"] = self.custom
        for path, value in self.fields.items():
            group, _, leaf = path.rpartition(".")
            (result.setdefault(group, {}) if group else result)[leaf] = value
        return result


class _Rank(IntEnum):
    """Precedence of a name when a field was sent under several."""

    NESTED = 0
    FLAT = 1
    SETTING = 2
    USUAL = 3
    CONTACT = 4
    """A name for a contact of either kind."""


class _Entry(NamedTuple):
    name: str
    """The name as it was sent; dotted if it was nested."""
    value: Any
    target: str | None
    rank: _Rank


def canonicalise(
    raw: Mapping[str, Any], words: Vocabulary | None = None, aliases: Mapping[str, str] | None = None
) -> Canonical:
    """Assign the fields of `raw` to canonical names.

    A nested name takes precedence over a flat one, that over one of FIELD_ALIASES, and that over a usual name. `words`
    is the vocabulary, by default that of an application. `aliases` is the setting FIELD_ALIASES.
    """
    result = Canonical(words or APPLICATION, raw)
    entries = _entries(_join_lists(raw), result, aliases or {})
    for entry in sorted(entries, key=lambda entry: entry.rank):
        _place(result, entry._replace(value=tidy(entry.value)))
    if FULL_NAME_PATH in result.fields:
        _split_name(result)
    return result


def _place(result: Canonical, entry: _Entry) -> None:
    if is_blank(entry.value):
        return
    if entry.target == CONTACT_PATH:
        entry = entry._replace(target=EMAIL if "@" in as_text(entry.value).lstrip("@") else PHONE)
    rest = result.words.rest
    own_name = entry.name.removeprefix(f"{rest}.")
    if entry.target == rest:
        result.keep(own_name, entry.value)
    elif entry.target is None:
        result.unknown.append(entry.name)
        result.keep(own_name, entry.value)
        message = f"This field is not known; it was kept in `{rest}`."
        result.warn(entry.name, WarningCode.UNKNOWN_FIELD, message)
    elif entry.target in result.fields:
        _compare(result, entry, own_name)
    else:
        result.fields[entry.target] = _joined(entry)
        if entry.rank >= _Rank.SETTING:
            result.renamed[entry.target] = entry.name


def _compare(result: Canonical, entry: _Entry, own_name: str) -> None:
    if result.fields[str(entry.target)] == entry.value:
        return
    result.others.setdefault(str(entry.target), []).append(_joined(entry))
    result.keep(own_name, entry.value)
    result.warn(
        entry.name,
        WarningCode.CONFLICTING_VALUES,
        f"`{entry.target}` was sent twice with different values; this one was kept in `{result.words.rest}`.",
    )


def _joined(entry: _Entry) -> Any:
    """The value; a contact or a full name in several parts, or sent several times, as one text."""
    value = entry.value
    separator = _SEPARATORS.get(str(entry.target))
    if separator is None:
        return value
    if isinstance(value, Mapping) and entry.target == PHONE:
        return " ".join(as_text(part) for part in value.values() if not isinstance(part, Mapping | list))
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return separator.join(filter(None, value))
    return value


def _split_name(result: Canonical) -> None:
    """Replace a full name by first name and last name. What contradicts a name that was sent is kept."""
    fields, full = result.fields, result.fields.pop(FULL_NAME_PATH)
    sent, first, last = result.renamed.pop(FULL_NAME_PATH, FULL_NAME), fields.get(FIRST_NAME), fields.get(LAST_NAME)
    names = _names(full, first, last)
    if names is None:
        result.keep(sent, full)
        message = f"It is no name, or not that of the other fields; it was kept in `{result.words.rest}`."
        result.warn(sent, WarningCode.CONFLICTING_VALUES if first or last else WarningCode.UNUSABLE_VALUE, message)
        return
    fields |= {path: name for path, name in zip((FIRST_NAME, LAST_NAME), names, strict=True) if name}


def _names(full: Any, first: Any, last: Any) -> tuple[str, str] | None:
    """First name and last name from a full name and those that were sent; None if they contradict each other."""
    if not all(isinstance(name, str) for name in (full, first or "", last or "")):
        return None
    if not any(char.isalpha() for char in full):
        return None
    return full_names.rest_of(full, first or "", last or "") if first or last else full_names.split(full)


def _join_lists(raw: Mapping[str, Any]) -> dict[str, Any]:
    """`raw` with `name[]`, `name[0]`, `name[1]` ... joined into one list `name`."""
    bases = {name: _LIST_SUFFIX.sub("", name) for name in raw}
    lists = {base for name, base in bases.items() if base != name}
    result: dict[str, Any] = {}
    for name, value in raw.items():
        if bases[name] in lists:
            result.setdefault(bases[name], []).extend(value if isinstance(value, list) else [value])
        else:
            result[name] = value
    return result


def _entries(raw: Mapping[str, Any], result: Canonical, aliases: Mapping[str, str]) -> Iterator[_Entry]:
    words = result.words
    for name, value in raw.items():
        dotted = name.replace("][", ".").replace("[", ".").replace("]", "")
        path = snake(dotted)
        if aliases and alias_key(name) in aliases:
            yield _Entry(name, value, *_usual(name, words, aliases))
            continue
        if name.startswith("_"):
            continue  # a control key such as `_next`
        if path == "custom":
            for member, inner in _object(value, "custom", result):
                result.keep(member, inner)
        elif path.startswith("custom."):
            result.keep(dotted.partition(".")[2], value)
        elif path in words.groups and (isinstance(value, Mapping) or not _is_field(path, value, words)):
            for member, inner in _object(value, path, result, required=words.groups[path]):
                yield _Entry(f"{name}.{member}", inner, words.in_group(path, member), _Rank.NESTED)
        elif path in words.targets and not _is_derived(words.targets[path], value):
            yield _Entry(name, value, words.targets[path], _Rank.NESTED if "." in path else _Rank.FLAT)
        else:
            yield from _renamed(name, value, words, aliases)


def _is_derived(path: str, value: Any) -> bool:
    """Whether the name is no field itself, and its value is one of uncertain kind or an object of parts."""
    return path == CONTACT_PATH or (path == FULL_NAME_PATH and isinstance(value, Mapping))


def _is_field(path: str, value: Any, words: Vocabulary) -> bool:
    """Whether the name of a group is also that of a field, such as `consent=on` or `education=Bachelor`."""
    return path in words.targets or (isinstance(value, str) and words.find(path) is not None)


def _renamed(name: str, value: Any, words: Vocabulary, aliases: Mapping[str, str]) -> Iterator[_Entry]:
    """The entry of a field with a usual name, or the entries of those inside an object of the form tool."""
    target, rank = _usual(name, words, aliases)
    if isinstance(value, Mapping) and words.usual and target != PHONE:
        members = [_Entry(path, inner, *_usual(path, words, aliases)) for path, inner in _members(name, value)]
        if any(member.target for member in members):
            yield from members
            return
    yield _Entry(name, value, target, rank)


def _usual(name: str, words: Vocabulary, aliases: Mapping[str, str]) -> tuple[str | None, _Rank]:
    """The field that FIELD_ALIASES or the usual names give to a name, and the rank of the name."""
    target = aliases.get(alias_key(name)) if aliases else None
    if target is None:
        found = words.find(name)
        return found, _Rank.CONTACT if found == CONTACT_PATH else _Rank.USUAL
    return words.targets.get(target, target), _Rank.SETTING


def _members(name: str, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for member, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _members(f"{name}.{member}", inner)
        else:
            yield f"{name}.{member}", inner


def alias_key(name: str) -> str:
    """A sent name as FIELD_ALIASES has it: without case."""
    return clean(name).casefold()


def _object(value: Any, name: str, result: Canonical, *, required: bool = False) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    # PHP encodes an empty object as []: it counts as an absent group, unless the group is required.
    if not is_blank(tidy(value)) or (isinstance(value, list) and required):
        result.errors.append(FieldError(name, FieldCode.INVALID_TYPE, "Expected an object."))
    return ()


def snake(name: str) -> str:
    """`firstName`, `first-name` and `First_Name` as `first_name`."""
    return _CAMEL.sub("_", clean(name)).replace("-", "_").lower()


def flat_prefix(group: str) -> str:
    """Prefix of the flat names in `group`, for names that would be ambiguous without it (`source`, `text`)."""
    return f"{group}_" if group in ("utm", "consent") else ""


def _vocabulary(schema: type[Schema], aliases: Mapping[str, str], rest: str, *, usual: bool = False) -> Vocabulary:
    """All names of the fields of `schema`: dotted, flat and aliases."""
    targets, groups = dict[str, str](), dict[str, bool]()
    for name, declared in schema().fields.items():
        if not isinstance(declared, marshmallow_fields.Nested):
            targets[name] = name
            continue
        groups[name] = declared.required
        prefix = flat_prefix(name)
        for leaf in declared.schema.fields:
            targets |= dict.fromkeys((f"{name}.{leaf}", f"{name}.{prefix}{leaf}", f"{prefix}{leaf}"), f"{name}.{leaf}")
    in_group = {f"{path.rpartition('.')[0]}.{alias}": path for alias, path in aliases.items() if "." in path}
    return Vocabulary(targets | dict(aliases) | in_group, groups, rest, usual)


APPLICATION = _vocabulary(
    ApplicationSchema, {**ALIASES, FULL_NAME: FULL_NAME_PATH, CONTACT: CONTACT_PATH}, "custom", usual=True
)
MESSENGER_EVENT = _vocabulary(MessengerEventSchema, {"ref": "referral_code", "session_id": "session"}, "metadata")

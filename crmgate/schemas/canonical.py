"""Translates the field names of a form to canonical names, before validation.

A field may be nested (`personal_info.first_name`), flat (`first_name`), in the form notation for nesting
(`personal_info[first_name]`, `universities[]`), in camelCase, or have an alias.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from marshmallow import Schema
from marshmallow import fields as marshmallow_fields

from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.schemas.event import MessengerEventSchema
from crmgate.schemas.faults import FieldError
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


@dataclass
class Canonical:
    """A body by canonical names: known `fields` by dotted path, and all others in `custom`."""

    words: Vocabulary
    fields: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)
    warnings: list[FieldWarning] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)

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


class _Entry(NamedTuple):
    name: str
    """The name as it was sent; dotted if it was nested."""
    value: Any
    target: str | None
    nested: bool


def canonicalise(raw: Mapping[str, Any], words: Vocabulary | None = None) -> Canonical:
    """Assign the fields of `raw` to canonical names. A nested name takes precedence over a flat one.

    `words` is the vocabulary, by default that of an application.
    """
    result = Canonical(words or APPLICATION)
    for entry in sorted(_entries(_join_lists(raw), result), key=lambda entry: not entry.nested):
        _place(result, entry._replace(value=tidy(entry.value)))
    return result


def _place(result: Canonical, entry: _Entry) -> None:
    if is_blank(entry.value):
        return
    rest = result.words.rest
    own_name = entry.name.removeprefix(f"{rest}.")
    if entry.target is None:
        result.keep(own_name, entry.value)
        message = f"This field is not known; it was kept in `{rest}`."
        result.warn(entry.name, WarningCode.UNKNOWN_FIELD, message)
    elif result.fields.setdefault(entry.target, entry.value) != entry.value:
        result.keep(own_name, entry.value)
        result.warn(
            entry.name,
            WarningCode.CONFLICTING_VALUES,
            f"`{entry.target}` was sent twice with different values; this one was kept in `{rest}`.",
        )


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


def _entries(raw: Mapping[str, Any], result: Canonical) -> Iterator[_Entry]:
    words = result.words
    for name, value in raw.items():
        dotted = name.replace("][", ".").replace("[", ".").replace("]", "")
        path = snake(dotted)
        if name.startswith("_"):
            continue  # a control key such as `_next`
        if path == "custom":
            for member, inner in _object(value, "custom", result):
                result.keep(member, inner)
        elif path.startswith("custom."):
            result.keep(dotted.partition(".")[2], value)
        elif path in words.groups and (isinstance(value, Mapping) or path not in words.targets):
            for member, inner in _object(value, path, result, required=words.groups[path]):
                yield _Entry(f"{name}.{member}", inner, words.targets.get(f"{path}.{snake(member)}"), True)
        else:
            yield _Entry(name, value, words.targets.get(path), "." in path)


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


def _vocabulary(schema: type[Schema], aliases: Mapping[str, str], rest: str) -> Vocabulary:
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
    return Vocabulary(targets | dict(aliases) | in_group, groups, rest)


APPLICATION = _vocabulary(ApplicationSchema, ALIASES, "custom")
MESSENGER_EVENT = _vocabulary(MessengerEventSchema, {"ref": "referral_code", "session_id": "session"}, "metadata")

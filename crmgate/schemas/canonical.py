"""Translates the field names of a form to canonical names, before validation.

A field may be nested (`personal_info.first_name`), flat (`first_name`), in the form notation for nesting
(`personal_info[first_name]`, `universities[]`), inside a wrapper (`data[first_name]`), in camelCase, or have an alias.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from marshmallow import Schema
from marshmallow import fields as marshmallow_fields

from crmgate.schemas.application import CUSTOM_FIELDS, CUSTOM_NAME, ApplicationSchema
from crmgate.schemas.coded import NOTHING, Coded
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.event import MessengerEventSchema
from crmgate.schemas.faults import FieldError
from crmgate.schemas.fields import CUSTOM_TEXT
from crmgate.schemas.text import as_text, clean, is_blank, tidy

ALIASES: Mapping[str, str] = {
    "ref": "referral_code",
    "session_id": "session",
    "email_address": "personal_info.email",
    "phone_number": "personal_info.phone",
    "education_level": "education.level",
    "field_of_study": "education.field",
    "consent": "consent.given",
    "_replyto": "personal_info.email",
}
"""Path of a field by its alias. Aliases also work inside the field's group (`education.field_of_study`)."""

CONTROLS = frozenset({"_next", "_charset_"})
"""Names of fields that are instructions for the gateway. `_t` and the honeypot are removed before."""
WRAPPERS = frozenset({
    "answers", "applicant", "application", "body", "client", "contact", "customer", "data", "fields", "form",
    "form_data", "form_fields", "formdata", "inquiry", "json", "lead", "params", "payload", "person", "student",
    "submission", "user", "values",
})  # fmt: skip
"""Names that frameworks put around the fields of a form, as in `lead[email]`."""
OTHERS = "other_fields"
"""The entry of `custom` for the unknown fields beyond `CUSTOM_FIELDS`, each with its name."""
OTHERS_TEXT = 10_000
MAX_WARNINGS = 100
"""Largest number of warnings for one submission: a body can contain thousands of fields."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LIST_SUFFIX = re.compile(r"\[\d*\]\Z")
_ENDS = frozenset("]0123456789")
_DOT_INDEX = re.compile(r"\.\d+\Z")
_INNER_INDEX = re.compile(r"\.\d+(?=\.)")


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
    declared: Mapping[str, Coded[Any]]
    """The field of each path."""
    rest: str = "custom"
    """Name of the field that keeps unknown fields."""


@dataclass
class Canonical:
    """A body by canonical names: known `fields` by dotted path, and all others in `custom`."""

    words: Vocabulary
    fields: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)
    warnings: list[FieldWarning] = field(default_factory=list)

    def keep(self, name: str, value: Any) -> None:
        """Put `value` into `custom`; a second value for the same name is appended on a new line.

        A text or name that is too long is cut. Fields beyond `CUSTOM_FIELDS` share the entry `OTHERS`.
        """
        value = tidy(value)
        if is_blank(value):
            return
        name, text = clean(name) or "unnamed", as_text(value)
        if len(name) > CUSTOM_NAME:
            self.warn(name, WarningCode.CUT, f"A name has at most {CUSTOM_NAME} characters; the rest is in the text.")
            name, text = name[:CUSTOM_NAME].rstrip(), f"{name[:500]}: {text}"
        if name not in self.custom and name != OTHERS and len(self.custom) - (OTHERS in self.custom) >= CUSTOM_FIELDS:
            name, text = OTHERS, f"{name}: {text}"
        known = self.custom.get(name)
        self._put(name, text if known in (None, text) else f"{known}\n{text}")

    def _put(self, name: str, text: str) -> None:
        limit = OTHERS_TEXT if name == OTHERS else CUSTOM_TEXT
        if name == OTHERS and OTHERS not in self.custom:
            self.warn(name, WarningCode.UNKNOWN_FIELD, f"More than {CUSTOM_FIELDS} fields are kept in one text.")
        if len(text) > limit:
            self.warn(name, WarningCode.CUT, f"Only the first {limit:,} characters were kept in `{self.words.rest}`.")
        self.custom[name] = text[:limit].rstrip()

    def warn(self, name: str, code: WarningCode, message: str) -> None:
        """Add a warning about the field `name`, once for each code."""
        warning = FieldWarning(clean(name)[:CUSTOM_NAME], code, message)
        if len(self.warnings) < MAX_WARNINGS and warning not in self.warnings:
            self.warnings.append(warning)

    def mend(self, path: str, fault: FieldError) -> bool:
        """Replace the value of `path` with its usable part, and keep the rest. False if the visitor has to correct it.

        `fault` is the error of the value in `fields`.
        """
        declared = self.words.declared[path]
        if not declared.forgives(fault.code):
            return False
        mended = declared.mend(self.fields.pop(path), fault.message)
        if mended.value is not NOTHING:
            self.fields[path] = mended.value
        group, _, leaf = path.rpartition(".")
        self.keep(f"{group}.{leaf}" if group and flat_prefix(group) else leaf, mended.kept)
        self.warn(path, mended.code, f"{mended.message} kept in `{self.words.rest}`.")
        return True

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
    for entry in sorted(_entries(raw, result), key=lambda entry: not entry.nested):
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


def _entries(raw: Mapping[str, Any], result: Canonical, outer: str = "") -> Iterator[_Entry]:
    """The fields of `raw`, each with its target. `outer` is the name of the wrapper around them, with a dot."""
    words = result.words
    for name, value in _join_lists(raw, words.targets).items():
        dotted = name.replace("][", ".").replace("[", ".").replace("]", "")
        path = snake(dotted)
        if name in CONTROLS:
            continue
        if path == "custom":
            _keep_custom(value, result)
        elif path.startswith("custom."):
            result.keep(dotted.partition(".")[2], value)
        elif path in words.targets and not (path in words.groups and _mapping(value)):
            yield _Entry(outer + name, value, words.targets[path], "." in path)
        elif path in words.groups and (members := _mapping(value)):
            yield from _group(outer + name, path, members, result)
            _keep_others(outer + name, value, result)
        elif path in WRAPPERS and (members := _mapping(value)):
            yield from _entries(members, result, f"{outer}{name}.")
            _keep_others(outer + name, value, result)
        else:
            yield _Entry(outer + name, value, _inner(path, words), "." in path)


def _keep_custom(value: Any, result: Canonical) -> None:
    for member, inner in (_mapping(value) or {"custom": value}).items():
        result.keep(member, inner)
    _keep_others("custom", value, result)


def _group(name: str, path: str, members: Mapping[str, Any], result: Canonical) -> Iterator[_Entry]:
    targets = result.words.targets
    for member, inner in members.items():
        yield _Entry(f"{name}.{member}", inner, targets.get(f"{path}.{snake(member)}"), True)


def _inner(path: str, words: Vocabulary) -> str | None:
    """The target of `lead.email` or `education.0.level`: without wrapper and without indexes."""
    if "." not in path:
        return None
    path = _INNER_INDEX.sub("", path)
    outer, _, inner = path.partition(".")
    while outer in WRAPPERS and path not in words.targets:
        path = inner
        outer, _, inner = path.partition(".")
    return words.targets.get(path)


def _mapping(value: Any) -> Mapping[str, Any]:
    """The members of an object, also of the first object in a list, or of an object as JSON text; empty otherwise."""
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


def _keep_others(name: str, value: Any, result: Canonical) -> None:
    """Keep the further objects of a list, of which only the first is the group."""
    if isinstance(value, str):
        value = _from_json(value)
    if isinstance(value, list) and len(value) > 1 and isinstance(value[0], Mapping):
        result.keep(name, value[1:])
        message = f"Only the first of several values was used; the others were kept in `{result.words.rest}`."
        result.warn(name, WarningCode.CONFLICTING_VALUES, message)


def snake(name: str) -> str:
    """`firstName`, `first-name` and `First_Name` as `first_name`."""
    return _CAMEL.sub("_", clean(name)).replace("-", "_").lower()


def flat_prefix(group: str) -> str:
    """Prefix of the flat names in `group`, for names that would be ambiguous without it (`source`, `text`)."""
    return f"{group}_" if group in ("utm", "consent") else ""


def _vocabulary(schema: type[Schema], aliases: Mapping[str, str], rest: str) -> Vocabulary:
    """All names of the fields of `schema`: dotted, flat and aliases."""
    targets, groups, fields = dict[str, str](), dict[str, bool](), dict[str, Any]()
    for name, declared in schema().fields.items():
        if not isinstance(declared, marshmallow_fields.Nested):
            targets[name], fields[name] = name, declared
            continue
        groups[name] = declared.required
        prefix = flat_prefix(name)
        for leaf, inner in declared.schema.fields.items():
            fields[f"{name}.{leaf}"] = inner
            targets |= dict.fromkeys((f"{name}.{leaf}", f"{name}.{prefix}{leaf}", f"{prefix}{leaf}"), f"{name}.{leaf}")
    in_group = {f"{path.rpartition('.')[0]}.{alias}": path for alias, path in aliases.items() if "." in path}
    return Vocabulary({**targets, **aliases, **in_group}, groups, fields, rest)


APPLICATION = _vocabulary(ApplicationSchema, ALIASES, "custom")
MESSENGER_EVENT = _vocabulary(MessengerEventSchema, {"ref": "referral_code", "session_id": "session"}, "metadata")

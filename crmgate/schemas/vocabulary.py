"""The field names of each kind of body, and the path of the field that each name means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema
from marshmallow import fields as marshmallow_fields

from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.coded import Coded
from crmgate.schemas.event import MessengerEventSchema
from crmgate.schemas.faults import FieldError
from crmgate.schemas.names import CONTACT, FULL_NAME, field_of
from crmgate.schemas.text import clean

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

FULL_NAME_PATH = f"personal_info.{FULL_NAME}"
CONTACT_PATH = f"personal_info.{CONTACT}"
FIRST_NAME, LAST_NAME = "personal_info.first_name", "personal_info.last_name"
PHONE, EMAIL = "personal_info.phone", "personal_info.email"
BIRTH_DATE = "personal_info.birth_date"
CUSTOM = "custom"
"""The target of a field that is kept as it is, without a warning."""

_RECORDS = frozenset({"utm", "consent", "metadata"})
"""Groups that are records of their own in the payload; the fields of the others are fields of the payload."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The field names of one kind of body: the path of each accepted name in snake_case, and the groups."""

    targets: Mapping[str, str]
    groups: frozenset[str]
    declared: Mapping[str, Coded[Any]]
    """The field of each path."""
    names: Mapping[str, tuple[str, str]]
    """For each path the record in the payload, empty for the payload itself, and the name of the field there."""
    required: Sequence[str]
    simple: frozenset[str]
    """The paths of the fields whose value is not sent in parts."""
    members: Mapping[str, Mapping[str, str]]
    """The path of each accepted name in snake_case, by group."""
    rest: str = CUSTOM
    """Name of the field that keeps unknown fields."""
    usual: bool = False
    """Whether the fields may have the usual names of `names.TABLE`."""

    def find(self, name: str) -> str | None:
        """The path of the field with one of its usual names; None if there is none."""
        flat = field_of(name) if self.usual else None
        return None if flat is None else self.targets[flat]

    def in_order(self, faults: Iterable[FieldError]) -> list[FieldError]:
        """The errors in the order in which the fields are declared; those of a group follow those of its fields."""
        places = {path: place for place, path in enumerate(self.declared)}
        places |= {path.partition(".")[0]: place for path, place in places.items() if "." in path}
        return sorted(faults, key=lambda fault: places.get(fault.field, places.get(fault.field.rpartition(".")[0], 0)))

    def in_group(self, group: str, member: str) -> str | None:
        """The path of the field `member` of a group, by any of its names."""
        path = self.members[group].get(snake(member))
        if path is None and (found := self.find(member)) and found.startswith(f"{group}."):
            return found
        return path


def snake(name: str) -> str:
    """`firstName`, `first-name` and `First_Name` as `first_name`."""
    return _CAMEL.sub("_", clean(name)).replace("-", "_").lower()


def alias_key(name: str) -> str:
    """A sent name as FIELD_ALIASES has it: without case."""
    return clean(name).casefold()


def flat_prefix(group: str) -> str:
    """Prefix of the flat names in `group`, for names that would be ambiguous without it (`source`, `text`)."""
    return f"{group}_" if group in ("utm", "consent") else ""


def flat_name(path: str) -> str:
    """The flat name of a field by its path: `phone` for `personal_info.phone`, `utm_source` for `utm.source`."""
    group, _, leaf = path.rpartition(".")
    return f"{flat_prefix(group)}{leaf}"


def _vocabulary(schema: type[Schema], aliases: Mapping[str, str], rest: str, *, usual: bool = False) -> Vocabulary:
    """All names of the fields of `schema`: dotted, flat and aliases."""
    targets, groups, fields = dict[str, str](), set[str](), dict[str, Any]()
    for name, declared in schema().fields.items():
        if not isinstance(declared, marshmallow_fields.Nested):
            targets[name], fields[name] = name, declared
            continue
        groups.add(name)
        prefix = flat_prefix(name)
        for leaf, inner in declared.schema.fields.items():
            fields[f"{name}.{leaf}"] = inner
            targets |= dict.fromkeys((f"{name}.{leaf}", f"{name}.{prefix}{leaf}", f"{prefix}{leaf}"), f"{name}.{leaf}")
    in_group = {f"{path.rpartition('.')[0]}.{alias}": path for alias, path in aliases.items() if "." in path}
    names = {path: _name_in_payload(path, declared) for path, declared in fields.items()}
    required = [path for path, declared in fields.items() if declared.required]
    simple = frozenset(fields) - {EMAIL, PHONE, FULL_NAME_PATH, CONTACT_PATH, CUSTOM}
    every = {**targets, **aliases, **in_group}
    members = {
        group: {name.partition(".")[2]: path for name, path in every.items() if name.startswith(f"{group}.")}
        for group in groups
    }
    return Vocabulary(every, frozenset(groups), fields, names, required, simple, members, rest, usual)


def _name_in_payload(path: str, declared: Coded[Any]) -> tuple[str, str]:
    group, _, leaf = path.rpartition(".")
    return (group if group in _RECORDS else ""), declared.attribute or leaf


def named(label: str) -> str | None:
    """The flat name of the field of an application that `label` means by any of its names; None if it is not known."""
    path = APPLICATION.targets.get(snake(label)) or APPLICATION.find(label)
    return None if path in (None, CUSTOM) else flat_name(path)


APPLICATION = _vocabulary(
    ApplicationSchema, {**ALIASES, FULL_NAME: FULL_NAME_PATH, CONTACT: CONTACT_PATH}, CUSTOM, usual=True
)
MESSENGER_EVENT = _vocabulary(MessengerEventSchema, {"ref": "referral_code", "session_id": "session"}, "metadata")

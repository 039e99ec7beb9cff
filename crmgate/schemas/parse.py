"""Parses a raw body into a `Lead` or an `Activity`: canonical names, validation; keeps every value that was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from marshmallow import ValidationError

from crmgate.model import Activity, Lead, Utm
from crmgate.schemas import contacts
from crmgate.schemas.application import NO_REFERRAL, consent
from crmgate.schemas.canonical import Canonical, FieldWarning, canonicalise
from crmgate.schemas.coded import flatten
from crmgate.schemas.event import KnownChannels
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import PhoneRegion
from crmgate.schemas.missing import explained, missing
from crmgate.schemas.recognition import recognise
from crmgate.schemas.vocabulary import MESSENGER_EVENT

_ROUNDS = 10
"""Number of times that a body is validated: the usable part of a value can be too long, and so on."""


class Sender(Enum):
    """Who sends an application, and can correct it."""

    VISITOR = auto()
    """An unusable contact is kept if another one is good."""
    OPERATOR = auto()
    """Each unusable contact is an error, because the operator has just typed it."""
    MACHINE = auto()
    """Nobody can correct a value: each one that cannot be used is kept. Only missing fields are errors."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The lead of an accepted application, and warnings for its sender."""

    lead: Lead
    warnings: tuple[FieldWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """The activity of an accepted click, and warnings for its sender."""

    activity: Activity
    warnings: tuple[FieldWarning, ...] = ()


def parse_application(
    raw: Mapping[str, Any],
    *,
    default_region: str,
    remembered: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    sender: Sender = Sender.VISITOR,
) -> Parsed:
    """Parse an application. Raises `InvalidFields` with every error at once.

    `default_region` is the ISO 3166 country of phone numbers without a country code. `remembered` has the session and
    the referral code from the visitor's cookies, for a body without them. `aliases` is the setting FIELD_ALIASES.
    `sender` decides which values are refused.
    """
    canonical = canonicalise(raw, aliases=aliases)
    with PhoneRegion(default_region):
        if sender is not Sender.OPERATOR:
            recognise(canonical)
        data = _load(canonical, sender)
    contacts.settle(canonical, data, edit=sender is Sender.OPERATOR)
    named = _by_name(canonical, data, remembered or {})
    if "utm" in named:
        named["utm"] = Utm(**named["utm"])
    if "consent" in named:
        named["consent"] = consent(named["consent"])
    # `custom` last: the checks above have added to it.
    lead = Lead(**{**named, "custom": canonical.custom})
    return Parsed(lead, tuple(canonical.warnings))


def parse_event(
    raw: Mapping[str, Any], *, channels: Set[str], occurred_at: str, remembered: Mapping[str, str] | None = None
) -> ParsedEvent:
    """Parse a click on one of `channels`. Raises `InvalidFields` with every error at once.

    `occurred_at` (RFC 3339, UTC) comes from the gateway, not from the sender. Unknown fields are kept in the metadata.
    `remembered` is as for `parse_application`.
    """
    canonical = canonicalise(raw, MESSENGER_EVENT)
    if remembered and "referral_code" in remembered:
        canonical.fields.setdefault("referral_code", NO_REFERRAL)  # satisfies the schema; the cookie's code applies
    with KnownChannels(channels):
        data = _load(canonical)
    named = _by_name(canonical, data, remembered or {})
    for name, value in named.pop("metadata", {}).items():
        more = canonical.custom.get(name)
        canonical.custom[name] = f"{value}\n{more}" if more else value
    activity = Activity(
        **{**named, "utm": Utm(**named.get("utm", {}))}, occurred_at=occurred_at, metadata=canonical.custom
    )
    return ParsedEvent(activity, tuple(canonical.warnings))


def _load(canonical: Canonical, sender: Sender = Sender.VISITOR) -> dict[str, Any]:
    """The validated data. Values that the visitor cannot correct are mended. Raises `InvalidFields` for the others."""
    faults: list[FieldError] = []
    for _ in range(_ROUNDS):
        data, faults = _validated(canonical)
        if not faults:
            return data
        if not _mend(canonical, faults, sender):
            break
    raise InvalidFields(explained(canonical, faults))


def _validated(canonical: Canonical) -> tuple[dict[str, Any], list[FieldError]]:
    """The value of each field by its path, as the marshmallow field reads it, and the errors in the declared order."""
    declared, data, faults = canonical.words.declared, dict[str, Any](), list[FieldError]()
    for path, value in canonical.fields.items():
        try:
            data[path] = declared[path].read(value)
        except ValidationError as error:
            faults += flatten({path: error.messages})
    faults += missing(canonical)
    return data, canonical.words.in_order(faults) if faults else faults


def _mend(canonical: Canonical, faults: Sequence[FieldError], sender: Sender) -> bool:
    """Mend the values that must not cost the submission; False if there are none."""
    faulty = {path: fault for fault in faults if (path := _path(canonical, fault))}
    chosen = [
        path for path, fault in faulty.items()
        if sender is Sender.MACHINE
        or canonical.words.declared[path].forgives(fault.code)
        or (sender is Sender.VISITOR and contacts.is_tolerated(canonical, path, faulty.keys()))
    ]  # fmt: skip
    for path in chosen:
        canonical.mend(path, faulty[path])
    return bool(chosen)


def _path(canonical: Canonical, fault: FieldError) -> str:
    """The sent field of a fault, also of one in an entry of its list; empty for a missing field."""
    return next((path for path in (fault.field, fault.field.rpartition(".")[0]) if path in canonical.fields), "")


def _by_name(canonical: Canonical, data: Mapping[str, Any], remembered: Mapping[str, str]) -> dict[str, Any]:
    """The data by the field names of the data classes, with the values from the visitor's cookies."""
    result, names = dict(remembered), canonical.words.names
    groups = dict[str, dict[str, Any]]()
    for path, value in data.items():
        group, name = names[path]
        if group and group in groups:
            groups[group][name] = value
        elif group:
            groups[group] = {name: value}
        elif name != "referral_code" or value != NO_REFERRAL:
            result[name] = value
    return result | groups

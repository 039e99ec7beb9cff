"""Parses a raw body into a `Lead` or an `Activity`: canonical names, validation; keeps every value that was typed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema, ValidationError

from crmgate.model import Activity, Lead, Utm
from crmgate.schemas import contacts
from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.canonical import MESSENGER_EVENT, Canonical, FieldWarning, canonicalise
from crmgate.schemas.coded import flatten
from crmgate.schemas.codes import WarningCode
from crmgate.schemas.event import KnownChannels, MessengerEventSchema
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.fields import PhoneRegion
from crmgate.schemas.missing import explained

UTM_LIMIT = 255
REFERRAL_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NO_REFERRAL = "DIRECT"
_CODES = {"referral_code": REFERRAL_CODE, "source": TOKEN, "session": TOKEN}
_APPLICATION, _EVENT = ApplicationSchema(), MessengerEventSchema()


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
    edit: bool = False,
) -> Parsed:
    """Parse an application. Raises `InvalidFields` with every error at once.

    `default_region` is the ISO 3166 country of phone numbers without a country code. `remembered` has the session and
    the referral code from the visitor's cookies, for a body without them. `aliases` is the setting FIELD_ALIASES. In an
    operator's `edit` an unusable contact is an error although another one is good.
    """
    canonical = canonicalise(raw, aliases=aliases)
    with PhoneRegion(default_region):
        data = _load(canonical, _APPLICATION, spare=not edit)
    contacts.settle(canonical, data, edit=edit)
    data = _checked(canonical, data, remembered or {})
    # `custom` last: the checks above have added to it.
    lead = Lead(**{**data, "custom": canonical.custom})
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
        data = _load(canonical, _EVENT)
    data = _checked(canonical, data, remembered or {})
    data.pop("custom", None)
    for name, value in data.pop("metadata", {}).items():
        more = canonical.custom.get(name)
        canonical.custom[name] = f"{value}\n{more}" if more else value
    return ParsedEvent(Activity(**data, occurred_at=occurred_at, metadata=canonical.custom), tuple(canonical.warnings))


def _load(canonical: Canonical, schema: Schema, *, spare: bool = True) -> dict[str, Any]:
    data, errors = _tried(canonical, schema)
    while errors and spare and contacts.spared(canonical, errors):
        data, errors = _tried(canonical, schema)
    if errors:
        raise InvalidFields(explained(canonical, errors))
    return data


def _tried(canonical: Canonical, schema: Schema) -> tuple[dict[str, Any], list[FieldError]]:
    errors: list[FieldError] = list(canonical.errors)
    try:
        data = dict(schema.load(canonical.nested()))
    except ValidationError as error:
        return {}, [*errors, *flatten(error.messages_dict)]
    return data, errors


# Invalid values that the page fills in are kept as text instead of refused, because the visitor cannot correct them.


def _checked(canonical: Canonical, data: dict[str, Any], remembered: Mapping[str, str]) -> dict[str, Any]:
    _check_codes(canonical, data)
    data["utm"] = Utm(**dict(_short_utm(canonical, data.get("utm", {}))))
    if data.get("referral_code") == NO_REFERRAL:
        del data["referral_code"]
    return dict(remembered) | data


def _check_codes(canonical: Canonical, data: dict[str, Any]) -> None:
    for name, pattern in _CODES.items():
        if name in data and not pattern.fullmatch(data[name]):
            canonical.keep(name, data.pop(name))
            expected = f"Expected 1 to 64 of the characters {pattern.pattern.removesuffix('{1,64}')}"
            canonical.warn(name, WarningCode.UNUSABLE_VALUE, f"{expected}; {_kept(canonical)}")


def _short_utm(canonical: Canonical, utm: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in utm.items():
        if len(value) <= UTM_LIMIT:
            yield name, value
            continue
        canonical.keep(f"utm.{name}", value)
        message = f"Expected at most {UTM_LIMIT} characters; {_kept(canonical)}"
        canonical.warn(f"utm.{name}", WarningCode.UNUSABLE_VALUE, message)


def _kept(canonical: Canonical) -> str:
    return f"it was kept in `{canonical.words.rest}`."

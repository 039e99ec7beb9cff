"""From a raw body to a `Lead`: canonical names, validation, and a place for everything that was typed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from crmgate.model import Lead, Utm
from crmgate.web.codes import WarningCode
from crmgate.web.problems import InvalidBody
from crmgate.web.schemas.application import ApplicationSchema
from crmgate.web.schemas.canonical import Canonical, FieldWarning, canonicalise
from crmgate.web.schemas.coded import flatten
from crmgate.web.schemas.fields import PhoneRegion
from crmgate.web.schemas.phones import says_more

UTM_LIMIT = 255
_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CODES = {"referral_code": _CODE, "source": _TOKEN, "session": _TOKEN}
_SCHEMA = ApplicationSchema()


@dataclass(frozen=True, slots=True)
class Parsed:
    """An accepted submission and what its sender should know about it."""

    lead: Lead
    warnings: tuple[FieldWarning, ...] = ()


def parse_application(raw: Mapping[str, Any], *, default_region: str) -> Parsed:
    """The lead in `raw`; raises `InvalidBody` with every error at once.

    `default_region` is the ISO 3166 country of phone numbers without a country code.
    """
    canonical = canonicalise(raw)
    data = _load(canonical, default_region)
    _check_codes(canonical, data)
    _check_phone(canonical, data)
    utm = Utm(**dict(_short_utm(canonical, data.pop("utm", {}))))
    # `custom` last: the checks above have added to it.
    lead = Lead(**{**data, "utm": utm, "custom": canonical.custom})
    return Parsed(lead, tuple(canonical.warnings))


def _load(canonical: Canonical, default_region: str) -> dict[str, Any]:
    errors = list(canonical.errors)
    data: dict[str, Any] = {}
    try:
        with PhoneRegion(default_region):
            data = dict(_SCHEMA.load(canonical.nested()))
    except ValidationError as error:
        errors += flatten(error.messages_dict)
    if errors:
        raise InvalidBody(errors)
    return data


# What the page fills in, not the visitor, must not cost the lead: the visitor could not correct it.


def _check_codes(canonical: Canonical, data: dict[str, Any]) -> None:
    for name, pattern in _CODES.items():
        if name in data and not pattern.fullmatch(data[name]):
            canonical.keep(name, data.pop(name))
            expected = f"Expected 1 to 64 of the characters {pattern.pattern.removesuffix('{1,64}')}"
            canonical.warn(name, WarningCode.UNUSABLE_VALUE, f"{expected}; it was kept in `custom`.")


def _short_utm(canonical: Canonical, utm: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in utm.items():
        if len(value) <= UTM_LIMIT:
            yield name, value
            continue
        canonical.keep(f"utm.{name}", value)
        message = f"Expected at most {UTM_LIMIT} characters; it was kept in `custom`."
        canonical.warn(f"utm.{name}", WarningCode.UNUSABLE_VALUE, message)


def _check_phone(canonical: Canonical, data: Mapping[str, Any]) -> None:
    typed = canonical.fields.get("personal_info.phone")
    if typed and says_more(typed, data["phone"]):
        canonical.keep("phone", typed)
        message = "Only one number could be read; the whole text was kept in `custom`."
        canonical.warn("personal_info.phone", WarningCode.PARTLY_READ, message)

"""Makes a lead of a submission that a machine sent, and that nobody can correct: no value costs the lead.

A value that does not fit its field is kept in `custom`. Without a first name a stand-in is used. Without an email and
a phone the lead is incomplete: an operator has to complete it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import phonenumbers

from crmgate.model import Lead
from crmgate.schemas import FieldWarning, parse_application
from crmgate.schemas.application import TOKEN
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.schemas.faults import FieldError, InvalidFields
from crmgate.schemas.text import as_text, clean
from crmgate.sources.labels import FULL_NAME, field_of, flat_name, split
from crmgate.sources.model import Received

NO_NAME = "-"
"""The first name of a lead whose submission has no name, and no email whose local part could stand for it."""
MOST, LONGEST_NAME, LONGEST = 50, 64, 2_000
"""Limits of `custom`: number of fields, and characters of a name and of a value."""
NOTES = 20_000
"""Characters of `additional_info`."""
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]{2,}")
_PHONE = re.compile(r"[+(0][\d\s().-]{8,23}")  # a number without one of these is an id or a time as often
_NAMES = ("first_name", "last_name", FULL_NAME)


@dataclass(frozen=True, slots=True)
class Reading:
    """A submission as the payload of an operation, with warnings. Not `complete`: nobody could be contacted."""

    payload: dict[str, Any]
    warnings: tuple[FieldWarning, ...]
    complete: bool
    delivery_id: str = ""

    @property
    def people(self) -> tuple[str, ...]:
        """The email and the phone of the lead."""
        return tuple(str(self.payload[name]) for name in ("email", "phone") if self.payload.get(name))


def read(source: str, received: Received, region: str) -> Reading:
    """The lead in a submission of `source`. `region` is the country of phone numbers without a country code."""
    draft = _Draft.of(received.fields, region)
    draft.known.setdefault("source", source if TOKEN.fullmatch(source) else "source")
    payload = draft.lead()
    if payload is None:
        return Reading(draft.incomplete(), (), complete=False, delivery_id=received.delivery_id)
    return Reading(payload, tuple(draft.warnings), complete=True, delivery_id=received.delivery_id)


@dataclass
class _Draft:
    """A submission on its way to a lead: `known` fields by their flat name, all others by their own name (`custom`)."""

    known: dict[str, Any]
    custom: dict[str, str]
    warnings: list[FieldWarning]
    region: str

    @classmethod
    def of(cls, fields: Mapping[str, Any], region: str) -> _Draft:
        draft = cls({}, {}, [], region)
        for label, value in fields.items():
            name, text = field_of(label), value if isinstance(value, bool | list) else as_text(value)
            if name is None or draft.known.setdefault(name, text) != text:
                draft.keep(label, value)
        if not draft.known.keys() & {"email", "phone"}:
            draft.recognise_contact()
        if FULL_NAME in draft.known:
            draft.known = split(draft.known)
        return draft

    def keep(self, label: str, value: Any) -> None:
        """Put a value into `custom`, a list as one text; a second value for the same name below the first."""
        text = _text(value)
        name = clean(label).lstrip("_") or "unnamed"
        if text:
            self.custom[name] = f"{self.custom[name]}\n{text}" if name in self.custom else text

    def recognise_contact(self) -> None:
        """Take the first value that is an email, or else a phone, for the one that the lead needs."""
        for name, fits in (("email", _EMAIL.fullmatch), ("phone", self._is_phone)):
            label = next((label for label, text in self.custom.items() if fits(text)), None)
            if label is not None:
                self.known[name] = self.custom.pop(label)
                self.warn(label, WarningCode.RECOGNISED, f"This field is not known; its value was taken as {name}.")

    def _is_phone(self, text: str) -> bool:
        if not _PHONE.fullmatch(text):
            return False
        try:
            return phonenumbers.is_valid_number(phonenumbers.parse(text, self.region))
        except phonenumbers.NumberParseException:
            return False

    def warn(self, label: str, code: WarningCode, message: str) -> None:
        self.warnings.append(FieldWarning(clean(label)[:LONGEST_NAME], code, message))

    def lead(self) -> dict[str, Any] | None:
        """The payload; None without a contact. Values that do not fit move to `custom` on the way."""
        for _ in range(len(self.known) + 2):
            try:
                parsed = parse_application(self._raw(), default_region=self.region)
            except InvalidFields as invalid:
                if not self._mended(invalid.errors):
                    return None
            else:
                self.warnings += parsed.warnings
                return parsed.lead.to_dict()
        return None

    def _raw(self) -> dict[str, Any]:
        custom, rest = fitting(self.custom)
        notes = "\n".join(filter(None, (_text(self.known.get("additional_info")), *rest)))
        return {**self.known, "custom": custom} | ({"additional_info": notes[:NOTES]} if notes else {})

    def _mended(self, errors: tuple[FieldError, ...]) -> bool:
        """Mend what the errors are about; False if nothing of it can be mended."""
        results = [self._mend(error) for error in errors if error.code is not FieldCode.CONTACT_REQUIRED]
        return any(results)

    def _mend(self, error: FieldError) -> bool:
        name = _field_in(error.field)
        if name == "first_name" and error.code is FieldCode.REQUIRED:
            return self._stand_in()
        moved = [each for each in (_NAMES if name in _NAMES else (name,)) if each in self.known]
        for each in moved:
            self.keep(each, self.known.pop(each))
            self.warn(each, WarningCode.UNUSABLE_VALUE, f"{error.message} It was kept in `custom`.")
        return bool(moved)

    def _stand_in(self) -> bool:
        if "first_name" in self.known:
            return False
        local = as_text(self.known.get("email")).partition("@")[0]
        self.known["first_name"] = local[:100] or NO_NAME
        self.warn("first_name", WarningCode.STAND_IN, "There was no name; a stand-in was used.")
        return True

    def incomplete(self) -> dict[str, Any]:
        """The payload of a submission without a contact: names and every other value as text, for an operator."""
        for name in [name for name in self.known if name not in ("first_name", "last_name", "source")]:
            self.keep(name, self.known.pop(name))
        if any(warning.code is WarningCode.STAND_IN for warning in self.warnings):
            self.known.pop("first_name")
        custom, rest = fitting(self.custom)
        names = {name: as_text(value)[:100] for name, value in self.known.items()}
        return Lead.from_dict(names | {"custom": custom, "additional_info": "\n".join(rest)[:NOTES]}).to_dict()


def _field_in(path: str) -> str:
    """The flat name of the field in the path of an error: `universities` for `preferences.universities.2`."""
    parts = [part for part in path.split(".") if not part.isdecimal()]
    return flat_name(".".join(parts[:2]))


def fitting(custom: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """`custom` within its limits, and lines with the fields that are too many, too long or have too long a name."""
    kept = dict[str, str]()
    rest = list[str]()
    for name, text in custom.items():
        if len(name) <= LONGEST_NAME and len(text) <= LONGEST and len(kept) < MOST:
            kept[name] = text
        else:
            rest.append(f"{name}: {text}")
    return kept, rest


def lines(reading: Reading) -> Iterator[tuple[str, str]]:
    """The fields of a reading for people: name and text."""
    for name, value in reading.payload.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", as_text(text)) for inner, text in value.items())
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    """A value as text, a list with commas."""
    return ", ".join(map(as_text, value)) if isinstance(value, list) else as_text(value)

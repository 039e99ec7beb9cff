"""Makes a lead of a submission that a machine sent: nobody can correct it, so no value is refused.

A value that does not fit its field is kept in `custom`. Without a first name a stand-in is used. Without an email and
a phone the lead is incomplete: an operator has to complete it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from crmgate.model import Lead
from crmgate.schemas import FieldWarning, Sender, parse_application
from crmgate.schemas.application import TOKEN
from crmgate.schemas.codes import FieldCode, WarningCode
from crmgate.schemas.faults import InvalidFields
from crmgate.schemas.fields import Email, Phone, PhoneRegion
from crmgate.schemas.recognition import NO_NAME, STAND_IN, stand_in
from crmgate.schemas.text import as_text, clean
from crmgate.schemas.vocabulary import CUSTOM, alias_key, named
from crmgate.sources.model import Received

MOST, LONGEST_NAME, LONGEST = 50, 64, 2_000
"""Limits of `custom`: number of fields, and characters of a name and of a value."""
NOTES = 20_000
"""Characters of `additional_info`."""
_OTHER = {"email": "phone", "phone": "email"}
"""The contact that people may type into the field of each contact."""


@dataclass(frozen=True, slots=True)
class ReceivedLead:
    """A submission as the payload of an operation, with warnings. Not `complete`: nobody could be contacted."""

    payload: dict[str, Any]
    warnings: tuple[FieldWarning, ...]
    complete: bool
    delivery_id: str = ""

    @property
    def people(self) -> tuple[str, ...]:
        """The email and the phone of the lead."""
        return tuple(str(self.payload[name]) for name in ("email", "phone") if self.payload.get(name))


def read(source: str, received: Received, region: str, aliases: Mapping[str, str] | None = None) -> ReceivedLead:
    """The lead in a submission of `source`.

    `region` is the country of phone numbers without a country code, `aliases` the setting FIELD_ALIASES.
    """
    draft = _Draft.of(received.fields, region, aliases or {})
    draft.known.setdefault("source", source if TOKEN.fullmatch(source) else "source")
    lead = draft.lead()
    payload = draft.incomplete() if lead is None else lead
    return ReceivedLead(payload, tuple(draft.warnings), lead is not None, received.delivery_id)


def _is_other_contact(name: str, text: str, region: str) -> bool:
    """Whether the text in the field of the email is a phone number instead, or the reverse."""
    if ("@" in text) == (name == "email"):
        return False
    return not _is_contact(name, text, region) and _is_contact(_OTHER[name], text, region)


def _is_contact(name: str, text: str, region: str) -> bool:
    """Whether a text contains an email or a phone number, as `name` says."""
    field = Email() if name == "email" else Phone()
    try:
        with PhoneRegion(region):
            field.read(text)
    except ValidationError:
        return False
    return True


@dataclass
class _Draft:
    """A submission on its way to a lead: `known` fields by their flat name, all others by their own name (`custom`)."""

    known: dict[str, Any]
    custom: dict[str, str]
    warnings: list[FieldWarning]
    region: str

    @classmethod
    def of(cls, fields: Mapping[str, Any], region: str, aliases: Mapping[str, str]) -> _Draft:
        draft = cls({}, {}, [], region)
        swapped = list[tuple[str, str, Any]]()  # placed last: a contact in its own field takes precedence
        for label, value in fields.items():
            name = aliases.get(alias_key(label)) or named(label)
            if name in _OTHER and _is_other_contact(name, _text(value), region):
                swapped.append((label, name, value))
            else:
                draft.place(label, name, value)
        for label, name, value in swapped:
            draft.place_swapped(label, name, value)
        return draft

    def place(self, label: str, name: str | None, value: Any) -> None:
        """Take a value as the field `name`; keep it in `custom` without a name, or if the field has another value."""
        text = value if isinstance(value, bool | list) else as_text(value)
        if name in (None, CUSTOM) or self.known.setdefault(name, text) != text:
            self.keep(label, value)

    def place_swapped(self, label: str, name: str, value: Any) -> None:
        """Take the email in the field of the phone, or the reverse, if the lead lacks it."""
        other = _OTHER[name]
        if other in self.known:
            self.place(label, name, value)
        else:
            self.place(label, other, value)
            self.warn(label, WarningCode.RECOGNISED, f"The value of this field was taken as {other}.")

    def keep(self, label: str, value: Any) -> None:
        """Put a value into `custom`, a list as one text; a second value for the same name below the first."""
        text = _text(value)
        name = clean(label).lstrip("_") or "unnamed"
        if text:
            self.custom[name] = f"{self.custom[name]}\n{text}" if name in self.custom else text

    def warn(self, label: str, code: WarningCode, message: str) -> None:
        self.warnings.append(FieldWarning(clean(label)[:LONGEST_NAME], code, message))

    def lead(self) -> dict[str, Any] | None:
        """The payload; None without a contact. A submission without a name gets a stand-in."""
        try:
            return self._parsed()
        except InvalidFields as invalid:
            if any(error.code is not FieldCode.REQUIRED for error in invalid.errors):
                return None
            return self._with_stand_in()

    def _parsed(self) -> dict[str, Any]:
        parsed = parse_application(self._raw(), default_region=self.region, sender=Sender.MACHINE)
        self.warnings += parsed.warnings
        return parsed.lead.to_dict()

    def _raw(self) -> dict[str, Any]:
        custom, rest = fitting(self.custom)
        notes = "\n".join(filter(None, (_text(self.known.get("additional_info")), *rest)))
        return {**self.known, "custom": custom} | ({"additional_info": notes} if notes else {})

    def _with_stand_in(self) -> dict[str, Any]:
        """The payload with a first name made of the email as it was read: the sent text may contain more."""
        self.known["first_name"] = NO_NAME
        self.warn("first_name", WarningCode.STAND_IN, STAND_IN)
        payload = self._parsed()
        return payload | {"first_name": stand_in(payload.get("email"))}

    def incomplete(self) -> dict[str, Any]:
        """The payload of a submission without a contact: names and every other value as text, for an operator."""
        for name in [name for name in self.known if name not in ("first_name", "last_name", "source")]:
            self.keep(name, self.known.pop(name))
        custom, rest = fitting(self.custom)
        notes = "\n".join(rest)
        if len(notes) > NOTES:
            self.warn("additional_info", WarningCode.CUT, f"Only the first {NOTES:,} characters were kept.")
        names = {name: as_text(value)[:100] for name, value in self.known.items()}
        return Lead.from_dict(names | {"custom": custom, "additional_info": notes[:NOTES]}).to_dict()


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


def lines(reading: ReceivedLead) -> Iterator[tuple[str, str]]:
    """The fields of a reading for people: name and text."""
    for name, value in reading.payload.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", as_text(text)) for inner, text in value.items())
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    """A value as text, a list with commas."""
    return ", ".join(map(as_text, value)) if isinstance(value, list) else as_text(value)

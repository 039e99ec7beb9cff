"""Reads the email or phone of a person as an operator types it, in the form in which submissions are stored."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import ValidationError

from crmgate.schemas.coded import flatten
from crmgate.schemas.faults import InvalidFields
from crmgate.schemas.fields import Email, Phone, PhoneRegion
from crmgate.schemas.readings import Doubt
from crmgate.schemas.text import clean


@dataclass(frozen=True, slots=True)
class Contact:
    """An email in lower case, or a phone in E.164. `kind` is `email` or `phone`."""

    kind: str
    value: str


def read_contact(typed: str, default_region: str) -> Contact:
    """The email (it has an @) or phone that `typed` names. Raises `InvalidFields` about the field `contact`.

    `default_region` is the ISO 3166 country of a phone without a country code.
    """
    text, kind = clean(typed).strip(), "email" if "@" in typed else "phone"
    try:
        with PhoneRegion(default_region):
            field = Email() if kind == "email" else Phone()
            reading = field.deserialize(text)
            if reading.doubt in (Doubt.PARTLY, Doubt.BROKEN):  # what is erased must be what was typed
                raise field.make_error(f"invalid_{kind}", hint="and nothing else")
    except ValidationError as error:
        raise InvalidFields([*flatten({"contact": error.messages})]) from None
    return Contact(kind, reading.value.lower())

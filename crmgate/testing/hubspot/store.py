"""The records of a fake account: contacts, notes, their associations, and the properties of contacts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmgate.testing.hubspot.wire import Body, HubSpotError, invalid, not_found, now

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,18}")
LONGEST = 65_536
"""Characters of a property."""
DEFAULTS = {
    "email": "string", "firstname": "string", "lastname": "string", "phone": "string", "country": "string",
    "city": "string", "date_of_birth": "string", "degree": "string", "field_of_study": "string", "school": "string",
    "hs_additional_emails": "string", "hs_object_id": "number", "createdate": "datetime",
}  # fmt: skip
READ_ONLY = ("hs_object_id", "createdate")
OWN = {"crmgate_operation_id": True, "crmgate_phone": True, "crmgate_text": False}
"""Properties that crmgate's setup creates; True: with unique values."""


@dataclass
class Item:
    """A contact or a note. `at` is the time of its creation (`time.monotonic`)."""

    id: str
    properties: dict[str, str]
    archived: bool = False
    at: float = field(default_factory=time.monotonic)
    created: str = field(default_factory=now)
    notes: list[str] = field(default_factory=list)

    def shown(self, names: Iterable[str]) -> Body:
        """The record as HubSpot shows it, with these properties."""
        values = self.properties | {"hs_object_id": self.id, "createdate": self.created}
        properties = {name: values.get(name) for name in (*names, "hs_object_id", "createdate")}
        times = {"createdAt": self.created, "updatedAt": self.created}
        return {"id": self.id, "properties": properties, **times, "archived": self.archived}


class HubSpotRecords:
    """Checks and stores. The caller holds the server's lock."""

    def __init__(self, ready: bool) -> None:
        self.contacts: dict[str, Item] = {}
        self.notes: dict[str, Item] = {}
        self.definitions = {name: definition(name, kind) for name, kind in DEFAULTS.items()}
        self.conflict_status = 400
        """Status of the answer for a value of a unique property that another contact has: 400 or 409."""
        if ready:
            for name, unique in OWN.items():
                self.definitions[name] = definition(name, "string", unique=unique)
        self._next_id = 100

    def add_contact(self, properties: Mapping[str, Any]) -> Item:
        """Create a contact, as staff do, too. Raises `HubSpotError`."""
        values = self.checked(properties)
        if not any(values.get(name) for name in ("email", "firstname", "lastname")):
            raise HubSpotError(400, "VALIDATION_ERROR", "At least one of email, firstname and lastname is required")
        self._unique(values, "")
        return self._keep(self.contacts, values)

    def change_contact(self, contact_id: str, properties: Mapping[str, Any]) -> Item:
        """Change a contact. Raises `HubSpotError`."""
        contact = self.contacts.get(contact_id)
        if contact is None or contact.archived:
            raise not_found()
        values = self.checked(properties)
        self._unique(values, contact_id)
        contact.properties |= values
        return contact

    def add_note(self, properties: Mapping[str, Any], associations: Any) -> Item:
        """Create a note on contacts. Raises `HubSpotError`."""
        if not properties.get("hs_timestamp"):
            raise HubSpotError(400, "VALIDATION_ERROR", "hs_timestamp is required")
        contacts = [self._noted(one) for one in associations or ()]
        note = self._keep(self.notes, {name: str(value) for name, value in properties.items()})
        for contact in contacts:
            contact.notes.append(note.id)
        return note

    def _noted(self, association: Mapping[str, Any]) -> Item:
        types = [one.get("associationTypeId") for one in association.get("types", ())]
        contact = self.contacts.get(str(association.get("to", {}).get("id")))
        if types != [202] or contact is None or contact.archived:
            raise HubSpotError(400, "VALIDATION_ERROR", "The association of the note is not valid")
        return contact

    def checked(self, properties: Mapping[str, Any]) -> dict[str, str]:
        """Values of properties. Raises `HubSpotError` that names each refused one."""
        if flaws := [*self._flaws(properties)]:
            raise invalid(flaws)
        values = {name: str(value) for name, value in properties.items()}
        return values | ({"email": values["email"].lower()} if "email" in values else {})

    def _flaws(self, properties: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        for name, value in properties.items():
            known, text = self.definitions.get(name), str(value)
            options = [one["value"] for one in (known or {}).get("options", ())]
            if known is None:
                yield flaw(name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist')
            elif name in READ_ONLY:
                yield flaw(name, "READ_ONLY_VALUE", f'"{name}" is a read only property')
            elif name == "email" and text and not EMAIL.fullmatch(text):
                yield flaw(name, "INVALID_EMAIL", f"Email address {text} is invalid")
            elif known["type"] == "number" and not text.lstrip("-").isdecimal():
                yield flaw(name, "INVALID_INTEGER", f"{text} was not a valid number")
            elif options and text not in options:
                yield flaw(name, "INVALID_OPTION", f"{text} was not one of the allowed options")
            elif len(text) > LONGEST:
                yield flaw(name, "VALUE_TOO_LONG", "The value is too long")

    def _unique(self, values: Mapping[str, str], own: str) -> None:
        for contact in self.contacts.values():
            if contact.id == own:
                continue
            if values.get("email") and values["email"] in emails(contact) and not contact.archived:
                raise HubSpotError(409, "CONFLICT", f"Contact already exists. Existing ID: {contact.id}")
            for name, known in self.definitions.items():
                # Open in the documentation: a deleted contact, which can be restored, keeps its unique values.
                if known["hasUniqueValue"] and values.get(name) and contact.properties.get(name) == values[name]:
                    raise self._conflict(name, values[name])

    def _conflict(self, name: str, value: str) -> HubSpotError:
        if self.conflict_status == 409:
            return HubSpotError(409, "OBJECT_ALREADY_EXISTS", f"A contact with {name} {value} already exists")
        return invalid([flaw(name, "CONFLICTING_UNIQUE_VALUE", f"The value {value} of {name} is taken")])

    def _keep(self, items: dict[str, Item], values: dict[str, str]) -> Item:
        self._next_id += 1
        return items.setdefault(str(self._next_id), Item(str(self._next_id), values))

    def having(self, name: str, value: str) -> list[Item]:
        """Contacts with a value of a unique property, or of the email. Raises `HubSpotError` for another property."""
        if name != "email" and not self.definitions.get(name, {}).get("hasUniqueValue"):
            raise HubSpotError(400, "VALIDATION_ERROR", f"{name} is not a unique property")
        if name == "email" and not EMAIL.fullmatch(value):  # open in the documentation: the harder case
            raise HubSpotError(400, "VALIDATION_ERROR", f"{value} is not a valid email")
        if name == "email":
            return [one for one in self.contacts.values() if value.lower() in emails(one)]
        return [one for one in self.contacts.values() if one.properties.get(name) == value]


def emails(contact: Item) -> list[str]:
    """The emails of a contact, the primary one first."""
    more = contact.properties.get("hs_additional_emails", "")
    return [one for one in (contact.properties.get("email", ""), *more.split(";")) if one]


def definition(name: str, kind: str, *, unique: bool = False, **more: Any) -> Body:
    """Definition of a property."""
    changes = {"archivable": True, "readOnlyDefinition": False, "readOnlyValue": name in READ_ONLY}
    base = {"name": name, "label": name, "type": kind, "fieldType": "text", "groupName": "contactinformation"}
    return base | {"options": [], "hasUniqueValue": unique, "modificationMetadata": changes} | more


def flaw(name: str, error: str, message: str) -> dict[str, str]:
    """A refused property."""
    return {"name": name, "error": error, "message": message}

"""Finds contacts by their unique properties, and what an earlier attempt left on a contact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from crmgate.errors import NotFound, Rejected
from crmgate.model import Lead, Operation
from crmgate.provider import Known

from .api import CONTACTS, NOTES, HubSpotApi
from .records import KEY, PHONE, TEXT, keys_of, phone_of, value

SHOWN = (KEY, TEXT)
NOTES_READ = 1000
"""Largest number of notes of a contact, the newest ones, that are read."""
Contact = dict[str, Any]


class HubSpotLookup:
    """Reads contacts and notes. It never searches: HubSpot's index shows a record late."""

    def __init__(self, api: HubSpotApi) -> None:
        self._api = api

    def contact(self, contact_id: str, properties: Sequence[str] = SHOWN) -> Contact:
        """A contact by its id. Raises `NotFound` and other `ProviderError`s."""
        rows = self._api.read(CONTACTS, [contact_id], properties) if contact_id.isdecimal() else []
        if not rows:
            raise NotFound("HubSpot has no such contact")
        return rows[0]

    def created(self, operations: Iterable[Operation]) -> list[Contact]:
        """The contacts that these operations created. Raises `ProviderError`."""
        keys = [key for operation in operations for key in keys_of(operation)]
        return [one for one in self._api.read(CONTACTS, keys, SHOWN, by=KEY) if value(one, KEY) in keys]

    def people(self, lead: Lead, *, archived: bool = False) -> list[Contact]:
        """Contacts with this email, and contacts of crmgate with this phone. Raises `ProviderError`."""
        rows = self._with_email(lead.email.strip(), archived)
        rows += self._api.read(CONTACTS, [phone_of(lead)], SHOWN, by=PHONE, archived=archived)
        return list({str(one["id"]): one for one in rows}.values())

    def _with_email(self, email: str, archived: bool) -> list[Contact]:
        try:
            return self._api.read(CONTACTS, [email], SHOWN, by="email", archived=archived)
        except Rejected:  # it is no email for HubSpot, so no contact has it
            return []

    def holders(self, lead: Lead, operation: Operation, existing: str) -> list[Known]:
        """The contacts with which a new contact conflicts: that of the operation itself, else those of the person.

        `existing` is the id of the contact that HubSpot named; empty: none. Raises `ProviderError`.
        """
        if own := self.created([operation]):
            return [Known(str(own[0]["id"]), own=True)]
        named = self._api.read(CONTACTS, [existing], SHOWN)
        return [Known(str(one["id"]), left_on(one, operation)) for one in named or self.people(lead)]

    def written_on(self, contacts: list[Contact], operation: Operation) -> str:
        """Id of the first contact on which the operation left its tracking code; empty: none."""
        for one in contacts:
            if left_on(one, operation):
                return str(one["id"])
        texts = self._texts(str(one["id"]) for one in contacts)
        return next((found for found, text in texts.items() if operation.tracking_code in text), "")

    def existing(self, operations: Sequence[Operation]) -> dict[str, str]:
        """Ids of the contacts that these delivered operations left, by the ids of the operations."""
        wanted = [contact_of(one) for one in operations]
        contacts = {str(one["id"]): one for one in self._api.read(CONTACTS, filter(str.isdecimal, wanted), SHOWN)}
        held = [one for one in operations if contact_of(one) in contacts]
        found = {one.id: contact_of(one) for one in held if left_on(contacts[contact_of(one)], one)}
        texts = self._texts({contact_of(one) for one in held if one.id not in found})
        found |= {one.id: contact_of(one) for one in held if one.tracking_code in texts.get(contact_of(one), "")}
        rest = [one for one in operations if one.id not in found]
        ids = {value(one, KEY): str(one["id"]) for one in self.created(rest)}
        return found | {one.id: ids[key] for one in rest for key in keys_of(one) if key in ids}

    def _texts(self, contact_ids: Iterable[str]) -> dict[str, str]:
        """The texts of the newest notes of each contact. Raises `ProviderError`."""
        notes = {one: sorted(ids, key=int)[-NOTES_READ:] for one, ids in self._api.notes_of(contact_ids).items()}
        wanted = [note for ids in notes.values() for note in ids]
        bodies = {str(one["id"]): value(one, "hs_note_body") for one in self._read_notes(wanted)}
        return {one: "\n".join(bodies.get(note, "") for note in ids) for one, ids in notes.items()}

    def _read_notes(self, ids: list[str]) -> list[Contact]:
        return self._api.read(NOTES, ids, ("hs_note_body",))


def left_on(contact: Contact, operation: Operation) -> bool:
    """Whether the operation created this contact, or wrote in its text."""
    return value(contact, KEY) in keys_of(operation) or operation.tracking_code in value(contact, TEXT)


def contact_of(operation: Operation) -> str:
    """Id of the contact that the receipt of an operation names; empty: none."""
    return operation.delivered.record_id if operation.delivered else ""

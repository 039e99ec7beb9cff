"""The contact of a deal, which has the name, the phone and the email."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from crmgate.errors import Forbidden, NotFound
from crmgate.model import Delivered, Lead, Operation
from crmgate.provider import CRMProvider, Mapped

from .records import BitrixRecords
from .values import CONTACTS, MULTIFIELDS, PERSON, Row, contacts, dropped

MOST_READ = 3
"""Number of contacts, the oldest ones, that are read until one is readable."""


def person(contact: Row | None) -> Row:
    """Name, phones and emails of a contact, as an update compares them; empty without a contact."""
    return {name: (contact or {}).get(name) for name in PERSON} | contacts(contact or {})


def beside(crm: CRMProvider, contact: Row, mapped: Mapped, lead: Lead, operation: Operation) -> Mapped:
    """`mapped` for a new deal of a contact that exists: of the person only what is new, or a further row."""
    plan = crm.plan_update(lead, operation, person(contact), rows=MULTIFIELDS, keep=PERSON)
    deal = {name: value for name, value in mapped.fields.items() if name not in PERSON}
    return replace(plan, fields=deal | plan.fields | plan.rows)


class BitrixContacts:
    """Finds, creates and completes the contact of a deal.

    `send` and `move` are `CRMProvider.send_describing` and `.move`. `assignee` is the user to whom a new contact is
    assigned; None: the user of the webhook.
    """

    def __init__(
        self, records: BitrixRecords, send: Callable[..., Delivered], move: Callable[..., dict[str, Any]],
        *, assignee: int | None,
    ) -> None:  # fmt: skip
        self._records, self._send, self._move, self._assignee = records, send, move, assignee

    def of_deal(self, deal: Row) -> Row | None:
        """The contact of a deal; None if it has none, or the contact is gone. Raises `ProviderError`.

        A contact that the user of the webhook may not read stays the deal's: it is a row with nothing but an id.
        """
        number = str(deal.get("contactId") or "0")
        try:
            return self._records.get(number) if number != "0" else None
        except NotFound:
            return None
        except Forbidden:
            return {"id": number}

    def oldest(self, numbers: Iterable[int]) -> Row | None:
        """The first readable one of these contacts. Raises `ProviderError`."""
        found = map(self._records.readable, map(CONTACTS.ref, [*numbers][:MOST_READ]))
        return next((contact for contact in found if contact), None)

    def place(self, record: Mapping[str, Any], contact: Row | None) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Write the person of `record` into its contact, which is created if it is None. Raises `ProviderError`.

        Returns the rest of `record`, for the deal, and the fields whose values the contact did not take: they are in
        the comments of that rest. A person without a phone and an email gets no contact: nothing would find it again.
        """
        own = {name: record[name] for name in PERSON if record.get(name)}
        number, lost = str(contact["id"]) if contact else "", tuple[str, ...]()
        if contact and contact.keys() == {"id"}:
            lost = tuple(own)
        elif own:
            number, lost = self._written(own, number)
        deal = {name: value for name, value in record.items() if name not in PERSON or name in lost}
        deal = self._move(deal, lost, "comments") if lost else deal
        return deal | ({"contactId": int(number)} if number else {}), lost

    def _written(self, own: Row, number: str) -> tuple[str, tuple[str, ...]]:
        """Id of the contact (empty: none), and the fields that it did not take."""

        def send(record: dict[str, Any]) -> Delivered:
            return self._save({name: value for name, value in record.items() if name in PERSON}, number)

        try:
            made = self._send(send, own, text_field="comments")
        except (NotFound, Forbidden):
            if not number:
                raise
            return number, tuple(own)
        kept = {*own}.difference(made.moved, made.dropped) if made.record_id else set[str]()
        return made.record_id, tuple(name for name in own if name not in kept)

    def _save(self, own: Row, number: str) -> Delivered:
        if not number and not own.keys() & {*MULTIFIELDS}:
            return Delivered("", "")
        assigned = {"assignedById": self._assignee} if self._assignee and not number else {}
        made, echo = self._records.save(own | assigned, number)
        return Delivered("", made, dropped=tuple(dropped(own, echo)) if echo else ())

"""Finds, exports and erases what crmgate keeps about a person, who is known by an email or a phone.

Personal data never stand in a URL, in a log or in the audit log: callers pass the contact in a body or on standard
input. Every method raises `LedgerUnavailable`, and `SpoolUnavailable` if this host has a spool that it cannot read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from crmgate.delivery import identity
from crmgate.delivery.gateway import Gateway
from crmgate.model import Operation, State, rfc3339
from crmgate.operators.export import described
from crmgate.operators.inventory import Inventory, provider_of
from crmgate.operators.spooled import SpooledPersons
from crmgate.store.audit import Action, Audit, made
from crmgate.store.ledger import Ledger
from crmgate.store.persons import REFERENCE, PersonIndex, Traces, VisitorSession
from crmgate.store.reconciled import KeptPayloads

if TYPE_CHECKING:
    from crmgate.schemas.typed_contact import Contact

LIMIT = 200
"""Largest number of operations and sessions that one call looks at."""
REASON = "erased on request of the person"
"""Reason that the history of a discarded operation gets."""


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A record in the CRM that operations of a person are about; `url` is empty if it is unknown."""

    provider: str
    record_id: str
    url: str = ""

    def to_json(self) -> dict[str, str]:
        """The record for JSON."""
        return {"provider": self.provider, "lead_id": self.record_id, "url": self.url}


@dataclass(frozen=True, slots=True)
class PersonData:
    """What crmgate keeps about a person: operations, newest first, and sessions.

    `references` are the keyed digests of the contact, which contain no personal data; a link may contain them. `more`:
    there are more operations than `LIMIT`. `kept`: number of delivered operations whose payload is kept. `spooled`: ids
    in the spool of this host, which Redis does not have.
    """

    references: tuple[str, ...]
    operations: tuple[Operation, ...]
    sessions: tuple[VisitorSession, ...]
    more: bool = False
    kept: int = 0
    spooled: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether anything is kept."""
        return bool(self.operations or self.sessions or self.spooled)

    @property
    def unsent(self) -> int:
        """Number of operations that an erasure ends: those that are open, and those in the spool."""
        return len(self.open) + len(self.spooled)

    @property
    def open(self) -> tuple[Operation, ...]:
        """The operations that have not ended: erasing discards them."""
        return tuple(operation for operation in self.operations if not operation.state.ended)

    @property
    def records(self) -> tuple[CrmRecord, ...]:
        """The records in the CRM, which have to be erased there."""
        found: dict[tuple[str, str], CrmRecord] = {}
        for record in self._records():
            known = found.get((record.provider, record.record_id))
            found[record.provider, record.record_id] = record if known is None or record.url else known
        return tuple(found.values())

    def in_state(self, state: State) -> int:
        """Number of operations in this state."""
        return sum(operation.state == state for operation in self.operations)

    def counts(self) -> dict[str, int]:
        """Numbers of operations by the effect of an erasure, and of sessions."""
        dead, suspects = self.in_state(State.DEAD), self.in_state(State.SUSPECT)
        return {
            "waiting": len(self.open) - dead - suspects, "dead_letters": dead, "suspects": suspects,
            "ended": len(self.operations) - len(self.open), "sessions": len(self.sessions), "kept_payloads": self.kept,
            "spooled": len(self.spooled),
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The summary for JSON, without payloads."""
        return {
            "references": [*self.references],
            "counts": self.counts(),
            "operations": [described(operation) for operation in self.operations],
            "crm": [record.to_json() for record in self.records],
            "more": self.more,
        }

    def preview_json(self) -> dict[str, Any]:
        """The preview of an erasure for JSON, with the members of `Erasure.to_json`."""
        return Erasure(self, self.unsent, ()).to_json() | {"complete": False}

    def _records(self) -> Iterator[CrmRecord]:
        for operation in self.operations:
            if operation.delivered:
                made = operation.delivered
                yield CrmRecord(made.provider, made.record_id, made.url)
            elif operation.lead_id:
                yield CrmRecord(provider_of(operation), operation.lead_id)
        for session in self.sessions:
            if session.record_id:
                yield CrmRecord(session.provider, session.record_id)


@dataclass(frozen=True, slots=True)
class Erasure:
    """The result of an erasure: what was found, and the ids of the operations that could not be erased.

    They were on the way to the CRM, or from the spool to Redis: erase again when that has ended.
    """

    found: PersonData
    discarded: int
    left: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return not self.left and not self.found.more

    def to_json(self) -> dict[str, Any]:
        """The result for JSON."""
        return {
            "counts": self.found.counts(), "discarded": self.discarded, "left": [*self.left],
            "crm": [record.to_json() for record in self.found.records], "complete": self.complete,
        }  # fmt: skip


class Persons:
    """Finds, exports and erases persons. `who` is the name of a token or `cli:<user>`.

    `default_region` is the ISO 3166 country of phones without a country code.
    """

    def __init__(
        self, index: PersonIndex, ledger: Ledger, inventory: Inventory, gateway: Gateway, audit: Audit,
        default_region: str, kept: KeptPayloads, spooled: SpooledPersons | None = None,
    ) -> None:  # fmt: skip
        self._index, self._ledger, self._inventory = index, ledger, inventory
        self._spooled = spooled or SpooledPersons()
        self._gateway, self._audit, self._region, self._kept = gateway, audit, default_region, kept

    def contact(self, typed: str) -> Contact:
        """The email or phone that an operator typed. Raises `InvalidFields`."""
        # Imported here because the import is slow and most commands do not need it.
        from crmgate.schemas.typed_contact import read_contact

        return read_contact(typed, self._region)

    def find(self, contact: Contact, who: str) -> PersonData:
        """What crmgate keeps about the person, which an erasure would discard (`open`) or remove.

        The search is an entry in the audit log.
        """
        found = self._found(contact)
        self._audit.record(who, Action.PERSON_SHOW, "person", _numbers(found))
        return found

    def of(self, reference: str) -> list[Operation]:
        """The operations with a reference (`PersonData.references`), newest first; none for another text."""
        if not REFERENCE.fullmatch(reference):
            return []
        return list(self._read(self._index.traces([reference], LIMIT)))

    def export(self, contact: Contact, who: str) -> dict[str, Any]:
        """Everything that crmgate keeps about the person, for JSON, with payloads; an entry in the audit log."""
        found = self._found(contact)
        self._audit.record(who, Action.PERSON_EXPORT, "person", _numbers(found))
        kept = self._kept.read([operation.id for operation in found.operations])
        everything = [*self._spooled.read(found.spooled), *found.operations]
        operations = [_whole(operation, kept.get(operation.id, {})) for operation in everything]
        sessions = [CrmRecord(one.provider, one.record_id).to_json() for one in found.sessions]
        return {
            "contact": {contact.kind: contact.value}, "operations": operations, "sessions": sessions,
            "crm": [record.to_json() for record in found.records], "more": found.more,
        }  # fmt: skip

    def erase(self, contact: Contact, who: str) -> Erasure:
        """Discard the person's operations that have not ended, and remove everything else about the person.

        Receipts stay until they expire, without anything that leads from the person to them. The audit log has an entry
        for each discarded operation and one for the erasure, without personal data.
        """
        with self._spooled.held() as held:
            spooled = self._spooled.ids(_people(contact))
            erasure = self._erase_from_redis(contact, who, spooled)
            if not held:
                return replace(erasure, left=(*erasure.left, *erasure.found.spooled))
            self._spooled.erase(spooled)
        return replace(erasure, discarded=erasure.discarded + len(erasure.found.spooled))

    def _erase_from_redis(self, contact: Contact, who: str, spooled: Sequence[str]) -> Erasure:
        references, traces = self._traced(contact)
        found = self._described(references, traces, spooled)
        kept = {operation.id for operation in found.open if not self._discard(operation.id, who)}
        discarded = len(found.open) - len(kept)
        detail = f"{_numbers(found)}; {discarded} discarded"
        entry = made(self._ledger.now(), who, Action.PERSON_ERASE, "person", detail)
        self._index.erase(replace(traces, sessions=() if kept else traces.sessions), references, entry)
        self._index.forget_meters([contact.value])
        left = [one.id for one in self._inventory.read(sorted(kept)) if one and not one.state.ended]
        return Erasure(found, discarded, tuple(left))

    def _discard(self, operation_id: str, who: str) -> bool:
        entry = made(self._ledger.now(), who, Action.DISCARD, operation_id)
        return self._gateway.discard(operation_id, REASON, entry)

    def _found(self, contact: Contact) -> PersonData:
        # The spool comes first: it loses a submission only after Redis has it.
        spooled = self._spooled.ids(_people(contact))
        references, traces = self._traced(contact)
        return self._described(references, traces, spooled)

    def _traced(self, contact: Contact) -> tuple[tuple[str, ...], Traces]:
        """The references of a contact, and what the index has about it."""
        references = self._index.references(_people(contact))
        return references, self._index.traces(references, LIMIT)

    def _described(self, references: tuple[str, ...], traces: Traces, spooled: Sequence[str]) -> PersonData:
        kept, operations = self._kept.which(traces.operations), self._read(traces)
        recorded = {operation.id for operation in operations}
        waiting = tuple(name for name in spooled if name not in recorded)
        return PersonData(references, operations, traces.sessions, traces.more, len(kept), waiting)

    def _read(self, traces: Traces) -> tuple[Operation, ...]:
        found = [operation for operation in self._inventory.read(traces.operations) if operation]
        return tuple(sorted(found, key=lambda operation: (operation.accepted_at, operation.id), reverse=True))


def _people(contact: Contact) -> tuple[str, ...]:
    """The digests of the contact."""
    return identity.people({contact.kind: contact.value})


def _numbers(found: PersonData) -> str:
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in found.counts().items())


def _whole(operation: Operation, kept: Mapping[str, Any]) -> dict[str, Any]:
    attempts = [event.to_dict() | {"at": rfc3339(event.at)} for event in operation.events]
    return described(operation) | {"attempts": attempts, "payload": dict(operation.payload or kept)}

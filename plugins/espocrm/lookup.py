"""Finds leads of the same person, and what an earlier attempt left in EspoCRM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crmgate.errors import AuthFailed, Code, Forbidden, NotFound, Unsupported
from crmgate.model import Lead, Operation
from crmgate.provider import Mapped

from .answers import rows_with_id, unsearchable
from .api import EspoApi, any_of, equals, lead_path, rows_of

PAGE = 200
"""Largest number of records in a list of EspoCRM."""
CALLS_READ = 2000
"""Largest number of calls that are read to compare a batch of operations."""


@dataclass(frozen=True)
class Namesakes:
    """Leads that may be of one person. `complete`: EspoCRM has searched for the email and the phone."""

    leads: list[dict[str, Any]]
    complete: bool


class EspoLookup:
    """Reads leads, calls and notes. `id_field` is the field of the operation id; empty: none."""

    def __init__(self, api: EspoApi, id_field: str) -> None:
        self._api, self._id_field = api, id_field

    def leads_like(self, lead: Lead) -> Namesakes:
        """Leads with this email or phone. Compare with `oldest_of`.

        Sends one request for each: EspoCRM scans all leads for a filter that combines them with "or".
        """
        wanted = {"emailAddress": lead.email.strip(), "phoneNumber": _e164(lead.phone)}
        searches = [self._equal(name, value, wanted) for name, value in wanted.items() if value]
        leads = {str(row["id"]): row for found in searches for row in found or ()}
        return Namesakes(list(leads.values()), complete=None not in searches)

    def _equal(self, attribute: str, value: str, shown: Iterable[str]) -> list[dict[str, Any]] | None:
        """Leads with a value in an attribute, oldest first; None if the role hides the attribute."""
        where = equals("where[0]", attribute, value)
        select = ",".join(filter(None, ("id", *shown, self._id_field)))
        answer = self._api.list_records("Lead", **where, select=select, maxSize="20", orderBy="createdAt", order="asc")
        return None if unsearchable(answer) else rows_with_id(rows_of(answer))

    def oldest_of(self, lead: Lead, rows: list[dict[str, Any]]) -> str:
        """Id of the oldest lead of this person among the leads `rows`; empty: none.

        A list has only the primary email and phone. Leads with others are read, because staff who merge leads make
        them secondary.
        """
        same = (one for one in by_age(rows) if same_person(one, lead) or same_person(self._complete(one), lead))
        return next((str(one["id"]) for one in same), "")

    def _complete(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A lead with all its emails and phones; empty if it is gone, or may not be read."""
        try:
            return self._api.read(lead_path(str(row["id"])))
        except (NotFound, Forbidden):
            return {}

    def with_id(self, operation: Operation) -> list[dict[str, Any]]:
        """Leads found by the operation id; none if EspoCRM has no field for it. Compare with `is_own`."""
        if not self._id_field:
            return []
        if operation.repairs:
            return self._having(self._id_field, keys_of(operation))
        answer = self._api.search_leads(self._id_field, operation.id)
        return [] if unsearchable(answer) else rows_with_id(rows_of(answer))

    def is_own(self, lead: Mapping[str, Any], operation: Operation) -> bool:
        """Whether the operation created or updated a lead."""
        # Compared here: EspoCRM's `equals` ignores case.
        by_id = bool(self._id_field) and lead.get(self._id_field) in keys_of(operation)
        return by_id or operation.tracking_code in str(lead.get("description"))

    def created(self, operation: Operation) -> str:
        """Id of the oldest lead with the operation id; empty: none."""
        own = (lead for lead in by_age(self.with_id(operation)) if self.is_own(lead, operation))
        return next((str(lead["id"]) for lead in own), "")

    def written_on_known(self, operation: Operation) -> str:
        """Id of the same person's oldest lead, if the operation updated it or logged on it; else empty."""
        known = self.oldest_of(operation.lead, self.leads_like(operation.lead).leads)
        return known if known and (self.updated(known, operation) or self.logged(known, operation)) else ""

    def updated(self, lead_id: str, operation: Operation) -> bool:
        """Whether the description of a lead contains the tracking code."""
        try:
            return operation.tracking_code in str(self._api.read(lead_path(lead_id)).get("description"))
        except (NotFound, Forbidden):
            return False

    def logged(self, lead_id: str, operation: Operation) -> bool:
        """Whether a call or a note on the lead contains the tracking code."""
        where = equals("where[0]", "parentId", lead_id)
        calls = self._visible("Call", **where, select="id,name", maxSize=str(PAGE))
        if any(operation.tracking_code in str(call.get("name")) for call in calls):
            return True
        return self._noted(lead_id, operation)

    def existing(self, operations: Sequence[Operation]) -> dict[str, str]:
        """Ids of the leads that these delivered operations left, by the ids of the operations.

        Most operations are found with one request, by the ids of their leads.
        """
        leads = {str(row["id"]): row for row in self._having("id", map(lead_of, operations))}
        found = {
            one.id: lead_of(one) for one in operations
            if lead_of(one) in leads and self.is_own(leads[lead_of(one)], one)
        }  # fmt: skip
        rest = [one for one in operations if one.id not in found and lead_of(one) in leads]
        found |= self._with_calls(rest)
        found |= {one.id: lead_of(one) for one in rest if one.id not in found and self._noted(lead_of(one), one)}
        return found | self._elsewhere([one for one in operations if one.id not in found])

    def _with_calls(self, operations: Sequence[Operation]) -> dict[str, str]:
        """Those of the operations whose calls are on their leads."""
        if not operations:
            return {}
        filtered = any_of("parentId", dict.fromkeys(map(lead_of, operations)))
        names = dict[str, str]()
        for offset in range(0, CALLS_READ, PAGE):
            page = {"select": "id,name,parentId", "maxSize": str(PAGE), "offset": str(offset)}
            rows = self._visible("Call", **filtered, **page)
            for row in rows:
                parent = str(row.get("parentId"))
                names[parent] = f"{names.get(parent, '')}\n{row.get('name')}"
            if len(rows) < PAGE:
                break
        return {one.id: lead_of(one) for one in operations if one.tracking_code in names.get(lead_of(one), "")}

    def _elsewhere(self, operations: Sequence[Operation]) -> dict[str, str]:
        """Those of the operations whose ids other leads have: a lead can be created again."""
        rows = self._having(self._id_field, (key for one in operations for key in keys_of(one)))
        ids = {str(row.get(self._id_field)): str(row["id"]) for row in rows}
        return {one.id: ids[key] for one in operations for key in keys_of(one) if key in ids}

    def _having(self, attribute: str, values: Iterable[str]) -> list[dict[str, Any]]:
        """Leads that have one of the values in an attribute; none if the attribute is empty or hidden."""
        wanted = list(dict.fromkeys(filter(None, values)))
        if not wanted or not attribute:
            return []
        select = ",".join(filter(None, ("id", "createdAt", "description", self._id_field)))
        answer = self._api.list_records("Lead", **any_of(attribute, wanted), select=select, maxSize=str(PAGE))
        return [] if unsearchable(answer) else rows_with_id(rows_of(answer))

    def _noted(self, lead_id: str, operation: Operation) -> bool:
        notes = self._visible(f"{lead_path(lead_id)}/posts", maxSize=str(PAGE))
        return any(operation.tracking_code in str(note.get("post")) for note in notes)

    def _visible(self, path: str, **params: str) -> list[dict[str, Any]]:
        """Rows of a list; none if the role does not show the list: then it could not write them either."""
        try:
            return rows_with_id(rows_of(self._api.list_records(path, **params)))
        except (AuthFailed, Forbidden, NotFound, Unsupported) as error:
            if error.code is Code.BAD_CREDENTIALS:
                raise
            return []


def keys_of(operation: Operation) -> list[str]:
    """The ids that the lead of an operation may have, the present one last.

    A lead that staff deleted stays in the database and keeps its id, which the unique index gives to no other lead. So
    the lead of a repaired operation has an id with a number.
    """
    return [operation.id, *(f"{operation.id}-{number}" for number in range(1, operation.repairs + 1))]


def keyed(mapped: Mapped, operation: Operation, id_field: str) -> Mapped:
    """`mapped` with the id that a lead of the operation gets in `id_field`: one that no deleted lead has."""
    if not operation.repairs or id_field not in mapped.fields:
        return mapped
    return replace(mapped, fields=mapped.fields | {id_field: keys_of(operation)[-1]})


def lead_of(operation: Operation) -> str:
    """Id of the lead that the receipt of an operation names; empty: none."""
    return operation.delivered.record_id if operation.delivered else ""


def by_age(leads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leads, oldest first."""
    return sorted(leads, key=lambda lead: (str(lead.get("createdAt")), str(lead["id"])))


def same_person(known: Mapping[str, Any], lead: Lead) -> bool:
    """Whether an email or a phone of a lead is equal. EspoCRM ignores accents, and equal names are no proof."""
    email, phone = lead.email.strip().casefold(), _e164(lead.phone)
    emails = {one.strip().casefold() for one in _values(known, "emailAddress")}
    phones = {_e164(one) for one in _values(known, "phoneNumber")}
    return (bool(email) and email in emails) or (bool(phone) and phone in phones)


def _values(known: Mapping[str, Any], name: str) -> Iterator[str]:
    """The primary email or phone of a lead, and those of its other rows, if it has any."""
    yield str(known.get(name) or "")
    rows = known.get(f"{name}Data")
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            yield str(row.get(name) or "")


def _e164(phone: str) -> str:
    """A phone number without punctuation."""
    return "".join(character for character in phone if character.isdecimal() or character == "+")

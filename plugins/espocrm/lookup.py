"""Finds leads of the same person, and what an earlier attempt left in EspoCRM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmgate.errors import AuthFailed, Code, Forbidden, NotFound, Unsupported
from crmgate.model import Lead, Operation

from .answers import rows_with_id, unsearchable
from .api import EspoApi, equals, lead_path, rows_of


class EspoLookup:
    """Reads leads, calls and notes. `id_field` is the field of the operation id; empty: none."""

    def __init__(self, api: EspoApi, id_field: str) -> None:
        self._api, self._id_field = api, id_field

    def leads_like(self, lead: Lead) -> list[dict[str, Any]]:
        """Leads with this email or phone, oldest first; none if the role hides those fields."""
        wanted = {"emailAddress": lead.email.strip(), "phoneNumber": _e164(lead.phone)}
        where = {"where[0][type]": "or"}
        for number, (attribute, value) in enumerate((name, value) for name, value in wanted.items() if value):
            where |= equals(f"where[0][value][{number}]", attribute, value)
        if len(where) == 1:
            return []
        select = ",".join(filter(None, ("id", *wanted, self._id_field)))
        answer = self._api.list_records("Lead", **where, select=select, maxSize="20", orderBy="createdAt", order="asc")
        return [] if unsearchable(answer) else rows_with_id(rows_of(answer))

    def with_id(self, operation: Operation) -> list[dict[str, Any]]:
        """Leads found by the operation id; none if EspoCRM has no field for it. Compare with `is_own`."""
        answer = self._api.search_leads(self._id_field, operation.id) if self._id_field else None
        return [] if answer is None or unsearchable(answer) else rows_with_id(rows_of(answer))

    def is_own(self, lead: Mapping[str, Any], operation: Operation) -> bool:
        """Whether the operation created or updated a lead."""
        # Compared here: EspoCRM's `equals` ignores case.
        by_id = bool(self._id_field) and lead.get(self._id_field) == operation.id
        return by_id or operation.tracking_code in str(lead.get("description"))

    def created(self, operation: Operation) -> str:
        """Id of the oldest lead with the operation id; empty: none."""
        own = (lead for lead in by_age(self.with_id(operation)) if self.is_own(lead, operation))
        return next((str(lead["id"]) for lead in own), "")

    def written_on_known(self, operation: Operation) -> str:
        """Id of the same person's oldest lead, if the operation updated it or logged on it; else empty."""
        lead = operation.lead
        known = next((str(one["id"]) for one in by_age(self.leads_like(lead)) if same_person(one, lead)), "")
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
        calls = self._visible("Call", **where, select="id,name", maxSize="200")
        if any(operation.tracking_code in str(call.get("name")) for call in calls):
            return True
        notes = self._visible(f"{lead_path(lead_id)}/posts", maxSize="200")
        return any(operation.tracking_code in str(note.get("post")) for note in notes)

    def _visible(self, path: str, **params: str) -> list[dict[str, Any]]:
        """Rows of a list; none if the role does not show the list: then it could not write them either."""
        try:
            return rows_with_id(rows_of(self._api.list_records(path, **params)))
        except (AuthFailed, Forbidden, NotFound, Unsupported) as error:
            if error.code in (Code.BAD_CREDENTIALS, Code.LOCKED_OUT):
                raise
            return []


def by_age(leads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leads, oldest first."""
    return sorted(leads, key=lambda lead: (str(lead.get("createdAt")), str(lead["id"])))


def same_person(known: Mapping[str, Any], lead: Lead) -> bool:
    """Whether email or phone are equal. EspoCRM ignores accents, and equal names are no proof."""
    emails = [str(email or "").strip().casefold() for email in (known.get("emailAddress"), lead.email)]
    phones = [_e164(str(phone or "")) for phone in (known.get("phoneNumber"), lead.phone)]
    return any(one and one == other for one, other in (emails, phones))


def _e164(phone: str) -> str:
    """A phone number without punctuation."""
    return "".join(character for character in phone if character.isdecimal() or character == "+")

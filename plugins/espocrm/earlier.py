"""What is in EspoCRM already: leads of the same person, what an earlier attempt left; and calls and notes on them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from crmgate.errors import AuthFailed, Code, NotFound, Rejected, Unsupported
from crmgate.model import Delivered, Lead, Operation

from .answers import rows_with_id, unsearchable, was_made
from .api import equals, lead_path
from .checks import Checks

_NO_LOG = "the role of the API user allows neither calls (Call: create: yes) nor notes (Lead: stream: all)"


class Earlier(Checks):
    """Finds what was there before, and adds to it."""

    def _known(self, lead: Lead) -> list[dict[str, Any]]:
        """The leads with this email or phone, oldest first, as far as the role shows those."""
        asked = {"emailAddress": lead.email.strip(), "phoneNumber": _e164(lead.phone)}
        where = {"where[0][type]": "or"}
        for number, (attribute, value) in enumerate((name, value) for name, value in asked.items() if value):
            where |= equals(f"where[0][value][{number}]", attribute, value)
        if len(where) == 1:
            return []
        select = ",".join(filter(None, ("id", *asked, self._id_field)))
        answer = self._list("Lead", **where, select=select, maxSize="20", orderBy="createdAt", order="asc")
        return [] if unsearchable(answer) else rows_with_id(self._rows(answer))

    def _with_id(self, operation: Operation) -> list[dict[str, Any]]:
        answer = self._search(self._id_field, operation.id) if self._id_field else None
        return [] if answer is None or unsearchable(answer) else rows_with_id(self._rows(answer))

    def _is_own(self, lead: Mapping[str, Any], operation: Operation) -> bool:
        # Compared here: EspoCRM's `equals` ignores case.
        by_id = bool(self._id_field) and lead.get(self._id_field) == operation.id
        return by_id or operation.tracking_code in str(lead.get("description"))

    def _kept(self, operation: Operation) -> Delivered | None:
        """The lead of a person who was known, if this create left something on it, or made it without an id."""
        lead = operation.lead
        leads = self._known(lead) if self.spares_duplicates else []
        known = next((str(one["id"]) for one in by_age(leads) if same_person(one, lead)), "")
        left = known and (self._updated(known, operation) or self._logged(known, operation))
        return self.delivered(known, adopted=True) if left else None

    def _updated(self, lead_id: str, operation: Operation) -> bool:
        try:
            return operation.tracking_code in str(self._read(lead_path(lead_id)).get("description"))
        except NotFound:
            return False

    def _logged(self, lead_id: str, operation: Operation) -> bool:
        """Whether a call or a note on the lead carries the tracking code."""
        where = equals("where[0]", "parentId", lead_id)
        calls = self._allowed("Call", **where, select="id,name", maxSize="200")
        if any(operation.tracking_code in str(call.get("name")) for call in calls):
            return True
        notes = self._allowed(f"{lead_path(lead_id)}/posts", maxSize="200")
        return any(operation.tracking_code in str(note.get("post")) for note in notes)

    def _allowed(self, path: str, **params: str) -> list[dict[str, Any]]:
        """A list, empty where the role does not show it: what may not be read was not written either."""
        try:
            return rows_with_id(self._rows(self._list(path, **params)))
        except (AuthFailed, NotFound, Unsupported) as error:
            if error.code in (Code.BAD_CREDENTIALS, Code.LOCKED_OUT):
                raise
            return []

    def _log(self, lead_id: str, title: str, text: str, at: str, operation: Operation) -> Delivered:
        """Log on a lead as a call that was held, or as a note where calls are refused."""
        name, when = f"{title} {operation.tracking_code}"[-255:], espo_time(at or operation.accepted_at)
        call = {
            "name": name, "status": "Held", "direction": "Inbound", "dateStart": when, "dateEnd": when,
            "parentType": "Lead", "parentId": lead_id, "assignedUserId": self._assignee(), "description": text,
        }  # fmt: skip
        answer = self._send("POST", "Call", json=call)
        if was_made(answer):
            return self.delivered(lead_id)
        error = self._error(answer, read=False)
        if isinstance(error, Rejected | Unsupported) or error.code is Code.NO_PERMISSION:
            return self._note(lead_id, f"{name}\n\n{text}")
        raise error

    def _note(self, lead_id: str, text: str) -> Delivered:
        note = {"type": "Post", "post": text, "parentType": "Lead", "parentId": lead_id}
        answer = self._send("POST", "Note", json=note)
        if was_made(answer):
            return self.delivered(lead_id)
        error = self._error(answer, read=False)
        if error.code is not Code.NO_PERMISSION:
            raise error
        self._read(lead_path(lead_id))  # a lead that does not exist is refused in the same words
        raise Unsupported(_NO_LOG, code=Code.NO_PERMISSION, status=answer.status)

    def _assignee(self) -> str:
        """Whose call it is: EspoCRM takes none that is nobody's. Asked once who the API user is."""
        if not self._user_id:
            self._user_id = self.settings.get("ESPOCRM_ASSIGNED_USER_ID") or self._whoami()
        return self._user_id


def by_age(leads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Oldest first."""
    return sorted(leads, key=lambda lead: (str(lead.get("createdAt")), str(lead["id"])))


def same_person(known: Mapping[str, Any], lead: Lead) -> bool:
    """Whether email or phone are the same: EspoCRM compares without accents, and names alone prove nothing."""
    emails = [str(email or "").strip().casefold() for email in (known.get("emailAddress"), lead.email)]
    phones = [_e164(str(phone or "")) for phone in (known.get("phoneNumber"), lead.phone)]
    return any(one and one == other for one, other in (emails, phones))


def _e164(phone: str) -> str:
    """A phone without its punctuation."""
    return "".join(character for character in phone if character.isdecimal() or character == "+")


def espo_time(at: str | float) -> str:
    """RFC 3339, or seconds since the epoch, as EspoCRM writes a time. What is neither is now."""
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.now(UTC)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")

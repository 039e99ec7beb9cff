"""Logs calls and notes on leads."""

from __future__ import annotations

from datetime import UTC, datetime

from crmgate.errors import Code, Forbidden, Rejected, Unsupported
from crmgate.model import Operation

from .answers import error_for, was_created
from .api import EspoApi, lead_path

_NO_LOG = "the role of the API user allows neither calls (Call: create: yes) nor notes (Lead: stream: all)"


class EspoActivities:
    """Creates calls, and notes where the role allows no calls."""

    def __init__(self, api: EspoApi) -> None:
        self._api = api
        self._assignee = ""

    def log(self, lead_id: str, title: str, text: str, at: str, operation: Operation) -> None:
        """Log on a lead as a held call, or as a note if calls are refused. Raises `ProviderError`.

        `at` is the time of the call (RFC 3339; empty: when the operation was accepted).
        """
        call = self.call(lead_id, title, text, at, operation)
        answer = self._api.send("POST", "Call", json=call | {"assignedUserId": self._assigned_user()})
        if was_created(answer):
            return
        error = error_for(answer, read=False)
        if not isinstance(error, Rejected | Forbidden | Unsupported) and error.code is not Code.NO_PERMISSION:
            raise error
        self.note(lead_id, f"{call['name']}\n\n{text}")

    def call_of(self, operation: Operation, text: str) -> dict[str, str]:
        """The call that `log` creates for a click."""
        activity = operation.activity
        return self.call(operation.lead_id, activity.channel or "Activity", text, activity.occurred_at, operation)

    def call(self, lead_id: str, title: str, text: str, at: str, operation: Operation) -> dict[str, str]:
        """The call that `log` creates, without its user."""
        name, when = f"{title} {operation.tracking_code}"[-255:], espo_time(at or operation.accepted_at)
        return {
            "name": name, "status": "Held", "direction": "Inbound", "dateStart": when, "dateEnd": when,
            "parentType": "Lead", "parentId": lead_id, "description": text,
        }  # fmt: skip

    def note(self, lead_id: str, text: str) -> None:
        """Add a note to the stream of a lead. Raises `ProviderError`."""
        note = {"type": "Post", "post": text, "parentType": "Lead", "parentId": lead_id}
        answer = self._api.send("POST", "Note", json=note)
        if was_created(answer):
            return
        error = error_for(answer, read=False)
        if error.code is not Code.NO_PERMISSION:
            raise error
        self._api.read(lead_path(lead_id))  # EspoCRM refuses a lead that does not exist with the same answer
        raise Unsupported(_NO_LOG, code=Code.NO_PERMISSION, status=answer.status)

    def _assigned_user(self) -> str:
        """User the call is assigned to; EspoCRM requires one. Default: the API user, whose id is read once."""
        if not self._assignee:
            self._assignee = self._api.settings.get("ESPOCRM_ASSIGNED_USER_ID") or self._api.own_user_id()
        return self._assignee


def espo_time(at: str | float) -> str:
    """A time (RFC 3339, or seconds since the epoch) in EspoCRM's format, in UTC. Invalid values become now."""
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.now(UTC)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")

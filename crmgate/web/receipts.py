"""What anybody who holds an operation's id may know of it."""

from __future__ import annotations

from crmgate.model import Operation, State, rfc3339

_STATUS = {State.DELIVERED: "delivered", State.DEAD: "failed", State.DISCARDED: "discarded"}


def status(operation: Operation) -> str:
    """`delivered`, `failed` (a person has to look at it), `discarded` or `waiting`."""
    return _STATUS.get(State(operation.state), "waiting")


def receipt(operation: Operation) -> dict[str, str]:
    """The public view: no attempt, no CRM, no error."""
    return {
        "id": operation.id,
        "status": status(operation),
        "tracking_code": operation.tracking_code,
        "submitted_at": rfc3339(operation.accepted_at),
    }

"""Changes by operators to dead letters, suspects and waiting operations.

The web and the command line both use this module. `who` is the name of a token or `cli:<user>`. Each change and its
audit entry are one atomic step. Every method raises `LedgerUnavailable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from crmgate.delivery import identity
from crmgate.delivery.attempt import Delivery
from crmgate.delivery.gateway import Gateway
from crmgate.errors import AttemptUnderWay, ChangedMeanwhile, NoSuchOperation, OperationEnded
from crmgate.model import Event, EventType, Operation, State
from crmgate.operators.inventory import Filter
from crmgate.operators.retries import Job, Retries
from crmgate.operators.waiting import Waiting
from crmgate.store.audit import Action, Entry, made
from crmgate.store.gate import Gate
from crmgate.store.ledger import Ledger

KEPT_ASIDE = (State.DEAD, State.SUSPECT)
"""States of operations that wait for an operator."""
CHANGEABLE = (*KEPT_ASIDE, State.WAITING, State.ACCEPTED)
"""States of operations that an operator may change."""


class Desk:
    """Retries, edits and discards. The reason for a discard is kept on the operation, not in the audit log.

    An operation cannot be changed once it has ended (`OperationEnded`), or while an attempt is under way
    (`AttemptUnderWay`).
    """

    def __init__(self, ledger: Ledger, gateway: Gateway, delivery: Delivery, retries: Retries) -> None:
        self._ledger, self._gateway, self._delivery = ledger, gateway, delivery
        self.retries = retries
        self.waiting = Waiting(ledger, delivery.recipient)

    def get(self, operation_id: str) -> Operation:
        """An operation that an operator may change. Raises `NoSuchOperation`, `OperationEnded`, `AttemptUnderWay`."""
        operation = self._known(operation_id)
        if operation.state not in CHANGEABLE:
            _refuse(operation)
        return operation

    def retry(self, operation_id: str, who: str) -> Operation:
        """Retry an operation now with its full number of attempts. While nothing is sent to its CRM, it waits.

        Raises `NoSuchOperation`, `OperationEnded` and `AttemptUnderWay`.
        """
        if not self._gateway.release(operation_id, self._entry(who, Action.RETRY, operation_id)):
            _refuse(self._known(operation_id))
        return self._known(operation_id)

    def discard(self, operation_id: str, reason: str, who: str) -> Operation:
        """End an operation without a delivery. Raises `NoSuchOperation`, `OperationEnded` and `AttemptUnderWay`."""
        if not self._gateway.discard(operation_id, reason, self._entry(who, Action.DISCARD, operation_id)):
            _refuse(self._known(operation_id))
        return self._known(operation_id)

    def amend(self, operation: Operation, payload: Mapping[str, Any], who: str) -> Operation:
        """Replace the payload of `operation` by a validated one.

        Raises `ChangedMeanwhile` if the operation has changed since it was read, `NoSuchOperation`, `OperationEnded`
        and `AttemptUnderWay`.
        """
        names = ", ".join(sorted(name for name in {*payload, *operation.payload}
                                 if payload.get(name) != operation.payload.get(name)))  # fmt: skip
        event = Event(self._ledger.now(), 0.0, "", EventType.EDITED, detail=names, counted=False)
        entry = self._entry(who, Action.EDIT, operation.id, names)
        answer = self._ledger.amend(operation, payload, event, entry, people=identity.people(payload))
        if answer == "changed":
            raise ChangedMeanwhile
        if answer != "amended":
            _refuse(self._known(operation.id))
        return self._known(operation.id)

    def start_retries(self, wanted: Filter, who: str) -> Job:
        """Start a job that retries the dead letters that match the filter. Raises `JobRunning`."""
        return self.retries.start(wanted, who)

    def cancel_retries(self, job_id: str, who: str) -> Job:
        """Cancel a job after its current batch; does nothing if it has ended. Raises `NoSuchOperation`."""
        job = self.retries.cancel(job_id, who)
        if job is None:
            raise NoSuchOperation
        return job

    def pause(self, who: str, reason: str = "") -> Gate:
        """Send nothing to the active CRM until `resume`. Returns its gate after the change.

        The audit log has the `reason`, which contains no personal data.
        """
        self._delivery.pause(self._entry(who, Action.CRM_PAUSE, self._delivery.recipient.provider, reason))
        return self.waiting.gate()

    def resume(self, who: str, reason: str = "") -> Gate:
        """End a pause, or try the active CRM now. Returns its gate after the change.

        The audit log has the `reason`, which contains no personal data.
        """
        self._delivery.resume(self._entry(who, Action.CRM_RESUME, self._delivery.recipient.provider, reason))
        return self.waiting.gate()

    def _entry(self, who: str, what: Action, on: str, detail: str = "") -> Entry:
        return made(self._ledger.now(), who, what, on, detail)

    def _known(self, operation_id: str) -> Operation:
        operation = self._ledger.get(operation_id)
        if operation is None:
            raise NoSuchOperation
        return operation


def _refuse(operation: Operation) -> NoReturn:
    """Raise `OperationEnded` or `AttemptUnderWay`, the reason why an operation cannot be changed."""
    if operation.state.ended:
        raise OperationEnded(operation.state)
    raise AttemptUnderWay

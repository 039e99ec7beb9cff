"""Accept a submission: record it, try the CRM at once, or leave it to the worker. It knows no Flask and no Huey.

`Gateway.submit` is called by the web, `release` and `discard` by operators. Attempts are made by a
`crmgate.delivery.attempt.Delivery`, which the worker uses as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from crmgate import logs
from crmgate.delivery import identity
from crmgate.delivery.attempt import LEASE_MARGIN, Delivery, new_lease
from crmgate.delivery.outcome import Outcome
from crmgate.errors import KeyReused, LedgerUnavailable, NotAccepted, ProviderError, StillRunning
from crmgate.kinds import traits
from crmgate.model import Kind, Operation, State, new_id
from crmgate.store.audit import Entry
from crmgate.store.entries import Acceptance, Accepted, Claim, Once
from crmgate.store.ledger import Ledger

log = logging.getLogger(__name__)

SUSPECTS_KEPT = 1000
"""Number of suspected-bot submissions kept for review."""
REPEATS_SETTLE = 30.0
"""Seconds that Redis has to be away before a submission with an idempotency key is sent without a record. Its sender
sends again what got no answer: Redis may know an earlier request, and a worker or a dead process be at work on it."""


class Gateway:
    """Accepts submissions, records them and has the CRM tried at once where the caller asks for that."""

    def __init__(
        self, ledger: Ledger, delivery: Delivery, *,
        tell: Callable[..., None] = lambda *_, **__: None, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`tell` calls a listener hook by its name; `clock` gives seconds since the epoch."""
        self._ledger, self._delivery = ledger, delivery
        self._tell, self._clock = tell, clock
        self._away: tuple[float, float] | None = None
        """When this process first and last found the ledger unavailable, since it last was available."""

    def submit(
        self, kind: Kind, payload: dict[str, Any], *, inline: bool, key: str = "", repeats: float = 0.0,
        content: Any = None, suspect: bool = False, last_resort: bool = True,
    ) -> Operation:  # fmt: skip
        """Record an operation and, with `inline`, try the CRM at once within the inline budget.

        `kind` is `create_lead` (an application) or `create_minimal_lead` (a click): where the session in `payload` has
        a lead already, it becomes an update of that lead or an activity on it, after what came before it.

        The operation returned is `delivered`, or waits for the worker. With an idempotency `key` that was used before
        it is the earlier one; raises `KeyReused` or `StillRunning` where that cannot be. Without a key the same payload
        within `repeats` seconds is the same submission (a double click); `content` is compared in the payload's place
        where that holds more than the sender said. Raises `NotAccepted` when it is recorded nowhere and the CRM did not
        confirm it either, and `LedgerUnavailable` when it, or an earlier request with its key, may be recorded and so
        in a worker's hands: sending it from here as well could make it two leads (`REPEATS_SETTLE`). Without
        `last_resort` the CRM is not asked, and that is raised always.

        A `suspect` is kept aside until a person releases it, and nobody is told of it. The last `SUSPECTS_KEPT` are.
        """
        started = time.monotonic()
        operation = Operation(id=new_id(), kind=kind, payload=payload, accepted_at=self._clock())
        logs.bind(operation=operation.id)
        lease, until = (
            (new_lease(), operation.accepted_at + self._delivery.plan.inline_budget + LEASE_MARGIN)
            if inline
            else ("", 0.0)
        )
        try:
            accepted = self._accept(operation, lease, until, identity.once(operation, content, key, repeats), suspect)
        except LedgerUnavailable as error:
            if suspect:
                raise NotAccepted("The submission could not be stored.") from None
            if not (last_resort and self._sent_unrecorded(operation, error, inline=inline, repeated=bool(key))):
                raise
            return self._deliver_unrecorded(operation, started)
        self._away = None
        if accepted.id != operation.id:
            return self._again(accepted, operation, strict=bool(key))
        if suspect:
            self._forget_old_suspects()
            return replace(operation, state=State.SUSPECT)
        operation = replace(
            operation, kind=accepted.kind, lead_id=accepted.lead_id, state=_state(accepted.what)
        )  # fmt: skip
        self._tell("operation_accepted", operation=operation)
        if accepted.what is not Acceptance.LEASED:
            return operation
        claim = Claim(operation, lease, look_first=False, counted=0)
        outcome = self._delivery.attempt_claimed(
            claim, self._delivery.recipient, started + self._delivery.plan.inline_budget, wake=True
        )
        return _after(operation, outcome)

    def release(self, operation_id: str, audit: Entry | None = None) -> bool:
        """Try a dead letter, a suspect or a waiting operation now; False if it is none of them, or under way.

        `audit` is written in the same step. Raises `LedgerUnavailable`.
        """
        return self._ledger.release(operation_id, self._delivery.recipient, now=self._clock(), audit=audit)

    def discard(self, operation_id: str, reason: str, audit: Entry | None = None) -> bool:
        """End a dead letter, a suspect or a waiting operation without a delivery; False if it is none, or under way.

        `audit` is written in the same step. Raises `LedgerUnavailable`.
        """
        return self._ledger.discard(
            operation_id, self._delivery.recipient, now=self._clock(), reason=reason, audit=audit
        )

    def _forget_old_suspects(self) -> None:
        """So that a flood of them fills neither Redis nor the operator's list."""
        try:
            dropped = self._ledger.drop_suspects(SUSPECTS_KEPT, self._delivery.recipient, now=self._clock())
        except LedgerUnavailable as error:  # the next one does it
            log.warning("old suspects could not be dropped (%s)", error)
        else:
            if dropped:
                log.warning("%d suspects were dropped: only the last %d are kept", dropped, SUSPECTS_KEPT)

    def _again(self, accepted: Accepted, operation: Operation, *, strict: bool) -> Operation:
        """The operation that an earlier request made, whose key or content came again. Raises `LedgerUnavailable`."""
        logs.bind(operation=accepted.id)
        if accepted.what is Acceptance.CONFLICT:
            raise KeyReused
        if accepted.what is Acceptance.RUNNING and strict:
            raise StillRunning
        # The receipt of the lead on which this CRM could log no activity may have expired.
        return self._ledger.get(accepted.id) or replace(operation, id=accepted.id, state=State.DELIVERED)

    def _accept(self, operation: Operation, lease: str, until: float, once: Once | None, suspect: bool) -> Accepted:
        """Inline, the alarm waits for the lease to run out; else a worker is woken at once.

        Where it is not known whether Redis has it, Redis is asked again: not inline, where the lease keeps the workers
        away, and the time is better spent with the CRM.
        """
        alarm = until if lease else operation.accepted_at + LEASE_MARGIN
        follow = traits(operation.kind).with_lead
        session = identity.session(operation, follow if self._delivery.crm.supports(follow) else None)
        record = partial(
            self._ledger.accept, operation, self._delivery.recipient,
            alarm=alarm, lease=lease, until=until, once=once, session=session, suspect=suspect,
        )  # fmt: skip
        try:
            return record()
        except LedgerUnavailable as error:
            if lease or error.refused:
                raise
        try:
            return record()
        except LedgerUnavailable as error:
            raise LedgerUnavailable(str(error)) from None  # refused now, but perhaps not the first time

    def _sent_unrecorded(self, operation: Operation, error: LedgerUnavailable, *, inline: bool, repeated: bool) -> bool:
        """Whether an operation that could not be recorded is sent from here: nobody else can be at work on it."""
        now = self._clock()
        since, last = self._away or (now, now)
        if now - last > REPEATS_SETTLE:  # nobody looked for so long: it may have been there meanwhile
            since = now
        self._away = since, now
        if not (inline or error.refused):
            log.error("the ledger is unavailable (%s); it may hold operation %s or not", error, operation.id)
            return False
        if repeated and now < since + REPEATS_SETTLE:
            log.error("the ledger is unavailable (%s); operation %s may repeat an earlier one", error, operation.id)
            return False
        log.error("the ledger is unavailable (%s); operation %s is tried without a record", error, operation.id)
        return True

    def _deliver_unrecorded(self, operation: Operation, started: float) -> Operation:
        """The last resort while Redis is away: only the CRM's own confirmation may be answered with success."""
        try:
            delivered = self._delivery.crm.deliver(operation, self._budget_left(started))
        except ProviderError as error:
            log.error("operation %s was refused to the sender: no ledger, and the CRM failed: %s", operation.id, error)
            raise NotAccepted("The submission could not be stored.") from None
        log.warning("operation %s was delivered without a record", operation.id)
        return replace(operation, state=State.DELIVERED, delivered=delivered)

    def _budget_left(self, started: float) -> float:
        return max(self._delivery.plan.inline_budget - (time.monotonic() - started), 0.0)


def _state(what: Acceptance) -> State:
    """The state of an operation that was recorded just now. Raises `ValueError` where none was."""
    match what:
        case Acceptance.LEASED | Acceptance.ACCEPTED | Acceptance.EXISTS:
            return State.ACCEPTED
        case Acceptance.HELD | Acceptance.BEHIND:
            return State.WAITING
        case Acceptance.SUSPECT:
            return State.SUSPECT
        case Acceptance.REPLAY | Acceptance.RUNNING | Acceptance.CONFLICT:
            raise ValueError(f"{what} is about an earlier operation")
        case _:
            assert_never(what)


def _after(operation: Operation, outcome: Outcome) -> Operation:
    if outcome.delivered:
        return replace(operation, state=State.DELIVERED, delivered=outcome.delivered)
    return replace(operation, state=State.WAITING)

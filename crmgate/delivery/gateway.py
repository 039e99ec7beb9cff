"""Accepts a submission: records it, and attempts its delivery at once or leaves it to the worker.

It depends on neither Flask nor Huey. The web application calls `Gateway.submit`; operators' actions call `release` and
`discard`. `crmgate.delivery.attempt.Delivery` makes the attempts, here and in the worker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, assert_never

from crmgate import logs
from crmgate.delivery import identity
from crmgate.delivery.attempt import Delivery, new_lease
from crmgate.delivery.outcome import Outcome
from crmgate.delivery.plan import LEASE_MARGIN
from crmgate.errors import (
    KeyReused,
    LedgerUnavailable,
    NotAccepted,
    ProviderError,
    SpoolUnavailable,
    StillRunning,
    TooMany,
)
from crmgate.kinds import traits
from crmgate.model import Kind, Operation, State, Suspicion, new_id
from crmgate.store.audit import Entry
from crmgate.store.entries import Acceptance, Accepted, Claim, Once, Session
from crmgate.store.ledger import Ledger
from crmgate.store.limits import UNMETERED, Metered
from crmgate.store.spool import Spool, Spooled

log = logging.getLogger(__name__)

SUSPECTS_KEPT = 1000
"""Number of suspects kept for review."""
REPEATS_SETTLE = 30.0
"""Seconds for which Redis must have been unavailable before a submission with an idempotency key is sent unrecorded.

A sender repeats a request that got no answer: Redis may hold the earlier one, and another process may be delivering it.
"""


class Gateway:
    """Accepts submissions, records them, and attempts delivery at once if the caller asks for that."""

    def __init__(
        self, ledger: Ledger, delivery: Delivery, *,
        notify: Callable[..., None] = lambda *_, **__: None, clock: Callable[[], float] = time.monotonic,
        spool: Spool | None = None,
    ) -> None:  # fmt: skip
        """`notify` calls a listener hook by its name; `clock` measures how long Redis is unavailable, in seconds."""
        self._ledger, self._delivery, self._spool = ledger, delivery, spool
        self.on_spooled: Callable[[], None] = lambda: None
        """Called after a submission was put into the spool: starts the thread that drains it."""
        self._notify, self._clock = notify, clock
        self._away: tuple[float, float] | None = None
        """Times of the first and the latest failure of the ledger since it last worked, by `clock`."""

    def submit(
        self, kind: Kind, payload: dict[str, Any], *, inline: bool, key: str = "", repeats: float = 0.0,
        scope: str = "", content: Any = None, suspect: Suspicion | None = None, last_resort: bool = True,
        metered: Metered = UNMETERED,
    ) -> Operation:  # fmt: skip
        """Record an operation and, with `inline`, attempt its delivery at once within the inline budget.

        `kind` is `create_lead` (an application) or `create_minimal_lead` (a click). If the session in `payload` has a
        lead already, the operation becomes an update of that lead or an activity on it. Operations under way with the
        same session, email or phone go first.

        Returns the operation: it is delivered, or waits for the worker. If the idempotency `key` was used before,
        returns the earlier operation; raises `KeyReused` if its content differs, `StillRunning` if it is under way.
        The same key in another `scope` is another key. Without a key, the same payload within `repeats` seconds is the
        same submission (a double click). `content` is compared instead of a payload that holds more than the sender
        sent.

        While the ledger is unavailable, the operation goes into the spool of this host, and waits. So does one that
        would overtake an operation there with the same key, session, email or phone. Raises `NotAccepted` if the spool
        is full or cannot be written.

        Without a spool: raises `NotAccepted` if the operation is recorded nowhere and the CRM did not confirm it.
        Raises `LedgerUnavailable` if the operation, or an earlier request with its key, may be recorded: a worker may
        send it, so sending it here as well could create two leads (`REPEATS_SETTLE`). Without `last_resort` nothing is
        sent to the CRM while the ledger is unavailable, and `LedgerUnavailable` is raised.

        With the cause `suspect` it is kept until a person releases it, and no listener is called. The last
        `SUSPECTS_KEPT` are kept.

        The uses in `metered` are counted in the step that records the operation. Raises `TooMany` if it exceeds a
        limit that refuses; above a limit that does not refuse it is a suspect. While the ledger is unavailable, and for
        what goes into the spool, nothing is counted.
        """
        started = time.monotonic()
        operation = Operation(id=new_id(), kind=kind, payload=payload, accepted_at=time.time())  # until Redis dates it
        logs.bind(operation=operation.id)
        lease = new_lease() if inline else ""
        once = identity.once(operation, content, key, repeats, scope)
        entry = Spooled(operation, once, suspect)
        if self._would_overtake(entry):
            return self._put(entry)
        try:
            accepted = self._accept(entry, lease, metered)
        except LedgerUnavailable as error:
            if self._spools:
                log.error("the ledger is unavailable (%s); operation %s goes into the spool", error, operation.id)
                return self._put(entry)
            if suspect:
                raise NotAccepted("The submission could not be stored.") from None
            if not (last_resort and self._sent_unrecorded(operation, error, inline=inline, repeated=bool(key))):
                raise
            return self._deliver_unrecorded(operation, started)
        self._away = None
        if accepted.what is Acceptance.LIMITED:
            raise TooMany(accepted.wait)
        if accepted.id != operation.id:
            return self._again(accepted, operation, strict=bool(key))
        if accepted.what is Acceptance.SUSPECT:
            self._forget_old_suspects()
            return _recorded(operation, accepted, suspicion=suspect or Suspicion.OVER_LIMIT)
        return self._attempt(_recorded(operation, accepted), accepted, lease, started)

    def _attempt(self, operation: Operation, accepted: Accepted, lease: str, started: float) -> Operation:
        """Notify the listeners of a new operation, and make its first attempt if the caller has the lease."""
        self._notify("operation_accepted", operation=operation)
        if accepted.what is not Acceptance.LEASED:
            return operation
        claim = Claim(operation, lease, look_first=False, counted=0, at=accepted.at)
        outcome = self._delivery.attempt_claimed(
            claim, self._delivery.recipient, started + self._delivery.plan.inline_budget, wake=True
        )
        return _after(operation, outcome)

    def record_spooled(self, entry: Spooled) -> None:
        """Record a submission from the spool; a worker delivers it. A repetition of an earlier one ends here.

        If its idempotency key came with other content meanwhile, it is recorded without its key: it was accepted.
        Raises `LedgerUnavailable`.
        """
        waited = max(time.time() - entry.operation.accepted_at, 0.0)
        accepted = self._record(entry, once=entry.once_after(waited), waited=waited)
        if accepted.what is Acceptance.CONFLICT:
            log.warning(
                "operation %s from the spool has the idempotency key of operation %s, but other content:"
                " it is recorded without the key", entry.operation.id, accepted.id,
            )  # fmt: skip
            accepted = self._record(entry, once=None, waited=waited)
        if accepted.id != entry.operation.id:
            log.info("operation %s from the spool is the same as operation %s", entry.operation.id, accepted.id)
        elif entry.suspect:
            self._forget_old_suspects()
        else:
            self._notify("operation_accepted", operation=_recorded(entry.operation, accepted))

    def release(self, operation_id: str, audit: Entry | None = None) -> bool:
        """Try a dead letter, a suspect or a waiting operation now; False if it is none of them, or under way.

        `audit` is written in the same step. Raises `LedgerUnavailable`.
        """
        return self._ledger.release(operation_id, self._delivery.recipient, audit=audit)

    def discard(self, operation_id: str, reason: str, audit: Entry | None = None) -> bool:
        """End a dead letter, a suspect or a waiting operation without a delivery; False if it is none, or under way.

        `audit` is written in the same step. Raises `LedgerUnavailable`.
        """
        return self._ledger.discard(operation_id, self._delivery.recipient, reason=reason, audit=audit)

    def _forget_old_suspects(self) -> None:
        """Keep only the last `SUSPECTS_KEPT` suspects: a flood must fill neither Redis nor the operator's list."""
        try:
            dropped = self._ledger.drop_suspects(SUSPECTS_KEPT, self._delivery.recipient)
        except LedgerUnavailable as error:  # the next one does it
            log.warning("old suspects could not be dropped (%s)", error)
        else:
            if dropped:
                log.warning("%d suspects were dropped: only the last %d are kept", dropped, SUSPECTS_KEPT)

    def _again(self, accepted: Accepted, operation: Operation, *, strict: bool) -> Operation:
        """The operation of an earlier request with the same key or content.

        Raises `KeyReused`, `LedgerUnavailable`, and if `strict` also `StillRunning`.
        """
        logs.bind(operation=accepted.id)
        if accepted.what is Acceptance.CONFLICT:
            raise KeyReused
        if accepted.what is Acceptance.RUNNING and strict:
            raise StillRunning
        # The receipt of the lead on which this CRM could log no activity may have expired.
        return self._ledger.get(accepted.id) or replace(operation, id=accepted.id, state=State.DELIVERED)

    def _accept(self, entry: Spooled, lease: str, metered: Metered) -> Accepted:
        """Record the operation. With a lease its alarm is set to the end of the lease; else a worker is woken at once.

        If it is unknown whether Redis recorded the operation, it is recorded once more. With a lease it is not: no
        worker attempts the operation during the lease, and the time is better spent on the CRM. With a spool it is not
        either: the operation goes from there to Redis again, under the same id.
        """
        try:
            return self._record(entry, once=entry.once, lease=lease, metered=metered)
        except LedgerUnavailable as error:
            if lease or error.refused or self._spools:
                raise
        try:
            return self._record(entry, once=entry.once, lease=lease, metered=metered)
        except LedgerUnavailable as error:
            raise LedgerUnavailable(str(error)) from None  # refused now, but perhaps not the first time

    def _record(
        self, entry: Spooled, *, once: Once | None, lease: str = "", waited: float | None = None,
        metered: Metered = UNMETERED,
    ) -> Accepted:  # fmt: skip
        seconds = self._delivery.plan.inline_budget + LEASE_MARGIN
        operation = entry.operation
        people = identity.people(operation.payload)
        return self._ledger.accept(
            operation, self._delivery.recipient, alarm=seconds if lease else LEASE_MARGIN, lease=lease, seconds=seconds,
            once=once, session=self._session(operation, people), people=people,
            suspect=entry.suspect, waited=waited, metered=metered,
        )  # fmt: skip

    def _session(self, operation: Operation, people: Sequence[str]) -> Session | None:
        follow = traits(operation.kind).with_lead
        return identity.session(operation, follow if self._delivery.crm.supports(follow) else None, people)

    @property
    def _spools(self) -> bool:
        return self._spool is not None and self._spool.on

    def _marks(self, entry: Spooled) -> list[str]:
        """Digests by which a later submission is recognized as the same, or as one about the same person."""
        same = [entry.once.key] if entry.once else []
        people = identity.people(entry.operation.payload)
        if entry.suspect:  # nothing waits for a suspect, and it waits for nothing
            return [*same, *map(identity.of_suspect, people)]
        session = self._session(entry.operation, people)
        return [*same, *([session.key] if session else []), *people]

    def _would_overtake(self, entry: Spooled) -> bool:
        if self._spool is None or not self._spool.on:
            return False
        try:
            return not self._spool.empty() and self._spool.concerns(self._marks(entry))
        except SpoolUnavailable as error:
            log.error("%s", error)
            return False

    def _put(self, entry: Spooled) -> Operation:
        """Put a submission into the spool. Raises `NotAccepted`, and `KeyReused`."""
        assert self._spool is not None
        try:
            accepted = self._spool.put(entry, self._marks(entry))
        except SpoolUnavailable as error:
            log.error("operation %s was not accepted: %s", entry.operation.id, error)
            raise NotAccepted("The submission could not be stored.") from None
        self.on_spooled()
        logs.bind(operation=accepted.id)
        if accepted.what is Acceptance.CONFLICT:
            raise KeyReused
        state = State.SUSPECT if entry.suspect else State.WAITING
        return replace(entry.operation, id=accepted.id, accepted_at=accepted.at, state=state, suspicion=entry.suspect)

    def _sent_unrecorded(self, operation: Operation, error: LedgerUnavailable, *, inline: bool, repeated: bool) -> bool:
        """Whether to send an operation that could not be recorded: only if no other process can be sending it."""
        now = self._clock()
        since, last = self._away or (now, now)
        if now - last > REPEATS_SETTLE:  # no request for a while: Redis may have worked in between
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
        """Last resort while Redis is unavailable: send without a record. Only the CRM's confirmation is a success."""
        try:
            delivered = self._delivery.crm.deliver(operation, self._budget_left(started))
        except ProviderError as error:
            log.error("operation %s was not accepted: neither Redis nor the CRM took it: %s", operation.id, error)
            raise NotAccepted("The submission could not be stored.") from None
        log.warning("operation %s was delivered without a record", operation.id)
        return replace(operation, state=State.DELIVERED, delivered=delivered)

    def _budget_left(self, started: float) -> float:
        return max(self._delivery.plan.inline_budget - (time.monotonic() - started), 0.0)


def _recorded(operation: Operation, accepted: Accepted, suspicion: Suspicion | None = None) -> Operation:
    """The operation as the ledger has recorded it."""
    return Operation(
        operation.id, accepted.kind, operation.payload, accepted.at, _state(accepted.what), lead_id=accepted.lead_id,
        suspicion=suspicion,
    )  # fmt: skip


def _state(what: Acceptance) -> State:
    """The state of a newly recorded operation. Raises `ValueError` if no operation was recorded."""
    match what:
        case Acceptance.LEASED | Acceptance.ACCEPTED | Acceptance.EXISTS:
            return State.ACCEPTED
        case Acceptance.HELD | Acceptance.BEHIND:
            return State.WAITING
        case Acceptance.SUSPECT:
            return State.SUSPECT
        case Acceptance.REPLAY | Acceptance.RUNNING | Acceptance.CONFLICT | Acceptance.LIMITED:
            raise ValueError(f"{what}: no operation was recorded")
        case _:
            assert_never(what)


def _after(operation: Operation, outcome: Outcome) -> Operation:
    if outcome.delivered:
        return replace(operation, state=State.DELIVERED, delivered=outcome.delivered)
    return replace(operation, state=State.WAITING)

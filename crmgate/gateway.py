"""The heart: accept a submission, attempt it, hand it over to the worker. It knows no Flask and no Huey.

`submit` is called by the web, `attempt` and `bury` by the worker. An operation is attempted by whoever holds its lease,
and what became of an attempt is written down in one atomic step; so a process may die at any line of this file and the
operation is found again by its alarm.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from crmgate.errors import KeyReused, LedgerUnavailable, NotAccepted, OutcomeUnknown, ProviderError, StillRunning
from crmgate.ledger import Claim, Ledger, NotClaimed, Once, Recipient
from crmgate.model import Attempt, Delivered, Kind, Operation, State, new_id
from crmgate.policy import PROBE_INTERVAL, Dead, Pause, Retry, Verdict, decide

log = logging.getLogger(__name__)

KEY_SECONDS = 24 * 3600
"""How long an idempotency key is remembered."""
LEASE_MARGIN = 5.0
"""Seconds between the end of an attempt's time budget and the end of its lease."""


class Crm(Protocol):
    """The active provider, as the gateway needs it."""

    @property
    def name(self) -> str: ...
    @property
    def credentials(self) -> str: ...
    def deliver(self, operation: Operation, budget: float) -> Delivered: ...
    def find(self, operation: Operation, budget: float) -> Delivered | None: ...


@dataclass(frozen=True)
class Plan:
    """How attempts are made: seconds for the inline one and for one in the worker, and the waits between them."""

    inline_budget: float
    worker_budget: float
    retry_delays: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. `verdict` is None where none was made, and then `reason` says why."""

    verdict: Verdict | None
    reason: str = ""
    delivered: Delivered | None = None
    error: ProviderError | None = None


class Gateway:
    """Accepts operations and brings them to the CRM."""

    def __init__(
        self, ledger: Ledger, crm: Crm, plan: Plan, *,
        tell: Callable[..., None] = lambda *_, **__: None,
        clock: Callable[[], float] = time.time, rng: random.Random | None = None,
    ) -> None:  # fmt: skip
        self.ledger, self.crm, self.plan = ledger, crm, plan
        self._tell, self._clock, self._rng = tell, clock, rng or random.Random()  # noqa: S311
        self._reported: set[tuple[str, str]] = set()
        self._to = Recipient(crm.name, crm.credentials)

    def submit(
        self, kind: Kind, payload: dict[str, Any], *, inline: bool, key: str = "", repeats: float = 0.0
    ) -> Operation:
        """Record an operation and, with `inline`, try the CRM at once within the inline budget.

        The operation returned is `delivered`, or waits for the worker. With an idempotency `key` that was used before
        it is the earlier one; raises `KeyReused` or `StillRunning` where that cannot be. Without a key the same payload
        within `repeats` seconds is the same submission (a double click). Raises `NotAccepted` when it is recorded
        nowhere and the CRM did not confirm it either.
        """
        started = time.monotonic()
        operation = Operation(id=new_id(), kind=kind, payload=payload, accepted_at=self._clock())
        lease, until = (
            (_lease(), operation.accepted_at + self._lease_seconds(self.plan.inline_budget)) if inline else ("", 0.0)
        )
        try:
            accepted, known = self._accept(operation, lease, until, _once(operation, key, repeats))
        except LedgerUnavailable as error:
            log.error("the ledger is unavailable (%s); operation %s is tried without a record", error, operation.id)
            return self._deliver_unrecorded(operation, started)
        if known != operation.id:
            return self._again(accepted, known, strict=bool(key))
        self._tell("operation_accepted", operation=operation)
        if accepted != "leased":
            return operation
        claim = Claim(operation, lease, look_first=False, counted=0)
        outcome = self._attempt(claim, self._budget_left(started), wake=True)
        return _after(operation, outcome)

    def attempt(self, operation_id: str) -> Outcome:
        """Try an operation, if it is due and nobody else has it in hand. Raises `LedgerUnavailable`."""
        seconds = self._lease_seconds(self.plan.worker_budget)
        claim = self.ledger.claim(
            operation_id, self._to, _lease(), now=self._clock(), seconds=seconds, probe=PROBE_INTERVAL
        )
        if isinstance(claim, NotClaimed):
            return Outcome(None, claim.reason)
        return self._attempt(claim, self.plan.worker_budget, wake=False)

    def bury(self, operation_id: str) -> bool:
        """Make a dead letter of an operation that ran out of retries; False if it is one already."""
        if not self.ledger.bury(operation_id, now=self._clock()):
            return False
        operation = self.ledger.get(operation_id)
        if operation:
            log.error("dead letter: operation %s", operation_id)
            self._tell("operation_dead", operation=operation)
        return True

    def _again(self, what: str, operation_id: str, *, strict: bool) -> Operation:
        """The operation that an earlier request made, whose key or content came again. Raises `LedgerUnavailable`."""
        if what == "conflict":
            raise KeyReused
        if what == "running" and strict:
            raise StillRunning
        earlier = self.ledger.get(operation_id)
        assert earlier is not None, "the script has just seen it"
        return earlier

    def _accept(self, operation: Operation, lease: str, until: float, once: Once | None) -> tuple[str, str]:
        """Inline, the alarm waits for the lease to run out; else a worker is woken at once."""
        alarm = (until if lease else operation.accepted_at) + LEASE_MARGIN
        return self.ledger.accept(operation, self._to, alarm=alarm, lease=lease, until=until, once=once)

    def _deliver_unrecorded(self, operation: Operation, started: float) -> Operation:
        """The last resort while Redis is away: only the CRM's own confirmation may be answered with success."""
        try:
            delivered = self.crm.deliver(operation, self._budget_left(started))
        except ProviderError as error:
            log.error("operation %s was refused to the sender: no ledger, and the CRM failed: %s", operation.id, error)
            raise NotAccepted("The submission could not be stored.") from None
        log.warning("operation %s was delivered without a record", operation.id)
        return replace(operation, state=State.DELIVERED, delivered=delivered)

    def _attempt(self, claim: Claim, budget: float, *, wake: bool) -> Outcome:
        """Send it, decide, write it down. With `wake` the next attempt is scheduled by this process."""
        at, begun = self._clock(), time.monotonic()
        delivered, error = self._send(claim, budget)
        attempt = _attempt_record(self.crm.name, at, time.monotonic() - begun, error)
        verdict = decide(error, claim.counted + 1, self.plan.retry_delays, self._clock(), self._rng)
        attempt = replace(attempt, counted=not isinstance(verdict, Pause))
        outcome = Outcome(verdict, delivered=delivered, error=error)
        try:
            written = self._write_down(claim, outcome, attempt, wake)
        except LedgerUnavailable as failure:
            # The lease runs out and the next attempt looks in the CRM first.
            log.error("operation %s: its outcome could not be recorded (%s)", claim.operation.id, failure)
            return outcome
        log.info("operation %s: %s in %.3f s", claim.operation.id, error or "delivered", attempt.duration)
        if written in ("lost", "ended"):
            return Outcome(None, written, delivered, error)
        self._announce(claim.operation, outcome, written)
        return outcome

    def _announce(self, operation: Operation, outcome: Outcome, written: str) -> None:
        """Tell the listeners what became of an attempt. A pause is told once, however many operations it holds back."""
        if outcome.delivered:
            self._report(outcome.delivered)
            self._tell("operation_delivered", operation=operation, delivered=outcome.delivered)
        if written == "paused":
            log.error("provider %s is paused: %s", self.crm.name, outcome.error)
            self._tell("provider_paused", provider=self.crm.name, error=outcome.error)
        if written == "recovered":
            log.warning("provider %s works again", self.crm.name)
            self._tell("provider_recovered", provider=self.crm.name)

    def _report(self, delivered: Delivered) -> None:
        """Warn of fields that the CRM dropped or refused: once for each, since every lead meets the same trouble."""
        for trouble, names in (("does not keep", delivered.dropped), ("refused a value of", delivered.moved)):
            for name in names:
                if (trouble, name) not in self._reported:
                    self._reported.add((trouble, name))
                    log.warning("%s %s the field %s: see `crmgate crm fields`", delivered.provider, trouble, name)

    def _send(self, claim: Claim, budget: float) -> tuple[Delivered | None, ProviderError | None]:
        deadline = time.monotonic() + budget
        try:
            found = self.crm.find(claim.operation, budget) if claim.look_first else None
            return found or self.crm.deliver(claim.operation, deadline - time.monotonic()), None
        except ProviderError as error:
            return None, error

    def _write_down(self, claim: Claim, outcome: Outcome, attempt: Attempt, wake: bool) -> str:
        look = isinstance(outcome.error, OutcomeUnknown) or claim.look_first
        match outcome.verdict:
            case Retry(at):
                return self.ledger.record_waiting(claim, self._to, attempt, due=at, look=look, wake=wake)
            case Pause(until):
                return self.ledger.record_waiting(claim, self._to, attempt, due=until, look=look, paused=True)
            case Dead():
                return self.ledger.record_dead(claim, self._to, attempt, now=self._clock(), look=look, wake=wake)
        assert outcome.delivered is not None
        return self.ledger.record_delivered(claim, self._to, attempt, outcome.delivered)

    def _lease_seconds(self, budget: float) -> float:
        return budget + LEASE_MARGIN

    def _budget_left(self, started: float) -> float:
        return max(self.plan.inline_budget - (time.monotonic() - started), 0.0)


def _once(operation: Operation, key: str, repeats: float) -> Once | None:
    """How a submission is known again: by its key for a day, else by its content for `repeats` seconds."""
    content = json.dumps([operation.kind, operation.payload], sort_keys=True, ensure_ascii=False)
    digest = _digest(content)
    if key:
        return Once(_digest(f"key {key}"), digest, KEY_SECONDS)
    return Once(_digest(f"content {content}"), digest, round(repeats)) if repeats else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _lease() -> str:
    return uuid.uuid4().hex


def _attempt_record(provider: str, at: float, duration: float, error: ProviderError | None) -> Attempt:
    if error is None:
        return Attempt(at, round(duration, 3), provider, "delivered")
    return Attempt(
        at, round(duration, 3), provider, "failed", error.code, error.status, error.vendor_code, error.detail
    )  # fmt: skip


def _after(operation: Operation, outcome: Outcome) -> Operation:
    if outcome.delivered:
        return replace(operation, state=State.DELIVERED, delivered=outcome.delivered)
    return replace(operation, state=State.WAITING)

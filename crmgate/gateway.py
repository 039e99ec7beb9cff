"""The heart: accept a submission, attempt it, hand it over to the worker. It knows no Flask and no Huey.

`submit` is called by the web, `attempt`, `bury`, `tend` and `probe` by the worker. An operation is attempted by whoever
holds its lease, and what became of an attempt is written down in one atomic step; so a process may die at any line of
this file and the operation is found again by its alarm.
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
from functools import partial
from typing import Any, Protocol

from crmgate import logs
from crmgate.breaker import Rate, Recipient
from crmgate.entries import Accepted, Claim, NotClaimed, Once, Result, Session, Swept
from crmgate.errors import (
    Code,
    KeyReused,
    LedgerUnavailable,
    NotAccepted,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    StillRunning,
    Unsettled,
    Unsupported,
)
from crmgate.ledger import Ledger, idempotency_key
from crmgate.model import Attempt, Connection, Delivered, Kind, Operation, State, new_id
from crmgate.policy import PROBE_INTERVAL, SETTLE_SECONDS, Dead, Pause, Retry, Verdict, decide, is_outage

log = logging.getLogger(__name__)

KEY_SECONDS = 24 * 3600
"""How long an idempotency key is remembered."""
LEASE_MARGIN = 2.0
"""Seconds between the end of an attempt's time budget and the end of its lease."""
SUSPECTS_KEPT = 1000
"""What looks like the work of a bot is kept for a person to look at, so many of them."""
SWEEP_AGAIN = 8.0
"""Seconds until an operation that was swept up, and still waits, is swept up again."""
FOLLOWS = {Kind.CREATE_LEAD: Kind.UPDATE_LEAD, Kind.CREATE_MINIMAL_LEAD: Kind.LOG_ACTIVITY}
"""What becomes of an operation whose session has a lead already."""


class Crm(Protocol):
    """A provider, as the gateway needs it. `used`: the requests that this thread sent since it asked last."""

    @property
    def name(self) -> str: ...
    @property
    def credentials(self) -> str: ...
    @property
    def rate(self) -> Rate | None: ...
    def supports(self, kind: str) -> bool: ...
    def used(self) -> int: ...
    def test_connection(self, budget: float) -> Connection: ...
    def deliver(self, operation: Operation, budget: float) -> Delivered: ...
    def find(self, operation: Operation, budget: float) -> Delivered | None: ...


@dataclass(frozen=True)
class Plan:
    """How attempts are made: seconds for the inline one and for one in the worker, the waits between them, and how many
    run at once (0: no limit)."""

    inline_budget: float
    worker_budget: float
    retry_delays: tuple[float, ...]
    most: int = 0


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
        others: Callable[[str], Crm | None] = lambda _name: None,
        tell: Callable[..., None] = lambda *_, **__: None,
        clock: Callable[[], float] = time.time, rng: random.Random | None = None,
    ) -> None:  # fmt: skip
        self.ledger, self.crm, self.plan = ledger, crm, plan
        self._others, self._tell, self._clock = others, tell, clock
        self._rng = rng or random.Random()  # noqa: S311
        self._reported: set[tuple[str, str]] = set()
        self.to = Recipient(crm.name, crm.credentials, plan.most, crm.rate)
        self._gates: dict[str, tuple[Crm | None, Recipient]] = {crm.name: (crm, self.to)}

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
        confirm it either, and `LedgerUnavailable` when it may be recorded and so in a worker's hands: sending it from
        here as well could make it two leads. Without `last_resort` the CRM is not asked, and that is raised always.

        A `suspect` is kept aside until a person releases it, and nobody is told of it. The last `SUSPECTS_KEPT` are.
        """
        started = time.monotonic()
        operation = Operation(id=new_id(), kind=kind, payload=payload, accepted_at=self._clock())
        logs.bind(operation=operation.id)
        lease, until = (
            (_lease(), operation.accepted_at + self._lease_seconds(self.plan.inline_budget)) if inline else ("", 0.0)
        )
        try:
            accepted = self._accept(operation, lease, until, _once(operation, content, key, repeats), suspect)
        except LedgerUnavailable as error:
            if suspect:
                raise NotAccepted("The submission could not be stored.") from None
            if not last_resort:
                raise
            if not (inline or error.refused):
                log.error("the ledger is unavailable (%s); it may hold operation %s or not", error, operation.id)
                raise
            log.error("the ledger is unavailable (%s); operation %s is tried without a record", error, operation.id)
            return self._deliver_unrecorded(operation, started)
        if accepted.id != operation.id:
            return self._again(accepted, operation, strict=bool(key))
        if suspect:
            self._forget_old_suspects()
            return replace(operation, state=State.SUSPECT)
        state = State.WAITING if accepted.what in ("held", "behind") else operation.state
        operation = replace(operation, kind=accepted.kind, lead_id=accepted.lead_id, state=state)
        self._tell("operation_accepted", operation=operation)
        if accepted.what != "leased":
            return operation
        claim = Claim(operation, lease, look_first=False, counted=0)
        outcome = self._attempt(claim, self.to, self._budget_left(started), wake=True)
        return _after(operation, outcome)

    def attempt(self, operation_id: str) -> Outcome:
        """Try an operation, if it is due and nobody else has it in hand. Raises `LedgerUnavailable`."""
        claim, to = self._claim(operation_id, self.to), self.to
        if isinstance(claim, NotClaimed) and claim.reason == "elsewhere":
            to = self._gate(claim.more)
            claim = self._claim(operation_id, to)
        if isinstance(claim, NotClaimed):
            return Outcome(None, claim.reason)
        return self._attempt(claim, to, self.plan.worker_budget, wake=False)

    def tend(self) -> tuple[Swept, list[str]]:
        """Wake what is due, return what may return. What was done, and the names of the providers to `probe`.

        Raises `LedgerUnavailable`.
        """
        now, woken, returned, doubtful = self._clock(), 0, 0, list[str]()
        for name, (_, to) in list(self._gates.items()):
            swept = self.ledger.sweep(to, now=now, again=now + SWEEP_AGAIN)
            woken, returned = woken + swept.woken, returned + swept.returned
            doubtful += [name] if swept.probe else []
        if returned:
            log.warning("%d dead letters of an outage went back to those that wait", returned)
        return Swept(woken, returned, bool(doubtful)), doubtful

    def probe(self, name: str) -> bool:
        """Ask a provider of `tend` whether it works again; what waited for it goes on if so.

        Raises `LedgerUnavailable`.
        """
        crm, to = self._gates[name]
        if crm is None:
            return False
        crm.used()
        found = crm.test_connection(self.plan.worker_budget)
        told = self.ledger.record_probe(
            to, now=self._clock(), ok=found.connected, refused=found.refused, pause=PROBE_INTERVAL, used=crm.used()
        )
        log.info("probe of provider %s: %s", name, "it works" if found.connected else "it does not work yet")
        if told == "recovered":
            self._recovered(name)
        return found.connected

    def resume(self) -> str:
        """Have the provider asked again at once; what shut it, empty if it was open. Raises `LedgerUnavailable`."""
        return self.ledger.resume(self.to, now=self._clock())

    def release(self, operation_id: str) -> bool:
        """Try a dead letter again, or a suspect at all; False if it is neither. Raises `LedgerUnavailable`."""
        return self.ledger.release(operation_id, self.to, now=self._clock())

    def discard(self, operation_id: str, reason: str) -> bool:
        """End a dead letter or a suspect without a delivery; False if it is neither. Raises `LedgerUnavailable`."""
        return self.ledger.discard(operation_id, now=self._clock(), reason=reason)

    def _forget_old_suspects(self) -> None:
        """So that a flood of them fills neither Redis nor the operator's list."""
        try:
            dropped = self.ledger.drop_suspects(SUSPECTS_KEPT, now=self._clock())
        except LedgerUnavailable as error:  # the next one does it
            log.warning("old suspects could not be dropped (%s)", error)
        else:
            if dropped:
                log.warning("%d suspects were dropped: only the last %d are kept", dropped, SUSPECTS_KEPT)

    def bury(self, operation_id: str) -> bool:
        """Make a dead letter of an operation that ran out of retries; False if it is one already."""
        if not self.ledger.bury(operation_id, now=self._clock()):
            return False
        operation = self.ledger.get(operation_id)
        if operation:
            log.error("dead letter: operation %s", operation_id)
            self._tell("operation_dead", operation=operation)
        return True

    def _gate(self, name: str) -> Recipient:
        """A CRM that is not the active one: records in it are still to be changed."""
        if name not in self._gates:
            crm = self._others(name)
            credentials, rate = (crm.credentials, crm.rate) if crm else ("", None)
            self._gates[name] = crm, Recipient(name, credentials, self.plan.most, rate, active=False)
        return self._gates[name][1]

    def _claim(self, operation_id: str, to: Recipient) -> Claim | NotClaimed:
        seconds = self._lease_seconds(self.plan.worker_budget)
        return self.ledger.claim(
            operation_id, to, _lease(), now=self._clock(), seconds=seconds, pause=PROBE_INTERVAL
        )  # fmt: skip

    def _again(self, accepted: Accepted, operation: Operation, *, strict: bool) -> Operation:
        """The operation that an earlier request made, whose key or content came again. Raises `LedgerUnavailable`."""
        logs.bind(operation=accepted.id)
        if accepted.what == "conflict":
            raise KeyReused
        if accepted.what == "running" and strict:
            raise StillRunning
        # There may be no receipt any more of the lead on which this CRM could log no activity.
        return self.ledger.get(accepted.id) or replace(operation, id=accepted.id, state=State.DELIVERED)

    def _accept(self, operation: Operation, lease: str, until: float, once: Once | None, suspect: bool) -> Accepted:
        """Inline, the alarm waits for the lease to run out; else a worker is woken at once.

        Where it is not known whether Redis has it, Redis is asked again: not inline, where the lease keeps the workers
        away, and the time is better spent with the CRM.
        """
        alarm = until if lease else operation.accepted_at + LEASE_MARGIN
        session = self._session(operation)
        record = partial(
            self.ledger.accept, operation, self.to,
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

    def _session(self, operation: Operation) -> Session | None:
        payload = operation.payload
        if not payload.get("session"):
            return None
        follow = FOLLOWS[Kind(operation.kind)]
        who = (str(payload.get(name) or "").lower() for name in ("email", "phone"))
        return Session(
            _digest(f"session {payload['session']}"), tuple(_digest(f"who {word}") for word in who if word),
            follow if self.crm.supports(follow) else "",
        )  # fmt: skip

    def _deliver_unrecorded(self, operation: Operation, started: float) -> Operation:
        """The last resort while Redis is away: only the CRM's own confirmation may be answered with success."""
        try:
            delivered = self.crm.deliver(operation, self._budget_left(started))
        except ProviderError as error:
            log.error("operation %s was refused to the sender: no ledger, and the CRM failed: %s", operation.id, error)
            raise NotAccepted("The submission could not be stored.") from None
        log.warning("operation %s was delivered without a record", operation.id)
        return replace(operation, state=State.DELIVERED, delivered=delivered)

    def _attempt(self, claim: Claim, to: Recipient, budget: float, *, wake: bool) -> Outcome:
        """Send it, decide, write it down. With `wake` the next attempt is scheduled by this process."""
        crm = self._gates[to.provider][0]
        at, begun = self._clock(), time.monotonic()
        delivered, error, used = self._send(claim, crm, budget)
        duration = time.monotonic() - begun
        verdict = decide(error, claim.counted + 1, self.plan.retry_delays, self._clock(), self._rng)
        outcome = Outcome(verdict, delivered=delivered, error=error)
        counted = not isinstance(verdict, Pause) and not isinstance(error, Unsettled)
        result = _result(_attempt_record(to.provider, at, duration, error, counted=counted), used, error)
        try:
            written = self._write_down(claim, to, outcome, result, wake)
        except LedgerUnavailable as failure:
            # The lease runs out and the next attempt looks in the CRM first.
            log.error("operation %s: its outcome could not be recorded (%s)", claim.operation.id, failure)
            return Outcome(None, "unrecorded", delivered, error)
        log.info("operation %s: %s in %.3f s", claim.operation.id, error or "delivered", duration)
        if written in ("lost", "ended"):
            return Outcome(None, written, delivered, error)
        self._announce(claim.operation, to.provider, outcome, written)
        return outcome

    def _announce(self, operation: Operation, provider: str, outcome: Outcome, written: str) -> None:
        """Tell the listeners what became of an attempt. A pause is told once, however many operations it holds back."""
        if outcome.delivered:
            self._report(outcome.delivered)
            self._tell("operation_delivered", operation=operation, delivered=outcome.delivered)
        if written in ("paused", "opened"):
            log.error("provider %s is paused: %s", provider, outcome.error)
            self._tell("provider_paused", provider=provider, error=outcome.error)
        if written == "recovered":
            self._recovered(provider)

    def _recovered(self, provider: str) -> None:
        log.warning("provider %s works again", provider)
        self._tell("provider_recovered", provider=provider)

    def _report(self, delivered: Delivered) -> None:
        """Warn of fields that the CRM dropped or refused: once for each, since every lead meets the same trouble."""
        for trouble, names in (("does not keep", delivered.dropped), ("refused a value of", delivered.moved)):
            for name in names:
                if (trouble, name) not in self._reported:
                    self._reported.add((trouble, name))
                    log.warning("%s %s the field %s: see `crmgate crm fields`", delivered.provider, trouble, name)

    def _send(
        self, claim: Claim, crm: Crm | None, budget: float
    ) -> tuple[Delivered | None, ProviderError | None, int]:  # fmt: skip
        """What the CRM confirmed, or what went wrong; and the number of requests."""
        if crm is None:
            return None, _not_configured(claim.operation), 0
        deadline = time.monotonic() + budget
        crm.used()
        try:
            found = crm.find(claim.operation, budget) if claim.look_first else None
            if not found and claim.look_first and (wait := claim.settles_at - self._clock()) > 0:
                return None, _unsettled(wait, crm.name), crm.used()
            return found or crm.deliver(claim.operation, deadline - time.monotonic()), None, crm.used()
        except ProviderError as error:
            return None, error, crm.used()

    def _write_down(self, claim: Claim, to: Recipient, outcome: Outcome, result: Result, wake: bool) -> str:
        look = isinstance(outcome.error, OutcomeUnknown) or claim.look_first
        match outcome.verdict:
            case Retry(at):
                return self.ledger.record_waiting(claim, to, result, due=at, look=look, wake=wake)
            case Pause(until):
                return self.ledger.record_waiting(claim, to, result, due=until, look=look, paused=True)
            case Dead():
                return self.ledger.record_dead(claim, to, result, now=self._clock(), look=look, wake=wake)
        assert outcome.delivered is not None
        return self.ledger.record_delivered(claim, to, result, outcome.delivered)

    def _lease_seconds(self, budget: float) -> float:
        return budget + LEASE_MARGIN

    def _budget_left(self, started: float) -> float:
        return max(self.plan.inline_budget - (time.monotonic() - started), 0.0)


def _once(operation: Operation, said: Any, key: str, repeats: float) -> Once | None:
    """How a submission is known again: by its key for a day, else by its content for `repeats` seconds."""
    said = operation.payload if said is None else said
    content = json.dumps([operation.kind, said], sort_keys=True, ensure_ascii=False)
    digest = _digest(content)
    if key:
        return Once(_key_digest(key), digest, KEY_SECONDS)
    return Once(_digest(f"content {content}"), digest, round(repeats)) if repeats else None


def known_by(key: str) -> str:
    """The name in Redis of what is remembered of an idempotency key."""
    return idempotency_key(_key_digest(key))


def _key_digest(key: str) -> str:
    return _digest(f"key {key}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _lease() -> str:
    return uuid.uuid4().hex


def _attempt_record(
    provider: str, at: float, duration: float, error: ProviderError | None, *, counted: bool
) -> Attempt:  # fmt: skip
    if error is None:
        return Attempt(at, round(duration, 3), provider, "delivered")
    return Attempt(
        at, round(duration, 3), provider, "failed", error.code, error.status, error.vendor_code, error.detail, counted
    )  # fmt: skip


def _result(attempt: Attempt, used: int, error: ProviderError | None) -> Result:
    return Result(
        attempt, used,
        outage=error is not None and is_outage(error),
        floor=error is not None and error.retry_after is not None,
        limited=isinstance(error, RateLimited),
        settles_at=_settles_at(attempt, error),
    )  # fmt: skip


def _settles_at(attempt: Attempt, error: ProviderError | None) -> float:
    ended = attempt.at + attempt.duration
    if isinstance(error, Unsettled):
        return ended + (error.retry_after or 0.0)
    late = isinstance(error, OutcomeUnknown) and error.code == Code.TIMEOUT
    return ended + SETTLE_SECONDS if late else 0.0


def _unsettled(wait: float, provider: str) -> Unsettled:
    detail = "not found, but the CRM may still be at work on the request that ran into the time limit"
    return Unsettled(detail, code=Code.TIMEOUT, retry_after=wait, provider=provider)


def _not_configured(operation: Operation) -> Unsupported:
    detail = (
        f"The record to change is in the CRM {operation.provider!r}, which is not configured any more. Set it up again"
        " and release this dead letter, or discard it."
    )
    return Unsupported(detail, provider=operation.provider, operation=operation.id)


def _after(operation: Operation, outcome: Outcome) -> Operation:
    if outcome.delivered:
        return replace(operation, state=State.DELIVERED, delivered=outcome.delivered)
    return replace(operation, state=State.WAITING)

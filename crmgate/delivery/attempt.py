"""One attempt at a CRM: take the lease, look or send, decide, write down.

An operation is attempted by whoever holds its lease, and what became of an attempt is written down in one atomic step;
so a process may die at any line of this file and the operation is found again by its alarm.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

from crmgate.errors import (
    Code,
    LedgerUnavailable,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Unsettled,
    Unsupported,
)
from crmgate.model import Connection, Delivered, Event, EventType, Kind, Operation, Rate
from crmgate.policy import PROBE_INTERVAL, SETTLE_SECONDS, Dead, Done, Pause, Retry, Verdict, decide, is_outage
from crmgate.store.entries import Claim, NoClaim, NotClaimed, Recorded, Result, Swept
from crmgate.store.gate import Cause, Recipient
from crmgate.store.ledger import Ledger

log = logging.getLogger(__name__)

SWEEP_AGAIN = 8.0
"""Seconds until an operation that was swept up, and still waits, is swept up again."""
LEASE_MARGIN = 2.0
"""Seconds between the end of an attempt's time budget and the end of its lease."""


class Crm(Protocol):
    """A provider, as the gateway needs it. `used`: the requests that this thread sent since it asked last."""

    @property
    def name(self) -> str: ...
    @property
    def credentials(self) -> str: ...
    @property
    def rate(self) -> Rate | None: ...
    def supports(self, kind: Kind) -> bool: ...
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


Reason = NoClaim | Literal[Recorded.LOST, Recorded.ENDED, "unrecorded", ""]
"""Why an attempt has no verdict: it was not made, or what became of it is not recorded."""


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt. Without a `verdict`, `reason` says why there is none."""

    verdict: Verdict | None
    reason: Reason = ""
    delivered: Delivered | None = None
    error: ProviderError | None = None


class Delivery:
    """Attempts operations at the active CRM, and at others that hold records which operations are about."""

    def __init__(
        self, ledger: Ledger, crm: Crm, plan: Plan, *,
        others: Callable[[str], Crm | None] = lambda _name: None,
        tell: Callable[..., None] = lambda *_, **__: None,
        clock: Callable[[], float] = time.time, rng: random.Random | None = None,
    ) -> None:  # fmt: skip
        self._ledger, self.crm, self.plan = ledger, crm, plan
        self._others, self._tell, self._clock = others, tell, clock
        self._rng = rng or random.Random()  # noqa: S311
        self._reported: set[tuple[str, str]] = set()
        self.recipient = Recipient(crm.name, crm.credentials, plan.most, crm.rate)
        self._gates: dict[str, tuple[Crm | None, Recipient]] = {crm.name: (crm, self.recipient)}

    def attempt(self, operation_id: str) -> Outcome:
        """Try an operation, if it is due and nobody else has it in hand. Raises `LedgerUnavailable`."""
        claim, to = self._claim(operation_id, self.recipient), self.recipient
        if isinstance(claim, NotClaimed) and claim.reason is NoClaim.ELSEWHERE:
            to = self._gate(claim.more)
            claim = self._claim(operation_id, to)
        if isinstance(claim, NotClaimed):
            return Outcome(None, claim.reason)
        return self.attempt_claimed(claim, to, self.plan.worker_budget, wake=False)

    def probe(self, name: str) -> bool:
        """Ask a provider of `tend` whether it works again; what waited for it goes on if so.

        Raises `LedgerUnavailable`.
        """
        crm, to = self._gates[name]
        if crm is None:
            return False
        crm.used()
        found = crm.test_connection(self.plan.worker_budget)
        told = self._ledger.record_probe(
            to, now=self._clock(), ok=found.connected, refused=found.refused, pause=PROBE_INTERVAL, used=crm.used()
        )
        log.info("probe of provider %s: %s", name, "it works" if found.connected else "it does not work yet")
        if told is Recorded.RECOVERED:
            self._recovered(name)
        return found.connected

    def tend(self) -> tuple[Swept, list[str]]:
        """Wake what is due, return what may return. What was done, and the names of the providers to `probe`.

        Raises `LedgerUnavailable`.
        """
        now, woken, returned, doubtful = self._clock(), 0, 0, list[str]()
        for name, (_, to) in list(self._gates.items()):
            swept = self._ledger.sweep(to, now=now, again=now + SWEEP_AGAIN)
            woken, returned = woken + swept.woken, returned + swept.returned
            doubtful += [name] if swept.probe else []
        if returned:
            log.warning("%d dead letters of an outage went back to those that wait", returned)
        return Swept(woken, returned, bool(doubtful)), doubtful

    def bury(self, operation_id: str) -> bool:
        """Make a dead letter of an operation that ran out of retries; False if it is one already."""
        if not self._ledger.bury(operation_id, now=self._clock()):
            return False
        operation = self._ledger.get(operation_id)
        if operation:
            log.error("dead letter: operation %s", operation_id)
            self._tell("operation_dead", operation=operation)
        return True

    def resume(self) -> Cause | None:
        """Have the provider asked again at once; what shut it, None if it was open. Raises `LedgerUnavailable`."""
        return self._ledger.resume(self.recipient, now=self._clock())

    def _gate(self, name: str) -> Recipient:
        """A CRM that is not the active one: records in it are still to be changed."""
        if name not in self._gates:
            crm = self._others(name)
            credentials, rate = (crm.credentials, crm.rate) if crm else ("", None)
            self._gates[name] = crm, Recipient(name, credentials, self.plan.most, rate, active=False)
        return self._gates[name][1]

    def _claim(self, operation_id: str, to: Recipient) -> Claim | NotClaimed:
        seconds = self.plan.worker_budget + LEASE_MARGIN
        return self._ledger.claim(operation_id, to, new_lease(), now=self._clock(), seconds=seconds)

    def attempt_claimed(self, claim: Claim, to: Recipient, budget: float, *, wake: bool) -> Outcome:
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
        if written is Recorded.LOST or written is Recorded.ENDED:
            return Outcome(None, written, delivered, error)
        if delivered:
            self._report(delivered)
            self._tell("operation_delivered", operation=claim.operation, delivered=delivered)
        self._announce(to.provider, error, written)
        return outcome

    def _announce(
        self, provider: str, error: ProviderError | None,
        written: Literal[Recorded.RECORDED, Recorded.PAUSED, Recorded.OPENED, Recorded.RECOVERED],
    ) -> None:  # fmt: skip
        """Call the listeners where an attempt changed the state of its provider: once a pause."""
        match written:
            case Recorded.RECORDED:
                pass
            case Recorded.PAUSED | Recorded.OPENED:
                log.error("provider %s is paused: %s", provider, error)
                self._tell("provider_paused", provider=provider, error=error)
            case Recorded.RECOVERED:
                self._recovered(provider)
            case _:
                assert_never(written)

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

    def _write_down(self, claim: Claim, to: Recipient, outcome: Outcome, result: Result, wake: bool) -> Recorded:
        look = isinstance(outcome.error, OutcomeUnknown) or claim.look_first
        match outcome.verdict:
            case Done():
                assert outcome.delivered is not None
                return self._ledger.record_delivered(claim, to, result, outcome.delivered)
            case Retry(at):
                return self._ledger.record_waiting(claim, to, result, due=at, look=look, wake=wake)
            case Pause(until):
                return self._ledger.record_waiting(claim, to, result, due=until, look=look, paused=True)
            case Dead():
                return self._ledger.record_dead(claim, to, result, now=self._clock(), look=look, wake=wake)
            case None:
                raise ValueError("no attempt was made")
            case _:
                assert_never(outcome.verdict)


def new_lease() -> str:
    """A lease that nobody else holds."""
    return uuid.uuid4().hex


def _attempt_record(
    provider: str, at: float, duration: float, error: ProviderError | None, *, counted: bool
) -> Event:  # fmt: skip
    if error is None:
        return Event(at, round(duration, 3), provider, EventType.DELIVERED)
    return Event(
        at, round(duration, 3), provider, EventType.FAILED,
        error.code, error.status, error.vendor_code, error.detail, counted,
    )  # fmt: skip


def _result(attempt: Event, used: int, error: ProviderError | None) -> Result:
    return Result(
        attempt, used,
        outage=error is not None and is_outage(error),
        floor=error is not None and error.retry_after is not None,
        limited=isinstance(error, RateLimited),
        settles_at=_settles_at(attempt, error),
    )  # fmt: skip


def _settles_at(attempt: Event, error: ProviderError | None) -> float:
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
        f"The record to change is in the CRM {operation.provider!r}, which is no longer configured. Set it up again"
        " and release this dead letter, or discard it."
    )
    return Unsupported(detail, provider=operation.provider, operation=operation.id)

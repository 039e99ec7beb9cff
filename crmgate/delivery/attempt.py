"""One attempt to deliver an operation: take the lease, search the CRM or send, decide, record.

Only the holder of its lease attempts an operation. The outcome is recorded in one atomic step. A process may therefore
end at any line of this file: the alarm of the operation wakes a worker.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import assert_never

from crmgate.delivery.batch import Batches, Reported
from crmgate.delivery.outcome import (
    Following,
    Outcome,
    Sent,
    failed_test,
    interrupted,
    looks_next,
    not_configured,
    out_of_time,
    remakes,
    result,
    undecryptable,
    unsettled,
)
from crmgate.delivery.plan import LEASE_MARGIN, Crm, Plan
from crmgate.errors import LedgerUnavailable, OutOfTime, ProviderError
from crmgate.model import Delivered, Kind, Operation
from crmgate.policy import Dead, Done, Hold, Retry, Verdict, decide
from crmgate.store.audit import Entry
from crmgate.store.entries import Announcement, Claim, NoClaim, NotClaimed, Recorded, Result, Swept, Wanted, Written
from crmgate.store.gate import Cause, Gate, Recipient, explain
from crmgate.store.ledger import Ledger
from crmgate.store.vault import missing

log = logging.getLogger(__name__)

SWEEP_AGAIN = 8.0
"""Seconds after which a sweep wakes an operation again that an earlier sweep woke and that still waits."""


def never() -> bool:
    """False: the caller attempts no further operation."""
    return False


class Delivery:
    """Attempts operations at the active CRM, or at another CRM that holds the record which an operation changes.

    `others` finds another CRM by its name; `notify` calls a listener hook by its name.
    """

    def __init__(
        self, ledger: Ledger, crm: Crm, plan: Plan, *,
        others: Callable[[str], Crm | None] = lambda _name: None,
        notify: Callable[..., None] = lambda *_, **__: None,
        rng: random.Random | None = None,
    ) -> None:  # fmt: skip
        self._ledger, self.crm, self.plan = ledger, crm, plan
        self._others, self._notify = others, notify
        self._rng = rng or random.Random()  # noqa: S311
        self._reported: set[tuple[str, str]] = set()
        self.recipient = Recipient(
            crm.name, crm.credentials, plan.most, crm.rate,
            epidemic_after=plan.epidemic_after, settle=crm.settle_seconds,
            at_most_once=not crm.delivery.repeatable,
        )  # fmt: skip
        self._gates: dict[str, tuple[Crm | None, Recipient]] = {crm.name: (crm, self.recipient)}
        self._batches = Batches(ledger, crm, self.recipient, plan.worker_budget, self._conclude)
        self._supported: dict[str, tuple[Kind, ...]] = {}
        """The kinds of operations that each CRM supports, by its name."""

    def attempt(self, operation_id: str, more: Callable[[], bool] = never) -> Outcome:
        """Attempt an operation, if it is due and no other caller has its lease. Raises `LedgerUnavailable`.

        If it is delivered and `more()` is true, the next operation is taken in the step that records it: the caller
        attempts the `following` of the outcome with `follow`, at once.
        """
        deadline = time.monotonic() + self.plan.worker_budget
        claim, to = self._claim(operation_id, self.recipient), self.recipient
        if isinstance(claim, NotClaimed) and claim.reason is NoClaim.ELSEWHERE:
            to = self._gate(claim.more)
            claim = self._claim(operation_id, to)
        if isinstance(claim, NotClaimed):
            if claim.reason is NoClaim.LOCKED:
                self._report_locked(claim.more)
            return Outcome(None, claim.reason)
        return self.attempt_claimed(claim, to, deadline, wake=False, more=more)

    def follow(self, following: Following, more: Callable[[], bool] = never) -> Outcome:
        """Attempt an operation that was taken with the record of another one. The ledger schedules its next attempt."""
        return self.attempt_claimed(following.claim, self.recipient, following.deadline, wake=True, more=more)

    def probe(self, name: str) -> bool:
        """Test the connection to a provider that `tend` named. If it passes, waiting operations are delivered.

        Returns whether it passed. Raises `LedgerUnavailable`.
        """
        crm, to = self._gates[name]
        if crm is None:
            return False
        crm.used()
        began = self._ledger.now()
        found = crm.test_connection(self.plan.worker_budget)
        recorded = self._ledger.record_probe(
            to, began=began, ok=found.connected, refused=found.refused, used=crm.used()
        )
        log.info("connection test of provider %s: %s", name, "passed" if found.connected else "failed")
        # A failed test has an error with a code only for refused credentials; other failures are text.
        self._announce(name, failed_test(found) if found.refused else None, recorded)
        return found.connected

    def tend(self) -> tuple[Swept, list[str]]:
        """Wake operations that are due, and return dead letters that may return.

        Returns the numbers of both, and the names of the providers to `probe`. Raises `LedgerUnavailable`.
        """
        woken = returned = 0
        doubtful: list[str] = []
        for name, (_, to) in list(self._gates.items()):
            swept = self._ledger.sweep(
                to, again=SWEEP_AGAIN, lease=self.plan.longest_lease, wait=self.plan.longest_wait,
                suspects=self.plan.suspects,
            )  # fmt: skip
            woken, returned = woken + swept.woken, returned + swept.returned
            if swept.probe:
                doubtful.append(name)
            if swept.recovered:
                self._recovered(name)
        if returned:
            log.warning("%d dead letters return: the cause that they share has ended", returned)
        return Swept(woken, returned, bool(doubtful)), doubtful

    def record_dead_letter(self, operation_id: str) -> bool:
        """Make an operation without a retry left a dead letter; False if it is one already."""
        if not self._ledger.make_dead_letter(operation_id):
            return False
        operation = self._ledger.get(operation_id)
        if operation:
            log.error("dead letter: operation %s", operation_id)
            self._notify("operation_dead", operation=operation)
        return True

    def pause(self, audit: Entry | None = None) -> Cause | None:
        """Send nothing to the provider until `resume`. Raises `LedgerUnavailable`."""
        return self._ledger.pause(self.recipient, audit=audit)

    def resume(self, audit: Entry | None = None) -> Cause | None:
        """End a pause, or try the provider at once. Returns the cause for which its gate was shut, None if it was open.

        Raises `LedgerUnavailable`.
        """
        return self._ledger.resume(self.recipient, audit=audit)

    def _gate(self, name: str) -> Recipient:
        """A CRM that need not be the active one, because it holds records that waiting operations change."""
        if name not in self._gates:
            crm = self._others(name)
            known = Recipient(name, most=self.plan.most, active=False)
            if crm:
                known = replace(
                    known, credentials=crm.credentials, rate=crm.rate, settle=crm.settle_seconds,
                    at_most_once=not crm.delivery.repeatable,
                )  # fmt: skip
            self._gates[name] = crm, known
        return self._gates[name][1]

    def _claim(self, operation_id: str, to: Recipient) -> Claim | NotClaimed:
        wanted = self._wanted(to)
        return self._ledger.claim(
            operation_id, to, wanted.lease,
            seconds=wanted.seconds, supported=wanted.supported, batch=wanted.batch,
        )  # fmt: skip

    def _wanted(self, to: Recipient) -> Wanted:
        if to.provider not in self._supported:
            crm = self._gates[to.provider][0]
            self._supported[to.provider] = tuple(kind for kind in Kind if crm and crm.supports(kind))
        batch = self._batches.others if to is self.recipient else 0
        return Wanted(new_lease(), self.plan.worker_budget + LEASE_MARGIN, self._supported[to.provider], batch)

    def attempt_claimed(
        self, claim: Claim, to: Recipient, deadline: float, *, wake: bool, more: Callable[[], bool] = never
    ) -> Outcome:
        """Send an operation that is leased, decide what follows and record it.

        Nothing is sent after `deadline`, a time of `time.monotonic`: the lease ends soon after it, and another process
        may then send the operation. With `wake` this process schedules the next attempt. `more`: see `attempt`.
        """
        if claim.others:
            return self._batches.attempt(claim, deadline, lambda: self._wanted(to) if more() else None)
        begun = time.monotonic()
        sent = self._send(claim, self._gates[to.provider][0], deadline)
        return self._conclude(claim, to, sent, begun, wake=wake, more=more)

    def _conclude(
        self, claim: Claim, to: Recipient, sent: Sent, begun: float, *,
        wake: bool, more: Callable[[], bool] = never, batch: Reported | None = None,
    ) -> Outcome:  # fmt: skip
        """Decide what follows an answer of the CRM and record it. `batch`: the operation was sent with others."""
        sent = replace(sent, repeatable=not to.at_most_once)
        if isinstance(sent.error, OutOfTime) and not sent.used:  # the CRM has used none of the time
            sent = replace(sent, asked=False)
        duration = time.monotonic() - begun
        verdict = decide(
            sent.error, claim.counted + 1, self.plan.retry_delays, self._rng,
            asked=sent.asked, repeatable=sent.repeatable,
        )  # fmt: skip
        written = result(claim, to.provider, duration, sent, verdict, to.settle)
        written = batch.part(written) if batch else written
        wanted = self._wanted(to) if sent.delivered and to is self.recipient and more() else None
        deadline_of_next = time.monotonic() + self.plan.worker_budget
        try:
            recorded = self._record(claim, to, verdict, written, sent, wake, wanted)
        except LedgerUnavailable as failure:
            # The lease runs out and the next attempt looks in the CRM first.
            log.error("operation %s: its outcome could not be recorded (%s)", claim.operation.id, failure)
            return Outcome(None, "unrecorded", sent.delivered, sent.error)
        log.info("operation %s: %s in %.3f s", claim.operation.id, sent.error or "delivered", duration)
        outcome = self._after(claim.operation, to.provider, verdict, sent, recorded)
        if recorded.following is None:
            return outcome
        return replace(outcome, following=Following(recorded.following, deadline_of_next))

    def _after(
        self, operation: Operation, provider: str, verdict: Verdict, sent: Sent, recorded: Recorded
    ) -> Outcome:  # fmt: skip
        """Notify listeners and return the outcome.

        The ledger may change the verdict: while the gate is shut, an operation waits instead of being retried or dead.
        """
        match recorded.written:
            case Written.LOST | Written.ENDED:
                return Outcome(None, recorded.written, sent.delivered, sent.error)
            case Written.DELIVERED | Written.WAITING | None:
                pass
            case Written.HELD:
                verdict = Hold()
            case Written.DEAD:
                verdict = Dead()
            case Written.AGAIN:
                log.warning(
                    "operation %s: the CRM no longer has its lead, or refuses to change it; it creates another lead",
                    operation.id,
                )
                verdict = Retry(0.0, left=len(self.plan.retry_delays))
            case _:
                assert_never(recorded.written)
        if sent.delivered:
            self._report(sent.delivered)
            self._notify("operation_delivered", operation=operation, delivered=sent.delivered)
        self._announce(provider, sent.error, recorded)
        return Outcome(verdict, delivered=sent.delivered, error=sent.error)

    def _announce(self, provider: str, error: ProviderError | None, recorded: Recorded) -> None:
        """Call the listeners when an incident of a provider begins or ends."""
        match recorded.announcement:
            case None:
                pass
            case Announcement.PAUSED:
                assert recorded.cause is not None
                self._paused(provider, error, recorded.cause)
            case Announcement.RECOVERED:
                self._recovered(provider)
            case _:
                assert_never(recorded.announcement)

    def _paused(self, provider: str, error: ProviderError | None, cause: Cause) -> None:
        # Listeners are notified of refused credentials only after the connection test has confirmed them.
        words = explain(Gate(cause, confirmed=True), error.code if error else None)
        assert words is not None
        log.error("provider %s is paused (%s): %s", provider, cause, error or words.what)
        self._notify(
            "provider_paused", provider=provider, error=error, cause=str(cause),
            explanation=words.what, remedy=words.remedy, waiting=self._waiting(),
        )  # fmt: skip

    def _recovered(self, provider: str) -> None:
        log.warning("provider %s works again", provider)
        self._notify("provider_recovered", provider=provider, waiting=self._waiting())

    def _waiting(self) -> int:
        """Number of operations that wait, for an announcement; 0 if Redis does not answer."""
        try:
            return self._ledger.stats()["waiting"]
        except LedgerUnavailable as error:
            log.warning("the number of waiting operations is unknown (%s)", error)
            return 0

    def _report(self, delivered: Delivered) -> None:
        """Log fields that the CRM dropped or refused; once for each field, because every lead has the same problem."""
        for trouble, names in (
            ("does not keep", delivered.dropped),
            ("refuses a bad or missing value of", () if delivered.unnamed else delivered.moved),
        ):
            for name in names:
                if (trouble, name) not in self._reported:
                    self._reported.add((trouble, name))
                    log.warning("%s %s the field %s: see `crmgate crm fields`", delivered.provider, trouble, name)

    def _report_locked(self, key: str) -> None:
        """Log a key that this process lacks; once for each key, because many operations may need it."""
        if ("locked", key) not in self._reported:
            self._reported.add(("locked", key))
            log.error("operations wait: %s", missing(key))

    def _send(self, claim: Claim, crm: Crm | None, deadline: float) -> Sent:
        """Search for the operation if an earlier attempt may have sent it, else send it. Returns the CRM's answer."""
        if crm is None:
            return Sent(None, not_configured(claim.operation), asked=False)
        if claim.operation.unreadable:
            return Sent(None, undecryptable(claim.operation), asked=False)
        if deadline <= time.monotonic():
            return Sent(None, out_of_time(crm.name), asked=False)
        if claim.look_first and not crm.delivery.repeatable:
            return Sent(None, interrupted(crm.name), asked=False)
        crm.used()
        try:
            delivered = self._found(claim, crm, deadline) or crm.deliver(claim.operation, _left(deadline, crm.name))
        except ProviderError as error:
            return Sent(None, error, crm.used())
        return Sent(delivered, None, crm.used())

    def _found(self, claim: Claim, crm: Crm, deadline: float) -> Delivered | None:
        """The record of an earlier attempt, or None. Raises `Unsettled` while such a record may still appear.

        A destination that recognizes a repetition is not searched.
        """
        if not claim.look_first or not crm.delivery.searched:
            return None
        for operation in _as_sent(claim):
            if found := crm.find(operation, _left(deadline, crm.name)):
                return found
        wait = claim.settles_at - claim.at  # an upper limit: the search took a part of it
        if wait > 0:
            raise unsettled(wait, crm.name)
        return None

    def _record(
        self, claim: Claim, to: Recipient, verdict: Verdict, written: Result, sent: Sent, wake: bool,
        wanted: Wanted | None,
    ) -> Recorded:  # fmt: skip
        look = looks_next(claim, sent)
        match verdict:
            case Done():
                assert sent.delivered is not None
                return self._ledger.record_delivered(claim, to, written, sent.delivered, wanted)
            case Retry(delay):
                return self._ledger.record_waiting(claim, to, written, delay=delay, look=look, wake=wake)
            case Hold():
                return self._ledger.record_held(claim, to, written, look=look, wake=wake)
            case Dead():
                remake = remakes(claim.operation, sent.error)
                return self._ledger.record_dead(claim, to, written, look=look, wake=wake, remake=remake)
            case _:
                assert_never(verdict)


def _as_sent(claim: Claim) -> Iterator[Operation]:
    """The operation in each kind in which an earlier attempt may have sent it."""
    yield claim.operation
    if claim.sent_as:
        yield replace(claim.operation, kind=claim.sent_as)


def _left(deadline: float, provider: str) -> float:
    """Seconds until `deadline`. Raises `OutOfTime` after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise out_of_time(provider)
    return left


def new_lease() -> str:
    """A unique token for a lease."""
    return uuid.uuid4().hex

"""Checks: destinations that cannot be searched recognize a repetition, or get nothing twice (`delivery`)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from crmgate.errors import ProviderError
from crmgate.model import Kind, Operation
from crmgate.policy import DeliveryMode, Hold, Retry, decide
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import needs_mode
from crmgate.testing.contract.base import CallResult, Contract, delivered, expect, made
from crmgate.testing.contract.counts import STORE_IT

DELAYS = (0.0, 0.0, 0.0)
KEY = "Send operation.id as the key, unchanged in each attempt."
UNKNOWN = "Raise OutcomeUnknown once the content was sent: then a person decides."
LOST: tuple[tuple[str, dict[str, object]], ...] = (
    ("breaks the connection before it stores", {"kind": "drop", "when": "before"}),
    ("breaks the connection after it stored", {"kind": "drop", "when": "after"}),
    ("stores and answers 500", {"kind": "answer", "when": "after", "status": 500}),
)

Send = Callable[[Operation], CallResult]


class ModeChecks(Contract):
    """What follows an unknown outcome where no look-up is possible."""

    @needs_mode(DeliveryMode.IDEMPOTENT)
    def test_idempotent_repetition_has_the_same_key(self) -> None:
        """For `delivery = "idempotent"`: the receiver recognizes what it has by the key. Each operation has its own."""
        seen = set[str]()
        for send, operation in self._operations():
            outcomes = [send(operation), send(operation)]
            keys = {self.idempotency_key(one) for outcome in outcomes for one in self.writes(outcome.requests)}
            expect(len(keys) == 1 and "" not in keys, f"{operation.kind} sent twice has the keys {sorted(keys)}. {KEY}")
            expect(not keys & seen, f"{operation.kind} has the key of another operation. {KEY}")
            seen |= keys

    @needs_mode(DeliveryMode.IDEMPOTENT)
    def test_idempotent_receiver_has_each_operation_once(self) -> None:
        """For `delivery = "idempotent"`: sent again after a success or a lost answer it is stored once."""
        for send, operation in self._operations():
            self.fail_writes(self.crm, "drop", when="after", times=1)
            self._driven(operation, send)
            delivered(send(operation))
            count = self.stored(self.crm, operation.id)
            remedy = KEY if count else STORE_IT
            expect(count == 1, f"{operation.kind} sent again is stored {count} times instead of once. {remedy}")

    @needs_mode(DeliveryMode.AT_MOST_ONCE)
    def test_at_most_once_is_never_sent_after_an_unknown_outcome(self) -> None:
        """For `delivery = "at_most_once"`: an error that allows a retry would make a second record."""
        for what, fault in LOST:
            for send, operation in self._operations():
                self.crm.heal()
                self.fail_writes(self.crm, times=1, **fault)
                attempts = self._driven(operation, send)
                remedy = f"when the destination {what}, and is sent again. {UNKNOWN}"
                expect(attempts == 1, f"{operation.kind} ends with an error that allows a retry {remedy}")
                count = self.stored(self.crm, operation.id)
                expect(count <= 1, f"{operation.kind} is stored {count} times when the destination {what}. {UNKNOWN}")

    def _operations(self) -> Iterator[tuple[Send, Operation]]:
        """Two leads of one person, and a click."""
        for _ in range(2):
            yield self.deliver, made(Kind.CREATE_LEAD, self.full_lead())
        yield self.click, made(Kind.CREATE_MINIMAL_LEAD, samples.CLICK)

    def _driven(self, operation: Operation, send: Send) -> int:
        """Send an operation until crmgate would send it no more. Returns the number of attempts."""
        repeatable, attempts = self.mode.repeatable, 0
        again = True
        while again and attempts <= len(DELAYS):
            attempts += 1
            error = send(operation).error
            failure = error if isinstance(error, ProviderError) else None
            verdict = decide(failure, attempts, DELAYS, random.Random(0), asked=True, repeatable=repeatable)
            again = isinstance(verdict, Retry | Hold)
        return attempts

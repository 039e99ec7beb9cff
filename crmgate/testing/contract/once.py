"""Checks: a lead exists in the CRM once, also after lost requests and answers."""

from __future__ import annotations

from collections.abc import Callable

from crmgate.model import Delivered, Kind, Operation
from crmgate.policy import DeliveryMode
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import needs_capability, needs_mode
from crmgate.testing.contract.base import FIND, CallResult, Contract, delivered, expect, fail, made, reason
from crmgate.testing.contract.counts import SEND_ID, usual

AGAIN = {
    DeliveryMode.EXACTLY_ONCE: "Let find_lead find what an earlier attempt stored.",
    DeliveryMode.IDEMPOTENT: "Send the same key again, and let the fake recognize it as the receiver does.",
    DeliveryMode.AT_MOST_ONCE: "Raise OutcomeUnknown as soon as the content may have been sent.",
}
"""What to write if crmgate sends an operation again and it makes another record."""


class OnceChecks(Contract):
    """The operation id, and `find_lead`, which searches for it."""

    def test_operation_id_is_sent(self) -> None:
        """`find_lead`, the receiver or a person needs it to find what arrived after a lost answer."""
        for outcome in self.creates():
            delivered(outcome)
            sent = "\n".join(
                "\n".join((self.sent_text(request), *request.headers.values())) for request in outcome.requests
            )
            expect(outcome.operation.id in sent, f"{outcome.hook} does not send the operation id. {SEND_ID[self.mode]}")

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    def test_look_up_of_an_unknown_operation_is_none(self) -> None:
        """This holds also if the CRM has leads of other operations."""
        for outcome in (self.find(), self._find_beside_another()):
            expect(
                outcome.error is None and outcome.result is None,
                f"{outcome} for an operation that left nothing{reason(outcome)}. Return None: otherwise crmgate adopts "
                f"the lead of another operation. Compare the operation id in the CRM's answer.",
            )

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    def test_created_lead_is_found(self) -> None:
        """`find_lead` returns the same record. It knows only the operation."""
        for outcome in list(self.creates()):
            self._is_adopted(self.find(outcome.operation), delivered(outcome).record_id)

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    def test_lead_whose_answer_was_lost_is_found(self) -> None:
        """The CRM stored the record, but its answer was lost."""
        for hook in (Kind.CREATE_LEAD, Kind.CREATE_MINIMAL_LEAD):
            last = len(self.writes(self._sent_alone(hook)().requests))  # the last write of several makes the record
            send = self._sent_alone(hook)
            self.fail_writes(self.crm, "drop", when="after", every=max(last, 1), times=1)
            lost = send()
            self.crm.heal()
            if not isinstance(lost.result, Delivered):
                self._is_adopted(self.find(lost.operation))

    def test_lost_answer_makes_no_second_record(self) -> None:
        """crmgate calls find_lead, and sends the operation again only if find_lead returns None."""
        self._sent_twice("after")

    @needs_mode(DeliveryMode.EXACTLY_ONCE, DeliveryMode.IDEMPOTENT)
    def test_lost_request_is_sent_again(self) -> None:
        """The CRM did not store the record, so find_lead returns None and crmgate sends the operation again."""
        self._sent_twice("before")

    @needs_capability("unique_key")
    def test_unique_key_makes_no_second_record(self) -> None:
        """For a plugin with the capability `unique_key`: the CRM refuses a second record of the same operation."""
        for operation, expected in self._countable():
            self.deliver(operation)
            self.deliver(operation)
            count = self.stored(self.crm, operation.id)
            shown = f"{operation.kind} sent twice makes {count} records instead of {expected}"
            expect(count == expected, f"{shown}. Remove `unique_key` or use a key.")

    def _sent_alone(self, hook: Kind) -> Callable[[], CallResult]:
        """Begin again with a CRM that knows nobody. Returns the call that creates its first record."""
        self.restart()
        return self.create if hook is Kind.CREATE_LEAD else self.click

    def _countable(self) -> list[tuple[Operation, int]]:
        """A lead and a click for one new CRM, each with the number of records that it usually leaves."""
        datas = ((Kind.CREATE_LEAD, self.full_lead()), (Kind.CREATE_MINIMAL_LEAD, samples.CLICK))
        return [(made(kind, data), usual(self, data)) for kind, data in datas]

    def _sent_twice(self, when: str) -> None:
        for operation, expected in self._countable():
            self.fail_writes(self.crm, "drop", when=when, times=1)
            self.retried(operation, self.deliver)
            self.crm.heal()
            count = self.stored(self.crm, operation.id)
            shown = f"{operation.kind}: {count} records have the operation id after a retry"
            expect(count == expected, f"{shown} instead of {expected}. {AGAIN[self.mode]}")

    def _find_beside_another(self) -> CallResult:
        self.create()
        return self.find()

    def _is_adopted(self, outcome: CallResult, record_id: str = "") -> None:
        found = outcome.result
        if not isinstance(found, Delivered):
            fail(f"{outcome}{reason(outcome)}, but the record exists. {FIND}")
        right = not record_id or found.record_id == record_id
        expect(right, f"{outcome} with the id {found.record_id!r} instead of {record_id!r}. {FIND}")
        expect(found.adopted, f"{outcome} without `adopted`. {FIND}")
        expect(found.provider == self.provider.name, f"{outcome} for {found.provider!r}. Set it to self.name.")

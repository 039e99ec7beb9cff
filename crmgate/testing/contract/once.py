"""Checks: a lead is in the CRM once, whatever happens on the way."""

from __future__ import annotations

from crmgate.model import Delivered, Kind, Operation
from crmgate.testing.contract import samples
from crmgate.testing.contract.base import FIND, CallResult, Contract, delivered, expect, fail, made, reason


class OnceChecks(Contract):
    """The operation id and the look-up by it."""

    def test_operation_id_is_sent(self) -> None:
        """By it a lead is found whose answer was lost."""
        for outcome in self.creates():
            delivered(outcome)
            told = "\n".join(
                "\n".join((self.sent_text(request), *request.headers.values())) for request in outcome.requests
            )
            expect(
                outcome.operation.id in told,
                f"{outcome.hook} does not send the operation id. Map `operation_id` in `lead_fields` to a field that "
                f"can be searched for.",
            )

    def test_look_up_of_an_unknown_operation_is_none(self) -> None:
        """Also beside the leads of other operations."""
        for outcome in (self.find(), self._find_beside_another()):
            expect(
                outcome.error is None and outcome.result is None,
                f"{outcome} for an operation that left nothing{reason(outcome)}. Return None: crmgate would take "
                f"somebody else's lead for delivered. Compare the operation id in what the CRM returns.",
            )

    def test_created_lead_is_found(self) -> None:
        """The same record, by the operation id alone."""
        for outcome in list(self.creates()):
            self._is_adopted(self.find(outcome.operation), delivered(outcome).record_id)

    def test_lead_whose_answer_was_lost_is_found(self) -> None:
        """The record is there; only crmgate never heard of it."""
        self.fail_writes(self.crm, "drop", when="after")
        lost = [outcome for outcome in self.creates() if not isinstance(outcome.result, Delivered)]
        self.crm.heal()
        for outcome in lost:
            self._is_adopted(self.find(outcome.operation))

    def test_lost_answer_makes_no_second_record(self) -> None:
        """crmgate looks first, and sends again only what it does not find."""
        self._sent_twice("after")

    def test_lost_request_is_sent_again(self) -> None:
        """crmgate looks first; the CRM never stored it, so it is sent again."""
        self._sent_twice("before")

    def _sent_twice(self, when: str) -> None:
        for kind, send in ((Kind.CREATE_LEAD, self._create), (Kind.CREATE_MINIMAL_LEAD, self.click)):
            operation = made(kind, self.full_lead() if kind is Kind.CREATE_LEAD else samples.CLICK)
            self.fail_writes(self.crm, "drop", when=when, times=1)
            self.retried(operation, send)
            self.crm.heal()
            count = self.stored(self.crm, operation.id)
            expect(
                count == 1, f"{kind}: {count} records hold the operation id after a second try; there has to be one."
            )

    def _create(self, operation: Operation) -> CallResult:
        return self.create(operation=operation)

    def _find_beside_another(self) -> CallResult:
        self.create()
        return self.find()

    def _is_adopted(self, outcome: CallResult, record_id: str = "") -> None:
        found = outcome.result
        if not isinstance(found, Delivered):
            fail(f"{outcome}{reason(outcome)}, but the record is there. {FIND}")
        right = not record_id or found.record_id == record_id
        expect(right, f"{outcome} with the id {found.record_id!r}; the record has {record_id!r}. {FIND}")
        expect(found.adopted, f"{outcome} without `adopted`. {FIND}")
        expect(found.provider == self.provider.name, f"{outcome} for {found.provider!r}. Give it self.name.")

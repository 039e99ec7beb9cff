"""Checks of a plugin that creates many leads with few requests: `create_leads` and `find_leads`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from crmgate.errors import OutcomeUnknown, ProviderError
from crmgate.model import Delivered, Kind, Lead, Operation
from crmgate.plugin_host.admission import WRITE_AT_ONCE, at_once_fault
from crmgate.testing.contract.applies import Subject, applies_if, needs_capability, needs_hook
from crmgate.testing.contract.base import (
    BUDGET,
    FIND,
    GRACE,
    CallResult,
    Contract,
    delivered,
    expect,
    fail,
    made,
    reason,
)
from crmgate.testing.contract.outcomes import ends_with

NUMBER = 4
"""Number of leads in a batch of the checks."""
EACH = "Return the outcome of each lead by the id of its operation."
UNKNOWN = "Raise OutcomeUnknown, or return it for each lead that the CRM may have."
needs_batches = applies_if(lambda plugin: "" if plugin.contract.batches else "the plugin creates one lead at a time")
"""The decorated check applies to a plugin that creates at least `NUMBER` leads at a time."""


@applies_if
def needs_refused_lead(plugin: Subject) -> str:
    """The decorated check applies to a contract with a lead that the CRM refuses."""
    missing = plugin.contract.refused_lead is Contract.refused_lead
    return "the contract has no `refused_lead`" if missing else ""


class BatchChecks(Contract):
    """`create_leads` and `find_leads`. They apply to a plugin that creates several leads at a time."""

    @needs_hook("create_leads")
    def test_leads_at_once_is_as_described(self) -> None:
        """crmgate creates up to `leads_at_once` leads together: 4 or more, or the contract has `batches = False`."""
        number, batches = self.provider.leads_at_once, self.batches
        fault = at_once_fault(number)
        expect(not fault, f"leads_at_once is {fault}. {WRITE_AT_ONCE}")
        remedy = "Remove `batches = False` from" if number >= NUMBER else "Set `batches = False` in"
        expect((number >= NUMBER) == batches, f"leads_at_once is {number} with these settings. {remedy} the contract.")

    @needs_hook("create_leads")
    @needs_batches
    def test_a_batch_creates_each_lead(self) -> None:
        """Each outcome names the record of its own lead."""
        operations = self._people()
        outcomes = self._created(operations)
        for operation in operations:
            expect(isinstance(outcomes[operation.id], Delivered), f"create_leads does not create each lead. {EACH}")
            found = self.find(operation).result
            right = isinstance(found, Delivered) and found.record_id == outcomes[operation.id].record_id
            expect(right, f"create_leads returns the record of another lead. {EACH}")

    @needs_hook("create_leads")
    @needs_batches
    @needs_capability("detects_duplicates")
    def test_a_batch_leaves_a_known_person_alone(self) -> None:
        """A person whom the CRM knows gets no second lead: crmgate then calls `create_lead`."""
        operations = self._people()
        known = operations[1]
        delivered(self.create(known.lead))
        outcome = self._created(operations)[known.id]
        expect(
            outcome is None or (isinstance(outcome, Delivered) and outcome.adopted),
            "create_leads creates a second lead for a person whom the CRM knows. Search for the people of the batch, "
            "and return None for those that the CRM knows.",
        )

    @needs_hook("create_leads")
    @needs_batches
    @needs_refused_lead
    def test_a_refused_lead_fails_no_other_one(self) -> None:
        """The CRM refuses one lead of a batch."""
        operations = self._people()
        refused = self.refused_lead(self.crm)
        if refused is None:
            fail("`refused_lead` returns None. Return a lead that the CRM refuses, or remove the method.")
        bad = made(Kind.CREATE_LEAD, refused)
        outcomes = self._created([*operations[:2], bad, *operations[2:]])
        lost = [one for one in operations if not isinstance(outcomes[one.id], Delivered)]
        expect(not lost, f"{len(lost)} leads fail because the CRM refuses another one of their batch. {EACH}")
        right = outcomes[bad.id] is None or isinstance(outcomes[bad.id], ProviderError)
        expect(right, "create_leads reports a refused lead as created. Return None, or the error.")

    @needs_hook("create_leads")
    @needs_batches
    def test_a_batch_without_an_answer_is_outcome_unknown(self) -> None:
        """The CRM created the leads, but the answer was lost. `find_leads` finds them."""
        operations = self._people()
        self.fail_writes(self.crm, "drop", when="after")
        outcome = self._asked(operations)
        if outcome.error is None:
            answers = [*self._mapping(outcome).values()]
            right = all(isinstance(answer, OutcomeUnknown) for answer in answers)
            expect(right, f"create_leads returned {_shown(answers)} although the answer was lost. {UNKNOWN}")
        else:
            ends_with(outcome, OutcomeUnknown, "although the answer was lost", UNKNOWN)
        self.crm.heal()
        found = self._found_together(operations)
        expect(found.keys() == {one.id for one in operations}, f"find_leads lacks leads that the CRM has. {FIND}")

    @needs_hook("create_leads")
    @needs_batches
    def test_a_batch_keeps_to_its_time(self) -> None:
        """The CRM takes the request and does not answer."""
        operations = self._people()
        self.crm.fail("hang", seconds=self.silence)
        outcome = self._asked(operations, self.patience)
        limit = self.patience + GRACE
        expect(outcome.seconds <= limit, f"create_leads took {outcome.seconds:.1f} s. Send requests with self.request.")
        ends_with(outcome, ProviderError, "without an answer", "Raise Unavailable or OutcomeUnknown.")

    @needs_hook("create_leads")
    @needs_batches
    def test_only_leads_that_exist_are_found_together(self) -> None:
        """`find_leads` finds the records of its operations, and changes nothing."""
        lost, *operations = self._people()
        records = {name: outcome.record_id for name, outcome in self._created(operations).items()}
        seen = len(self.crm.requests)
        found = self._found_together([lost, *operations])
        expect(lost.id not in found, f"find_leads finds a lead that does not exist. {FIND}")
        right = {name: one.record_id for name, one in found.items()} == records
        expect(right and all(one.adopted for one in found.values()), f"find_leads returns other records. {FIND}")
        writes = self.writes(tuple(self.crm.requests[seen:]))
        expect(not writes, "find_leads sends writes. Send only requests that read.")

    @needs_hook("create_leads")
    @needs_batches
    def test_leads_of_a_crm_that_is_unavailable_are_an_error(self) -> None:
        """An empty result would mean that none of them exists."""
        operations = self._people()
        self.crm.stop()
        outcome = self.ask("find_leads", operations=operations)
        ends_with(outcome, ProviderError, "without a connection", "Raise Unavailable.")

    def _people(self) -> list[Operation]:
        """Applications of different persons."""
        return [made(Kind.CREATE_LEAD, lead) for lead in self._leads()]

    def _leads(self) -> Iterator[Lead]:
        for number in range(NUMBER):
            email, phone = f"batch{number}@example.com", f"+1202555{number:04}"
            lead = Lead(first_name=f"Batch{number}", last_name="Lee", email=email, phone=phone, source="website")
            yield replace(self.adapted(lead), email=email, phone=phone)

    def _asked(self, operations: list[Operation], budget: float = BUDGET) -> CallResult:
        return self.ask("create_leads", budget, leads=[(one.lead, one) for one in operations])

    def _created(self, operations: list[Operation]) -> Mapping[str, Any]:
        return self._mapping(self._asked(operations), {one.id for one in operations})

    def _mapping(self, outcome: CallResult, wanted: set[str] | None = None) -> Mapping[str, Any]:
        if not isinstance(outcome.result, Mapping):
            fail(f"{outcome}{reason(outcome)}. {EACH}")
        expect(wanted is None or outcome.result.keys() == wanted, f"create_leads returned other outcomes. {EACH}")
        return outcome.result

    def _found_together(self, operations: list[Operation]) -> Mapping[str, Delivered]:
        outcome = self.ask("find_leads", operations=operations)
        if not isinstance(outcome.result, Mapping):
            fail(f"{outcome}{reason(outcome)}. Return a Delivered for each lead that exists, by operation id.")
        return outcome.result


def _shown(answers: list[Any]) -> str:
    return ", ".join(sorted({type(answer).__name__ for answer in answers}))

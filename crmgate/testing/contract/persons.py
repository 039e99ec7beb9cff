"""Checks: a submission of a person whom the CRM knows, with each value of CRM_ON_DUPLICATE.

A plugin without `detects_duplicates` makes a lead of its own for each submission. Only the first of these checks
applies to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from crmgate.model import Delivered, Kind, Lead, Operation
from crmgate.policy import DeliveryMode
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import needs_capability, needs_mode
from crmgate.testing.contract.base import CallResult, Contract, delivered, expect, made, reason
from crmgate.testing.contract.text import texts

MERGING = ("note", "update")
USE_KNOWN = "Let `resolve_duplicate` decide: it follows CRM_ON_DUPLICATE."
CLAIM = "Add `detects_duplicates` to `capabilities`: the checks of known persons apply then."
EQUAL = "Compare the whole email and the whole phone of each lead that the search returns."
ONCE = "Let find_lead search the records of the person for `operation.tracking_code`, and return the known lead."


class PersonChecks(Contract):
    """`CRM_ON_DUPLICATE`: a note on the known lead, an update of it, or another lead."""

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    def test_known_person_is_handled_as_configured(self) -> None:
        """CRM_ON_DUPLICATE has the values `note`, `update` and `create`. Without `detects_duplicates`: another lead."""
        if "detects_duplicates" in self.provider.capabilities:
            self._policies_differ()
        else:
            self._makes_another_lead()

    def _makes_another_lead(self) -> None:
        for policy in MERGING:
            first = self._known(policy)
            another = delivered(self._again()).record_id != first
            expect(another, f"CRM_ON_DUPLICATE={policy}: a known person gets no second lead. {CLAIM}")

    def _policies_differ(self) -> None:
        self._merges("note")
        sent = {policy: self._effect(policy) for policy in MERGING}
        expect(
            sent["note"] != sent["update"],
            f"CRM_ON_DUPLICATE=note and =update send the same requests for a known person. {USE_KNOWN}",
        )
        first = self._known("create")
        second = delivered(self._again())
        another = second.record_id != first and not second.adopted
        expect(another, f"CRM_ON_DUPLICATE=create makes no other lead for a known person. {USE_KNOWN}")

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    @needs_capability("detects_duplicates")
    def test_submission_of_a_known_person_arrives_whole(self) -> None:
        """All values are sent with the note or the update."""
        for policy in MERGING:
            self._merges(policy)
            outcome = self._again()
            delivered(outcome)
            sent = "\n".join(map(self.sent_text, outcome.requests))
            new = [value for value in texts(self._second().to_dict()) if value not in self._old()]
            lost = [value for value in new if not self.arrived(value, sent)]
            remedy = "Write all of `describe_all(lead, operation)` into the note."
            expect(not lost, f"CRM_ON_DUPLICATE={policy}: {lost} of a known person is not sent. {remedy}")

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    @needs_capability("detects_duplicates")
    def test_submission_of_a_known_person_is_found(self) -> None:
        """`find_lead` finds the note or the update, and returns the known lead."""
        for policy in MERGING:
            first = self._merges(policy)
            self._is_known(self.find(self._again().operation), first, policy)

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    @needs_capability("detects_duplicates")
    def test_submission_of_a_known_person_whose_answer_was_lost_is_stored_once(self) -> None:
        """The answer to the note or the update was lost, or the request itself."""
        for policy in MERGING:
            self._merges(policy)
            self._again()
            once = self._times(samples.OF_AGAIN)
            for when in ("after", "before"):
                first = self._known(policy)
                operation = made(Kind.CREATE_LEAD, self._second())
                self.fail_writes(self.crm, "drop", when=when, times=1)
                result = delivered(self.retried(operation, self._again))
                expect(
                    result.record_id == first, f"CRM_ON_DUPLICATE={policy}: a lost answer makes another lead. {ONCE}"
                )
                count = self._times(samples.OF_AGAIN)
                shown = f"a submission whose answer was lost is stored {count} times instead of {once}"
                expect(count == once, f"CRM_ON_DUPLICATE={policy}: {shown}. {ONCE}")

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    @needs_capability("detects_duplicates")
    def test_failed_search_for_a_known_person_makes_no_second_lead(self) -> None:
        """The search answers 503: whether the person is known is unknown."""
        for policy in MERGING:
            first = self._merges(policy)
            bad = samples.MAINTENANCE[1]
            with self.crm.lock:
                reads = samples.WriteFault("answer", writes=lambda one: not self.is_write(one), **bad.options())
                self.crm.faults.append(reads)
            outcome = self._again()
            other = isinstance(outcome.result, Delivered) and outcome.result.record_id != first
            expect(not other, f"{outcome} for a known person {bad.when}. Raise Unavailable (`lost(True, ...)`).")

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    @needs_capability("detects_duplicates")
    def test_person_with_a_similar_contact_gets_a_lead(self) -> None:
        """Only a part of the email or of the phone is equal to that of a known person: it is another person."""
        for policy in MERGING:
            ids = {self._known(policy)}
            for lead in self._similar():
                result = delivered(self.create(lead))
                other = result.record_id not in ids and not result.adopted
                shown = f"{lead.email or lead.phone} gets the lead of a person with a similar email or phone"
                expect(other, f"CRM_ON_DUPLICATE={policy}: {shown}. {EQUAL}")
                ids.add(result.record_id)

    def _similar(self) -> Iterator[Lead]:
        """Persons whose email or phone contains that of the full lead, or is a part of it."""
        known = self.full_lead()
        for email in (f"a{known.email}", f"{known.email}.tr", known.email[1:]):
            yield self.adapted(Lead(first_name="Mina", email=email))
        for phone in (f"+1{known.phone[-10:]}", f"{known.phone}8", known.phone[:-1]):
            yield self.adapted(Lead(first_name="Mina", phone=phone))

    def _merges(self, policy: str) -> str:
        """Begin again with a known person. Returns the id of the lead."""
        first = self._known(policy)
        second = delivered(self._again())
        remedy = "Search for the person, or remove `detects_duplicates` from `capabilities`."
        same = second.record_id == first
        expect(same, f"CRM_ON_DUPLICATE={policy}: a known person gets a second lead. {remedy}")
        expect(second.adopted, f"CRM_ON_DUPLICATE={policy}: a known lead is not `adopted`. {USE_KNOWN}")
        return self._known(policy)

    def _known(self, policy: str) -> str:
        """Begin again with a CRM that knows the person."""
        self.restart(on_duplicate=policy)
        return self.created_id()

    def _effect(self, policy: str) -> set[str]:
        """The words of the writes for a known person that are the same each time: no ids, no numbers, no times."""
        runs = list[set[str]]()
        for _ in range(2):
            self._known(policy)
            outcome = self._again()
            delivered(outcome)
            sent = (f"{one.method} {one.path}\n{self.sent_text(one)}" for one in self.writes(outcome.requests))
            runs.append(set(re.findall(r"\b[^\W\d]\w*", "\n".join(sent))))
        return runs[0] & runs[1]

    def _again(self, operation: Operation | None = None) -> CallResult:
        return self.create(self._second(), operation or made(Kind.CREATE_LEAD, self._second()))

    def _second(self) -> Lead:
        return self.adapted(replace(samples.AGAIN))

    def _old(self) -> list[str]:
        return [*texts(self.full_lead().to_dict())]

    def _times(self, text: str) -> int:
        """How often the records of the CRM contain `text`."""
        return json.dumps(self.crm.records(), ensure_ascii=False, default=str).count(text)

    def _is_known(self, outcome: CallResult, first: str, policy: str) -> None:
        found = outcome.result
        right = isinstance(found, Delivered) and found.record_id == first and found.adopted
        expect(right, f"CRM_ON_DUPLICATE={policy}: {outcome}{reason(outcome)} after a note or an update. {ONCE}")

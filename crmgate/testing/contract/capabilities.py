"""Checks of optional hooks. They apply to a plugin with the hook."""

from __future__ import annotations

import copy
import json
import unittest
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from crmgate.errors import ConfigError, NotFound, OutcomeUnknown, ProviderError, Unavailable
from crmgate.model import CrmField, Kind, Lead, Operation, Preview, Provision
from crmgate.policy import DeliveryMode
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import needs_hook, needs_mode
from crmgate.testing.contract.base import CallResult, Contract, delivered, expect, fail, made, reason
from crmgate.testing.contract.outcomes import ends_with, unknown
from crmgate.testing.contract.text import texts

GONE = "The lead does not exist: raise NotFound, so that crmgate creates another one."
KEEP = (
    "Fill empty fields only (`self.plan_update`), and put a value that differs into the description, or log it as an "
    "activity."
)
ONCE = (
    "Store the operation id with the activity, and let find_lead (`operation.kind` is log_activity) return the lead if "
    "the activity exists."
)
UPDATED = (
    "Before an update, look for `operation.tracking_code` in the texts of the lead, and return "
    "self.delivered(lead_id, adopted=True) if it is there."
)
MANY = (
    "Search for the operation id, or for the tracking code in texts and activities, on the record that "
    "`operation.delivered` names."
)


class CapabilityChecks(Contract):
    """`update_lead`, `log_activity`, `find_many`, `describe_fields`, `preview`, `provision`."""

    @needs_hook("update_lead")
    def test_update_arrives_and_names_the_lead(self) -> None:
        """All new values are sent."""
        lead_id = self.created_id()
        lead = replace(self.full_lead(), city="Seydisfjordur", budget="22,500 EUR")
        outcome = self.update(lead_id, lead)
        confirmed, sent = delivered(outcome), "\n".join(map(self.sent_text, outcome.requests))
        expect(confirmed.record_id == lead_id, f"update_lead returned {confirmed.record_id!r} instead of {lead_id!r}.")
        lost = [value for value in (lead.city, lead.budget) if not self.arrived(value, sent)]
        expect(not lost, f"update_lead does not send {lost}. Send every fact of the lead.")

    @needs_hook("update_lead")
    def test_update_keeps_what_the_lead_does_not_say(self) -> None:
        """Fields without a new value keep their values in the CRM, and so does the description."""
        lead_id, full = self.created_id(), self.full_lead()
        kept = [value for value in (full.last_name, full.institution) if self.stored(self.crm, value)]
        delivered(self.update(lead_id, Lead(first_name=full.first_name, email=full.email, city="Seydisfjordur")))
        lost = [value for value in kept if not self.stored(self.crm, value)]
        expect(not lost, f"update_lead removed {lost}, for which the lead has no value. Send only values of the lead.")

    @needs_hook("update_lead")
    def test_update_loses_no_value(self) -> None:
        """A second submission is sent completely, and each earlier value stays in a field or a text of the CRM."""
        full, again = self.full_lead(), self.adapted(copy.deepcopy(samples.AGAIN))
        lead_id, old = self.created_id(full), [*texts(full.to_dict())]
        known = [value for value in old if self.stored(self.crm, value)]
        outcome = self.update(lead_id, again)
        delivered(outcome)
        lost = [value for value in known if not self.stored(self.crm, value)]
        expect(not lost, f"update_lead replaced {lost}. {KEEP}")
        sent = "\n".join(map(self.sent_text, outcome.requests))
        missing = [value for value in texts(again.to_dict()) if value not in old and not self.arrived(value, sent)]
        expect(not missing, f"update_lead does not send {missing}, because the CRM has other values. {KEEP}")

    @needs_hook("update_lead")
    def test_update_of_an_unknown_lead_is_not_found(self) -> None:
        """A person may have deleted it in the CRM."""
        ends_with(self.update(self.unknown_lead_id, self.full_lead()), NotFound, "for a lead that does not exist", GONE)

    @needs_hook("update_lead")
    def test_update_that_fails_is_never_delivered(self) -> None:
        """An HTML page with status 200 or a truncated answer is no success; without a connection it is Unavailable."""
        lead_id = self.created_id()
        for bad in (*samples.SERVER_ERRORS, *samples.HTML_PAGES, *samples.TRUNCATED):
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            ends_with(self.update(lead_id, self.full_lead()), ProviderError, bad.when, unknown(self.mode))
        self.crm.stop()
        nobody = self.update(lead_id, self.full_lead())
        ends_with(nobody, Unavailable, "without a connection", "Nothing was sent: raise Unavailable.")

    @needs_hook("update_lead")
    @needs_mode(DeliveryMode.EXACTLY_ONCE, DeliveryMode.IDEMPOTENT)
    def test_update_makes_no_record(self) -> None:
        """An update changes the lead, also if it is sent again after a lost answer."""
        lead_id, lead = self.created_id(), replace(self.full_lead(), city="Seydisfjordur")
        leads = self.stored(self.crm, lead.email)
        self.fail_writes(self.crm, "drop", when="after", times=1)
        operation = made(Kind.UPDATE_LEAD, lead, lead_id, self.provider.name)
        delivered(self.retried(operation, lambda again: self.update(lead_id, lead, again)))
        expect(self.stored(self.crm, lead.email) == leads, "update_lead created another lead. Update the given lead.")

    @needs_hook("update_lead")
    @needs_mode(DeliveryMode.EXACTLY_ONCE, DeliveryMode.IDEMPOTENT)
    def test_update_whose_answer_was_lost_is_stored_once(self) -> None:
        """An update that is sent again adds nothing twice: not to a text, and no second note."""
        once = self._stored_update()
        for when in ("after", "before"):
            count = self._stored_update(when)
            shown = f"an update whose answer was lost is stored {count} times instead of {once}"
            expect(count == once, f"{shown}. {UPDATED}")

    def _stored_update(self, when: str = "") -> int:
        """How often the records of a new CRM contain the words of an update. `when`: the first answer to it is lost."""
        self.restart()
        lead_id, again = self.created_id(), self.adapted(copy.deepcopy(samples.AGAIN))
        if when:
            self.fail_writes(self.crm, "drop", when=when, times=1)
        operation = made(Kind.UPDATE_LEAD, again, lead_id, self.provider.name)
        delivered(self.retried(operation, self.deliver))
        return json.dumps(self.crm.records(), ensure_ascii=False, default=str).count(samples.OF_AGAIN)

    @needs_hook("log_activity")
    def test_activity_arrives_whole(self) -> None:
        """All facts of the activity are sent, and the result is its lead."""
        lead_id = self.created_id()
        outcome = self.log(lead_id, samples.NEWS)
        confirmed, sent = delivered(outcome), "\n".join(map(self.sent_text, outcome.requests))
        expect(
            confirmed.record_id == lead_id, f"log_activity returned {confirmed.record_id!r}. Return the id of the lead."
        )
        lost = [value for value in texts(samples.NEWS.to_dict()) if not self.arrived(value, sent)]
        expect(not lost, f"log_activity does not send {lost}. Send every fact: self.describe_all(activity, operation).")

    @needs_hook("log_activity")
    def test_activity_on_an_unknown_lead_is_not_found(self) -> None:
        """A person may have deleted it in the CRM."""
        ends_with(self.log(self.unknown_lead_id, samples.NEWS), NotFound, "for a lead that does not exist", GONE)

    @needs_hook("log_activity")
    def test_activity_without_answer_is_outcome_unknown(self) -> None:
        """The CRM may have logged it."""
        lead_id = self.created_id()
        for bad in (*samples.SERVER_ERRORS, *samples.HTML_PAGES, *samples.TRUNCATED):
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            ends_with(self.log(lead_id, samples.NEWS), OutcomeUnknown, bad.when, unknown(self.mode))

    @needs_hook("log_activity")
    @needs_mode(DeliveryMode.EXACTLY_ONCE, DeliveryMode.IDEMPOTENT)
    def test_activity_whose_answer_was_lost_is_logged_once(self) -> None:
        """crmgate calls find_lead with the activity's operation, and logs it again only if find_lead returns None."""
        lead_id = self.created_id()
        for when in ("after", "before"):
            activity = replace(samples.NEWS, metadata={"page": f"/lost-{when}-2027"})
            operation = made(Kind.LOG_ACTIVITY, activity, lead_id, self.provider.name)
            self.fail_writes(self.crm, "drop", when=when, times=1)
            delivered(self.retried(operation, lambda again, what=activity: self.log(lead_id, what, again)))  # type: ignore[misc]
            self.crm.heal()
            count = self.stored(self.crm, activity.metadata["page"])
            expect(count == 1, f"an activity whose answer was lost exists {count} times. {ONCE}")

    @needs_hook("find_many")
    def test_delivered_operations_are_found_together(self) -> None:
        """`find_many` gets receipts without payloads, and finds what is in the CRM: also updates and activities."""
        receipts = [*self._receipts()]
        found = self._found(receipts)
        records = {one.id: one.delivered.record_id for one in receipts if one.delivered}
        missing = sorted({str(one.kind) for one in receipts if found.get(one.id) != records[one.id]})
        expect(not missing, f"find_many lacks operations of the kinds {missing}, which the CRM has. {MANY}")

    @needs_hook("find_many")
    def test_lost_operations_are_not_found(self) -> None:
        """A record that is gone, and an operation that left nothing on a record of another one."""
        [kept, *_] = self._receipts()
        assert kept.delivered is not None
        gone = replace(kept.delivered, record_id=self.unknown_lead_id)
        lost = [replace(kept, id=made(kept.kind, Lead()).id, delivered=one) for one in (gone, kept.delivered)]
        found = self._found([*lost, kept])
        expect(
            found.keys() == {kept.id},
            f"find_many finds {sorted(found.keys() - {kept.id})}, which the CRM does not have. {MANY}",
        )

    @needs_hook("find_many")
    def test_a_look_up_of_many_without_the_crm_is_an_error(self) -> None:
        """An empty result would mean that everything is lost."""
        receipts = [*self._receipts()]
        self.crm.stop()
        outcome = self.ask("find_many", operations=receipts)
        ends_with(outcome, ProviderError, "without a connection", "Raise Unavailable.")

    def _receipts(self) -> Iterator[Operation]:
        """Operations that the CRM confirmed, as crmgate keeps them: without a payload."""
        outcomes = [self.create(), self.click()]
        lead_id = delivered(outcomes[0]).record_id
        if self.implements("update_lead"):
            outcomes.append(self.update(lead_id, replace(self.full_lead(), city="Seydisfjordur")))
        if self.implements("log_activity"):
            outcomes.append(self.log(lead_id, samples.NEWS))
        for outcome in outcomes:
            yield replace(outcome.operation, payload={}, delivered=delivered(outcome))

    def _found(self, receipts: Sequence[Operation]) -> Mapping[str, str]:
        outcome = self.ask("find_many", operations=receipts)
        found = outcome.result
        if not isinstance(found, Mapping):
            fail(f"{outcome}{reason(outcome)}. Return ids of records by ids of operations.")
        expect(not self.writes(outcome.requests), "find_many sends writes. Send only requests that read.")
        return found

    @needs_hook("describe_fields")
    def test_fields_are_described(self) -> None:
        """A CrmField for each fact that has a field. Nothing is changed."""
        outcome = self.ask("describe_fields")
        lines = outcome.result
        good = isinstance(lines, tuple) and all(isinstance(line, CrmField) for line in lines)
        expect(good, f"{outcome}{reason(outcome)}. Return a tuple of CrmField.")
        mapped = {fact for fact, name in self.provider.field_map.names.items() if name}
        missing = sorted(mapped - {line.fact for line in lines})
        expect(not missing, f"describe_fields lacks {', '.join(missing)}. Return a CrmField for each mapped fact.")
        expect(not self.writes(outcome.requests), "describe_fields sends writes. Send only requests that read.")

    @needs_hook("describe_fields")
    def test_fields_of_a_crm_that_is_unavailable_are_an_error(self) -> None:
        """An empty list would mean that there is no problem."""
        self.crm.stop()
        ends_with(self.ask("describe_fields"), ProviderError, "without a connection", "Raise Unavailable.")

    @needs_hook("preview")
    def test_a_preview_sends_nothing_and_shows_the_facts(self) -> None:
        """`preview` works without the CRM, and what the lead says is in the body."""
        self.crm.stop()
        lead = self.full_lead()
        operation = made(Kind.CREATE_LEAD, lead)
        outcome = self.ask("preview", about=operation, operation=operation)
        shown = outcome.result
        expect(isinstance(shown, Preview), f"{outcome}{reason(outcome)}. Return a Preview without a request.")
        lost = [value for value in (lead.first_name, lead.city) if value not in str(shown.body)]
        expect(not lost, f"the body of the preview lacks {lost}. Show the request that the hook would send.")

    @needs_hook("provision")
    def test_provision_without_apply_writes_nothing(self) -> None:
        """It only lists the steps."""
        self.restart(self.fake_before_setup())
        outcome = self._provisioned(apply=False)
        writes = ", ".join(f"{request.method} {request.path}" for request in self.writes(outcome.requests))
        expect(not writes, f"provision(apply=False) sends writes ({writes}). Only read, and return the steps.")

    @needs_hook("provision")
    def test_provision_twice_changes_nothing_the_second_time(self) -> None:
        """The setup is idempotent."""
        self.restart(self.fake_before_setup())
        first = self._provisioned(apply=True)
        undone = [step.what for step in first.result.steps if not step.done]
        expect(not undone, f"provision(apply=True) does not carry out {undone}. Carry out every step.")
        writes = ", ".join(f"{one.method} {one.path}" for one in self.writes(self._provisioned(apply=True).requests))
        expect(not writes, f"a second provision(apply=True) sends writes ({writes}). Carry out only missing steps.")

    def _provisioned(self, *, apply: bool) -> CallResult:
        outcome = self.ask("provision", apply=apply)
        if isinstance(outcome.error, ConfigError):
            raise unittest.SkipTest(
                f"add the administrator's settings to `settings`: {'; '.join(outcome.error.problems)}"
            )
        if not isinstance(outcome.result, Provision):
            fail(f"{outcome}{reason(outcome)}. Return a Provision.")
        return outcome

"""Checks of the hooks that a plugin may leave out; they are skipped for one that has none."""

from __future__ import annotations

import unittest
from dataclasses import replace

from crmgate.errors import ConfigError, NotFound, OutcomeUnknown, ProviderError, Unavailable
from crmgate.model import CrmField, Kind, Lead, Provision
from crmgate.testing.contract import samples
from crmgate.testing.contract.base import CallResult, Contract, delivered, expect, fail, made, reason
from crmgate.testing.contract.outcomes import LOOK_FIRST, ends_with
from crmgate.testing.contract.text import texts

GONE = "The lead does not exist: raise NotFound, so that a person decides."
ONCE = (
    "Store its operation id with it, and let find_lead (`operation.kind` is log_activity then) return the lead when "
    "the activity is there."
)


class CapabilityChecks(Contract):
    """`update_lead`, `log_activity`, `describe_fields`, `provision`."""

    def test_update_arrives_and_names_the_lead(self) -> None:
        """What is new reaches the CRM."""
        self.needs("update_lead")
        lead_id = self.created_id()
        lead = replace(self.full_lead(), city="Seydisfjordur", budget="22,500 EUR")
        outcome = self.update(lead_id, lead)
        confirmed, told = delivered(outcome), "\n".join(map(self.sent_text, outcome.requests))
        expect(confirmed.record_id == lead_id, f"update_lead returned {confirmed.record_id!r} instead of {lead_id!r}.")
        lost = [value for value in (lead.city, lead.budget) if not self.arrived(value, told)]
        expect(not lost, f"update_lead sends nothing of {lost}. Send every fact that the lead has.")

    def test_update_keeps_what_the_lead_does_not_say(self) -> None:
        """An empty field is one that nothing is known about; in the CRM it stays as it is, the description too."""
        self.needs("update_lead")
        lead_id, full = self.created_id(), self.full_lead()
        kept = [value for value in (full.last_name, full.institution) if self.stored(self.crm, value)]
        delivered(self.update(lead_id, Lead(first_name=full.first_name, email=full.email, city="Seydisfjordur")))
        lost = [value for value in kept if not self.stored(self.crm, value)]
        expect(not lost, f"update_lead removed {lost}, which the new lead does not speak of. Send what it says only.")

    def test_update_of_an_unknown_lead_is_not_found(self) -> None:
        """Somebody deleted it in the CRM."""
        self.needs("update_lead")
        ends_with(self.update(self.unknown_lead_id, self.full_lead()), NotFound, "for a lead that is not there", GONE)

    def test_update_that_fails_is_never_delivered(self) -> None:
        """Neither by a page with status 200 nor by an answer that was cut; without a connection it is Unavailable."""
        self.needs("update_lead")
        lead_id = self.created_id()
        for bad in (*samples.SERVER_ERRORS, *samples.HTML_PAGES, *samples.TRUNCATED):
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            told = f"when the CRM answered with {bad.told}"
            ends_with(self.update(lead_id, self.full_lead()), ProviderError, told, LOOK_FIRST)
        self.crm.stop()
        nobody = self.update(lead_id, self.full_lead())
        ends_with(nobody, Unavailable, "while nobody listens", "Nothing was sent: raise Unavailable.")

    def test_update_makes_no_record(self) -> None:
        """Also not when its answer was lost and it is sent again."""
        self.needs("update_lead")
        lead_id, lead = self.created_id(), replace(self.full_lead(), city="Seydisfjordur")
        leads = self.stored(self.crm, lead.email)
        self.fail_writes(self.crm, "drop", when="after", times=1)
        operation = made(Kind.UPDATE_LEAD, lead, lead_id, self.provider.name)
        delivered(self.retried(operation, lambda again: self.update(lead_id, lead, again)))
        expect(self.stored(self.crm, lead.email) == leads, "update_lead made another lead. Change the one it is given.")

    def test_activity_arrives_whole(self) -> None:
        """On the lead that it belongs to."""
        self.needs("log_activity")
        lead_id = self.created_id()
        outcome = self.log(lead_id, samples.NEWS)
        confirmed, told = delivered(outcome), "\n".join(map(self.sent_text, outcome.requests))
        expect(confirmed.record_id == lead_id, f"log_activity returned {confirmed.record_id!r}: it has to be the lead.")
        lost = [value for value in texts(samples.NEWS.to_dict()) if not self.arrived(value, told)]
        expect(
            not lost, f"log_activity sends nothing of {lost}. Tell every fact: self.describe(self.map_activity(...))."
        )

    def test_activity_on_an_unknown_lead_is_not_found(self) -> None:
        """Somebody deleted it in the CRM."""
        self.needs("log_activity")
        ends_with(self.log(self.unknown_lead_id, samples.NEWS), NotFound, "for a lead that is not there", GONE)

    def test_activity_without_answer_is_outcome_unknown(self) -> None:
        """It may have been logged."""
        self.needs("log_activity")
        lead_id = self.created_id()
        for bad in (*samples.SERVER_ERRORS, *samples.HTML_PAGES, *samples.TRUNCATED):
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            told = f"when the CRM answered with {bad.told}"
            ends_with(self.log(lead_id, samples.NEWS), OutcomeUnknown, told, LOOK_FIRST)

    def test_activity_whose_answer_was_lost_is_logged_once(self) -> None:
        """crmgate asks find_lead with the activity's operation, and logs it again only if that finds nothing."""
        self.needs("log_activity")
        lead_id = self.created_id()
        for when in ("after", "before"):
            activity = replace(samples.NEWS, metadata={"page": f"/lost-{when}-2027"})
            operation = made(Kind.LOG_ACTIVITY, activity, lead_id, self.provider.name)
            self.fail_writes(self.crm, "drop", when=when, times=1)
            delivered(self.retried(operation, lambda again, what=activity: self.log(lead_id, what, again)))  # type: ignore[misc]
            self.crm.heal()
            count = self.stored(self.crm, activity.metadata["page"])
            expect(count == 1, f"an activity whose answer was lost is there {count} times. {ONCE}")

    def test_fields_are_described(self) -> None:
        """A line for each fact that has a field; nothing is changed."""
        self.needs("describe_fields")
        outcome = self.ask("describe_fields")
        lines = outcome.result
        good = isinstance(lines, tuple) and all(isinstance(line, CrmField) for line in lines)
        expect(good, f"{outcome}{reason(outcome)}. Return a tuple of CrmField.")
        mapped = {fact for fact, name in self.provider.field_map.names.items() if name}
        missing = sorted(mapped - {line.fact for line in lines})
        expect(not missing, f"describe_fields tells nothing of {', '.join(missing)}. Give a line for each mapped fact.")
        expect(not self.writes(outcome.requests), "describe_fields writes. Use requests that only read.")

    def test_fields_of_a_crm_that_is_away_are_an_error(self) -> None:
        """An empty list would say that all is well."""
        self.needs("describe_fields")
        self.crm.stop()
        ends_with(self.ask("describe_fields"), ProviderError, "while nobody listens", "Raise Unavailable.")

    def test_provision_without_apply_writes_nothing(self) -> None:
        """It only says what it would do."""
        outcome = self._provisioned(apply=False)
        told = ", ".join(f"{request.method} {request.path}" for request in self.writes(outcome.requests))
        expect(not told, f"provision(apply=False) writes ({told}). Only read, and return the steps.")

    def test_provision_twice_changes_nothing_the_second_time(self) -> None:
        """Whoever is not sure runs it again."""
        first = self._provisioned(apply=True)
        undone = [step.what for step in first.result.steps if not step.done]
        expect(not undone, f"provision(apply=True) leaves undone: {undone}.")
        told = ", ".join(f"{one.method} {one.path}" for one in self.writes(self._provisioned(apply=True).requests))
        expect(not told, f"provision(apply=True) writes the second time as well ({told}). Do what is missing only.")

    def _provisioned(self, *, apply: bool) -> CallResult:
        self.needs("provision")
        outcome = self.ask("provision", apply=apply)
        if isinstance(outcome.error, ConfigError):
            raise unittest.SkipTest(
                f"give the administrator's settings in `settings`: {'; '.join(outcome.error.problems)}"
            )
        if not isinstance(outcome.result, Provision):
            fail(f"{outcome}{reason(outcome)}. Return a Provision.")
        return outcome

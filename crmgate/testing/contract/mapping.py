"""Checks: every value of a visitor is sent to the CRM."""

from __future__ import annotations

import copy
from dataclasses import replace

from crmgate.model import Activity, Kind, Lead
from crmgate.testing.contract import samples
from crmgate.testing.contract.base import CallResult, Contract, delivered, expect, made
from crmgate.testing.contract.text import texts


class MappingChecks(Contract):
    """All values of all kinds of submissions arrive."""

    def test_minimal_lead_arrives(self) -> None:
        """A first name and an email; all other values are empty."""
        self._arrives_whole(self.adapted(copy.deepcopy(samples.MINIMAL)))

    def test_full_lead_arrives_whole(self) -> None:
        """Every fact has a value. A fact without a field in the CRM goes into the description."""
        self._arrives_whole(self.full_lead())

    def test_non_ascii_lead_arrives_whole(self) -> None:
        """Turkish, Greek and Japanese letters."""
        self._arrives_whole(self.adapted(copy.deepcopy(samples.NON_ASCII)))

    def test_right_to_left_lead_arrives_whole(self) -> None:
        """Arabic."""
        self._arrives_whole(self.adapted(copy.deepcopy(samples.RIGHT_TO_LEFT)))

    def test_emoji_lead_arrives_whole(self) -> None:
        """Characters beyond the first 65,536."""
        self._arrives_whole(self.adapted(copy.deepcopy(samples.EMOJI)))

    def test_click_arrives_whole(self) -> None:
        """A lead for a visitor without a name."""
        self._holds_all(self.click(), samples.CLICK)

    def test_markup_of_a_visitor_is_escaped(self) -> None:
        """A text that the CRM shows as HTML would run what a visitor typed in the browser of the staff."""
        outcomes = [*self.creates(), self.create()]  # the last one: a note, if the CRM knows the person
        activity = replace(samples.NEWS, metadata={"page": f"/{samples.MARKUP}"})
        lead_id = delivered(outcomes[0]).record_id
        if self.implements("update_lead"):
            outcomes.append(self.update(lead_id, self.adapted(replace(samples.AGAIN, additional_info=samples.MARKUP))))
        if self.implements("log_activity"):
            outcomes.append(self.log(lead_id, activity))
        for outcome in outcomes:
            raw = [text for request in outcome.requests for text in self.html_texts(request) if samples.MARKUP in text]
            expect(
                not raw,
                f"{outcome.hook} sends {samples.MARKUP!r} of a visitor unescaped in a text of HTML. Use html.escape.",
            )

    def test_delivered_names_the_record(self) -> None:
        """crmgate stores the provider, the id of the record and its address."""
        for outcome in self.creates():
            confirmed, own = delivered(outcome), self.provider.name
            expect(
                confirmed.provider == own,
                f"{outcome.hook}: Delivered.provider is {confirmed.provider!r}. Set it to self.name, {own!r}.",
            )
            expect(
                isinstance(confirmed.record_id, str) and confirmed.record_id.strip() not in ("", "None"),
                f"{outcome.hook}: Delivered.record_id is {confirmed.record_id!r}. Set it to the CRM's id as text.",
            )
            expect(
                confirmed.url == "" or confirmed.url.startswith(("http://", "https://")),
                f"{outcome.hook}: Delivered.url is no address. Set it to the record's page in the CRM, or to nothing.",
            )
            expect(
                not confirmed.adopted,
                f"{outcome.hook}: a new record is `adopted`. Set it only for a record that existed before.",
            )

    def test_input_is_not_changed(self) -> None:
        """crmgate sends the same objects again after a failure."""
        lead, operation = self.full_lead(), made(Kind.CREATE_LEAD, self.full_lead())
        activity = copy.deepcopy(samples.CLICK)
        click = made(Kind.CREATE_MINIMAL_LEAD, activity)
        before = copy.deepcopy((lead, operation, activity, click))
        self.create(lead, operation)
        self.deliver(click, data=activity)
        same = before == (lead, operation, activity, click)
        expect(same, "the plugin changes the lead, the activity or the operation. Change a copy.")

    def _arrives_whole(self, lead: Lead) -> None:
        self._holds_all(self.create(lead), lead)

    def _holds_all(self, outcome: CallResult, data: Lead | Activity) -> None:
        delivered(outcome)
        sent = "\n".join(map(self.sent_text, outcome.requests))
        lost = [value for value in texts(data.to_dict()) if not self.arrived(value, sent)]
        expect(
            not lost,
            f"{outcome.hook} does not send {lost}. Map it with `lead_fields`, or put it into the description: "
            f"self.describe(mapped, operation, lead.additional_info).",
        )

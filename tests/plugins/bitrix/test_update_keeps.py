"""The Bitrix24 plugin: an update destroys neither an earlier submission nor a correction on the portal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from crmgate.model import Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
    CLICK,
    Connect,
    bring,
    click,
    contacts,
    creation,
    deliver,
    existing,
    only_lead,
    text_of_record,
    update,
)

FIRST = replace(
    ANNA, referral_code="REFONE", field_of_study="Law", universities=("Lund",), language="turkish", source="partner"
)
SECOND = Lead(
    first_name="Hanna", last_name="Leigh", email="h.leigh@example.com", phone="+12025550120", referral_code="REFTWO",
    field_of_study="Physics", universities=("Turku",), language="english", source="referral", city="Bonn",
)  # fmt: skip
VALUES = [
    *("Anna", "Lee", ANNA.email, ANNA.phone, "REFONE", "Law", "Lund", "turkish", "partner"),
    *("Hanna", "Leigh", SECOND.email, SECOND.phone, "REFTWO", "Physics", "Turku", "english", "referral", "Bonn"),
]
ROWS = [("PHONE", ANNA.phone), ("EMAIL", ANNA.email), ("PHONE", SECOND.phone), ("EMAIL", SECOND.email)]


@pytest.fixture
def portal() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


def lost(portal: FakeBitrix24, values: list[str] = VALUES) -> list[str]:
    return [value for value in values if value not in text_of_record(only_lead(portal)) + str(portal.comments)]


@BOTH_APIS
class TestSecondApplication:
    def test_every_value_of_both_is_there(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(FIRST)).record_id
        before = only_lead(portal)
        assert deliver(crm, update(made, SECOND)).dropped == ()
        after = only_lead(portal)
        assert lost(portal) == []
        changed = {name for name in after if after[name] != before.get(name)}
        assert changed - {"updatedTime"} == {"fm", "comments"}

    def test_what_differs_stands_under_the_time(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(FIRST)).record_id
        operation = update(made, replace(FIRST, field_of_study="Physics"))
        deliver(crm, operation)
        block = only_lead(portal)["comments"].partition("\n\nUpdate of 1970-01-01 00:00:00 UTC:\n\n")[2]
        code = f"Submitted: 1970-01-01 00:00 UTC\nTracking code: {operation.tracking_code}"
        assert block == f"Field of study: Physics\n\n{code}"

    def test_phone_and_email_become_further_rows_once(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(FIRST)).record_id
        for again in (SECOND, SECOND, replace(SECOND, email="H.Leigh@EXAMPLE.com")):
            deliver(crm, update(made, again))
        assert sorted(contacts(only_lead(portal))) == sorted(ROWS)
        assert "Phone" not in only_lead(portal)["comments"]

    def test_the_code_of_the_click_stays(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, update(deliver(crm, click(CLICK)).record_id, SECOND))
        record = only_lead(portal)
        assert record["UF_CRM_REFERRAL_CODE"] == CLICK.referral_code
        assert "Referral code: REFTWO" in record["comments"].splitlines()
        assert (record["name"], record["lastName"], record["title"]) == ("Hanna", "Leigh", "Lead - Hanna Leigh")

    def test_a_person_does_not_keep_half_of_the_name_of_a_click(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, click(CLICK)).record_id
        assert deliver(crm, update(made, Lead(first_name="Hanna"))).dropped == ()
        assert (only_lead(portal)["name"], only_lead(portal)["lastName"] or "") == ("Hanna", "")
        deliver(crm, update(made, SECOND))
        assert only_lead(portal)["lastName"] == "Leigh"

    def test_a_lead_without_a_name_keeps_the_title_of_a_click(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, update(deliver(crm, click(CLICK)).record_id, Lead(email=ANNA.email)))
        assert only_lead(portal)["title"] == "Lead - Messenger Lead"

    def test_corrections_survive(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(FIRST)).record_id
        corrected = {"lastName": "Leeds", "UF_CRM_1234567897": "Lund University", "title": "Hot", "sourceId": "CALL"}
        portal.save_lead(corrected, [], int(made))
        deliver(crm, update(made, FIRST))
        record = only_lead(portal)
        assert record.items() >= corrected.items()
        assert {"Last name: Lee", "University: Lund"} <= set(record["comments"].splitlines())


class TestPolicies:
    @pytest.mark.parametrize("api", ["item", "lead"], indirect=True)
    def test_overwrite_keeps_the_previous_values_in_the_comments(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(on_update="overwrite")
        made = deliver(crm, creation(FIRST)).record_id
        deliver(crm, update(made, SECOND))
        record = only_lead(portal)
        new = {"name": "Hanna", "UF_CRM_1234567896": "Physics", "UF_CRM_REFERRAL_CODE": "REFONE"}
        assert record.items() >= new.items()
        assert {"First name: was: Anna", f"Phone: was: {ANNA.phone}"} <= set(record["comments"].splitlines())
        assert lost(portal) == []

    def test_a_known_person_is_updated_by_the_same_rule(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(on_duplicate="update")
        deliver(crm, creation(FIRST))
        assert deliver(crm, creation(replace(SECOND, email=FIRST.email))).adopted
        assert lost(portal, [value for value in VALUES if value != SECOND.email]) == []
        assert only_lead(portal)["name"] == "Anna"

    @pytest.mark.parametrize("on_update", ["describe", "overwrite"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_an_unknown_outcome_adds_nothing_twice(
        self, portal: FakeBitrix24, connect: Connect, when: str, on_update: str
    ) -> None:
        crm = connect(on_update=on_update)
        operation = update(deliver(crm, creation(FIRST)).record_id, SECOND)
        portal.fail_with("ERROR_CORE", when=when, path=r"crm\.item\.update", times=1)
        bring(crm, operation)
        assert only_lead(portal)["comments"].count(operation.tracking_code) == 1
        assert sorted(contacts(only_lead(portal))) == sorted(ROWS)

    def test_a_retry_leaves_a_later_correction_alone(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(on_update="overwrite")
        operation = update(deliver(crm, creation(FIRST)).record_id, SECOND)
        deliver(crm, operation)
        portal.save_lead({"name": "Anna-Lena"}, [], int(operation.lead_id))
        assert deliver(crm, operation).adopted
        assert only_lead(portal)["name"] == "Anna-Lena"

    def test_a_list_field_is_compared_by_its_items(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        items = portal.make_enumeration("UF_CRM_1234567894", "turkish", "english")
        made = deliver(crm, creation(FIRST)).record_id
        deliver(crm, update(made, FIRST))
        deliver(crm, update(made, SECOND))
        assert str(only_lead(portal)["UF_CRM_1234567894"]) == str(items["turkish"])
        assert "Language: english" in only_lead(portal)["comments"].splitlines()

    def test_items_of_a_list_field_are_described_by_their_texts(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_user_field("UF_CRM_MANY")
        items = portal.make_enumeration("UF_CRM_MANY", "Lund", "Turku")
        portal.user_fields["UF_CRM_MANY"].multiple = True
        crm = connect(BITRIX_MAP_UNIVERSITIES="UF_CRM_MANY", BITRIX_MAP_UNIVERSITY="")
        made = deliver(crm, creation(FIRST)).record_id
        deliver(crm, update(made, FIRST))
        assert "Universities" not in only_lead(portal)["comments"]
        deliver(crm, update(made, SECOND))
        assert [str(one) for one in only_lead(portal)["UF_CRM_MANY"]] == [str(items["Lund"])]
        assert "Universities: Turku" in only_lead(portal)["comments"].splitlines()

    @pytest.mark.parametrize("stored", ["Y", "1", 1, True])
    def test_the_same_answer_to_a_truth_value_is_not_repeated(
        self, portal: FakeBitrix24, connect: Connect, stored: object
    ) -> None:
        portal.add_user_field("UF_CRM_TRUTH", "boolean")
        crm = connect(BITRIX_MAP_SCHOLARSHIP_NEEDED="UF_CRM_TRUTH")
        lead = existing(portal)
        portal.leads[lead]["UF_CRM_TRUTH"] = stored
        deliver(crm, update(lead, replace(ANNA, scholarship_needed="yes")))
        assert "Scholarship" not in only_lead(portal)["comments"]
        deliver(crm, update(lead, replace(ANNA, scholarship_needed="no")))
        assert only_lead(portal)["UF_CRM_TRUTH"] == stored
        assert "Scholarship needed: no" in only_lead(portal)["comments"].splitlines()

    @pytest.mark.parametrize("stored", ["N", "0", 0, False, None])
    def test_a_truth_value_that_nobody_answered_is_filled(
        self, portal: FakeBitrix24, connect: Connect, stored: object
    ) -> None:
        portal.add_user_field("UF_CRM_TRUTH", "boolean")
        lead = existing(portal)
        portal.leads[lead]["UF_CRM_TRUTH"] = stored
        crm = connect(BITRIX_MAP_SCHOLARSHIP_NEEDED="UF_CRM_TRUTH")
        deliver(crm, update(lead, replace(ANNA, scholarship_needed="yes")))
        assert only_lead(portal)["UF_CRM_TRUTH"] == "Y"

    def test_the_phone_of_row_1_stays(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal, phone="+905321234567")
        assert portal.leads[lead]["fm"][0]["id"] == 1
        deliver(crm, update(lead, ANNA))
        assert {row["value"] for row in only_lead(portal)["fm"]} == {"+905321234567", ANNA.phone, ANNA.email}

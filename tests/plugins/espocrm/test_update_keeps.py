"""The EspoCRM plugin: an update loses neither an earlier submission nor a correction in EspoCRM."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmgate.model import Kind, Lead
from crmgate.testing.espocrm import FakeEspoCRM
from tests.plugins.espocrm.rig import CLICK, FULL, about, click, create, deliver, logged, operation, provider, update

FIRST = Lead(
    first_name="Ada", last_name="Lovelace", email="ada@example.org", phone="+905321234567", referral_code="REFONE",
    field_of_study="Law", universities=("Koç",), language="turkish", source="partner",
)  # fmt: skip
SECOND = Lead(
    first_name="Augusta", last_name="King", email="a.king@example.org", phone="+905321234568", referral_code="REFTWO",
    field_of_study="Physics", universities=("Bilkent",), language="english", source="landing", city="Bonn",
)  # fmt: skip
VALUES = [
    *("Ada", "Lovelace", "ada@example.org", "+905321234567", "REFONE", "Law", "Koç", "turkish", "partner"),
    *("Augusta", "King", "a.king@example.org", "+905321234568", "REFTWO", "Physics", "Bilkent", "english", "landing"),
    "Bonn",
]
OVERWRITE = {"on_update": "overwrite"}


def lost(crm: FakeEspoCRM, values: list[str] = VALUES) -> list[str]:
    everything = f"{crm.leads} {logged(crm)}"
    return [value for value in values if value not in everything]


def only(crm: FakeEspoCRM) -> dict[str, Any]:
    (lead,) = crm.leads
    return lead


def phones(crm: FakeEspoCRM) -> list[tuple[str, bool]]:
    return [(row["phoneNumber"], row["primary"]) for row in only(crm)["phoneNumberData"]]


def emails(crm: FakeEspoCRM) -> list[tuple[str, bool]]:
    return [(row["emailAddress"], row["primary"]) for row in only(crm)["emailAddressData"]]


class TestSecondApplication:
    def test_every_value_of_both_is_there(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        before = only(crm)
        assert update(plugin, made, SECOND).dropped == ()
        assert lost(crm) == []
        kept = ("firstName", "lastName", "referralCodeC", "fieldOfStudyC", "universityC", "languageC", "source")
        assert {name: only(crm)[name] for name in kept} == {name: before[name] for name in kept}

    def test_what_differs_stands_under_the_time(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        wanted = about(made, replace(FIRST, field_of_study="Physics"), Kind.UPDATE_LEAD)
        update(plugin, made, wanted.lead, wanted)
        block = only(crm)["description"].partition("\n\nUpdate of 2026-01-02 03:00:00 UTC:\n\n")[2]
        code = f"Submitted: 2026-01-02 03:00 UTC\nTracking code: {wanted.tracking_code}"
        assert block == f"Field of study: Physics\nSource: partner\n\n{code}"

    def test_phone_and_email_become_further_rows(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        for _ in range(2):
            update(plugin, made, SECOND)
        assert phones(crm) == [(FIRST.phone, True), (SECOND.phone, False)]
        assert emails(crm) == [(FIRST.email, True), (SECOND.email, False)]
        assert (only(crm)["phoneNumber"], only(crm)["emailAddress"]) == (FIRST.phone, FIRST.email)

    def test_rows_keep_what_staff_noted_on_them(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        row = {"phoneNumber": FIRST.phone, "primary": True, "type": "Office", "optOut": True, "invalid": False}
        crm.change_lead(made, phoneNumberData=[row])
        update(plugin, made, SECOND)
        assert only(crm)["phoneNumberData"][0].items() >= row.items()

    @pytest.mark.parametrize(
        ("phone", "email"), [("+905321234567", "ADA@EXAMPLE.ORG"), ("+905321234569", "old@example.org")]
    )
    def test_equal_values_are_not_repeated(self, crm: FakeEspoCRM, phone: str, email: str) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        update(plugin, made, replace(FIRST, phone="+905321234569", email="old@example.org"))
        rows = phones(crm), emails(crm)
        update(plugin, made, replace(FIRST, phone=phone, email=email))
        assert (phones(crm), emails(crm)) == rows
        assert "Phone" not in only(crm)["description"]
        assert "Email" not in only(crm)["description"]

    def test_the_code_of_the_click_stays(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        update(plugin, click(plugin).record_id, SECOND)
        assert only(crm)["referralCodeC"] == CLICK.referral_code
        assert "Referral code: REFTWO" in only(crm)["description"].splitlines()

    def test_a_missing_last_name_is_filled_later(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, replace(FIRST, last_name="")).record_id
        assert only(crm)["lastName"] == "-"
        update(plugin, made, FIRST)
        assert only(crm)["lastName"] == "Lovelace"

    def test_a_known_person_is_updated_by_the_same_rule(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, {"on_duplicate": "update"})
        create(plugin, FIRST)
        assert create(plugin, replace(SECOND, email=FIRST.email)).adopted
        assert lost(crm, [value for value in VALUES if value != SECOND.email]) == []
        assert only(crm)["fieldOfStudyC"] == "Law"


class TestCorrections:
    CORRECTED = {"lastName": "Byron", "phoneNumber": "+905321234569", "universityC": "Koç University"}  # noqa: RUF012

    def test_they_survive(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        crm.change_lead(made, **self.CORRECTED)
        update(plugin, made, FIRST)
        assert only(crm).items() >= self.CORRECTED.items()
        assert lost(crm, VALUES[:9]) == []
        assert "Last name: Lovelace" in only(crm)["description"]

    def test_a_retry_leaves_a_later_correction_alone(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, OVERWRITE)
        made = create(plugin, FIRST).record_id
        wanted = about(made, SECOND, Kind.UPDATE_LEAD)
        update(plugin, made, SECOND, wanted)
        crm.change_lead(made, **self.CORRECTED)
        assert update(plugin, made, SECOND, wanted).adopted
        assert only(crm).items() >= self.CORRECTED.items()

    def test_half_of_the_name_of_a_click(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = click(plugin).record_id
        crm.change_lead(made, lastName="Byron")
        update(plugin, made, FIRST)
        assert (only(crm)["firstName"], only(crm)["lastName"]) == ("Ada", "Byron")


class TestOverwrite:
    def test_the_new_value_and_the_previous_one(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, OVERWRITE)
        made = create(plugin, FIRST).record_id
        update(plugin, made, SECOND)
        new = {"firstName": "Augusta", "fieldOfStudyC": "Physics", "languageC": "english", "referralCodeC": "REFONE"}
        assert only(crm).items() >= new.items()
        assert {"First name: was: Ada", "Phone: was: +905321234567"} <= set(only(crm)["description"].splitlines())
        assert lost(crm) == []

    def test_the_new_phone_is_the_primary_one(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, OVERWRITE)
        update(plugin, create(plugin, FIRST).record_id, SECOND)
        assert phones(crm) == [(FIRST.phone, False), (SECOND.phone, True)]
        assert only(crm)["phoneNumber"] == SECOND.phone

    def test_a_refused_name_replaces_no_name(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, OVERWRITE)
        made = create(plugin, FIRST).record_id
        assert update(plugin, made, Lead(last_name="x > y")).moved == ("lastName",)
        assert only(crm)["lastName"] == "Lovelace"
        assert "x > y" in only(crm)["description"]


class TestRowsThatAreNotStored:
    @pytest.mark.parametrize("phone", ["05551112233", "+90532"])
    def test_a_refused_phone_is_described(self, crm: FakeEspoCRM, phone: str) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        assert update(plugin, made, replace(SECOND, phone=phone)).moved == ("phoneNumber",)
        assert only(crm)["phoneNumber"] == FIRST.phone
        assert phone not in str(only(crm).get("phoneNumberData"))
        assert len(emails(crm)) == 2
        assert f"Phone: {phone}" in only(crm)["description"].splitlines()

    def test_a_phone_that_the_role_may_not_write_is_described(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        crm.limit_field("phoneNumber")
        assert update(plugin, made, SECOND).dropped == ("phoneNumber",)
        assert f"Phone: {SECOND.phone}" in only(crm)["description"].splitlines()
        create(plugin, replace(FULL, phone="+905327654321"))
        assert "Phone: +905327654321" in crm.leads[1]["description"].splitlines()

    def test_a_phone_that_cannot_be_read_back_is_described(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        made = create(plugin, FIRST).record_id
        crm.fail("drop", method="GET", path=f"/Lead/{made}", every=2)
        update(plugin, made, SECOND)
        assert phones(crm)[1] == (SECOND.phone, False)
        assert f"Phone: {SECOND.phone}" in only(crm)["description"].splitlines()


@pytest.mark.parametrize("policies", [{}, OVERWRITE], ids=["describe", "overwrite"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_unknown_outcome_adds_nothing_twice(crm: FakeEspoCRM, policies: dict[str, str], when: Any) -> None:
    plugin = provider(crm.url, policies)
    made = create(plugin, FIRST).record_id
    wanted = about(made, SECOND, Kind.UPDATE_LEAD)
    crm.fail("drop", when=when, method="PUT", times=1)
    deliver(plugin, wanted)
    assert only(crm)["description"].count(wanted.tracking_code) == 1
    assert [value for value, _ in phones(crm)] == [FIRST.phone, SECOND.phone]
    assert lost(crm) == []


def test_a_note_changes_no_field(crm: FakeEspoCRM) -> None:
    plugin = provider(crm.url)
    create(plugin, FIRST)
    before = only(crm)
    second = replace(SECOND, email=FIRST.email)
    assert create(plugin, second, operation(second)).adopted
    assert only(crm) == before | {name: only(crm)[name] for name in ("modifiedAt", "streamUpdatedAt")}
    assert lost(crm, [value for value in VALUES if value != SECOND.email]) == []

"""BITRIX_TARGET=deal: a contact and a deal instead of a lead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import AuthFailed, NotFound, OutcomeUnknown, Unavailable
from crmgate.model import Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24, shelves
from crmgate.testing.bitrix24.fields import PRESET
from tests.plugins.bitrix.rig import (
    ADD,
    ANNA,
    CLICK,
    FULL,
    Connect,
    activity,
    assert_has_every_fact,
    bring,
    calls,
    click,
    creation,
    deliver,
    failure,
    methods,
    text_of_record,
    update,
)

DEALS = {"BITRIX_TARGET": "deal", "BITRIX_DEAL_CATEGORY": "3", "BITRIX_DEAL_STAGE": "C3:PREPARATION"}
OTHER = Lead(first_name="Ben", last_name="King", email="ben@example.com", phone="+12025550120")


@pytest.fixture
def portal() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        fake.simple_mode = True
        fake.categories = {0: "General", 3: "Students"}
        for name, label in PRESET.items():
            fake.add_deal_field(name, label=label)
        yield fake


@pytest.fixture
def crm(connect: Connect) -> HookCaller:
    return connect(**DEALS)


def only(records: dict[int, dict[str, Any]]) -> dict[str, Any]:
    (record,) = records.values()
    return record


def counts(portal: FakeBitrix24) -> tuple[int, int, int]:
    """Numbers of leads, contacts and deals."""
    return len(portal.leads), len(portal.contacts), len(portal.deals)


def rows(contact: dict[str, Any]) -> list[str]:
    return [row["value"] for row in contact["fm"]]


def comments(portal: FakeBitrix24, deal: dict[str, Any]) -> str:
    return "\n".join(row["COMMENT"] for row in portal.comments_of(deal["id"], "deal"))


def known_contact(portal: FakeBitrix24, *values: str, **fields: Any) -> int:
    """A contact that somebody else put into the portal, with these phones and emails."""
    shelf = portal.shelves[3]
    fm = [{"id": "", "typeId": "EMAIL" if "@" in value else "PHONE", "value": value} for value in values]
    return int(shelf.save({"name": "Anna", **fields}, fm, portal.rules(shelf))["id"])


def known_deal(portal: FakeBitrix24, **fields: Any) -> int:
    shelf = portal.shelves[2]
    return int(shelf.save({"title": "Theirs", **fields}, [], portal.rules(shelf))["id"])


class TestCreate:
    def test_a_contact_and_a_deal_are_made(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(ANNA)
        made = deliver(crm, operation)
        contact, deal = only(portal.contacts), only(portal.deals)
        assert (contact["name"], contact["lastName"], set(rows(contact))) == ("Anna", "Lee", {ANNA.phone, ANNA.email})
        assert (deal["contactId"], deal["originId"], deal["originatorId"]) == (contact["id"], operation.id, "crmgate")
        assert (deal["categoryId"], deal["stageId"]) == (3, "C3:PREPARATION")
        assert deal["title"] == "Lead - Anna Lee"
        assert operation.tracking_code in deal["comments"]
        assert "First name" not in deal["comments"]
        assert not portal.leads
        assert (made.record_id, made.adopted, made.dropped, made.moved) == (f"D_{deal['id']}", False, (), ())
        assert made.url == f"{portal.url}/crm/deal/details/{deal['id']}/"

    def test_every_fact_arrives(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(FULL))
        contact, deal = only(portal.contacts), only(portal.deals)
        assert deal["UF_CRM_REFERRAL_CODE"] == "PARTNER017"
        assert deal["sourceId"] == "PARTNER"
        assert_has_every_fact(FULL, text_of_record(contact) + text_of_record(deal) + comments(portal, deal))

    def test_without_settings_the_portal_chooses_pipeline_and_stage(
        self, portal: FakeBitrix24, connect: Connect
    ) -> None:
        deliver(connect(BITRIX_TARGET="deal"), creation(ANNA))
        assert (only(portal.deals)["categoryId"], only(portal.deals)["stageId"]) == (0, "NEW")
        assert not calls(portal, "crm.category.list")

    def test_both_records_are_assigned(self, portal: FakeBitrix24, connect: Connect) -> None:
        deliver(connect(**DEALS, BITRIX_ASSIGNED_BY_ID="7"), creation(ANNA))
        assert (only(portal.deals)["assignedById"], only(portal.contacts)["assignedById"]) == (7, 7)

    def test_markup_in_a_text_is_not_lost(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(replace(ANNA, additional_info="I <3 Istanbul [b]x[/b] a<b"))
        deliver(crm, operation)
        text = only(portal.deals)["comments"]
        assert "Istanbul" in text
        assert operation.tracking_code in text
        assert not portal.comments

    def test_a_cut_text_becomes_a_comment_on_the_deal(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.utf8mb3 = True
        operation = creation(replace(ANNA, additional_info="\N{GRADUATION CAP} and the rest"))
        deliver(crm, operation)
        assert "(graduation cap) and the rest" in comments(portal, only(portal.deals))
        assert crm.find(operation, 5.0)
        assert len(portal.comments) == 1

    def test_typed_fields_of_deals(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_deal_field("YEAR", "integer")
        portal.add_deal_field("SUBJECTS", "enumeration", ["Law", "Art"], multiple=True)
        portal.add_user_field("YEAR", "string")
        maps = {"BITRIX_MAP_GRADUATION_YEAR": "UF_CRM_YEAR", "BITRIX_MAP_PROGRAMS": "UF_CRM_SUBJECTS"}
        deliver(connect(**DEALS, **maps), creation(replace(ANNA, graduation_year=2022, programs=("Art", "Law"))))
        deal, items = only(portal.deals), portal.deal_fields["UF_CRM_SUBJECTS"].options
        assert deal["UF_CRM_YEAR"] == 2022
        assert [items[int(one)] for one in deal["UF_CRM_SUBJECTS"]] == ["Art", "Law"]

    def test_a_fact_without_a_field_of_deals_is_described(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        del portal.deal_fields["UF_CRM_REFERRAL_CODE"]
        portal.add_user_field("UF_CRM_REFERRAL_CODE")  # of leads
        deliver(crm, creation(replace(ANNA, referral_code="ABC")))
        assert "Referral code: ABC" in only(portal.deals)["comments"]

    def test_a_refused_email_is_described(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(replace(ANNA, email='"a b"@example.com')))
        assert rows(only(portal.contacts)) == [ANNA.phone]
        assert '"a b"@example.com' in text_of_record(only(portal.deals))
        assert made.moved == ("EMAIL",)

    def test_a_person_whom_nothing_would_find_again_gets_no_contact(
        self, portal: FakeBitrix24, crm: HookCaller
    ) -> None:
        deliver(crm, creation(replace(ANNA, phone="", email='"a b"@example.com')))
        assert counts(portal) == (0, 0, 1)
        text = text_of_record(only(portal.deals))
        assert all(word in text for word in ("First name: Anna", "Last name: Lee", '"a b"@example.com'))

    def test_a_name_that_the_contact_cuts_is_described(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(replace(ANNA, first_name="A" * 60)))
        assert only(portal.contacts)["name"] == "A" * 50
        assert f"First name: {'A' * 60}" in only(portal.deals)["comments"]
        assert made.moved == ("name",)

    def test_a_stage_that_is_gone_stops_no_deal(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(**DEALS | {"BITRIX_DEAL_STAGE": "C3:GONE"})
        made = deliver(crm, creation(ANNA))
        assert (only(portal.deals)["categoryId"], only(portal.deals)["stageId"]) == (3, "C3:NEW")
        assert made.moved == ()

    def test_a_pipeline_that_is_gone_stops_no_deal(self, portal: FakeBitrix24, connect: Connect) -> None:
        deliver(connect(**DEALS | {"BITRIX_DEAL_CATEGORY": "9"}), creation(ANNA))
        assert (only(portal.deals)["categoryId"], len(portal.contacts)) == (0, 1)

    def test_a_stage_that_vanished_since_the_list_was_read_stops_no_deal(
        self, portal: FakeBitrix24, crm: HookCaller, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliver(crm, creation(OTHER))
        monkeypatch.delitem(shelves.DEAL_STAGES, "PREPARATION")
        made = deliver(crm, creation(ANNA))
        first, second = portal.deals.values()
        assert (first["stageId"], second["stageId"]) == ("C3:PREPARATION", "C3:NEW")
        assert "PREPARATION" not in second["comments"]
        assert made.moved == ("stageId",)


class TestKnownContact:
    def test_an_open_deal_gets_a_note(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        first = deliver(crm, creation(ANNA))
        second = creation(replace(ANNA, last_name="King", city="Oslo"))
        made = deliver(crm, second)
        deal = only(portal.deals)
        assert (made.record_id, made.adopted) == (first.record_id, True)
        assert second.tracking_code in comments(portal, deal)
        assert "Oslo" in comments(portal, deal)
        assert "King" not in text_of_record(only(portal.contacts)) + text_of_record(deal)

    def test_the_oldest_open_deal_gets_it(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        contact = known_contact(portal, ANNA.phone)
        known_deal(portal, contactId=contact, stageId="LOSE")
        ids = [known_deal(portal, contactId=contact) for _ in range(2)]
        assert deliver(crm, creation(ANNA)).record_id == f"D_{ids[0]}"

    def test_a_closed_deal_gets_another_beside_it(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(ANNA))
        only(portal.deals).update(stageId="C3:WON", stageSemanticId="S", closed="Y")
        deliver(crm, creation(ANNA))
        assert {deal["contactId"] for deal in portal.deals.values()} == {only(portal.contacts)["id"]}
        assert len(portal.deals) == 2

    def test_a_contact_is_completed_and_not_overwritten(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        known_contact(portal, ANNA.phone, name="Ann")
        deliver(crm, creation(ANNA))
        contact, deal = only(portal.contacts), only(portal.deals)
        assert (contact["name"], contact["lastName"], rows(contact)) == ("Ann", "Lee", [ANNA.phone, ANNA.email])
        assert "First name: Anna" in deal["comments"]
        assert deal["contactId"] == contact["id"]

    def test_overwrite_keeps_its_name_and_its_user(self, portal: FakeBitrix24, connect: Connect) -> None:
        known_contact(portal, ANNA.phone, name="Ann", assignedById=3)
        deliver(connect(on_update="overwrite", **DEALS, BITRIX_ASSIGNED_BY_ID="7"), creation(ANNA))
        contact = only(portal.contacts)
        assert (contact["name"], contact["assignedById"], len(contact["fm"])) == ("Ann", 3, 2)
        assert "First name: Anna" in only(portal.deals)["comments"]

    def test_a_contact_that_may_not_be_changed_is_linked(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        contact = known_contact(portal, ANNA.phone)
        portal.fail_with("CRM_ITEM_UPDATE_ACCESS_DENIED", status=400, path=r"crm\.item\.update")
        deliver(crm, creation(ANNA))
        deal = only(portal.deals)
        assert deal["contactId"] == contact
        assert all(word in text_of_record(deal) for word in ("Last name: Lee", f"Email: {ANNA.email}"))

    def test_the_policy_create_makes_another_deal_of_the_contact(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(on_duplicate="create", **DEALS)
        deliver(crm, creation(ANNA))
        deliver(crm, creation(ANNA))
        assert counts(portal) == (0, 1, 2)
        assert {deal["contactId"] for deal in portal.deals.values()} == {only(portal.contacts)["id"]}

    def test_the_policy_update_updates_the_open_deal(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(on_duplicate="update", **DEALS)
        deliver(crm, creation(replace(ANNA, phone="")))
        deliver(crm, creation(replace(ANNA, city="Oslo")))
        assert counts(portal) == (0, 1, 1)
        assert rows(only(portal.contacts)) == [ANNA.email, ANNA.phone]
        assert "City: Oslo" in only(portal.deals)["comments"]

    def test_a_lead_with_this_phone_is_no_contact(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.simple_mode = False
        portal.save_lead({"title": "Theirs"}, [{"id": "", "typeId": "PHONE", "value": ANNA.phone}])
        deliver(crm, creation(ANNA))
        assert counts(portal) == (1, 1, 1)

    def test_a_phone_of_another_country_is_another_contact(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        known_contact(portal, "+84949123456")
        deliver(crm, creation(replace(ANNA, email="", phone="+74949123456")))
        assert counts(portal) == (0, 2, 1)

    def test_a_newer_one_than_the_search_shows(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        for _ in range(25):
            contact = known_contact(portal, ANNA.phone)
        deal = known_deal(portal, contactId=contact)
        assert deliver(crm, creation(ANNA)).record_id == f"D_{deal}"


class TestLostAnswers:
    @pytest.mark.parametrize("nth", [1, 2], ids=["contact", "deal"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_create_makes_nothing_twice(self, portal: FakeBitrix24, crm: HookCaller, nth: int, when: Any) -> None:
        deliver(crm, click(CLICK))  # the plugin knows the portal
        portal.deals.clear()
        operation = creation(ANNA)
        portal.fail("drop", when=when, path=ADD, every=nth, times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert len(portal.contacts) == int((nth, when) != (1, "before"))
        bring(crm, operation)
        assert counts(portal) == (0, 1, 1)
        assert only(portal.deals)["contactId"] == only(portal.contacts)["id"]

    def test_a_deal_that_failed_finds_its_contact_again(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(ANNA)
        portal.fail_with("QUERY_LIMIT_EXCEEDED", path=ADD, every=2, times=1)
        assert failure(lambda: deliver(crm, operation))
        assert counts(portal) == (0, 1, 0)
        deliver(crm, operation)
        assert counts(portal) == (0, 1, 1)
        assert not calls(portal, "crm.item.update")

    def test_a_search_that_is_unavailable_makes_no_contact(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail("drop", path=r"batch")
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), Unavailable)
        assert counts(portal) == (0, 0, 0)

    def test_a_note_is_written_once(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(ANNA))
        second = creation(ANNA)
        portal.fail("drop", when="after", path=r"timeline\.comment\.add", times=1)
        bring(crm, second)
        assert len(portal.comments) == 1

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("nth", [1, 2], ids=["contact", "deal"])
    def test_an_update_is_written_once(self, portal: FakeBitrix24, crm: HookCaller, nth: int, when: Any) -> None:
        made = deliver(crm, creation(ANNA))
        operation = update(made.record_id, replace(ANNA, phone=OTHER.phone, city="Oslo"))
        portal.fail("drop", when=when, path=r"crm\.item\.update", every=nth, times=1)
        bring(crm, operation)
        assert counts(portal) == (0, 1, 1)
        assert sorted(rows(only(portal.contacts))) == sorted([ANNA.phone, ANNA.email, OTHER.phone])
        assert only(portal.deals)["comments"].count(operation.tracking_code) == 1

    def test_missing_rights_to_add_pause_everything(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.access_denied = True
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), AuthFailed)


class TestSession:
    def test_a_click_is_a_deal_without_a_contact(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = click(CLICK)
        deliver(crm, operation)
        deal = only(portal.deals)
        assert counts(portal) == (0, 0, 1)
        assert (deal["title"], deal["stageId"], deal["originId"]) == (
            "Lead - Messenger Lead", "C3:PREPARATION", operation.id,
        )  # fmt: skip
        assert "First name" not in deal["comments"]

    def test_its_application_gets_the_contact(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, click(CLICK))
        deliver(crm, update(made.record_id, ANNA))
        contact, deal = only(portal.contacts), only(portal.deals)
        assert (deal["contactId"], deal["title"]) == (contact["id"], "Lead - Anna Lee")
        assert set(rows(contact)) == {ANNA.phone, ANNA.email}

    def test_its_application_gets_the_known_contact(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        known = known_contact(portal, ANNA.phone, lastName="Lee")
        made = deliver(crm, click(CLICK))
        deliver(crm, update(made.record_id, ANNA))
        assert only(portal.deals)["contactId"] == known == only(portal.contacts)["id"]
        assert only(portal.deals)["title"] == "Lead - Anna Lee"

    def test_an_update_destroys_nothing(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(replace(ANNA, referral_code="FIRST", additional_info="one")))
        only(portal.contacts)["lastName"] = "Corrected"
        operation = update(made.record_id, replace(OTHER, referral_code="SECOND", additional_info="two"))
        deliver(crm, operation)
        contact, deal = only(portal.contacts), only(portal.deals)
        assert (contact["name"], contact["lastName"]) == ("Anna", "Corrected")
        assert set(rows(contact)) == {ANNA.phone, ANNA.email, OTHER.phone, OTHER.email}
        assert deal["UF_CRM_REFERRAL_CODE"] == "FIRST"
        for words in ("one", "two", "First name: Ben", "Last name: King", "Referral code: SECOND"):
            assert words in deal["comments"]
        assert operation.tracking_code in deal["comments"]

    def test_overwrite_keeps_the_name_of_the_contact(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.deal_fields["UF_CRM_1234567896"].label = "Field of study"
        crm = connect(on_update="overwrite", **DEALS)
        made = deliver(crm, creation(replace(ANNA, field_of_study="Law")))
        deliver(crm, update(made.record_id, replace(ANNA, first_name="Ann", field_of_study="Art")))
        deal = only(portal.deals)
        assert only(portal.contacts)["name"] == "Anna"
        assert deal["UF_CRM_1234567896"] == "Art"
        assert all(words in deal["comments"] for words in ("First name: Ann", "Field of study: was: Law"))

    def test_a_click_becomes_a_comment_on_the_deal(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(ANNA))
        operation = activity(made.record_id)
        deliver(crm, operation)
        assert operation.tracking_code in comments(portal, only(portal.deals))
        assert crm.find(operation, 5.0)

    def test_a_deal_that_is_gone_is_not_found(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(ANNA))
        portal.shelves[2].remove(only(portal.deals)["id"])
        for operation in (update(made.record_id, ANNA), activity(made.record_id)):
            assert isinstance(failure(lambda one=operation: deliver(crm, one)), NotFound)  # type: ignore[misc]
        assert not portal.comments

    def test_a_contact_that_is_gone_is_made_again(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(ANNA))
        portal.shelves[3].remove(only(portal.contacts)["id"])
        deliver(crm, update(made.record_id, ANNA))
        assert only(portal.deals)["contactId"] == only(portal.contacts)["id"]

    def test_an_update_does_not_link_the_contact_again(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        """A deal can have several contacts, which staff linked."""
        made = deliver(crm, creation(ANNA))
        deliver(crm, update(made.record_id, replace(ANNA, city="Oslo")))
        (call,) = calls(portal, "crm.item.update")
        assert call["fields"].keys() == {"comments"}

    def test_a_contact_that_may_not_be_read_stays_with_its_deal(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        made = deliver(crm, creation(ANNA))
        known_contact(portal, OTHER.phone)
        portal.fail("answer", status=400, body='{"error": "ACCESS_DENIED"}', path=r"item\.get", every=2, times=1)
        deliver(crm, update(made.record_id, OTHER))
        deal = only(portal.deals)
        assert deal["contactId"] == 1
        assert rows(portal.contacts[1]) == [ANNA.phone, ANNA.email]
        assert all(words in deal["comments"] for words in ("First name: Ben", OTHER.phone, OTHER.email))

    def test_the_id_of_a_lead_is_no_id_of_a_deal(self, portal: FakeBitrix24, connect: Connect) -> None:
        """After a change of BITRIX_TARGET a session may still have the id of the other type."""
        deal = known_deal(portal)
        portal.simple_mode = False
        lead = portal.save_lead({"title": "Theirs"}, [])["id"]
        assert deal == lead
        assert isinstance(failure(lambda: deliver(connect(**DEALS), update(lead, ANNA))), NotFound)
        assert isinstance(failure(lambda: deliver(connect(), update(f"D_{deal}", ANNA))), NotFound)
        assert connect(**DEALS).find(activity(lead), 5.0) is None
        assert not [method for method in methods(portal) if method.endswith(".update")]

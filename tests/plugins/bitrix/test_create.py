"""The Bitrix24 plugin: what a new lead says, and what the portal drops of it."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import requests_mock

from crmgate.errors import Unavailable
from crmgate.model import Delivered, Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
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
    mocked,
    only_lead,
    plugins,
    shown,
    text_of_record,
    update,
)


class TestCreateLead:
    def test_the_plugin_loads(self) -> None:
        found = plugins()
        assert not found.quarantined
        assert found.providers["bitrix"].label == "Bitrix24"

    @BOTH_APIS
    def test_the_mapping(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(FULL)
        delivered = deliver(crm, operation)
        lead = only_lead(portal)
        assert delivered == Delivered("bitrix", str(lead["id"]), f"{portal.url}/crm/lead/details/{lead['id']}/")
        expected = {
            "title": "Lead - Ayşe Gül Öztürk-Şahin",
            "name": "Ayşe Gül",
            "lastName": "Öztürk-Şahin",
            "UF_CRM_REFERRAL_CODE": "PARTNER017",
            "UF_CRM_1234567892": "referral",
            "UF_CRM_1234567893": "student",
            "UF_CRM_1234567894": "both",
            "UF_CRM_1234567896": "Bilgisayar Mühendisliği",
            "UF_CRM_1234567897": "Boğaziçi",
            "sourceId": "PARTNER",
            "sourceDescription": "landing /pricing?a=1&b=2",
            "utmSource": "google",
            "utmMedium": "cpc",
            "utmCampaign": "güz kampanyası",
            "utmContent": "banner",
            "utmTerm": "осень",
            "originatorId": "crmgate",
            "originId": operation.id,
        }
        assert {name: lead[name] for name in expected} == expected
        rows = [(row["typeId"], row["valueType"], row["value"]) for row in lead["fm"]]
        assert rows == [("PHONE", "WORK", "+905321234567"), ("EMAIL", "WORK", "ayse@example.com.tr")]

    @BOTH_APIS
    def test_no_value_is_lost(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(FULL)
        deliver(crm, operation)
        record = text_of_record(only_lead(portal))
        assert_has_every_fact(FULL, record)
        assert operation.tracking_code in record

    def test_what_has_no_field_is_labelled(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(FULL))
        comments = shown(only_lead(portal)["comments"])
        assert comments.startswith(FULL.additional_info)
        for line in (
            "Country: Türkiye",
            "Universities: Boğaziçi, ODTÜ",
            "Budget:<10 000 €",
            "how did you hear: بصديق",
        ):
            assert line in comments.splitlines()
        assert "Referral code" not in comments

    def test_a_minimal_form(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(Lead(first_name="Anna", phone="+12025550119")))
        lead = only_lead(portal)
        assert (lead["title"], lead["name"], lead.get("lastName")) == ("Lead - Anna", "Anna", None)
        assert [row["typeId"] for row in lead["fm"]] == ["PHONE"]
        assert (lead["UF_CRM_REFERRAL_CODE"], lead["sourceId"]) == ("DIRECT", "WEB")

    def test_without_phone_and_email_no_rows_are_sent(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(Lead(first_name="Anna")))
        (sent,) = calls(portal, "crm.item.add")
        assert "fm" not in sent["fields"]

    def test_nothing_empty_is_sent(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(ANNA))
        (sent,) = calls(portal, "crm.item.add")
        assert (sent["entityTypeId"], sent["useOriginalUfNames"]) == (1, "Y")
        assert all(value not in (None, "", []) for value in sent["fields"].values())
        assert "assignedById" not in sent["fields"]

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            *((code, "WEB") for code in ("website", "web", "landing", "university_detail", "home_questionnaire")),
            ("referral", "PARTNER"),
            ("partner", "PARTNER"),
            ("home_faq", None),
            ("Website", None),
        ],
    )
    def test_sources(self, portal: FakeBitrix24, crm: HookCaller, source: str, expected: str | None) -> None:
        deliver(crm, creation(Lead(first_name="Anna", source=source)))
        (sent,) = calls(portal, "crm.item.add")
        assert sent["fields"].get("sourceId") == expected
        assert sent["fields"]["UF_CRM_1234567892"] == source

    @pytest.mark.parametrize("tag", ["[url=http://x]a[/url]", "[IMG]x.png[/IMG]", "[user=1]a[/user]", "[*]", "[ş]"])
    def test_bbcode_of_a_visitor_stays_text(self, portal: FakeBitrix24, crm: HookCaller, tag: str) -> None:
        deliver(crm, creation(Lead(first_name="Anna", additional_info=tag, custom={"note": tag})))
        comments = only_lead(portal)["comments"]
        assert not re.search(r"\[(/?\w|\*)", comments)
        assert comments.replace("\u2060", "").count(tag) == 2

    def test_other_brackets_stay_as_typed(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(Lead(first_name="Anna", additional_info="a [] b [ c] <b>&amp; :-[")))
        assert "a [] b [ c]<b>&amp; :-[" in shown(only_lead(portal)["comments"])

    @BOTH_APIS
    def test_the_assigned_user(self, portal: FakeBitrix24, connect: Connect) -> None:
        deliver(connect(BITRIX_ASSIGNED_BY_ID="7"), creation(ANNA))
        assert only_lead(portal)["assignedById"] == 7

    def test_fields_and_values_can_be_changed(self, portal: FakeBitrix24, connect: Connect) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Student", "Parent")
        crm = connect(
            BITRIX_MAP_CITY="UF_CRM_REFERRAL_CODE",
            BITRIX_MAP_REFERRAL_CODE="",
            BITRIX_MAP_PHONE="",
            BITRIX_MAP_OPERATION_ID="utmTerm",
            BITRIX_VALUES_USER_TYPE=f"student={ids['Student']},parent={ids['Parent']}",
        )
        operation = creation(Lead("Anna", city="Ürgüp", phone="+1202", referral_code="R1", user_type="parent"))
        assert deliver(crm, operation).dropped == ()
        lead = only_lead(portal)
        assert (lead["UF_CRM_REFERRAL_CODE"], lead["UF_CRM_1234567893"], lead["fm"]) == ("Ürgüp", ids["Parent"], [])
        for line in ("Referral code: R1", "Phone: +1202", "User type: parent"):
            assert line in lead["comments"]
        # The origin stays where the look-up goes.
        assert (lead["utmTerm"], lead["originId"]) == (operation.id, operation.id)

    def test_requests(self, portal: FakeBitrix24, crm: HookCaller, adding: Connect) -> None:
        deliver(crm, creation(FULL))
        fields = ["crm.lead.userfield.list", "crm.status.list"]
        assert methods(portal) == ["batch", *fields, "crm.item.add", "crm.item.get"], "it has an emoji: read it back"
        portal.requests.clear()
        deliver(crm, creation(ANNA))
        assert methods(portal) == ["batch", "crm.item.add"]
        crm = adding()
        deliver(crm, creation(ANNA))
        assert methods(portal) == ["crm.item.add"]

    def test_untouched_input(self, crm: HookCaller) -> None:
        operation = creation(FULL)
        before = copy.deepcopy(operation)
        deliver(crm, operation)
        assert operation == before

    def test_a_messenger_click(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = click(CLICK)
        assert deliver(crm, operation).dropped == ()
        lead = only_lead(portal)
        assert (lead["title"], lead["name"], lead["lastName"]) == ("Lead - Messenger Lead", "Messenger", "Lead")
        assert (lead["UF_CRM_REFERRAL_CODE"], lead["utmSource"], lead["utmMedium"]) == ("REF7", "ig", "bio")
        assert (lead["originatorId"], lead["originId"], lead["fm"]) == ("crmgate", operation.id, [])
        for line in ("Channel: telegram", "page: /apply", "notes: ğ", "Time: 2026-01-02T03:04:05Z", "Session: s-1"):
            assert line in lead["comments"].splitlines()


class TestDropped:
    def test_a_field_that_the_portal_lacks_is_not_sent(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.remove_user_field("UF_CRM_REFERRAL_CODE")
        assert deliver(crm, creation(ANNA)).dropped == ()
        assert "Referral code: DIRECT" in only_lead(portal)["comments"]
        assert len(calls(portal, "crm.item.update")) == 0

    @BOTH_APIS
    def test_a_portal_that_does_not_describe_its_fields(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail_with("ACCESS_DENIED", path="userfield")
        portal.remove_user_field("UF_CRM_REFERRAL_CODE")
        assert deliver(crm, creation(ANNA)).dropped == ("UF_CRM_REFERRAL_CODE",)
        comments = only_lead(portal)["comments"]
        assert comments.endswith("Referral code: DIRECT")
        assert "Tracking code" in comments

    def test_the_second_write_may_fail(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.original_uf_names = False
        portal.fail("drop", path=r"crm\.item\.update")
        assert len(deliver(crm, creation(FULL)).dropped) == 6
        assert len(portal.leads) == 1

    def test_a_portal_that_does_not_know_original_names(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.original_uf_names = False
        assert len(deliver(crm, creation(FULL)).dropped) == 6
        assert "User type: student" in only_lead(portal)["comments"]
        assert not re.search(r"\[(/?\w|\*)", only_lead(portal)["comments"])

    @pytest.mark.parametrize("kind", ["boolean", "file", "employee"])
    def test_a_field_that_takes_no_text(self, portal: FakeBitrix24, crm: HookCaller, kind: str) -> None:
        portal.add_user_field("UF_CRM_1234567893", kind)
        assert deliver(crm, creation(FULL)).dropped == ()
        assert "User type: student" in only_lead(portal)["comments"]

    def test_a_field_for_several_values(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_1234567893", "string", multiple=True)
        deliver(crm, creation(FULL))
        assert only_lead(portal)["UF_CRM_1234567893"] == ["student"]
        assert "User type" not in only_lead(portal)["comments"]

    def test_numbers_and_times_may_be_written_out(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_user_field("UF_CRM_YEAR", "double")
        crm = connect(BITRIX_MAP_GRADUATION_YEAR="UF_CRM_YEAR", BITRIX_MAP_BIRTH_DATE="birthdate")
        assert deliver(crm, creation(FULL)).dropped == ()

    @pytest.mark.parametrize(
        ("echo", "gone"),
        [
            (None, ()),
            ([], ("PHONE", "EMAIL")),
            ([{"typeId": "PHONE", "value": "+1 (202) 555-01-19"}], ("EMAIL",)),
            ("x", ()),
        ],
    )
    def test_rows_and_comments(self, connect: Connect, echo: Any, gone: tuple[str, ...]) -> None:
        with requests_mock.Mocker() as http:
            http.post(requests_mock.ANY, json=lambda request, _: mocked(request, fm=echo))
            dropped = deliver(connect(on_duplicate="create"), creation(ANNA)).dropped
        assert {*dropped} == {*gone}


@BOTH_APIS
class TestCreate:
    def test_only_the_chosen_api_is_used(self, portal: FakeBitrix24, crm: HookCaller, api: str) -> None:
        lead = deliver(crm, creation(FULL)).record_id
        deliver(crm, update(lead, ANNA))
        crm.find(creation(ANNA), 5.0)
        other = {"item": "crm.lead.", "lead": "crm.item."}[api]
        shared = ("crm.lead.userfield.list",)
        assert [name for name in methods(portal) if name.startswith(other) and name not in shared] == []

    def test_sixty_leads_with_every_third_answer_lost(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail("drop", when="after", path=r"crm\.(item|lead)\.add", every=3)
        for number in range(60):
            bring(crm, creation(Lead(f"Person {number}", email=f"p{number}@example.com")))
        names = [lead["name"] for lead in portal.records()["lead"]]
        assert sorted(names) == sorted(f"Person {number}" for number in range(60))
        assert not portal.comments

    def test_a_portal_without_a_connection_is_unavailable(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.stop()
        assert type(failure(lambda: deliver(crm, creation(ANNA)))) is Unavailable
        assert type(failure(lambda: deliver(crm, update(1, ANNA)))) is Unavailable
        assert type(failure(lambda: deliver(crm, activity(1)))) is Unavailable

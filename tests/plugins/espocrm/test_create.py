"""The EspoCRM plugin: what a new lead says, and what EspoCRM drops of it."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import requests_mock as mocking

from crmgate.model import Delivered, Kind, Lead
from crmgate.testing.espocrm import OPERATION_FIELD, FakeEspoCRM
from tests.plugins.espocrm.rig import (
    ADA,
    CLICK,
    FULL,
    LEADS,
    NOBODY,
    click,
    create,
    operation,
    provider,
    user_id,
    words,
)


class TestMapping:
    @pytest.mark.parametrize("lead", list(LEADS.values()), ids=list(LEADS))
    def test_nothing_that_a_visitor_gave_is_lost(self, crm: FakeEspoCRM, lead: Lead) -> None:
        wanted = operation(lead)
        delivered = create(provider(crm.url), lead, wanted)
        (record,) = crm.leads
        assert delivered == Delivered("espocrm", record["id"], f"{crm.url}/#Lead/view/{record['id']}")
        shown = "\n".join(str(value) for value in record.values())
        assert [word for word in words(lead.to_dict()) if word not in shown] == []
        assert f"Tracking code: {wanted.tracking_code}" in record["description"]

    def test_facts_with_a_field_go_there(self, crm: FakeEspoCRM) -> None:
        wanted = operation(FULL)
        create(provider(crm.url), FULL, wanted)
        (record,) = crm.leads
        fields = {
            "firstName": "Ayşe Gül", "lastName": "Çağlı-Öztürk", "emailAddress": "ayse@example.org",
            "phoneNumber": "+905321234567", "referralCodeC": "INSTA-24", "userTypeC": "student", "languageC": "both",
            "fieldOfStudyC": "Mühendislik", "universityC": "Koç", "source": "Web Site", OPERATION_FIELD: wanted.id,
        }  # fmt: skip
        assert record.items() >= fields.items()
        assert record["description"].startswith("First line\nsecond <line>\n\n")
        for line in ("Universities: Koç, Boğaziçi", "Source: landing", "UTM campaign: spring", "how_heard: a friend"):
            assert line in record["description"].splitlines()
        assert "ayse@example.org" not in record["description"]

    @pytest.mark.parametrize(
        ("source", "option"),
        [
            ("website", "Web Site"), ("web", "Web Site"), ("landing", "Web Site"), ("university_detail", "Web Site"),
            ("home_questionnaire", "Web Site"), ("referral", "Partner"), ("partner", "Partner"), ("fair", None),
        ],
    )  # fmt: skip
    def test_the_source_becomes_an_option_of_espocrm(self, crm: FakeEspoCRM, source: str, option: str | None) -> None:
        create(provider(crm.url), Lead(first_name="Ada", email="a@example.org", source=source))
        assert crm.leads[0].get("source") == option
        assert f"Source: {source}" in crm.leads[0]["description"]

    @pytest.mark.parametrize("last_name", ["", "  "])
    def test_a_lead_without_a_last_name_has_a_dash(self, crm: FakeEspoCRM, last_name: str) -> None:
        create(provider(crm.url), Lead(first_name="Ada", last_name=last_name, email="a@example.org"))
        assert (crm.leads[0]["firstName"], crm.leads[0]["lastName"]) == ("Ada", "-")

    def test_no_blank_is_sent(self, crm: FakeEspoCRM) -> None:
        create(provider(crm.url), Lead(first_name=" ", email="a@example.org", custom={"shoe": " "}))
        body = json.loads(crm.requests[-1].body)
        assert body.keys() == {"lastName", "emailAddress", "referralCodeC", "source", OPERATION_FIELD, "description"}

    def test_a_click_makes_a_minimal_lead(self, crm: FakeEspoCRM) -> None:
        wanted = operation(CLICK, Kind.CREATE_MINIMAL_LEAD)
        click(provider(crm.url), wanted)
        (record,) = crm.leads
        fields = {"firstName": "Messenger", "lastName": "Lead", "referralCodeC": "TG-1", OPERATION_FIELD: wanted.id}
        assert record.items() >= fields.items()
        shown = record["description"]
        assert all(line in shown for line in ("Channel: telegram", "UTM source: ig", "page: /en", "Session: s-1"))

    def test_names_values_and_the_assignee_can_be_configured(self, crm: FakeEspoCRM) -> None:
        crm.add_field("cCity", "varchar")
        plugin = provider(
            crm.url, ESPOCRM_MAP_CITY="cCity", ESPOCRM_MAP_EMAIL="", ESPOCRM_MAP_COUNTRY="description",
            ESPOCRM_VALUES_SOURCE="landing=Campaign", ESPOCRM_ASSIGNED_USER_ID=user_id(crm, "gateway"),
        )  # fmt: skip
        create(plugin, FULL)
        (record,) = crm.leads
        assert (record["cCity"], record["source"], record.get("emailAddress")) == ("İzmir", "Campaign", None)
        assert record["assignedUserId"] == user_id(crm, "gateway")
        assert record["description"].startswith("Türkiye\n\nFirst line")
        assert "Email: ayse@example.org" in record["description"]

    def test_links_lead_to_where_people_open_it(self, crm: FakeEspoCRM) -> None:
        public = {"ESPOCRM_PUBLIC_URL": "https://crm.example.com/#Lead"}
        delivered = create(provider(crm.url, **public), ADA)
        assert delivered.url == f"https://crm.example.com/#Lead/view/{delivered.record_id}"
        assert len(crm.leads) == 1

    @pytest.mark.parametrize("tail", ["", "/", "/api/v1", "/api/v1/", "/#Lead", "/#Lead/view/5"])
    def test_the_address_may_be_given_as_people_copy_it(self, crm: FakeEspoCRM, tail: str) -> None:
        delivered = create(provider(crm.url + tail))
        assert delivered.url == f"{crm.url}/#Lead/view/{delivered.record_id}"

    def test_what_is_given_stays_as_it_is(self, crm: FakeEspoCRM) -> None:
        lead, wanted = deepcopy(FULL), operation(FULL)
        before = deepcopy(wanted)
        create(provider(crm.url), lead, wanted)
        assert (lead, wanted) == (FULL, before)


class TestDropped:
    def test_fields_that_the_crm_does_not_have(self, crm: FakeEspoCRM) -> None:
        crm.remove_field("universityC")
        crm.remove_field(OPERATION_FIELD)
        assert create(provider(crm.url), FULL).dropped == ("universityC", OPERATION_FIELD)

    def test_fields_that_the_role_may_not_edit(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"create": "yes", "read": "all"}}, fieldData={"Lead": {"languageC": {"edit": "no"}}})
        assert create(provider(crm.url), FULL).dropped == ("languageC",)

    def test_a_value_that_was_replaced(self, crm: FakeEspoCRM) -> None:
        crm.add_field("referralCodeC", "varchar", default="NONE")
        crm.set_role({"Lead": {"create": "yes", "read": "all"}}, fieldData={"Lead": {"referralCodeC": {"edit": "no"}}})
        assert create(provider(crm.url), FULL).dropped == ("referralCodeC",)

    def test_nothing_is_not_the_word_none_nor_a_dash(self) -> None:
        with mocking.Mocker() as mocker:
            mocker.get(mocking.ANY, json={"list": []})
            mocker.post(mocking.ANY, json={"id": "5", "lastName": None, "referralCodeC": ""})
            dropped = create(provider(NOBODY), Lead(last_name="None", referral_code="-")).dropped
        assert {"lastName", "referralCodeC"} <= set(dropped)

    def test_a_value_that_was_only_tidied_up_is_not_dropped(self, crm: FakeEspoCRM) -> None:
        lead = Lead(first_name=" Ada ", email=" ada@example.org", phone="+90 532 123 45 67")
        assert create(provider(crm.url), lead).dropped == ()
        assert crm.leads[0]["phoneNumber"] == "+905321234567"

"""The Bitrix24 plugin: fields that are missing, lists or refused, and those that it makes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from crmgate.errors import AuthFailed, OutcomeUnknown, Rejected, Unavailable
from crmgate.model import Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
    FULL,
    WRITES,
    Connect,
    assert_has_every_fact,
    contacts,
    creation,
    deliver,
    existing,
    failure,
    methods,
    only_lead,
    text_of_record,
    update,
    warm,
)


@BOTH_APIS
class TestMissingFields:
    def test_all_leads_arrive_whole(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        for name in list(portal.user_fields):
            portal.remove_user_field(name)
        delivered = deliver(crm, creation(FULL))
        assert delivered.dropped == delivered.moved == ()
        assert_has_every_fact(FULL, text_of_record(only_lead(portal)))
        for line in ("Referral code: PARTNER017", "User type: student", "Field of study: Bilgisayar Mühendisliği"):
            assert line in only_lead(portal)["comments"].splitlines()

    def test_describe_fields_names_them(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.remove_user_field("UF_CRM_1234567893")
        fields = {field.fact: field for field in crm.describe_fields(5.0)}
        assert [fact for fact, field in fields.items() if field.problem] == ["user_type"]
        assert "BITRIX_MAP_USER_TYPE" in fields["user_type"].problem
        assert fields["user_type"].found == "missing"
        assert (fields["language"].name, fields["language"].type) == ("UF_CRM_1234567894", "string")
        assert fields["source_id"].options[:2] == ("CALL", "EMAIL")

    def test_fields_that_a_lead_does_not_have(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(BITRIX_MAP_CITY="cityName", BITRIX_VALUES_SOURCE_ID="website=SITE")
        problems = {field.fact: field.problem for field in crm.describe_fields(5.0) if field.problem}
        assert problems.keys() == {"city", "source_id"}
        assert "SITE" in problems["source_id"]
        assert "BITRIX_MAP_CITY" in problems["city"]
        states = {field.fact: field.found for field in crm.describe_fields(5.0) if field.problem}
        assert states == {"city": "missing", "source_id": "option_missing"}
        assert {check.name for check in crm.test_connection(5.0).checks if not check.ok} == {
            "sources",
            "field cityName",
        }

    def test_types_and_items(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_user_field("UF_CRM_1234567893", "enumeration", ["Öğrenci"])
        portal.add_user_field("UF_CRM_1234567894", "enumeration", ["Turkish", "ENGLISH", "both"])
        portal.add_user_field("UF_CRM_1234567896", "boolean")
        fields = {field.fact: field for field in connect().describe_fields(5.0)}
        assert [fact for fact, field in fields.items() if field.problem] == ["user_type", "field_of_study"]
        for words in ("parent, student", "BITRIX_VALUES_USER_TYPE", "is Öğrenci"):
            assert words in fields["user_type"].problem
        assert fields["language"].options == ("Turkish", "ENGLISH", "both")
        assert (fields["user_type"].found, fields["language"].found) == ("option_missing", "ok")

    def test_it_raises_what_the_portal_refuses(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.secret = "changed"
        with pytest.raises(AuthFailed):
            crm.describe_fields(5.0)
        with pytest.raises(AuthFailed):
            crm.provision(5.0, apply=False)

    def test_the_fields_are_looked_up_once(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        for number in range(3):
            deliver(crm, creation(Lead(f"P{number}", email=f"p{number}@example.com")))
        assert methods(portal).count("crm.lead.userfield.list") == 1

    def test_a_portal_that_shows_neither_its_fields_nor_the_lead(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail_with("ACCESS_DENIED", path=r"userfield|\.get|\.update")
        portal.remove_user_field("UF_CRM_1234567893")
        deliver(crm, creation(FULL))
        assert only_lead(portal)["name"] == "Ayşe Gül"

    def test_a_lost_answer_about_the_fields_is_unavailable(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.fail("drop", path="userfield")
        assert type(failure(lambda: deliver(connect("create"), creation(FULL)))) is Unavailable
        assert not portal.leads


@BOTH_APIS
class TestLists:
    @pytest.mark.parametrize("word", ["Student", "STUDENT", "student"])
    def test_values_are_found_by_their_text(self, portal: FakeBitrix24, crm: HookCaller, word: str) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Parent", word)
        assert deliver(crm, creation(FULL)).moved == ()
        assert only_lead(portal)["UF_CRM_1234567893"] == ids[word]

    def test_values_are_found_by_their_xml_id(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Öğrenci", "Veli")
        portal.user_fields["UF_CRM_1234567893"].option_xml_ids = {ids["Öğrenci"]: "STUDENT", ids["Veli"]: "PARENT"}
        deliver(crm, creation(FULL))
        assert only_lead(portal)["UF_CRM_1234567893"] == ids["Öğrenci"]

    @pytest.mark.parametrize("table", ["", "student=999"])
    def test_values_that_the_list_lacks_are_comments(self, portal: FakeBitrix24, connect: Connect, table: str) -> None:
        portal.make_enumeration("UF_CRM_1234567893", "Parent")
        crm = connect(BITRIX_VALUES_USER_TYPE=table)
        delivered = deliver(crm, creation(FULL))
        lead = only_lead(portal)
        assert (delivered.moved, lead.get("UF_CRM_1234567893")) == ((), None)
        assert "User type: student" in lead["comments"].splitlines()

    def test_a_number_is_no_id(self, portal: FakeBitrix24, connect: Connect) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Student")
        crm = connect(BITRIX_MAP_GPA="UF_CRM_1234567893", BITRIX_MAP_USER_TYPE="")
        deliver(crm, creation(Lead("Anna", gpa=str(ids["Student"]))))
        assert only_lead(portal).get("UF_CRM_1234567893") is None


@BOTH_APIS
class TestRefusedFields:
    def test_an_item_removed_a_moment_ago(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        portal.make_enumeration("UF_CRM_1234567893", "Parent")
        assert deliver(crm, creation(FULL)).moved == ("UF_CRM_1234567893",)
        assert "User type: student" in only_lead(portal)["comments"].splitlines()
        assert_has_every_fact(FULL, text_of_record(only_lead(portal)))

    def test_a_removed_source(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        """The portal would store it and show it as blank."""
        del portal.sources["PARTNER"]
        assert deliver(crm, creation(FULL)).moved == ()
        assert only_lead(portal)["sourceId"] == next(iter(portal.sources))
        assert only_lead(portal)["UF_CRM_1234567892"] == "referral"

    @pytest.mark.parametrize(("source", "sent"), [("SHOP", "SHOP"), ("NONE", None)])
    def test_sources_without_a_table(
        self, portal: FakeBitrix24, connect: Connect, source: str, sent: str | None
    ) -> None:  # fmt: skip
        portal.sources["SHOP"] = "Our shop"
        portal.remove_user_field("UF_CRM_1234567892")
        deliver(connect(BITRIX_VALUES_SOURCE_ID=""), creation(Lead("Anna", source=source)))
        assert only_lead(portal)["sourceId"] == (sent or next(iter(portal.sources)))
        assert f"Source: {source}" in only_lead(portal)["comments"].splitlines()

    def test_a_source_removed_a_moment_ago(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        portal.check_sources = True
        del portal.sources["PARTNER"]
        assert deliver(crm, creation(FULL)).moved == ("sourceId",)

    def test_sources_that_are_not_shown(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail_with("ACCESS_DENIED", path="status")
        deliver(crm, creation(FULL))
        assert only_lead(portal)["sourceId"] == "PARTNER"

    def test_a_type_that_changed_a_moment_ago(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        portal.add_user_field("UF_CRM_1234567896", "integer")
        assert deliver(crm, creation(FULL)).moved == ("UF_CRM_1234567896",)
        assert "Field of study: Bilgisayar Mühendisliği" in only_lead(portal)["comments"]

    def test_a_field_called_by_its_label(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        portal.name_fields_by_label = True
        portal.add_user_field("UF_CRM_1234567896", "integer", label="Alan 1")
        portal.add_user_field("UF_CRM_1234567897", "integer", label="Üniversite")
        assert {*deliver(crm, creation(FULL)).moved} == {"UF_CRM_1234567896", "UF_CRM_1234567897"}

    def test_a_label_that_nobody_knows(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_1234567896", "url")
        warm(crm, portal)
        portal.name_fields_by_label = True
        portal.add_user_field("UF_CRM_1234567896", "integer", label="Alan")
        portal.fail("answer", status=500, path="batch", body="<html>")
        lead = Lead("Anna", field_of_study="CS")
        assert {*deliver(crm, creation(lead)).moved} == {"sourceId", "UF_CRM_1234567896"}
        assert "Field of study: CS" in only_lead(portal)["comments"]

    def test_bbcode_in_a_value_that_moved_stays_text(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        portal.add_user_field("UF_CRM_1234567896", "integer")
        deliver(crm, creation(Lead("Anna", field_of_study="[url=http://x]a[/url]")))
        assert not re.search(r"\[(/?\w|\*)", only_lead(portal)["comments"])

    @pytest.mark.parametrize("kind", ["PHONE", "EMAIL"])
    def test_a_phone_or_email(self, portal: FakeBitrix24, crm: HookCaller, kind: str) -> None:
        warm(crm, portal)
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", f'Bad "{kind}"', path=r"crm\.(item|lead)\.add", times=1)
        assert deliver(crm, creation(ANNA)).moved == (kind,)
        (kept,) = {"PHONE", "EMAIL"} - {kind}
        assert [name for name, _ in contacts(only_lead(portal))] == [kept]
        assert_has_every_fact(ANNA, text_of_record(only_lead(portal)))

    def test_dead_when_so_configured(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(on_rejected_field="dead")
        warm(crm, portal)
        portal.check_sources = True
        del portal.sources["PARTNER"]
        error = failure(lambda: deliver(crm, creation(FULL)))
        assert isinstance(error, Rejected)
        assert [*error.fields] == ["sourceId"]
        assert "BITRIX_VALUES_SOURCE_ID" in error.detail

    def test_what_a_lead_cannot_do_without(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        bad = 'Bad "title", "originId" and "originatorId"'
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", bad, path=r"crm\.(item|lead)\.add", times=1)
        assert isinstance(failure(lambda: deliver(crm, creation(FULL))), Rejected)

    def test_an_update(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        lead = existing(portal, comments="[b]Ours[/b]")
        portal.add_user_field("UF_CRM_1234567896", "integer")
        assert deliver(crm, update(lead, FULL)).moved == ("UF_CRM_1234567896",)
        comments = only_lead(portal)["comments"]
        assert comments.startswith("[b]Ours[/b]\n\n")
        assert "Field of study: Bilgisayar Mühendisliği" in comments


@BOTH_APIS
class TestProvision:
    @pytest.fixture
    def portal(self) -> Iterator[FakeBitrix24]:
        with FakeBitrix24(preset=False) as fake:
            yield fake

    def test_the_plan_changes_nothing(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        plan = crm.provision(5.0, apply=False)
        assert [step.done for step in plan.steps] == [False] * 6 + [True]
        assert "UF_CRM_REFERRAL_CODE" in plan.steps[0].what
        assert not portal.user_fields
        assert [name for name in methods(portal) if WRITES.search(name)] == []

    def test_twice(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, creation(Lead("Before", email="b@example.com")))
        done = crm.provision(5.0, apply=True)
        assert all(step.done for step in done.steps)
        assert len(portal.user_fields) == 6
        assert all(not field.problem for field in crm.describe_fields(5.0))
        portal.requests.clear()
        assert crm.provision(5.0, apply=True) == done
        assert [name for name in methods(portal) if WRITES.search(name)] == []
        assert deliver(crm, creation(FULL)).dropped == ()
        assert portal.records()["lead"][-1]["UF_CRM_REFERRAL_CODE"] == "PARTNER017"

    def test_labels(self, portal: FakeBitrix24, connect: Connect) -> None:
        connect(BITRIX_MAP_CUSTOM_VISA="UF_CRM_VISA").provision(5.0, apply=True)
        field = portal.user_fields["UF_CRM_1234567893"]
        assert (field.label, field.xml_id, field.type) == ("User type", "CRMGATE_USER_TYPE", "string")
        assert "UF_CRM_VISA" in portal.user_fields

    def test_without_the_right(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.admin = False
        assert not crm.provision(5.0, apply=False).steps[-1].done
        error = failure(lambda: crm.provision(5.0, apply=True))
        assert isinstance(error, AuthFailed)
        assert "administrator" in error.detail

    def test_a_name_that_the_portal_refuses(self, portal: FakeBitrix24, connect: Connect) -> None:
        done = connect(BITRIX_MAP_CITY="UF_CRM_Ş", BITRIX_MAP_GPA="UF_OTHER").provision(5.0, apply=True)
        assert [step.what for step in done.steps if not step.done] == [
            "lead field UF_CRM_Ş (city)",
            "lead field UF_OTHER (gpa)",
        ]
        assert portal.user_fields.keys() & {"UF_CRM_OTHER", "UF_OTHER"} == set()

    def test_a_lost_answer(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail("drop", when="after", path=r"userfield\.add", times=1)
        assert isinstance(failure(lambda: crm.provision(5.0, apply=True)), OutcomeUnknown)
        assert all(step.done for step in crm.provision(5.0, apply=True).steps)
        assert len(portal.user_fields) == 6

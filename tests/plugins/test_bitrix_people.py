"""The Bitrix24 plugin: known people, updates, activities, fields that are refused or missing; by both of its APIs."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crmgate.crm import Crm
from crmgate.errors import (
    AuthFailed,
    ConfigError,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, Utm, new_id
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.test_bitrix import (
    ANNA,
    CLICK,
    FULL,
    calls,
    click,
    creation,
    deliver,
    everything,
    failure,
    methods,
    only_lead,
    plugins,
)

Connect = Callable[..., Crm]
WRITES = re.compile(r"\.(add|update|delete)$")
COMMENT = r"timeline\.comment\.add"


@pytest.fixture(params=["item", "lead"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def portal() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


@pytest.fixture
def connect(portal: FakeBitrix24, api: str) -> Connect:
    def configured(on_duplicate: str = "note", on_rejected_field: str = "describe", **settings: str) -> Crm:
        environ = {"BITRIX_WEBHOOK_URL": portal.webhook_url, "BITRIX_API": api} | settings
        policies = {"on_duplicate": on_duplicate, "on_rejected_field": on_rejected_field}
        return plugins().choose("bitrix", environ, 5.0, ("127.0.0.1",), **policies)

    return configured


@pytest.fixture
def crm(connect: Connect) -> Crm:
    return connect()


def update(lead_id: object, lead: Lead) -> Operation:
    return Operation(new_id(), Kind.UPDATE_LEAD, lead.to_dict(), 0.0, lead_id=str(lead_id), provider="bitrix")


def activity(lead_id: object, what: Activity = CLICK) -> Operation:
    return Operation(new_id(), Kind.LOG_ACTIVITY, what.to_dict(), 0.0, lead_id=str(lead_id), provider="bitrix")


def contacts(lead: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["typeId"], row["value"]) for row in lead["fm"]]


def existing(portal: FakeBitrix24, phone: str = "", email: str = "", **values: Any) -> int:
    """A lead that somebody else put into the portal."""
    rows = [{"typeId": kind, "value": value} for kind, value in (("PHONE", phone), ("EMAIL", email)) if value]
    return int(portal.save_lead({"title": "Theirs", **values}, rows)["id"])


def warm(crm: Crm, portal: FakeBitrix24) -> None:
    """Let the plugin learn the portal's fields, without a lead."""
    portal.fail_with("QUERY_LIMIT_EXCEEDED", path=r"crm\.(item|lead)\.add", times=1)
    assert isinstance(failure(lambda: deliver(crm, click(CLICK))), RateLimited)


class TestCreate:
    def test_the_mapping(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = creation(FULL)
        delivered = deliver(crm, operation)
        lead = only_lead(portal)
        assert delivered == Delivered("bitrix", str(lead["id"]), f"{portal.url}/crm/lead/details/{lead['id']}/")
        expected = {
            "title": "Lead - Ayşe Gül Öztürk-Şahin",
            "lastName": "Öztürk-Şahin",
            "UF_CRM_REFERRAL_CODE": "PARTNER017",
            "sourceId": "PARTNER",
            "sourceDescription": "landing /pricing?a=1&b=2",
            "utmTerm": "осень",
            "originatorId": "crmgate",
            "originId": operation.id,
        }
        assert {name: lead[name] for name in expected} == expected
        assert contacts(lead) == [("PHONE", "+905321234567"), ("EMAIL", "ayse@example.com.tr")]

    def test_no_value_is_lost(self, portal: FakeBitrix24, crm: Crm) -> None:
        deliver(crm, creation(FULL))
        assert_told(FULL, everything(only_lead(portal)))

    def test_only_the_chosen_api_is_used(self, portal: FakeBitrix24, crm: Crm, api: str) -> None:
        lead = deliver(crm, creation(FULL)).record_id
        deliver(crm, update(lead, ANNA))
        crm.find(creation(ANNA), 5.0)
        other = {"item": "crm.lead.", "lead": "crm.item."}[api]
        shared = ("crm.lead.userfield.list",)
        assert [name for name in methods(portal) if name.startswith(other) and name not in shared] == []

    @pytest.mark.parametrize("operation", [creation(ANNA), click(CLICK)], ids=lambda operation: operation.kind)
    def test_a_lost_answer(self, portal: FakeBitrix24, crm: Crm, operation: Operation) -> None:
        portal.fail("drop", when="after", path=r"crm\.(item|lead)\.add", times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        found = crm.find(operation, 5.0)
        assert found
        assert (found.record_id, found.adopted) == (str(only_lead(portal)["id"]), True)

    def test_sixty_leads_with_every_third_answer_lost(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail("drop", when="after", path=r"crm\.(item|lead)\.add", every=3)
        for number in range(60):
            bring(crm, creation(Lead(f"Person {number}", email=f"p{number}@example.com")))
        names = [lead["name"] for lead in portal.records()["lead"]]
        assert sorted(names) == sorted(f"Person {number}" for number in range(60))
        assert not portal.comments

    def test_the_portal_is_away(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.stop()
        assert type(failure(lambda: deliver(crm, creation(ANNA)))) is Unavailable
        assert type(failure(lambda: deliver(crm, update(1, ANNA)))) is Unavailable
        assert type(failure(lambda: deliver(crm, activity(1)))) is Unavailable


def bring(crm: Crm, operation: Operation, attempts: int = 4) -> Delivered:
    """Deliver as the gateway does: after an unknown outcome it looks first."""
    look = False
    for _ in range(attempts):
        try:
            return (crm.find(operation, 5.0) if look else None) or deliver(crm, operation)
        except OutcomeUnknown:
            look = True
        except Unavailable:
            pass
    raise AssertionError("not delivered")


def assert_told(lead: Lead, text: str) -> None:
    payload = lead.to_dict()
    nested = {**payload.pop("utm", {}), **payload.pop("custom", {}), **payload.pop("consent", {})}
    for value in [*payload.values(), *nested.values()]:
        for single in value if isinstance(value, list) else [value]:
            assert str(single) in text or single is True, single


class TestMissingFields:
    def test_all_leads_arrive_whole(self, portal: FakeBitrix24, crm: Crm) -> None:
        for name in list(portal.user_fields):
            portal.remove_user_field(name)
        delivered = deliver(crm, creation(FULL))
        assert delivered.dropped == delivered.moved == ()
        assert_told(FULL, everything(only_lead(portal)))
        for line in ("Referral code: PARTNER017", "User type: student", "Field of study: Bilgisayar Mühendisliği"):
            assert line in only_lead(portal)["comments"].splitlines()

    def test_describe_fields_names_them(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.remove_user_field("UF_CRM_1234567893")
        fields = {field.fact: field for field in crm.describe_fields(5.0)}
        assert [fact for fact, field in fields.items() if field.problem] == ["user_type"]
        assert "BITRIX_MAP_USER_TYPE" in fields["user_type"].problem
        assert (fields["language"].name, fields["language"].type) == ("UF_CRM_1234567894", "string")
        assert fields["source_id"].options[:2] == ("CALL", "EMAIL")

    def test_fields_that_a_lead_does_not_have(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(BITRIX_MAP_CITY="cityName", BITRIX_VALUES_SOURCE_ID="website=SITE")
        problems = {field.fact: field.problem for field in crm.describe_fields(5.0) if field.problem}
        assert problems.keys() == {"city", "source_id"}
        assert "SITE" in problems["source_id"]
        assert "BITRIX_MAP_CITY" in problems["city"]
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

    def test_it_raises_what_the_portal_refuses(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.secret = "changed"
        with pytest.raises(AuthFailed):
            crm.describe_fields(5.0)
        with pytest.raises(AuthFailed):
            crm.provision(5.0, apply=False)

    def test_the_fields_are_looked_up_once(self, portal: FakeBitrix24, crm: Crm) -> None:
        for number in range(3):
            deliver(crm, creation(Lead(f"P{number}", email=f"p{number}@example.com")))
        assert methods(portal).count("crm.lead.userfield.list") == 1

    def test_a_portal_that_does_not_tell_its_fields(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail_with("ACCESS_DENIED", path="userfield")
        portal.remove_user_field("UF_CRM_1234567893")
        assert deliver(crm, creation(FULL)).dropped == ("UF_CRM_1234567893",)
        assert "User type: student" in only_lead(portal)["comments"]

    def test_nor_does_it_let_a_lead_be_read(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail_with("ACCESS_DENIED", path=r"userfield|\.get|\.update")
        portal.remove_user_field("UF_CRM_1234567893")
        deliver(crm, creation(FULL))
        assert only_lead(portal)["name"] == "Ayşe Gül"

    def test_one_that_cannot_be_reached_gets_nothing(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.fail("drop", path="userfield")
        assert type(failure(lambda: deliver(connect("create"), creation(FULL)))) is Unavailable
        assert not portal.leads


class TestLists:
    @pytest.mark.parametrize("word", ["Student", "STUDENT", "student"])
    def test_values_are_found_by_their_text(self, portal: FakeBitrix24, crm: Crm, word: str) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Parent", word)
        assert deliver(crm, creation(FULL)).moved == ()
        assert only_lead(portal)["UF_CRM_1234567893"] == ids[word]

    def test_or_by_their_xml_id(self, portal: FakeBitrix24, crm: Crm) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Öğrenci", "Veli")
        portal.user_fields["UF_CRM_1234567893"].option_xml_ids = {ids["Öğrenci"]: "STUDENT", ids["Veli"]: "PARENT"}
        deliver(crm, creation(FULL))
        assert only_lead(portal)["UF_CRM_1234567893"] == ids["Öğrenci"]

    @pytest.mark.parametrize("table", ["", "student=999"])
    def test_or_they_go_into_the_comments(self, portal: FakeBitrix24, connect: Connect, table: str) -> None:
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


class TestRefusedFields:
    def test_an_item_removed_a_moment_ago(self, portal: FakeBitrix24, crm: Crm) -> None:
        warm(crm, portal)
        portal.make_enumeration("UF_CRM_1234567893", "Parent")
        assert deliver(crm, creation(FULL)).moved == ("UF_CRM_1234567893",)
        assert "User type: student" in only_lead(portal)["comments"].splitlines()
        assert_told(FULL, everything(only_lead(portal)))

    def test_a_removed_source(self, portal: FakeBitrix24, crm: Crm) -> None:
        del portal.sources["PARTNER"]
        assert deliver(crm, creation(FULL)).moved == ("sourceId",)

    def test_a_type_that_does_not_fit(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.add_user_field("UF_CRM_1234567896", "integer")
        assert deliver(crm, creation(FULL)).moved == ("UF_CRM_1234567896",)
        assert "Field of study: Bilgisayar Mühendisliği" in only_lead(portal)["comments"]

    def test_a_field_called_by_its_label(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.name_fields_by_label = True
        portal.add_user_field("UF_CRM_1234567896", "integer", label="Alan 1")
        portal.add_user_field("UF_CRM_1234567897", "integer", label="Üniversite")
        assert {*deliver(crm, creation(FULL)).moved} == {"UF_CRM_1234567896", "UF_CRM_1234567897"}

    def test_a_label_that_nobody_knows(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.name_fields_by_label = True
        portal.add_user_field("UF_CRM_1234567896", "integer", label="Alan")
        portal.fail("answer", status=500, path="batch", body="<html>")
        lead = Lead("Anna", field_of_study="CS")
        assert {*deliver(crm, creation(lead)).moved} == {"sourceId", "UF_CRM_1234567896"}
        assert "Field of study: CS" in only_lead(portal)["comments"]

    def test_bbcode_in_a_value_that_moved_stays_text(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.add_user_field("UF_CRM_1234567896", "integer")
        deliver(crm, creation(Lead("Anna", field_of_study="[url=http://x]a[/url]")))
        assert not re.search(r"\[(/?\w|\*)", only_lead(portal)["comments"])

    @pytest.mark.parametrize("kind", ["PHONE", "EMAIL"])
    def test_a_phone_or_email(self, portal: FakeBitrix24, crm: Crm, kind: str) -> None:
        warm(crm, portal)
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", f'Bad "{kind}"', path=r"crm\.(item|lead)\.add", times=1)
        assert deliver(crm, creation(ANNA)).moved == (kind,)
        (kept,) = {"PHONE", "EMAIL"} - {kind}
        assert [name for name, _ in contacts(only_lead(portal))] == [kept]
        assert_told(ANNA, everything(only_lead(portal)))

    def test_dead_when_so_configured(self, portal: FakeBitrix24, connect: Connect) -> None:
        del portal.sources["PARTNER"]
        error = failure(lambda: deliver(connect(on_rejected_field="dead"), creation(FULL)))
        assert isinstance(error, Rejected)
        assert [*error.fields] == ["sourceId"]
        assert "BITRIX_VALUES_SOURCE_ID" in error.detail

    def test_a_mandatory_field_that_nothing_fills(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        portal.add_user_field("UF_CRM_LIST", "enumeration", ["First", "Second"], mandatory=True)
        deliver(crm, creation(ANNA))
        lead = only_lead(portal)
        (first, _) = portal.user_fields["UF_CRM_LIST"].options
        assert (lead["UF_CRM_OFFICE"], lead["UF_CRM_LIST"]) == ("-", first)

    def test_a_mandatory_list_without_the_item(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.add_user_field("UF_CRM_1234567893", "enumeration", ["Veli"], mandatory=True)
        deliver(crm, creation(FULL))
        assert "User type: student" in only_lead(portal)["comments"]

    def test_a_mandatory_field_whose_value_is_refused(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.add_user_field("UF_CRM_1234567896", mandatory=True)
        warm(crm, portal)
        bad = 'Bad "UF_CRM_1234567896"'
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", bad, path=r"crm\.(item|lead)\.add", times=1)
        deliver(crm, creation(FULL))
        assert only_lead(portal)["UF_CRM_1234567896"] == "-"
        assert "Field of study: Bilgisayar Mühendisliği" in only_lead(portal)["comments"]

    def test_what_a_lead_cannot_do_without(self, portal: FakeBitrix24, crm: Crm) -> None:
        warm(crm, portal)
        bad = 'Bad "title", "originId" and "originatorId"'
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", bad, path=r"crm\.(item|lead)\.add", times=1)
        assert isinstance(failure(lambda: deliver(crm, creation(FULL))), Rejected)

    def test_an_update(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal, comments="[b]Ours[/b]")
        portal.add_user_field("UF_CRM_1234567896", "integer")
        assert deliver(crm, update(lead, FULL)).moved == ("UF_CRM_1234567896",)
        comments = only_lead(portal)["comments"]
        assert comments.startswith("[b]Ours[/b]\n\n")
        assert "Field of study: Bilgisayar Mühendisliği" in comments


class TestUpdate:
    def test_a_minimal_lead_becomes_a_person(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = deliver(crm, click(CLICK)).record_id
        operation = update(lead, FULL)
        delivered = deliver(crm, operation)
        assert (delivered.record_id, delivered.adopted, delivered.dropped) == (lead, False, ())
        record = only_lead(portal)
        assert (record["title"], record["name"]) == ("Lead - Ayşe Gül Öztürk-Şahin", "Ayşe Gül")
        assert contacts(record) == [("PHONE", "+905321234567"), ("EMAIL", "ayse@example.com.tr")]
        assert_told(FULL, everything(record))
        assert "Channel: telegram" in record["comments"]
        assert operation.tracking_code in record["comments"]
        assert record["originId"] != operation.id

    def test_a_repeated_update_changes_nothing(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = update(deliver(crm, click(CLICK)).record_id, FULL)
        deliver(crm, operation)
        before = only_lead(portal)
        deliver(crm, operation)
        after = only_lead(portal)
        assert {**before, "updatedTime": ""} == {**after, "updatedTime": ""}

    @pytest.mark.parametrize(
        ("phone", "email"), [(ANNA.phone, ""), ("+1 (202) 555-0119", "ANNA@example.com"), ("", ANNA.email)]
    )
    def test_contacts_are_not_doubled(self, portal: FakeBitrix24, crm: Crm, phone: str, email: str) -> None:
        lead = existing(portal, phone, email)
        deliver(crm, update(lead, ANNA))
        deliver(crm, update(lead, ANNA))
        assert sorted(kind for kind, _ in contacts(only_lead(portal))) == ["EMAIL", "PHONE"]

    def test_a_second_phone_is_added(self, portal: FakeBitrix24, crm: Crm) -> None:
        deliver(crm, update(existing(portal, "+49301234567"), ANNA))
        assert [one for kind, one in contacts(only_lead(portal)) if kind == "PHONE"] == ["+49301234567", ANNA.phone]

    def test_what_is_not_said_stays(self, portal: FakeBitrix24, crm: Crm) -> None:
        values = {"lastName": "Lee", "sourceId": "PARTNER", "utmSource": "ig", "UF_CRM_REFERRAL_CODE": "REF7"}
        lead = existing(portal, "+49301234567", originId="x", originatorId="y", **values)
        before = only_lead(portal)
        deliver(crm, update(lead, Lead(first_name="Anna")))
        after = only_lead(portal)
        changed = {name for name in after if after[name] != before.get(name)} - {"updatedTime"}
        assert changed == {"name", "comments", "UF_CRM_1234567892"}
        assert after["title"] == "Theirs"

    def test_other_facts_replace_what_was_there(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal, name="Ann", UF_CRM_REFERRAL_CODE="REF7")
        deliver(crm, update(lead, Lead(first_name="Anna", referral_code="REF8")))
        record = only_lead(portal)
        assert (record["name"], record["UF_CRM_REFERRAL_CODE"]) == ("Anna", "REF8")

    @pytest.mark.parametrize("lead", ["999", "5f8a", "", "-1"])
    def test_a_lead_that_is_not_there(self, crm: Crm, lead: str) -> None:
        for operation in (update(lead, ANNA), activity(lead)):
            assert type(failure(lambda done=operation: deliver(crm, done))) is NotFound
            assert crm.find(operation, 5.0) is None

    def test_a_lost_answer(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = update(existing(portal), ANNA)
        assert crm.find(operation, 5.0) is None
        portal.fail("drop", when="after", path=r"crm\.(item|lead)\.update", times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        found = crm.find(operation, 5.0)
        assert found
        assert (found.record_id, found.adopted) == (operation.lead_id, True)

    def test_without_the_right_to_read(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal)
        portal.can_read = False
        assert isinstance(failure(lambda: deliver(crm, update(lead, ANNA))), AuthFailed)


class TestActivities:
    def test_it_is_told_whole(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal)
        operation = activity(lead)
        assert deliver(crm, operation).record_id == str(lead)
        (comment,) = portal.comments_of(lead)
        for line in ("Channel: telegram", "Referral code: REF7", "UTM source: ig", "page: /apply", "notes: ğ"):
            assert line in comment["COMMENT"].splitlines()
        assert operation.tracking_code in comment["COMMENT"]
        assert operation.id not in comment["COMMENT"]
        assert only_lead(portal).get("comments") is None

    def test_it_is_never_logged_twice(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal)
        portal.fail("drop", when="after", path=COMMENT, every=2)
        for _ in range(6):
            bring(crm, activity(lead))
        assert len(portal.comments) == 6

    def test_bbcode_stays_text(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal)
        deliver(crm, activity(lead, Activity("telegram", metadata={"notes": "[user=1]a[/user]"})))
        assert not re.search(r"\[(/?\w|\*)", portal.comments_of(lead)[0]["COMMENT"])

    def test_refusals(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal)
        portal.access_denied = True
        assert isinstance(failure(lambda: deliver(crm, activity(lead))), AuthFailed)
        portal.access_denied, portal.can_read = False, False
        assert isinstance(failure(lambda: crm.find(activity(lead), 5.0)), AuthFailed)

    @pytest.mark.parametrize("result", [None, "", [], {}, True])
    def test_a_success_without_a_comment_is_none(self, portal: FakeBitrix24, crm: Crm, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}), path=COMMENT)
        assert isinstance(failure(lambda: deliver(crm, activity(1))), OutcomeUnknown)


class TestDuplicates:
    SAME = pytest.mark.parametrize(
        "known",
        [
            {"phone": ANNA.phone},
            {"phone": ANNA.phone[1:]},
            {"email": ANNA.email},
            {"phone": ANNA.phone, "email": "x@y.zz"},
        ],
        ids=["phone", "phone without plus", "email", "both"],
    )

    @SAME
    def test_note(self, portal: FakeBitrix24, crm: Crm, known: dict[str, str]) -> None:
        lead = existing(portal, **known)
        before = only_lead(portal)
        operation = creation(ANNA)
        delivered = deliver(crm, operation)
        assert (delivered.record_id, delivered.adopted) == (str(lead), True)
        assert only_lead(portal) == before
        (comment,) = portal.comments_of(lead)
        assert operation.tracking_code in comment["COMMENT"]
        assert_told(ANNA, comment["COMMENT"])

    def test_a_note_tells_all(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal, email=FULL.email)
        deliver(crm, creation(FULL))
        assert_told(FULL, portal.comments_of(lead)[0]["COMMENT"].replace("\u2060", ""))

    @SAME
    def test_update(self, portal: FakeBitrix24, connect: Connect, known: dict[str, str]) -> None:
        lead = existing(portal, **known)
        delivered = deliver(connect("update"), creation(ANNA))
        assert (delivered.record_id, delivered.adopted) == (str(lead), True)
        record = only_lead(portal)
        assert (record["name"], record["title"]) == ("Anna", "Theirs")
        assert not portal.comments

    @SAME
    def test_create(self, portal: FakeBitrix24, connect: Connect, known: dict[str, str]) -> None:
        existing(portal, **known)
        assert not deliver(connect("create"), creation(ANNA)).adopted
        assert len(portal.leads) == 2
        assert "batch" not in methods(portal)

    @pytest.mark.parametrize("policy", ["note", "update", "create"])
    def test_a_name_alone_is_nobody(self, portal: FakeBitrix24, connect: Connect, policy: str) -> None:
        existing(portal, phone="+49301234567", name="Anna", lastName="Lee")
        assert not deliver(connect(policy), creation(ANNA)).adopted
        assert len(portal.leads) == 2

    @pytest.mark.parametrize("policy", ["note", "update"])
    def test_the_operations_own_lead_is_adopted(self, portal: FakeBitrix24, connect: Connect, policy: str) -> None:
        existing(portal, email=ANNA.email, phone=ANNA.phone)
        crm, operation = connect(policy), creation(ANNA)
        made = deliver(connect("create"), operation).record_id
        before = portal.records()
        delivered = deliver(crm, operation)
        assert (delivered.record_id, delivered.adopted) == (made, True)
        assert portal.records() == before

    def test_the_oldest_that_is_open(self, portal: FakeBitrix24, crm: Crm) -> None:
        existing(portal, email=ANNA.email, stageId="CONVERTED")
        wanted = existing(portal, phone=ANNA.phone)
        existing(portal, email=ANNA.email)
        assert deliver(crm, creation(ANNA)).record_id == str(wanted)

    def test_simple_mode_makes_new_leads(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.simple_mode = True
        deliver(crm, creation(ANNA))
        assert not deliver(crm, creation(ANNA)).adopted

    def test_many_namesakes(self, portal: FakeBitrix24, crm: Crm) -> None:
        first, *_ = [existing(portal, email=ANNA.email) for _ in range(70)]
        portal.fail("drop", when="after", path=COMMENT, times=1)
        assert bring(crm, creation(ANNA)).record_id == str(first)
        assert (len(portal.leads), len(portal.comments)) == (70, 1)

    @pytest.mark.parametrize("policy", ["note", "update"])
    def test_nothing_is_told_twice(self, portal: FakeBitrix24, connect: Connect, policy: str) -> None:
        lead = existing(portal, email=ANNA.email)
        crm = connect(policy)
        portal.fail("drop", when="after", path=rf"{COMMENT}|\.update", every=2)
        for _ in range(4):
            bring(crm, creation(ANNA))
        told = str(only_lead(portal)) + str(portal.comments_of(lead))
        assert told.count("Tracking code") == 4

    def test_a_note_is_found_after_its_lead_was_converted(self, portal: FakeBitrix24, crm: Crm) -> None:
        lead = existing(portal, email=ANNA.email)
        operation = creation(ANNA)
        deliver(crm, operation)
        portal.save_lead({"stageId": "CONVERTED"}, [], lead)
        found = crm.find(operation, 5.0)
        assert found
        assert found.record_id == str(lead)

    def test_a_lead_deleted_in_between(self, portal: FakeBitrix24, crm: Crm) -> None:
        existing(portal, email=ANNA.email)
        portal.fail_with("OWNER_NOT_FOUND", path=COMMENT)
        assert not deliver(crm, creation(ANNA)).adopted

    def test_a_click_looks_nobody_up(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = click(CLICK)
        deliver(crm, operation)
        deliver(crm, click(CLICK))
        assert len(portal.leads) == 2
        assert "batch" not in methods(portal)

    def test_a_refused_look_up_costs_no_lead(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.can_read = False
        assert not deliver(crm, creation(ANNA)).adopted

    @pytest.mark.parametrize("code", ["QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT", "INTERNAL_SERVER_ERROR"])
    def test_one_that_failed_is_tried_again(self, portal: FakeBitrix24, crm: Crm, code: str) -> None:
        body = {"result": {"result": [], "result_error": {"PHONE": {"error": code}, "EMAIL": {"error": code}}}}
        portal.fail("answer", status=200, body=json.dumps(body), path="batch")
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), Unavailable | RateLimited)
        assert not portal.leads

    @pytest.mark.parametrize("result", [None, [], {}, "x", {"result": {"PHONE": []}, "result_error": []}])
    def test_half_an_answer_is_none(self, portal: FakeBitrix24, crm: Crm, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}), path="batch")
        assert type(failure(lambda: deliver(crm, creation(ANNA)))) is Unavailable
        assert not portal.leads

    def test_odd_addresses_reach_the_portal_as_they_are(self, portal: FakeBitrix24, crm: Crm) -> None:
        email = "a&b=c%20+[x]@example.com"
        lead = existing(portal, email=email)
        assert deliver(crm, creation(Lead("Anna", email=email))).record_id == str(lead)


class TestProvision:
    @pytest.fixture
    def portal(self) -> Iterator[FakeBitrix24]:
        with FakeBitrix24(preset=False) as fake:
            yield fake

    def test_the_plan_changes_nothing(self, portal: FakeBitrix24, crm: Crm) -> None:
        plan = crm.provision(5.0, apply=False)
        assert [step.done for step in plan.steps] == [False] * 6 + [True]
        assert "UF_CRM_REFERRAL_CODE" in plan.steps[0].what
        assert not portal.user_fields
        assert [name for name in methods(portal) if WRITES.search(name)] == []

    def test_twice(self, portal: FakeBitrix24, crm: Crm) -> None:
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

    def test_without_the_right(self, portal: FakeBitrix24, crm: Crm) -> None:
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

    def test_a_lost_answer(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail("drop", when="after", path=r"userfield\.add", times=1)
        assert isinstance(failure(lambda: crm.provision(5.0, apply=True)), OutcomeUnknown)
        assert all(step.done for step in crm.provision(5.0, apply=True).steps)
        assert len(portal.user_fields) == 6


class TestSettings:
    def test_the_api(self, portal: FakeBitrix24, connect: Connect) -> None:
        with pytest.raises(ConfigError, match="BITRIX_API"):
            connect(BITRIX_API="deal")

    def test_capabilities(self) -> None:
        hooks = {"create_lead", "create_minimal_lead", "find_lead", "update_lead", "log_activity", "provision"}
        assert hooks <= plugins().providers["bitrix"].capabilities

    def test_an_old_portal(self, portal: FakeBitrix24, connect: Connect) -> None:
        assert all(check.ok for check in connect().test_connection(5.0).checks)

    def test_the_assigned_user(self, portal: FakeBitrix24, connect: Connect) -> None:
        deliver(connect(BITRIX_ASSIGNED_BY_ID="7"), creation(ANNA))
        assert only_lead(portal)["assignedById"] == 7


CANARIES = ("Ayşe", "Öztürk", "ayse@", "905321234567", "KVKK", "HYPERLINK", "Atatürk")
SPOILERS: list[Callable[[FakeBitrix24], object]] = [
    lambda portal: portal.fail("drop", when="after"),
    lambda portal: portal.fail("drop", path="add|update", when="after"),
    lambda portal: portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Bad "Ayşe Gül", ayse@example.com.tr'),
    lambda portal: portal.fail_with("", "Ayşe Gül +905321234567", path="add|update"),
    lambda portal: portal.fail(
        "answer", body=json.dumps({"result": {"result": [], "result_error": {"PHONE": {"error": "ayse@x.tr"}}}})
    ),
]


@pytest.mark.parametrize("policy", ["note", "update", "create"])
@pytest.mark.parametrize("spoil", SPOILERS)
def test_nothing_leaks(
    portal: FakeBitrix24,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    policy: str,
    spoil: Callable[[FakeBitrix24], object],
) -> None:
    caplog.set_level("DEBUG", logger="crmgate")
    lead = existing(portal, email=FULL.email)
    crm, seen = connect(policy), ""
    spoil(portal)
    known = Utm(content="Ayşe")
    for operation in (creation(FULL), update(lead, FULL), activity(lead, Activity("telegram", utm=known))):
        for act in (deliver, lambda crm, operation: crm.find(operation, 5.0)):
            try:
                seen += repr(act(crm, operation))
            except ProviderError as error:
                shown = [error, error.detail, error.vendor_code, getattr(error, "fields", "")]
                seen += " ".join(map(str, [*shown, *traceback.format_exception(error)]))
    seen += caplog.text
    assert [word for word in (portal.secret, *CANARIES) if word in seen] == []


def test_every_request_of_a_batch_is_a_read(portal: FakeBitrix24, crm: Crm) -> None:
    existing(portal, email=ANNA.email)
    deliver(crm, creation(ANNA))
    crm.find(creation(ANNA), 5.0)
    commands = [command for batch in calls(portal, "batch") for command in batch["cmd"].values()]
    assert commands
    assert {command.partition("?")[0] for command in commands} <= {
        "crm.duplicate.findbycomm",
        "crm.timeline.comment.list",
    }

"""The EspoCRM plugin against the fake EspoCRM over HTTP, and against every create that was recorded of a real one."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests_mock as mocking

from crmgate.errors import (
    AuthFailed,
    Code,
    ConfigError,
    Duplicate,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Activity, Connection, Consent, Delivered, Kind, Lead, Operation, Utm, new_id
from crmgate.plugins import discover
from crmgate.provider import CRMProvider, time_budget
from crmgate.testing.espocrm import OPERATION_FIELD, FakeEspoCRM

ROOT = Path(__file__).parents[2]
EXCHANGES = ROOT / "tests" / "contracts" / "espocrm" / "exchanges"
KEY = "KEY-GATEWAY"
NOBODY = "http://127.0.0.1:1"
JSON, HTML = "application/json", "text/html; charset=UTF-8"
RACERS = 8
DEAD = {"on_rejected_field": "dead"}

ADA = Lead(first_name="Ada", last_name="Lovelace", email="ada@example.org")
FULL = Lead(
    first_name="Ayşe Gül", last_name="Çağlı-Öztürk", email="ayse@example.org", phone="+905321234567",
    country="Türkiye", city="İzmir", birth_date="2001-02-03", education_level="bachelor", field_of_study="Mühendislik",
    institution="Ege Üniversitesi", graduation_year=2024, gpa="3.4", universities=("Koç", "Boğaziçi"),
    programs=("MSc", "MBA"), budget="10,000 EUR", start_date="2026-09", scholarship_needed="full",
    language_preference="German", user_type="student", language="both", scholarship="yes", university_chosen="no",
    referral_code="INSTA-24", source="landing", source_description="spring page",
    utm=Utm("google", "cpc", "spring", "banner", "study"), session="s-1234",
    consent=Consent(True, "You may call me", "2026-01-02T03:04:05Z"), additional_info="First line\nsecond <line>",
    custom={"how_heard": "a friend", "blank": " "},
)  # fmt: skip
LEADS = {
    "minimal": Lead(first_name="Ada", phone="+905321234567"),
    "full": FULL,
    "emoji": Lead(first_name="🎓👩‍🎓", last_name="🙂", email="e@example.org", additional_info="👍🏽", city="🏙"),
    "right to left": Lead(first_name="محمد", last_name="الأحمد", email="m@example.org", city="القاهرة", source="مجلة"),
    "unmapped source": Lead(first_name="Ada", email="a@example.org", source="fair", user_type="teacher"),
    "partner": Lead(first_name="Ada", email="a@example.org", source="partner"),
}
CLICK = Activity(
    "telegram", "TG-1", "2026-01-02T03:04:05Z", session="s-1", utm=Utm(source="ig"), metadata={"page": "/en"}
)  # fmt: skip


@pytest.fixture
def crm() -> Iterator[FakeEspoCRM]:
    with FakeEspoCRM() as crm:
        yield crm


def provider(url: str, policies: Mapping[str, str] | None = None, **settings: str) -> Any:
    """The plugin as the gateway finds it. `Any`: its hooks are not those of the base class."""
    found = discover(ROOT / "plugins", ("espocrm",))
    assert not found.quarantined
    environ = {"ESPOCRM_URL": url, "ESPOCRM_API_KEY": KEY} | settings
    made: CRMProvider = found.providers["espocrm"](environ, timeout=5.0, **(policies or {}))
    return made


def operation(data: Lead | Activity, kind: Kind = Kind.CREATE_LEAD) -> Operation:
    return Operation(id=new_id(), kind=kind, payload=data.to_dict(), accepted_at=0.0)


def create(plugin: Any, lead: Lead = ADA, wanted: Operation | None = None) -> Delivered:
    delivered: Delivered = plugin.create_lead(lead=lead, operation=wanted or operation(lead))
    return delivered


def click(plugin: Any, wanted: Operation | None = None) -> Delivered:
    made = wanted or operation(CLICK, Kind.CREATE_MINIMAL_LEAD)
    delivered: Delivered = plugin.create_minimal_lead(activity=CLICK, operation=made)
    return delivered


def sent(crm: FakeEspoCRM, method: str) -> int:
    return sum(request.method == method for request in crm.requests)


def words(value: Any) -> Iterator[str]:
    """Every text that a visitor gave."""
    match value:
        case dict():
            yield from (word for item in value.values() for word in words(item))
        case list() | tuple():
            yield from (word for item in value for word in words(item))
        case bool():
            return
        case _ if str(value).strip():
            yield str(value)


class TestMapping:
    @pytest.mark.parametrize("lead", list(LEADS.values()), ids=list(LEADS))
    def test_nothing_that_a_visitor_gave_is_lost(self, crm: FakeEspoCRM, lead: Lead) -> None:
        wanted = operation(lead)
        delivered = create(provider(crm.url), lead, wanted)
        (record,) = crm.leads
        assert delivered == Delivered("espocrm", record["id"], f"{crm.url}/#Lead/view/{record['id']}")
        told = "\n".join(str(value) for value in record.values())
        assert [word for word in words(lead.to_dict()) if word not in told] == []
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
        body = json.loads(crm.requests[0].body)
        assert body.keys() == {"lastName", "emailAddress", "referralCodeC", "source", OPERATION_FIELD, "description"}

    def test_a_click_makes_a_minimal_lead(self, crm: FakeEspoCRM) -> None:
        wanted = operation(CLICK, Kind.CREATE_MINIMAL_LEAD)
        click(provider(crm.url), wanted)
        (record,) = crm.leads
        fields = {"firstName": "Messenger", "lastName": "Lead", "referralCodeC": "TG-1", OPERATION_FIELD: wanted.id}
        assert record.items() >= fields.items()
        told = record["description"]
        assert all(line in told for line in ("Channel: telegram", "UTM source: ig", "page: /en", "Session: s-1"))

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


def user_id(crm: FakeEspoCRM, name: str) -> str:
    return next(str(user["id"]) for user in crm.records()["User"] if user["userName"] == name)


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
            mocker.post(mocking.ANY, json={"id": "5", "lastName": None, "referralCodeC": ""})
            dropped = create(provider(NOBODY), Lead(last_name="None", referral_code="-")).dropped
        assert {"lastName", "referralCodeC"} <= set(dropped)

    def test_a_value_that_was_only_tidied_up_is_not_dropped(self, crm: FakeEspoCRM) -> None:
        lead = Lead(first_name=" Ada ", email=" ada@example.org", phone="+90 532 123 45 67")
        assert create(provider(crm.url), lead).dropped == ()
        assert crm.leads[0]["phoneNumber"] == "+905321234567"


class TestDuplicates:
    def test_a_name_alone_makes_no_duplicate(self, crm: FakeEspoCRM) -> None:
        other = crm.add_lead(firstName="Ada", lastName="Lovelace", emailAddress="another@example.org")
        delivered = create(provider(crm.url))
        assert (len(crm.leads), delivered.adopted) == (2, False)
        assert delivered.record_id != other["id"]
        assert (sent(crm, "POST"), sent(crm, "GET")) == (2, 0)

    def test_the_lead_of_this_operation_is_adopted_though_it_is_not_the_first(self, crm: FakeEspoCRM) -> None:
        wanted = operation(ADA)
        crm.add_lead(firstName="Ada", lastName="Lovelace")
        own = crm.add_lead(firstName="Ada", lastName="Lovelace", **{OPERATION_FIELD: wanted.id})
        delivered = create(provider(crm.url), wanted=wanted)
        assert (delivered.record_id, delivered.adopted, len(crm.leads)) == (own["id"], True, 2)

    def test_the_lead_of_this_operation_is_adopted_though_it_is_not_shown(self, crm: FakeEspoCRM) -> None:
        crm.unique_key(OPERATION_FIELD, on=False)
        wanted = operation(ADA)
        for _ in range(5):
            crm.add_lead(firstName="Ada", lastName="Lovelace")
        own = crm.add_lead(firstName="Ada", lastName="Lovelace", **{OPERATION_FIELD: wanted.id})
        assert create(provider(crm.url), wanted=wanted).record_id == own["id"]
        assert len(crm.leads) == 6

    @pytest.mark.parametrize("body", ["", "[", "{}", "[]", '[null, "x"]', '[{"crmgateOperationIdC": "ID"}]'])
    def test_a_409_that_shows_nothing_costs_no_lead(self, crm: FakeEspoCRM, body: str) -> None:
        wanted = operation(ADA)
        crm.fail("answer", status=409, body=body.replace("ID", wanted.id), content_type=JSON, method="POST", times=1)
        create(provider(crm.url), wanted=wanted)
        assert [lead[OPERATION_FIELD] for lead in crm.leads] == [wanted.id]

    def test_a_409_though_the_check_was_skipped(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=409, body="[]", content_type=JSON, method="POST")
        with pytest.raises(Duplicate):
            create(provider(crm.url))
        assert sent(crm, "POST") == 2

    def test_clicks_are_no_duplicates_of_each_other(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        assert len({click(plugin).record_id for _ in range(3)}) == 3
        assert sent(crm, "POST") == 3


class TestExactlyOnce:
    @pytest.mark.parametrize("kind", ["drop", "hang"])
    @pytest.mark.parametrize("lead", [ADA, Lead(first_name="Ada", phone="+905321234567")])
    def test_a_lead_whose_answer_got_lost_is_found_and_adopted(self, crm: FakeEspoCRM, kind: Any, lead: Lead) -> None:
        plugin, wanted = provider(crm.url), operation(lead)
        crm.fail(kind, when="after", method="POST", times=1)
        with time_budget(0.5), pytest.raises(OutcomeUnknown):
            create(plugin, lead, wanted)
        (stored,) = crm.leads
        for found in (plugin.find_lead(operation=wanted), create(plugin, lead, wanted)):
            assert found == Delivered(
                "espocrm", stored["id"], f"{crm.url}/#Lead/view/{stored['id']}", adopted=True
            )  # fmt: skip
        assert len(crm.leads) == 1

    def test_a_request_that_never_arrived_leaves_nothing_to_find(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(ADA)
        crm.fail("drop", method="POST", times=1)
        with pytest.raises(OutcomeUnknown):
            create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted) is None

    def test_a_click_whose_answer_got_lost_is_adopted(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(CLICK, Kind.CREATE_MINIMAL_LEAD)
        crm.fail("drop", when="after", method="POST", times=1)
        with pytest.raises(OutcomeUnknown):
            click(plugin, wanted)
        assert click(plugin, wanted).adopted
        assert len(crm.leads) == 1

    @pytest.mark.parametrize("data", [ADA, Lead(first_name="Ada", phone="+905321234567"), CLICK])
    def test_a_race_for_the_unique_key_makes_one_lead(self, crm: FakeEspoCRM, data: Lead | Activity) -> None:
        crm.race_window = 0.2
        wanted, plugin, barrier = operation(data), provider(crm.url), threading.Barrier(RACERS)
        delivered: list[Delivered] = []

        def run() -> None:
            barrier.wait()
            delivered.append(create(plugin, data, wanted) if isinstance(data, Lead) else click(plugin, wanted))

        threads = [threading.Thread(target=run) for _ in range(RACERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (lead,) = crm.leads
        assert [one.record_id for one in delivered] == [lead["id"]] * RACERS
        assert [one.adopted for one in delivered].count(False) == 1

    def test_the_oldest_of_several_leads_is_found(self, crm: FakeEspoCRM) -> None:
        crm.unique_key(OPERATION_FIELD, on=False)
        wanted = operation(ADA)
        first, *_ = [crm.add_lead(lastName="Ada", **{OPERATION_FIELD: wanted.id}) for _ in range(3)]
        assert provider(crm.url).find_lead(operation=wanted).record_id == first["id"]

    def test_only_exactly_this_operation_is_found(self, crm: FakeEspoCRM) -> None:
        wanted = operation(ADA)
        crm.add_lead(lastName="Ada", **{OPERATION_FIELD: f"{wanted.id.upper()} "})
        plugin = provider(crm.url)
        assert plugin.find_lead(operation=wanted) is None
        rows = json.dumps({"total": -2, "list": [{"id": "1"}, {"id": "2", OPERATION_FIELD: "another"}, 3]})
        crm.fail("answer", status=200, body=rows, content_type=JSON)
        assert plugin.find_lead(operation=wanted) is None

    def test_looking_up_does_not_count_all_leads(self, crm: FakeEspoCRM) -> None:
        provider(crm.url).find_lead(operation=operation(ADA))
        assert crm.requests[0].header("X-No-Total") == "true"

    def test_a_renamed_field_is_searched(self, crm: FakeEspoCRM) -> None:
        crm.add_field("cKey", "varchar")
        plugin, wanted = provider(crm.url, ESPOCRM_MAP_OPERATION_ID="cKey"), operation(ADA)
        delivered = create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted).record_id == delivered.record_id
        assert create(plugin, wanted=wanted).adopted

    def test_without_the_field_a_lead_is_found_by_its_person_and_tracking_code(self, crm: FakeEspoCRM) -> None:
        crm.remove_field(OPERATION_FIELD)
        plugin, wanted = provider(crm.url), operation(ADA)
        made = create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted).record_id == made.record_id
        assert plugin.find_lead(operation=operation(ADA)) is None

    def test_without_the_field_a_lead_is_sent_again_where_duplicates_are_allowed(self, crm: FakeEspoCRM) -> None:
        crm.remove_field(OPERATION_FIELD)
        plugin, wanted = provider(crm.url, {"on_duplicate": "create"}), operation(ADA)
        create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted) is None
        assert not create(plugin, wanted=wanted).adopted

    def test_a_field_that_the_role_hides_cannot_be_searched(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"read": "all"}}, fieldData={"Lead": {OPERATION_FIELD: {"read": "no"}}})
        assert provider(crm.url).find_lead(operation=operation(ADA)) is None

    def test_without_a_mapping_nothing_is_asked(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, {"on_duplicate": "create"}, ESPOCRM_MAP_OPERATION_ID="")
        assert plugin.find_lead(operation=operation(ADA)) is None
        assert crm.requests == []

    def test_an_empty_500_that_nothing_explains_stays_unknown(self, crm: FakeEspoCRM) -> None:
        with pytest.raises(OutcomeUnknown) as raised:
            create(provider(crm.url), Lead(first_name="Ada", email="a@example.org", additional_info="\ud800"))
        assert (raised.value.code, raised.value.status) == (Code.SERVER_ERROR, 500)
        assert crm.leads == []

    def test_a_deadlock_passes(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(ADA)
        crm.fail("answer", status=500, content_type=JSON, method="POST", times=1)
        with pytest.raises(OutcomeUnknown):
            create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted) is None
        assert create(plugin, wanted=wanted).record_id == crm.leads[0]["id"]

    def test_the_key_of_a_deleted_lead_stays_taken(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(ADA)
        create(plugin, wanted=wanted)
        crm.database.table("Lead").records[crm.leads[0]["id"]]["deleted"] = True
        with pytest.raises(OutcomeUnknown):
            create(plugin, wanted=wanted)

    def test_an_empty_500_stays_unknown_when_the_look_up_fails(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=500, content_type=JSON, method="POST")
        crm.fail("drop", method="GET")
        with pytest.raises(OutcomeUnknown) as raised:
            create(provider(crm.url))
        assert (raised.value.code, raised.value.status) == (Code.CONNECTION_DROPPED, 500)


NGINX = "<html><head><title>404 Not Found</title></head></html>"
FLAW = "Field validation failure; entityType: Lead, field: {}, type: {}."
ANSWERS: dict[str, tuple[int, str, str | None, str, type[ProviderError], type[ProviderError], Code]] = {
    # what happened: status, content type, X-Status-Reason, body, error of a create, of a look-up, code
    "bad key": (401, HTML, None, "", AuthFailed, AuthFailed, Code.BAD_CREDENTIALS),
    "lockout": (403, HTML, None, "", AuthFailed, AuthFailed, Code.LOCKED_OUT),
    "no right": (403, JSON, "No create access.", "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "no right, not told which": (403, JSON, "", "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "no right, no reason": (403, JSON, None, "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "no right, as HTML": (403, HTML, "", "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "firewall": (403, HTML, None, "<h1>Blocked</h1>", Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "odd reason": (400, JSON, "Yılmaz ist 'ünlü'.", "", Rejected, Rejected, Code.INVALID_REQUEST),
    "no JSON object": (400, JSON, "Body is not a JSON object.", "", Rejected, Rejected, Code.INVALID_REQUEST),
    "bad request page": (400, HTML, None, NGINX, Rejected, Rejected, Code.INVALID_REQUEST),
    "invalid": (400, JSON, FLAW.format("cMustHave", "required"), "{}", Rejected, Rejected, Code.INVALID_VALUE),
    "no controller": (
        404, JSON, "Controller 'Lead' does not exist.", "", Unsupported, Unsupported, Code.UNSUPPORTED,
    ),
    "no record": (404, JSON, "Record 5 not found.", "", NotFound, NotFound, Code.NOT_FOUND),
    "another server": (404, HTML, None, NGINX, Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "no such method": (405, HTML, None, NGINX, Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "redirect": (301, HTML, None, NGINX, Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "too large": (413, HTML, None, NGINX, Rejected, Rejected, Code.INVALID_REQUEST),
    "too many": (429, HTML, None, NGINX, RateLimited, RateLimited, Code.RATE_LIMITED),
    "database down": (500, HTML, None, "", OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "error page": (500, HTML, None, "<h1>Fatal error</h1>", OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "PHP down": (502, HTML, None, NGINX, OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "maintenance": (
        503, HTML, "Application is in maintenance mode.", '{"message": "x"}', Unavailable, Unavailable,
        Code.MAINTENANCE,
    ),
    "overload": (503, HTML, None, NGINX, OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "proxy gave up": (504, HTML, None, NGINX, OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "truncated": (200, JSON, None, '{"id":"6b03b07947e1a', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "empty": (200, JSON, None, "", OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "no id": (200, JSON, None, '{"lastName": "x"}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "empty id": (200, JSON, None, '{"id": ""}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "null id": (200, JSON, None, '{"id": null}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "not an object": (200, JSON, None, '["x"]', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "not UTF-8": (200, JSON, None, '{"id": "\udcff"}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "a website": (200, HTML, None, "<h1>Welcome</h1>", OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "nothing": (204, JSON, None, "", OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
}  # fmt: skip
REFUSED: dict[str, dict[str, str]] = {
    FLAW.format("phoneNumber", "valid"): {"phoneNumber": "valid"},
    FLAW.format("lastName", "pattern"): {"lastName": "pattern"},
    FLAW.format("cMustHave", "required"): {"cMustHave": "required"},
    "Assignment failure: assigned user or team not allowed.": {"assignedUserId": "assignment"},
    "Can't relate with non-existing record. entity type: Lead, link: campaign.": {"campaignId": "link"},
    "Can't relate with non-existing record. entity type: Lead, link: assignedUser.": {"assignedUserId": "link"},
    "No foreign record access for link operation (Lead:assignedUser).": {"assignedUserId": "link"},
    "The field: Lovelace, type: secret.": {},
}


def replay(mocker: mocking.Mocker, status: int, content_type: str, reason: str | None, body: str) -> None:
    """Answer everything like this; a reason arrives as raw UTF-8 bytes, which HTTP clients read as Latin-1."""
    raw = {} if reason is None else {"X-Status-Reason": reason.encode().decode("latin-1")}
    content = body.encode(errors="surrogateescape")
    headers = {"Content-Type": content_type, **raw}
    mocker.register_uri(mocking.ANY, mocking.ANY, status_code=status, headers=headers, content=content)


class TestErrors:
    @pytest.mark.parametrize("answer", list(ANSWERS.values()), ids=list(ANSWERS))
    def test_each_answer_has_its_error(self, answer: tuple[Any, ...]) -> None:
        *reply, on_create, on_find, code = answer
        plugin = provider(NOBODY)
        with mocking.Mocker() as mocker:
            replay(mocker, *reply)
            with pytest.raises(ProviderError) as created:
                create(plugin)
            with pytest.raises(ProviderError) as clicked:
                click(plugin)
            assert len(mocker.request_history) == 2, "no answer of these is worth a second request"
            with pytest.raises(ProviderError) as found:
                plugin.find_lead(operation=operation(ADA))
        for error, kind in ((created.value, on_create), (clicked.value, on_create), (found.value, on_find)):
            assert (type(error), error.code, error.status) == (kind, code, answer[0])
            assert error.detail

    @pytest.mark.parametrize(("reason", "fields"), list(REFUSED.items()))
    def test_a_refused_field_is_named(self, reason: str, fields: dict[str, str]) -> None:
        with mocking.Mocker() as mocker:
            replay(mocker, 400 if "field:" in reason else 403, JSON, reason, "")
            with pytest.raises(Rejected) as raised:
                create(provider(NOBODY, DEAD))
        assert raised.value.fields == fields
        assert all(name in str(raised.value) for name in fields)
        assert "Lovelace" not in str(raised.value)

    @pytest.mark.parametrize(
        ("attributes", "fields"),
        [
            ({"first_name": "A" * 101}, {"firstName": "maxLength"}),
            ({"last_name": "x > y"}, {"lastName": "pattern"}),
            ({"email": "ünlü@örnek.com"}, {"emailAddress": "emailAddress"}),
            ({"phone": "05551112233"}, {"phoneNumber": "valid"}),
            ({"referral_code": "R" * 65}, {"referralCodeC": "maxLength"}),
        ],
    )
    def test_values_that_espocrm_refuses(
        self, crm: FakeEspoCRM, attributes: dict[str, str], fields: dict[str, str]
    ) -> None:
        with pytest.raises(Rejected) as raised:
            create(
                provider(crm.url, DEAD), Lead.from_dict({"first_name": "Ada", "email": "a@example.org"} | attributes)
            )
        assert (raised.value.fields, raised.value.code) == (fields, Code.INVALID_VALUE)

    def test_an_option_that_espocrm_does_not_have(self, crm: FakeEspoCRM) -> None:
        crm.set_options("source", ["", "Call"])
        with pytest.raises(Rejected) as raised:
            create(provider(crm.url, DEAD))
        assert raised.value.fields == {"source": "valid"}

    @pytest.mark.parametrize(("permission", "flaw"), [("not-set", "assignment"), ("all", "link")])
    @pytest.mark.parametrize("assignee", ["6b03b0155fea3963a", "admin"])
    def test_an_assignee_that_espocrm_refuses(
        self, crm: FakeEspoCRM, assignee: str, permission: str, flaw: str
    ) -> None:
        crm.set_role({"Lead": {"create": "yes", "read": "all"}}, assignmentPermission=permission)
        given = user_id(crm, assignee) if assignee == "admin" else assignee
        with pytest.raises(Rejected, match="ESPOCRM_ASSIGNED_USER_ID") as raised:
            create(provider(crm.url, DEAD, ESPOCRM_ASSIGNED_USER_ID=given))
        assert raised.value.fields == {"assignedUserId": flaw}

    def test_what_espocrm_says_of_itself(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        for attribute, kind, code in (
            ("maintenance", Unavailable, Code.MAINTENANCE),
            ("database_down", OutcomeUnknown, Code.SERVER_ERROR),
            ("php_down", OutcomeUnknown, Code.SERVER_ERROR),
        ):
            setattr(crm, attribute, True)
            with pytest.raises(ProviderError) as raised:
                create(plugin)
            assert (type(raised.value), raised.value.code) == (kind, code)
            setattr(crm, attribute, False)
        create(plugin)

    def test_a_bad_key_is_told_from_the_lockout_that_follows(self, crm: FakeEspoCRM) -> None:
        bad = provider(crm.url, ESPOCRM_API_KEY="wrong")
        codes = []
        for _ in range(12):
            with pytest.raises(AuthFailed) as raised:
                create(bad)
            codes.append(raised.value.code)
        assert codes == [Code.BAD_CREDENTIALS] * 11 + [Code.LOCKED_OUT]
        with pytest.raises(AuthFailed) as raised:
            create(provider(crm.url))
        assert (raised.value.code, raised.value.retry_after) == (Code.LOCKED_OUT, 60.0)

    def test_a_role_without_the_right_to_create(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"create": "no", "read": "all"}})
        with pytest.raises(AuthFailed) as raised:
            create(provider(crm.url))
        assert raised.value.code is Code.NO_PERMISSION

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(("kind", "code"), [("hang", Code.TIMEOUT), ("drop", Code.CONNECTION_DROPPED)])
    def test_an_answer_that_never_came(self, crm: FakeEspoCRM, kind: Any, when: Any, code: Code) -> None:
        crm.fail(kind, when=when)
        plugin = provider(crm.url)
        with time_budget(0.3), pytest.raises(OutcomeUnknown) as created:
            create(plugin)
        with time_budget(0.3), pytest.raises(Unavailable) as found:
            plugin.find_lead(operation=operation(ADA))
        assert (created.value.code, found.value.code) == (code, code)
        assert len(crm.leads) == (when == "after")

    def test_nobody_listens(self) -> None:
        with pytest.raises(Unavailable) as raised:
            create(provider(NOBODY))
        assert raised.value.code is Code.CONNECTION_FAILED

    @pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("soon", None), ("-1", None)])
    def test_the_patience_that_a_proxy_asks_for(self, crm: FakeEspoCRM, value: str, seconds: float | None) -> None:
        crm.fail("answer", status=429, headers={"Retry-After": value})
        with pytest.raises(RateLimited) as raised:
            create(provider(crm.url))
        assert raised.value.retry_after == seconds


def recorded() -> Iterator[Any]:
    """The creates of leads and what a real EspoCRM answered to them."""
    for file in sorted(EXCHANGES.glob("*.json")):
        for number, exchange in enumerate(json.loads(file.read_text())):
            request = exchange.get("request", {"method": "", "path": ""})
            whole = "body_cut_from_chars" not in exchange.get("response", {})
            if whole and (request["method"], request["path"]) == ("POST", "/api/v1/Lead"):
                yield pytest.param(exchange["response"], id=f"{file.stem}-{number}")


@pytest.mark.parametrize("response", list(recorded()))
def test_recorded_creates(response: Mapping[str, Any]) -> None:
    """Every answer of a real EspoCRM to a create means a record, or an error of the right family."""
    headers = {name.lower(): value for name, value in response["headers"].items()}
    families: dict[int, tuple[type[ProviderError], ...]] = {
        400: (Rejected,), 401: (AuthFailed,), 403: (AuthFailed, Rejected), 409: (Duplicate,),
        500: (OutcomeUnknown,), 502: (OutcomeUnknown,), 503: (Unavailable,),
    }  # fmt: skip
    with mocking.Mocker() as mocker:
        mocker.get(mocking.ANY, json={"total": -2, "list": []})
        reason = {k: v for k, v in headers.items() if k == "x-status-reason"}
        reply = {"Content-Type": headers["content-type"], **reason}
        mocker.post(mocking.ANY, status_code=response["status"], headers=reply, text=response["body"])
        if response["status"] == 200:
            assert create(provider(NOBODY)).record_id == json.loads(response["body"])["id"]
            return
        with pytest.raises(families[response["status"]]):
            create(provider(NOBODY))


class TestHmac:
    @pytest.fixture
    def settings(self, crm: FakeEspoCRM) -> dict[str, str]:
        roles = [crm.records()["Role"][0]["id"]]
        user = crm.add_user("signing", type="api", authMethod="Hmac", apiKey="KEY-HMAC", rolesIds=roles)
        return {"ESPOCRM_API_KEY": "KEY-HMAC", "ESPOCRM_SECRET_KEY": user["secretKey"]}

    def test_every_request_is_signed(self, crm: FakeEspoCRM, settings: dict[str, str]) -> None:
        plugin, wanted = provider(crm.url, **settings), operation(ADA)
        delivered = create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted).record_id == delivered.record_id
        assert all(check.ok for check in plugin.test_connection().checks)
        assert all(not request.header("X-Api-Key") for request in crm.requests)

    def test_a_wrong_secret_is_a_bad_key(self, crm: FakeEspoCRM, settings: dict[str, str]) -> None:
        with pytest.raises(AuthFailed) as raised:
            create(provider(crm.url, **settings | {"ESPOCRM_SECRET_KEY": "wrong"}))
        assert raised.value.code is Code.BAD_CREDENTIALS

    def test_the_signature_of_the_contract(self) -> None:
        plugin = provider(NOBODY, ESPOCRM_API_KEY="key", ESPOCRM_SECRET_KEY="secret")
        with mocking.Mocker() as mocker:
            mocker.post(mocking.ANY, json={"id": "5"})
            create(plugin)
        # printf 'POST /Lead' | openssl dgst -sha256 -hmac secret
        digest = "56d691fd26ad8ff5446d99b858d84467e6dd9fc17f05e115aa84bea15d24eb1d"
        wanted = base64.b64encode(f"key:{digest}".encode()).decode()
        assert mocker.request_history[0].headers["X-Hmac-Authorization"] == wanted


def failing(connection: Connection) -> dict[str, str]:
    return {check.name: check.detail for check in connection.checks if not check.ok}


class TestConnectionTest:
    def test_all_is_well(self, crm: FakeEspoCRM) -> None:
        connection = provider(crm.url).test_connection()
        assert (connection.provider, connection.connected, failing(connection)) == ("espocrm", True, {})
        assert 0 < connection.latency_ms < 5000
        names = [check.name for check in connection.checks]
        assert names[:4] == ["connection", "create leads", "update leads", "log activities"]
        assert (names[4], names[-1], len(names)) == ("field firstName", "operation id", 15)
        assert crm.leads == []

    @pytest.mark.parametrize(
        ("attributes", "hint"),
        [
            ({"maintenance": True}, "maintenance"),
            ({"database_down": True}, "database"),
            ({"php_down": True}, "PHP"),
        ],
    )
    def test_an_outage_has_its_name(self, crm: FakeEspoCRM, attributes: dict[str, bool], hint: str) -> None:
        crm.configure(attributes)
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert failing(connection).keys() == {"connection"}
        assert hint in failing(connection)["connection"]

    def test_a_bad_key_and_the_lockout(self, crm: FakeEspoCRM) -> None:
        bad = provider(crm.url, ESPOCRM_API_KEY="wrong")
        details = [failing(bad.test_connection())["connection"] for _ in range(12)]
        assert details[0].startswith("bad_credentials (HTTP 401)")
        assert details[-1].startswith("locked_out (HTTP 403)")
        assert all("ESPOCRM_API_KEY" in detail for detail in details)

    def test_a_role_without_rights(self, crm: FakeEspoCRM) -> None:
        crm.set_role({})
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert failing(connection)["connection"].startswith("no_permission (HTTP 403)")
        assert "read: all" in failing(connection)["connection"]

    def test_a_role_that_may_only_read(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"create": "no", "read": "all"}})
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert failing(connection) == {"create leads": "the role of the API user lacks Lead: create"}

    @pytest.mark.parametrize("path", ["/elsewhere", "/api"])
    def test_no_espocrm_at_the_address(self, crm: FakeEspoCRM, path: str) -> None:
        connection = provider(crm.url + path).test_connection()
        assert not connection.connected
        assert "ESPOCRM_URL" in failing(connection)["connection"]

    @pytest.mark.parametrize("body", ["<h1>Welcome</h1>", "{}", "[]", '"x"', "null", '{"list": {}}'])
    def test_another_program_at_the_address(self, crm: FakeEspoCRM, body: str) -> None:
        crm.fail("answer", status=200, body=body)
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert "ESPOCRM_URL" in failing(connection)["connection"]

    def test_nobody_listens_or_answers(self, crm: FakeEspoCRM) -> None:
        assert "ESPOCRM_URL" in failing(provider(NOBODY).test_connection())["connection"]
        crm.fail("hang")
        with time_budget(0.2):
            assert "timeout" in failing(provider(crm.url).test_connection())["connection"]

    def test_each_missing_field_is_named_with_its_setting(self, crm: FakeEspoCRM) -> None:
        crm.remove_field("universityC")
        crm.remove_field("referralCodeC")
        crm.add_field("cReferralCode", "varchar")
        connection = provider(crm.url).test_connection()
        assert connection.connected
        failed = failing(connection)
        assert failed.keys() == {"field universityC", "field referralCodeC"}
        assert "ESPOCRM_MAP_UNIVERSITY" in failed["field universityC"]
        assert "Create it." in failed["field universityC"]
        assert "There is cReferralCode." in failed["field referralCodeC"]
        assert "ESPOCRM_MAP_REFERRAL_CODE" in failed["field referralCodeC"]

    def test_fields_that_are_configured_are_the_ones_that_are_checked(self, crm: FakeEspoCRM) -> None:
        settings = {"ESPOCRM_MAP_CUSTOM_SHOE_SIZE": "cShoe", "ESPOCRM_MAP_UNIVERSITY": ""}
        crm.remove_field("universityC")
        failed = failing(provider(crm.url, **settings).test_connection())
        assert failed.keys() == {"field cShoe"}
        assert "ESPOCRM_MAP_CUSTOM_SHOE_SIZE" in failed["field cShoe"]

    def test_each_missing_option_is_named_with_its_setting(self, crm: FakeEspoCRM) -> None:
        crm.set_options("source", ["", "Call"])
        crm.set_options("userTypeC", ["", "student", "Parent"])
        failed = failing(provider(crm.url).test_connection())
        assert failed.keys() == {"field source", "field userTypeC"}
        assert "'Web Site', 'Partner'" in failed["field source"]
        assert "ESPOCRM_VALUES_SOURCE" in failed["field source"]
        assert "'parent'" in failed["field userTypeC"]
        assert "ESPOCRM_VALUES_USER_TYPE" in failed["field userTypeC"]

    @pytest.mark.parametrize("defect", ["missing", "hidden", "unmapped"])
    def test_an_operation_id_that_cannot_be_looked_up(self, crm: FakeEspoCRM, defect: str) -> None:
        if defect == "missing":
            crm.remove_field(OPERATION_FIELD)
        if defect == "hidden":
            rights = {"Lead": {"create": "yes", "read": "all"}}
            crm.set_role(rights, fieldData={"Lead": {OPERATION_FIELD: {"read": "no"}}})
        settings = {"ESPOCRM_MAP_OPERATION_ID": ""} if defect == "unmapped" else {}
        failed = failing(provider(crm.url, **settings).test_connection())
        assert failed.keys() == {"operation id"}
        assert "ESPOCRM_MAP_OPERATION_ID" in failed["operation id"]
        assert "twice" in failed["operation id"]

    def test_what_cannot_be_read_is_told_and_does_not_disconnect(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=404, path="App/user|Metadata|where")
        connection = provider(crm.url).test_connection()
        assert connection.connected
        assert failing(connection).keys() == {"rights", "fields", "operation id"}

    def test_metadata_that_say_nothing_are_a_failed_check(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=200, body="", content_type=JSON, path="Metadata")
        assert failing(provider(crm.url).test_connection()).keys() == {"fields"}

    def test_an_enum_without_a_list_of_options_is_not_judged(self, crm: FakeEspoCRM) -> None:
        crm.add_field("userTypeC", "enum", options=None)
        assert failing(provider(crm.url).test_connection()) == {}


class TestSettings:
    def test_what_is_required(self) -> None:
        plugin = discover(ROOT / "plugins", ("espocrm",)).providers["espocrm"]
        with pytest.raises(ConfigError) as raised:
            plugin({})
        assert [problem.split(":")[0] for problem in raised.value.problems] == ["ESPOCRM_URL", "ESPOCRM_API_KEY"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ESPOCRM_URL", "crm.example.com"),
            ("ESPOCRM_URL", "http://crm.example.com"),
            ("ESPOCRM_API_KEY", "two words"),
            ("ESPOCRM_API_KEY", "kéy"),
            ("ESPOCRM_SECRET_KEY", "line\nbreak"),
            ("ESPOCRM_ASSIGNED_USER_ID", "https://crm.example.com/#User/view/1"),
            ("ESPOCRM_MAP_SHOE_SIZE", "cShoeSize"),
        ],
    )
    def test_each_problem_names_its_setting(self, name: str, value: str) -> None:
        with pytest.raises(ConfigError) as raised:
            provider(**{"url": "https://crm.example.com"} | {name: value})
        (problem,) = raised.value.problems
        assert problem.startswith(name)
        assert ("KEY" in name) != (value in problem or "_MAP_" in name or "in the clear" in problem)

    def test_every_setting_says_what_it_is(self) -> None:
        schema = discover(ROOT / "plugins", ("espocrm",)).providers["espocrm"].Settings()
        assert all(field.metadata["help"] for field in schema.fields.values())


class TestSecrecy:
    CANARIES = (
        "Lovelace",
        "ada@example.org",
        "+905321234567",
        "KEY-CANARY",
        "SECRET-CANARY",
        "PASSWORD-CANARY",
        "private words",
    )
    LEAD = Lead(
        first_name="Ada", last_name="Lovelace", email="ada@example.org", phone="+905321234567",
        additional_info="private words",
    )  # fmt: skip
    ECHO = json.dumps({"id": None, "message": " ".join(CANARIES)})
    SETTINGS = {  # noqa: RUF012 - never changed
        "ESPOCRM_API_KEY": "KEY-CANARY", "ESPOCRM_SECRET_KEY": "SECRET-CANARY",
        "ESPOCRM_ADMIN_USERNAME": "admin", "ESPOCRM_ADMIN_PASSWORD": "PASSWORD-CANARY",
    }  # fmt: skip

    @pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 405, 409, 429, 500, 502, 503])
    @pytest.mark.parametrize("content_type", [JSON, HTML])
    def test_no_error_repeats_what_the_crm_echoed(self, status: int, content_type: str) -> None:
        plugin = provider(NOBODY, **self.SETTINGS)
        for prefix in ("", "Field validation failure; ", "Can't relate ", "Controller ", "Not existing attribute "):
            with mocking.Mocker() as mocker:
                replay(mocker, status, content_type, prefix + " ".join(self.CANARIES), self.ECHO)
                for attempt in (
                    lambda: create(plugin, self.LEAD),
                    lambda: create(plugin, replace(self.LEAD, phone="")),
                    lambda: plugin.find_lead(operation=operation(self.LEAD)),
                    lambda: plugin.update_lead(lead_id="5", lead=self.LEAD, operation=operation(self.LEAD)),
                    lambda: plugin.log_activity(activity=CLICK, lead_id="5", operation=operation(CLICK)),
                    lambda: plugin.provision(apply=True),
                    plugin.describe_fields,
                ):
                    self.assert_silent(plugin, attempt)
                self.assert_hidden(repr(plugin.test_connection()))

    def assert_silent(self, plugin: Any, attempt: Any) -> None:
        try:
            attempt()
        except ProviderError as error:
            chain = (error, error.__cause__, error.__context__)
            self.assert_hidden(" ".join(f"{one!r} {one} {getattr(one, 'args', '')}" for one in chain))
            self.assert_hidden(f"{vars(error)} {plugin!r}")

    def assert_hidden(self, shown: str) -> None:
        assert [canary for canary in self.CANARIES if canary in shown] == []

    def test_no_log_line_says_who_it_was(self, crm: FakeEspoCRM, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        crm.add_user("canary", type="api", authMethod="ApiKey", apiKey="KEY-CANARY")
        plugin = provider(crm.url, ESPOCRM_API_KEY="KEY-CANARY")
        for _ in range(2):
            with pytest.raises(AuthFailed):
                create(plugin, self.LEAD)
        good = provider(crm.url)
        made = create(good, self.LEAD)
        create(good, self.LEAD)
        good.update_lead(lead_id=made.record_id, lead=self.LEAD, operation=operation(self.LEAD))
        good.test_connection()
        self.assert_hidden(caplog.text)


def test_the_plugin_keeps_to_the_public_names() -> None:
    files = (ROOT / "plugins" / "espocrm").glob("*.py")
    lines = [line for file in files for line in file.read_text().splitlines()]
    modules = {line.split()[1] for line in lines if line.startswith(("from crmgate", "import crmgate"))}
    assert modules == {"crmgate", "crmgate.errors", "crmgate.model", "crmgate.provider"}

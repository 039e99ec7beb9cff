"""The Bitrix24 plugin against the running fake portal."""

from __future__ import annotations

import copy
import json
import logging
import re
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock

from crmgate.crm import Crm
from crmgate.errors import (
    AuthFailed,
    Code,
    ConfigError,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Activity, Consent, Delivered, Kind, Lead, Operation, Utm, new_id
from crmgate.plugins import Plugins, discover
from crmgate.testing.bitrix24 import FakeBitrix24

FOLDER = Path(__file__).parents[2] / "plugins"
ADD = r"crm\.item\.add"
LIST = r"crm\.item\.list"
Connect = Callable[..., Crm]

ANNA = Lead(first_name="Anna", last_name="Lee", email="anna@example.com", phone="+12025550119")
FULL = Lead(
    first_name="Ayşe Gül",
    last_name="Öztürk-Şahin",
    email="ayse@example.com.tr",
    phone="+905321234567",
    country="Türkiye",
    city="İstanbul",
    birth_date="2004-02-29",
    education_level="Lise",
    field_of_study="Bilgisayar Mühendisliği",
    institution="Atatürk Lisesi",
    graduation_year=2022,
    gpa="[3.50] / 4",
    universities=("Boğaziçi", "ODTÜ"),
    programs=("CS", "Математика"),
    budget="< 10 000 €",
    start_date="2026-09",
    scholarship_needed="partial",
    language_preference="فارسی",
    user_type="student",
    language="both",
    scholarship="yes",
    university_chosen="no",
    referral_code="PARTNER017",
    source="referral",
    source_description="landing /pricing?a=1&b=2",
    utm=Utm("google", "cpc", "güz kampanyası", "banner", "осень"),
    session="s-ae97ba94",
    consent=Consent(True, "KVKK metnini okudum", "2026-01-02T03:04:05Z"),
    additional_info='=HYPERLINK("http://x")\n<b>bold?</b> & "quotes" 🎓',
    custom={"how did you hear": "بصديق", "empty?": "0"},
)
CLICK = Activity("telegram", "REF7", "2026-01-02T03:04:05Z", "s-1", Utm("ig", "bio"), {"page": "/apply", "notes": "ğ"})


@pytest.fixture
def portal() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


@pytest.fixture
def connect(portal: FakeBitrix24) -> Connect:
    """The plugin, loaded and called as the gateway does; `settings` are further environment variables."""

    def configured(
        timeout: float = 5.0, on_duplicate: str = "note", on_rejected_field: str = "describe", **settings: str
    ) -> Crm:
        environ = {"BITRIX_WEBHOOK_URL": portal.webhook_url} | settings
        return plugins().choose(
            "bitrix", environ, timeout, ("127.0.0.1",), on_duplicate=on_duplicate, on_rejected_field=on_rejected_field
        )

    return configured


@pytest.fixture
def crm(connect: Connect) -> Crm:
    return connect()


@pytest.fixture
def adding(portal: FakeBitrix24, connect: Connect) -> Callable[..., Crm]:
    """The plugin in a state in which a create is one request: it knows the fields and looks up no duplicates."""

    def warmed(**settings: Any) -> Crm:
        crm = connect(on_duplicate="create", on_rejected_field="dead", **settings)
        portal.fail_with("QUERY_LIMIT_EXCEEDED", path=ADD, times=1)
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), RateLimited)
        portal.requests.clear()
        return crm

    return warmed


def plugins() -> Plugins:
    return discover(FOLDER, ("bitrix",))


def creation(lead: Lead) -> Operation:
    return Operation(new_id(), Kind.CREATE_LEAD, lead.to_dict(), time.time())


def click(activity: Activity) -> Operation:
    return Operation(new_id(), Kind.CREATE_MINIMAL_LEAD, activity.to_dict(), time.time())


def deliver(crm: Crm, operation: Operation) -> Delivered:
    return crm.deliver(operation, 5.0)


def failure(act: Callable[[], object]) -> ProviderError:
    """The error that `act` ends with."""
    with pytest.raises(ProviderError) as caught:
        act()
    return caught.value


def only_lead(portal: FakeBitrix24) -> dict[str, Any]:
    (lead,) = portal.records()["lead"]
    return lead


def everything(lead: dict[str, Any]) -> str:
    """All that the record says, as the portal shows it: word joiners are invisible."""
    return (
        json.dumps(lead, ensure_ascii=False, default=str).replace("\\n", "\n").replace('\\"', '"').replace("\u2060", "")
    )


def calls(portal: FakeBitrix24, method: str) -> list[dict[str, Any]]:
    """The parameters of every request that named `method`."""
    return [json.loads(request.body) for request in portal.requests if f"/{method}.json" in request.path]


def methods(portal: FakeBitrix24) -> list[str]:
    """The methods called, in their order."""
    return [request.path.rpartition("/")[2].removesuffix(".json") for request in portal.requests]


def checks(crm: Crm) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.ok, check.detail) for check in crm.test_connection(5.0).checks}


class TestCreateLead:
    def test_the_plugin_loads(self) -> None:
        found = plugins()
        assert not found.quarantined
        assert found.providers["bitrix"].label == "Bitrix24"

    def test_the_mapping(self, portal: FakeBitrix24, crm: Crm) -> None:
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

    def test_no_value_is_lost(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = creation(FULL)
        deliver(crm, operation)
        record = everything(only_lead(portal))
        payload = FULL.to_dict()
        nested = {**payload.pop("utm"), **payload.pop("custom"), **payload.pop("consent")}
        for value in [*payload.values(), *nested.values()]:
            for single in value if isinstance(value, list) else [value]:
                assert str(single) in record or single is True, single
        assert operation.tracking_code in record

    def test_what_has_no_field_is_labelled(self, portal: FakeBitrix24, crm: Crm) -> None:
        deliver(crm, creation(FULL))
        comments = only_lead(portal)["comments"]
        assert comments.startswith(FULL.additional_info)
        for line in (
            "Country: Türkiye",
            "Universities: Boğaziçi, ODTÜ",
            "Budget: < 10 000 €",
            "how did you hear: بصديق",
        ):
            assert line in comments.splitlines()
        assert "Referral code" not in comments

    def test_a_minimal_form(self, portal: FakeBitrix24, crm: Crm) -> None:
        deliver(crm, creation(Lead(first_name="Anna", phone="+12025550119")))
        lead = only_lead(portal)
        assert (lead["title"], lead["name"], lead.get("lastName")) == ("Lead - Anna", "Anna", None)
        assert [row["typeId"] for row in lead["fm"]] == ["PHONE"]
        assert (lead["UF_CRM_REFERRAL_CODE"], lead["sourceId"]) == ("DIRECT", "WEB")

    def test_without_phone_and_email_no_rows_are_sent(self, portal: FakeBitrix24, crm: Crm) -> None:
        deliver(crm, creation(Lead(first_name="Anna")))
        (sent,) = calls(portal, "crm.item.add")
        assert "fm" not in sent["fields"]

    def test_nothing_empty_is_sent(self, portal: FakeBitrix24, crm: Crm) -> None:
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
    def test_sources(self, portal: FakeBitrix24, crm: Crm, source: str, expected: str | None) -> None:
        deliver(crm, creation(Lead(first_name="Anna", source=source)))
        (sent,) = calls(portal, "crm.item.add")
        assert sent["fields"].get("sourceId") == expected
        assert sent["fields"]["UF_CRM_1234567892"] == source

    @pytest.mark.parametrize("tag", ["[url=http://x]a[/url]", "[IMG]http://x[/IMG]", "[user=1]a[/user]", "[*]", "[ş]"])
    def test_bbcode_of_a_visitor_stays_text(self, portal: FakeBitrix24, crm: Crm, tag: str) -> None:
        deliver(crm, creation(Lead(first_name="Anna", additional_info=tag, custom={"note": tag})))
        comments = only_lead(portal)["comments"]
        assert not re.search(r"\[(/?\w|\*)", comments)
        assert comments.replace("\u2060", "").count(tag) == 2

    def test_other_brackets_stay_as_typed(self, portal: FakeBitrix24, crm: Crm) -> None:
        deliver(crm, creation(Lead(first_name="Anna", additional_info="a [] b [ c] <b>&amp; :-[")))
        assert "a [] b [ c] <b>&amp; :-[" in only_lead(portal)["comments"]

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

    def test_requests(self, portal: FakeBitrix24, crm: Crm, adding: Connect) -> None:
        deliver(crm, creation(FULL))
        assert methods(portal) == ["batch", "crm.lead.userfield.list", "crm.item.add"]
        deliver(crm, creation(ANNA))
        assert methods(portal)[3:] == ["batch", "crm.item.add"]
        crm = adding()
        deliver(crm, creation(FULL))
        assert methods(portal) == ["crm.item.add"]

    def test_untouched_input(self, crm: Crm) -> None:
        operation = creation(FULL)
        before = copy.deepcopy(operation)
        deliver(crm, operation)
        assert operation == before

    def test_a_messenger_click(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = click(CLICK)
        assert deliver(crm, operation).dropped == ()
        lead = only_lead(portal)
        assert (lead["title"], lead["name"], lead["lastName"]) == ("Lead - Messenger Lead", "Messenger", "Lead")
        assert (lead["UF_CRM_REFERRAL_CODE"], lead["utmSource"], lead["utmMedium"]) == ("REF7", "ig", "bio")
        assert (lead["originatorId"], lead["originId"], lead["fm"]) == ("crmgate", operation.id, [])
        for line in ("Channel: telegram", "page: /apply", "notes: ğ", "Time: 2026-01-02T03:04:05Z", "Session: s-1"):
            assert line in lead["comments"].splitlines()


class TestDropped:
    def test_a_field_that_the_portal_lacks_is_not_sent(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.remove_user_field("UF_CRM_REFERRAL_CODE")
        assert deliver(crm, creation(ANNA)).dropped == ()
        assert "Referral code: DIRECT" in only_lead(portal)["comments"]
        assert len(calls(portal, "crm.item.update")) == 0

    def test_a_portal_that_does_not_tell_its_fields(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail_with("ACCESS_DENIED", path="userfield")
        portal.remove_user_field("UF_CRM_REFERRAL_CODE")
        assert deliver(crm, creation(ANNA)).dropped == ("UF_CRM_REFERRAL_CODE",)
        comments = only_lead(portal)["comments"]
        assert comments.endswith("Referral code: DIRECT")
        assert "Tracking code" in comments

    def test_the_second_write_may_fail(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.original_uf_names = False
        portal.fail("drop", path=r"crm\.item\.update")
        assert len(deliver(crm, creation(FULL)).dropped) == 6
        assert len(portal.leads) == 1

    def test_a_portal_that_does_not_know_original_names(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.original_uf_names = False
        assert len(deliver(crm, creation(FULL)).dropped) == 6
        assert "User type: student" in only_lead(portal)["comments"]
        assert not re.search(r"\[(/?\w|\*)", only_lead(portal)["comments"])

    @pytest.mark.parametrize("kind", ["boolean", "file", "employee"])
    def test_a_field_that_takes_no_text(self, portal: FakeBitrix24, crm: Crm, kind: str) -> None:
        portal.add_user_field("UF_CRM_1234567893", kind)
        assert deliver(crm, creation(FULL)).dropped == ()
        assert "User type: student" in only_lead(portal)["comments"]

    def test_a_field_for_several_values(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.add_user_field("UF_CRM_1234567893", "string", multiple=True)
        deliver(crm, creation(FULL))
        assert "User type: student" in only_lead(portal)["comments"]

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
        assert {*dropped} == {*gone, "comments"}


def mocked(request: Any, **changes: Any) -> dict[str, Any]:
    """The answer of a portal that tells no fields, and echoes leads with `changes`."""
    if "userfield" in request.path:
        return {"error": "ACCESS_DENIED"}
    return {"result": {"item": echoed(request, **changes)}}


def echoed(request: Any, **changes: Any) -> dict[str, Any]:
    """A lead as sent, without its comments."""
    return {**request.json()["fields"], "id": "5", "comments": None, **changes}


class TestFindLead:
    def test_nothing_is_there(self, crm: Crm) -> None:
        assert crm.find(creation(ANNA), 5.0) is None

    @pytest.mark.parametrize("operation", [creation(ANNA), click(CLICK)], ids=lambda operation: operation.kind)
    def test_a_lead_whose_answer_was_lost_is_adopted(
        self, portal: FakeBitrix24, crm: Crm, operation: Operation
    ) -> None:
        portal.fail("drop", when="after", path=ADD, times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        found = crm.find(operation, 5.0)
        lead = str(only_lead(portal)["id"])
        assert found == Delivered("bitrix", lead, f"{portal.url}/crm/lead/details/{lead}/", adopted=True)
        assert len(calls(portal, "crm.item.add")) == 1

    def test_after_a_request_that_never_arrived_there_is_none(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = creation(ANNA)
        portal.fail("drop", when="before", path=ADD, times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert crm.find(operation, 5.0) is None
        deliver(crm, operation)
        assert only_lead(portal)["originId"] == operation.id

    def test_the_stage_does_not_matter(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.simple_mode = True
        operation = creation(ANNA)
        delivered = deliver(crm, operation)
        assert only_lead(portal)["stageId"] == "CONVERTED"
        found = crm.find(operation, 5.0)
        assert found
        assert found.record_id == delivered.record_id

    def test_the_oldest_of_several(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = creation(ANNA)
        first = deliver(crm, operation)
        portal.save_lead({"originId": operation.id, "originatorId": "crmgate"}, [])
        found = crm.find(operation, 5.0)
        assert found
        assert found.record_id == first.record_id

    def test_leads_of_others_are_not_adopted(self, portal: FakeBitrix24, crm: Crm) -> None:
        operation = creation(ANNA)
        deliver(crm, creation(ANNA))
        portal.save_lead({"originId": operation.id, "originatorId": "another system"}, [])
        assert crm.find(operation, 5.0) is None

    def test_a_portal_that_refuses_the_filter(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.unfilterable = ["originId"]
        error = failure(lambda: crm.find(creation(ANNA), 5.0))
        assert (type(error), error.vendor_code) == (Rejected, "INVALID_ARG_VALUE")

    def test_a_portal_that_ignores_the_filter(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": {"items": [{"id": 1, "originId": "other"}]}}))
        assert isinstance(failure(lambda: crm.find(creation(ANNA), 5.0)), Unsupported)

    @pytest.mark.parametrize("result", [None, [], {"items": None}, "x"])
    def test_a_strange_list(self, portal: FakeBitrix24, crm: Crm, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}))
        error = failure(lambda: crm.find(creation(ANNA), 5.0))
        assert (type(error), error.code) == (Unavailable, Code.INVALID_RESPONSE)


UNKNOWN, REFUSED = (OutcomeUnknown, Code.SERVER_ERROR), (Rejected, Code.INVALID_REQUEST)
RIGHTS, CREDENTIALS = (AuthFailed, Code.NO_PERMISSION), (AuthFailed, Code.BAD_CREDENTIALS)
LIMIT, PERMANENT = (RateLimited, Code.RATE_LIMITED), (Unsupported, Code.UNSUPPORTED)
TABLE: list[tuple[str, int, tuple[type[ProviderError], Code]]] = [
    ("QUERY_LIMIT_EXCEEDED", 503, LIMIT),
    ("QUERY_LIMIT_EXCEEDED", 429, LIMIT),
    ("OPERATION_TIME_LIMIT", 429, LIMIT),
    ("OVERLOAD_LIMIT", 503, (AuthFailed, Code.LOCKED_OUT)),
    ("INTERNAL_SERVER_ERROR", 500, UNKNOWN),
    ("ERROR_UNEXPECTED_ANSWER", 500, UNKNOWN),
    ("NO_AUTH_FOUND", 401, CREDENTIALS),
    ("INVALID_CREDENTIALS", 401, CREDENTIALS),
    ("INVALID_CREDENTIALS", 403, CREDENTIALS),
    ("expired_token", 401, CREDENTIALS),
    ("PORTAL_DELETED", 500, CREDENTIALS),
    ("insufficient_scope", 403, RIGHTS),
    ("user_access_error", 403, RIGHTS),
    ("ACCESS_DENIED", 403, RIGHTS),
    ("ACCESS_DENIED", 400, RIGHTS),
    ("Access denied", 403, RIGHTS),
    ("INVALID_REQUEST", 400, (Unsupported, Code.INVALID_REQUEST)),
    ("ERROR_METHOD_NOT_FOUND", 404, PERMANENT),
    ("ERROR_BATCH_METHOD_NOT_ALLOWED", 405, PERMANENT),
    ("ERROR_BATCH_LENGTH_EXCEEDED", 400, PERMANENT),
    ("CRM_FIELD_ERROR_VALUE_NOT_VALID", 400, (Rejected, Code.INVALID_VALUE)),
    ("CRM_FIELD_ERROR_REQUIRED", 400, (Rejected, Code.INVALID_VALUE)),
    ("INVALID_ARG_VALUE", 400, REFUSED),
    ("100", 400, REFUSED),
    ("NOT_FOUND", 400, (NotFound, Code.NOT_FOUND)),
    ("OWNER_NOT_FOUND", 400, (NotFound, Code.NOT_FOUND)),
]
UNNAMED: list[tuple[Any, int, tuple[type[ProviderError], Code]]] = [
    *((code, status, REFUSED) for code in ("", 0, "0", None) for status in (200, 400)),
    *((code, status, UNKNOWN) for code in ("", 0, "NEW_CODE") for status in (500, 502, 503)),
    (100, 400, REFUSED),
    ("NEW_CODE", 400, REFUSED),
    ("NEW_CODE", 401, RIGHTS),
    ("NEW_CODE", 403, RIGHTS),
    ({"code": "nested"}, 400, REFUSED),
]


class TestErrors:
    @pytest.fixture
    def crm(self, adding: Connect) -> Crm:
        return adding()

    @pytest.mark.parametrize("at_200", [False, True], ids=["status", "200"])
    @pytest.mark.parametrize(("code", "status", "expected"), TABLE)
    def test_every_code(
        self, portal: FakeBitrix24, crm: Crm, code: str, status: int, expected: Any, at_200: bool
    ) -> None:
        portal.fail_with(code, "<b>A text</b>", status=200 if at_200 else status)
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code, error.vendor_code) == (*expected, code)
        assert error.status == (200 if at_200 else status)
        assert "A text" not in str(error)
        assert len(portal.requests) == 1

    @pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
    @pytest.mark.parametrize(("code", "status", "expected"), TABLE)
    def test_the_case_does_not_matter(
        self, portal: FakeBitrix24, crm: Crm, code: str, status: int, expected: Any, change: Callable[[str], str]
    ) -> None:
        portal.fail_with(change(code), status=status)
        assert type(failure(lambda: deliver(crm, creation(ANNA)))) is expected[0]

    @pytest.mark.parametrize(("code", "status", "expected"), UNNAMED)
    def test_without_a_known_code(self, portal: FakeBitrix24, crm: Crm, code: Any, status: int, expected: Any) -> None:
        portal.fail("answer", status=status, body=json.dumps({"error": code, "error_description": "Text"}))
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == expected
        assert error.vendor_code in ("", "100", "NEW_CODE")

    @pytest.mark.parametrize(("code", "status", "expected"), TABLE)
    def test_a_read_has_no_unknown_outcome(
        self, portal: FakeBitrix24, crm: Crm, code: str, status: int, expected: Any
    ) -> None:
        portal.fail_with(code, status=status)
        kind = Unavailable if expected[0] is OutcomeUnknown else expected[0]
        assert type(failure(lambda: crm.find(creation(ANNA), 5.0))) is kind

    @pytest.mark.parametrize("status", [200, 400, 404, 500, 502, 503])
    @pytest.mark.parametrize(
        "body",
        [
            "<html><h1>Bad Gateway</h1></html>",
            "",
            '{"result": {"item": {"id": 34',
            "[]",
            "null",
            '"x"',
            "{}",
            "[" * 9999,
        ],
        ids=["html", "empty", "truncated", "list", "null", "text", "object", "deep"],
    )
    def test_what_is_no_answer_of_bitrix24(self, portal: FakeBitrix24, crm: Crm, status: int, body: str) -> None:
        portal.fail("answer", status=status, body=body)
        for act, kind in (
            (lambda: deliver(crm, creation(ANNA)), OutcomeUnknown),
            (lambda: crm.find(creation(ANNA), 5.0), Unavailable),
        ):
            error = failure(act)
            assert (type(error), error.status) == (kind, status)
            assert "Gateway" not in str(error)

    @pytest.mark.parametrize(
        "result", [None, True, [], {}, {"item": {}}, {"item": {"id": None}}, {"item": {"id": "x"}}]
    )
    def test_a_success_without_a_lead_is_none(self, portal: FakeBitrix24, crm: Crm, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}))
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (OutcomeUnknown, Code.INVALID_RESPONSE)

    def test_a_hanging_portal(self, portal: FakeBitrix24, adding: Connect) -> None:
        crm = adding(timeout=0.2)
        portal.fail("hang")
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (OutcomeUnknown, Code.TIMEOUT)
        assert type(failure(lambda: crm.find(creation(ANNA), 5.0))) is Unavailable

    @pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
    def test_a_dropped_connection(self, portal: FakeBitrix24, crm: Crm, when: Any, stored: int) -> None:
        portal.fail("drop", when=when)
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (OutcomeUnknown, Code.CONNECTION_DROPPED)
        assert len(portal.leads) == stored
        assert len(calls(portal, "crm.item.add")) == 1

    def test_a_server_error_after_the_work_was_done(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail_with("INTERNAL_SERVER_ERROR", when="after", path=ADD)
        operation = creation(ANNA)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert crm.find(operation, 5.0)

    def test_nobody_listens(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.stop()
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (Unavailable, Code.CONNECTION_FAILED)

    def test_a_wrong_secret(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.secret = "changed"
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert isinstance(error, AuthFailed)
        assert "BITRIX_WEBHOOK_URL" in error.detail


class TestPatience:
    @pytest.fixture
    def crm(self, adding: Connect) -> Crm:
        return adding()

    def test_the_bucket_asks_for_none(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.rate_limit, portal.burst = True, 1
        deliver(crm, creation(ANNA))
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.retry_after) == (RateLimited, None)
        assert len(portal.leads) == 1

    def test_operating_time_is_waited_for(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.time_limits["crm.item.add"] = time.time() + 90
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert isinstance(error, RateLimited)
        assert error.retry_after == pytest.approx(90, abs=2)

    @pytest.mark.parametrize(
        ("section", "expected"),
        [
            ({"operating_reset_at": 5030, "finish": 5000.5}, 29.5),
            ({"operating_reset_at": 9000, "finish": 5000}, 600),
            ({"operating_reset_at": 4000, "finish": 5000}, 0),
            ({"operating_reset_at": 0}, 0),
            ({"operating_reset_at": "soon", "finish": 5000}, 600),
            ({}, 600),
            (None, 600),
        ],
    )
    def test_by_the_clock_of_the_portal(self, portal: FakeBitrix24, crm: Crm, section: Any, expected: float) -> None:
        body = {"error": "OPERATION_TIME_LIMIT", "error_description": "", "time": section}
        portal.fail("answer", status=429, body=json.dumps(body))
        assert failure(lambda: deliver(crm, creation(ANNA))).retry_after == expected


class TestRejectedFields:
    @pytest.fixture
    def crm(self, adding: Connect) -> Crm:
        return adding()

    def rejected(self, crm: Crm, lead: Lead = FULL) -> Rejected:
        error = failure(lambda: deliver(crm, creation(lead)))
        assert isinstance(error, Rejected)
        return error

    def test_a_value_that_a_list_does_not_have_any_more(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.make_enumeration("UF_CRM_1234567893", "Student")
        error = self.rejected(crm)
        assert error.fields == {"UF_CRM_1234567893": "the portal refuses a value"}
        assert "UF_CRM_1234567893 (BITRIX_MAP_USER_TYPE, BITRIX_VALUES_USER_TYPE)" in error.detail

    def test_a_source_that_was_removed(self, portal: FakeBitrix24, crm: Crm) -> None:
        del portal.sources["PARTNER"]
        assert list(self.rejected(crm).fields) == ["sourceId"]

    def test_a_field_that_became_mandatory(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        error = self.rejected(crm)
        assert (error.code, list(error.fields)) == (Code.INVALID_VALUE, ["UF_CRM_OFFICE"])

    def test_a_field_called_by_its_label(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.make_enumeration("UF_CRM_1234567893", "Student")
        portal.name_fields_by_label = True
        assert list(self.rejected(crm).fields) == ["UF_CRM_1234567893"]
        self.rejected(crm)
        assert len(calls(portal, "batch")) == 1

    def test_a_label_that_cannot_be_looked_up(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.make_enumeration("UF_CRM_1234567893", "Student")
        portal.name_fields_by_label = True
        portal.fail("drop", path="batch")
        assert self.rejected(crm).fields == {}

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("Value &quot;Ayşe&quot; of <b>'name'</b> is bad", ["name"]),
            ("[lastName] and {utmTerm}: «Öztürk»", ["lastName", "utmTerm"]),
            ('Invalid phone in "PHONE"', ["PHONE"]),
            ("name is bad", []),
            ("<" * 999_000, []),
            (None, []),
            ({"a": 1}, []),
        ],
    )
    def test_names_are_taken_from_the_text_and_nothing_else(
        self, portal: FakeBitrix24, crm: Crm, text: Any, named: list[str]
    ) -> None:
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", text)
        error = self.rejected(crm)
        assert list(error.fields) == named
        assert "Ayşe" not in str(error) + repr(error.fields)


OLD, NEW = "https://old.bitrix24.de", "https://new.bitrix24.de"


class TestRenamedPortal:
    @pytest.fixture
    def crm(self, adding: Connect) -> Crm:
        return adding()

    @pytest.fixture
    def internet(self) -> Iterator[requests_mock.Mocker]:
        with requests_mock.Mocker(real_http=True, case_sensitive=True) as mocker:
            yield mocker

    def test_the_request_is_repeated_at_the_new_address(
        self, portal: FakeBitrix24, connect: Connect, internet: requests_mock.Mocker
    ) -> None:
        settings = {"BITRIX_WEBHOOK_URL": portal.webhook_url.replace(portal.url, OLD)}
        crm = connect(on_duplicate="create", **settings)
        internet.post(re.compile(OLD), text=redirecting(NEW))
        internet.post(re.compile(NEW), content=relayed(portal))
        operation = creation(ANNA)
        deliver(crm, operation)
        assert {request.method for request in portal.requests} == {"POST"}
        assert only_lead(portal)["fm"]
        assert crm.find(operation, 5.0)
        ok, detail = checks(crm)["webhook"]
        assert ok
        assert "new.bitrix24.de" in detail
        internet.post(re.compile(OLD), content=relayed(portal))
        assert checks(crm)["webhook"] == (True, "")

    def test_a_second_redirect_is_not_followed(
        self, portal: FakeBitrix24, connect: Connect, internet: requests_mock.Mocker
    ) -> None:
        crm = connect(on_duplicate="create", BITRIX_WEBHOOK_URL=portal.webhook_url.replace(portal.url, OLD))
        internet.post(re.compile(OLD), content=relayed(portal))
        deliver(crm, creation(ANNA))  # it knows the fields from now on
        internet.post(re.compile(OLD), text=redirecting(NEW))
        internet.post(re.compile(NEW), text=redirecting(OLD))
        before = internet.call_count
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), OutcomeUnknown)
        assert internet.call_count == before + 2

    def test_a_redirect_to_the_same_place_leads_nowhere(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.renamed_to = portal.url
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), AuthFailed)
        assert len(portal.requests) == 1

    @pytest.mark.parametrize("status", [300, 303, 304])
    def test_other_redirects_do_not_mean_a_new_address(self, portal: FakeBitrix24, crm: Crm, status: int) -> None:
        portal.fail("answer", status=status, headers={"Location": "https://127.0.0.1/"})
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), OutcomeUnknown)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    @pytest.mark.parametrize(
        "to",
        [
            "https://new.bitrix24.de{path}",
            "https://new.bitrix24.de:443{path}",
            "//new.bitrix24.de{path}",
        ],
    )
    def test_where_the_secret_may_go(self, status: int, to: str) -> None:
        assert refusal("https://old.bitrix24.de/rest/1/s3cret/", to, status) is None

    @pytest.mark.parametrize(
        "to",
        [
            "",
            "{path}",
            "https://old.bitrix24.de/auth/?backurl={path}",
            "https://new.bitrix24.de/rest/1/other/crm.item.add.json",
            "https://new.bitrix24.de/rest/1/s3cret/crm.item.delete.json",
            "http://old.bitrix24.de{path}",
            "http://old.bitrix24.de:8080{path}",
            "http://new.bitrix24.de{path}",
            "https://new.bitrix24.de:8443{path}",
            "https://old.bitrix24.de:8443{path}",
            "https://new.bitrix24.com{path}",
            "https://new.bitrix24.de.evil.example{path}",
            "https://evilbitrix24.de{path}",
            "https://a.b.bitrix24.de{path}",
            "https://user:pass@new.bitrix24.de{path}",
            "https://evil.example{path}",
            "https://evil.example\\.bitrix24.de{path}",
            "//evil.example{path}",
            "ftp://old.bitrix24.de{path}",
            "https://[{path}",
            "https://old.bitrix24.de:x{path}",
        ],
    )
    def test_where_it_may_not(self, to: str) -> None:
        error = refusal("https://old.bitrix24.de/rest/1/s3cret/", to)
        assert error
        assert "BITRIX_WEBHOOK_URL" in error.detail
        assert "s3cret" not in str(error)

    def test_a_portal_of_ones_own_stays_on_its_host(self) -> None:
        webhook = "https://crm.example.com/rest/1/s3cret/"
        assert refusal(webhook, "https://new.example.com{path}")

    @pytest.mark.parametrize(
        ("here", "to", "follows"),
        [
            ("https://crm.internal", "https://crm.internal:444", False),
            ("https://crm.internal:8443", "https://crm.internal:8444", False),
            ("http://crm.internal:8443", "https://crm.internal:8443", True),
            ("https://crm.internal:8443", "https://crm.internal", True),
            ("http://crm.internal:8080", "http://crm.internal:8081", False),
            ("http://crm.internal:8080", "http://crm.internal", False),
            ("http://crm.internal:8080", "https://crm.internal:8443", False),
        ],
    )
    def test_another_port_of_the_same_host_is_another_place(self, here: str, to: str, follows: bool) -> None:
        assert (refusal(f"{here}/rest/1/s3cret/", f"{to}{{path}}") is None) is follows

    def test_http_on_a_host_of_ones_own_may_become_https(self) -> None:
        assert refusal("http://crm.internal/rest/1/s3cret/", "https://crm.internal{path}") is None


def redirecting(to: str) -> Callable[[Any, Any], str]:
    """Answers with a redirect to the same path at `to`."""

    def answer(request: Any, context: Any) -> str:
        context.status_code, context.headers = 302, {"Location": to + request.path}
        return ""

    return answer


def relayed(portal: FakeBitrix24) -> Callable[[Any, Any], bytes]:
    """Answers with what `portal` says."""

    def answer(request: Any, context: Any) -> bytes:
        told = requests.post(portal.url + request.path, json=request.json(), timeout=5)
        context.status_code, context.headers = told.status_code, told.headers
        return told.content

    return answer


def refusal(webhook: str, to: str, status: int = 302) -> AuthFailed | None:
    """The error after a redirect to `to`, where the secret was not told; None when the lead was made there."""
    crm = plugins().choose("bitrix", {"BITRIX_WEBHOOK_URL": webhook}, 5.0, ("crm.internal",), on_duplicate="create")
    location = to.format(path="/rest/1/s3cret/crm.item.add.json")
    with requests_mock.Mocker() as http:
        http.post(requests_mock.ANY, json=lambda request, _: mocked(request))
        http.post(f"{webhook}crm.item.add.json", status_code=status, headers={"Location": location})
        error = None
        try:
            deliver(crm, creation(ANNA))
        except AuthFailed as refused:
            error = refused
    creates = [
        request for request in http.request_history if "userfield" not in request.path and "item.add" in request.path
    ]
    assert [request.method for request in creates] == ["POST"] * (1 if error else 2)
    return error


class TestConnectionTest:
    FIELDS = ("REFERRAL_CODE", *(f"123456789{digit}" for digit in "34672"))

    def test_a_good_portal(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.fail("latency", seconds=0.05, path="profile")
        result = crm.test_connection(5.0)
        assert (result.provider, result.connected) == ("bitrix", True)
        assert 50 <= result.latency_ms < 1000
        names = ["webhook", "scope", "crm mode", "lookup", "sources", *(f"field UF_CRM_{name}" for name in self.FIELDS)]
        assert [(check.name, check.ok, check.detail) for check in result.checks] == [(name, True, "") for name in names]

    def test_nothing_is_written(self, portal: FakeBitrix24, crm: Crm) -> None:
        crm.test_connection(5.0)
        assert not portal.leads
        assert {request.path.rpartition("/")[2] for request in portal.requests} == {
            "profile.json",
            "scope.json",
            "crm.settings.mode.get.json",
            "crm.item.list.json",
            "crm.duplicate.findbycomm.json",
            "crm.status.list.json",
            "crm.item.fields.json",
            "crm.lead.userfield.list.json",
        }

    @pytest.mark.parametrize("code", [code for code, _, _ in TABLE])
    def test_every_error_of_the_first_request(self, portal: FakeBitrix24, crm: Crm, code: str) -> None:
        portal.fail_with(code)
        result = crm.test_connection(5.0)
        assert not result.connected
        (check,) = result.checks
        assert (check.name, check.ok) == ("webhook", False)
        assert code in check.detail
        assert "BITRIX_WEBHOOK_URL" in check.detail or code == "OVERLOAD_LIMIT"
        assert portal.secret not in check.detail

    def test_nobody_listens(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.stop()
        result = crm.test_connection(5.0)
        assert not result.connected
        assert "BITRIX_WEBHOOK_URL" in result.checks[0].detail

    def test_without_the_permission(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.scopes = ["tasks", "crm_of_another_kind"]
        result = crm.test_connection(5.0)
        assert not result.connected
        assert [check.ok for check in result.checks] == [True, False]
        assert "permission CRM" in result.checks[1].detail

    def test_simple_mode_is_told(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.simple_mode = True
        ok, detail = checks(crm)["crm mode"]
        assert ok
        assert "deal" in detail

    def test_without_the_right_to_read(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.can_read = False
        result = crm.test_connection(5.0)
        assert result.connected
        (bad,) = (check for check in result.checks if not check.ok)
        assert bad.name == "lookup"
        assert "BITRIX_WEBHOOK_URL" in bad.detail
        assert "right to read" in bad.detail

    def test_origins_that_cannot_be_looked_up(self, portal: FakeBitrix24, crm: Crm) -> None:
        portal.unfilterable = ["originatorId"]
        ok, detail = checks(crm)["lookup"]
        assert not ok
        assert "made twice" in detail

    def test_a_missing_source(self, portal: FakeBitrix24, connect: Connect) -> None:
        del portal.sources["PARTNER"]
        ok, detail = checks(connect())["sources"]
        assert not ok
        assert "PARTNER" in detail
        assert "BITRIX_VALUES_SOURCE_ID" in detail
        assert checks(connect(BITRIX_MAP_SOURCE_ID=""))["sources"] == (True, "")

    def test_a_missing_field(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.remove_user_field("UF_CRM_1234567893")
        result = connect().test_connection(5.0)
        assert result.connected
        (bad,) = (check for check in result.checks if not check.ok)
        assert bad.name == "field UF_CRM_1234567893"
        assert "BITRIX_MAP_USER_TYPE" in bad.detail
        assert "field UF_CRM_1234567893" not in checks(connect(BITRIX_MAP_USER_TYPE=""))

    def test_a_list_needs_item_ids(self, portal: FakeBitrix24, connect: Connect) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Student", "Ebeveyn")
        ok, detail = checks(connect())["field UF_CRM_1234567893"]
        assert not ok
        assert "BITRIX_VALUES_USER_TYPE" in detail
        assert "parent" in detail
        assert f"{ids['Ebeveyn']} is Ebeveyn" in detail
        for table, good in ((f"student={ids['Student']},parent={ids['Ebeveyn']}", True), ("student=Student", False)):
            assert checks(connect(BITRIX_VALUES_USER_TYPE=table))["field UF_CRM_1234567893"][0] is good

    @pytest.mark.parametrize(
        ("kind", "options", "good"),
        [("string", {}, True), ("double", {}, True), ("boolean", {}, False), ("string", {"multiple": True}, False)],
    )
    def test_types(self, portal: FakeBitrix24, crm: Crm, kind: str, options: dict[str, Any], good: bool) -> None:
        portal.add_user_field("UF_CRM_1234567893", kind, **options)
        ok, detail = checks(crm)["field UF_CRM_1234567893"]
        assert ok is good
        assert good or "BITRIX_MAP_USER_TYPE" in detail

    def test_a_mandatory_field_that_nothing_fills(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        ok, detail = checks(connect())["field UF_CRM_OFFICE"]
        assert not ok
        assert "BITRIX_MAP_" in detail
        assert checks(connect(BITRIX_MAP_CITY="UF_CRM_OFFICE"))["field UF_CRM_OFFICE"] == (True, "")

    def test_fields_on_later_pages(self, portal: FakeBitrix24, crm: Crm) -> None:
        for number in range(120):
            portal.add_user_field(f"UF_CRM_OTHER_{number}", sort=1)
        assert crm.test_connection(5.0).checks[-1].ok
        assert len(calls(portal, "crm.lead.userfield.list")) == 3

    @pytest.mark.parametrize("path", ["scope", "mode", LIST, "findbycomm", "status", "userfield"])
    @pytest.mark.parametrize("result", [None, 0, "x", {}, [], [[]], ["x"]])
    def test_strange_answers_raise_nothing(self, portal: FakeBitrix24, crm: Crm, path: str, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}), path=path)
        assert crm.test_connection(5.0).checks[0].ok

    @pytest.mark.parametrize("path", ["scope", "mode", LIST, "findbycomm", "status", "userfield"])
    def test_a_failing_request_is_one_failed_check(self, portal: FakeBitrix24, crm: Crm, path: str) -> None:
        portal.fail("answer", status=502, body="<html>", path=path)
        bad = [check for check in crm.test_connection(5.0).checks if not check.ok]
        assert len(bad) == 1
        assert "BITRIX_" in bad[0].detail


class TestSettings:
    @pytest.mark.parametrize(
        "address",
        [
            "https://example.bitrix24.com/rest/1/s3cret",
            "https://example.bitrix24.com/rest/1/s3cret/",
            "https://crm.example.com:8443/rest/27/S3cret_-9/",
        ],
    )
    def test_good_addresses(self, address: str) -> None:
        plugins().choose("bitrix", {"BITRIX_WEBHOOK_URL": address}, 5.0, ())

    @pytest.mark.parametrize(
        "address",
        [
            "s3cret",
            "https://example.bitrix24.com/",
            "https://example.bitrix24.com/rest/s3cret/",
            "https://example.bitrix24.com/rest/1/s3cret/profile.json",
            "https://example.bitrix24.com/rest/1/s3cret/?x=1",
            "https://example.bitrix24.com/rest/1/s3cret/#x",
            "https://user:s3cret@example.bitrix24.com/rest/1/s3cret/",
            "https://example.bitrix24.com/rest/anna/s3cret/",
            "https://example.bitrix24.com/rest/1/s3cret/\n/",
            "http://example.bitrix24.com/rest/1/s3cret/",
            "",
        ],
    )
    def test_bad_addresses(self, address: str) -> None:
        with pytest.raises(ConfigError) as caught:
            plugins().choose("bitrix", {"BITRIX_WEBHOOK_URL": address}, 5.0, ())
        (problem,) = caught.value.problems
        assert problem.startswith("BITRIX_WEBHOOK_URL")
        assert "/rest/<user id>/<secret>/" in problem or "CRM_HTTP_HOSTS" in problem
        assert "s3cret" not in problem

    @pytest.mark.parametrize("value", ["anna", "0", "-1", "1.5"])
    def test_the_assigned_user_is_a_number(self, connect: Connect, value: str) -> None:
        with pytest.raises(ConfigError, match="BITRIX_ASSIGNED_BY_ID"):
            connect(BITRIX_ASSIGNED_BY_ID=value)

    def test_unknown_facts_are_problems(self, connect: Connect) -> None:
        with pytest.raises(ConfigError, match="BITRIX_MAP_NAME"):
            connect(BITRIX_MAP_NAME="name")


SPOILERS: list[Callable[[FakeBitrix24], object]] = [
    lambda portal: portal.fail("drop"),
    lambda portal: portal.fail("answer", status=502, body=f"<html>{portal.webhook_url} Ayşe Gül ayse@example.com.tr"),
    lambda portal: portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Bad "Ayşe Gül", ayse@example.com.tr'),
    lambda portal: portal.fail_with("", f"+905321234567 at {portal.webhook_url}"),
    lambda portal: portal.fail_with("Bad value Ayşe Gül", portal.secret),
    lambda portal: portal.fail_with("INVALID_CREDENTIALS", portal.webhook_url),
    lambda portal: setattr(portal, "renamed_to", "http://evil.example"),
    lambda portal: portal.fail("answer", status=302, headers={"Location": f"https://{portal.secret}.example/"}),
    lambda portal: portal.stop(),
]


class TestNothingLeaks:
    @pytest.mark.parametrize("spoil", SPOILERS)
    def test_neither_the_secret_nor_the_visitor(
        self, portal: FakeBitrix24, crm: Crm, caplog: pytest.LogCaptureFixture, spoil: Callable[[FakeBitrix24], object]
    ) -> None:
        caplog.set_level(logging.INFO)
        caplog.set_level(logging.DEBUG, logger="crmgate")
        spoil(portal)
        seen = ""
        for act in (lambda: deliver(crm, creation(FULL)), lambda: crm.find(creation(FULL), 5.0)):
            error = failure(act)
            shown = [error.detail, error.vendor_code, getattr(error, "fields", ""), *error.args, repr(error)]
            seen += " ".join(map(str, [error, *shown, *traceback.format_exception(error)]))
        connection = crm.test_connection(5.0)
        seen += repr(connection) + repr(crm) + caplog.text
        typed = ("Ayşe", "Öztürk", "ayse@", "905321234567", "KVKK", "HYPERLINK", "Atatürk")
        assert [word for word in (portal.secret, *typed) if word in seen] == []

    def test_not_even_in_the_provider(self, portal: FakeBitrix24) -> None:
        provider = plugins().providers["bitrix"]({"BITRIX_WEBHOOK_URL": portal.webhook_url})
        assert portal.secret not in repr(provider) + str(provider)

    def test_a_success_logs_nothing_of_it(
        self, portal: FakeBitrix24, crm: Crm, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        delivered = deliver(crm, creation(FULL))
        assert portal.secret not in caplog.text + repr(delivered)
        assert "Ayşe" not in caplog.text + repr(delivered)

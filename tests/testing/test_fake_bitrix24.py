"""The fake Bitrix24, over real HTTP, against the vendor's documented contract."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from crmgate.testing import bitrix24
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.bitrix24.wire import SYSTEM_ERRORS, parse_query
from tests.processes import DEADLINE, wait_until

PHONE = {"typeId": "PHONE", "valueType": "WORK", "value": "+12025550119"}
EMAIL = {"typeId": "EMAIL", "valueType": "WORK", "value": "anna@example.com"}
Call = Callable[..., requests.Response]


@pytest.fixture
def crm() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


@pytest.fixture
def call(crm: FakeBitrix24) -> Iterator[Call]:
    """Post a method with JSON parameters."""
    with requests.Session() as session:

        def post(method: str, **params: Any) -> requests.Response:
            url = f"{crm.webhook_url}{method}.json"
            return session.post(url, json=params, timeout=DEADLINE, allow_redirects=False)

        yield post


@pytest.fixture
def add(call: Call) -> Callable[..., dict[str, Any]]:
    """Create a lead by `crm.item.add` with original names, as the plugin does; returns the item."""

    def create(**fields: Any) -> dict[str, Any]:
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields=fields)
        assert response.status_code == 200, response.text
        item: dict[str, Any] = response.json()["result"]["item"]
        return item

    return create


def error(response: requests.Response) -> tuple[int, str]:
    """The status and the code of a failure, which has no result."""
    body = response.json()
    assert "result" not in body
    assert isinstance(body["error_description"], str)
    return response.status_code, body["error"]


def find(call: Call, **conditions: Any) -> list[dict[str, Any]]:
    response = call("crm.item.list", entityTypeId=1, filter=conditions, order={"id": "ASC"}, start=-1)
    items: list[dict[str, Any]] = response.json()["result"]["items"]
    return items


class TestTransport:
    def test_success_has_a_result_and_a_time(self, call: Call) -> None:
        body = call("profile").json()
        assert body["result"] == {"ID": "1", "ADMIN": True, "NAME": "Anna", "LAST_NAME": "Portal"}
        assert body["time"]["finish"] >= body["time"]["start"]
        assert {"duration", "processing", "operating", "operating_reset_at"} <= body["time"].keys()

    @pytest.mark.parametrize("suffix", [".json", "", "/", ".json/"])
    def test_the_method_may_end_in_json_or_not(self, crm: FakeBitrix24, suffix: str) -> None:
        assert requests.get(f"{crm.webhook_url}scope{suffix}", timeout=DEADLINE).json()["result"] == ["crm"]

    def test_parameters_come_as_json_form_or_query(self, crm: FakeBitrix24) -> None:
        url = f"{crm.webhook_url}crm.item.add"
        flat = {"entityTypeId": "1", "fields[name]": "Anna & Lee", "fields[fm][0][typeId]": "PHONE"}
        flat["fields[fm][0][value]"] = "+1"
        nested = {"name": "Anna & Lee", "fm": [{"typeId": "PHONE", "value": "+1"}]}
        answers = [
            requests.post(url, json={"entityTypeId": 1, "fields": nested}, timeout=DEADLINE),
            requests.post(url, data=flat, timeout=DEADLINE),
            requests.get(url, params=flat, timeout=DEADLINE),
        ]
        assert all(answer.status_code == 200 for answer in answers)
        assert [(lead["name"], lead["fm"][0]["value"]) for lead in crm.leads.values()] == [("Anna & Lee", "+1")] * 3

    def test_a_query_string_is_read_as_php_reads_it(self) -> None:
        assert parse_query("a=1&b[x]=2&c[]=3&c[]=4&d[0][e]=5&f=") == {
            "a": "1",
            "b": {"x": "2"},
            "c": ["3", "4"],
            "d": [{"e": "5"}],
            "f": "",
        }

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("rest/1/wrong/profile.json", (401, "INVALID_CREDENTIALS")),
            ("rest/2/fakesecret123456/profile.json", (401, "INVALID_CREDENTIALS")),
            ("rest/1/%C3%A9/profile.json", (401, "INVALID_CREDENTIALS")),
            ("rest/profile.json", (401, "NO_AUTH_FOUND")),
            ("rest/1/fakesecret123456/crm.nonsense.json", (404, "ERROR_METHOD_NOT_FOUND")),
            ("rest/1/fakesecret123456/crm.activity.add.json", (404, "ERROR_METHOD_NOT_FOUND")),
        ],
    )
    def test_a_wrong_address(self, crm: FakeBitrix24, path: str, expected: tuple[int, str]) -> None:
        assert error(requests.post(f"{crm.url}/{path}", json={}, timeout=DEADLINE)) == expected

    def test_outside_rest_there_is_a_web_page(self, crm: FakeBitrix24) -> None:
        response = requests.get(f"{crm.url}/crm/lead/", timeout=DEADLINE)
        assert (response.status_code, response.headers["Content-Type"]) == (404, "text/html")

    @pytest.mark.parametrize("code", sorted(SYSTEM_ERRORS))
    def test_every_system_error_can_be_switched_on(self, crm: FakeBitrix24, call: Call, code: str) -> None:
        crm.system_error = code
        assert error(call("crm.item.add", entityTypeId=1, fields={})) == (SYSTEM_ERRORS[code][0], code)
        assert not crm.leads
        crm.system_error = None
        assert call("profile").status_code == 200

    def test_errors_may_come_with_status_200(self, crm: FakeBitrix24, call: Call) -> None:
        crm.errors_at_200 = True
        assert error(call("crm.item.get", entityTypeId=1, id=1)) == (200, "NOT_FOUND")

    def test_a_scope_without_crm(self, crm: FakeBitrix24, call: Call) -> None:
        crm.scopes = ["user"]
        assert error(call("crm.item.list", entityTypeId=1)) == (403, "insufficient_scope")
        assert call("scope").json()["result"] == ["user"]
        assert call("profile").status_code == 200

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff"])
    def test_an_unreadable_body_counts_as_no_parameters(self, crm: FakeBitrix24, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        response = requests.post(f"{crm.webhook_url}crm.lead.get", data=body, headers=headers, timeout=DEADLINE)
        assert error(response) == (400, "")

    def test_a_renamed_portal_redirects(self, crm: FakeBitrix24, call: Call) -> None:
        with FakeBitrix24() as renamed:
            crm.renamed_to = renamed.url
            response = call("crm.item.add", entityTypeId=1, fields={"name": "Anna"})
            assert (response.status_code, response.content) == (302, b"")
            assert response.headers["Location"] == f"{renamed.webhook_url}crm.item.add.json"
            requests.post(response.headers["Location"], json={"entityTypeId": 1, "fields": {}}, timeout=DEADLINE)
            assert (len(crm.leads), len(renamed.leads)) == (0, 1)


class TestLimits:
    @pytest.fixture
    def clock(self, crm: FakeBitrix24) -> list[float]:
        now = [1000.0]
        crm.rate_limit, crm.clock = True, lambda: now[0]
        return now

    def test_the_bucket_takes_fifty_and_leaks_two_a_second(self, call: Call, clock: list[float]) -> None:
        assert {call("profile").status_code for _ in range(50)} == {200}
        refused = call("profile")
        assert error(refused) == (503, "QUERY_LIMIT_EXCEEDED")
        assert "Retry-After" not in refused.headers
        clock[0] += 1
        assert [call("profile").status_code for _ in range(3)] == [200, 200, 503]

    def test_what_the_bucket_refuses_has_not_run(self, crm: FakeBitrix24, call: Call, clock: list[float]) -> None:
        crm.burst = 1
        statuses = [call("crm.item.add", entityTypeId=1, fields={}).status_code for _ in range(3)]
        assert (statuses, len(crm.leads)) == ([200, 503, 503], 1)

    def test_a_batch_is_one_unit(self, crm: FakeBitrix24, call: Call, clock: list[float]) -> None:
        crm.burst = 1
        sections = call("batch", cmd={f"c{i}": "profile" for i in range(50)}).json()["result"]
        assert len(sections["result"]) == 50
        assert call("profile").status_code == 503

    def test_without_the_switch_there_is_no_limit(self, call: Call) -> None:
        assert {call("profile").status_code for _ in range(60)} == {200}

    def test_a_method_without_operating_time_is_blocked_alone(self, crm: FakeBitrix24, call: Call) -> None:
        reset = int(time.time()) + 300
        crm.time_limits = {"crm.item.add": reset}
        response = call("crm.item.add", entityTypeId=1, fields={})
        assert error(response) == (429, "OPERATION_TIME_LIMIT")
        assert "time" not in response.json()
        assert call("crm.item.list", entityTypeId=1).status_code == 200
        crm.time_limits["crm.item.add"] = time.time() - 1
        assert call("crm.item.add", entityTypeId=1, fields={}).status_code == 200


class TestConnectionTest:
    @pytest.mark.parametrize(("simple", "expected"), [(False, 1), (True, 2)])
    def test_crm_mode(self, crm: FakeBitrix24, call: Call, simple: bool, expected: int) -> None:
        crm.simple_mode = simple
        assert call("crm.settings.mode.get").json()["result"] == expected

    def test_in_simple_mode_a_lead_with_a_first_name_becomes_a_deal(
        self, crm: FakeBitrix24, add: Any, call: Call
    ) -> None:
        crm.simple_mode = True
        assert add(originId="op-1", stageId="NEW", name="Anna", fm=[PHONE])["stageId"] == "CONVERTED"
        assert len(find(call, **{"=originId": "op-1"})) == 1
        (contact,), (deal,) = crm.contacts.values(), crm.deals.values()
        assert (contact["name"], contact["fm"][0]["value"]) == ("Anna", PHONE["value"])
        assert deal["contactId"] == contact["id"]

    def test_in_simple_mode_a_lead_without_a_first_name_stays(self, crm: FakeBitrix24, add: Any) -> None:
        crm.simple_mode = True
        assert add(lastName="Lee")["stageId"] == "NEW"
        assert not crm.deals

    def test_the_sources(self, call: Call) -> None:
        body = call("crm.status.list", filter={"ENTITY_ID": "SOURCE"}, order={"SORT": "ASC"}).json()
        codes = "CALL EMAIL WEB ADVERTISING PARTNER RECOMMENDATION TRADE_SHOW WEBFORM CALLBACK RC_GENERATOR STORE OTHER"
        assert [row["STATUS_ID"] for row in body["result"]] == codes.split()
        assert body["total"] == 12

    def test_an_administrator_edits_the_sources(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        crm.sources = {"UC_1": "Site"}
        rows = call("crm.status.list", filter={"ENTITY_ID": "SOURCE"}).json()["result"]
        assert [row["STATUS_ID"] for row in rows] == ["UC_1"]
        assert add(sourceId="UC_1")["sourceId"] == "UC_1"


class TestCreate:
    def test_the_documented_example(self, crm: FakeBitrix24, add: Any) -> None:
        fields = {
            "title": "Site: Anna",
            "name": "Anna",
            "lastName": "Lee",
            "stageId": "NEW",
            "sourceId": "WEB",
            "sourceDescription": "landing /pricing",
            "comments": "Хочу учиться 🎓",
            "assignedById": 1,
            "opened": "Y",
            "originatorId": "crmgate",
            "originId": "op-1",
            "utmSource": "google",
            "utmMedium": "cpc",
            "utmCampaign": "q1",
            "utmContent": "a",
            "utmTerm": "k",
            "UF_CRM_REFERRAL_CODE": "ABC",
        }
        item = add(**fields, fm=[PHONE, EMAIL])
        assert item | fields == item
        assert [row["typeId"] for row in item["fm"]] == ["PHONE", "EMAIL"]
        assert (item["hasPhone"], item["hasEmail"], item["entityTypeId"]) == ("Y", "Y", 1)
        assert crm.records()["lead"][0] | fields == crm.records()["lead"][0]

    def test_defaults(self, add: Any) -> None:
        item = add()
        assert (item["title"], item["stageId"], item["sourceId"]) == (f"Lead #{item['id']}", "NEW", "CALL")
        assert (item["opened"], item["assignedById"], item["name"]) == ("Y", 1, None)

    def test_duplicates_are_not_checked(self, crm: FakeBitrix24, add: Any) -> None:
        assert add(originId="op-1", fm=[PHONE])["id"] != add(originId="op-1", fm=[PHONE])["id"]
        assert len(crm.leads) == 2

    def test_unknown_and_read_only_fields_are_silently_ignored(self, add: Any) -> None:
        item = add(id=99, createdBy=7, NAME="Anna", nonsense=1, UF_CRM_NONSENSE="x")
        assert (item["id"], item["createdBy"], item["name"]) == (1, 1, None)
        assert {"nonsense", "UF_CRM_NONSENSE"}.isdisjoint(item)

    @pytest.mark.parametrize(
        ("asked", "understood", "name"),
        [
            ("Y", True, "UF_CRM_REFERRAL_CODE"),
            ("N", True, "ufCrmReferralCode"),
            (None, True, "ufCrmReferralCode"),
            ("Y", False, "ufCrmReferralCode"),
        ],
    )
    def test_names_of_user_fields(
        self, crm: FakeBitrix24, call: Call, asked: str | None, understood: bool, name: str
    ) -> None:
        crm.original_uf_names = understood
        fields = {"UF_CRM_REFERRAL_CODE": "original", "ufCrmReferralCode": "camel"}
        item = call("crm.item.add", entityTypeId=1, useOriginalUfNames=asked, fields=fields).json()["result"]["item"]
        assert item[name] == fields[name]
        assert len(fields.keys() & item.keys()) == 1

    def test_a_numbered_user_field_keeps_its_underscore(self, call: Call) -> None:
        fields = {"ufCrm_1234567893": "student"}
        item = call("crm.item.add", entityTypeId=1, fields=fields).json()["result"]["item"]
        assert item["ufCrm_1234567893"] == "student"

    @pytest.mark.parametrize("fm", ["+12025550119", 5, None, {}, [], ["+1"], [{"typeId": "PHONE"}], [{"value": "+1"}]])
    def test_fm_that_is_no_rows_is_ignored(self, add: Any, fm: Any) -> None:
        item = add(fm=fm)
        assert (item["fm"], item["hasPhone"]) == ([], "N")

    @pytest.mark.parametrize(
        "fields",
        [
            {"stageId": "NONSENSE"},
            {"assignedById": "Anna"},
            {"opportunity": "much"},
            {"name": ["Anna"]},
            {"UF_CRM_REFERRAL_CODE": {"a": 1}},
        ],
    )
    def test_a_bad_value_is_refused_whole(self, crm: FakeBitrix24, call: Call, fields: dict[str, Any]) -> None:
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields={"title": "x"} | fields)
        assert error(response) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")
        assert next(iter(fields)) in response.json()["error_description"]
        assert not crm.leads

    def test_any_source_is_stored(self, add: Any) -> None:
        assert add(sourceId="NONSENSE")["sourceId"] == "NONSENSE"

    @pytest.mark.parametrize("source", ["NONSENSE", "web"])
    def test_a_portal_can_be_made_to_check_sources(self, crm: FakeBitrix24, call: Call, source: str) -> None:
        crm.check_sources = True
        response = call("crm.item.add", entityTypeId=1, fields={"sourceId": source})
        assert error(response) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")

    def test_values_come_back_as_the_portal_keeps_them(self, add: Any) -> None:
        item = add(name=5, lastName="", opportunity="12.5", assignedById="3", opened=False, birthdate="2000-01-31")
        assert (item["name"], item["lastName"], item["opportunity"]) == ("5", None, 12.5)
        assert (item["assignedById"], item["opened"], item["birthdate"]) == (3, "N", "2000-01-31T03:00:00+03:00")

    def test_a_date_that_nobody_can_read_is_silently_not_set(self, add: Any) -> None:
        assert add(title="x", birthdate="yesterday")["birthdate"] is None

    def test_names_and_titles_are_cut(self, add: Any) -> None:
        item = add(title="t" * 256, name="n" * 51, lastName="l" * 51)
        assert [len(item[name]) for name in ("title", "name", "lastName")] == [255, 50, 50]

    @pytest.mark.parametrize("kind", [4, 0, None, "lead"])
    def test_other_entity_types_are_not_there(self, call: Call, kind: Any) -> None:
        for method in ("add", "update", "get", "list", "fields"):
            response = call(f"crm.item.{method}", entityTypeId=kind, id=1, fields={})
            assert error(response) == (400, "NOT_FOUND")

    def test_fields_are_required(self, call: Call) -> None:
        assert error(call("crm.item.add", entityTypeId=1)) == (400, "100")
        assert error(call("crm.item.add", entityTypeId=1, fields="x")) == (400, "")

    def test_without_the_right_to_write(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        lead_id = add()["id"]
        crm.access_denied = True
        codes = {"add": "CRM_ITEM_ADD_ACCESS_DENIED", "update": "CRM_ITEM_UPDATE_ACCESS_DENIED", "get": "ACCESS_DENIED"}
        for method, code in codes.items():
            assert error(call(f"crm.item.{method}", entityTypeId=1, id=lead_id, fields={})) == (400, code)
        for method in ("add", "update", "get"):
            assert error(call(f"crm.lead.{method}", id=lead_id, fields={})) == (400, "")
        assert len(crm.leads) == 1

    def test_many_at_once(self, crm: FakeBitrix24, add: Any) -> None:
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda i: add(originId=f"op-{i}", fm=[PHONE])["id"], range(200)))
        assert len(set(ids)) == len(crm.leads) == 200


class TestUserFields:
    def test_the_preset(self, call: Call) -> None:
        body = call("crm.lead.userfield.list").json()
        names = [row["FIELD_NAME"] for row in body["result"]]
        assert names == ["UF_CRM_REFERRAL_CODE", *(f"UF_CRM_123456789{i}" for i in (2, 3, 4, 6, 7))]
        assert {row["USER_TYPE_ID"] for row in body["result"]} == {"string"}
        assert body["total"] == 6

    def test_without_the_preset_mapped_values_are_lost(self) -> None:
        with FakeBitrix24(preset=False) as bare:
            params = {"entityTypeId": 1, "useOriginalUfNames": "Y", "fields": {"UF_CRM_REFERRAL_CODE": "ABC"}}
            item = requests.post(f"{bare.webhook_url}crm.item.add", json=params, timeout=DEADLINE).json()["result"][
                "item"
            ]
        assert "UF_CRM_REFERRAL_CODE" not in item

    def test_a_new_field_gets_the_prefix_and_takes_values(self, call: Call, add: Any) -> None:
        fields = {"FIELD_NAME": "CITY", "USER_TYPE_ID": "string", "LABEL": "City", "XML_ID": "CRMGATE_CITY"}
        field_id = call("crm.lead.userfield.add", fields=fields).json()["result"]
        (row,) = call("crm.lead.userfield.list", filter={"FIELD_NAME": "UF_CRM_CITY"}).json()["result"]
        assert (row["ID"], row["XML_ID"], row["ENTITY_ID"]) == (str(field_id), "CRMGATE_CITY", "CRM_LEAD")
        assert add(UF_CRM_CITY="Izmir")["UF_CRM_CITY"] == "Izmir"

    @pytest.mark.parametrize(
        ("given", "full"),
        [("note", "UF_CRM_NOTE"), ("UF_NOTE", "UF_CRM_NOTE"), ("UF_CRM_NOTE", "UF_CRM_NOTE"), ("N" * 43, None)],
    )
    def test_the_prefix(self, crm: FakeBitrix24, call: Call, given: str, full: str | None) -> None:
        assert call("crm.lead.userfield.add", fields={"FIELD_NAME": given, "USER_TYPE_ID": "string"}).ok
        assert (full or f"UF_CRM_{given}") in crm.user_fields

    def test_labels_are_only_listed_for_a_language(self, call: Call) -> None:
        bare = call("crm.lead.userfield.list").json()["result"][0]
        labelled = call("crm.lead.userfield.list", filter={"LANG": "en"}).json()["result"][0]
        assert "EDIT_FORM_LABEL" not in bare
        assert labelled["EDIT_FORM_LABEL"] == "Referral code"

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"USER_TYPE_ID": "string"}, ""),
            ({"FIELD_NAME": "A"}, ""),
            ({"FIELD_NAME": "A", "USER_TYPE_ID": "nonsense"}, "ERROR_CORE"),
            ({"FIELD_NAME": "N" * 44, "USER_TYPE_ID": "string"}, "ERROR_CORE"),
            ({"FIELD_NAME": "A-B", "USER_TYPE_ID": "string"}, "ERROR_CORE"),
            ({"FIELD_NAME": "REFERRAL_CODE", "USER_TYPE_ID": "string"}, "ERROR_CORE"),
            (
                {"FIELD_NAME": "A", "USER_TYPE_ID": "enumeration", "LIST": [{"VALUE": v, "XML_ID": "X"} for v in "ab"]},
                "ERROR_CORE",
            ),
        ],
    )
    def test_a_field_that_cannot_be_added(self, crm: FakeBitrix24, call: Call, fields: Any, code: str) -> None:
        assert error(call("crm.lead.userfield.add", fields=fields)) == (400, code)
        assert len(crm.user_fields) == 6

    def test_only_administrators_add_fields(self, crm: FakeBitrix24, call: Call) -> None:
        crm.admin = False
        assert error(call("crm.lead.userfield.add", fields={"FIELD_NAME": "A", "USER_TYPE_ID": "string"})) == (400, "")
        assert call("profile").json()["result"]["ADMIN"] is False

    def test_an_enumeration_takes_item_ids_only(self, call: Call, add: Any) -> None:
        options = [{"VALUE": "Student", "XML_ID": "STUDENT"}, {"VALUE": ""}, {"VALUE": "Parent"}]
        fields = {"FIELD_NAME": "KIND", "USER_TYPE_ID": "enumeration", "LIST": options}
        assert call("crm.lead.userfield.add", fields=fields).ok
        (row,) = call("crm.lead.userfield.list", filter={"USER_TYPE_ID": "enumeration"}).json()["result"]
        assert [(item["VALUE"], item["XML_ID"]) for item in row["LIST"]] == [("Student", "STUDENT"), ("Parent", "")]
        student = row["LIST"][0]["ID"]
        assert add(UF_CRM_KIND=student)["UF_CRM_KIND"] == int(student)
        assert add(UF_CRM_KIND="")["UF_CRM_KIND"] is None
        for refused in ("Student", "STUDENT", 999):
            response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields={"UF_CRM_KIND": refused})
            assert error(response) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")

    def test_a_preset_field_can_be_made_an_enumeration(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        ids = crm.make_enumeration("UF_CRM_1234567893", "student", "parent")
        params = {"entityTypeId": 1, "useOriginalUfNames": "Y", "fields": {"UF_CRM_1234567893": "student"}}
        assert error(call("crm.item.add", **params)) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")
        assert add(UF_CRM_1234567893=ids["student"])["UF_CRM_1234567893"] == ids["student"]
        described = call("crm.item.fields", **params).json()["result"]["fields"]["UF_CRM_1234567893"]
        assert [item["VALUE"] for item in described["items"]] == ["student", "parent"]

    def test_a_refused_field_may_be_named_by_its_label(self, crm: FakeBitrix24, call: Call) -> None:
        crm.make_enumeration("UF_CRM_1234567893", "student")
        crm.name_fields_by_label = True
        fields = {"UF_CRM_1234567893": "x"}
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields=fields)
        assert '"User type"' in response.json()["error_description"]

    def test_a_multiple_field_takes_a_list(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        crm.add_user_field("TAGS", multiple=True)
        assert add(UF_CRM_TAGS=["a", "", "b"])["UF_CRM_TAGS"] == ["a", "b"]
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields={"UF_CRM_TAGS": "a"})
        assert error(response) == (400, "100")

    def test_a_mandatory_field_may_stay_empty(self, crm: FakeBitrix24, add: Any) -> None:
        crm.add_user_field("CITY", mandatory=True)
        assert add()["UF_CRM_CITY"] is None

    def test_a_portal_may_enforce_mandatory_fields(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        crm.enforce_required = True
        lead_id = add()["id"]
        crm.add_user_field("CITY", mandatory=True)
        params = {"entityTypeId": 1, "useOriginalUfNames": "Y", "id": lead_id}
        assert error(call("crm.item.add", **params, fields={})) == (400, "CRM_FIELD_ERROR_REQUIRED")
        assert call("crm.item.update", **params, fields={"name": "Anna"}).ok
        cleared = call("crm.item.update", **params, fields={"UF_CRM_CITY": ""})
        assert error(cleared) == (400, "CRM_FIELD_ERROR_REQUIRED")

    def test_a_removed_field_is_ignored_again(self, crm: FakeBitrix24, add: Any) -> None:
        add(UF_CRM_REFERRAL_CODE="ABC")
        crm.remove_user_field("UF_CRM_REFERRAL_CODE")
        assert "UF_CRM_REFERRAL_CODE" not in add(UF_CRM_REFERRAL_CODE="ABC")
        assert "UF_CRM_REFERRAL_CODE" not in crm.leads[1]

    def test_the_description_of_fields(self, call: Call) -> None:
        fields = call("crm.item.fields", entityTypeId=1, useOriginalUfNames="Y").json()["result"]["fields"]
        assert fields["stageId"]["upperName"] == "STATUS_ID"
        assert fields["id"]["isReadOnly"] is True
        assert fields["UF_CRM_REFERRAL_CODE"]["isDynamic"] is True
        assert "fm" in fields


class TestUpdate:
    def test_only_what_is_named_changes(self, call: Call, add: Any) -> None:
        item = add(name="Anna", lastName="Lee", fm=[PHONE])
        params = {"entityTypeId": 1, "id": item["id"], "fields": {"lastName": "Ray"}}
        changed = call("crm.item.update", **params).json()["result"]["item"]
        assert (changed["name"], changed["lastName"], changed["fm"]) == ("Anna", "Ray", item["fm"])

    def test_a_phone_sent_again_is_there_once(self, call: Call, add: Any) -> None:
        item = add(fm=[PHONE])
        changed = call("crm.item.update", entityTypeId=1, id=item["id"], fields={"fm": [PHONE]}).json()
        assert [row["value"] for row in changed["result"]["item"]["fm"]] == [PHONE["value"]]

    @pytest.mark.parametrize("by_key", [True, False])
    def test_a_row_with_its_id_is_replaced_or_removed(self, call: Call, add: Any, by_key: bool) -> None:
        first, second = (row["id"] for row in add(fm=[PHONE, EMAIL])["fm"])
        rows: Any = {first: {"typeId": "PHONE", "value": "+2"}, second: {"typeId": "EMAIL", "value": ""}}
        if not by_key:
            rows = [{"id": number} | row for number, row in rows.items()]
        item = call("crm.item.update", entityTypeId=1, id=1, fields={"fm": rows}).json()["result"]["item"]
        assert item["fm"] == [{"id": first, "valueType": "WORK", "value": "+2", "typeId": "PHONE"}]
        assert (item["hasPhone"], item["hasEmail"]) == ("Y", "N")

    def test_a_refused_update_changes_nothing(self, call: Call, add: Any, crm: FakeBitrix24) -> None:
        add(name="Anna")
        before = crm.records()
        fields = {"name": "Eve", "stageId": "NONSENSE", "fm": [PHONE]}
        assert error(call("crm.item.update", entityTypeId=1, id=1, fields=fields))[0] == 400
        assert crm.records() == before

    @pytest.mark.parametrize("lead_id", [99, 0, -1, "x", None])
    def test_a_missing_lead(self, call: Call, lead_id: Any) -> None:
        for method in ("get", "update"):
            response = call(f"crm.item.{method}", entityTypeId=1, id=lead_id, fields={})
            assert error(response) == (400, "NOT_FOUND")

    def test_a_deleted_lead_is_gone_everywhere(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        lead_id = add(originId="op-1", fm=[PHONE])["id"]
        crm.add_comment(lead_id, "called")
        crm.delete_lead(lead_id)
        assert crm.records() == {"lead": [], "comment": []}
        assert find(call, **{"=originId": "op-1"}) == []
        values = [PHONE["value"]]
        assert call("crm.duplicate.findbycomm", entity_type="LEAD", type="PHONE", values=values).json()["result"] == []


class TestList:
    def test_by_origin(self, call: Call, add: Any) -> None:
        add(originatorId="other", originId="op-1")
        wanted = add(originatorId="crmgate", originId="op-1", stageId="JUNK")["id"]
        add(originatorId="crmgate", originId="op-2")
        conditions = {"=originatorId": "crmgate", "=originId": "op-1"}
        params = {"entityTypeId": 1, "select": ["id", "stageId", "originId"], "filter": conditions, "start": -1}
        body = call("crm.item.list", **params, order={"id": "ASC"}).json()
        assert body["result"] == {"items": [{"id": wanted, "stageId": "JUNK", "originId": "op-1"}]}
        assert {"total", "next"}.isdisjoint(body)

    def test_an_update_moves_a_lead_to_its_new_origin(self, call: Call, add: Any) -> None:
        call("crm.item.update", entityTypeId=1, id=add(originId="op-1")["id"], fields={"originId": "op-2"})
        assert [len(find(call, **{"=originId": origin})) for origin in ("op-1", "op-2")] == [0, 1]

    @pytest.mark.parametrize(
        ("conditions", "ids"),
        [
            ({}, [1, 2, 3]),
            ({"id": 2}, [2]),
            ({"=name": "Anna"}, [1]),
            ({"=name": ["Anna", "Eve"]}, [1, 3]),
            ({"@name": ["Anna", "Bob"]}, [1, 2]),
            ({"!@name": ["Anna", "Bob"]}, [3]),
            ({"!=name": "Anna"}, [2, 3]),
            ({"!name": "Anna"}, [2, 3]),
            ({"!=lastName": ""}, [2]),
            ({"lastName": ""}, [1, 3]),
            ({"%name": "n"}, [1]),
            ({"=%name": "B%"}, [2]),
            ({"%=name": "%e"}, [3]),
            ({"!%name": "n"}, [2, 3]),
            ({"!=%name": "B%"}, [1, 3]),
            ({">id": 1, "<=id": "2"}, [2]),
            ({">=opportunity": 9}, [1, 2]),
            ({"<opportunity": 100}, [2]),
            ({"@originId": ["op-1", "op-3"]}, [1, 3]),
            ({"=originId": "op-1", "=name": "Bob"}, []),
            ({"logic": "OR", "=originId": "op-1", "=name": "Bob"}, [1, 2]),
            ({"0": {"logic": "OR", "0": {"=name": "Anna"}, "1": {"=name": "Eve"}}, ">id": 1}, [3]),
        ],
    )
    def test_filters(self, call: Call, add: Any, conditions: dict[str, Any], ids: list[int]) -> None:
        add(name="Anna", opportunity=100, originId="op-1")
        add(name="Bob", lastName="Lee", opportunity=20, originId="op-2")
        add(name="Eve", originId="op-3")
        assert [item["id"] for item in find(call, **conditions)] == ids

    @pytest.mark.parametrize(
        "params",
        [
            {"filter": {"=ORIGIN_ID": "x"}},
            {"filter": {"nonsense": 1}},
            {"filter": {"0": {"nonsense": 1}}},
            {"filter": {"fm": 1}},
            {"order": {"nonsense": "ASC"}},
            {"order": {"id": "UP"}},
        ],
    )
    def test_a_bad_filter_or_order_is_refused(self, call: Call, params: dict[str, Any]) -> None:
        assert error(call("crm.item.list", entityTypeId=1, **params)) == (400, "INVALID_ARG_VALUE")

    def test_a_portal_may_refuse_to_filter_by_origin(self, crm: FakeBitrix24, call: Call) -> None:
        crm.unfilterable = ["originId"]
        response = call("crm.item.list", entityTypeId=1, filter={"=originId": "op-1"})
        assert error(response) == (400, "INVALID_ARG_VALUE")

    def test_pages_of_fifty(self, call: Call, add: Any) -> None:
        for _ in range(120):
            add()
        pages = [call("crm.item.list", entityTypeId=1, select=["id"], start=start).json() for start in (0, 50, 100)]
        assert [len(page["result"]["items"]) for page in pages] == [50, 50, 20]
        assert [(page["total"], page.get("next")) for page in pages] == [(120, 50), (120, 100), (120, None)]
        order = {"id": "DESC"}
        last = call("crm.item.list", entityTypeId=1, select=["id"], order=order, start=-1).json()
        assert last["result"]["items"][0] == {"id": 120}

    def test_order_by_two_fields(self, call: Call, add: Any) -> None:
        for name, last in (("B", "x"), ("A", "x"), ("C", "a")):
            add(name=name, lastName=last)
        items = call("crm.item.list", entityTypeId=1, order={"lastName": "DESC", "name": "ASC"}).json()
        assert [item["name"] for item in items["result"]["items"]] == ["A", "B", "C"]

    def test_fm_comes_only_with_the_star(self, call: Call, add: Any) -> None:
        add(fm=[PHONE])
        named = call("crm.item.list", entityTypeId=1, select=["id", "fm"]).json()["result"]["items"]
        everything = call("crm.item.list", entityTypeId=1, select=["*"]).json()["result"]["items"]
        assert named == [{"id": 1}]
        assert everything[0]["fm"][0]["value"] == PHONE["value"]

    def test_without_the_right_to_read_lists_are_empty(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        add(originId="op-1")
        crm.can_read = False
        assert find(call, **{"=originId": "op-1"}) == []
        assert error(call("crm.item.get", entityTypeId=1, id=1)) == (400, "ACCESS_DENIED")


class TestOldLeadApi:
    def test_a_lead_written_the_old_way_is_the_same_lead(self, call: Call) -> None:
        fields = {
            "NAME": "Anna",
            "STATUS_ID": "IN_PROCESS",
            "ORIGIN_ID": "op-1",
            "UF_CRM_REFERRAL_CODE": "ABC",
            "PHONE": [{"VALUE": "+1", "VALUE_TYPE": "WORK"}],
            "EMAIL": "ignored@example.com",
            "name": "ignored",
        }
        lead_id = call("crm.lead.add", fields=fields).json()["result"]
        item = call("crm.item.get", entityTypeId=1, id=lead_id, useOriginalUfNames="Y").json()["result"]["item"]
        assert (item["name"], item["stageId"], item["UF_CRM_REFERRAL_CODE"]) == ("Anna", "IN_PROCESS", "ABC")
        assert [row["value"] for row in item["fm"]] == ["+1"]
        assert find(call, **{"=originId": "op-1"})[0]["id"] == lead_id

    def test_get_answers_in_capitals_and_text(self, call: Call, add: Any) -> None:
        row_id = add(name="Anna", opportunity=5, fm=[PHONE])["fm"][0]["id"]
        lead = call("crm.lead.get", id=1).json()["result"]
        assert (lead["ID"], lead["NAME"], lead["OPPORTUNITY"], lead["LAST_NAME"]) == ("1", "Anna", "5.0", None)
        phone = {"ID": str(row_id), "VALUE_TYPE": "WORK", "VALUE": PHONE["value"], "TYPE_ID": "PHONE"}
        assert lead["PHONE"] == [phone]
        assert "EMAIL" not in lead

    def test_update_adds_rows_without_an_id(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        add(name="Anna", fm=[PHONE])
        rows = [{"VALUE": "+49301234567", "VALUE_TYPE": "WORK"}]
        assert call("crm.lead.update", id=1, fields={"LAST_NAME": "Lee", "PHONE": rows}).json()["result"] is True
        assert (crm.leads[1]["name"], crm.leads[1]["lastName"], len(crm.leads[1]["fm"])) == ("Anna", "Lee", 2)

    @pytest.mark.parametrize(
        ("method", "lead_id", "text"),
        [
            ("get", 99, "Not found"),
            ("update", 99, "Lead is not found"),
            ("get", 0, "ID is not defined or invalid."),
            ("update", "x", "ID is not defined"),
        ],
    )
    def test_errors_have_an_empty_code(self, call: Call, method: str, lead_id: Any, text: str) -> None:
        response = call(f"crm.lead.{method}", id=lead_id, fields={})
        assert error(response) == (400, "")
        assert text in response.json()["error_description"]

    def test_list_masks(self, call: Call, add: Any) -> None:
        add(name="Anna", fm=[PHONE], UF_CRM_REFERRAL_CODE="ABC")
        (standard,) = call("crm.lead.list").json()["result"]
        (chosen,) = call("crm.lead.list", select=["ID", "UF_*", "PHONE"]).json()["result"]
        assert standard["NAME"] == "Anna"
        assert {"PHONE", "UF_CRM_REFERRAL_CODE"}.isdisjoint(standard)
        assert chosen["UF_CRM_REFERRAL_CODE"] == "ABC"
        assert chosen["PHONE"][0]["VALUE"] == PHONE["value"]
        assert "NAME" not in chosen

    @pytest.mark.parametrize(
        ("conditions", "found"),
        [
            ({"PHONE": PHONE["value"]}, ["1"]),
            ({"EMAIL": "nobody@example.com"}, []),
            ({"%PHONE": "5550"}, ["1"]),
            ({"ORIGIN_ID": "op-2"}, ["2"]),
            ({"NONSENSE": "x"}, ["1", "2"]),
        ],
    )
    def test_list_filters(self, call: Call, add: Any, conditions: dict[str, str], found: list[str]) -> None:
        add(originId="op-1", fm=[PHONE])
        add(originId="op-2", fm=[EMAIL])
        body = call("crm.lead.list", filter=conditions, select=["ID"]).json()
        assert ([row["ID"] for row in body["result"]], body["total"]) == (found, len(found))

    def test_fields(self, call: Call) -> None:
        fields = call("crm.lead.fields").json()["result"]
        assert {"ID", "STATUS_ID", "UTM_SOURCE", "PHONE", "UF_CRM_REFERRAL_CODE"} <= fields.keys()


class TestDuplicates:
    def search(self, call: Call, kind: str, *values: str, **more: str) -> Any:
        return call("crm.duplicate.findbycomm", type=kind, values=values, **more).json()["result"]

    def test_by_phone_and_email(self, call: Call, add: Any) -> None:
        first, second = add(fm=[PHONE, EMAIL])["id"], add(fm=[PHONE])["id"]
        assert self.search(call, "PHONE", PHONE["value"], entity_type="LEAD") == {"LEAD": [first, second]}
        assert self.search(call, "EMAIL", "nobody@example.com", EMAIL["value"]) == {"LEAD": [first]}

    @pytest.mark.parametrize("value", ["2025550119", "", "+1", "+"])
    def test_no_match_is_a_list(self, call: Call, add: Any, value: str) -> None:
        add(fm=[PHONE])
        assert self.search(call, "PHONE", value, entity_type="LEAD") == []

    def test_only_leads_live_here(self, call: Call, add: Any) -> None:
        add(fm=[PHONE])
        assert self.search(call, "PHONE", PHONE["value"], entity_type="CONTACT") == []

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"values": ["1"]}, "Communication type is not defined"),
            ({"type": "FAX", "values": ["1"]}, "Communication type 'FAX' is not supported in current context"),
            ({"type": "PHONE"}, "Communication values is not defined"),
            ({"type": "PHONE", "values": []}, "Communication values is not defined"),
        ],
    )
    def test_bad_questions(self, call: Call, params: dict[str, Any], code: str) -> None:
        assert error(call("crm.duplicate.findbycomm", **params)) == (400, code)

    def test_values_beyond_twenty_are_ignored(self, call: Call, add: Any) -> None:
        lead = add(fm=[PHONE])["id"]
        others = [str(i) for i in range(1000, 1020)]
        assert self.search(call, "PHONE", *others[1:], PHONE["value"]) == {"LEAD": [lead]}
        assert self.search(call, "PHONE", *others, PHONE["value"]) == []

    def test_without_the_right_to_read(self, crm: FakeBitrix24, call: Call) -> None:
        crm.can_read = False
        response = call("crm.duplicate.findbycomm", type="PHONE", values=["1"])
        assert error(response) == (400, "")
        assert response.json()["error_description"] == "Access denied."


class TestTimeline:
    @pytest.fixture
    def comment(self, call: Call, add: Any) -> Callable[..., requests.Response]:
        add()

        def post(**fields: Any) -> requests.Response:
            known = {"ENTITY_ID": 1, "ENTITY_TYPE": "lead", "COMMENT": "Clicked WhatsApp"}
            return call("crm.timeline.comment.add", fields=known | fields)

        return post

    def test_a_comment_can_be_found_again(self, crm: FakeBitrix24, call: Call, comment: Any) -> None:
        ids = [comment(COMMENT=f"op-{i}").json()["result"] for i in range(3)]
        params = {"filter": {"ENTITY_ID": 1, "ENTITY_TYPE": "lead"}, "order": {"ID": "DESC"}}
        body = call("crm.timeline.comment.list", **params, select=["ID", "COMMENT"]).json()
        assert body["result"] == [{"ID": str(ids[i]), "COMMENT": f"op-{i}"} for i in (2, 1, 0)]
        assert body["total"] == 3
        row = call("crm.timeline.comment.get", id=ids[0]).json()["result"]
        assert (row["ENTITY_TYPE"], row["ENTITY_ID"], row["COMMENT"]) == ("lead", "1", "op-0")
        assert [stored["COMMENT"] for stored in crm.records()["comment"]] == ["op-0", "op-1", "op-2"]

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"ENTITY_ID": 0}, "OWNER_NOT_FOUND"),
            ({"ENTITY_ID": "x"}, "OWNER_NOT_FOUND"),
            ({"ENTITY_TYPE": "nonsense"}, "OWNER_NOT_FOUND"),
            ({"COMMENT": ""}, "INVALID_ARG_VALUE"),
            ({"COMMENT": " \n"}, "INVALID_ARG_VALUE"),
            ({"COMMENT": None}, "INVALID_ARG_VALUE"),
        ],
    )
    def test_bad_comments(self, crm: FakeBitrix24, comment: Any, fields: dict[str, Any], code: str) -> None:
        assert error(comment(**fields)) == (400, code)
        assert not crm.comments

    def test_missing_fields(self, call: Call) -> None:
        assert error(call("crm.timeline.comment.add")) == (400, "100")
        assert error(call("crm.timeline.comment.add", fields={"ENTITY_ID": 1})) == (400, "100")
        assert error(call("crm.timeline.comment.list", filter={"ENTITY_ID": 1})) == (400, "100")
        assert error(call("crm.timeline.comment.get", id=99)) == (400, "NOT_FOUND")

    @pytest.mark.parametrize("admin", [True, False])
    def test_a_deleted_lead(self, crm: FakeBitrix24, comment: Any, admin: bool) -> None:
        """The portal checks only the rights, which an administrator always has."""
        crm.admin = admin
        response = comment(ENTITY_ID=99)
        assert response.ok is admin
        assert admin or error(response) == (400, "ACCESS_DENIED")

    def test_access_denied(self, crm: FakeBitrix24, comment: Any) -> None:
        crm.access_denied = True
        assert error(comment()) == (400, "ACCESS_DENIED")

    def test_another_owner_has_none(self, call: Call, comment: Any) -> None:
        comment()
        for owner in ({"ENTITY_ID": 2, "ENTITY_TYPE": "lead"}, {"ENTITY_ID": 1, "ENTITY_TYPE": "deal"}):
            assert call("crm.timeline.comment.list", filter=owner).json()["result"] == []


class TestBatch:
    def test_commands_and_empty_sections(self, crm: FakeBitrix24, call: Call) -> None:
        cmd = {"new": "crm.item.add?entityTypeId=1&fields[title]=A%26B", "who": "profile"}
        sections = call("batch", halt=0, cmd=cmd).json()["result"]
        assert sections["result"]["new"]["item"]["title"] == crm.leads[1]["title"] == "A&B"
        assert sections["result_error"] == sections["result_total"] == sections["result_next"] == []
        assert sections["result_time"].keys() == cmd.keys()

    def test_totals(self, call: Call, add: Any) -> None:
        for _ in range(51):
            add()
        sections = call("batch", cmd={"a": "crm.item.list?entityTypeId=1&select[]=id"}).json()["result"]
        assert (sections["result_total"], sections["result_next"]) == ({"a": 51}, {"a": 50})

    def test_numeric_keys_come_back_as_a_list(self, call: Call) -> None:
        assert call("batch", cmd=["scope", "scope"]).json()["result"]["result"] == [["crm"], ["crm"]]
        assert call("batch", cmd={"0": "scope"}).json()["result"]["result"] == [["crm"]]

    @pytest.mark.parametrize(("halt", "leads"), [(0, 1), (1, 0), (True, 0), (False, 1)])
    def test_halt_stops_at_the_first_error(self, crm: FakeBitrix24, call: Call, halt: Any, leads: int) -> None:
        cmd = {"bad": "crm.item.get?entityTypeId=1&id=9", "new": "crm.item.add?entityTypeId=1&fields[name]=Anna"}
        response = call("batch", halt=halt, cmd=cmd)
        assert response.status_code == 200
        assert response.json()["result"]["result_error"]["bad"]["error"] == "NOT_FOUND"
        assert len(crm.leads) == leads

    def test_an_earlier_result_can_be_used(self, crm: FakeBitrix24, call: Call) -> None:
        cmd = {
            "new": "crm.item.add?entityTypeId=1&fields[name]=Anna",
            "note": "crm.timeline.comment.add?fields[ENTITY_ID]=$result[new][item][id]&fields[ENTITY_TYPE]=lead"
            "&fields[COMMENT]=for $result[new][item][name]",
        }
        assert call("batch", halt=1, cmd=cmd).json()["result"]["result_error"] == []
        assert [(row["ENTITY_ID"], row["COMMENT"]) for row in crm.comments.values()] == [("1", "for Anna")]

    def test_a_missing_earlier_result_is_nothing(self, call: Call) -> None:
        cmd = {"get": "crm.lead.get?id=$result[nothing][0][ID]"}
        assert call("batch", cmd=cmd).json()["result"]["result_error"]["get"]["error"] == ""

    def test_more_than_fifty_and_nesting_are_refused(self, call: Call) -> None:
        sections = call("batch", cmd={f"c{i}": "profile" for i in range(52)}).json()["result"]
        assert len(sections["result"]) == 50
        assert {sections["result_error"][name]["error"] for name in ("c50", "c51")} == {"ERROR_BATCH_LENGTH_EXCEEDED"}
        nested = call("batch", cmd={"a": "batch?cmd[b]=profile"}).json()["result"]["result_error"]
        assert nested["a"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"

    @pytest.mark.parametrize("params", [{}, {"cmd": {}}, {"cmd": []}])
    def test_an_empty_batch(self, call: Call, params: dict[str, Any]) -> None:
        assert call("batch", **params).json()["result"]["result"] == []

    def test_scope_is_checked_for_each_command(self, crm: FakeBitrix24, call: Call) -> None:
        crm.scopes = []
        sections = call("batch", cmd={"a": "profile", "b": "crm.item.list?entityTypeId=1"}).json()["result"]
        assert sections["result_error"]["b"]["error"] == "insufficient_scope"
        assert sections["result"].keys() == {"a"}


class TestFaults:
    def test_a_connection_dropped_after_storing_leaves_a_record(self, crm: FakeBitrix24, call: Call) -> None:
        crm.fail("drop", when="after", path=r"crm\.item\.add", times=1)
        params = {"entityTypeId": 1, "fields": {"originId": "op-1"}}
        with pytest.raises(requests.ConnectionError):
            call("crm.item.add", **params)
        assert len(find(call, **{"=originId": "op-1"})) == 1

    def test_a_connection_dropped_before_leaves_none(self, crm: FakeBitrix24, call: Call) -> None:
        crm.fail("drop", times=1)
        with pytest.raises(requests.ConnectionError):
            call("crm.item.add", entityTypeId=1, fields={})
        assert not crm.leads

    @pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
    def test_a_vendor_error_can_be_injected(self, crm: FakeBitrix24, call: Call, when: Any, stored: int) -> None:
        crm.fail_with("INTERNAL_SERVER_ERROR", when=when, times=1)
        response = call("crm.item.add", entityTypeId=1, fields={})
        assert error(response) == (500, "INTERNAL_SERVER_ERROR")
        assert len(crm.leads) == stored

    @pytest.mark.parametrize(("code", "status"), [("", 400), ("0", 200), ("OVERLOAD_LIMIT", 200)])
    def test_code_text_and_status_are_free(self, crm: FakeBitrix24, call: Call, code: str, status: int) -> None:
        crm.fail_with(code, "<b>no</b>", status=status)
        response = call("profile")
        assert error(response) == (status, code)
        assert response.json()["error_description"] == "<b>no</b>"

    def test_a_proxy_may_answer_html(self, crm: FakeBitrix24, call: Call) -> None:
        crm.fail("answer", status=502, body="<html>Bad Gateway</html>", times=1)
        response = call("profile")
        assert (response.status_code, response.text) == (502, "<html>Bad Gateway</html>")
        assert call("profile").status_code == 200

    def test_a_stopped_portal_keeps_its_records(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        add(originId="op-1")
        url = crm.webhook_url
        crm.stop()
        with pytest.raises(requests.ConnectionError):
            call("profile")
        crm.start()
        assert crm.webhook_url == url
        assert len(find(call, **{"=originId": "op-1"})) == 1

    def test_it_can_be_steered_over_http(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        add(name="Anna")
        control = f"{crm.url}/__fake__"
        requests.post(
            f"{control}/configure", json={"simple_mode": True, "rate_limit": True, "burst": 1}, timeout=DEADLINE
        )
        assert [call("crm.settings.mode.get").status_code for _ in range(2)] == [200, 503]
        assert requests.get(f"{control}/records", timeout=DEADLINE).json()["lead"][0]["name"] == "Anna"

    def test_it_runs_as_a_process_of_its_own(self) -> None:
        command = [sys.executable, "-m", "crmgate.testing.bitrix24", "--port", "0"]
        root = Path(bitrix24.__file__).parents[2]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            assert process.stdout is not None
            stop = threading.Timer(20, process.kill)
            stop.start()
            try:
                address = re.search(r"http://\S+", process.stdout.readline())
                assert address is not None
                answer = requests.get(f"{address[0]}/rest/1/fakesecret123456/profile.json", timeout=DEADLINE)
                assert answer.json()["result"]["ID"] == "1"
            finally:
                stop.cancel()
                process.kill()


class TestRefusals:
    """Switches for refusals of one lead, or of every lead for a while."""

    @pytest.fixture(autouse=True)
    def _over_http(self, crm: FakeBitrix24) -> None:
        self.url = crm.url

    def configure(self, **options: Any) -> None:
        requests.post(f"{self.url}/__fake__/configure", json=options, timeout=DEADLINE).raise_for_status()

    def test_one_lead_can_be_closed_to_comments(self, call: Call, add: Callable[..., dict[str, Any]]) -> None:
        closed, other = add(name="A")["id"], add(name="B")["id"]
        self.configure(locked_timelines=[closed])
        answers = [
            call("crm.timeline.comment.add", fields={"ENTITY_ID": lead, "ENTITY_TYPE": "lead", "COMMENT": "Hello"})
            for lead in (closed, other)
        ]
        assert error(answers[0]) == (400, "ACCESS_DENIED")
        assert answers[1].status_code == 200
        assert call("crm.item.get", entityTypeId=1, id=closed).status_code == 200

    def test_a_limit_that_others_use_up_ends_by_itself(self, call: Call) -> None:
        self.configure(limited_until=time.time() + 0.3)
        assert error(call("profile")) == (503, "QUERY_LIMIT_EXCEEDED")
        wait_until("the limit is over", lambda: call("profile").status_code == 200)

    def test_a_mandatory_field_refuses_every_lead_that_lacks_it(self, call: Call) -> None:
        office = {"UF_CRM_OFFICE": {"user_type": "iblock_element", "mandatory": True}}
        self.configure(added_fields=office, enforce_required=True)
        assert error(call("crm.item.add", entityTypeId=1, fields={"name": "A"})) == (400, "CRM_FIELD_ERROR_REQUIRED")
        rows = call("crm.lead.userfield.list").json()["result"]
        assert {row["FIELD_NAME"]: row["MANDATORY"] for row in rows}["UF_CRM_OFFICE"] == "Y"
        self.configure(added_fields={})
        assert call("crm.item.add", entityTypeId=1, fields={"name": "A"}).status_code == 200

    def test_a_search_may_lag_behind_while_a_lead_can_be_read(
        self, call: Call, add: Callable[..., dict[str, Any]]
    ) -> None:
        self.configure(search_lag=0.5)
        made = add(name="A", originId="op-1", fm=[EMAIL])["id"]
        same = {"entity_type": "LEAD", "type": "EMAIL", "values": [EMAIL["value"]]}
        assert find(call) == find(call, **{"=originId": "op-1"}) == []
        assert call("crm.duplicate.findbycomm", **same).json()["result"] == []
        assert call("crm.item.get", entityTypeId=1, id=made).status_code == 200
        wait_until("a list shows it", lambda: [item["id"] for item in find(call)] == [made])
        assert call("crm.duplicate.findbycomm", **same).json()["result"] == {"LEAD": [made]}

"""The fake Bitrix24: requests, limits, faults and batches."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from crmgate.testing import bitrix24
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.bitrix24.wire import SYSTEM_ERRORS, parse_query
from tests.processes import DEADLINE, wait_until
from tests.testing.bitrix24.rig import EMAIL, PHONE, Call, error, find


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

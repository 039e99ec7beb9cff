"""Behaviour of the fake EspoCRM that recordings cannot show: faults, races, restarts, and its switches."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from crmgate.testing.espocrm import OPERATION_FIELD, FakeEspoCRM
from tests.processes import DEADLINE

KEY = {"X-Api-Key": "KEY-GATEWAY"}
ADMIN = ("admin", "Admin-Fake-1")
RACERS = 8


@pytest.fixture
def crm() -> Iterator[FakeEspoCRM]:
    with FakeEspoCRM() as crm:
        yield crm


def create(crm: FakeEspoCRM, headers: dict[str, str] | None = None, /, **lead: Any) -> requests.Response:
    return requests.post(f"{crm.url}/api/v1/Lead", json=lead, headers={**KEY, **(headers or {})}, timeout=DEADLINE)


def get(crm: FakeEspoCRM, path: str = "Lead?maxSize=1&select=id", key: str = "KEY-GATEWAY") -> requests.Response:
    return requests.get(f"{crm.url}/api/v1/{path}", headers={"X-Api-Key": key}, timeout=DEADLINE)


def configure(crm: FakeEspoCRM, **options: Any) -> None:
    requests.post(f"{crm.url}/__fake__/configure", json=options, timeout=DEADLINE).raise_for_status()


def race(crm: FakeEspoCRM, headers: dict[str, str] | None = None, /, **lead: Any) -> list[int]:
    """The sorted statuses of simultaneous, identical creates, each of which began before any was stored."""
    crm.race_window = 0.2
    barrier = threading.Barrier(RACERS)
    statuses: list[int] = []

    def run() -> None:
        barrier.wait()
        statuses.append(create(crm, headers, **lead).status_code)

    threads = [threading.Thread(target=run) for _ in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


class TestLockout:
    def test_an_address_that_guesses_is_shut_out_with_the_good_key_too(self, crm: FakeEspoCRM) -> None:
        assert [get(crm, key="bad").status_code for _ in range(12)] == [401] * 11 + [403]
        refused = get(crm)
        assert (refused.status_code, refused.content, refused.headers.get("X-Status-Reason")) == (403, b"", None)
        assert requests.get(f"{crm.url}/api/v1/Lead", auth=ADMIN, timeout=DEADLINE).status_code == 403
        assert requests.get(f"{crm.url}/api/v1/Lead", timeout=DEADLINE).status_code == 401

    def test_ends_when_the_first_bad_tries_are_old(self, crm: FakeEspoCRM) -> None:
        crm.lockout_seconds = 3
        began = time.time()
        crm.clock = lambda: began
        for _ in range(11):
            get(crm, key="bad")
        crm.clock = lambda: began + 2.9
        assert get(crm).status_code == 403
        crm.clock = lambda: began + 3.1
        assert get(crm).status_code == 200


class TestOutages:
    def test_maintenance_is_for_everybody_but_the_administrator(self, crm: FakeEspoCRM) -> None:
        crm.maintenance = True
        refused = create(crm, lastName="Yılmaz")
        assert refused.status_code == 503
        assert refused.headers["X-Status-Reason"] == "Application is in maintenance mode."
        assert requests.get(f"{crm.url}/api/v1/Lead", auth=ADMIN, timeout=DEADLINE).status_code == 200
        crm.maintenance = False
        assert create(crm, lastName="Yılmaz").status_code == 200

    def test_a_down_database_answers_everything_with_an_empty_500(self, crm: FakeEspoCRM) -> None:
        crm.database_down = True
        for answer in (create(crm, lastName="A"), get(crm), get(crm, key="bad")):
            assert (answer.status_code, answer.content) == (500, b"")
            assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
        crm.database_down = False
        assert crm.leads == []

    def test_a_down_php_leaves_the_web_server(self, crm: FakeEspoCRM) -> None:
        crm.php_down = True
        answer = create(crm, lastName="A")
        assert (answer.status_code, "502 Bad Gateway" in answer.text) == (502, True)

    def test_a_stopped_server_keeps_its_records_and_its_port(self, crm: FakeEspoCRM) -> None:
        create(crm, lastName="Before")
        crm.stop()
        with pytest.raises(requests.ConnectionError):
            create(crm, lastName="During")
        crm.start()
        create(crm, lastName="After")
        assert [lead["lastName"] for lead in crm.leads] == ["Before", "After"]

    def test_switches_can_be_set_over_http(self, crm: FakeEspoCRM) -> None:
        requests.post(f"{crm.url}/__fake__/configure", json={"maintenance": True, "lockout_limit": 2}, timeout=DEADLINE)
        assert get(crm).status_code == 503
        assert [get(crm, key="bad").status_code for _ in range(4)] == [401, 401, 401, 403]


class TestRefusals:
    """Switches for refusals and delays that an administrator, a proxy or a search index causes."""

    def test_a_script_refuses_one_address_and_no_other(self, crm: FakeEspoCRM) -> None:
        configure(crm, forbidden={"ada@closed.example": "Region closed."})
        refused = create(crm, lastName="A", emailAddress="ada@closed.example")
        assert (refused.status_code, refused.headers["X-Status-Reason"]) == (403, "Region closed.")
        assert (refused.headers["Content-Type"], refused.content) == ("application/json", b"")
        made = create(crm, lastName="B", emailAddress="bob@example.com").json()
        changed = {"emailAddress": "ada@closed.example"}
        put = requests.put(f"{crm.url}/api/v1/Lead/{made['id']}", json=changed, headers=KEY, timeout=DEADLINE)
        assert put.status_code == 403
        assert [lead["emailAddress"] for lead in crm.leads] == ["bob@example.com"]

    def test_a_required_field_refuses_every_lead_that_lacks_it(self, crm: FakeEspoCRM) -> None:
        configure(crm, added_fields={"officeC": {"type": "link", "entity": "Account", "required": True}})
        refused = create(crm, lastName="A")
        reason = "Field validation failure; entityType: Lead, field: officeC, type: required."
        assert (refused.status_code, refused.headers["X-Status-Reason"]) == (400, reason)
        assert get(crm, "Metadata?key=entityDefs.Lead.fields.officeC").json()["required"] is True
        configure(crm, added_fields={})
        assert create(crm, lastName="A").status_code == 200

    def test_a_proxy_says_how_long_its_limit_still_lasts(self, crm: FakeEspoCRM) -> None:
        now = time.time()
        crm.clock = lambda: now
        configure(crm, limited_until=now + 60)
        refused = create(crm, lastName="A")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        crm.clock = lambda: now + 58.5
        assert get(crm).headers["Retry-After"] == "2"
        crm.clock = lambda: now + 60
        assert get(crm).status_code == 200

    def test_a_search_may_lag_behind_while_a_lead_can_be_read(self, crm: FakeEspoCRM) -> None:
        configure(crm, search_lag=5)
        made = create(crm, lastName="A", emailAddress="a@example.com").json()
        assert get(crm, "Lead?select=id").json()["list"] == []
        assert get(crm, f"Lead/{made['id']}").status_code == 200
        assert create(crm, lastName="B", emailAddress="a@example.com").status_code == 409
        later = time.time() + 5
        crm.clock = lambda: later
        assert [row["id"] for row in get(crm, "Lead?select=id").json()["list"]] == [made["id"]]

    def test_key_and_role_can_be_changed_and_restored(self, crm: FakeEspoCRM) -> None:
        role = crm.role
        configure(crm, api_key="OTHER")
        assert (get(crm).status_code, get(crm, key="OTHER").status_code) == (401, 200)
        configure(crm, api_key="KEY-GATEWAY", role={"Lead": {**role["Lead"], "create": "no"}})
        assert create(crm, lastName="A").headers["X-Status-Reason"] == "No create access."
        configure(crm, role=role)
        assert create(crm, lastName="A").status_code == 200


class TestFaults:
    def test_a_connection_dropped_afterwards_leaves_a_lead_without_an_answer(self, crm: FakeEspoCRM) -> None:
        crm.fail("drop", when="after", times=1)
        with pytest.raises(requests.ConnectionError):
            create(crm, lastName="Ghost")
        assert [lead["lastName"] for lead in crm.leads] == ["Ghost"]

    def test_a_connection_dropped_before_leaves_nothing(self, crm: FakeEspoCRM) -> None:
        crm.fail("drop", times=1)
        with pytest.raises(requests.ConnectionError):
            create(crm, lastName="Lost")
        assert crm.leads == []

    def test_a_hanging_server_is_given_up_by_the_client(self, crm: FakeEspoCRM) -> None:
        crm.fail("hang", method="POST")
        with pytest.raises(requests.ReadTimeout):
            requests.post(f"{crm.url}/api/v1/Lead", json={"lastName": "A"}, headers=KEY, timeout=0.2)
        assert get(crm).status_code == 200

    def test_latency_delays_only_the_requests_it_names(self, crm: FakeEspoCRM) -> None:
        fault = crm.fail("latency", seconds=0.2, path="/Lead")
        assert create(crm, lastName="Slow").elapsed.total_seconds() >= 0.2
        assert (get(crm, "App/about").status_code, fault.seen) == (200, 1)


class TestRaces:
    def test_without_an_index_identical_creates_make_several_leads(self) -> None:
        with FakeEspoCRM(unique_operation_id=False) as crm:
            statuses = race(crm, lastName="Twin", emailAddress="twin@example.com")
            assert set(statuses) <= {200, 409}
            assert len(crm.leads) == statuses.count(200) > 1

    def test_a_unique_key_lets_one_through_and_crashes_the_others(self, crm: FakeEspoCRM) -> None:
        statuses = race(crm, lastName="Twin", **{OPERATION_FIELD: "op-1"})
        assert (statuses[0], len(crm.leads)) == (200, 1)
        assert set(statuses[1:]) <= {409, 500}

    def test_a_unique_key_holds_when_duplicates_are_not_checked(self, crm: FakeEspoCRM) -> None:
        skip = {"X-Skip-Duplicate-Check": "true"}
        assert race(crm, skip, lastName="Twin", **{OPERATION_FIELD: "op-1"}) == [200] + [500] * (RACERS - 1)
        assert len(crm.leads) == 1

    def test_a_check_on_the_key_finds_late_creates(self) -> None:
        with FakeEspoCRM(unique_operation_id=False) as crm:
            crm.database.types["Lead"].duplicate_check = [OPERATION_FIELD]
            assert create(crm, lastName="One", **{OPERATION_FIELD: "op-1"}).status_code == 200
            assert race(crm, lastName="Two", **{OPERATION_FIELD: "op-1"}) == [409] * RACERS


class TestKeys:
    def test_a_taken_key_is_an_empty_500_of_json(self, crm: FakeEspoCRM) -> None:
        create(crm, lastName="One", **{OPERATION_FIELD: "op-1"})
        answer = create(crm, lastName="Two", **{OPERATION_FIELD: "OP-1 "})
        assert (answer.status_code, answer.content) == (500, b"")
        assert answer.headers["Content-Type"] == "application/json"

    def test_a_deleted_lead_keeps_its_key(self, crm: FakeEspoCRM) -> None:
        made = create(crm, lastName="One", **{OPERATION_FIELD: "op-1"}).json()
        requests.delete(f"{crm.url}/api/v1/Lead/{made['id']}", auth=ADMIN, timeout=DEADLINE)
        assert crm.leads == []
        assert create(crm, lastName="One", **{OPERATION_FIELD: "op-1"}).status_code == 500

    def test_a_lead_is_found_by_its_key(self, crm: FakeEspoCRM) -> None:
        made = create(crm, lastName="One", **{OPERATION_FIELD: "op-1"}).json()
        where = f"where[0][type]=equals&where[0][attribute]={OPERATION_FIELD}&where[0][value]=op-1"
        assert [row["id"] for row in get(crm, f"Lead?{where}&select=id").json()["list"]] == [made["id"]]


class TestSetup:
    def test_a_stock_installation_drops_the_fields_of_crmgate(self) -> None:
        with FakeEspoCRM(custom_fields=False) as crm:
            assert "referralCodeC" not in create(crm, lastName="A", referralCodeC="R").json()
            crm.add_field("referralCodeC", "varchar", maxLength=2)
            assert create(crm, lastName="B", referralCodeC="R").json()["referralCodeC"] == "R"
            assert create(crm, lastName="C", referralCodeC="REF").status_code == 400

    def test_a_field_can_be_taken_away_and_an_enum_changed(self, crm: FakeEspoCRM) -> None:
        crm.set_options("userTypeC", ["", "professional"])
        assert create(crm, lastName="A", userTypeC="student").status_code == 400
        crm.remove_field("userTypeC")
        assert "userTypeC" not in create(crm, lastName="B", userTypeC="student").json()
        assert get(crm, "Metadata?key=entityDefs.Lead.fields.userTypeC").content == b""

    def test_a_role_can_be_narrowed(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"create": "no", "read": "all"}})
        refused = create(crm, lastName="A")
        assert (refused.status_code, refused.headers["X-Status-Reason"]) == (403, "No create access.")

    def test_the_gateway_may_call_and_note(self, crm: FakeEspoCRM) -> None:
        lead = crm.add_lead(lastName="Yılmaz")
        parent = {"parentType": "Lead", "parentId": lead["id"]}
        assignee = get(crm, "App/user").json()["user"]["id"]
        call = {"name": "Call", "dateStart": "2026-01-02T10:00:00Z", "assignedUserId": assignee, **parent}
        requests.post(f"{crm.url}/api/v1/Call", json=call, headers=KEY, timeout=DEADLINE).raise_for_status()
        note = {"type": "Post", "post": "Hello", **parent}
        requests.post(f"{crm.url}/api/v1/Note", json=note, headers=KEY, timeout=DEADLINE).raise_for_status()
        assert [(one["name"], one["dateStart"]) for one in crm.calls] == [("Call", "2026-01-02 10:00:00")]
        assert [one["post"] for one in crm.notes] == ["Hello"]

    def test_seeded_leads_take_part_in_the_search_for_duplicates(self, crm: FakeEspoCRM) -> None:
        lead = crm.add_lead(lastName="Yılmaz", emailAddress="a@example.com")
        crm.change_lead(lead["id"], emailAddress="b@example.com")
        assert create(crm, lastName="Kaya", emailAddress="a@example.com").status_code == 200
        answer = create(crm, lastName="Demir", emailAddress="B@EXAMPLE.COM")
        assert (answer.status_code, answer.json()[0]["id"]) == (409, lead["id"])

    def test_clearing_forgets_records_but_not_the_setup(self, crm: FakeEspoCRM) -> None:
        create(crm, lastName="One", **{OPERATION_FIELD: "op-1"})
        crm.clear()
        assert crm.leads == []
        assert create(crm, lastName="One", **{OPERATION_FIELD: "op-1"}).status_code == 200

    def test_records_are_returned_over_http(self, crm: FakeEspoCRM) -> None:
        create(crm, lastName="Yılmaz")
        records = requests.get(f"{crm.url}/__fake__/records", timeout=DEADLINE).json()
        assert [lead["lastName"] for lead in records["Lead"]] == ["Yılmaz"]

    def test_runs_as_a_process(self) -> None:
        command = [sys.executable, "-m", "crmgate.testing.espocrm", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                url = process.stdout.readline().split()[-1]
                assert requests.get(f"{url}/api/v1/", headers=KEY, timeout=DEADLINE).json() == "EspoCRM REST API"
            finally:
                process.terminate()

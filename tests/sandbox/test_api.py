"""The API of the sandbox, from the view of a CRM client."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.processes import DEADLINE
from tests.sandbox.conftest import Client


def test_a_lead_is_kept_with_all_its_fields(client: Client) -> None:
    fields = {"first_name": "Şule", "email": "sule@example.org", "gpa": 3.5, "subscribed": True, "description": "a\nb"}
    answer = client.create(operation_id="op1", **fields)
    assert answer.status_code == 201
    lead = client.send("GET", f"/api/leads/{answer.json()['id']}").json()
    assert lead.items() >= fields.items()
    assert lead["operation_id"] == "op1"
    assert lead["activities"] == []


@pytest.mark.parametrize("key", ["", "wrong", "a key with umlauts"])
@pytest.mark.parametrize("path", ["/api/ping", "/api/leads", "/api/leads/1", "/api/behaviour"])
def test_nothing_opens_without_the_key(client: Client, key: str, path: str) -> None:
    assert Client(client.url, key).send("GET", path).status_code == 401


def test_ping(client: Client) -> None:
    client.create(first_name="Ada")
    assert client.send("GET", "/api/ping").json() == {"name": "Sandbox CRM", "leads": 1}


def test_a_second_create_with_the_same_operation_id_names_the_first_lead(client: Client) -> None:
    first = client.create(operation_id="op1", first_name="Ada").json()["id"]
    second = client.create(operation_id="op1", first_name="Eve")
    assert second.status_code == 409
    assert second.json().items() >= {"error": "duplicate_operation", "id": first, "operation_id": "op1"}.items()
    assert [lead["first_name"] for lead in client.leads()] == ["Ada"]


def test_creates_at_the_same_time_with_one_operation_id_make_one_lead(client: Client) -> None:
    at_once = threading.Barrier(16)

    def create(number: int) -> requests.Response:
        at_once.wait()
        return client.create(operation_id="op1", first_name=f"Ada {number}")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(create, range(16)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 15
    assert {answer.json()["id"] for answer in answers} == {client.leads()[0]["id"]}
    assert len(client.leads()) == 1


def test_leads_without_an_operation_id_do_not_collide(client: Client) -> None:
    assert [client.create(first_name="Ada").status_code for _ in range(2)] == [201, 201]


def test_leads_are_found_by_operation_id_and_by_email_in_any_case(client: Client) -> None:
    client.create(operation_id="op1", email="Ada@Example.org")
    client.create(operation_id="op2", email="eve@example.org")
    assert [lead["email"] for lead in client.leads(operation_id="op1")] == ["Ada@Example.org"]
    assert [lead["operation_id"] for lead in client.leads(email="ada@example.ORG")] == ["op1"]
    assert client.leads(operation_id="op3") == []
    assert client.leads(email="nobody@example.org") == []


def test_an_update_changes_what_it_names_and_keeps_the_rest(client: Client) -> None:
    lead_id = client.create(operation_id="op1", first_name="Ada", city="Paris", email="old@example.org").json()["id"]
    changes = {"email": "new@example.org", "city": None, "phone": "+905321234567"}
    assert client.send("PUT", f"/api/leads/{lead_id}", changes).status_code == 200
    lead = client.leads(email="new@example.org")[0]
    assert (lead["first_name"], lead["phone"], lead["operation_id"]) == ("Ada", "+905321234567", "op1")
    assert "city" not in lead
    assert client.leads(email="old@example.org") == []


def test_an_update_cannot_change_the_operation_id(client: Client) -> None:
    lead_id = client.create(operation_id="op1").json()["id"]
    answer = client.send("PUT", f"/api/leads/{lead_id}", {"operation_id": "op2"})
    assert (answer.status_code, list(answer.json()["fields"])) == (422, ["operation_id"])


def test_an_activity_is_logged_once_for_its_operation(client: Client) -> None:
    path = f"/api/leads/{client.create(first_name='Ada').json()['id']}/activities"
    activity = {"operation_id": "op9", "channel": "telegram"}
    first, second = client.send("POST", path, activity), client.send("POST", path, activity)
    assert (first.status_code, second.status_code) == (201, 409)
    assert first.json()["id"] == second.json()["id"]
    assert [logged["channel"] for logged in client.leads()[0]["activities"]] == ["telegram"]


def test_since_lists_new_and_changed_leads_in_order(client: Client) -> None:
    ids = [client.create(first_name=name).json()["id"] for name in ("Ada", "Eve", "Joan")]
    seen = client.leads(since=0)[-1]["revision"]
    assert client.leads(since=seen) == []
    client.send("POST", f"/api/leads/{ids[1]}/activities", {"channel": "telegram"})
    client.send("PUT", f"/api/leads/{ids[0]}", {"city": "Paris"})
    assert [lead["first_name"] for lead in client.leads(since=seen)] == ["Eve", "Ada"]


@pytest.mark.parametrize("path", ["", "/activities"])
def test_a_lead_that_does_not_exist(client: Client, path: str) -> None:
    method = "POST" if path else "PUT"
    assert client.send(method, f"/api/leads/7{path}", {"city": "Paris"}).status_code == 404


def test_a_number_too_great_for_sqlite_is_no_lead(client: Client) -> None:
    assert client.send("GET", f"/api/leads/{2**63}").status_code == 404


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"email": ["a"]}, "email"),
        ({"email": {"a": 1}}, "email"),
        ({"email": "\ud800"}, "email"),
        ({"note": "x" * 100_001}, "note"),
        ({"x" * 65: "1"}, "x" * 64),
        ({"": "1"}, ""),
        ({"operation_id": 5}, "operation_id"),
        ({"operation_id": ""}, "operation_id"),
        ({f"field{number}": "" for number in range(201)}, ""),
        (["a"], ""),
    ],
)
def test_values_that_cannot_be_stored_are_refused_by_name(client: Client, fields: Any, named: str) -> None:
    answer = client.send("POST", "/api/leads", fields)
    assert (answer.status_code, list(answer.json()["fields"])) == (422, [named])
    assert client.leads() == []


def test_an_invalid_number_is_refused(client: Client) -> None:
    headers = client.headers() | {"Content-Type": "application/json"}
    answer = requests.post(f"{client.url}/api/leads", data='{"gpa": NaN}', headers=headers, timeout=DEADLINE)
    assert (answer.status_code, list(answer.json()["fields"])) == (422, ["gpa"])


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b'{"note": "' + b"x" * 2**20 + b'"}', 413)])
def test_a_body_that_is_no_json_or_too_long_is_refused_in_json(client: Client, body: bytes, status: int) -> None:
    headers = client.headers() | {"Content-Type": "application/json"}
    answer = requests.post(f"{client.url}/api/leads", data=body, headers=headers, timeout=DEADLINE)
    assert answer.status_code == status
    assert answer.json()["message"]


@pytest.mark.parametrize("since", ["x", "-1", "9" * 30])
def test_a_strange_revision_is_harmless(client: Client, since: str) -> None:
    client.create(first_name="Ada")
    assert len(client.leads(since=since)) == 1

"""Submissions of robots are kept for review, and get the same answer as any other."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.model import State

URL = "/api/v1/applications"
BODY = {"first_name": "Ada", "email": "ada@example.com"}


def stored(gateway: Any) -> Any:
    [operation] = gateway.ledger.operations.values()
    return operation


@pytest.mark.parametrize("more", [{"_hp": "x"}, {"_t": "1999"}, {"_t": 0}, {"_t": "-5"}, {"_t": "soon"}, {"_t": True}])
@pytest.mark.parametrize("kind", ["json", "data"])
def test_caught(client: FlaskClient, gateway: Any, kind: str, more: dict[str, Any]) -> None:
    answer = client.post(URL, **{kind: BODY | more})
    assert answer.status_code == 202
    operation = stored(gateway)
    assert operation.state == State.SUSPECT
    assert operation.lead.custom == {}
    assert answer.json.keys() == {"id", "status", "tracking_code", "submitted_at"}
    assert answer.json["status"] == "waiting"
    shown = client.get(answer.headers["Location"])
    assert (shown.status_code, shown.json["status"]) == (200, "waiting")


@pytest.mark.parametrize(
    "more",
    [{}, {"_hp": ""}, {"_hp": " "}, {"_hp": None}, {"_hp": ["", ""]}, {"_t": "2000"}, {"_t": 86_400_000}, {"_t": ""}],
)
def test_not_caught(client: FlaskClient, gateway: Any, more: dict[str, Any]) -> None:
    answer = client.post(URL, json=BODY | more)
    assert answer.status_code == 201
    assert stored(gateway).state == State.DELIVERED
    assert stored(gateway).lead.custom == {}


def test_the_answer_to_a_robot_looks_like_any_other(client: FlaskClient, gateway: Any) -> None:
    gateway.state = State.WAITING
    headers = {"Prefer": "respond-async", "X-Request-ID": "r"}
    honest, caught = (client.post(URL, json=BODY | more, headers=headers) for more in ({}, {"_hp": "x"}))
    assert honest.status_code == caught.status_code == 202
    assert honest.json.keys() == caught.json.keys()
    assert [name for name, _ in honest.headers] == [name for name, _ in caught.headers]


def test_a_form_gets_a_redirect_or_a_thank_you_page(client: FlaskClient, gateway: Any) -> None:
    answer = client.post(URL, data=BODY | {"_hp": "x", "_next": "https://www.example.org/thanks"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "https://www.example.org/thanks")
    page = client.post(URL, data=BODY | {"_hp": "x"}, headers={"Accept": "text/html"})
    assert page.status_code == 202
    assert "We have received your application." in page.text


def test_the_field_may_have_a_name_that_robots_like(client: FlaskClient, services: Any, gateway: Any) -> None:
    services.settings.honeypot_field = "website"
    answer = client.post(URL, json=BODY | {"website": ""})
    assert answer.status_code == 201
    assert "warnings" not in answer.json
    assert client.post(URL, json=BODY | {"website": "https://spam.example"}).status_code == 202


def test_time_does_not_matter_where_it_is_set_to_0(client: FlaskClient, services: Any) -> None:
    services.settings.min_fill_seconds = 0
    assert client.post(URL, json=BODY | {"_t": "1"}).status_code == 201


@pytest.mark.parametrize("minimal", [True, False])
def test_a_robots_click_makes_no_lead_and_is_not_counted(
    client: FlaskClient, services: Any, gateway: Any, minimal: bool
) -> None:
    services.settings.minimal_leads = minimal
    answer = client.post("/api/v1/messenger-events", json={"channel": "telegram", "referral_code": "R", "_hp": "x"})
    assert answer.status_code == (202 if minimal else 200)
    assert [operation.state for operation in gateway.ledger.operations.values()] == [State.SUSPECT] * minimal
    assert not gateway.ledger.counted


def test_a_fault_is_reported_to_robots_too(client: FlaskClient, gateway: Any) -> None:
    assert client.post(URL, json={"_hp": "x"}).status_code == 422
    assert not gateway.submitted

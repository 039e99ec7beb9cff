"""`POST /api/v1/messenger-events`: a click that the website reports."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.delivery.identity import visit
from crmgate.errors import KeyReused, LedgerUnavailable, StillRunning
from crmgate.model import Activity, Kind, State, Utm

URL = "/api/v1/messenger-events"
CLICK = {"channel": "telegram", "referral_code": "REF"}


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"a": 1}, {("channel", "required"), ("referral_code", "required")}),
        ({"channel": "icq", "ref": "A"}, {("channel", "invalid_choice")}),
        ({"channel": {"a": 1}, "ref": "A"}, {("channel", "required")}),
    ],
)  # fmt: skip
def test_a_refused_event_names_every_field_and_stores_nothing(
    client: FlaskClient, gateway: Any, body: Any, faults: set[tuple[str, str]]
) -> None:
    answer = client.post(URL, json=body)
    assert answer.status_code == 422
    assert {(error["field"], error["code"]) for error in answer.json["errors"]} == faults
    assert "icq" not in answer.text
    assert gateway.submitted == []


FORMS: list[dict[str, Any]] = [
    {"json": {"channel": "telegram", "referral_code": "REF", "session": "s-1", "utm": {"source": "ig"},
              "metadata": {"page": "/prices", "campaign": "autumn"}}},
    {"json": {"channel": "telegramBot", "ref": "REF", "sessionId": "s-1", "utm_source": "ig", "page": "/prices",
              "campaign": "autumn"}},
    {"json": {"Channel": "TELEGRAM", "referralCode": "REF", "session": "s-1", "utmSource": "ig",
              "metadata": {"Page": "/prices", "campaign": "autumn"}}},
    {"data": {"channel": "telegram", "ref": "REF", "session": "s-1", "utm[source]": "ig", "metadata[page]": "/prices",
              "metadata.campaign": "autumn"}},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_click_is_the_same(client: FlaskClient, gateway: Any, form: dict[str, Any]) -> None:
    answer = client.post(URL, **form)
    assert (answer.status_code, answer.json["status"]) == (201, "delivered")
    assert answer.headers["Location"] == f"/api/v1/operations/{answer.json['id']}"
    assert "warnings" not in answer.json
    [(kind, payload, inline)] = gateway.submitted
    assert (kind, inline) == (Kind.CREATE_MINIMAL_LEAD, True)
    assert payload.pop("occurred_at").endswith("Z")
    assert Activity.from_dict(payload) == Activity(
        "telegram", "REF", session="s-1", utm=Utm("ig"), metadata={"page": "/prices", "campaign": "autumn"}
    )
    assert "occurred_at" not in gateway.contents[0]


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"metadata": {"page": "x" * 2_500}}, {"page": "x" * 2_000 + "\n" + "x" * 500}),
        ({"metadata": {"notes": 5, "campaign": ["a", "b"]}}, {"notes": "5", "campaign": "a\nb"}),
        ({"metadata": "x"}, {"metadata": "x"}),
        ({"metadata": '{"page": "/x"}'}, {"page": "/x"}),
        ({f"k{i:02}": "v" for i in range(51)}, {f"k{i:02}": "v" for i in range(50)} | {"other_fields": "k50: v"}),
        ({"channel": ["telegram"]}, {}),
        ({"ref": "x y"}, {}),
    ],
)
def test_a_value_that_the_page_fills_in_is_never_refused(
    client: FlaskClient, gateway: Any, more: Any, kept: Any
) -> None:
    answer = client.post(URL, json=CLICK | more)
    assert answer.status_code == 201
    assert gateway.submitted[0][1].get("metadata", {}).items() >= kept.items()


def test_unknown_fields_are_kept_in_the_metadata(client: FlaskClient, gateway: Any) -> None:
    body = CLICK | {"occurred_at": "1999", "metadata": {"mood": "gut"}, "page": "/a", "custom": {"page": "/b"}}
    answer = client.post(URL, json=body | {"session": "a b", "utm_source": "x" * 256})
    assert {(w["field"], w["code"]) for w in answer.json["warnings"]} == {
        ("occurred_at", "unknown_field"), ("metadata.mood", "unknown_field"), ("session", "unusable_value"),
        ("utm.source", "cut"),
    }  # fmt: skip
    assert all("kept in `metadata`" in warning["message"] for warning in answer.json["warnings"])
    assert gateway.submitted[0][1]["metadata"] == {
        "occurred_at": "1999", "mood": "gut", "page": "/a\n/b", "session": "a b", "utm.source": "x" * 256
    }  # fmt: skip
    assert gateway.submitted[0][1]["occurred_at"] > "2020"


def test_further_channels_come_from_the_configuration(client: FlaskClient) -> None:
    assert client.post(URL, json=CLICK | {"channel": "line"}).status_code == 201
    assert client.post(URL, json=CLICK | {"channel": "instagram"}).status_code == 201


def test_cookies_complete_the_body(client: FlaskClient, gateway: Any) -> None:
    client.set_cookie("crmgate_ref", "FIRST")
    client.set_cookie("crmgate_session", "s-1")
    assert client.post(URL, json={"channel": "telegram"}).status_code == 201
    client.post(URL, json=CLICK | {"session": "s-2"})
    assert [(click["referral_code"], click["session"]) for _, click, _ in gateway.submitted] == [
        ("FIRST", "s-1"),
        ("REF", "s-2"),
    ]


def test_an_odd_referral_code_counts_as_none(client: FlaskClient, gateway: Any) -> None:
    answer = client.post(URL, json=CLICK | {"ref": "a\r\nb"} | {"referral_code": None})
    assert answer.status_code == 201
    assert [warning["code"] for warning in answer.json["warnings"]] == ["unusable_value"]
    assert gateway.submitted[0][1]["referral_code"] == "DIRECT"


def test_respond_async_and_queued_delivery_do_not_wait(client: FlaskClient, gateway: Any, services: Any) -> None:
    gateway.state = State.WAITING
    answer = client.post(URL, json=CLICK, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "respond-async")
    services.settings.delivery = "queued"
    client.post(URL, json=CLICK)
    assert [inline for _, _, inline in gateway.submitted] == [False, False]


@pytest.mark.parametrize(
    ("error", "status"), [(KeyReused(), 422), (StillRunning(), 409), (LedgerUnavailable("x"), 503)]
)
def test_failures_are_problems(client: FlaskClient, gateway: Any, error: Exception, status: int) -> None:
    gateway.error = error
    answer = client.post(URL, json=CLICK, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")


def test_a_form_is_sent_back_to_its_site(client: FlaskClient) -> None:
    answer = client.post(URL, data=CLICK | {"_next": "https://www.example.org/thanks"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "https://www.example.org/thanks")
    answer = client.post(URL, data={"_next": "https://evil.example/"})
    assert {error["field"] for error in answer.json["errors"]} == {"channel", "referral_code"}


def test_without_minimal_leads_a_click_is_counted(client: FlaskClient, gateway: Any, services: Any) -> None:
    services.settings.minimal_leads = False
    answer = client.post(URL, json=CLICK | {"session": "visit-1"})
    assert (answer.status_code, answer.json) == (200, {"status": "counted"})
    assert gateway.submitted == []
    assert gateway.ledger.visits == [visit("visit-1")]
    assert gateway.ledger.counted == {"telegram": 1}
    gateway.ledger.down = True
    assert client.post(URL, json=CLICK).status_code == 503

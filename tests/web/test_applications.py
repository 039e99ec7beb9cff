"""`POST /api/v1/applications` as JSON and as a form."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.model import Kind, Lead, State
from crmgate.tracking import code as tracking_code
from crmgate.web import next_url

URL = "/api/v1/applications"
FORM = {"first_name": "Ayşe", "phone": "0532 123 45 67"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_refused_body_names_every_field_and_stores_nothing(client: FlaskClient, gateway: Any) -> None:
    answer = client.post(URL, json={"personal_info": {"phone": "123", "email": "secret-at-example"}, "gpa": []})
    assert answer.status_code == 422
    assert {(e["field"], e["code"]) for e in answer.json["errors"]} == {
        ("personal_info.first_name", "required"),
        ("personal_info.phone", "invalid_phone"),
        ("personal_info.email", "invalid_email"),
    }
    assert "secret-at-example" not in answer.text
    assert gateway.submitted == []


def test_delivered_is_201(client: FlaskClient, gateway: Any, body: Any) -> None:
    answer = client.post(URL, json=body)
    operation_id = answer.json["id"]
    assert answer.status_code == 201
    assert answer.json == {
        "id": operation_id,
        "status": "delivered",
        "tracking_code": tracking_code(operation_id),
        "submitted_at": "2023-11-14T22:13:20.250Z",
    }
    assert answer.headers["Location"] == f"/api/v1/operations/{operation_id}"
    [(kind, payload, inline)] = gateway.submitted
    assert (kind, inline) == (Kind.CREATE_LEAD, True)
    assert Lead.from_dict(payload) == Lead(first_name="Ayşe", phone="+905321234567")


@pytest.mark.parametrize("state", [state for state in State if state is not State.DELIVERED])
def test_any_other_state_is_202_waiting(client: FlaskClient, gateway: Any, body: Any, state: State) -> None:
    gateway.state = state
    answer = client.post(URL, json=body)
    assert (answer.status_code, answer.json["status"]) == (202, "waiting")


def test_warnings_stand_in_the_answer(client: FlaskClient, gateway: Any, body: Any) -> None:
    answer = client.post(URL, json=body | {"hobby": "satranç", "ref": "a b"})
    assert [(w["field"], w["code"]) for w in answer.json["warnings"]] == [
        ("hobby", "unknown_field"),
        ("referral_code", "unusable_value"),
    ]
    assert gateway.submitted[0][1]["custom"] == {"hobby": "satranç", "referral_code": "a b"}


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async", True),
        ("Respond-Async, wait=10", True),
        ("wait=10, respond-async; x=1", True),
        ("", False),
        ("respond-asynchronously", False),
        ('note="a, respond-async"', False),
        ("return=minimal", False),
    ],
)
def test_prefer_respond_async(client: FlaskClient, gateway: Any, body: Any, prefer: str, applied: bool) -> None:
    answer = client.post(URL, json=body, headers={"Prefer": prefer})
    assert gateway.submitted[0][2] is not applied
    assert answer.headers.get("Preference-Applied") == ("respond-async" if applied else None)


def test_queued_delivery_never_waits(client: FlaskClient, gateway: Any, services: Any, body: Any) -> None:
    services.settings.delivery = "queued"
    answer = client.post(URL, json=body)
    assert gateway.submitted[0][2] is False
    assert "Preference-Applied" not in answer.headers


def test_the_phone_region_is_a_setting(client: FlaskClient, gateway: Any, services: Any) -> None:
    services.settings.default_phone_region = "DE"
    client.post(URL, json={"first_name": "Jörg", "phone": "0151 97971147"})
    assert gateway.submitted[0][1]["phone"] == "+4915197971147"


def test_the_names_of_a_form_are_a_setting(client: FlaskClient, gateway: Any, services: Any) -> None:
    services.settings.field_aliases = {"q5": "phone"}
    answer = client.post(URL, data={"Ad Soyad": "Ayşe Yılmaz", "Q5": "0532 123 45 67"})
    assert (answer.status_code, "warnings" in answer.json) == (201, False)
    assert Lead.from_dict(gateway.submitted[0][1]) == Lead("Ayşe", "Yılmaz", phone="+905321234567")


def test_the_page_of_a_missing_field_shows_the_names_that_were_sent_as_text(client: FlaskClient) -> None:
    answer = client.post(URL, data={"naam": "Ada", "<b>mial": "ada at x.co"}, headers=BROWSER)
    assert answer.status_code == 422
    assert "The form sent: naam, &lt;b&gt;mial." in answer.text
    assert "<b>" not in answer.text
    assert "ada at x.co" not in answer.text


ALLOWED_NEXT = [
    ("https://www.example.org/thanks?a=1#x", "https://www.example.org/thanks?a=1#x"),
    ("https://www.example.org", "https://www.example.org"),
    ("HTTPS://WWW.EXAMPLE.ORG:443/t", "https://www.example.org:443/t"),
    ("http://localhost:3000/t", "http://localhost:3000/t"),
    ("/thanks", "http://gate.test/thanks"),
    ("http://gate.test/thanks", "http://gate.test/thanks"),
]
REFUSED_NEXT = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example",
    "\\\\evil.example",
    "https://www.example.org@evil.example/",
    "https://evil.example\\@www.example.org/",
    "https://user:pw@www.example.org/",
    "https://www.example.org.evil.example/",
    "https://www.example.org:8443/",
    "https://www.example.org:99999/",
    "http://www.example.org/",
    "http://localhost/",
    "javascript:alert(1)",
    "data:text/html,x",
    "/\t/evil.example",
    "https://www.example.org/\r\nSet-Cookie: a=b",
    "https://[::1",
    "https://[bad]/",
    "https:evil",
    "ftp://www.example.org/",
]


@pytest.mark.parametrize(("goal", "location"), ALLOWED_NEXT)
def test_next_leads_to_an_allowed_origin(client: FlaskClient, gateway: Any, goal: str, location: str) -> None:
    answer = client.post(URL, data=FORM | {"_next": goal}, base_url="http://gate.test")
    assert (answer.status_code, answer.headers["Location"]) == (303, location)
    assert "custom" not in gateway.submitted[0][1]


@pytest.mark.parametrize("goal", REFUSED_NEXT)
def test_next_leads_nowhere_else(client: FlaskClient, gateway: Any, goal: str) -> None:
    answer = client.post(URL, data=FORM | {"_next": goal}, base_url="https://gate.test")
    assert (answer.status_code, answer.location.count("evil"), len(gateway.submitted)) == (201, 0, 1)
    assert [(w["field"], w["code"]) for w in answer.json["warnings"]] == [("_next", "invalid_next")]
    page = client.post(URL, data=FORM | {"_next": goal}, headers=BROWSER, base_url="https://gate.test")
    assert (page.status_code, page.mimetype) == (201, "text/html")
    assert "Thank you" in page.text


def test_next_that_stands_twice_is_no_address(client: FlaskClient) -> None:
    answer = client.post(URL, data=FORM | {"_next": ["/a", "/b"]})
    assert (answer.status_code, [w["code"] for w in answer.json["warnings"]]) == (201, ["invalid_next"])


def test_the_log_mentions_a_refused_next_once_without_the_address(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_url, "_logged", threading.Event())
    for path in ("a?email=ada%40example.com", "b"):
        assert client.post(URL, data=FORM | {"_next": f"https://ada@once.example/{path}"}).status_code == 201
    [line] = [record.getMessage() for record in caplog.records if record.name == next_url.__name__]
    assert "`_next`" in line
    assert "example" not in line


def test_a_wildcard_origin_opens_no_redirect(client: FlaskClient, services: Any) -> None:
    services.settings.allowed_origins = ("*", "")
    answer = client.post(URL, data=FORM | {"_next": "https://evil.example/"})
    assert (answer.status_code, "evil" in str(answer.headers)) == (201, False)


def test_next_is_ignored_in_json(client: FlaskClient, gateway: Any, body: Any) -> None:
    assert client.post(URL, json=body | {"_next": "https://evil.example/"}).status_code == 201
    assert "custom" not in gateway.submitted[0][1]


def test_a_browser_without_next_gets_a_thank_you_page(client: FlaskClient, gateway: Any) -> None:
    gateway.state = State.WAITING
    answer = client.post(URL, data=FORM | {"_next": ""}, headers=BROWSER)
    [operation] = gateway.ledger.operations.values()
    assert (answer.status_code, answer.mimetype) == (202, "text/html")
    assert operation.tracking_code in answer.text
    assert operation.id not in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html;q=0.9"])
def test_a_script_posting_a_form_gets_json(client: FlaskClient, accept: str) -> None:
    answer = client.post(URL, data=FORM, headers={"Accept": accept})
    assert (answer.status_code, answer.json["status"]) == (201, "delivered")


def test_a_browser_gets_json_for_json(client: FlaskClient, body: Any) -> None:
    assert client.post(URL, json=body, headers=BROWSER).mimetype == "application/json"


def test_the_name_of_a_refused_file_is_escaped(client: FlaskClient, services: Any) -> None:
    services.settings.refuse_files = True
    answer = client.post(URL, data={"first_name": "A", "<script>": (io.BytesIO(b"x"), "x.txt")}, headers=BROWSER)
    assert answer.status_code == 422
    assert "&lt;script&gt;" in answer.text
    assert "<script>" not in answer.text


def test_a_browser_gets_the_errors_of_its_form_as_a_page(client: FlaskClient) -> None:
    answer = client.post(URL, data={"email": "nobody", "birth_date": "31.02.2001"}, headers=BROWSER)
    assert (answer.status_code, answer.mimetype) == (422, "text/html")
    assert "Email: Expected an email address" in answer.text
    assert "First name: This field is required." in answer.text
    assert "Birth date: Expected a past date" in answer.text

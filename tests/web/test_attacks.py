"""Attacks on the HTTP interface. docs/attacks.md has the whole table, with the tests of the other attacks."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crmgate.schemas.application import ApplicationSchema

URL = "/api/v1/applications"
EVENTS = "/api/v1/messenger-events"
PUBLIC = {"applications.create", "messenger.create", "intake.receive"}
BODY = {"first_name": "Ada", "email": "ada@example.com"}
MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
FIELDS = [
    f"{name}.{leaf}" if getattr(field, "schema", None) else name
    for name, field in ApplicationSchema().fields.items()
    for leaf in (getattr(field, "schema", None).fields if getattr(field, "schema", None) else [""])
]


@pytest.mark.parametrize("field", [*FIELDS, "custom.x", f"custom.{MARKUP}", MARKUP, f"education.{MARKUP}", "_next"])
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_markup_in_any_field_never_reaches_a_page(client: FlaskClient, field: str, accept: str) -> None:
    for fields in (BODY | {field: MARKUP}, {field: MARKUP}):  # one is taken, one refused with a list of faults
        answer = client.post(URL, data=fields, headers={"Accept": accept})
        if answer.mimetype == "text/html":
            assert "<script" not in answer.text
            assert "<img" not in answer.text
            assert "script-src" not in answer.headers["Content-Security-Policy"], "none may run in any case"
        else:
            assert answer.mimetype in ("application/json", "application/problem+json")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "value", ["R\r\nSet-Cookie: a=b", "R%0d%0aSet-Cookie:%20a=b", "R\nLocation: //evil", "R\u2028X"]
)
def test_line_ends_never_reach_a_header(client: FlaskClient, gateway: Any, value: str) -> None:
    for answer in (
        client.post(URL, json=BODY | {"referral_code": value, "session": value}),
        client.get("/go/telegram", query_string={"ref": value, "session": value}),
        client.post(EVENTS, json={"channel": "telegram", "referral_code": value}),
    ):
        lines = [f"{name}: {text}" for name, text in answer.headers]
        assert not [line for line in lines if "\n" in line or "\r" in line]
        assert not [line for line in lines if line.startswith("Set-Cookie: a=") or "evil" in line]
    payload = gateway.submitted[0][1]
    assert payload["referral_code"] == "DIRECT"
    assert "session" not in payload or payload["session"] == ""


@pytest.mark.parametrize("name", ["X-Request-ID", "Prefer", "Origin", "Idempotency-Key", "Accept", "User-Agent"])
@pytest.mark.parametrize("value", ["<script>", "a b; c=d", "x" * 2000, "é", "=cmd|' /C calc'!A0"])
def test_nothing_odd_in_a_header_comes_back_in_one(client: FlaskClient, name: str, value: str) -> None:
    answer = client.post(URL, json=BODY, headers={name: value})
    assert answer.status_code in (201, 400)
    assert value not in [text for _, text in answer.headers]
    assert value not in answer.text


GOALS = [
    "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example",
    "https:/evil.example", "https:\\\\evil.example", "HTTPS://evil.example", "https://www.example.org.evil.example",
    "https://evil.example#@www.example.org", "https://www.example.org@evil.example",
    "https://www.example.org:x@evil.example", "https://evil.example\\@www.example.org", "javascript:alert(1)",
    "data:text/html,<script>", "vbscript:x", "\thttps://evil.example", "https://evil.example\r\nX: y",
    "/%0d%0aX: y\r\n", "https://www.example.org%2eevil.example", "https://www.example.org\u3002evil.example",
    "//\u2044evil.example", "https://www.example.org:443@evil.example", "https://[::1]:x", "ftp://www.example.org",
    "https://", "//", "http://www.example.org", "/\t/evil.example", "/\n/evil.example",
    "https://www.example.org\x00.evil.example", "https://\uff37\uff37\uff37.evil.example",
]  # fmt: skip


@pytest.mark.parametrize("goal", GOALS)
def test_no_form_leads_to_another_site(client: FlaskClient, gateway: Any, goal: str) -> None:
    answer = client.post(URL, data=BODY | {"_next": goal})
    assert (answer.status_code, answer.headers["Location"][:12]) == (201, "/api/v1/oper")
    assert answer.json["warnings"][0]["code"] == "invalid_next"
    assert len(gateway.submitted) == 1


def operator_routes(app: Flask) -> list[tuple[str, str]]:
    """Every route that changes something, except the public ones."""
    found = []
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "0" * 32, rule.rule)
        found += [
            (m, path)
            for m in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
            if rule.endpoint not in PUBLIC
        ]
    return found


def test_no_cookie_is_a_credential(app: Flask, services: Any) -> None:
    """A forged request relies on credentials that a browser adds by itself: cookies and passwords."""
    services.settings.metrics_public = False
    client = app.test_client()
    for name in ("session", "crmgate_session", "token", "Authorization", "crmgate_token", "api_token"):
        client.set_cookie(name, "a" * 32)
    for method, path in [*operator_routes(app), ("GET", "/api/v1/crm/test"), ("GET", "/metrics")]:
        basic = {"Authorization": "Basic YWRtaW46YWRtaW4="}
        for headers in ({}, basic, {"Origin": "https://evil.example"}):
            answer = client.open(path, method=method, headers=headers, json={})
            assert answer.status_code in (401, 403), (method, path, answer.status_code)
    answer = client.post(URL, json=BODY)
    assert answer.status_code == 201
    assert "crm" not in answer.json


def test_a_method_cannot_be_disguised(client: FlaskClient, gateway: Any) -> None:
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert client.get(URL, headers={name: "POST"}, json=BODY).status_code == 405
    assert not gateway.submitted


@pytest.mark.parametrize(
    "path",
    ["/go/../healthz", "/go/%2e%2e/%2e%2e/etc/passwd", "/go//evil.example", "/go/telegram/../x", "/go/telegram%00",
     "/go/http:%2f%2fevil.example", "/static/../../setup.cfg", "/%5c%5cevil"],
)  # fmt: skip
def test_paths_lead_nowhere(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (302, 308, 404)
    if answer.status_code != 404:
        assert answer.headers["Location"].startswith(("https://t.me/example_bot", "http://localhost/go/"))


LONG = 60_000


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "a" * LONG}, {"email": "a@" + "a." * (LONG // 2)}, {"email": "@" * LONG}, {"email": '"' * LONG},
        {"phone": "1" * LONG}, {"phone": "+" + "(" * LONG}, {"phone": "1;ext=" * (LONG // 6)}, {"phone": "-" * LONG},
        {"birth_date": "1-" * (LONG // 2)}, {"_next": "/" * LONG}, {"_next": "https://" + "a" * LONG},
        {"first_name": "\u0301" * (LONG // 6)}, {"first_name": "\u1100\u1161" * (LONG // 12)}, {"session": "a" * LONG},
        {"referral_code": "-" * LONG}, {"a[" * (LONG // 2): "x"}, {"a." * (LONG // 2): "x"}, {"aB" * (LONG // 2): "x"},
        {f"k{number}": "" for number in range(5000)}, {f"utm[{number}]": "x" for number in range(190)},
        {"universities": ["x"] * 5000}, {"custom": {f"k{number}": "v" for number in range(4000)}},
    ],
    ids=lambda fields: str(fields)[:24],
)  # fmt: skip
def test_no_text_takes_long_to_look_at(client: FlaskClient, fields: dict[str, Any]) -> None:
    """Backtracking regular expressions and quadratic joins would let a few requests use much CPU."""
    body = json.dumps(BODY | fields)
    begun = time.process_time()
    answer = client.post(URL, data=body, content_type="application/json")
    assert answer.status_code in (201, 413, 422)
    assert time.process_time() - begun < 0.5

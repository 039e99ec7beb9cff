"""Bad input over the wire: every fault named at once, nothing stored, no traceback."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
import requests

from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def changed(**info: Any) -> dict[str, Any]:
    """A good application with changed personal data; None removes a field."""
    body = person()
    body["personal_info"] = {k: v for k, v in (body["personal_info"] | info).items() if v is not None}
    return body


def send(stack: Stack, body: bytes | str, content_type: str = JSON) -> requests.Response:
    data = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": content_type} if content_type else {}
    return requests.post(f"{stack.url}/api/v1/applications", data=data, headers=headers, timeout=DEADLINE)


def keys(stack: Stack) -> int:
    with redis.Redis.from_url(stack.redis.url) as client:
        return len(client.keys("{crmgate}:op:*"))


@pytest.fixture(autouse=True)
def nothing_is_stored(stack: Stack) -> Any:
    """Check that no test of this module leaves an operation, a lead or a traceback."""
    before, leads, log = keys(stack), len(stack.espocrm.leads), len(stack.web.output())
    yield
    assert keys(stack) == before
    assert len(stack.espocrm.leads) == leads
    assert "Traceback" not in stack.web.output()[log:]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        ("", JSON, 400),
        ("{", JSON, 400),
        ('{"first_name": "A",}', JSON, 400),
        (b'{"first_name": "\xff"}', JSON, 400),
        ('{"first_name": NaN}', JSON, 400),
        ("[" * 1000, JSON, 400),
        ("[]", JSON, 400),
        ('"text"', JSON, 400),
        ("null", JSON, 400),
        ("12", JSON, 400),
        ("hello", "text/plain", 415),
        ("<a/>", "application/xml", 415),
        ("hello", "", 415),
        (b"first_name=%81&email=a%40b.co", FORM, 400),
        (json.dumps(person(additional_info="x" * 66_560)), JSON, 413),
        ("additional_info=" + "x" * 66_560, FORM, 413),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:40],
)
def test_a_body_that_cannot_be_read(stack: Stack, body: bytes | str, content_type: str, status: int) -> None:
    response = send(stack, body, content_type)
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert {"type", "title", "status", "detail", "request_id"} <= problem.keys()
    assert problem["status"] == status


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {("personal_info.first_name", "required"), ("personal_info", "contact_required")}),
        (changed(first_name=None), {("personal_info.first_name", "required")}),
        (changed(first_name="   "), {("personal_info.first_name", "required")}),
        (changed(first_name="x" * 101), {("personal_info.first_name", "too_long")}),
        (changed(first_name={"a": 1}), {("personal_info.first_name", "required")}),
        (changed(email=None), {("personal_info", "contact_required")}),
        (changed(email="not-an-email"), {("personal_info.email", "invalid_email")}),
        (changed(phone="0555"), {("personal_info.phone", "invalid_phone")}),
        (changed(phone="+90 1"), {("personal_info.phone", "invalid_phone")}),
        (changed(birth_date="31.02.2001"), {("personal_info.birth_date", "invalid_date")}),
        (person() | {"personal_info": []}, {("personal_info", "contact_required")}),
        (person() | {"personal_info": "Ada"}, {("personal_info", "contact_required")}),
        (
            changed(first_name=None, email="x", phone="12", birth_date="2001-13-01"),
            {
                ("personal_info.first_name", "required"),
                ("personal_info.email", "invalid_email"),
                ("personal_info.phone", "invalid_phone"),
                ("personal_info.birth_date", "invalid_date"),
            },
        ),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:40],
)
def test_every_fault_is_named_at_once(stack: Stack, body: dict[str, Any], faults: set[tuple[str, str]]) -> None:
    response = stack.post(body)
    assert response.status_code == 422, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    errors = response.json()["errors"]
    assert faults <= {(error["field"], error["code"]) for error in errors}
    assert all(error["message"] for error in errors)


@pytest.mark.parametrize("path", ["/api/v1/operations/nope", f"/api/v1/operations/{'0' * 32}", "/api/v1/nope", "/"])
def test_what_does_not_exist_is_404(stack: Stack, path: str) -> None:
    response = requests.get(stack.url + path, timeout=DEADLINE)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_wrong_method_is_answered_with_the_right_one(stack: Stack) -> None:
    response = requests.put(f"{stack.url}/api/v1/applications", json=person(), timeout=DEADLINE)
    assert response.status_code == 405
    assert "POST" in response.headers["Allow"]


def test_the_gateway_still_works_afterwards(stack: Stack) -> None:
    """The fixture allows no stored submission, so readiness is checked instead."""
    ready = wait_until(
        "the gateway is ready", lambda: requests.get(f"{stack.url}/readyz", timeout=DEADLINE).status_code == 200
    )
    assert ready

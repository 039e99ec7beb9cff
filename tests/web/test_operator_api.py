"""Routes for operators about the CRM, the audit log, tokens and persons: errors first, then their audit entries."""

from __future__ import annotations

from typing import Any

import pytest

from crmgate.model import Kind
from crmgate.store.tokens import Scope, digest
from tests.web.openapi_gateway import Gateway, crm, gateway, running

__all__ = ["crm", "gateway", "running"]  # fixtures

PERSONS = [f"/api/v1/persons/{what}" for what in ("search", "export", "erase")]
ADA = "ada.canary@example.com"


def entries(gateway: Gateway) -> list[tuple[str, str, str]]:
    return [(entry.what, entry.on, entry.detail) for entry in gateway.parts.audit.recent()]


def faults(answer: Any) -> dict[str, str]:
    assert answer.status_code in (400, 422), answer.text
    return {error["field"]: error["code"] for error in answer.json["errors"]}


@pytest.mark.parametrize("path", ["/api/v1/crm/pause", "/api/v1/crm/resume"])
def test_a_wrong_reason_changes_nothing(gateway: Gateway, path: str) -> None:
    for body, expected in (
        ({"why": "x"}, {"why": "unknown_field"}), ({"reason": "x" * 301}, {"reason": "too_long"}),
        ({"reason": {"x": 1}}, {"reason": "invalid_type"}),
    ):  # fmt: skip
        assert faults(gateway.ask(path, "post", json=body)) == expected
    assert entries(gateway) == []
    assert gateway.parts.desk.waiting.gate().cause is None


def test_the_reason_of_a_pause_is_in_the_audit_log_and_is_optional(gateway: Gateway) -> None:
    assert gateway.ask("/api/v1/crm/pause", "post", json={"reason": " an update "}).json["cause"] == "paused"
    assert gateway.ask("/api/v1/crm/resume", "post").json["cause"] is None
    assert entries(gateway) == [("crm.resume", "espocrm", ""), ("crm.pause", "espocrm", "an update")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"limit": "0"}, {"limit": "invalid_number"}), ({"limit": "101"}, {"limit": "invalid_number"}),
        ({"limit": "²"}, {"limit": "invalid_number"}), ({"cursor": "x"}, {"cursor": "invalid_choice"}),
        ({"cursor": "1-1 COUNT 9"}, {"cursor": "invalid_choice"}), ({"who": "ada"}, {"who": "unknown_field"}),
    ],
)  # fmt: skip
def test_a_wrong_query_of_the_audit_log_is_refused(
    gateway: Gateway, query: dict[str, str], expected: dict[str, str]
) -> None:
    assert faults(gateway.ask("/api/v1/audit", "get", query_string=query)) == expected


def test_pages_of_the_audit_log_have_each_entry_once(gateway: Gateway) -> None:
    for number in range(7):
        gateway.parts.desk.pause("ada", str(number))
    seen, cursor = [], {}
    while True:
        page = gateway.ask("/api/v1/audit", "get", query_string={"limit": "3"} | cursor).json
        seen += [entry["detail"] for entry in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == list("6543210")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": "x"}, {"scope": "required"}), ({"scope": "read"}, {"name": "required"}),
        ({"name": "a b", "scope": "read"}, {"name": "invalid_choice"}),
        ({"name": "x", "scope": "admin"}, {"scope": "invalid_choice"}),
        ({"name": None, "scope": 1, "id": "1"}, {"name": "required", "scope": "invalid_choice", "id": "unknown_field"}),
    ],
)  # fmt: skip
def test_a_wrong_token_is_not_created(gateway: Gateway, body: dict[str, Any], expected: dict[str, str]) -> None:
    assert faults(gateway.ask("/api/v1/tokens", "post", json=body)) == expected
    assert gateway.parts.tokens.all() == list(gateway.parts.tokens.fixed)


def test_a_token_is_shown_once_works_and_is_revoked_and_no_answer_has_a_hash(gateway: Gateway) -> None:
    created = gateway.ask("/api/v1/tokens", "post", json={"name": "site", "scope": "operate"})
    text = created.json["token"]
    assert created.headers["Cache-Control"] == "no-store"
    own = {"Authorization": f"Bearer {text}"}
    listed = gateway.ask("/api/v1/tokens", "get", headers=own)
    assert [(one["name"], one["kept_in"]) for one in listed.json["items"]] == [
        ("read", "API_TOKENS"), ("operate", "API_TOKENS"), ("site", "Redis"),
    ]  # fmt: skip
    gateway.ids["token_id"] = created.json["id"]
    revoked = gateway.ask("/api/v1/tokens/{token_id}", "delete", headers=own)
    assert revoked.status_code == 200
    secrets = [digest(token) for token in (text, *gateway.tokens.values())]
    assert not any(secret in answer.text for secret in secrets for answer in (created, listed, revoked))
    assert text not in listed.text + revoked.text
    assert [what for what, _, _ in entries(gateway)] == ["tokens.revoke", "tokens.new"]


@pytest.mark.parametrize("path", PERSONS)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"contact": "no one"}, {"contact": "invalid_phone"}), ({"contact": "a@b@c"}, {"contact": "invalid_email"}),
        ({"contact": ""}, {"contact": "required"}), ({"contact": {"email": ADA}}, {"contact": "invalid_type"}),
        ({"contact": ADA, "email": ADA}, {"email": "unknown_field"}),
    ],
)  # fmt: skip
def test_a_wrong_contact_is_refused_and_not_repeated(
    gateway: Gateway, path: str, body: dict[str, Any], expected: dict[str, str]
) -> None:
    answer = gateway.ask(path, "post", json=body)
    assert faults(answer) == expected
    assert ADA not in answer.text
    assert entries(gateway) == []


def test_an_erasure_is_confirmed_with_nothing_but_a_yes(gateway: Gateway) -> None:
    gateway.dead(Kind.CREATE_LEAD)
    contact = {"contact": "test0@example.com"}
    assert faults(gateway.ask(PERSONS[2], "post", json=contact | {"confirm": "maybe"})).keys() == {"confirm"}
    for body in (contact, contact | {"confirm": False}):
        assert gateway.ask(PERSONS[2], "post", json=body).json["discarded"] == 1
    assert gateway.parts.ledger.stats()["dead_letters"] == 1
    assert gateway.ask(PERSONS[2], "post", json=contact | {"confirm": True}).json["discarded"] == 1
    assert gateway.parts.ledger.stats()["dead_letters"] == 0
    assert entries(gateway)[0][0] == "persons.erase"
    assert "example.com" not in str(entries(gateway))


def test_no_route_takes_a_contact_in_its_address(gateway: Gateway) -> None:
    for path in (f"/api/v1/persons?contact={ADA}", f"/api/v1/persons/{ADA}"):
        assert gateway.client.get(path, headers=gateway.token(Scope.OPERATE)).status_code == 404


def test_views_of_a_payload_are_in_the_audit_log_once_for_each_operator(gateway: Gateway) -> None:
    gateway.dead()
    one = "/api/v1/operations/{operation_id}"
    masked = gateway.ask(one, "get", headers=gateway.token(Scope.READ)).json["payload"]
    assert masked == {"first_name": "T***", "email": "t***@e***.com"}
    for _ in range(3):
        assert gateway.ask(one, "get", headers=gateway.token(Scope.OPERATE)).json["payload"]["first_name"] == "Test0"
    assert entries(gateway) == [("operations.view", gateway.ids["operation_id"], "")]

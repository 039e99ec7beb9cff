"""The operators' routes on a real ledger: lists, one dead letter, editing, retrying, discarding, exporting."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from crmgate.delivery.attempt import Delivery
from crmgate.delivery.gateway import Gateway
from crmgate.errors import LedgerUnavailable
from crmgate.model import Kind, Suspicion, new_id
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Inventory
from crmgate.operators.payloads import Payloads
from crmgate.operators.persons import Persons
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from crmgate.store.ledger import Ledger
from crmgate.store.persons import PersonIndex
from crmgate.store.reconciled import KeptPayloads
from crmgate.store.tokens import Scope, Token
from crmgate.tracking import code as tracking_code
from tests.dead_letters import add_dead_letters
from tests.web.conftest import StandInSettings
from tests.web.test_auth import bearer
from tests.world import START, World

OPERATIONS, DEAD = "/api/v1/operations", "/api/v1/dead-letters"


class Tokens:
    def verify(self, text: str) -> Token | None:
        scopes = {"reader": Scope.READ, "operator": Scope.OPERATE}
        return Token("1", text, scopes[text], "") if text in scopes else None


@dataclass
class Built:
    ledger: Ledger
    gateway: Gateway
    inventory: Inventory
    audit: Audit
    desk: Desk
    delivery: Delivery
    payloads: Payloads
    persons: Persons
    tokens: Tokens = field(default_factory=Tokens)
    settings: StandInSettings = field(default_factory=StandInSettings)
    spool: None = None


@pytest.fixture
def services(world: World, redis_client: redis.Redis) -> Any:
    world.now = START + 1000

    inventory, audit = Inventory(redis_client), Audit(redis_client, world.clock)
    retries = Retries(redis_client, world.ledger, inventory, world.delivery.recipient)
    desk = Desk(world.ledger, world.gateway, world.delivery, retries)
    index, kept = PersonIndex(redis_client, world.ledger), KeptPayloads(redis_client)
    persons = Persons(index, world.ledger, inventory, world.gateway, audit, "TR", kept)
    return Built(world.ledger, world.gateway, inventory, audit, desk, world.delivery, Payloads(audit), persons)


Call = Callable[..., Any]


@pytest.fixture
def call(client: FlaskClient) -> Iterator[Call]:
    def call(method: str, path: str, token: str = "operator", headers: Any = None, **options: Any) -> Any:
        return client.open(path, method=method, headers=bearer(token) | (headers or {}), **options)

    return call  # type: ignore[return-value]


ROUTES = [
    ("GET", OPERATIONS, Scope.READ), ("GET", DEAD, Scope.READ), ("GET", f"{DEAD}/x", Scope.READ),
    ("PATCH", f"{DEAD}/x", Scope.OPERATE), ("POST", f"{DEAD}/x/retry", Scope.OPERATE),
    ("DELETE", f"{DEAD}/x", Scope.OPERATE), ("GET", f"{DEAD}/export", Scope.OPERATE),
    ("PATCH", f"{OPERATIONS}/x", Scope.OPERATE), ("POST", f"{OPERATIONS}/x/retry", Scope.OPERATE),
    ("DELETE", f"{OPERATIONS}/x", Scope.OPERATE),
    ("POST", "/api/v1/crm/pause", Scope.OPERATE), ("POST", "/api/v1/crm/resume", Scope.OPERATE),
    ("POST", f"{DEAD}/retries", Scope.OPERATE), ("GET", f"{DEAD}/retries", Scope.READ),
    ("GET", f"{DEAD}/retries/x", Scope.READ), ("DELETE", f"{DEAD}/retries/x", Scope.OPERATE),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_each_route_takes_a_token_of_its_scope(
    client: FlaskClient, call: Call, method: str, path: str, scope: Scope
) -> None:
    assert client.open(path, method=method).status_code == 401
    assert call(method, path, "wrong").status_code == 401
    assert (call(method, path, "reader").status_code == 403) is (scope == Scope.OPERATE)


def test_a_silent_redis_is_503(call: Call, services: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise LedgerUnavailable("redis.internal")

    monkeypatch.setattr(services.inventory, "page", away)
    answer = call("GET", DEAD)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "internal" not in answer.text


@pytest.mark.parametrize(
    ("query", "name", "code"),
    [
        ("state=gone", "state", "invalid_choice"), ("kind=x", "kind", "invalid_choice"),
        ("code=x", "code", "invalid_choice"), ("limit=0", "limit", "invalid_number"),
        ("limit=101", "limit", "invalid_number"), ("limit=x", "limit", "invalid_number"),
        ("cursor=x", "cursor", "invalid_choice"), ("accepted_from=yesterday", "accepted_from", "invalid_date"),
        ("stat=dead", "stat", "unknown_field"), ("provider=" + "x" * 65, "provider", "too_long"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [OPERATIONS, DEAD])
def test_a_query_that_cannot_be_used_is_reported(call: Call, path: str, query: str, name: str, code: str) -> None:
    answer = call("GET", f"{path}?{query}")
    assert (answer.status_code, answer.json["type"]) == (400, "/problems/invalid-query")
    assert [(error["field"], error["code"]) for error in answer.json["errors"]] == [(name, code)]


def test_all_faults_of_a_query_are_reported_at_once(call: Call) -> None:
    answer = call("GET", f"{DEAD}?state=waiting&limit=x&cursor=%00&kind=1&accepted_to=&x=1")
    assert {error["field"] for error in answer.json["errors"]} == {"state", "limit", "cursor", "kind", "x"}


def test_operations_of_a_newer_version_are_listed_with_the_rest(call: Call, world: World) -> None:
    dead, newer, parked = (*add_dead_letters(world.ledger, 2), world.apply(7).id)
    world.redis.hset(f"{{crmgate}}:op:{newer}", "kind", "newer_kind")
    world.redis.hset(f"{{crmgate}}:op:{parked}", "state", "newer_state")
    items = {item["id"]: item for item in call("GET", OPERATIONS).json["items"]}
    assert items.keys() == {dead, newer, parked}
    assert (items[newer]["kind"], items[newer]["state"], items[newer]["status"]) == ("newer_kind", "dead", "failed")
    assert (items[parked]["state"], items[parked]["status"]) == ("newer_state", "waiting")
    assert [item["id"] for item in call("GET", f"{DEAD}?kind=create_lead").json["items"]] == [dead]
    assert call("GET", f"{OPERATIONS}/{parked}").json["state"] == "newer_state"
    lines = [json.loads(line) for line in call("GET", f"{DEAD}/export?format=jsonl").text.splitlines()]
    assert {line["kind"] for line in lines} == {"create_lead", "newer_kind"}


def test_a_dead_letter_of_a_newer_version_can_be_discarded_but_not_edited(call: Call, world: World) -> None:
    [newer] = add_dead_letters(world.ledger)
    world.redis.hset(f"{{crmgate}}:op:{newer}", "kind", "newer_kind")
    shown = call("GET", f"{DEAD}/{newer}")
    answer = call("PATCH", f"{DEAD}/{newer}", headers={"If-Match": shown.headers["ETag"]}, json={"city": "Ankara"})
    assert (answer.status_code, [error["field"] for error in answer.json["errors"]]) == (422, ["kind"])
    assert call("DELETE", f"{DEAD}/{newer}", json={"reason": "a test"}).json["state"] == "discarded"


def test_the_list_of_operations(call: Call, world: World) -> None:
    [dead] = add_dead_letters(world.ledger)
    made = world.apply(7, session="s1")
    page = call("GET", OPERATIONS, "reader").json
    assert [item["id"] for item in page["items"]] == [made.id, dead]
    assert page["items"][1] == {
        "id": dead, "tracking_code": tracking_code(dead), "kind": "create_lead", "status": "failed", "state": "dead",
        "submitted_at": "2027-01-15T08:00:00.000Z", "dead_at": "2027-01-15T08:00:00.000Z", "provider": "acme",
        "code": "invalid_value", "http_status": 400, "detail": "The CRM refuses it.", "field": "",
        "waits": None, "cause": None, "unreadable": "",
    }  # fmt: skip
    assert page["next"] is None
    assert "example.com" not in json.dumps(page)
    assert [item["id"] for item in call("GET", f"{OPERATIONS}?state=dead&code=invalid_value").json["items"]] == [dead]
    assert [item["id"] for item in call("GET", f"{OPERATIONS}?accepted_from=2027-01-15T08:00:01Z").json["items"]] == [
        made.id
    ]
    code = tracking_code(dead)
    assert [item["id"] for item in call("GET", f"{OPERATIONS}?tracking_code={code}").json["items"]] == [dead]
    assert call("GET", f"{OPERATIONS}?tracking_code=CG-0000-0000").json == {"items": [], "next": None}


def test_the_cursor_leads_through_the_list(call: Call, ledger: Ledger, services: Any) -> None:
    made = add_dead_letters(ledger, 5)
    first = call("GET", f"{DEAD}?limit=3").json
    second = call("GET", f"{DEAD}?limit=3&cursor={first['next']}").json
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None


def test_the_payload_needs_the_scope_operate(call: Call, ledger: Ledger) -> None:
    [dead] = add_dead_letters(ledger)
    answer = call("GET", f"{DEAD}/{dead}")
    assert answer.json["payload"] == {"first_name": "Test0", "email": "test0@example.com"}
    assert answer.json["attempts"][0]["code"] == "invalid_value"
    assert (answer.headers["ETag"], answer.json["version"]) == ('"1"', 1)
    assert answer.headers["Cache-Control"] == "no-store"
    masked = call("GET", f"{DEAD}/{dead}", "reader")
    assert masked.json["payload"] == {"first_name": "T***", "email": "t***@e***.com"}
    assert "example.com" not in masked.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "", None), ("PATCH", "", {}), ("POST", "/retry", None), ("DELETE", "", {"reason": "x"})],
)
def test_an_operation_that_is_no_dead_letter_is_reported(
    call: Call, world: World, method: str, path: str, body: Any
) -> None:
    headers = {"If-Match": '"1"'}
    answer = call(method, f"{DEAD}/{new_id()}{path}", json=body, headers=headers)
    assert (answer.status_code, answer.json["type"]) == (404, "/problems/not-found")
    made = world.apply()
    world.work()
    answer = call(method, f"{DEAD}/{made.id}{path}", json=body, headers=headers)
    assert (answer.status_code, answer.json["type"]) == (409, "/problems/not-a-dead-letter")
    assert "delivered" in answer.json["detail"]


def test_an_edited_one_reaches_the_crm_as_it_is_now(call: Call, ledger: Ledger, world: World) -> None:
    before = {"custom": {"a": "1", "b": "2"}, "consent": {"given": True, "text": "Yes."}}
    [dead] = add_dead_letters(ledger, phone="+905321234567", **before)
    patch = {"first_name": " Ay\u015fe ", "phone": "0533 765 43 21", "custom": {"a": None, "c": "3"}, "email": None}
    answer = call("PATCH", f"{DEAD}/{dead}", json=patch, headers={"If-Match": '"1"'})
    assert answer.status_code == 200, answer.text
    expected = {
        "first_name": "Ay\u015fe", "phone": "+905337654321", "custom": {"b": "2", "c": "3"},
        "consent": {"given": True, "text": "Yes."}, "referral_code": "DIRECT", "source": "website",
    }  # fmt: skip
    assert answer.json["payload"] == expected
    assert answer.headers["ETag"] == '"2"'
    assert answer.json["attempts"][-1]["outcome"] == "edited"
    assert call("POST", f"{DEAD}/{dead}/retry").status_code == 202
    sent = []
    world.crm.trouble = lambda operation: sent.append(operation)  # type: ignore[func-returns-value]
    world.work()
    assert sent[0].payload == expected
    assert world.stored(dead).state == "delivered"


@pytest.mark.parametrize(
    ("patch", "faults"),
    [
        ({"email": "x", "phone": "12", "first_name": None}, {("email", "invalid_email"), ("phone", "invalid_phone"),
                                                              ("first_name", "required")}),
        ({"email": None}, {("personal_info", "contact_required")}),
        ({"session": "other", "personal_info": {"first_name": "x"}, "nonsense": 1},
         {("session", "unknown_field"), ("personal_info", "unknown_field"), ("nonsense", "unknown_field")}),
        ({"last_name": "x" * 101, "birth_date": "31.02.2001", "utm": {"source": []}},
         {("last_name", "too_long"), ("birth_date", "invalid_date")}),
    ],
)  # fmt: skip
def test_an_edit_is_validated_like_a_submission(call: Call, ledger: Ledger, patch: Any, faults: Any) -> None:
    [dead] = add_dead_letters(ledger)
    answer = call("PATCH", f"{DEAD}/{dead}", json=patch, headers={"If-Match": '"1"'})
    assert answer.status_code == 422
    assert {(error["field"], error["code"]) for error in answer.json["errors"]} == faults
    assert call("GET", f"{DEAD}/{dead}").json["payload"] == {"first_name": "Test0", "email": "test0@example.com"}


def test_an_edit_warns_like_a_submission(call: Call, ledger: Ledger) -> None:
    [dead] = add_dead_letters(ledger)
    patch = {"education_level": "x" * 101, "user_type": "robot", "utm": "x", "universities": ["x" * 201]}
    answer = call("PATCH", f"{DEAD}/{dead}", json=patch, headers={"If-Match": '"1"'})
    assert answer.status_code == 200
    assert {(warning["field"], warning["code"]) for warning in answer.json["warnings"]} == {
        ("education.level", "cut"), ("user_preferences.user_type", "unusable_value"), ("utm", "unknown_field"),
        ("preferences.universities", "partly_read"),
    }  # fmt: skip
    payload = answer.json["payload"]
    assert (payload["education_level"], payload["universities"]) == ("x" * 100, ["x" * 200])
    assert payload["custom"].keys() == {"level", "user_type", "utm", "universities"}


def test_two_operators_do_not_overwrite_each_other(call: Call, ledger: Ledger) -> None:
    [dead] = add_dead_letters(ledger)
    missing = call("PATCH", f"{DEAD}/{dead}", json={"city": "Izmir"})
    assert (missing.status_code, missing.json["type"]) == (428, "/problems/version-required")
    headers = {"If-Match": '"1"'}
    assert call("PATCH", f"{DEAD}/{dead}", json={"city": "Izmir"}, headers=headers).status_code == 200
    late = call("PATCH", f"{DEAD}/{dead}", json={"city": "Ankara"}, headers=headers)
    assert (late.status_code, late.json["type"]) == (412, "/problems/changed-meanwhile")
    assert call("GET", f"{DEAD}/{dead}").json["payload"]["city"] == "Izmir"
    for tag in ("*", '"x"', '"1", "2"', 'W/"2"'):
        assert call("PATCH", f"{DEAD}/{dead}", json={}, headers={"If-Match": tag}).status_code in (412, 428)


def test_one_that_changes_between_reading_and_writing_is_not_overwritten(
    call: Call, ledger: Ledger, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [dead] = add_dead_letters(ledger)
    original = services.desk.get

    def get(operation_id: str) -> Any:
        found = original(operation_id)
        services.desk.amend(found, {"first_name": "Quicker", "email": "q@example.com"}, "bob")
        return found

    monkeypatch.setattr(services.desk, "get", get)
    answer = call("PATCH", f"{DEAD}/{dead}", json={"city": "Izmir"}, headers={"If-Match": '"1"'})
    assert answer.status_code == 412
    assert ledger.get(dead).payload["first_name"] == "Quicker"  # type: ignore[union-attr]


CLICK = {"channel": "telegram", "referral_code": "REF0", "occurred_at": "2027-01-15T08:00:00.000Z"}


@pytest.mark.parametrize("kind", [Kind.CREATE_MINIMAL_LEAD, Kind.LOG_ACTIVITY])
@pytest.mark.parametrize(
    ("patch", "faults"),
    [
        ({"channel": "pigeon"}, {("channel", "invalid_choice")}),
        ({"channel": None, "referral_code": " "}, {("channel", "required"), ("referral_code", "required")}),
        ({"session": "other", "occurred_at": "2027-01-01T00:00:00Z", "custom": {"a": "b"}, "first_name": "Ada"},
         {("session", "unknown_field"), ("occurred_at", "unknown_field"), ("custom", "unknown_field"),
          ("first_name", "unknown_field")}),
        ({"channel": 1, "nonsense": 1}, {("channel", "invalid_choice"), ("nonsense", "unknown_field")}),
    ],
)  # fmt: skip
def test_an_edit_of_a_click_is_validated_like_a_click(
    call: Call, ledger: Ledger, kind: Kind, patch: Any, faults: Any
) -> None:
    [dead] = add_dead_letters(ledger, kind=kind)
    answer = call("PATCH", f"{DEAD}/{dead}", json=patch, headers={"If-Match": '"1"'})
    assert answer.status_code == 422
    assert {(error["field"], error["code"]) for error in answer.json["errors"]} == faults
    assert call("GET", f"{DEAD}/{dead}").json["payload"] == CLICK


@pytest.mark.parametrize("kind", [Kind.CREATE_MINIMAL_LEAD, Kind.LOG_ACTIVITY])
def test_an_edited_click_reaches_the_crm_as_it_is_now(call: Call, ledger: Ledger, world: World, kind: Kind) -> None:
    metadata = {"page": "/a\n/b", "notes": "one\n\ntwo", "colour": "red", "Page": "own", "old": "x"}
    utm = {"source": "google", "term": "x"}
    [dead] = add_dead_letters(ledger, kind=kind, session="s-1", metadata=metadata, utm=utm)
    patch = {"channel": "WhatsApp", "metadata": {"old": None, "section": "hero"}, "utm": {"term": None}}
    answer = call("PATCH", f"{DEAD}/{dead}", json=patch, headers={"If-Match": '"1"'})
    assert answer.status_code == 200, answer.text
    expected = CLICK | {
        "channel": "whatsapp", "session": "s-1", "utm": {"source": "google"},
        "metadata": {"page": "/a\n/b", "notes": "one\n\ntwo", "colour": "red", "Page": "own", "section": "hero"},
    }  # fmt: skip
    assert answer.json["payload"] == expected
    assert "warnings" not in answer.json
    assert answer.json["attempts"][-1]["detail"] == "channel, metadata, utm"
    assert call("POST", f"{DEAD}/{dead}/retry").status_code == 202
    sent = []
    world.crm.trouble = lambda operation: sent.append(operation)  # type: ignore[func-returns-value]
    world.work()
    assert (sent[0].payload, sent[0].activity.channel) == (expected, "whatsapp")
    assert world.stored(dead).state == "delivered"


def test_a_click_on_a_channel_that_is_gone_can_be_edited(call: Call, ledger: Ledger) -> None:
    [dead] = add_dead_letters(ledger, kind=Kind.LOG_ACTIVITY, channel="icq")
    patch = {"referral_code": "no such code!", "metadata": {"page": "/x"}}
    answer = call("PATCH", f"{DEAD}/{dead}", json=patch, headers={"If-Match": '"1"'})
    assert answer.status_code == 200, answer.text
    assert answer.json["payload"] == CLICK | {
        "channel": "icq", "referral_code": "DIRECT", "metadata": {"page": "/x", "referral_code": "no such code!"},
    }  # fmt: skip
    assert [warning["field"] for warning in answer.json["warnings"]] == ["referral_code"]


def test_a_discarded_one_is_gone_with_its_payload(call: Call, ledger: Ledger) -> None:
    [dead] = add_dead_letters(ledger)
    for body in ({}, {"reason": " "}, {"reason": 1}, {"reason": "x" * 301}):
        assert call("DELETE", f"{DEAD}/{dead}", json=body).status_code == 422
    answer = call("DELETE", f"{DEAD}/{dead}", json={"reason": " A test. "})
    assert (answer.status_code, answer.json["state"]) == (200, "discarded")
    found = ledger.get(dead)
    assert found is not None
    assert (found.payload, found.events[-1].detail) == ({}, "A test.")
    assert call("DELETE", f"{DEAD}/{dead}", json={"reason": "again"}).status_code == 409


def test_suspects_are_listed_released_and_discarded(call: Call, world: World) -> None:
    payload = {"first_name": "Ada", "email": "ada@example.com"}
    one, two = (world.gateway.submit(Kind.CREATE_LEAD, payload, inline=False, suspect=Suspicion.FAST) for _ in range(2))
    assert {item["id"] for item in call("GET", f"{DEAD}?state=suspect").json["items"]} == {one.id, two.id}
    assert call("GET", DEAD).json["items"] == []
    assert call("POST", f"{DEAD}/{one.id}/retry").status_code == 202
    assert call("DELETE", f"{DEAD}/{two.id}", json={"reason": "bot"}).status_code == 200
    world.work()
    assert (world.stored(one).state, world.stored(two).state) == ("delivered", "discarded")


def test_a_job_from_its_preview_to_its_end(call: Call, ledger: Ledger, world: World, services: Any) -> None:
    add_dead_letters(ledger, 3, code="timeout")
    add_dead_letters(ledger, 2, code="duplicate")
    preview = call("POST", f"{DEAD}/retries", json={"filter": {"code": "timeout"}})
    assert (preview.status_code, preview.json["count"], preview.json["exact"]) == (200, 3, True)
    assert preview.json["filter"]["dead_before"] == "2027-01-15T08:16:40.000Z"
    add_dead_letters(ledger, 1, code="timeout", at=world.now + 1)
    world.now += 10
    started = call("POST", f"{DEAD}/retries", json={"filter": preview.json["filter"], "start": True})
    assert (started.status_code, started.json["state"], started.json["who"]) == (202, "running", "operator")
    where = started.headers["Location"]
    other = call("POST", f"{DEAD}/retries", json={"start": True})
    assert (other.status_code, other.json["type"]) == (409, "/problems/job-running")
    assert started.json["id"] in other.json["detail"]
    while services.desk.retries.step() is not None:
        world.work()
    ended = call("GET", where, "reader").json
    assert (ended["state"], ended["total"], ended["seen"], ended["released"]) == ("finished", 3, 3, 3)
    assert call("GET", f"{DEAD}/retries", "reader").json["job"] == ended
    assert call("DELETE", where).json["state"] == "finished"
    assert call("GET", f"{DEAD}/retries/{new_id()}").status_code == 404
    assert call("DELETE", f"{DEAD}/retries/{new_id()}").status_code == 404


@pytest.mark.parametrize(
    ("body", "name"),
    [({"filter": []}, None), ({"filter": "x"}, "filter"), ({"start": "yes"}, "start"), ({"all": True}, "all"),
     ({"filter": {"code": "x"}}, "filter.code"), ({"filter": {"state": "suspect"}}, "filter.state")],
)  # fmt: skip
def test_an_ambiguous_job_is_refused(call: Call, body: Any, name: str | None) -> None:
    answer = call("POST", f"{DEAD}/retries", json=body)
    assert answer.status_code == (422 if name else 200)
    assert name is None or answer.json["errors"][0]["field"] == name

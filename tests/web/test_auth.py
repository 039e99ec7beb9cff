"""Bearer tokens over HTTP: access, refusals, and the additional members of answers."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.errors import LedgerUnavailable
from crmgate.model import Check, Connection, Delivered, Event, Kind, Operation, State, new_id
from crmgate.store.tokens import Scope, Token
from crmgate.web.auth import require

TEST = "/api/v1/crm/test"
OPERATIONS = "/api/v1/operations/"


class StandInTokens:
    """Knows `reader` and `operator`; any other token needs Redis, which is unavailable if `down`."""

    down = False

    def verify(self, text: str) -> Token | None:
        scopes = {"reader": Scope.READ, "operator": Scope.OPERATE}
        if text in scopes:
            return Token("1", text, scopes[text], "")
        if self.down:
            raise LedgerUnavailable("redis.internal")
        return None


class StandInTest:
    connected = True

    def result(self) -> tuple[float, Connection]:
        check = Check("login", self.connected, "what to do")
        return 1_700_000_000.0, Connection("espocrm", self.connected, 12.5, (check,))


@pytest.fixture
def tokens(services: Any) -> StandInTokens:
    services.tokens, services.connection = StandInTokens(), StandInTest()
    return services.tokens  # type: ignore[no-any-return]


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Basic cmVhZGVyOng="}, bearer("")])
def test_without_a_token_it_is_401_with_a_challenge(client: FlaskClient, tokens: Any, headers: dict[str, str]) -> None:
    answer = client.get(TEST, headers=headers)
    assert (answer.status_code, answer.json["type"]) == (401, "/problems/token-required")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="crmgate"'
    assert answer.mimetype == "application/problem+json"


@pytest.mark.parametrize("text", ["wrong", "reader x", "ÿ", "x" * 5000])
def test_a_wrong_token_is_401_and_is_not_repeated(client: FlaskClient, tokens: Any, text: str) -> None:
    answer = client.get(TEST, headers={"Authorization": f"Bearer {text}".encode("latin-1").decode("latin-1")})
    assert (answer.status_code, answer.json["type"]) == (401, "/problems/invalid-token")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert text not in answer.text


def test_a_scope_that_is_not_enough_is_403(own_app: Any, tokens: Any) -> None:
    own_app.add_url_rule("/operate", view_func=lambda: require(Scope.OPERATE).name)
    client = own_app.test_client()
    answer = client.get("/operate", headers=bearer("reader"))
    assert (answer.status_code, answer.json["type"]) == (403, "/problems/insufficient-scope")
    assert answer.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="operate"')
    assert client.get("/operate", headers=bearer("operator")).text == "operator"


def test_a_token_that_cannot_be_verified_without_redis_is_503(client: FlaskClient, tokens: Any) -> None:
    tokens.down = True
    answer = client.get(TEST, headers=bearer("stored"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert client.get(TEST, headers=bearer("reader")).status_code == 200


@pytest.mark.parametrize("connected", [True, False])
def test_the_connection_test(client: FlaskClient, tokens: Any, services: Any, connected: bool) -> None:
    services.connection.connected = connected
    answer = client.get(TEST, headers=bearer("reader"))
    assert answer.status_code == (200 if connected else 503)
    assert answer.json == {
        "provider": "espocrm",
        "connected": connected,
        "latency_ms": 12.5,
        "checks": [{"name": "login", "ok": connected, "detail": "what to do"}],
        "tested_at": "2023-11-14T22:13:20.000Z",
        "gate": dict.fromkeys(("cause", "what", "remedy", "detail", "since", "until")) | {"held": 0},
    }
    assert answer.headers["Cache-Control"] == "no-store"
    services.ledger.down = True
    away = client.get(TEST, headers=bearer("reader"))
    assert (away.status_code, away.json["gate"]) == (answer.status_code, None)


@pytest.fixture
def operation(gateway: Any) -> Operation:
    delivered = Delivered("espocrm", "rec-1", "https://crm.example/#Lead/view/rec-1", adopted=True, moved=("source",))
    attempts = (Event(1_700_000_000.0, 2.0, "espocrm", "failed", "timeout", 504, "E1", "said nothing"),)
    operation = Operation(
        new_id(), Kind.CREATE_LEAD, {"first_name": "Ayşe"}, 1_700_000_000.0, State.DELIVERED, events=attempts,
        delivered=delivered,
    )  # fmt: skip
    gateway.ledger.operations[operation.id] = operation
    return operation


def test_a_token_shows_attempts_and_record_but_no_person(client: FlaskClient, tokens: Any, operation: Any) -> None:
    answer = client.get(OPERATIONS + operation.id, headers=bearer("reader"))
    assert answer.json["crm"] == {
        "provider": "espocrm", "lead_id": "rec-1", "url": "https://crm.example/#Lead/view/rec-1", "adopted": True,
        "dropped": [], "moved": ["source"],
    }  # fmt: skip
    assert answer.json["attempts"] == [
        {"at": "2023-11-14T22:13:20.000Z", "duration": 2.0, "provider": "espocrm", "outcome": "failed",
         "code": "timeout", "status": 504, "vendor_code": "E1", "detail": "said nothing", "field": "",
         "counted": True}
    ]  # fmt: skip
    assert (answer.json["kind"], answer.json["state"], answer.json["status"]) == (
        "create_lead", "delivered", "delivered",
    )  # fmt: skip
    assert "Ay" not in answer.text
    assert client.get(OPERATIONS + operation.id, headers=bearer("wrong")).status_code == 401
    assert "crm" not in client.get(OPERATIONS + operation.id).json


@pytest.mark.parametrize(("headers", "shown"), [(bearer("reader"), True), (bearer("wrong"), False), ({}, False)])
def test_no_submission_is_refused_because_of_a_token(
    client: FlaskClient, tokens: Any, gateway: Any, body: Any, monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str], shown: bool,
) -> None:  # fmt: skip
    tokens.down = True
    delivered = Delivered("espocrm", "rec-1", "https://crm.example/rec-1")
    made = Operation(new_id(), Kind.CREATE_LEAD, {}, 1.0, State.DELIVERED, delivered=delivered)
    monkeypatch.setattr(gateway, "submit", lambda *_, **__: made)
    answer = client.post("/api/v1/applications", json=body, headers=headers)
    assert answer.status_code == 201
    expected = {"provider": "espocrm", "lead_id": "rec-1", "url": "https://crm.example/rec-1"}
    assert answer.json.get("crm") == (expected if shown else None)

"""`/in/<source>`: who may post, what is stored and what is answered."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.config import Limits
from crmgate.errors import LedgerUnavailable
from crmgate.model import State, Suspicion
from crmgate.sources import Handshake, Received, SourceRequest
from crmgate.sources.model import Source
from crmgate.sources.reader import Sources
from crmgate.store.client import connect
from crmgate.store.limits import Limit, Limiter
from tests.sources.payloads import GOOGLE, META_SEVERAL, TILDA, TILDA_TEST, TYPEFORM, Sent
from tests.sources.test_signatures import b64, digest
from tests.web.conftest import StandInGateway, StandInServices

NAMES = ("tilda", "typeform", "meta", "google_forms", "acme")


def plugged(name: str, request: SourceRequest) -> Any:
    if name == "acme" and request.method == "GET":
        return Handshake("hello")
    return [Received({"body": "mine"}, "own")] if request.headers.get("x-own") else None


@pytest.fixture(autouse=True)
def sources(services: StandInServices) -> None:
    found = {name.replace("_", ""): Source(name, "the-secret") for name in NAMES}
    services.sources = Sources(found, "TR", plugged)


def post(client: FlaskClient, name: str, sent: Sent, query: str = "token=the-secret", **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/in/{name}?{query}", data=sent.body, content_type=sent.media, headers=given)


def test_a_submission_is_stored_for_the_worker(client: FlaskClient, gateway: StandInGateway) -> None:
    gateway.state = State.ACCEPTED
    answer = post(client, "tilda", TILDA)
    assert (answer.status_code, answer.json["received"]) == (200, 1)
    [item] = answer.json["items"]
    assert (item["status"], item["complete"]) == ("waiting", True)
    [(kind, payload, inline)] = gateway.submitted
    assert (kind, inline) == ("create_lead", False)
    assert payload["email"] == "ada@example.com"
    assert payload["utm"] == {"source": "yandex", "medium": "cpc", "campaign": "lüx"}
    assert (payload["source"], payload["source_description"]) == ("tilda", "Заявка")
    assert gateway.keys == [("4715:3014011", "source\ntilda")]
    assert gateway.contents == [["4715:3014011"]], "a changed body with the same id is the same submission"


def test_without_a_delivery_id_the_content_decides(client: FlaskClient, gateway: StandInGateway) -> None:
    sent = Sent(b'{"email": "ada@example.com"}', "application/json")
    assert post(client, "acme", sent).status_code == 200
    assert (gateway.keys, gateway.contents) == ([("", "source\nacme")], [None])


def test_no_origin_of_another_request_has_the_keys_of_a_source(client: FlaskClient, gateway: StandInGateway) -> None:
    post(client, "tilda", TILDA)
    [(key, scope)] = gateway.keys
    forged = {"Idempotency-Key": key, "Origin": scope.replace("\n", " ")}
    person = {"first_name": "Eve", "last_name": "Hill", "email": "eve@example.com"}
    assert client.post("/api/v1/applications", json=person, headers=forged).status_code in (201, 202)
    assert gateway.keys[1][0] == key
    assert gateway.keys[1][1] != scope


def test_several_submissions_in_one_body(client: FlaskClient, gateway: StandInGateway) -> None:
    answer = post(client, "meta", META_SEVERAL)
    assert answer.json["received"] == 3
    assert [key for key, _ in gateway.keys] == ["444444444441", "444444444442", "444444444443"]


@pytest.mark.parametrize("name", ["google_forms", "google-forms", "googleforms", "GoogleForms"])
def test_the_name_of_a_source(client: FlaskClient, name: str) -> None:
    assert post(client, name, GOOGLE).status_code == 200


@pytest.mark.parametrize("name", ["jotform", "cf7", "unknown", "x" * 300, "%00"])
def test_a_source_that_is_not_on(client: FlaskClient, gateway: StandInGateway, name: str) -> None:
    for answer in (post(client, name, GOOGLE), client.get(f"/in/{name}?token=the-secret")):
        assert (answer.status_code, answer.json["type"]) == (404, "/problems/not-found")
    assert gateway.submitted == []


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}), ("token=", {}), ("token=the-secreT", {}), ("token=the-secret ", {}), ("token=ğ", {}),
        ("", {"Authorization": "Bearer wrong"}), ("token=the-secret", {"Authorization": "Bearer wrong"}),
        ("token=the-secret", {"Typeform_Signature": "sha256=" + b64(digest(b"another"))}),
        ("", {"Typeform_Signature": "sha256=" + b64(digest(b"another"))}), ("", {"Typeform_Signature": ""}),
        ("secret=the-secret", {}), ("", {"X_Hub_Signature_256": "sha256=" + digest(TYPEFORM.body).hex()}),
    ],
)  # fmt: skip
def test_a_wrong_secret_or_signature(
    client: FlaskClient, gateway: StandInGateway, query: str, headers: dict[str, str]
) -> None:
    answer = post(client, "typeform", TYPEFORM, query, **headers)
    assert (answer.status_code, answer.json["type"]) == (401, "/problems/wrong-secret")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert gateway.submitted == []


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("token=the-secret", {}), ("", {"Authorization": "Bearer the-secret"}),
        ("", {"Typeform_Signature": "sha256=" + b64(digest(TYPEFORM.body))}),
        ("token=the-secret", {"Typeform_Signature": "sha256=" + b64(digest(TYPEFORM.body))}),
    ],
)  # fmt: skip
def test_the_right_secret(client: FlaskClient, gateway: StandInGateway, query: str, headers: dict[str, str]) -> None:
    assert post(client, "typeform", TYPEFORM, query, **headers).status_code == 200
    assert len(gateway.submitted) == 1


def test_without_a_token_the_body_of_a_tool_that_does_not_sign_is_not_read(client: FlaskClient) -> None:
    answer = client.post("/in/tilda", data=b"x", headers={"Content-Length": "999999"})
    assert answer.status_code == 401


def test_handshakes(client: FlaskClient, gateway: StandInGateway) -> None:
    answer = post(client, "tilda", TILDA_TEST)
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "ok", "text/plain")
    challenge = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    answer = client.get(f"/in/meta?{challenge}the-secret")
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "1158201444", "text/plain")
    assert client.get(f"/in/meta?{challenge}wrong").status_code == 401
    assert client.get("/in/meta?hub.challenge=1").status_code == 401
    assert client.get("/in/tilda?token=the-secret").text == "ok"
    assert client.get("/in/acme?token=the-secret").text == "hello", "a plugin shakes hands"
    assert gateway.submitted == []


def test_what_nobody_understands_is_kept_for_an_operator(client: FlaskClient, gateway: StandInGateway) -> None:
    answer = post(client, "typeform", Sent(b"{broken", "application/json"))
    assert (answer.status_code, answer.json["items"][0]["complete"]) == (200, False)
    [(_, payload, _)] = gateway.submitted
    assert payload["custom"] == {"body": "{broken"}
    [operation] = gateway.ledger.operations.values()
    assert (operation.state, operation.suspicion) == (State.SUSPECT, Suspicion.INCOMPLETE)


def test_a_plugin_reads_a_source_before_the_adapter(client: FlaskClient, gateway: StandInGateway) -> None:
    assert post(client, "tilda", TILDA, X_Own="1").status_code == 200
    assert gateway.keys == [("own", "source\ntilda")]
    assert gateway.submitted[0][1]["custom"] == {"body": "mine"}


def test_nothing_to_store(client: FlaskClient, gateway: StandInGateway) -> None:
    answer = post(client, "acme", Sent(b"", "application/json"))
    assert (answer.status_code, answer.json) == (200, {"received": 0, "items": []})
    assert gateway.submitted == []


def test_without_redis_the_tool_has_to_send_it_again(client: FlaskClient, gateway: StandInGateway) -> None:
    gateway.error = LedgerUnavailable("away")
    answer = post(client, "tilda", TILDA)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")


def test_a_body_that_is_too_large(client: FlaskClient, gateway: StandInGateway) -> None:
    sent = Sent(json.dumps({"a": "x" * 65_536}).encode(), "application/json")
    assert post(client, "acme", sent).status_code == 413
    assert gateway.submitted == []


def test_the_limits(client: FlaskClient, services: StandInServices, gateway: StandInGateway) -> None:
    """A source has a limit of its own; an address has one for wrong secrets; a person's submissions are kept aside."""
    services.limiter = Limiter(connect("redis://127.0.0.1:1/0", timeout=0.1))  # type: ignore[attr-defined]
    services.settings = replace(services.settings, limits=Limits(source=Limit(3, 60), address=Limit(2, 60)))
    for _ in range(3):
        assert post(client, "tilda", TILDA).status_code == 200
    answer = post(client, "tilda", TILDA)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "20")
    assert post(client, "typeform", TYPEFORM).status_code == 200, "another source"
    wrong = [post(client, "typeform", TYPEFORM, "token=wrong").status_code for _ in range(3)]
    assert wrong == [401, 401, 429]
    assert post(client, "typeform", TYPEFORM).status_code == 200, "the right secret is not counted for the address"
    assert len(gateway.submitted) == 5

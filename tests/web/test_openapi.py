"""The OpenAPI document is complete and valid, and matches a gateway with a real Redis and a CRM over HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Blueprint, Flask
from flask.testing import FlaskClient

import crmgate
from crmgate.model import Kind
from crmgate.operators.reconcile import PERIOD
from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.vocabulary import APPLICATION
from crmgate.store.tokens import Scope
from crmgate.testing.espocrm import FakeEspoCRM
from crmgate.web.openapi.convert import flat_fields
from crmgate.web.openapi.document import PUBLISHED, build, template
from tests.processes import RedisProcess
from tests.web.openapi_gateway import ADMIN, GOOD, KEY, SUBMIT, Gateway, crm, gateway, published, running
from tests.web.published import Published

__all__ = ["crm", "gateway", "running"]  # fixtures


def test_the_document_is_valid_and_says_which_version_it_is_of(client: FlaskClient) -> None:
    from openapi_spec_validator import validate  # takes 0.1 s, in each process that collects the tests
    from openapi_spec_validator.validation import OpenAPIV31SpecValidator

    document = client.get("/api/v1/openapi.json").json
    validate(document, cls=OpenAPIV31SpecValidator)
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == crmgate.__version__


def test_every_route_is_in_it_and_nothing_else(app: Flask, client: FlaskClient) -> None:
    published = Published(client.get("/api/v1/openapi.json").json)
    routes = {
        (template(rule), method.lower())
        for rule in app.url_map.iter_rules() if PUBLISHED.match(rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }  # fmt: skip
    assert {(path, method) for path, method, _ in published.operations()} == routes
    assert {path for path, _ in routes} >= {"/healthz", "/readyz", "/metrics", "/go/{channel}", *SUBMIT}


def test_a_route_without_a_description_is_named(own_app: Flask) -> None:
    room = Blueprint("room", __name__)
    room.add_url_rule("/api/v1/rooms/<int:number>", "show", lambda number: str(number))
    own_app.register_blueprint(room)
    with pytest.raises(LookupError, match=r"^GET /api/v1/rooms/<int:number> \(room\.show\) has no @Describe"):
        build(own_app)


def test_it_is_sent_again_only_after_a_change(client: FlaskClient) -> None:
    for path, who in (("/api/v1/openapi.json", "public"), ("/docs", "private")):
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
        assert first.headers["Cache-Control"] == f"{who}, no-cache"
    assert client.get("/api/v1/openapi.json").headers["Access-Control-Allow-Origin"] == "*"


def test_each_field_stands_in_the_nested_and_in_the_flat_form(client: FlaskClient) -> None:
    schemas = client.get("/api/v1/openapi.json").json["components"]["schemas"]
    flat = schemas["ApplicationFlat"]["properties"]
    for name, path, _ in flat_fields(ApplicationSchema):
        assert APPLICATION.targets[name] == path
        assert name in flat
    person = schemas["PersonalInfo"]
    assert person["properties"]["first_name"] == {"type": "string", "maxLength": 100, "examples": ["Ada"]}
    assert person["required"] == ["first_name"]
    assert person["anyOf"] == [{"required": ["email"]}, {"required": ["phone"]}]
    assert schemas["UserPreferences"]["properties"]["user_type"]["enum"] == ["student", "parent"]
    assert schemas["MessengerEvent"]["properties"]["channel"]["enum"] == ["instagram", "line", "telegram", "whatsapp"]


def examples() -> Iterator[Any]:
    for path, method, operation in published().operations():
        for media, described in operation.get("requestBody", {}).get("content", {}).items():
            for name, example in described.get("examples", {}).items():
                yield pytest.param(path, method, media, example, described["schema"], id=f"{method} {path} {name}")


@pytest.mark.parametrize(("path", "method", "media", "example", "schema"), [*examples()])
def test_each_example_gets_the_answer_it_promises(
    gateway: Gateway, path: str, method: str, media: str, example: dict[str, Any], schema: dict[str, Any]
) -> None:
    if not {"firstName", "ref"} & example["value"].keys():  # other names than those of the schema
        gateway.published.valid(example["value"], schema)
    body = {"json": example["value"]} if media == "application/json" else {"data": example["value"]}
    kind = Kind.CREATE_MINIMAL_LEAD if "channel" in example["value"] else Kind.CREATE_LEAD
    headers = example.get("x-headers", {}) | ({"If-Match": gateway.dead(kind)} if "{operation_id}" in path else {})
    answer = gateway.ask(path, method, **body, headers=headers)
    assert answer.status_code == example["x-status"], answer.text
    assert "warnings" not in answer.json


def test_each_example_of_an_answer_is_as_its_schema_says(gateway: Gateway) -> None:
    seen = 0
    for _, _, operation in gateway.published.operations():
        for described in operation["responses"].values():
            for content in described.get("content", {}).values():
                values = [example["value"] for example in content.get("examples", {}).values()]
                for value in [*values, *([content["example"]] if "example" in content else [])]:
                    gateway.published.valid(value, content["schema"])
                    seen += 1
    assert seen > 30, seen


def test_a_body_in_the_document_is_judged_as_by_the_gateway(gateway: Gateway) -> None:
    """The gateway refuses what a visitor can correct. What the page fills in against the document is kept."""
    validator = gateway.published.valid
    schema = {"$ref": "#/components/schemas/Application"}
    person = {"first_name": "Ada", "email": "ada@example.com"}
    for wrong in (
        {"personal_info": {"email": "ada@example.com"}},
        {"personal_info": {"first_name": "Ada"}},
        {"personal_info": {**person, "first_name": "a" * 101}},
        {"personal_info": {**person, "birth_date": "31/12/2999"}},
    ):
        with pytest.raises(Exception, match="Failed validating"):
            validator(wrong, schema)
        assert gateway.ask(SUBMIT[0], "post", json=wrong).status_code == 422
    for odd in (
        {"personal_info": {**person, "birth_date": "yesterday"}},
        {"personal_info": person, "user_preferences": {"user_type": "robot"}},
        {"personal_info": person, "preferences": {"universities": ["x"] * 51}},
        {"personal_info": person, "education": {"graduation_year": 1800}},
        {"personal_info": person, "consent": {"given": {"id": 1}}},
        {"personal_info": person, "custom": {"x" * 65: "y"}},
    ):
        with pytest.raises(Exception, match="Failed validating"):
            validator(odd, schema)
        answer = gateway.ask(SUBMIT[0], "post", json=odd)
        assert (answer.status_code, len(answer.json["warnings"])) == (201, 1)


def test_the_document_says_which_routes_need_a_token(gateway: Gateway) -> None:
    read = gateway.token(Scope.READ)
    for path, method, operation in gateway.published.operations():
        security = operation["security"]
        answer = gateway.ask(path, method, headers={"Authorization": ""})
        assert (answer.status_code == 401) == (bool(security) and {} not in security), (path, method)
        if security == [{"token": ["operate"]}]:
            assert gateway.ask(path, method, headers=read).status_code == 403, (path, method)
        elif security:
            assert gateway.ask(path, method, headers=read).status_code != 403, (path, method)


def test_answers_to_operators_match_the_document(gateway: Gateway) -> None:
    one, many = "/api/v1/dead-letters/{operation_id}", "/api/v1/dead-letters/retries"
    etag = gateway.dead()
    assert gateway.ask("/api/v1/operations", "get").json["items"][0]["state"] == "dead"
    assert gateway.ask("/api/v1/dead-letters", "get", query_string={"limit": "1"}).json["items"]
    assert (
        gateway.ask(one, "patch", json={"shoe": None, "city": "İzmir"}, headers={"If-Match": etag}).status_code == 422
    )
    assert (
        gateway.ask(one, "patch", json={"city": "İzmir"}, headers={"If-Match": etag}).json["payload"]["city"] == "İzmir"
    )
    for form, media in (("csv", "text/csv"), ("jsonl", "application/jsonl")):
        answer = gateway.ask("/api/v1/dead-letters/export", "get", query_string={"format": form})
        assert (answer.status_code, answer.mimetype) == (200, media)
    assert gateway.ask(many, "get").json == {"job": None}
    assert gateway.ask(many, "post", json={"filter": {"code": "invalid_value"}}).json["count"] == 1
    discards, reason = "/api/v1/dead-letters/discards", {"reason": "A test.", "filter": {"code": "timeout"}}
    assert gateway.ask(discards, "post", json=reason).json["count"] == 0
    assert gateway.ask(discards, "post", json={**reason, "start": True}).json["discarded"] == 0
    gateway.ids["job_id"] = gateway.ask(many, "post", json={"start": True}).json["id"]
    for path, method in ((many, "get"), (f"{many}/{{job_id}}", "get"), (f"{many}/{{job_id}}", "delete")):
        assert gateway.ask(path, method).status_code == 200
    assert gateway.ask(f"{one}/retry", "post").status_code == 202
    gateway.dead()
    assert gateway.ask(one, "delete", json={"reason": "A test."}).json["status"] == "discarded"


def test_answers_about_the_system_match_the_document(gateway: Gateway) -> None:
    found = gateway.ask("/api/v1/crm/fields", "get").json
    assert {"referral_code", "operation_id"} <= {line["fact"] for line in found["fields"]}
    assert gateway.ask("/api/v1/plugins", "get").json["quarantined"] == []
    created = gateway.ask("/api/v1/tokens", "post", json={"name": "site", "scope": "read"}).json
    gateway.ids["token_id"] = created["id"]
    assert [token["name"] for token in gateway.ask("/api/v1/tokens", "get").json["items"]] == [
        "read",
        "operate",
        "site",
    ]
    assert gateway.ask("/api/v1/tokens/{token_id}", "delete").json["name"] == "site"
    assert gateway.ask("/api/v1/tokens/{token_id}", "delete").status_code == 404
    first = gateway.ask("/api/v1/audit", "get", query_string={"limit": "1"}).json
    second = gateway.ask("/api/v1/audit", "get", query_string={"limit": "1", "cursor": first["next"]}).json
    assert [entry["what"] for page in (first, second) for entry in page["items"]] == ["tokens.revoke", "tokens.new"]
    assert second["next"] is None


def test_answers_about_the_setup_match_the_document(gateway: Gateway) -> None:
    with FakeEspoCRM(custom_fields=False, api_key=KEY) as stock:
        fresh = gateway.but(crm_url=stock.url, **ADMIN)
        plan = fresh.ask("/api/v1/crm/setup", "get").json
        assert plan["done"] is False
        assert "settings" not in plan
        states = {line["state"] for line in fresh.ask("/api/v1/crm/fields", "get").json["fields"]}
        assert {"ok", "missing"} <= states
        done = fresh.ask("/api/v1/crm/setup", "post").json
        assert done["done"] is True
        assert "missing" not in {line["state"] for line in fresh.ask("/api/v1/crm/fields", "get").json["fields"]}
        [entry] = fresh.parts.audit.recent()
        assert (entry.what, entry.who, entry.on) == ("crm.setup", "operate", "espocrm")
        assert "Admin-Fake-1" not in str(done) + str(plan)


def test_answers_about_the_comparison_match_the_document(gateway: Gateway, crm: FakeEspoCRM) -> None:
    path, parts = "/api/v1/reconcile", gateway.parts
    assert gateway.ask(path, "get").json == {"last": None}
    assert "crmgate_reconcile" not in gateway.ask("/metrics", "get").text
    gateway.ask(SUBMIT[0], "post", json=GOOD)
    for lead in crm.leads:
        crm.delete_lead(lead["id"])
    parts.ledger.clock = lambda: time.time() + 60
    parts.reconcile.compare(parts.ledger.now() - PERIOD)
    last = gateway.ask(path, "get").json["last"]
    assert (last["missing"], last["checked"], len(last["gaps"])) == (1, 1, 1)
    text = gateway.ask("/metrics", "get").text
    assert "crmgate_reconcile_missing 1.0" in text
    assert "crmgate_reconcile_checked 1.0" in text
    [line] = re.findall(r"^crmgate_reconcile_last_run_timestamp_seconds (\S+)$", text, re.MULTILINE)
    assert abs(float(line) - parts.ledger.now()) < 60


def test_answers_about_persons_match_the_document(gateway: Gateway) -> None:
    ada = {"contact": "ADA@example.com"}
    gateway.ask(SUBMIT[0], "post", json={**GOOD, "session": "visit"})
    gateway.dead()
    found = gateway.ask("/api/v1/persons/search", "post", json=ada).json
    assert found["counts"] == {
        "waiting": 0,
        "dead_letters": 0,
        "suspects": 0,
        "ended": 1,
        "sessions": 1,
        "kept_payloads": 0,
        "spooled": 0,
    }
    [reference] = found["references"]
    listed = gateway.ask("/api/v1/operations", "get", query_string={"person": reference}).json["items"]
    assert [one["id"] for one in listed] == [one["id"] for one in found["operations"]]
    assert gateway.ask("/api/v1/operations", "get", query_string={"person": "ada@example.com"}).json["items"] == []
    assert gateway.ask("/api/v1/persons/export", "post", json=ada).json["operations"][0]["payload"] == {}
    preview = gateway.ask("/api/v1/persons/erase", "post", json=ada).json
    assert (preview["erased"], preview["complete"], preview["crm"]) == (False, False, found["crm"])
    assert preview["crm"][0]["url"].startswith("http")
    assert gateway.ask("/api/v1/persons/search", "post", json=ada).json["counts"] == found["counts"]
    done = gateway.ask("/api/v1/persons/erase", "post", json=ada | {"confirm": True}).json
    assert (done["erased"], done["complete"], done["crm"]) == (True, True, found["crm"])
    assert gateway.ask("/api/v1/persons/search", "post", json=ada).json["operations"] == []


def test_successful_answers_match_the_document(gateway: Gateway) -> None:
    token = gateway.token(Scope.READ)
    accepted = gateway.ask(SUBMIT[0], "post", json={**GOOD, "shoe": "38"}, headers=token)
    assert accepted.json["crm"]["provider"] == "espocrm"
    assert [warning["field"] for warning in accepted.json["warnings"]] == ["channel", "shoe"]
    status = gateway.ask("/api/v1/operations/{operation_id}", "get", at=accepted.headers["Location"], headers=token)
    assert status.json["attempts"]
    assert gateway.ask("/api/v1/crm/test", "get", headers=token).status_code in (200, 503)
    assert gateway.ask("/metrics", "get", headers=token).mimetype == "text/plain"
    form = {**GOOD, "_next": "/thanks"}
    assert gateway.ask(SUBMIT[0], "post", data=form).status_code == 303
    page = gateway.ask(SUBMIT[0], "post", data=GOOD, headers={"Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (201, "text/html")
    refused = gateway.ask(SUBMIT[0], "post", data={"first_name": "Ada"}, headers={"Accept": "text/html"})
    assert (refused.status_code, refused.mimetype) == (422, "text/html")
    assert gateway.ask("/go/{channel}", "get").status_code == 302
    for path in ("/healthz", "/readyz", "/api/v1/openapi.json"):
        gateway.ask(path, "get")


def test_a_click_that_is_only_counted(redis_process: RedisProcess, redis_client: redis.Redis, crm: FakeEspoCRM) -> None:
    gateway = Gateway(redis_process.url, crm.url, MINIMAL_LEADS="off")
    assert gateway.ask(SUBMIT[1], "post", json={"channel": "telegram", "ref": "R", "x": "y"}).status_code == 200
    gateway.app.extensions["crmgate.clicks"].stop()

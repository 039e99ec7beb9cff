"""The OpenAPI document is complete and valid, and matches a gateway with a real Redis and a CRM over HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import redis
from flask import Blueprint, Flask
from flask.testing import FlaskClient

import crmgate
from crmgate import services, web
from crmgate.config import Settings
from crmgate.errors import StillRunning
from crmgate.model import Kind
from crmgate.operators.reconcile import PERIOD
from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.vocabulary import APPLICATION
from crmgate.store.tokens import Scope, digest, generate
from crmgate.testing.espocrm import FakeEspoCRM
from crmgate.web.body import READ_BODY
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi.convert import flat_fields
from crmgate.web.openapi.document import PUBLISHED, build, template
from tests.graves import bury
from tests.processes import ROOT, RedisProcess, free_port
from tests.web.published import Published

KEY = "KEY-OPENAPI"
SUBMIT = ("/api/v1/applications", "/api/v1/messenger-events")
ADMIN = {"ESPOCRM_ADMIN_USERNAME": "admin", "ESPOCRM_ADMIN_PASSWORD": "Admin-Fake-1"}
GOOD: dict[str, Any] = {"channel": "telegram", "referral_code": "REF1", "first_name": "Ada", "email": "ada@example.com"}
"""A body that both routes for submissions accept."""


SECRET = "the-secret-of-a-source"


class Gateway:
    """A gateway in this process, with tokens."""

    def __init__(self, redis_url: str, crm_url: str, **more: str) -> None:
        self._environ = {"redis_url": redis_url, "crm_url": crm_url} | more
        self._others: dict[str, Gateway] = {}
        environ = {
            "CRM_PROVIDER": "espocrm", "REDIS_URL": redis_url, "ESPOCRM_URL": crm_url, "ESPOCRM_API_KEY": KEY,
            "TELEGRAM_URL": "https://t.me/example_bot", "PLUGINS_DIR": str(ROOT / "plugins"), "REDIS_TIMEOUT": "10",
            "CRM_INLINE_BUDGET": "20", "CRM_TIMEOUT": "20", "SOURCE_TYPEFORM_SECRET": SECRET,
            "RATE_LIMIT_ADDRESS": "off", "RATE_LIMIT_LOOKUPS": "off", "RATE_LIMIT_PERSON": "off",
        } | more  # fmt: skip
        self.ids: dict[str, str] = {}
        self.tokens = {str(scope): generate()[1] for scope in Scope}
        environ["API_TOKENS"] = ",".join(f"{scope}:{scope}:{digest(text)}" for scope, text in self.tokens.items())
        self.parts = services.build(Settings.load(environ))
        self.redis = redis.Redis.from_url(redis_url)
        self.app = Flask("crmgate", root_path=str(ROOT / "crmgate"), static_folder="web/static")
        self.app.extensions["crmgate"] = self.parts
        web.init_app(self.app)
        self.client: FlaskClient = self.app.test_client()
        self.published = Published(self.client.get("/api/v1/openapi.json").json)

    def but(self, **more: str) -> Gateway:
        """The same gateway with other settings; it is built once, and has the same empty Redis."""
        settings = {**self._environ, **more}
        if str(settings) not in self._others:
            self._others[str(settings)] = Gateway(**settings)
        return self._others[str(settings)]

    def token(self, scope: Scope) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[scope]}"}

    def ask(self, path: str, method: str, **options: Any) -> Any:
        """A request to a path of the document; the answer has been checked against it.

        With a token that may do everything where one is needed. `at` is the real path, made of `ids` by default.
        """
        operation = self.published.document["paths"][path][method.lower()]
        known = {
            parameter["name"]: parameter["example"] for parameter in operation["parameters"] if "example" in parameter
        }
        asked = path.format_map(known | self.ids)
        allowed = self.token(Scope.OPERATE) if operation["security"] and {} not in operation["security"] else {}
        headers = allowed | options.pop("headers", {})
        if path.startswith("/in/"):
            options.setdefault("query_string", {"token": SECRET})
        answer = self.client.open(options.pop("at", asked), method=method.upper(), headers=headers, **options)
        self.published.check(path, method, answer)
        return answer

    def dead(self, kind: Kind = Kind.CREATE_LEAD) -> str:
        """Create a dead letter for the following calls of `ask`. Returns its `ETag`."""
        [self.ids["operation_id"]] = bury(self.parts.ledger, provider="espocrm", kind=kind, at=time.time() - 60)
        shown = self.ask("/api/v1/dead-letters/{operation_id}", "get")
        assert shown.status_code == 200, shown.text
        return str(shown.headers["ETag"])


@pytest.fixture(scope="module")
def crm() -> Iterator[FakeEspoCRM]:
    with FakeEspoCRM(api_key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def running(redis_process: RedisProcess, crm: FakeEspoCRM) -> Iterator[Gateway]:
    yield from stopped(Gateway(redis_process.url, crm.url))


@pytest.fixture
def gateway(running: Gateway, redis_client: redis.Redis) -> Gateway:
    """A gateway with an empty Redis."""
    running.ids.clear()
    return running


@pytest.fixture(scope="module")
def down() -> Iterator[Gateway]:
    """A gateway whose Redis and CRM are unavailable."""
    yield from stopped(Gateway(f"redis://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"))


def stopped(gateway: Gateway) -> Iterator[Gateway]:
    yield gateway
    gateway.redis.close()
    gateway.app.extensions["crmgate.clicks"].stop()


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


@cache
def published() -> Published:
    """The document, built once in each process that collects the tests."""
    app = Flask("crmgate")
    web.init_app(app)
    return Published(build(app))


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


# Every status of every route, by what brings it about; what is documented and cannot be brought about fails.

Cause = Callable[[Gateway, Gateway, str, str], Any]
BAD_TOKEN = {"Authorization": "Bearer cg_00000000_" + "x" * 43}


def send(**options: Any) -> Cause:
    return lambda up, _down, path, method: up.ask(path, method, **options)


def twice_with_one_key(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    up.ask(path, method, json=GOOD, headers={"Idempotency-Key": "k"})
    return up.ask(path, method, json={**GOOD, "referral_code": "OTHER"}, headers={"Idempotency-Key": "k"})


def while_it_runs(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(up.parts.gateway), "submit", raising(StillRunning()))
        return up.ask(path, method, json=GOOD)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def one_too_many(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    limited = up.but(RATE_LIMIT_ADDRESS="1/hour", RATE_LIMIT_LOOKUPS="1/hour", RATE_LIMIT_SOURCE="1/hour")
    options = {"json": GOOD} if method == "post" else {}
    limited.ask(path, method, **options)
    return limited.ask(path, method, **options)


def without_redis(_up: Gateway, down: Gateway, path: str, method: str) -> Any:
    return down.ask(path, method, json=GOOD, headers={} if path.startswith("/in/") else BAD_TOKEN)


def cut_off(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    """The environment of gunicorn, which marks the end of the input itself."""
    environ = {"CONTENT_LENGTH": "99", "wsgi.input_terminated": True}
    return up.ask(path, method, data="{", content_type="application/json", environ_overrides=environ)


def with_less(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    return up.ask(path, method, headers=up.token(Scope.READ))


def nowhere(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    at = re.sub(r"{\w+}", "nothing", path)
    return up.ask(path, method, at=at, json={"reason": "x"}, headers={"If-Match": '"1"'})


def of_a_delivered_one(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    up.ids["operation_id"] = up.ask(SUBMIT[0], "post", json=GOOD).json["id"]
    return up.ask(path, method, json={"reason": "x"}, headers={"If-Match": '"1"'})


def of_one_under_way(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    version = up.dead()
    operation = f"{{crmgate}}:op:{up.ids['operation_id']}"
    up.redis.hset(operation, mapping={"state": "delivering", "lease": "L", "lease_until": time.time() + 60})
    return up.ask(path, method, json={"reason": "x"}, headers={"If-Match": version})


def edit(body: dict[str, Any], version: str = "") -> Cause:
    """An edit of a dead letter, by default of its current version."""

    def cause(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
        right = up.dead() if "{operation_id}" in path else ""
        return up.ask(path, method, json=body, headers={"If-Match": version or right} if version != "none" else {})

    return cause


def a_second_job(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    up.dead()
    up.ask(path, method, json={"start": True})
    return up.ask(path, method, json={"start": True})


def with_a_crm_away(up: Gateway, _down: Gateway, path: str, method: str) -> Any:
    return up.but(crm_url="http://127.0.0.1:9", **ADMIN).ask(path, method)


CAUSES: dict[ProblemCode, Cause] = {
    ProblemCode.EMPTY_BODY: send(data="", content_type="application/json"),
    ProblemCode.MALFORMED_JSON: send(data="{", content_type="application/json"),
    ProblemCode.MALFORMED_FORM: send(data=b"a=%81", content_type="application/x-www-form-urlencoded"),
    ProblemCode.TOO_DEEP: send(data='{"a":' + "[" * 9 + "]" * 9 + "}", content_type="application/json"),
    ProblemCode.INVALID_IDEMPOTENCY_KEY: send(json=GOOD, headers={"Idempotency-Key": "ğ".encode().decode("latin-1")}),
    ProblemCode.INVALID_QUERY: send(query_string={"accepted_from": "yesterday"}),
    ProblemCode.TOKEN_REQUIRED: send(headers={"Authorization": ""}),
    ProblemCode.INVALID_TOKEN: send(headers=BAD_TOKEN),
    ProblemCode.WRONG_SECRET: send(query_string={"token": "wrong"}),
    ProblemCode.INSUFFICIENT_SCOPE: with_less,
    ProblemCode.NOT_FOUND: nowhere,
    ProblemCode.STILL_RUNNING: while_it_runs,
    ProblemCode.NOT_A_DEAD_LETTER: of_a_delivered_one,
    ProblemCode.UNDER_WAY: of_one_under_way,
    ProblemCode.NOT_CONFIGURED: send(),
    ProblemCode.CRM_FAILED: with_a_crm_away,
    ProblemCode.JOB_RUNNING: a_second_job,
    ProblemCode.CHANGED_MEANWHILE: edit({"city": "İzmir"}, '"99"'),
    ProblemCode.INCOMPLETE_BODY: cut_off,
    ProblemCode.BODY_TOO_LARGE: send(data=b"x" * 70_000, content_type="application/json"),
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: send(data="x", content_type="text/plain"),
    ProblemCode.INVALID_BODY: edit({"nothing": "known"}),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: twice_with_one_key,
    ProblemCode.VERSION_REQUIRED: edit({"city": "İzmir"}, "none"),
    ProblemCode.RATE_LIMITED: one_too_many,
    ProblemCode.SERVICE_UNAVAILABLE: without_redis,
}


def documented() -> list[Any]:
    """Path, method and code of every problem that a client can cause."""
    found = []
    for path, method, operation in published().operations():
        for described in operation["responses"].values():
            codes = described.get("content", {}).get("application/problem+json", {}).get("examples", {})
            found += [(path, method, ProblemCode(code)) for code in codes if code != "internal_error"]
    return found


@pytest.mark.parametrize(("path", "method", "code"), documented())
def test_each_documented_problem_can_happen(
    gateway: Gateway, down: Gateway, path: str, method: str, code: ProblemCode
) -> None:
    answer = CAUSES[code](gateway, down, path, method)
    assert (answer.status_code, answer.json["type"]) == (code.status, code.uri)


AT_THE_DOORS = (
    *READ_BODY, ProblemCode.INVALID_IDEMPOTENCY_KEY, ProblemCode.STILL_RUNNING, ProblemCode.IDEMPOTENCY_KEY_REUSED,
    ProblemCode.RATE_LIMITED, ProblemCode.SERVICE_UNAVAILABLE,
)  # fmt: skip


@pytest.mark.parametrize("code", AT_THE_DOORS)
@pytest.mark.parametrize("path", SUBMIT)
def test_problems_of_submissions_are_documented(gateway: Gateway, down: Gateway, path: str, code: ProblemCode) -> None:
    assert CAUSES[code](gateway, down, path, "post").status_code == code.status


def test_no_problem_is_left_out() -> None:
    """405 belongs to no operation, because it means that there is none, and 421 is that of a wrong address."""
    described = {code for _, _, code in documented()}
    general = {ProblemCode.INTERNAL_ERROR, ProblemCode.METHOD_NOT_ALLOWED, ProblemCode.UNKNOWN_HOST}
    assert described == set(ProblemCode) - general


@pytest.mark.parametrize("path", SUBMIT)
def test_an_unexpected_fault_is_documented_too(gateway: Gateway, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(gateway.parts.gateway), "submit", raising(RuntimeError("a bug")))
    assert gateway.ask(path, "post", json=GOOD).status_code == 500


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

"""A gateway in this process whose answers are checked against its OpenAPI document."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from crmgate import services, web
from crmgate.config import Settings
from crmgate.model import Kind
from crmgate.store.tokens import Scope, digest, generate
from crmgate.testing.espocrm import FakeEspoCRM
from crmgate.web.openapi.document import build
from tests.dead_letters import add_dead_letters
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
        [self.ids["operation_id"]] = add_dead_letters(
            self.parts.ledger, provider="espocrm", kind=kind, at=time.time() - 60
        )
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


@cache
def published() -> Published:
    """The document, built once in each process that collects the tests."""
    app = Flask("crmgate")
    web.init_app(app)
    return Published(build(app))

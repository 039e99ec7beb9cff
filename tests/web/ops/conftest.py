"""The operator's pages of a whole application on a real Redis. Its provider, the sandbox CRM, gets no request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crmgate import create_app
from crmgate.config import Settings
from crmgate.services import Services
from crmgate.store.tokens import digest, generate
from tests.processes import RedisProcess

SITE = "https://gate.example"
OPERATE, READ = generate()[1], generate()[1]
"""Tokens that the application has from its settings."""


def settings(redis_process: RedisProcess, tokens: str) -> dict[str, str]:
    return {
        "CRM_PROVIDER": "sandbox", "SANDBOX_URL": "http://127.0.0.1:9", "REDIS_URL": redis_process.url,
        "API_TOKENS": tokens, "ALLOWED_HOSTS": "gate.example", "LOG_LEVEL": "ERROR",
    }  # fmt: skip


@dataclass
class Browser:
    """A browser of an operator: it keeps cookies, states its origin and fills in the CSRF value of its session."""

    client: FlaskClient
    site: str = SITE

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, base_url=self.site, **options)

    def post(self, path: str, origin: str | None = SITE, csrf: str | None = None, **fields: Any) -> TestResponse:
        """Post a form; `origin` and `csrf` are those of a page of the gateway unless others are given."""
        headers = {"Origin": self.site if origin == SITE else origin} if origin else {}
        data = {"csrf": self.csrf if csrf is None else csrf} | fields
        return self.client.post(path, base_url=self.site, data=data, headers=headers)

    def log_in(self, secret: str = OPERATE, **fields: str) -> TestResponse:
        return self.post("/ops/login", csrf="", secret=secret, **fields)

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.get("/ops/suspects").text)
        return found[1] if found else ""


@pytest.fixture(scope="module")
def app(redis_process: RedisProcess) -> Iterator[Flask]:
    tokens = f"ayse:operate:{digest(OPERATE)},reader:read:{digest(READ)}"
    made = create_app(Settings.load(settings(redis_process, tokens)))
    yield made
    made.extensions["crmgate.clicks"].stop()


@pytest.fixture
def parts(app: Flask, redis_client: redis.Redis) -> Services:
    """The services of the application, on an empty Redis."""
    services: Services = app.extensions["crmgate"]
    return services


@pytest.fixture
def stranger(app: Flask, parts: Services) -> Browser:
    return Browser(app.test_client())


@pytest.fixture
def operator(app: Flask, parts: Services) -> Browser:
    browser = Browser(app.test_client())
    assert browser.log_in().status_code == 303
    return browser


@pytest.fixture
def reader(app: Flask, parts: Services) -> Browser:
    browser = Browser(app.test_client())
    assert browser.log_in(READ).status_code == 303
    return browser


@pytest.fixture
def now(parts: Services) -> float:
    return parts.ledger.now()

"""The gateway in this process with a sandbox CRM, for tables of bodies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import requests
from flask import Flask
from flask.testing import FlaskClient

from crmgate import create_app
from crmgate.config import Settings
from crmgate.sandbox import create_app as create_sandbox
from crmgate.sandbox import running
from tests.processes import DEADLINE, RedisProcess

URL = "/api/v1/applications"


@dataclass
class Setup:
    """The gateway in this process, and the address of its sandbox CRM."""

    client: FlaskClient
    app: Flask
    crm: str

    def lead(self, body: bytes, kind: str) -> tuple[dict[str, Any], set[str]]:
        """What the sandbox has of a submission, and the codes of the warnings."""
        answer = self.client.post(URL, data=body, content_type=kind or None)
        assert answer.status_code == 201, answer.text
        operation = {"operation_id": answer.json["id"]}
        found = requests.get(f"{self.crm}/api/leads", operation, headers={"X-Sandbox-Key": "k"}, timeout=DEADLINE)
        [lead] = found.json()["leads"]
        return lead, {warning["code"] for warning in answer.json.get("warnings", [])}


@pytest.fixture(scope="module")
def setup(redis_process: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with redis.Redis.from_url(redis_process.url) as client:
        client.flushall()
    with running(create_sandbox(tmp_path_factory.mktemp("sandbox") / "leads.db", key="k")) as crm:
        environ = {
            "CRM_PROVIDER": "sandbox", "SANDBOX_URL": crm, "SANDBOX_KEY": "k", "REDIS_URL": redis_process.url,
            "LOG_LEVEL": "ERROR", "RATE_LIMIT_ADDRESS": "off", "RATE_LIMIT_PERSON": "off", "CRM_ON_DUPLICATE": "create",
            "CRM_INLINE_BUDGET": "30",
        }  # fmt: skip
        app = create_app(Settings.load(environ))
        yield Setup(app.test_client(), app, crm)
        app.extensions["crmgate.clicks"].stop()

"""`/healthz` and `/readyz`."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient


def break_redis(services: Any) -> None:
    services.gateway.ledger.down = True


def break_provider(services: Any) -> None:
    services.settings.provider = ""


def break_worker(services: Any) -> None:
    services.gateway.ledger.workers = 0


@pytest.mark.parametrize(
    ("fault", "failing", "remedy"),
    [
        (break_redis, {"redis", "worker"}, "REDIS_URL"),
        (break_provider, {"provider"}, "CRM_PROVIDER"),
        (break_worker, {"worker"}, "huey_consumer crmgate.worker.huey"),
    ],
)
def test_not_ready_says_what_to_do(
    client: FlaskClient, services: Any, fault: Any, failing: set[str], remedy: str
) -> None:
    fault(services)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (503, False)
    assert {check["name"] for check in answer.json["checks"] if not check["ok"]} == failing
    assert any(remedy in check["detail"] for check in answer.json["checks"])
    assert "redis.internal" not in answer.text
    assert client.get("/healthz").json == {"status": "ok"}


def test_ready(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    assert [check["name"] for check in answer.json["checks"]] == ["redis", "provider", "worker"]
    assert "sandbox" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"

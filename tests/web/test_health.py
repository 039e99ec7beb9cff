"""`/healthz` and `/readyz`."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.store.gate import Cause, Gate, explain


def break_redis(services: Any) -> None:
    services.gateway.ledger.down = True


def break_provider(services: Any) -> None:
    services.settings.provider = ""


def break_worker(services: Any) -> None:
    services.gateway.ledger.workers = 0


@pytest.mark.parametrize(
    ("fault", "failing", "remedy"),
    [
        (break_redis, {"redis", "worker", "clicks"}, "REDIS_URL"),
        (break_provider, {"provider"}, "CRM_PROVIDER"),
        (break_worker, {"worker"}, "huey_consumer crmgate.worker.huey"),
    ],
)
def test_an_answer_that_is_not_ready_has_remedies(
    client: FlaskClient, services: Any, fault: Any, failing: set[str], remedy: str
) -> None:
    fault(services)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (503, False)
    assert {check["name"] for check in answer.json["checks"] if not check["ok"]} == failing
    assert any(remedy in check["detail"] for check in answer.json["checks"])
    assert "redis.internal" not in answer.text
    assert client.get("/healthz").json == {"status": "ok"}


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Cause.OUTAGE, "the CRM does not answer"),
        (Cause.REFUSED, "the CRM refuses the credentials, or a right is missing"),
        (Cause.LIMITED, "no more requests for now until 2027-01-15T08:01:00.000Z"),
        (Cause.EPIDEMIC, "refuses different operations for the same reason"),
        (Cause.PAUSED, "an operator paused deliveries"),
        (Cause.read("closed"), "nothing is sent to the CRM: closed"),
    ],
)
def test_a_closed_gate_is_reported_and_submissions_are_still_accepted(
    client: FlaskClient, services: Any, cause: Cause, words: str
) -> None:
    gate = Gate(
        cause, since=1_800_000_000.0, until=1_800_000_060.0, confirmed=True, reason="invalid_value phone_4711", held=7
    )
    services.ledger.shut = gate
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    (check,) = [check for check in answer.json["checks"] if check["name"] == "provider"]
    assert words in check["detail"]
    assert "2027-01-15T08:00:00.000Z" in check["detail"]
    assert "7 operations wait" in check["detail"]
    shut = explain(gate)
    assert shut is not None
    assert f"What to do: {shut.remedy}." in check["detail"]
    assert "phone_4711" not in answer.text, "fields and codes of the CRM are for operators"
    assert "sandbox" not in answer.text


def test_ready(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    names = [check["name"] for check in answer.json["checks"]]
    assert names == ["redis", "provider", "worker", "clicks", "clocks", "redis_eviction"]
    assert "sandbox" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_clock_that_differs_is_reported_but_stays_ready(client: FlaskClient, services: Any) -> None:
    services.clocks.differ = {"worker-2": -45.04, "worker-3": 1.9}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    [check] = [check for check in answer.json["checks"] if not check["ok"]]
    assert check["name"] == "clocks"
    assert "a host is 45.0 s behind." in check["detail"]
    assert "NTP" in check["detail"]
    assert "worker-" not in answer.text, "names of hosts are for operators"


def test_a_risk_of_losing_data_is_reported_but_stays_ready(client: FlaskClient, services: Any) -> None:
    services.gateway.ledger.keeps = False
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["ready"]) == (200, True)
    assert answer.json["checks"][-1] == {"name": "redis_eviction", "ok": False, "detail": "noeviction"}

"""Every route that accepts submissions uses the spool while Redis is away, and each surface says what it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from crmgate import create_app
from crmgate.cli.redis_server import free_port
from crmgate.config import Settings
from crmgate.model import Kind, State
from crmgate.services import Services
from crmgate.store.spool import LOCK
from crmgate.store.tokens import digest, generate
from tests.processes import RedisProcess, wait_until

OPERATE = generate()[1]
BODY = {"first_name": "Ada", "email": "ada@example.com"}


def settings(folder: Path, url: str, **more: str) -> dict[str, str]:
    return {
        "CRM_PROVIDER": "sandbox", "SANDBOX_URL": "http://127.0.0.1:9", "CRM_DELIVERY": "queued", "REDIS_URL": url,
        "SPOOL_DIR": str(folder), "METRICS_PUBLIC": "on", "LOG_LEVEL": "ERROR",
        "SOURCE_SITE_SECRET": "s3cret-of-the-site",
        "TELEGRAM_URL": "https://t.me/example_bot", "API_TOKENS": f"ada:operate:{digest(OPERATE)}",
        "RATE_LIMIT_ADDRESS": "20/minute", "MIN_FILL_SECONDS": "0",
    } | more  # fmt: skip


@contextmanager
def running(environ: dict[str, str]) -> Iterator[Flask]:
    app = create_app(Settings.load(environ))
    yield app
    app.extensions["crmgate.clicks"].stop()
    parts: Services = app.extensions["crmgate"]
    if parts.drain:
        parts.drain.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def away(folder: Path) -> Iterator[Flask]:
    """An application whose Redis refuses connections."""
    with running(settings(folder, f"redis://127.0.0.1:{free_port()}/0")) as app:
        yield app


@pytest.fixture
def client(away: Flask) -> FlaskClient:
    return away.test_client()


@pytest.fixture
def parts(away: Flask) -> Services:
    services: Services = away.extensions["crmgate"]
    return services


def spooled(parts: Services) -> list[Any]:
    assert parts.spool
    found = [parts.spool.read(name) for _, name in parts.spool.ids()]
    return [entry.operation for entry in found if entry]


def values(client: FlaskClient) -> dict[str, float]:
    lines = (line.split() for line in client.get("/metrics").text.splitlines() if line.startswith("crmgate_spool"))
    return {name: float(value) for name, value in lines}


def check(client: FlaskClient, name: str) -> dict[str, Any]:
    [found] = (check for check in client.get("/readyz").json["checks"] if check["name"] == name)  # type: ignore[index]
    return dict(found)


def test_a_full_spool_answers_503(folder: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with running(settings(folder, url, SPOOL_MAX="1", RATE_LIMIT_ADDRESS="off")) as app:
        client, big = app.test_client(), "x" * 9000
        statuses = [
            client.post("/api/v1/applications", json={**BODY, "additional_info": f"{number} {big}"}).status_code
            for number in range(130)
        ]
        assert (statuses[0], statuses[-1]) == (202, 503)
        refused = client.post("/api/v1/applications", json={**BODY, "additional_info": big})
        assert int(refused.headers["Retry-After"]) > 0
        assert client.post("/in/site?token=s3cret-of-the-site", json=BODY).status_code == 503
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json["ready"], ready.json["degraded"]) == (503, False, False)  # type: ignore[index]
        assert "raise SPOOL_MAX" in check(client, "spool")["detail"]


def test_without_a_writable_folder_the_check_has_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with running(settings(tmp_path / "file", f"redis://127.0.0.1:{free_port()}/0")) as app:
        client = app.test_client()
        assert client.get("/readyz").status_code == 503
        assert check(client, "spool") == {
            "name": "spool", "ok": False,
            "detail": "SPOOL_DIR cannot be used: File exists. It takes a folder that this user may write.",
        }  # fmt: skip
        assert values(client) == {"crmgate_spool_up": 0}
        refused = client.post("/api/v1/applications", json=BODY)
        assert refused.status_code == 503, "neither Redis nor the CRM takes it"


def test_an_application_is_accepted_and_its_id_answers(client: FlaskClient, parts: Services) -> None:
    headers = {"Idempotency-Key": "k1"}
    answer = client.post("/api/v1/applications", json=BODY, headers=headers)
    assert (answer.status_code, answer.json["status"]) == (202, "waiting")  # type: ignore[index]
    assert client.post("/api/v1/applications", json=BODY, headers=headers).json == answer.json
    other = client.post("/api/v1/applications", json={**BODY, "first_name": "Eve"}, headers=headers)
    assert (other.status_code, other.json["type"]) == (422, "/problems/idempotency-key-reused")  # type: ignore[index]
    shown = client.get(answer.headers["Location"])
    assert (shown.status_code, shown.json) == (200, answer.json)
    token = {"Authorization": f"Bearer {OPERATE}"}
    assert client.get(answer.headers["Location"], headers=token).json == answer.json
    assert client.get(f"/api/v1/operations/{'0' * 32}").status_code == 503, "only Redis knows others"
    [operation] = spooled(parts)
    assert operation.payload["email"] == "ada@example.com"


def test_a_double_click_without_a_key(client: FlaskClient, parts: Services) -> None:
    for _ in range(2):
        assert client.post("/api/v1/applications", json=BODY).status_code == 202
    assert len(spooled(parts)) == 1


def test_a_robot_is_a_suspect(client: FlaskClient, parts: Services) -> None:
    assert client.post("/api/v1/applications", json={**BODY, "_hp": "x"}).status_code == 202
    assert [operation.state for operation in spooled(parts)] == [State.SUSPECT]


def test_the_limit_of_an_address_is_counted_in_memory(client: FlaskClient) -> None:
    answers = [client.post("/api/v1/applications", json={**BODY, "age": number}).status_code for number in range(25)]
    assert answers[:20] == [202] * 20
    assert answers[-1] == 429


def test_a_form_tool_and_a_click(client: FlaskClient, parts: Services) -> None:
    answer = client.post("/in/site?token=s3cret-of-the-site", json=BODY)
    assert (answer.status_code, answer.json["received"]) == (200, 1)  # type: ignore[index]
    assert client.get("/go/telegram").status_code == 302
    wait_until("the click is in the spool", lambda: len(spooled(parts)) == 2)
    assert [operation.kind for operation in spooled(parts)] == [Kind.CREATE_LEAD, Kind.CREATE_MINIMAL_LEAD]


def test_it_is_ready_but_degraded_and_the_metrics_have_the_spool(client: FlaskClient) -> None:
    assert check(client, "spool")["detail"] == "It is empty."
    assert values(client) == dict.fromkeys(
        ("crmgate_spool_operations", "crmgate_spool_bytes", "crmgate_spool_oldest_seconds"), 0.0
    ) | {"crmgate_spool_up": 1}
    client.post("/api/v1/applications", json=BODY)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["ready"], ready.json["degraded"]) == (200, True, True)  # type: ignore[index]
    assert not check(client, "redis")["ok"]
    assert check(client, "spool")["detail"].startswith("1 submissions (0.0 MB), the oldest for ")
    found = values(client)
    assert found["crmgate_spool_operations"] == 1
    assert found["crmgate_spool_bytes"] > 4096


def test_the_next_process_hands_it_to_redis(
    client: FlaskClient, folder: Path, redis_process: RedisProcess, redis_client: redis.Redis
) -> None:
    answer = client.post("/api/v1/applications", json=BODY)
    with running(settings(folder, redis_process.url)) as app:
        parts: Services = app.extensions["crmgate"]  # the process before this one runs on, and does not reach Redis
        restarted = app.test_client()
        restarted.post("/ops/login", data={"secret": OPERATE}, headers={"Origin": "http://localhost"})
        assert "1 submission in the spool of this host" in restarted.get("/ops/").text
        assert parts.drain
        parts.drain.start()
        wait_until("the spool is empty", lambda: spooled(parts) == [])
        assert (folder / LOCK).exists()
        stored = parts.ledger.get(answer.json["id"])  # type: ignore[index]
        assert stored is not None
        assert stored.payload["email"] == "ada@example.com"
        assert "in the spool of this host" not in restarted.get("/ops/").text
        assert restarted.get("/readyz").json["degraded"] is False  # type: ignore[index]

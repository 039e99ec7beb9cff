"""`crmgate check` and `crmgate send`, the first commands of an operator."""

from __future__ import annotations

import importlib
import json
import re
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import redis

from crmgate.store.clock import Clocks
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.cli.conftest import Run, output_of
from tests.dead_letters import add_dead_letters
from tests.integration.redis_servers import PASSWORD, Server, ended
from tests.processes import RedisProcess
from tests.world import at


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


def results(answer: Any) -> dict[str, str]:
    return {line["check"]: line["result"] for line in answer["checks"]}


def test_every_check_passes(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    ledger.beat("w")
    result = run("check", "--json", **configured)
    answer = output_of(result)
    assert (result.exit_code, answer["ok"]) == (0, True)
    assert {"configuration", "redis", "worker", "operations", "crm", "plugins"} <= results(answer).keys()
    assert set(results(answer).values()) == {"ok"}
    table = run("check", **configured)
    assert table.exit_code == 0
    assert table.stdout.startswith("CHECK ")


def test_a_recommended_change_is_a_warning(run: Run, configured: dict[str, str], ledger: Ledger, folder: Path) -> None:
    ledger.beat("w")
    add_dead_letters(ledger, 2, provider="mini", at=time.time() - 100)
    (folder / "plugins/broken.py").write_text("import nothing_of_that_name\n")
    result = run("check", "--json", **configured)
    found = results(output_of(result))
    assert result.exit_code == 0
    assert found["operations"] == "warn"
    [broken] = [name for name in found if "broken.py" in name]
    assert found[broken] == "warn"
    assert "crmgate dlq list" in result.stdout


def test_a_clock_that_differs_is_a_warning_with_its_host(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis
) -> None:
    ledger.beat("w")
    Clocks(redis_client, lambda: time.time() + 600, "worker-2").note()
    result = run("check", "--json", **configured)
    found = results(output_of(result))
    assert (result.exit_code, found["clocks"], found["worker"]) == (0, "warn", "ok")
    assert "worker-2 is 600.0 s ahead." in result.stdout


HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("beats", "status", "result"),
    [
        ({f"{HERE}:7": 0}, 0, "ok"),
        ({f"{HERE}:6": -100, f"{HERE}:7": -5}, 0, "ok"),
        ({}, 1, "fail"),
        ({f"{HERE}:7": -100}, 1, "fail"),
        ({f"x{HERE}:7": 0, f"{HERE}0:7": 0, "7": 0}, 1, "fail"),
    ],
)
def test_the_worker_of_this_host(
    run: Run, configured: dict[str, str], ledger: Ledger, beats: dict[str, float], status: int, result: str
) -> None:
    """Workers of other hosts do not count: the check restarts the container of this one."""
    for name, ago in beats.items():
        with at(ledger, time.time() + ago):
            ledger.beat(name)
    done = run("check", "--worker", "--json", **configured)
    assert (done.exit_code, results(output_of(done))) == (status, {"worker": result})


def test_without_redis_the_worker_is_not_restarted(run: Run, mini: dict[str, str]) -> None:
    done = run("check", "--worker", "--json", **mini | {"REDIS_URL": "redis://127.0.0.1:1"})
    assert (done.exit_code, results(output_of(done))) == (0, {"worker": "warn"})


def test_a_wrong_configuration_fails_the_check_of_the_worker(run: Run, mini: dict[str, str]) -> None:
    done = run("check", "--worker", "--json", **mini | {"REDIS_URL": "http://127.0.0.1:1"})
    assert (done.exit_code, results(output_of(done))) == (2, {"configuration": "fail"})


def test_without_a_worker_nothing_would_be_retried(run: Run, configured: dict[str, str]) -> None:
    result = run("check", "--json", **configured)
    assert (result.exit_code, results(output_of(result))["worker"]) == (1, "fail")
    assert "huey_consumer" in result.stdout


def test_a_crm_that_refuses_is_a_failure(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    ledger.beat("w")
    result = run("check", "--json", **configured, MINI_MODE="refused")
    found = results(output_of(result))
    assert (result.exit_code, found["crm"], found["crm token"], found["crm address"]) == (1, "fail", "fail", "ok")
    assert "token-of-mini-4711" not in result.output


def test_a_configuration_that_cannot_work_hides_nothing_else(
    run: Run, mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger
) -> None:
    del mini["MINI_TOKEN"]
    result = run("check", "--json", **mini, REDIS_URL=redis_process.url, CRM_TIMEOUT="x", CRM_DELIVERY="y")
    answer = output_of(result)
    assert result.exit_code == 2
    problems = [line["detail"] for line in answer["checks"] if line["check"] == "configuration"]
    assert {re.split("[:,]", problem)[0] for problem in problems} == {"CRM_TIMEOUT", "CRM_DELIVERY", "MINI_TOKEN"}
    assert (results(answer)["redis"], results(answer)["worker"]) == ("ok", "fail")


def test_an_absent_redis_is_one_line(run: Run, mini: dict[str, str]) -> None:
    result = run("check", "--json", **mini, REDIS_URL="redis://:secret-4711@127.0.0.1:1/0")
    found = results(output_of(result))
    assert (result.exit_code, found["redis"], found["crm"]) == (1, "fail", "ok")
    assert "worker" not in found
    assert "secret-4711" not in result.output


def test_a_user_that_may_run_no_script_is_the_only_problem_named(
    run: Run, mini: dict[str, str], redis_process: RedisProcess, redis_client: redis.Redis
) -> None:
    redis_client.execute_command("ACL SETUSER", "limited", "on", "nopass", "~*", "+@all", "-@scripting")
    place = redis_process.url.rpartition("@")[2]
    try:
        result = run("check", "--json", **mini, REDIS_URL=f"redis://limited:x@{place}")
    finally:
        redis_client.acl_deluser("limited")
    answer = output_of(result)
    [failed] = [line for line in answer["checks"] if line["result"] != "ok"]
    assert (result.exit_code, failed["check"], failed["result"]) == (1, "redis", "fail")
    assert "runs no scripts. NOPERM: its user lacks rights: docs/configuration.md has the ACL line" in failed["detail"]


def test_a_managed_redis_is_checked_as_far_as_it_allows(run: Run, mini: dict[str, str], tmp_path: Path) -> None:
    """CONFIG does not exist there, the policy is volatile-lru, and there is no append-only file."""
    lines = (f"requirepass {PASSWORD}", 'save ""', "maxmemory-policy volatile-lru", 'rename-command CONFIG ""')
    server = Server(tmp_path / "managed", "redis", *lines)
    with ended(server):
        server.start()
        with server.client() as client:
            Ledger(client, wake_message).beat("w")
        address = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port), "REDIS_PASSWORD": PASSWORD}
        result = run("check", "--json", **mini, **address)
    answer = output_of(result)
    found = {line["check"]: line for line in answer["checks"]}
    assert (result.exit_code, results(answer)["redis"], results(answer)["worker"]) == (0, "ok", "ok")
    assert found["redis_eviction"]["result"] == "warn"
    assert "set maxmemory-policy to noeviction, it is volatile-lru" in found["redis_eviction"]["detail"]
    assert found["redis_persistence"]["result"] == "warn", "neither a success nor a failure"
    assert "could not be checked" in found["redis_persistence"]["detail"]


class FakeGateway(BaseHTTPRequestHandler):
    """A gateway that answers `waiting` twice."""

    posted: ClassVar[list[tuple[str, str, Any]]] = []
    answers: ClassVar[list[tuple[int, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.posted.append((self.path, self.headers["Idempotency-Key"], body))
        self.reply()

    def do_GET(self) -> None:
        self.reply()

    def reply(self) -> None:
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Location", "/api/v1/operations/1")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def fake_gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(importlib.import_module("crmgate.cli.send"), "POLL", 0.01)
    FakeGateway.posted, FakeGateway.answers = [], []  # type: ignore[misc]
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeGateway)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


WAITING = {"id": "1", "status": "waiting", "tracking_code": "CG-0000-0001"}


def test_a_lead_is_followed_to_the_crm(run: Run, fake_gateway: str) -> None:
    FakeGateway.answers = [(202, WAITING), (200, WAITING), (200, WAITING | {"status": "delivered"})] * 2  # type: ignore[misc]
    result = run("send", "lead", "--url", fake_gateway, "--set", "city=Izmir")
    assert (result.exit_code, "The CRM has it" in result.stdout) == (0, True)
    answer = output_of(run("send", "lead", "--url", fake_gateway, "--json"))
    assert (answer["status"], answer["id"]) == ("delivered", "1")
    (path, key, body), (_, other, _) = FakeGateway.posted
    assert (path, body["city"], body["email"]) == ("/api/v1/applications", "Izmir", "crmgate-test@example.com")
    assert key != other


def test_a_submission_that_is_not_delivered_is_reported(run: Run, fake_gateway: str) -> None:
    FakeGateway.answers = [(202, WAITING), (200, WAITING | {"status": "failed"}), (202, WAITING)]  # type: ignore[misc]
    failed = run("send", "lead", "--url", fake_gateway)
    assert (failed.exit_code, "crmgate dlq show 1" in failed.stdout) == (1, True)
    late = run("send", "lead", "--url", fake_gateway, "--wait", "0")
    assert (late.exit_code, "crmgate ops show 1" in late.stdout) == (1, True)


def test_a_refusal_names_the_fields(run: Run, fake_gateway: str) -> None:
    error = {"field": "personal_info.phone", "code": "invalid_phone", "message": "Expected a phone number."}
    problem = {"title": "Some fields need attention", "status": 422, "detail": "Correct them.", "errors": [error]}
    FakeGateway.answers = [(422, problem), (502, {})]  # type: ignore[misc]
    result = run("send", "lead", "--url", fake_gateway, "--phone", "12")
    assert result.exit_code == 1
    assert "- personal_info.phone: Expected a phone number." in result.stderr
    assert "is not a gateway (HTTP 502)" in run("send", "lead", "--url", fake_gateway).stderr


def test_a_click_may_only_be_counted(run: Run, fake_gateway: str) -> None:
    FakeGateway.answers = [(200, {"status": "counted"})]  # type: ignore[misc]
    result = run("send", "click", "--url", fake_gateway, "--channel", "whatsapp")
    assert (result.exit_code, "MINIMAL_LEADS is off" in result.stdout) == (0, True)
    [(path, _, body)] = FakeGateway.posted
    assert (path, body["channel"], body["referral_code"]) == ("/api/v1/messenger-events", "whatsapp", "TEST")


def test_without_a_gateway_the_remedy_is_reported(run: Run) -> None:
    result = run("send", "lead", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "--url" in result.stderr

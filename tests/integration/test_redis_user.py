"""A user with no more rights than the documentation says, reached by TLS with certificates on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from crmgate.store import keys
from tests.integration.redis_servers import (
    PASSWORD,
    Server,
    TlsProxy,
    deliver_in_every_way,
    documented_user,
    ended,
    keeper,
    run,
    somebody,
)
from tests.integration.stack import Stack
from tests.processes import DEADLINE, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = keeper(tmp_path_factory.mktemp("acl"), "redis", documented_user())
    with ended(server):
        server.start()
        yield server


@pytest.fixture(scope="module")
def stack(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("tls")
    proxy = TlsProxy(folder, server.port)
    settings = {
        "REDIS_URL": "", "REDIS_HOST": "localhost", "REDIS_PORT": str(proxy.port), "REDIS_USERNAME": "crmgate",
        "REDIS_PASSWORD": PASSWORD, "REDIS_TLS": "on", "REDIS_CA_FILE": str(proxy.ca_file),
        "REDIS_CERT_FILE": str(proxy.cert_file), "REDIS_KEY_FILE": str(proxy.key_file),
    }  # fmt: skip
    with Stack(folder, **settings) as stack:
        yield run(stack)
    proxy.close()


def test_the_documented_rights_are_enough(stack: Stack, server: Server) -> None:
    deliver_in_every_way(stack)
    checks = {check.name: (check.ok, check.detail) for check in stack.ledger.health()}
    assert all(ok for ok, _ in checks.values()), checks
    assert checks["redis_persistence"] == (True, "Redis writes an append-only file.")
    wait_until("the append-only file is rewritten", lambda: stack.client.get(keys.REWRITE) == b"done")
    with server.client() as client:
        # Redis may refuse the command CLIENT SETINFO, with which redis-py names itself when it connects.
        assert {entry["object"] for entry in client.acl_log()} <= {"client"}
    assert "Traceback" not in stack.web.output() + stack.worker.output()


def test_without_the_right_to_run_scripts_the_gateway_is_not_ready(stack: Stack, server: Server) -> None:
    with server.client() as client:
        client.execute_command("ACL SETUSER", "crmgate", "-@scripting")
        answer = requests.get(f"{stack.url}/readyz", timeout=DEADLINE)
        by_the_crm = stack.post(somebody())
        client.execute_command("ACL SETUSER", "crmgate", "+@scripting")
    details = {check["name"]: check["detail"] for check in answer.json()["checks"] if not check["ok"]}
    assert (answer.status_code, by_the_crm.status_code) == (503, 201)
    assert details["redis"].startswith("Redis accepts writes, but runs no scripts. NOPERM: its user lacks rights")
    assert details.keys() == {"redis", "worker", "clicks"}
    assert "is not usable" in details["worker"]


def test_a_certificate_of_an_unknown_authority_is_refused(stack: Stack) -> None:
    stack.web.kill()
    stack.start_web(REDIS_CA_FILE="")
    assert stack.submit(somebody()), "by the last resort"
    assert "the ledger is unavailable (ConnectionError)" in stack.web.output()


def test_what_the_user_may_not_ask_is_said_and_fails_nothing(stack: Stack, server: Server) -> None:
    with server.client() as client:
        client.execute_command("ACL SETUSER", "crmgate", "-info")
        unknown = stack.ledger.health()[1:]
        client.execute_command("ACL SETUSER", "crmgate", "+info", "-config")
        client.config_set("appendonly", "no")
        [persistence] = [check for check in stack.ledger.health() if check.name == "redis_persistence"]
        client.execute_command("ACL SETUSER", "crmgate", "+config|get")
        client.config_set("appendonly", "yes")
    assert [c.name for c in unknown] == ["redis_version", "redis_eviction", "redis_memory", "redis_persistence"]
    assert all(check.ok and "could not be checked" in check.detail for check in (*unknown, persistence))

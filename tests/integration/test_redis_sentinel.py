"""Redis under Sentinel: the master dies, and what was accepted is delivered all the same, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.integration.redis_servers import PASSWORD, Server, deliver_in_every_way, ended, keeper, leads, run, somebody
from tests.integration.stack import Stack
from tests.processes import wait_until


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """A master, two replicas of it, and a Sentinel."""
    folder = tmp_path_factory.mktemp("sentinel")
    master = keeper(folder, "master")
    follow = ("repl-diskless-sync-delay 0", f"replicaof 127.0.0.1 {master.port}")
    replicas = [keeper(folder, name, *follow) for name in ("one", "two")]
    sentinel = Server(
        folder, "sentinel", "requirepass watch", f"sentinel monitor leads 127.0.0.1 {master.port} 1",
        f"sentinel auth-pass leads {PASSWORD}", "sentinel down-after-milliseconds leads 2000",
        "sentinel failover-timeout leads 3000", flags=("--sentinel",),
    )  # fmt: skip
    with ended(sentinel, master, *replicas):
        for server in (master, *replicas):
            server.start()
        with master.client() as client:
            wait_until("the replicas follow", lambda: client.info("replication")["connected_slaves"] == 2)
        sentinel.start(password="watch")
        with sentinel.client(password="watch") as watch:
            wait_until("Sentinel knows them", lambda: watch.sentinel_masters()["leads"]["num-slaves"] == 2)
        yield [master, *replicas, sentinel]


@pytest.fixture(scope="module")
def stack(servers: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "REDIS_URL": "", "REDIS_PASSWORD": PASSWORD, "REDIS_SENTINEL_MASTER": "leads", "REDIS_REPLICAS": "1",
        "REDIS_TIMEOUT": "4",
        "REDIS_SENTINELS": f"127.0.0.1:1,127.0.0.1:{servers[-1].port}", "REDIS_SENTINEL_PASSWORD": "watch",
    }  # fmt: skip
    with Stack(tmp_path_factory.mktemp("web"), **settings) as stack:
        yield run(stack)
        for watch in stack.client.connection_pool.sentinel_manager.sentinels:  # type: ignore[attr-defined]
            watch.close()


def test_a_lead_goes_all_the_way(stack: Stack) -> None:
    deliver_in_every_way(stack)


def test_a_failover_loses_no_accepted_lead_and_makes_none_twice(stack: Stack, servers: list[Server]) -> None:
    before = leads(stack)
    true = [stack.submit_queued(somebody()) for _ in range(10)]
    servers[0].kill()
    answers: list[requests.Response] = []

    def taken_again() -> bool:
        answers.append(stack.post(somebody(), headers={"Prefer": "respond-async"}))
        return answers[-1].status_code == 202

    wait_until("a new master takes submissions", taken_again)
    assert {answer.status_code for answer in answers} <= {201, 202, 503}
    true += [answer.json()["id"] for answer in answers if answer.status_code == 202]
    for operation_id in true:
        stack.wait_for(operation_id, "delivered")
    names = [lead["firstName"] for lead in stack.espocrm.leads]
    assert len(names) == len(set(names)) >= before + len(true)
    deliver_in_every_way(stack)


def test_what_no_replica_holds_is_not_accepted(stack: Stack, servers: list[Server]) -> None:
    stack.espocrm.stop()
    for server in servers[1:3]:
        with server.client() as client:
            role = client.role()[0]
        if role == b"slave":
            server.kill()
    assert stack.post(somebody(), headers={"Prefer": "respond-async"}).status_code == 503
    assert "the ledger is unavailable (NotReplicated)" in stack.web.output()
    stack.espocrm.start()

"""A Redis Cluster of three nodes. crmgate knows the address of one that does not hold its keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crmgate.store import keys
from tests.integration.redis_servers import (
    PASSWORD,
    Server,
    agree,
    deliver_in_every_way,
    documented_user,
    ended,
    form_cluster,
    keeper,
    leads,
    run,
    somebody,
)
from tests.integration.stack import Stack
from tests.processes import wait_until


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("cluster")
    lines = ("cluster-enabled yes", "cluster-node-timeout 2000", documented_user("+cluster|slots"))
    nodes = [keeper(folder / name, name, *lines, f"cluster-config-file {name}.nodes") for name in ("a", "b", "c")]
    with ended(*nodes):
        for node in nodes:
            node.start()
        form_cluster(nodes)
        yield nodes


@pytest.fixture(scope="module")
def stack(nodes: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with nodes[0].client() as client:
        holder = client.execute_command("CLUSTER KEYSLOT", "{crmgate}:due") * 3 // 16384
    settings = {
        "REDIS_URL": "", "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(nodes[holder - 1].port),  # one of the others
        "REDIS_PASSWORD": PASSWORD, "REDIS_CLUSTER": "on", "REDIS_USERNAME": "crmgate",
    }  # fmt: skip
    with Stack(tmp_path_factory.mktemp("web"), **settings) as stack:
        yield run(stack)


def test_a_lead_goes_all_the_way(stack: Stack, nodes: list[Server]) -> None:
    deliver_in_every_way(stack)
    checks = {check.name: check for check in stack.ledger.health()}
    assert all(check.ok for check in checks.values()), checks
    assert checks["redis_persistence"].detail == "Redis writes an append-only file."
    wait_until("the append-only files are rewritten", lambda: stack.client.get(keys.REWRITE) == b"done")
    wait_until("on each node", lambda: all(_has_rewritten(node) for node in nodes))
    assert "Traceback" not in stack.web.output() + stack.worker.output()


def test_a_node_that_lost_the_scripts_gets_them_again(stack: Stack, nodes: list[Server]) -> None:
    for node in nodes:
        with node.client() as client:
            client.script_flush()
    deliver_in_every_way(stack)


def test_a_lost_node_costs_an_honest_answer_and_no_lead(stack: Stack, nodes: list[Server]) -> None:
    with nodes[0].client() as client:
        holder = nodes[client.execute_command("CLUSTER KEYSLOT", "{crmgate}:due") * 3 // 16384]
    stack.espocrm.stop()
    accepted = [stack.submit(somebody(), 202)]
    holder.kill()
    before = leads(stack)
    answer = stack.post(somebody())
    assert answer.status_code == 503, answer.text
    assert stack.post(somebody(), headers={"Prefer": "respond-async"}).status_code == 503
    holder.start()
    agree(nodes)
    stack.espocrm.start()
    for operation_id in accepted:
        stack.wait_for(operation_id, "delivered")
    assert leads(stack) == before + 1


def _has_rewritten(node: Server) -> bool:
    """Whether the node has rewritten its append-only file."""
    with node.client() as client:
        return bool(client.info("persistence")["aof_last_rewrite_time_sec"] >= 0)

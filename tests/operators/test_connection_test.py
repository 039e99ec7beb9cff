"""The shared connection test: frequent calls do not load the CRM."""

from __future__ import annotations

import threading

import pytest
import redis

from crmgate.model import Check, Connection
from crmgate.operators.connection_test import KEPT, KEPT_FAILED, ConnectionTest
from crmgate.store.client import connect


class CountingCrm:
    name, credentials = "scripted", "c1"

    def __init__(self, connected: bool = True) -> None:
        self.connected, self.tests = connected, 0

    def test_connection(self, budget: float) -> Connection:
        assert budget == 4.0
        self.tests += 1
        return Connection(self.name, self.connected, 12.5, (Check("login", self.connected, "detail"),))


class Processes:
    def __init__(self, client: redis.Redis, connected: bool = True) -> None:
        self.client, self.now, self.crm = client, 0.0, CountingCrm(connected)

    def process(self) -> ConnectionTest:
        return ConnectionTest(self.client, self.crm, 4.0, lambda: self.now)  # type: ignore[arg-type]


@pytest.mark.parametrize(("connected", "kept"), [(True, KEPT), (False, KEPT_FAILED)])
def test_processes_share_a_result_for_a_while(redis_client: redis.Redis, connected: bool, kept: float) -> None:
    processes = Processes(redis_client, connected)
    one, other = processes.process(), processes.process()
    first = one.result()
    assert (one.result(), other.result(), processes.crm.tests) == (first, first, 1)
    processes.now += kept - 0.1
    assert (other.result(), processes.crm.tests) == (first, 1)
    processes.now += 0.2
    [shared] = redis_client.keys()  # type: ignore[misc]
    assert 0 < redis_client.pttl(shared) <= kept * 1000
    redis_client.delete(shared)  # as when it expires
    assert one.result() != first
    assert processes.crm.tests == 2


def test_many_at_once_are_one_test(redis_client: redis.Redis) -> None:
    processes = Processes(redis_client)
    process = processes.process()
    threads = [threading.Thread(target=process.result) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert processes.crm.tests == 1


def test_repaired_credentials_are_tested_at_once(redis_client: redis.Redis) -> None:
    processes = Processes(redis_client, connected=False)
    assert not processes.process().result()[1].connected
    processes.crm.credentials, processes.crm.connected = "c2", True
    assert processes.process().result()[1].connected


def test_the_crm_can_be_tested_without_redis() -> None:
    processes = Processes(connect("redis://127.0.0.1:1/0", 0.2), connected=False)
    process = processes.process()
    assert process.result() == process.result()
    assert processes.crm.tests == 1

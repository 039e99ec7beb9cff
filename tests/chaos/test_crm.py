"""The fake CRMs of the chaos: what they stored outlives a SIGKILL, and nothing else does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from crmgate.cli.redis_server import free_port
from crmgate.model import Kind, Lead, Operation, new_id
from crmgate.plugin_host.loader import discover
from tests.chaos.auditor import read_leads
from tests.chaos.site import API_KEY, PORTAL_SECRET
from tests.processes import DEADLINE, Process, wait_until


class Crm:
    """The process, and the plugin that talks to it."""

    def __init__(self, provider: str, folder: Path) -> None:
        port = free_port()
        self.provider, self.url, self.database = provider, f"http://127.0.0.1:{port}", folder / "crm.sqlite"
        command = [sys.executable, "-m", "tests.chaos.crm", provider, str(self.database), "--port", str(port)]
        self.process = Process("crm", command, folder)
        settings = {
            "ESPOCRM_URL": self.url, "ESPOCRM_API_KEY": API_KEY,
            "BITRIX_WEBHOOK_URL": f"{self.url}/rest/1/{PORTAL_SECRET}/",
        }  # fmt: skip
        self.plugin = discover(Path("plugins")).choose(provider, settings, 5, ("127.0.0.1",))

    def start(self) -> None:
        self.process.start()
        wait_until("the CRM answers", self._answers)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.stop()

    def fail(self, **fault: Any) -> None:
        requests.post(f"{self.url}/__fake__/faults", json=fault, timeout=DEADLINE).raise_for_status()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/__fake__/faults", timeout=1).ok
        except requests.ConnectionError:
            return False


@pytest.fixture(params=["espocrm", "bitrix"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crm]:
    running = Crm(request.param, tmp_path)
    running.start()
    yield running
    running.process.kill()


def operation(name: str) -> Operation:
    lead = Lead(first_name="Ada", last_name=name, email=f"{name}@example.com", phone="+905321234567")
    return Operation(new_id(), Kind.CREATE_LEAD, lead.to_dict(), 0.0)


def test_a_lead_outlives_the_process_and_is_found_again(crm: Crm) -> None:
    first, second = operation("first"), operation("second")
    made = crm.plugin.deliver(first, 5)
    crm.kill()
    crm.start()
    found = crm.plugin.find(first, 5)
    assert found is not None
    assert found.record_id == made.record_id
    assert crm.plugin.deliver(first, 5).record_id == made.record_id
    assert crm.plugin.deliver(second, 5).record_id == made.record_id, "the same phone is the same person"
    assert [lead.email for lead in read_leads(crm.provider, crm.database)] == ["first@example.com"]


def test_ids_go_on_where_they_were(crm: Crm) -> None:
    one, other = operation("one"), operation("other")
    first = crm.plugin.deliver(one, 5).record_id
    crm.kill()
    crm.start()
    there = Operation(other.id, other.kind, {**other.payload, "phone": "+905329999999"}, 0.0)
    second = crm.plugin.deliver(there, 5).record_id
    assert second != first
    crm.kill()
    crm.start()
    for made, record in ((one, first), (there, second)):
        found = crm.plugin.find(made, 5)
        assert found is not None
        assert found.record_id == record

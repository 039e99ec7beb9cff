"""The sandbox as a process: one line of output, a clean end, and leads that survive a restart."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Process, wait_until
from tests.sandbox.conftest import Client


class Sandbox(Process):
    """`python -m crmgate.sandbox` on a free port."""

    def __init__(self, folder: Path, key: str) -> None:
        database = folder / "data" / "leads.db"
        command = [sys.executable, "-m", "crmgate.sandbox", "--port", "0", "--database", str(database)]
        super().__init__("sandbox", command, folder, {"SANDBOX_KEY": key})
        self.key = key

    def begin(self) -> Client:
        self.log.unlink(missing_ok=True)
        self.start()
        line = wait_until("the start line", lambda: self.output() if self.output().endswith("\n") else "")
        return Client(line.removeprefix("Sandbox CRM on ").partition(",")[0], self.key or "sandbox")


@pytest.fixture
def key() -> str:
    return "secret"


@pytest.fixture
def process(tmp_path: Path, key: str) -> Iterator[Sandbox]:
    process = Sandbox(tmp_path, key)
    yield process
    process.kill()


@pytest.mark.parametrize("key", ["secret", ""], ids=["own key", "default key"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_and_logs_only_that_it_started(process: Sandbox, number: signal.Signals) -> None:
    client = process.begin()
    assert client.create(first_name="Ada").status_code == 201
    assert Client(client.url, "wrong").create(first_name="Ada").status_code == 401
    client.behave("forget")
    with pytest.raises(OSError, match="without response"):
        client.create(first_name="Ada")
    assert process.stop(number) == 0
    assert process.output() == f"Sandbox CRM on {client.url}, leads in {process.command[-1]}\n"


def test_it_ends_while_a_request_hangs(process: Sandbox) -> None:
    client = process.begin()
    client.behave("hang")
    with pytest.raises(OSError, match="timed out"):
        client.send("POST", "/api/leads", {"first_name": "Ada"}, timeout=0.2)
    assert process.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_leads_outlive_the_process(process: Sandbox, number: signal.Signals) -> None:
    lead_id = process.begin().create(operation_id="op1", first_name="Ada").json()["id"]
    process.stop(number)
    client = process.begin()
    assert [lead["first_name"] for lead in client.leads()] == ["Ada"]
    assert client.create(operation_id="op1").json()["id"] == lead_id

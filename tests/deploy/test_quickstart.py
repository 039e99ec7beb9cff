"""Every shell block of the quickstart, run one after the other in a copy of the project, as a newcomer runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from crmgate.testing.espocrm import FakeEspoCRM
from tests.deploy.files import ROOT
from tests.processes import DEADLINE, Process, free_port, wait_until

PAGE = (ROOT / "docs/quickstart.md").read_text()
START, READY, LEAD, FORM, SETTINGS, TEST = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
STAYS = {".env", ".crmgate", ".venv", ".git"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project without what a developer's own runs left behind; `.venv` is this Python's."""
    folder = tmp_path / "crmgate"
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in STAYS:
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def port(checkout: Path, tmp_path: Path) -> Iterator[int]:
    """`make run` on a free port; what is installed already is not installed again."""
    port = free_port()
    process = Process("make", ["bash", "-ec", f"cd {checkout}\nexec {START}"], tmp_path, {
        "PORT": str(port), "MAKEFLAGS": "--old-file=.venv/.run", "CRMGATE_HOME": str(tmp_path / "home"),
    })  # fmt: skip
    process.start()
    try:
        wait_until("the gateway is ready", lambda: "crmgate is ready" in process.output() or not process.running)
        assert process.running, process.output()
        yield port
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does: to make and all that it started
        process.stop(0)


def bash(script: str, folder: Path, **environ: str) -> str:
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env={"PATH": "/usr/bin:/bin"} | environ, capture_output=True, text=True,
        timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_five_minutes_on_your_own_machine(port: int, checkout: Path) -> None:
    said = [bash(block.replace(":8000", f":{port}"), checkout) for block in (READY, LEAD, FORM)]
    ready, lead, form = map(json.loads, said)
    assert ready["ready"] is True
    assert (lead["status"], form["status"]) == ("delivered", "delivered")
    [sandbox] = re.findall(r"CRM +(http://\S+)", (checkout.parent / "make.log").read_text())
    assert {"Lovelace", "Grace"} <= set(re.findall(r"\w+", requests.get(sandbox, timeout=DEADLINE).text))


def test_your_own_crm(checkout: Path) -> None:
    bash(SETTINGS, checkout)
    with FakeEspoCRM(api_key="the-key-of-the-api-user") as crm:
        assert "EspoCRM (espocrm): connected" in bash(TEST, checkout, ESPOCRM_URL=crm.url)

"""`crmgate dev` as a newcomer runs it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from crmgate.cli.dev import close_to_others
from crmgate.testing.espocrm import FakeEspoCRM
from tests.processes import DEADLINE, Process, free_port, wait_until


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A first run in a folder whose files other users can read; a test that stops it is the last that uses it."""
    folder = tmp_path_factory.mktemp("dev")
    home = folder / "home"
    env = {"PORT": str(free_port()), "CRMGATE_HOME": str(home), "LOG_LEVEL": "INFO"}
    left_open(home)
    process = Process("dev", [sys.executable, "-m", "crmgate", "dev"], folder, env)
    process.start()
    yield process
    if process.running:
        process.stop(signal.SIGINT)


def left_open(home: Path) -> None:
    """Six files and folders of `crmgate dev`, and a file of the user's own."""
    for path in (home / "redis" / "appendonlydir", home / "metrics"):
        path.mkdir(parents=True)
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
    for path in (home / "sandbox.sqlite3", home / "redis" / "redis.log", home / "mine.txt"):
        path.write_bytes(b"")
        path.chmod(0o644)


def announced(dev: Process) -> str:
    """The output of `crmgate dev` when it is ready."""
    wait_until("the gateway is ready", lambda: "Ctrl-C stops everything" in dev.output() or not dev.running)
    assert dev.running, dev.output()
    return dev.output()


def workers(dev: Process) -> list[int]:
    """The worker processes of this run: those with its port in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, environ = (path / "cmdline").read_bytes(), (path / "environ").read_bytes()
        except OSError:
            continue
        is_worker = b"huey_consumer" in command and b"keep.py" not in command
        if is_worker and f"PORT={dev.env['PORT']}".encode() in environ.split(b"\0"):
            found.append(int(path.name))
    return found


def status(location: str) -> str:
    return str(requests.get(location, timeout=DEADLINE).json()["status"])


def open_to_others(home: Path) -> list[Path]:
    return [path for path in (home, *home.rglob("*")) if path.lstat().st_mode & 0o077]


def test_its_files_are_for_its_user_only(dev: Process) -> None:
    home = Path(dev.env["CRMGATE_HOME"])
    text = announced(dev)
    assert f"Other users could read 6 files and folders of {home}: they no longer can." in text
    body = {"first_name": "Ada", "email": "ada@example.com"}
    assert requests.post(f"http://127.0.0.1:{dev.env['PORT']}/api/v1/applications", json=body, timeout=DEADLINE).ok
    assert {path.name for path in home.iterdir()} >= {"redis", "metrics", "sandbox.sqlite3", "run.lock"}
    assert list((home / "redis").rglob("*aof*"))
    assert open_to_others(home) == [home / "mine.txt"], "what it did not make stays as it is"


def test_a_lead_can_be_sent_seen_and_sent_again_after_a_crash(dev: Process) -> None:
    text = announced(dev)
    gateway = f"http://127.0.0.1:{dev.env['PORT']}"
    page = re.search(r"CRM +(http://\S+)", text)
    assert page
    assert f"curl -i {gateway}/api/v1/applications" in text

    assert f"{gateway}/demo" in text
    demo = requests.get(f"{gateway}/demo", timeout=DEADLINE)
    assert f'href="{page[1]}"' in demo.text

    body = re.search(r"-d '(\{.*\})'", text)
    assert body
    headers = {"Content-Type": "application/json"}
    first = requests.post(f"{gateway}/api/v1/applications", data=body[1], headers=headers, timeout=DEADLINE)
    assert first.status_code == 201
    assert "Lovelace" in requests.get(page[1], timeout=DEADLINE).text

    (worker,) = workers(dev)
    os.kill(worker, signal.SIGKILL)
    headers["Prefer"] = "respond-async"
    second = requests.post(f"{gateway}/api/v1/applications", json={"first_name": "Grace", "email": "g@example.com"},
                           headers={"Prefer": "respond-async"}, timeout=DEADLINE)  # fmt: skip
    assert second.status_code == 202
    location = gateway + second.headers["Location"]
    wait_until("the new worker has delivered it", lambda: status(location) == "delivered")
    assert workers(dev) != [worker]

    assert dev.stop(signal.SIGINT) == 0
    wait_until("nothing is left running", lambda: not workers(dev))
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{gateway}/healthz", timeout=DEADLINE)
    with pytest.raises(requests.ConnectionError):
        requests.get(page[1], timeout=DEADLINE)


def test_a_shared_folder_stays_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "redis").mkdir(mode=0o755)
    close_to_others(tmp_path)
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "redis").stat().st_mode & 0o777 == 0o700


def test_it_runs_against_a_real_crm_too(tmp_path: Path) -> None:
    """A fake EspoCRM stands in for it, with the same settings."""
    with FakeEspoCRM() as crm:
        env = {"PORT": str(free_port()), "CRMGATE_HOME": str(tmp_path / "home"), "CRM_PROVIDER": "espocrm"}
        env |= {"ESPOCRM_URL": crm.url, "ESPOCRM_API_KEY": "KEY-GATEWAY"}
        process = Process("dev", [sys.executable, "-m", "crmgate", "dev"], tmp_path, env)
        process.start()
        try:
            assert "sandbox" not in announced(process)
            url = f"http://127.0.0.1:{env['PORT']}/api/v1/applications"
            answer = requests.post(url, data={"first_name": "Ada", "email": "a@example.com"}, timeout=DEADLINE)
            assert answer.status_code == 201
            assert [lead["firstName"] for lead in crm.leads] == ["Ada"]
        finally:
            process.stop(signal.SIGINT)


def test_a_bad_configuration_is_reported_before_anything_starts(tmp_path: Path) -> None:
    env = {"CRMGATE_HOME": str(tmp_path / "home"), "CRM_PROVIDER": "espocrm", "CRM_TIMEOUT": "soon"}
    process = Process("dev", [sys.executable, "-m", "crmgate", "dev"], tmp_path, env)
    process.start()
    wait_until("it has ended", lambda: not process.running)
    assert process.popen is not None
    assert process.popen.returncode == 1
    assert "CRM_TIMEOUT, got 'soon'" in process.output()
    assert "started" not in process.output()

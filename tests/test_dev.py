"""`crmgate dev` as a newcomer runs it."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from crmgate.cli import home, main
from crmgate.cli.dev import _add_token, _commands, close_to_others
from crmgate.testing.espocrm import FakeEspoCRM
from tests import forked
from tests.processes import DEADLINE, Process, free_port, wait_until


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A first run in a folder whose files other users can read; a test that stops it is the last that uses it."""
    folder = tmp_path_factory.mktemp("dev")
    home = folder / 'my home\'s "dir"'
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


def crmgate(dev: Process, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command in another terminal: of the gateway's settings it knows only the folder."""
    environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environ |= {"CRMGATE_HOME": dev.env["CRMGATE_HOME"]} | settings
    return forked.crmgate(environ, *arguments, cwd=dev.log.parent)


def _finds_it_without_settings(dev: Process, page: str) -> None:
    sent = crmgate(dev, "send", "lead", "--first-name", "Found")
    assert sent.returncode == 0, sent.stderr
    assert "Found" in requests.get(page, timeout=DEADLINE).text
    tested = crmgate(dev, "crm", "test", "--json")
    assert json.loads(tested.stdout)["connected"] is True
    assert json.loads(tested.stdout)["gate"] is not None, "it reaches the private Redis"


def _logs_in_once(text: str, gateway: str) -> None:
    """The link leads to the operator's pages, as the script of its page does: it posts the code of the fragment."""
    link = re.search(rf"Operate +{gateway}/ops/login#once=(\S+)", text)
    assert link
    for expected in (200, 401):
        with requests.Session() as browser:
            page = browser.post(f"{gateway}/ops/login", data={"secret": link[1]}, headers={"Origin": gateway},
                                timeout=DEADLINE)  # fmt: skip
            assert page.status_code == expected
    assert "Dead letters by cause" not in page.text


UNUSABLE = [
    ({"PORT": "abc"}, "PORT, got 'abc': it takes a port, 1 to 65535."),
    ({"PORT": "65536"}, "PORT, got '65536': it takes a port, 1 to 65535."),
    ({"WORKER_PROCESSES": "0"}, "WORKER_PROCESSES, got '0': it takes a number, 1 to 32."),
    ({"WORKER_PROCESSES": "x"}, "WORKER_PROCESSES, got 'x': it takes a number, 1 to 32."),
    ({"CRMGATE_HOME": "file"}, "it cannot be written"),
    ({"CRMGATE_HOME": "file/home"}, "it cannot be written"),
    ({"CRMGATE_HOME": "/proc/crmgate"}, "it cannot be written"),
]


Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refused]:
    """The message with which `crmgate dev` ends with these settings, before it starts a process."""

    def run(**settings: str) -> str:
        result = CliRunner().invoke(main, ["dev"], env={"PORT": str(free_port())} | settings)
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code == 1
        return result.stderr

    monkeypatch.setattr(importlib.import_module("crmgate.cli.dev"), "_supervise", lambda *_: 0)
    before = os.umask(0o077)
    yield run
    os.umask(before)


@pytest.mark.parametrize(("settings", "problem"), UNUSABLE, ids=str)
def test_an_unusable_port_or_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, settings: dict[str, str], problem: str
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert problem in refused(**settings)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("number", "names"), [("", ["worker"]), ("1", ["worker"]), ("2", ["worker", "worker2"])])
def test_the_number_of_workers_is_a_setting(tmp_path: Path, number: str, names: list[str]) -> None:
    environ = {"REDIS_URL": "redis://127.0.0.1:9", "CRM_PROVIDER": "none", "WORKER_PROCESSES": number}
    commands = _commands(environ, tmp_path)
    assert [name for name in commands if name.startswith("worker")] == names


def test_a_folder_has_one_gateway(tmp_path: Path, refused: Refused) -> None:
    """Two of them would write the same files of Redis, and lose submissions."""
    home.write(tmp_path, {"PORT": "8123"})
    with home.claimed(tmp_path):
        assert f"already running in {tmp_path} on port 8123: stop it" in refused(CRMGATE_HOME=str(tmp_path))
    assert home.running(tmp_path) is False


def test_the_token_of_a_run_is_beside_those_of_a_file(tmp_path: Path, refused: Refused) -> None:
    tokens = tmp_path / "tokens"
    environ = {"API_TOKENS_FILE": str(tokens)}
    assert "API_TOKENS" not in _with_token(environ), "the start ends with the unusable file"
    assert "API_TOKENS_FILE" in refused(**environ, CRMGATE_HOME=str(tmp_path / "home"))
    tokens.write_text(f"site:read:{'0' * 64}\n")
    assert re.fullmatch(r"site:read:0{64},dev:operate:[0-9a-f]{64}", _with_token(environ)["API_TOKENS"])


def _with_token(environ: dict[str, str]) -> dict[str, str]:
    changed = dict(environ)
    _add_token(changed)
    return changed


@pytest.mark.parametrize("shared", [False, True])
def test_a_taken_port_is_reported(tmp_path: Path, refused: Refused, shared: bool) -> None:
    """Else the gateway that has it would answer, and this one would be announced as ready."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        other.bind(("127.0.0.1", 0))
        port = str(other.getsockname()[1])
        assert f"port {port} is taken by another program" in refused(PORT=port, CRMGATE_HOME=str(tmp_path))


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

    _finds_it_without_settings(dev, page[1])
    token = re.search(r"Token +(cg_\S+)", text)
    assert token
    assert f"{gateway}/docs" in text
    assert "ops tail" in text
    _logs_in_once(text, gateway)
    url, allowed = f"{gateway}/api/v1/dead-letters", {"Authorization": f"Bearer {token[1]}"}
    assert requests.get(url, headers=allowed, timeout=DEADLINE).status_code == 200
    assert requests.get(url, timeout=DEADLINE).status_code == 401

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
    stopped = crmgate(dev, "dlq", "list")
    assert stopped.returncode == 2
    assert "has stopped: its settings are not used." in stopped.stderr
    assert (Path(dev.env["CRMGATE_HOME"]) / "env").read_text() == f"PORT='{dev.env['PORT']}'\n"
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
        env |= {"ESPOCRM_URL": crm.url, "ESPOCRM_API_KEY": "KEY-GATEWAY", "WEB_CONCURRENCY": "1"}
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

"""Changes of a running gateway: no submission is lost or refused in between, and the new code runs afterwards."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import requests

from crmgate import __version__
from tests.deploy.files import ROOT
from tests.deploy.test_caddy import APP, Caddy, started
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, Process, gunicorn, wait_until

POSTS, SENDERS = 200, 6


class Visitors:
    """Sends submissions through Caddy, at least `POSTS` of them, until `deployed` is set."""

    def __init__(self, caddy: Caddy) -> None:
        self.deployed, self.numbers = Event(), itertools.count()
        self.pool = caddy.pool(APP, maxsize=SENDERS)
        self.answers: list[tuple[int, int, str]] = []
        """The number of the person, the status and the id of the operation."""

    def send(self) -> None:
        headers = {"Host": APP, "Prefer": "respond-async"}
        while (number := next(self.numbers)) < POSTS or not self.deployed.wait(0.05):
            answer = self.pool.request("POST", "/api/v1/applications", json=person(number), headers=headers)
            self.answers.append((number, answer.status, str(answer.json().get("id"))))

    def wait(self) -> None:
        """Wait until a request that was sent after the call is answered."""
        enough = len(self.answers) + 2 * SENDERS
        wait_until("submissions are answered", lambda: len(self.answers) > enough)


def web_processes(web: Process) -> set[int]:
    """The worker processes of gunicorn."""
    return {int(pid) for pid in Path(f"/proc/{web.pid}/task/{web.pid}/children").read_text().split()}


def replaced(web: Process, number: int, pid: int) -> None:
    """Send a signal to `pid` and wait until gunicorn has replaced its worker processes."""
    before = web_processes(web)
    os.kill(pid, number)
    wait_until("the processes have ended", lambda: not before & web_processes(web))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web server without a worker: every accepted submission keeps the data of its person."""
    with Stack(tmp_path_factory.mktemp("stack")) as built:
        built.web_kind = Process
        built.redis.start()
        built.start_web()
        yield built


def test_no_deploy_refuses_or_loses_a_submission(stack: Stack, tmp_path: Path) -> None:
    with started(Caddy(tmp_path, stack, DEADLINE)) as caddy:
        visitors = Visitors(caddy)
        with ThreadPoolExecutor(SENDERS) as threads:
            sending = [threads.submit(visitors.send) for _ in range(SENDERS)]
            try:
                replaced(stack.web, signal.SIGHUP, stack.web.pid)
                visitors.wait()
                replaced(stack.web, signal.SIGTERM, *web_processes(stack.web))
                visitors.wait()
                assert stack.web.stop() == 0
                stack.web.start()
                visitors.wait()
            finally:
                visitors.deployed.set()
    for one in sending:
        one.result()
    assert Counter(status for _, status, _ in visitors.answers) == {202: len(visitors.answers)}
    assert len(visitors.answers) >= POSTS
    for number, _, operation_id in visitors.answers:
        assert stack.operation(operation_id).lead.email == f"test{number}@example.com"


def test_a_stopping_web_server_answers_what_it_has_accepted_and_refuses_the_rest(stack: Stack) -> None:
    """One that is neither accepted nor refused would be reset at the end, and a proxy may not send a POST again."""
    body = json.dumps(person(1)).encode()
    request = http.client.HTTPConnection("127.0.0.1", int(stack.web.env["PORT"]), timeout=DEADLINE)
    request.putrequest("POST", "/api/v1/applications")
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Prefer": "respond-async"}
    for header in headers.items():
        request.putheader(*header)
    request.endheaders(body[:10])
    try:
        os.kill(stack.web.pid, signal.SIGTERM)
        wait_until("connections are refused", lambda: refused(stack.web))
        assert stack.web.running
        request.send(body[10:])
        assert request.getresponse().status == 202
        assert stack.web.stop(0) == 0
    finally:
        request.close()
        stack.web.start()


def refused(web: Process) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(web.env["PORT"])), DEADLINE).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the code of the gateway, which a test may change."""
    folder = tmp_path / "installed"
    for name in ("crmgate", "plugins"):
        shutil.copytree(ROOT / name, folder / name)  # with the compiled modules, which are faster
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    return folder


SETTINGS = {"CRM_PROVIDER": "espocrm", "ESPOCRM_URL": "https://127.0.0.1:1", "ESPOCRM_API_KEY": "key",
            "REDIS_URL": "redis://127.0.0.1:1"}  # fmt: skip


def test_a_reload_takes_the_new_code(installed: Path, tmp_path: Path) -> None:
    """New in every module that the first process imports, too: a worker process inherits none of them."""
    web = gunicorn(tmp_path, SETTINGS, workers=1)
    web.command = ["env", f"--chdir={installed}", *web.command]
    web.start()
    try:
        wait_until("the old code answers", lambda: served(web) == (__version__, "crmgate"))
        change(installed / "crmgate/__init__.py", f'"{__version__}"', '"new"')
        change(installed / "crmgate/gunicorn/worker.py", 'SERVER = "crmgate"', 'SERVER = "new"')
        change(installed / "crmgate/errors.py", "class ConfigError", "NEW = 1\n\n\nclass ConfigError")
        change(installed / "crmgate/web/health.py", "import LedgerUnavailable", "import NEW, LedgerUnavailable")
        assert checked(installed).returncode == 0
        replaced(web, signal.SIGHUP, web.pid)
        wait_until("the new code answers", lambda: served(web) == ("new", "new"))
        change(installed / "crmgate/web/health.py", "import NEW", "import MISSING")
        assert checked(installed).returncode == 1, "the unit sends no signal then"
    finally:
        web.kill()


def served(web: Process) -> tuple[str, str]:
    """The version of the answering process, and the name that its worker class gives to the server."""
    assert web.running, web.output()
    try:
        answer = requests.get(f"http://127.0.0.1:{web.env['PORT']}/api/v1/openapi.json", timeout=DEADLINE)
    except requests.ConnectionError:
        return "", ""
    return str(answer.json()["info"]["version"]), answer.headers["Server"]


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def checked(installed: Path) -> subprocess.CompletedProcess[bytes]:
    """What the unit runs before a reload."""
    command = [sys.executable, "-m", "gunicorn", "--check-config", "wsgi:app"]
    return subprocess.run(command, cwd=installed, env=os.environ | SETTINGS, capture_output=True, timeout=DEADLINE)

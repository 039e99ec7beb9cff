"""Real processes for tests: start, kill, restart, and poll with a deadline instead of sleeping."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import redis

from crmgate.cli.redis_server import free_port, prepare

ROOT = Path(__file__).parent.parent
T = TypeVar("T")

DEADLINE = float(os.environ.get("TEST_DEADLINE", "90"))
"""Seconds that a test waits for anything before it fails. A test that passes does not wait so long on any machine."""
SLOWNESS = DEADLINE / 90
"""Factor for a time that a test claims to be enough, such as less than 30 s because no probe had to be waited for."""


PAUSES = 0.02, 0.1
"""Seconds between two probes of a wait, at first and at most."""


def wait_until(what: str, probe: Callable[[], T], within: float = DEADLINE) -> T:
    """Call `probe` until its answer is true and return that answer; fail with `what` after `within` seconds."""
    deadline = time.monotonic() + within
    pause, longest = PAUSES
    while True:
        if answer := probe():
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        time.sleep(pause)
        pause = min(pause * 1.2, longest)


def fastest_of_ten(attempt: Callable[[], object], enough: float) -> float:
    """Seconds that the fastest of up to ten attempts took; the first that takes less than `enough` is the last.

    Other programs on the machine slow an attempt down and never speed it up, so only the fastest one says how long the
    code itself takes.
    """
    fastest = math.inf
    for _ in range(10):
        begun = time.monotonic()
        attempt()
        fastest = min(fastest, time.monotonic() - begun)
        if fastest < enough:
            break
    return fastest


class Child(Protocol):
    """What a test needs of `subprocess.Popen`."""

    pid: int

    @property
    def returncode(self) -> int | Any: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int, /) -> None: ...


class Process:
    """A child process with its output in a file."""

    def __init__(self, name: str, command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.name, self.command, self.env = name, command, dict(env or {})
        self.log = folder / f"{name}.log"
        self.popen: Child | None = None

    def environ(self) -> dict[str, str]:
        """The environment of the process: this one's without its settings, and the process's own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CRM", "REDIS", "ESPO"))}
        return inherited | {"PYTHONUNBUFFERED": "1"} | self.env

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environ(),
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def stop(self, number: int = signal.SIGTERM, within: float = DEADLINE) -> int:
        """Send a signal to the process and wait for its end; its exit status."""
        if self.popen is None:
            return 0
        self.popen.send_signal(number)
        try:
            return self.popen.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {within} s:\n{self.output()[-2000:]}") from None

    def kill(self) -> None:
        """SIGKILL for the process and everything it started."""
        if self.popen is not None and self.running:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.killpg(self.pid, signal.SIGKILL)
            self.popen.wait()


class RedisProcess(Process):
    """A private redis-server with an append-only file; a restart keeps port and data."""

    def __init__(self, folder: Path) -> None:
        server = prepare(folder)
        super().__init__("redis", server.command, folder)
        self.url = server.url

    def start(self) -> None:
        super().start()
        with redis.Redis.from_url(self.url) as client:
            wait_until("redis answers", lambda: _answers(client))


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def gunicorn(folder: Path, env: Mapping[str, str], workers: int = 2, kind: type[Process] = Process) -> Process:
    """The web processes on a free port, which is put into `env["PORT"]` of the process. `kind` is its class."""
    port = str(free_port())
    command = [
        sys.executable, "-m", "gunicorn", "wsgi:app", "--workers", str(workers),
        "--bind", f"127.0.0.1:{port}", "--log-level", "warning",
    ]  # fmt: skip
    counters = {"PROMETHEUS_MULTIPROC_DIR": str(folder / f"metrics-{port}")}  # a killed one leaves its own behind
    return kind("web", command, folder, counters | dict(env) | {"PORT": port})


def huey_worker(
    folder: Path, env: Mapping[str, str], name: str = "worker", kind: type[Process] = Process
) -> Process:  # fmt: skip
    """The worker as the Procfile runs it. `kind` is the class of the process."""
    command = [
        sys.executable, "-m", "huey.bin.huey_consumer", "crmgate.worker.huey", "--worker-type", "thread",
        "--graceful-signal", "TERM", "--shutdown-timeout", "25",
    ]  # fmt: skip
    return kind(name, command, folder, env)

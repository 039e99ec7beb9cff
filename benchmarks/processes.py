"""Processes of the contenders: web servers, workers and the CRM, each with its log in the folder of the load."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
import requests

from crmgate.cli.redis_server import free_port
from tests.processes import ROOT, Process, RedisProcess, wait_until

APPLICATION = {
    "personal_info": {"first_name": "Test", "last_name": "Öğrenci", "email": "probe@example.com"}, "source": "website",
}  # fmt: skip
ACCEPT = "/api/v1/applications"


KIND: type[Process] = Process
"""Class of the processes that run with this interpreter. Tests start them as forks."""
POLL_SECONDS = 0.2
"""Time between two looks at a running measurement: looking more often would be a part of the load."""


class TooSlow(Exception):
    """A contender did not finish in time."""


def await_end(what: str, is_over: Callable[[], bool], within: float) -> None:
    """Return when `is_over`. Raises `TooSlow` after `within` seconds."""
    deadline = time.monotonic() + within
    while not is_over():
        if time.monotonic() > deadline:
            raise TooSlow(f"{what}: not within {within:.0f} s")
        time.sleep(POLL_SECONDS)


def program(name: str, command: list[str], folder: Path, env: Mapping[str, str]) -> Process:
    """A program that finds the modules of this checkout."""
    return Process(name, command, folder, {"PYTHONPATH": str(ROOT), **env})


def fill_by(command: list[str], folder: Path, env: Mapping[str, str]) -> None:
    """Run a program that ends by itself. Raises `CalledProcessError`."""
    environ = program("fill", command, folder, env).environ()
    with (folder / "fill.log").open("wb") as log:
        subprocess.run(command, cwd=ROOT, env=environ, check=True, stdout=log, stderr=log)


@contextmanager
def running(*processes: Process) -> Iterator[None]:
    """Start the processes, and end them and all that they started at the end of the block."""
    with ExitStack() as ends:
        for process in processes:
            ends.callback(end, process)
            process.start()
        yield


def end(process: Process) -> None:
    """End a process and its children at once. Unlike `Process.kill` it also ends children of an ended process."""
    process.kill()
    if process.popen is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def private_redis(folder: Path) -> Iterator[RedisProcess]:
    """A Redis with an append-only file, as `make run` starts it; its data are removed at the end."""
    server = RedisProcess(folder / "redis")
    with running(server):
        yield server
    shutil.rmtree(folder / "redis", ignore_errors=True)


def flush(url: str) -> None:
    """Remove everything in a Redis, so that each round starts with an empty one."""
    with redis.Redis.from_url(url) as client:
        client.flushall()


class CrmSink:
    """The CRM of the benchmarks (`benchmarks.sink`) as a running process."""

    def __init__(self, folder: Path, seconds: float) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "benchmarks.sink", "--port", str(port), "--seconds", str(seconds)]
        self.process = KIND("sink", command, folder)
        self._session = requests.Session()

    @contextmanager
    def serving(self) -> Iterator[CrmSink]:
        """Run it for the block."""
        with running(self.process):
            wait_until("the CRM answers", lambda: answers(lambda: self._session.get(f"{self.url}/__seen__", timeout=5)))
            yield self
        self._session.close()

    def reset(self) -> None:
        """Forget the requests so far."""
        self._session.post(f"{self.url}/__reset__", timeout=30)

    def hang(self, seconds: float) -> None:
        """Answer nothing for some seconds, and then all requests that came in."""
        self._session.post(f"{self.url}/__hang__", json={"seconds": seconds}, timeout=30)

    def seen(self) -> dict[str, Any]:
        """Requests since the last reset (`benchmarks.sink.Seen.to_dict`)."""
        found: dict[str, Any] = self._session.get(f"{self.url}/__seen__", timeout=30).json()
        return found


def answers(probe: Callable[[], requests.Response]) -> bool:
    """Whether the request of `probe` is answered well."""
    try:
        return probe().ok
    except requests.RequestException:
        return False


def accepts(url: str) -> bool:
    """Whether a web server accepts an application."""
    return answers(lambda: requests.post(url + ACCEPT, json=APPLICATION, timeout=5))

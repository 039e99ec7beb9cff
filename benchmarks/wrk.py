"""Runs the load generator wrk."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import load_generator

SCRIPT = Path(__file__).with_name("load.lua")
THREADS = 2
TIMEOUT = 10
"""Seconds after which a request counts as broken."""
_runs = itertools.count(int(time.time()))


class LoadFailed(Exception):
    """A server refused or broke requests, so its figures mean nothing."""


@dataclass(frozen=True)
class Load:
    """Result of one run; times in seconds."""

    requests: int
    seconds: float
    refused: int
    """Answers with a status of 400 or above."""
    broken: int
    """Broken connections, and requests without an answer within `TIMEOUT`."""
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def run(url: str, seconds: float, connections: int) -> Load:
    """Send applications of different persons for `seconds`. Raises `LoadFailed` if one was refused."""
    command = [
        load_generator(), f"-t{THREADS}", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--latency",
        "--timeout", f"{TIMEOUT}s", "-s", str(SCRIPT), url, "--", str(next(_runs)),
    ]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    load = read(output)
    if load.refused or load.broken or not load.requests:
        raise LoadFailed(f"{url}: {load.refused} of {load.requests} requests refused, {load.broken} without an answer")
    return load


def read(output: str) -> Load:
    """The result in the output of wrk with `load.lua`."""
    [line] = [line for line in output.splitlines() if line.startswith("RESULT ")]
    return Load(**json.loads(line.removeprefix("RESULT ")))

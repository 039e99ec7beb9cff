"""All processes of a production site; they can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
import requests

from crmgate.cli.redis_server import free_port
from tests import forked
from tests.chaos.auditor import read_letters, read_operations, read_spool
from tests.processes import DEADLINE, Process, RedisProcess, gunicorn, huey_worker, wait_until
from tests.skewed import SkewedHost
from tests.troubled import Troubled

SETTINGS = {
    "CRM_TIMEOUT": "2", "CRM_INLINE_BUDGET": "2", "BITRIX_RATE": "0", "RATE_LIMIT_ADDRESS": "off",
    "RATE_LIMIT_PERSON": "off", "RATE_LIMIT_LOOKUPS": "off",
}  # fmt: skip
"""Settings other than the defaults: shorter waits, and more of them, so that a run covers more cases."""
API_KEY = "KEY-GATEWAY"
PORTAL_SECRET = "fakesecret123456"
STARTS_WITHIN = DEADLINE
"""Seconds for a process to be at work again; on a busy machine the start of Python alone takes a few."""
WORKERS = ("worker 1", "worker 2")
AHEAD = {"web": 0.0, "worker 1": 45.0, "worker 2": -45.0}
"""Seconds by which the clock of each host is ahead at first; some faults change that."""


class Site:
    """Redis with its append-only file, gunicorn with two processes, two Huey workers and a fake CRM.

    `kind` is the class of the processes other than Redis.
    """

    def __init__(self, folder: Path, provider: str, kind: type[Process] = Process) -> None:
        self.folder, self.provider = folder, provider
        self.database, self.spool = folder / "crm.sqlite", folder / "spool"
        self.redis = RedisProcess(folder / "redis")
        with (folder / "redis" / "redis.conf").open("a") as config:
            config.write("appendfsync always\n")  # see docs/reliability.md: the default may lose a write to a kill -9
        port = free_port()
        self.crm_url = f"http://127.0.0.1:{port}"
        self.troubled = Troubled(folder, provider)
        env = SETTINGS | {
            "CRM_PROVIDER": provider, "PLUGINS_DIR": str(self.troubled.plugins), "REDIS_URL": self.redis.url,
            "ESPOCRM_URL": self.crm_url, "ESPOCRM_API_KEY": API_KEY,
            "BITRIX_WEBHOOK_URL": f"{self.crm_url}/rest/1/{PORTAL_SECRET}/",
        }  # fmt: skip
        crm = [sys.executable, "-m", "tests.chaos.crm", provider, str(self.database), "--port", str(port)]
        self.hosts = {name: SkewedHost(folder, name.replace(" ", "-"), ahead) for name, ahead in AHEAD.items()}
        """The host of the web processes and of each worker. Redis, the CRM and the clients have the true time."""
        self.processes: dict[str, Process] = {
            "redis": self.redis, "crm": kind("crm", crm, folder),
            "web": gunicorn(folder, env | self.hosts["web"].env | {"SPOOL_DIR": str(self.spool)}, kind=kind),
        } | {
            name: huey_worker(folder, env | self.hosts[name].env, name.replace(" ", "-"), kind) for name in WORKERS
        }  # fmt: skip
        self._ready: dict[str, Callable[[], bool]] = {
            "redis": self._redis_answers, "crm": lambda: _listens(port), "web": self._web_answers,
        }  # fmt: skip
        self._orphans: list[int] = []
        self.died: list[str] = []
        """Processes that ended without having been killed."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.processes['web'].env['PORT']}"

    def __enter__(self) -> Site:
        try:
            for process in self.processes.values():
                process.start()
            for name in self.processes:
                self._wait_for(name, offset=0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.kill()
        for group in self._orphans:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def up(self, name: str) -> None:
        """Start a process if it does not run, as a supervisor does, and wait until it is at work."""
        log = self.processes[name].log
        self._wait_for(name, offset=log.stat().st_size if log.exists() else 0)

    def _wait_for(self, name: str, offset: int) -> None:
        process = self.processes[name]

        def ready() -> bool:
            if not process.running:
                process.start()
            return self._at_work(name, offset)

        wait_until(f"{name} is at work", ready, STARTS_WITHIN)

    def _at_work(self, name: str, offset: int) -> bool:
        if name not in WORKERS:
            return self._ready[name]()
        with self.processes[name].log.open("rb") as log:
            log.seek(offset)
            return b"Huey consumer started" in log.read()

    def kill(self, name: str) -> None:
        """SIGKILL for a process alone; what it had started is left to itself."""
        process = self.processes[name]
        self._note_if_dead(name)
        if process.running:
            self._orphans.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            process.popen.wait()  # type: ignore[union-attr]

    def terminate(self, name: str) -> None:
        """SIGTERM, and wait for the orderly end."""
        self._note_if_dead(name)
        self.processes[name].stop(signal.SIGTERM, 40)

    def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after `seconds`."""
        self._note_if_dead(name)
        self._freeze(self.processes[name].pid, seconds)

    def kill_web_process(self, number: int) -> None:
        """SIGKILL for one of gunicorn's processes, which gunicorn replaces."""
        self._note_if_dead("web")
        if pid := self._web_process(number):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.up("web")

    def freeze_web_process(self, number: int, seconds: float) -> None:
        self._note_if_dead("web")
        if pid := self._web_process(number):
            self._freeze(pid, seconds)

    def forget_wakeups(self) -> None:
        """Delete Huey's queue and its schedule."""
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.redis.url, socket_timeout=1) as client:
            client.delete("{crmgate}:huey:queue", "{crmgate}:huey:schedule")

    def control(self, method: str, what: str, data: Any = None) -> Any:
        """Send a control request to the fake CRM (see `crmgate.testing.server`)."""
        answer = requests.request(method, f"{self.crm_url}/__fake__/{what}", json=data, timeout=STARTS_WITHIN)
        answer.raise_for_status()
        return answer.json()

    def configure(self, **options: Any) -> None:
        """Set attributes of the fake CRM."""
        self.control("POST", "configure", options)

    def repair(self) -> None:
        """Run `crmgate crm resume` as an operator does after correcting the credentials, until Redis answers."""
        env = self.processes["web"].environ()

        def resumed() -> bool:
            return not forked.crmgate(env, "crm", "resume").returncode

        wait_until("`crmgate crm resume` succeeds", resumed, STARTS_WITHIN)

    def settled(self) -> bool:
        """Whether the spool is empty, and every operation is delivered, or dead because the CRM refuses it for good."""
        if read_spool(self.spool):
            return False
        with redis.Redis.from_url(self.redis.url) as client:
            if client.zcard("{crmgate}:due") or client.zcard(f"{{crmgate}}:held:{self.provider}"):
                return False  # cheaper than to look at every operation
        refused = {name for name, letter in read_letters(self.redis.url).items() if letter.refused}
        return all(
            state == "delivered" or name in refused for name, state in read_operations(self.redis.url).items()
        )  # fmt: skip

    def ready(self) -> bool:
        """The checks of `readyz`."""
        answer = requests.get(f"{self.url}/readyz", timeout=10)
        return answer.status_code == 200 and not answer.json()["degraded"]

    def tails(self, size: int = 1500) -> str:
        """The ends of all logs."""
        logs = ((process.name, process.output()[-size:]) for process in self.processes.values())
        return "\n".join(f"--- {name} ---\n{text}" for name, text in logs)

    def _freeze(self, pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _web_process(self, number: int) -> int:
        found = children(self.processes["web"].pid)
        return found[number % len(found)] if found else 0

    def _note_if_dead(self, name: str) -> None:
        if not self.processes[name].running:
            self.died.append(name)
            self.up(name)

    def _redis_answers(self) -> bool:
        with redis.Redis.from_url(self.redis.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _web_answers(self) -> bool:
        # What a killed gunicorn left behind may answer for a moment; but while it holds the port, the new one has no
        # processes.
        if len(children(self.processes["web"].pid)) < 2:
            return False
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).status_code == 200
        except requests.RequestException:
            return False


def children(pid: int) -> list[int]:
    """The processes that a process started (Linux)."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True

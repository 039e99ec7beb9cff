"""The contenders for the loads `accept` and `drain`: how each is started in its own environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks import environments, gateway
from benchmarks.environments import NodeEnvironment, NotInstalled, PythonEnvironment
from benchmarks.options import Options
from benchmarks.processes import program
from crmgate.cli.redis_server import free_port
from tests.processes import Process

CRMGATE = "crmgate"
ECHO = "Flask echo"
HUEY, CELERY, FASTIFY = "Flask + Huey", "Flask + Celery", "Fastify + BullMQ"
PLAIN_HUEY, KEPT_HUEY = "Huey", "Huey, kept connection"
ACKS_LATE, DRAMATIQ, BULLMQ = "Celery (acks_late)", "Dramatiq", "BullMQ"
TWO = "crmgate, 2 processes"

PROCESSES, THREADS = 2, 8
"""Size of the web servers of the peers in Python."""


@dataclass(frozen=True)
class Place:
    """What the processes of one contender use: a folder for logs, a Redis and the CRM."""

    folder: Path
    redis_url: str
    sink_url: str
    concurrency: int = 4
    """Number of requests to the CRM at the same time."""

    @property
    def env(self) -> dict[str, str]:
        return {"REDIS_URL": self.redis_url, "SINK_URL": self.sink_url}


@dataclass(frozen=True)
class WebServer:
    """A contender of `accept`. `start` makes its process, whose environment names the PORT."""

    name: str
    environment: PythonEnvironment | NodeEnvironment | None
    start: Callable[[Place], Process]


@dataclass(frozen=True)
class Worker:
    """A contender of `drain`: `fill` puts a number of operations into the queue, `start` makes the processes."""

    name: str
    environment: PythonEnvironment | NodeEnvironment | None
    fill: Callable[[Place, int], list[str] | None]
    """Fills the queue, or names the command that does."""
    start: Callable[[Place], list[Process]]


Contender = TypeVar("Contender", WebServer, Worker)


def web_servers(options: Options) -> list[WebServer]:
    """The contenders of `accept`; the first one is the measure of the others."""
    peers = [
        WebServer(ECHO, environments.ECHO, lambda at: _flask(at, environments.ECHO, "echo:app")),
        WebServer(HUEY, environments.HUEY, lambda at: _flask(at, environments.HUEY, "huey_app:create_app()")),
        WebServer(CELERY, environments.CELERY, lambda at: _flask(at, environments.CELERY, "celery_app:create_app()")),
        WebServer(FASTIFY, environments.NODE, _fastify),
    ]
    return [*(peers if options.peers else []), WebServer(CRMGATE, None, _crmgate_web)]


def workers(options: Options) -> list[Worker]:
    """The contenders of `drain`."""
    peers = [
        Worker(PLAIN_HUEY, environments.HUEY, _filler(environments.HUEY, "huey_app"), _huey),
        Worker(KEPT_HUEY, environments.HUEY, _filler(environments.HUEY, "huey_app"), _huey_that_keeps),
        Worker(ACKS_LATE, environments.CELERY, _filler(environments.CELERY, "celery_app"), _celery),
        Worker(DRAMATIQ, environments.DRAMATIQ, _filler(environments.DRAMATIQ, "dramatiq_app"), _dramatiq),
        Worker(BULLMQ, environments.NODE, lambda _, count: ["node", str(_node() / "fill.js"), str(count)], _bullmq),
    ]
    own = [Worker(CRMGATE, None, _fill_crmgate, lambda at: _crmgate_workers(at, 1)),
           Worker(TWO, None, _fill_crmgate, lambda at: _crmgate_workers(at, 2))]  # fmt: skip
    return [*(peers if options.peers else []), *own]


def installed(contenders: Sequence[Contender]) -> tuple[list[Contender], list[str]]:
    """The contenders that can run here, and a remark about each that cannot."""
    ready, remarks = [], []
    for contender in contenders:
        try:
            if contender.environment:
                contender.environment.install()
            ready.append(contender)
        except NotInstalled as error:
            remarks.append(f"{contender.name} is left out: {error}.")
    return ready, remarks


def versions(contenders: Sequence[WebServer | Worker]) -> list[str]:
    """A remark about each contender with the versions of its packages."""
    return [f"{one.name}: {one.environment.versions()}." for one in contenders if one.environment]


def _flask(at: Place, environment: PythonEnvironment, app: str) -> Process:
    port = str(free_port())
    command = [
        str(environment.install() / "gunicorn"), f"benchmarks.peers.{app}", "--config", "python:benchmarks.peers",
        "--bind", f"127.0.0.1:{port}", "--workers", str(PROCESSES), "--threads", str(THREADS), "--log-level", "warning",
    ]  # fmt: skip
    return program("web", command, at.folder, at.env | {"PORT": port})


def _fastify(at: Place) -> Process:
    return program("web", ["node", str(_node() / "web.js")], at.folder, at.env | {"PORT": str(free_port())})


def _crmgate_web(at: Place) -> Process:
    return gateway.web(at.folder, _settings(at))


def _filler(environment: PythonEnvironment, module: str) -> Callable[[Place, int], list[str]]:
    def command(_: Place, count: int) -> list[str]:
        return [str(environment.install() / "python"), "-m", "benchmarks.peers.fill", module, str(count)]

    return command


def _fill_crmgate(at: Place, count: int) -> None:
    gateway.fill(_settings(at), count)


def _huey_that_keeps(at: Place) -> list[Process]:
    return _huey(at, KEEP_CONNECTION="on")


def _huey(at: Place, **more: str) -> list[Process]:
    command = [
        str(environments.HUEY.install() / "huey_consumer"), "benchmarks.peers.huey_app.huey",
        "--workers", str(at.concurrency), "--worker-type", "thread",
    ]  # fmt: skip
    return [program("worker", command, at.folder, at.env | more)]


def _celery(at: Place) -> list[Process]:
    command = [
        str(environments.CELERY.install() / "celery"), "--app", "benchmarks.peers.celery_app", "worker",
        "--pool", "threads", "--concurrency", str(at.concurrency),
    ]  # fmt: skip
    return [program("worker", command, at.folder, at.env)]


def _dramatiq(at: Place) -> list[Process]:
    command = [
        str(environments.DRAMATIQ.install() / "dramatiq"), "benchmarks.peers.dramatiq_app",
        "--processes", "1", "--threads", str(at.concurrency),
    ]  # fmt: skip
    return [program("worker", command, at.folder, at.env)]


def _bullmq(at: Place) -> list[Process]:
    env = at.env | {"CONCURRENCY": str(at.concurrency)}
    return [program("worker", ["node", str(_node() / "worker.js")], at.folder, env)]


def _crmgate_workers(at: Place, processes: int) -> list[Process]:
    return gateway.workers(at.folder, _settings(at), processes)


def _settings(at: Place) -> dict[str, str]:
    return gateway.settings(at.redis_url, at.sink_url, CRM_DELIVERY="queued", CRM_MAX_CONCURRENCY=str(at.concurrency))


def _node() -> Path:
    return environments.NODE.install()

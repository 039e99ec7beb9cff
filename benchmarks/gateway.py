"""crmgate's own processes for the benchmarks, with the settings of production.

Only what a benchmark is about is set: the CRM, the trusted proxy that names the client, and the concurrency.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import processes
from crmgate.model import Kind
from crmgate.services import start
from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.processes import Process, gunicorn, huey_worker

PLUGINS = Path(__file__).with_name("plugin")


def settings(redis_url: str, sink_url: str, **more: str) -> dict[str, str]:
    """Environment of a gateway whose CRM is `benchmarks.sink`."""
    return {
        "CRM_PROVIDER": "sink", "SINK_URL": sink_url, "REDIS_URL": redis_url, "PLUGINS_DIR": str(PLUGINS),
        "TRUSTED_PROXIES": "1", **more,
    }  # fmt: skip


def web(folder: Path, env: Mapping[str, str]) -> Process:
    """gunicorn with the numbers of processes and threads that `gunicorn.conf.py` sets."""
    process = gunicorn(folder, env, kind=processes.KIND)
    at = process.command.index("--workers")
    del process.command[at : at + 2]
    return process


def workers(folder: Path, env: Mapping[str, str], number: int) -> list[Process]:
    """A number of worker processes, each with the threads that `CRM_MAX_CONCURRENCY` can use."""
    return [huey_worker(folder, env, f"worker{index}", processes.KIND) for index in range(number)]


def ledger(redis_url: str) -> Ledger:
    """The ledger of a gateway."""
    return Ledger(connect(redis_url, 10.0), wake_message)


def fill(env: Mapping[str, str], count: int) -> None:
    """Accept `count` applications of different persons, as the web processes do after they have read a request."""
    gateway = start(env).gateway
    for number in range(count):
        gateway.submit(Kind.CREATE_LEAD, payload(number), inline=False)


def payload(number: int) -> dict[str, Any]:
    """The application of person N, as the gateway records it."""
    return {
        "first_name": f"Test{number}", "last_name": "Öğrenci", "email": f"test{number}@example.com",
        "source": "website",
    }  # fmt: skip

"""Redis is killed while submissions arrive and web processes are killed: each accepted one is delivered once.

With `SPOOL_FULL=1` Redis is away for 60 s.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from crmgate.store.spool import Spool
from tests.chaos.site import children
from tests.integration.stack import Stack, emails, person
from tests.processes import DEADLINE, wait_until

AWAY = 60.0 if os.environ.get("SPOOL_FULL") else 4.0
"""Seconds for which Redis is away."""
RATE = 20
"""Submissions per second."""
BEFORE = AFTER = 1.0
"""Seconds of submissions before and after that."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, web_workers=2, SPOOL_DIR=str(tmp_path / "spool"), REDIS_TIMEOUT="1") as built:
        with (tmp_path / "redis" / "redis.conf").open("a") as config:
            config.write("appendfsync always\n")  # a killed Redis loses nothing: see docs/reliability.md
        yield built.start()


class Clients:
    """Clients that repeat a request with the same key until they get an answer."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.statuses, self.ids = stack, Counter[int](), dict[int, str]()

    def send(self, number: int, at: float) -> None:
        time.sleep(max(at - time.monotonic(), 0))  # the pace of visitors
        body, headers = person(number), {"Idempotency-Key": f"key-{number}"}
        wait_until(f"submission {number} is accepted", lambda: self._accepted(number, body, headers))

    def _accepted(self, number: int, body: object, headers: dict[str, str]) -> bool:
        try:
            answer = self.stack.post(body, headers=headers)
        except requests.RequestException:  # its web process was killed
            return False
        self.statuses[answer.status_code] += 1
        if answer.status_code in (201, 202):
            self.ids[number] = answer.json()["id"]
        return number in self.ids


def kill_web_processes(stack: Stack, stop: threading.Event) -> None:
    """Kill a web process again and again; gunicorn starts another one."""
    for number in range(1000):
        if stop.wait(AWAY / 4):
            return
        found = children(stack.web.pid)
        if len(found) == 2:
            with suppress(ProcessLookupError):
                os.kill(found[number % 2], signal.SIGKILL)


@pytest.mark.timeout(600)
def test_redis_is_killed_while_submissions_arrive(stack: Stack) -> None:
    clients, stop, begun = Clients(stack), threading.Event(), time.monotonic()
    total = round((BEFORE + AWAY + AFTER) * RATE)
    with ThreadPoolExecutor(40) as pool:
        sent = [pool.submit(clients.send, number, begun + number / RATE) for number in range(total)]
        wait_until("some are accepted", lambda: len(clients.ids) >= BEFORE * RATE / 2)
        killer = threading.Thread(target=kill_web_processes, args=(stack, stop))
        killer.start()
        stack.redis.kill()
        killed = time.monotonic()
        wait_until("Redis was away for long enough", lambda: time.monotonic() > killed + AWAY, AWAY + DEADLINE)
        spool = Spool(Path(stack.env["SPOOL_DIR"]), 1e8)
        spool.prepare()
        spooled = spool.figures().operations
        stack.redis.start()
        stop.set()
        killer.join()
        for each in sent:
            each.result()
    assert clients.statuses.keys() <= {201, 202, 409}, f"no 503: {clients.statuses}"
    assert spooled > AWAY * RATE / 3, "it went into the spool"
    wait_until("the spool is empty", lambda: not spool.figures().operations)
    wait_until("everything is in the CRM", lambda: len(stack.emails) >= total)
    wait_until("every operation is delivered", lambda: not stack.ledger.stats()["waiting"])
    assert stack.emails == sorted(emails(range(total)))
    for operation_id in clients.ids.values():
        assert stack.operation(operation_id).state == "delivered"

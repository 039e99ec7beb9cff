"""Changes of a running gateway: a submission in between is neither lost nor refused, and the new code is the one that runs."""

from __future__ import annotations

import itertools
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from tests.deploy.test_caddy import APP, Caddy, started
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, Process, wait_until

POSTS, SENDERS = 500, 6


class Visitors:
    """Sends submissions through Caddy, at least `POSTS` of them, until `deployed` is set."""

    def __init__(self, caddy: Caddy) -> None:
        self.deployed, self.numbers = Event(), itertools.count()
        self.pool = caddy.pool(APP, maxsize=SENDERS)
        self.answers: list[tuple[int, str]] = []

    def send(self) -> None:
        headers = {"Host": APP, "Prefer": "respond-async"}
        while (number := next(self.numbers)) < POSTS or not self.deployed.wait(0.05):
            answer = self.pool.request("POST", "/api/v1/applications", json=person(number), headers=headers)
            self.answers.append((answer.status, str(answer.json().get("id"))))

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


def test_no_deploy_refuses_or_loses_a_submission(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack, started(Caddy(tmp_path, stack.start(), DEADLINE)) as caddy:
        visitors = Visitors(caddy); stack.web.command[-1] = "debug"
        with ThreadPoolExecutor(SENDERS) as threads:
            sending = [threads.submit(visitors.send) for _ in range(SENDERS)]
            try:
                replaced(stack.web, signal.SIGHUP, stack.web.pid)
                visitors.wait()
                replaced(stack.web, signal.SIGTERM, *web_processes(stack.web))
                visitors.wait()
                assert (stack.web.stop(), stack.worker.stop()) == (0, 0)
                stack.web.start()
                stack.start_worker()
                visitors.wait()
            finally:
                visitors.deployed.set()
        for one in sending:
            one.result()
        assert Counter(status for status, _ in visitors.answers) == {202: len(visitors.answers)}
        assert len(visitors.answers) >= POSTS
        assert len({stack.operation(id).id for _, id in visitors.answers}) == len(visitors.answers)

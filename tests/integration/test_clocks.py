"""Hosts whose clocks differ and jump, in front of a CRM without unique keys that stores late."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from crmgate.store import keys
from crmgate.store.clock import redis_time
from crmgate.testing.server import Request
from tests.forked import Forked
from tests.integration.stack import Stack, emails, person
from tests.processes import DEADLINE, ROOT, Process, gunicorn, huey_worker, wait_until
from tests.skewed import SkewedHost

PATIENCE = '''

class Bitrix(Bitrix):
    """Waits less long for what a request of unknown outcome may store: all times of these tests are shorter."""

    settle_seconds = 4.0
'''
LATE = 3.0
"""Seconds after which the CRM stores some leads: after `CRM_TIMEOUT`, and before the end of `settle_seconds`."""
WRITES = r"crm\.item\.add|batch"
"""A lead alone, or several together: which of the two depends on how many wait at that moment."""
MOST, RATE, BURST, RESERVE = 3, 40, 40, 10
"""Limits of the gateway: attempts at once; requests a second, at once and reserved for an attempt."""


class Hosts:
    """Two hosts, each with web and worker, and clocks of their own; Redis and the CRM have the true time."""

    def __init__(self, folder: Path) -> None:
        plugins = folder / "plugins"
        shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
        with (plugins / "bitrix" / "__init__.py").open("a") as file:
            file.write(PATIENCE)
        self.ahead, self.behind = SkewedHost(folder, "ahead", 45), SkewedHost(folder, "behind", -45)
        self.stack = Stack(
            folder, "bitrix", PLUGINS_DIR=str(plugins), CRM_TIMEOUT="1", CRM_MAX_CONCURRENCY=str(MOST),
            BITRIX_RATE=f"{RATE}/{BURST}", **self.ahead.env,
        )  # fmt: skip
        (folder / "behind").mkdir()
        env = self.stack.env | self.behind.env
        self.web: Process = gunicorn(folder / "behind", env, 1, Forked)
        self.worker: Process = huey_worker(folder / "behind", env, kind=Forked)

    def __enter__(self) -> Hosts:
        self.stack.redis.start()
        for process in (self.stack.worker, self.worker, self.web):
            process.start()
        self.stack.start_web()
        wait_until("readyz is ready on both hosts", lambda: all(self.ready(url) for url in self.urls))
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.web, self.worker):
            process.kill()
        self.stack.stop()

    @property
    def urls(self) -> list[str]:
        return [self.stack.url, f"http://127.0.0.1:{self.web.env['PORT']}"]

    def readyz(self, url: str) -> requests.Response:
        return requests.get(f"{url}/readyz", timeout=DEADLINE)

    def ready(self, url: str) -> bool:
        try:
            return "2 seen within" in self.readyz(url).text
        except requests.RequestException:
            return False

    def submit(self, numbers: range) -> None:
        def post(number: int) -> None:
            url = f"{self.urls[number % 2]}/api/v1/applications"
            answer = requests.post(url, json=person(number), timeout=DEADLINE, headers={"Prefer": "respond-async"})
            assert answer.status_code == 202, answer.text

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(post, numbers))

    def scheduled(self) -> list[float]:
        """Seconds until each wake-up in Huey's schedule."""
        now = redis_time(self.stack.client)
        return [at - now for _, at in self.stack.client.zrange(keys.WAKE_SCHEDULE, 0, -1, withscores=True)]

    def delivered(self, number: int) -> bool:
        return self.stack.ledger.stats().get("delivered") == number


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with Hosts(tmp_path_factory.mktemp("hosts")) as running:
        yield running


def most_at_once(asked: list[Request]) -> float:
    """How far the requests exceeded the rate at most: 0 or less if a bucket of `BURST` never overflowed."""
    level, worst, before = 0.0, -float(BURST), asked[0].at
    for request in asked:
        level = max(level - RATE * (request.at - before), 0.0) + 1
        worst, before = max(worst, level - BURST), request.at
    return worst


def test_wrong_clocks_cause_no_second_lead_and_exceed_no_limit(hosts: Hosts) -> None:
    stack, fake = hosts.stack, hosts.stack.bitrix
    hosts.submit(range(10))
    wait_until("the first are delivered", lambda: hosts.delivered(10))
    assert fake.peak <= MOST
    fake.fail("latency", path=WRITES, times=1, seconds=LATE)
    fake.fail("latency", path=WRITES, every=4, times=4, seconds=LATE)
    fake.fail("hang", path=WRITES, when="after", every=5, times=4, seconds=LATE)
    hosts.submit(range(10, 24))
    hosts.ahead.set(-15)  # a step back of 60 s
    hosts.behind.set(600)
    hosts.submit(range(24, 40))
    scheduled = set[float]()

    def done() -> bool:
        scheduled.update(hosts.scheduled())
        return hosts.delivered(40)

    wait_until("all are delivered", done)
    assert scheduled, "some were tried again"
    assert all(abs(seconds) < 30 for seconds in scheduled)
    assert stack.emails == emails(range(40))
    assert stack.ledger.stats()["dead_letters"] == 0
    attempts = MOST * RESERVE  # their requests are paid for when they begin, and may come later
    assert most_at_once(fake.requests) <= attempts


def test_readiness_and_heartbeats_are_right_whatever_the_clocks_say(hosts: Hosts) -> None:
    hosts.ahead.set(600)
    hosts.behind.set(-45)
    wait_until("both offsets are known", lambda: _offsets(hosts) == {"ahead": 600, "behind": -45})
    for url in hosts.urls:
        answer = hosts.readyz(url)
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        [clocks] = [check for check in answer.json()["checks"] if check["name"] == "clocks"]
        assert not clocks["ok"]
        assert "a host is 600.0 s ahead, a host is 45.0 s behind." in clocks["detail"]
    for worker in (hosts.stack.worker, hosts.worker):
        worker.kill()
    heartbeats = dict(hosts.stack.client.zrange(keys.WORKERS, 0, -1, withscores=True))
    assert len(heartbeats) == 2
    now = redis_time(hosts.stack.client)
    assert all(now - DEADLINE < at <= now for at in heartbeats.values())
    for worker in heartbeats:
        hosts.stack.client.zincrby(keys.WORKERS, -31, worker)  # as if 31 s had passed
    assert [hosts.readyz(url).status_code for url in hosts.urls] == [503, 503]


def _offsets(hosts: Hosts) -> dict[str, int]:
    found = hosts.stack.client.hgetall(keys.CLOCKS)
    return {host.decode(): round(float(text.split()[0])) for host, text in found.items()}

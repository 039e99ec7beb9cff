"""The gateway alone: latency with many leads in the CRM or with Redis stopped, slow senders, round trips to Redis."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from benchmarks.figures import Gathered, Report, percentile
from benchmarks.options import Options
from benchmarks.wrk import LoadFailed
from tests.deploy.test_caddy import APP, Caddy
from tests.integration import flood
from tests.integration.stack import Stack, person
from tests.processes import Process, wait_until

NAME = "alone"
ACCEPT = "/api/v1/applications"


class _Commands(Stack):
    """A stack whose gunicorn and worker are started by their commands, as users start them."""

    web_kind = worker_kind = Process


def run(options: Options, say: Callable[[str], None]) -> Report:
    """Each measurement once."""
    gathered = Gathered()
    for measure in (many_leads, redirect_latency, slow_senders, round_trips):
        folder = options.folder / NAME / measure.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        measure(folder, gathered)
        say(measure.__name__)
    return Report(NAME, gathered.figures())


def _note(gathered: Gathered, who: str, seconds: list[float]) -> None:
    for percent in (50, 99):
        gathered.add(who, f"p{percent}", "ms", percentile(seconds, percent) * 1000)


def many_leads(folder: Path, gathered: Gathered, submissions: int = 40) -> None:
    """Requests to EspoCRM and time of a submission with email and phone, by the number of leads in EspoCRM.

    The fake EspoCRM takes the times that `crmgate.testing.espocrm.cost` lists.
    """
    with _Commands(folder).start() as stack:
        send = sender(stack.url, reachable)
        for number in range(5):
            send(number)
        for leads in (0, 5_000, 200_000):
            stack.espocrm.virtual_leads = leads
            stack.espocrm.requests.clear()
            times = [_timed(send, leads + 1000 + number) for number in range(submissions)]
            who = f"submission, {leads:,} leads in EspoCRM"
            _note(gathered, who, times)
            gathered.add(who, "requests", "", len(stack.espocrm.requests) / submissions)


def redirect_latency(folder: Path, gathered: Gathered, requests: int = 500) -> None:
    """Latency of a messenger link and of `/healthz` while the CRM hangs: Redis works, is frozen, or is stopped."""
    with _Commands(folder, TELEGRAM_URL="https://t.me/example_bot").start() as stack:
        stack.espocrm.fail("hang")
        for state, begin in (
            ("works", signal.SIGCONT),
            ("is silent", signal.SIGSTOP),
            ("is stopped", signal.SIGKILL),
        ):
            os.kill(stack.redis.pid, begin)
            for what, path in (("/healthz", "/healthz"), ("redirect", "/go/telegram?session=s{}&ref=REF")):
                _note(gathered, f"{what}, CRM hangs, Redis {state}", timed(stack.url, path, requests))


def slow_senders(folder: Path, gathered: Gathered, number: int = 300, requests: int = 200) -> None:
    """Latency of honest submissions while one address holds `number` slow connections, directly and through Caddy."""
    settings = {"CRM_DELIVERY": "queued", "RATE_LIMIT_ADDRESS": "60/minute"}
    with _Commands(folder / "direct", web_workers=2, **settings) as stack:
        stack.redis.start()
        stack.start_web()
        port = int(stack.web.env["PORT"])
        for name, begin in (("bodies", flood.BODY), ("unread bodies", flood.ELSEWHERE), ("headers", flood.HEADERS),
                            ("connections never closed", flood.SILENT_CLOSE)):  # fmt: skip
            with flood.slow_senders(port, begin, number):
                _note(gathered, f"{number} slow {name}, direct", _each(lambda i: _apart(port, i), requests))
    with _Commands(folder / "proxied", web_workers=2, TRUSTED_PROXIES="1", **settings).start() as stack:
        caddy = Caddy(folder, stack)
        caddy.start()
        wait_until("Caddy answers", lambda: caddy.answers(APP))
        with flood.slow_senders(caddy.https, flood.BODY, number, flood.with_tls):
            _note(gathered, f"{number} slow bodies, Caddy", _each(lambda i: _proxied(caddy, i), requests))
        caddy.stop()


def _each(post: Callable[[int], None], requests: int) -> list[float]:
    taken = []
    for number in range(requests):
        begun = time.perf_counter()
        post(time.monotonic_ns() + number)
        taken.append(time.perf_counter() - begun)
    return taken


def _apart(port: int, number: int) -> None:
    """Send an application from an address of its own, over a connection of its own."""
    source = (f"127.0.1.{number % 250 + 1}", 0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=source)
    connection.request("POST", ACCEPT, json.dumps(person(number)), {"Content-Type": "application/json"})
    _expect(connection.getresponse().status, 202)
    connection.close()


def _proxied(caddy: Caddy, number: int) -> None:
    source = f"127.0.1.{number % 250 + 1}"
    _expect(caddy.ask(APP, "POST", ACCEPT, json=person(number), source=source).status, 202)


def _expect(status: int, *wanted: int) -> None:
    if status not in wanted:
        raise LoadFailed(f"an honest submission got the status {status}")


def timed(url: str, path: str, requests: int) -> list[float]:
    """Duration in seconds of each request; they share one connection. `{}` in the path is the request's number."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    taken = []
    for number in range(requests):
        begun = time.perf_counter()
        connection.request("GET", path.format(number))
        connection.getresponse().read()
        taken.append(time.perf_counter() - begun)
    connection.close()
    return taken


def round_trips(folder: Path, gathered: Gathered, operations: int = 50) -> None:
    """Commands that the gateway sends to Redis; those that a script runs inside Redis are no round trips."""
    with _Commands(folder, CRM_DELIVERY="queued").start() as stack:
        stack.worker.stop()
        stack.submit(person(0), 202)
        with commands(stack.redis.url) as seen:
            ids = [stack.submit(person(number), 202) for number in range(1, operations + 1)]
        gathered.add("accept, queued", "round trips", "", len(seen) / operations)
        stack.start_worker()
        _await(stack, ids)
        with commands(stack.redis.url) as seen:
            _await(stack, [stack.submit(person(number), 202) for number in range(100, 100 + operations)])
        scripts = [line for line in seen if "EVALSHA" in line.upper()]
        pops = [line for line in seen if "BRPOP" in line.upper()]
        accepts = gathered.figures()[-1].median
        gathered.add("delivery, ledger", "round trips", "", len(scripts) / operations - accepts)
        gathered.add("delivery, Huey", "round trips", "", len(pops) / operations)


def _await(stack: Stack, ids: list[str]) -> None:
    for operation_id in ids:
        stack.wait_for(operation_id, "delivered")


def reachable(number: int) -> dict[str, Any]:
    """The application of person N, who has an email and a phone."""
    application = person(number)
    application["personal_info"]["phone"] = f"+90532{number % 10_000_000:07}"
    return application


def sender(url: str, application: Callable[[int], dict[str, Any]] = person) -> Callable[[int], int]:
    """A function that posts the application of person N on a connection of its thread."""
    local = threading.local()
    host = url.removeprefix("http://")

    def send(number: int) -> int:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(host, timeout=30)
        body = json.dumps(application(number))
        local.connection.request("POST", ACCEPT, body, {"Content-Type": "application/json"})
        response = local.connection.getresponse()
        response.read()
        return int(response.status)

    return send


def _timed(send: Callable[[int], int], number: int) -> float:
    """Seconds of an accept."""
    begun = time.perf_counter()
    _expect(send(number), 201, 202)
    return time.perf_counter() - begun


@contextmanager
def commands(url: str) -> Iterator[list[str]]:
    """Commands that clients send to Redis inside the block, without those of scripts and of idle workers."""
    seen: list[str] = []
    done, ready = threading.Event(), threading.Event()
    client = redis.Redis.from_url(url)

    def listen() -> None:
        with client.monitor() as monitor:  # type: ignore[no-untyped-call]
            ready.set()
            for command in monitor.listen():
                if command["command"].startswith("PING bench"):
                    done.set()
                    return
                if command["client_type"] != "lua" and not command["command"].startswith(("HGETALL", "INFO")):
                    seen.append(command["command"])

    threading.Thread(target=listen, daemon=True).start()
    ready.wait(5)
    yield seen
    with redis.Redis.from_url(url) as other:
        other.execute_command("PING", "bench")
    done.wait(5)
    client.close()

"""`make bench`: latency, throughput, round trips and memory, measured on running processes of this machine.

Absolute figures are the machine's; compare ratios within one run.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.deploy.test_caddy import APP, Caddy
from tests.integration import flood
from tests.integration.stack import Stack, person
from tests.processes import Process, free_port, wait_until

CRM_LATENCY = 0.070
"""Seconds that a real EspoCRM needs for POST /Lead."""


def main() -> None:
    for measure in (accept_latency, many_leads, redirect_latency, slow_senders, throughput, round_trips, memory):
        with tempfile.TemporaryDirectory() as folder:
            for line in measure(Path(folder)):
                print(line, flush=True)


def accept_latency(folder: Path, rate: int = 50, seconds: int = 10) -> Iterator[str]:
    """Latency of the inline accept at a fixed rate; the senders do not wait for each other."""
    with Stack(folder).start() as stack:
        stack.espocrm.fail("latency", seconds=CRM_LATENCY)
        send = sender(stack.url)
        for number in range(20):
            send(number)
        times: list[float] = []
        begun = time.monotonic() + 0.2

        def one(number: int) -> None:
            time.sleep(max(begun + number / rate - time.monotonic(), 0))
            start = time.monotonic()
            status = send(1000 + number)
            times.append(time.monotonic() - start if status == 201 else float("inf"))

        with ThreadPoolExecutor(40) as pool:
            list(pool.map(one, range(rate * seconds)))
        p50, p99 = percentile(times, 50), percentile(times, 99)
        crm = CRM_LATENCY * 1000
        yield f"accept, inline, {rate}/s, CRM {crm:.0f} ms: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
        yield f"  of which beyond the CRM's own time: p50 {(p50 / CRM_LATENCY - 1):.0%}"


def many_leads(folder: Path, submissions: int = 40) -> Iterator[str]:
    """Requests to EspoCRM and time of a submission with email and phone, by the number of leads in EspoCRM.

    The fake EspoCRM takes the times that `crmgate.testing.espocrm.cost` lists.
    """
    with Stack(folder).start() as stack:
        send = sender(stack.url, reachable)
        for number in range(5):
            send(number)
        for leads in (0, 5_000, 200_000):
            stack.espocrm.virtual_leads = leads
            stack.espocrm.requests.clear()
            times = []
            for number in range(submissions):
                begun = time.perf_counter()
                status = send(leads + 1000 + number)
                times.append(time.perf_counter() - begun if status == 201 else float("inf"))
            requests, p50 = len(stack.espocrm.requests) / submissions, percentile(times, 50) * 1000
            yield f"submission, {leads:,} leads in EspoCRM: {requests:.1f} requests, p50 {p50:.0f} ms"


def redirect_latency(folder: Path, requests: int = 1000) -> Iterator[str]:
    """Latency of a messenger link and of `/healthz` while the CRM hangs: Redis works, is frozen, or is stopped."""
    with Stack(folder, TELEGRAM_URL="https://t.me/example_bot").start() as stack:
        stack.espocrm.fail("hang")
        for redis_is, begin in (("works", signal.SIGCONT), ("is silent", signal.SIGSTOP), ("is away", signal.SIGKILL)):
            os.kill(stack.redis.pid, begin)
            bare, link = (timed(stack.url, path, requests) for path in ("/healthz", "/go/telegram?session=s{}&ref=REF"))
            latencies = ", ".join(
                f"p{p} {percentile(link, p) * 1000:.1f} ms (healthz {percentile(bare, p) * 1000:.1f})" for p in (50, 99)
            )
            yield f"redirect, CRM hangs, Redis {redis_is}: {latencies}"


def slow_senders(folder: Path, number: int = 300, requests: int = 300) -> Iterator[str]:
    """Latency of honest submissions while one address holds `number` slow connections, directly and through Caddy."""
    with Stack(folder / "direct", web_workers=2, CRM_DELIVERY="queued", RATE_LIMIT_ADDRESS="60/minute") as stack:
        stack.redis.start()
        stack.start_web()
        port = int(stack.web.env["PORT"])
        for name, begin in (("bodies", flood.BODY), ("unread bodies", flood.ELSEWHERE), ("headers", flood.HEADERS),
                            ("connections never closed", flood.SILENT_CLOSE)):  # fmt: skip
            with flood.slow_senders(port, begin, number):
                yield f"{number} slow {name}, direct: {_percentiles(lambda i: _apart(port, i), requests)}"
    settings = {"CRM_DELIVERY": "queued", "RATE_LIMIT_ADDRESS": "60/minute", "TRUSTED_PROXIES": "1"}
    with Stack(folder / "proxied", web_workers=2, **settings).start() as stack:
        caddy = Caddy(folder, stack)
        caddy.start()
        wait_until("Caddy answers", lambda: caddy.answers(APP))
        with flood.slow_senders(caddy.https, flood.BODY, number, flood.with_tls):
            yield f"{number} slow bodies, Caddy: {_percentiles(lambda i: _proxied(caddy, i), requests)}"
        caddy.stop()


def _percentiles(post: Callable[[int], None], requests: int) -> str:
    taken = []
    for number in range(requests):
        begun = time.perf_counter()
        post(time.monotonic_ns() + number)
        taken.append(time.perf_counter() - begun)
    return ", ".join(f"p{p} {percentile(taken, p) * 1000:.0f} ms" for p in (50, 99))


def _apart(port: int, number: int) -> None:
    """Send an application from an address of its own, over a connection of its own."""
    source = (f"127.0.1.{number % 250 + 1}", 0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=source)
    body = json.dumps(person(number))
    connection.request("POST", "/api/v1/applications", body, {"Content-Type": "application/json"})
    if connection.getresponse().status != 202:
        raise RuntimeError("an honest submission was refused")
    connection.close()


def _proxied(caddy: Caddy, number: int) -> None:
    source = f"127.0.1.{number % 250 + 1}"
    if caddy.ask(APP, "POST", "/api/v1/applications", json=person(number), source=source).status != 202:
        raise RuntimeError("an honest submission was refused")


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


def throughput(folder: Path, requests: int = 3000) -> Iterator[str]:
    """Queued accepts a second beside a Flask application that echoes the same body, under the same gunicorn."""
    with Stack(folder, CRM_DELIVERY="queued").start() as stack, echo(folder) as echo_url:
        stack.worker.kill()
        rates: dict[str, list[float]] = {"accept": [], "echo": []}
        for turn in range(3):
            for name, url in (("accept", stack.url), ("echo", echo_url)):
                rates[name].append(run(sender(url), requests, turn * requests))
        accept, bare = statistics.median(rates["accept"]), statistics.median(rates["echo"])
        yield f"accept, queued: {accept:.0f}/s; bare Flask echo: {bare:.0f}/s; ratio {accept / bare:.2f}"


def round_trips(folder: Path, operations: int = 50) -> Iterator[str]:
    """Commands that the gateway sends to Redis; those that a script runs inside Redis are no round trips."""
    with Stack(folder, CRM_DELIVERY="queued").start() as stack:
        stack.worker.stop()
        stack.submit(person(0), 202)
        with commands(stack.redis.url) as seen:
            ids = [stack.submit(person(number), 202) for number in range(1, operations + 1)]
        yield f"Redis round trips for an accept (queued): {len(seen) / operations:.2f}"
        stack.start_worker()
        for operation_id in ids:
            stack.wait_for(operation_id, "delivered")
        with commands(stack.redis.url) as seen:
            ids = [stack.submit(person(number), 202) for number in range(100, 100 + operations)]
            for operation_id in ids:
                stack.wait_for(operation_id, "delivered")
        scripts = [line for line in seen if "EVALSHA" in line.upper()]
        pops = [line for line in seen if "BRPOP" in line.upper()]
        ledger, huey = len(scripts) / operations - 1, len(pops) / operations
        yield f"Redis round trips for a delivery: {ledger:.2f} of the ledger, {huey:.2f} of Huey"


def memory(folder: Path, operations: int = 2000) -> Iterator[str]:
    """Bytes in Redis for an operation that waits."""
    with Stack(folder, CRM_DELIVERY="queued").start() as stack:
        stack.worker.kill()
        with redis.Redis.from_url(stack.redis.url) as client:
            before = client.info("memory")["used_memory_dataset"]  # type: ignore[index]
            run(sender(stack.url), operations, 0)
            after = client.info("memory")["used_memory_dataset"]  # type: ignore[index]
        body = len(json.dumps(person(1)))
        each = (after - before) / operations
        yield f"Redis memory for a waiting operation: {each:.0f} bytes (the body sent has {body})"


def run(send: Callable[[int], int], requests: int, offset: int, threads: int = 16) -> float:
    """Requests a second of `threads` senders that wait for their answers."""
    start = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        statuses = set(pool.map(send, range(offset, offset + requests)))
    assert statuses <= {200, 201, 202}, statuses
    return requests / (time.monotonic() - start)


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
        local.connection.request("POST", "/api/v1/applications", body, {"Content-Type": "application/json"})
        response = local.connection.getresponse()
        response.read()
        return int(response.status)

    return send


@contextmanager
def echo(folder: Path) -> Iterator[str]:
    """A bare Flask application under gunicorn that answers with the JSON it got."""
    port = free_port()
    command = [
        sys.executable, "-m", "gunicorn", "benchmarks.echo:app",
        "--bind", f"127.0.0.1:{port}", "--log-level", "warning",
    ]  # fmt: skip
    process = Process("echo", command, folder)
    process.start()
    try:
        wait_until("the echo answers", lambda: _answers(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()


def _answers(url: str) -> bool:
    try:
        return sender(url)(0) == 200
    except OSError:
        return False


@contextmanager
def commands(url: str) -> Iterator[list[str]]:
    """Commands that clients send to Redis inside the block, without those of scripts and of idle workers."""
    seen: list[str] = []
    done = threading.Event()
    client = redis.Redis.from_url(url)

    def listen() -> None:
        with client.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                if command["command"].startswith("PING bench"):
                    done.set()
                    return
                if command["client_type"] != "lua" and not command["command"].startswith(("HGETALL", "INFO")):
                    seen.append(command["command"])

    ready = threading.Event()
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    ready.wait(5)
    yield seen
    with redis.Redis.from_url(url) as other:
        other.execute_command("PING", "bench")
    done.wait(5)
    client.close()


def percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


if __name__ == "__main__":
    main()

"""Accepts a second, queued: the whole request with the limits, logs and metrics of production, beside four peers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks import gateway, wrk
from benchmarks.contenders import CRMGATE, ECHO, Place, WebServer, installed, versions, web_servers
from benchmarks.figures import Gathered, Report
from benchmarks.options import Options
from benchmarks.processes import accepts, flush, private_redis, running
from benchmarks.wrk import LoadFailed
from tests.processes import wait_until

NAME = "accept"
RATE, P50, P99 = "requests/s", "p50", "p99"
NO_CRM = "http://127.0.0.1:9"
"""No worker runs, so nothing is sent."""


def run(options: Options, say: Callable[[str], None]) -> Report:
    """Let each contender take the load in turn, `rounds` times."""
    contenders, remarks = installed(web_servers(options))
    remarks += versions(contenders)
    shutil.rmtree(options.folder / NAME, ignore_errors=True)
    gathered = Gathered()
    with ExitStack() as ends:
        served = [(one, *_serve(one, options, ends)) for one in contenders]
        for number in range(options.rounds):
            for contender, url, redis_url in served:
                load = _round(contender, url, redis_url, options)
                say(f"round {number + 1}, {contender.name}: {load.rate:.0f}/s, p99 {load.p99 * 1000:.0f} ms")
                gathered.add(contender.name, RATE, "", load.rate)
                gathered.add(contender.name, P50, "ms", load.p50 * 1000)
                gathered.add(contender.name, P99, "ms", load.p99 * 1000)
    return Report(NAME, gathered.figures(), RATE, ECHO, tuple(remarks))


def _serve(contender: WebServer, options: Options, ends: ExitStack) -> tuple[str, str]:
    """Start the server and a Redis of its own; their URLs."""
    folder = options.folder / NAME / contender.name.replace(" ", "")
    folder.mkdir(parents=True)
    redis_url = ends.enter_context(private_redis(folder)).url
    process = contender.start(Place(folder, redis_url, NO_CRM))
    ends.enter_context(running(process))
    url = f"http://127.0.0.1:{process.env['PORT']}"
    wait_until(f"{contender.name} accepts", lambda: accepts(url))
    return url, redis_url


def _round(contender: WebServer, url: str, redis_url: str, options: Options) -> wrk.Load:
    """Raises `LoadFailed` if a request was refused, or accepted but kept for review."""
    flush(redis_url)
    if options.warm_up:
        wrk.run(url, options.warm_up, options.connections)
        flush(redis_url)
    load = wrk.run(url, options.seconds, options.connections)
    if contender.name == CRMGATE:
        _check(redis_url, load)
    return load


def _check(redis_url: str, load: wrk.Load) -> None:
    stats = gateway.ledger(redis_url).stats()
    if stats.get("suspect") or stats.get("accepted", 0) < load.requests:
        raise LoadFailed(f"{load.requests} requests were answered, and the ledger has {stats}")

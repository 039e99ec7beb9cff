"""The CRM hangs: the latency of visitors' requests meanwhile, beside a website that calls the CRM in the request."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Thread

from benchmarks import environments, gateway, openloop
from benchmarks.contenders import CRMGATE, PROCESSES, THREADS
from benchmarks.environments import NotInstalled
from benchmarks.figures import Gathered, Report, percentile
from benchmarks.openloop import Sent, Stream
from benchmarks.options import Options
from benchmarks.processes import ACCEPT, CrmSink, accepts, private_redis, program, running
from crmgate.cli.redis_server import free_port
from crmgate.store.gate import Recipient
from tests.processes import Process, wait_until

NAME = "brownout"
DIRECT = "call in the request"
ACCEPT_P99, GO_P99, SLOWEST, SERVED = "accept p99", "redirect p99", "slowest", "served"
AFTER = "accept p99 once the breaker is open"
BREAKER = "breaker opens after"
RATE = 20.0
"""Applications, and clicks on a link, in each second."""
HEALTHY = 3.0
"""Seconds before the CRM hangs."""
CRM_SECONDS = 0.070
TELEGRAM = {"TELEGRAM_URL": "https://t.me/example_bot"}


def run(options: Options, say: Callable[[str], None]) -> Report:
    """Send requests at a fixed rate through a hang of the CRM, `rounds` times."""
    shutil.rmtree(options.folder / NAME, ignore_errors=True)
    gathered, remarks = Gathered(), []
    try:
        environments.DIRECT.install()
        contenders = [DIRECT, CRMGATE] if options.peers else [CRMGATE]
    except NotInstalled as error:
        contenders, remarks = [CRMGATE], [f"{DIRECT} is left out: {error}."]
    for number in range(options.rounds):
        for who in contenders:
            sent, opened = _round(who, options, options.folder / NAME / f"{number}-{who}")
            _note(gathered, who, sent, opened, options.hang)
            p99 = percentile((one.latency for one in sent), 99)
            say(f"round {number + 1}, {who}: p99 of all {p99:.2f} s, breaker after {opened or 0:.1f} s")
    remarks.append(f"{RATE:.0f} applications and {RATE:.0f} clicks a second, each over a connection of its own.")
    remarks.append(f"The CRM takes {CRM_SECONDS * 1000:.0f} ms, and then hangs for {options.hang:.0f} s.")
    return Report(NAME, gathered.figures(), ACCEPT_P99, DIRECT, tuple(remarks))


def _note(gathered: Gathered, who: str, sent: list[Sent], opened: float | None, hang: float) -> None:
    """Figures of the requests that were due while the CRM hung."""
    during = [one for one in sent if HEALTHY <= one.due < HEALTHY + hang]
    gathered.add(who, ACCEPT_P99, "ms", _p99(during, "accept"))
    gathered.add(who, GO_P99, "ms", _p99(during, "go"))
    gathered.add(who, SLOWEST, "ms", max(one.latency for one in during) * 1000)
    well = sum(200 <= one.status < 400 for one in during)
    gathered.add(who, SERVED, "%", 100 * well / len(during))
    if opened is not None:
        later = [one for one in during if one.due >= HEALTHY + opened + 1]
        gathered.add(who, BREAKER, "s", opened)
        gathered.add(who, AFTER, "ms", _p99(later, "accept"))


def _p99(sent: list[Sent], what: str) -> float:
    return percentile((one.latency for one in sent if one.what == what), 99) * 1000


def _round(who: str, options: Options, folder: Path) -> tuple[list[Sent], float | None]:
    """All requests, and the seconds from the beginning of the hang until the breaker opened (None: there is none)."""
    folder.mkdir(parents=True)
    with ExitStack() as ends:
        sink = ends.enter_context(CrmSink(folder, CRM_SECONDS).serving())
        redis_url = ends.enter_context(private_redis(folder)).url if who == CRMGATE else ""
        url = _serve(who, folder, sink, redis_url, ends)
        begun = time.monotonic() + 0.5
        hangs_at, over = begun + HEALTHY, Event()
        opened: list[float] = []
        beside = [Thread(target=_hang, args=(sink, hangs_at, options.hang))]
        if redis_url:
            beside.append(Thread(target=_watch, args=(redis_url, hangs_at, over, opened)))
        for thread in beside:
            thread.start()
        sent = openloop.send(url, STREAMS, HEALTHY + options.hang, begun)
        over.set()
        for thread in beside:
            thread.join()
    return sent, opened[0] if opened else None


def _serve(who: str, folder: Path, sink: CrmSink, redis_url: str, ends: ExitStack) -> str:
    """Start the web server of a contender; its URL."""
    if who == CRMGATE:
        env = gateway.settings(redis_url, sink.url, **TELEGRAM)
        processes = [gateway.web(folder, env), *gateway.workers(folder, env, 1)]
    else:
        processes = [_direct(folder, sink.url)]
    ends.enter_context(running(*processes))
    url = f"http://127.0.0.1:{processes[0].env['PORT']}"
    wait_until(f"{who} accepts", lambda: accepts(url))
    return url


def _direct(folder: Path, sink_url: str) -> Process:
    port = str(free_port())
    command = [
        str(environments.DIRECT.install() / "gunicorn"), "benchmarks.peers.direct:app",
        "--config", "python:benchmarks.peers", "--bind", f"127.0.0.1:{port}",
        "--workers", str(PROCESSES), "--threads", str(THREADS), "--log-level", "warning",
    ]  # fmt: skip
    return program("web", command, folder, {"SINK_URL": sink_url, "PORT": port} | TELEGRAM)


def _hang(sink: CrmSink, at: float, seconds: float) -> None:
    time.sleep(max(at - time.monotonic(), 0))
    sink.hang(seconds)


def _watch(redis_url: str, hangs_at: float, over: Event, opened: list[float]) -> None:
    """Note when the gateway stops sending to the CRM."""
    ledger, sink = gateway.ledger(redis_url), Recipient("sink")
    while not opened and not over.wait(0.1):
        if ledger.gate(sink).cause:
            opened.append(time.monotonic() - hangs_at)


def _application(number: int) -> bytes:
    info = {"first_name": f"Test{number}", "last_name": "Öğrenci", "email": f"test{number}@example.com"}
    return openloop.post(ACCEPT, json.dumps({"personal_info": info, "source": "website"}), _client(number))


def _click(number: int) -> bytes:
    return openloop.get(f"/go/telegram?session=session-{number}&ref=REF", _client(number))


def _client(number: int) -> str:
    return f"10.1.{number // 250 % 250}.{number % 250}"


STREAMS = (Stream("accept", RATE, _application), Stream("go", RATE, _click))

"""Deliveries a second: a backlog into a CRM with a fixed latency, beside four task queues with the same request."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import BULLMQ, Place, Worker, installed, versions, workers
from benchmarks.figures import Gathered, Report
from benchmarks.options import Options
from benchmarks.processes import CrmSink, await_end, fill_by, private_redis, running
from benchmarks.wrk import LoadFailed

NAME = "drain"
RATE, PEAK = "deliveries/s", "most at once"
SECONDS_EACH = 0.05
"""Longest time for a delivery on average; a contender that is slower fails."""


def run(options: Options, say: Callable[[str], None]) -> Report:
    """Let each contender drain a backlog in turn, `rounds` times."""
    contenders, remarks = installed(workers(options))
    remarks += versions(contenders)
    shutil.rmtree(options.folder / NAME, ignore_errors=True)
    gathered = Gathered()
    for number in range(options.rounds):
        for contender in contenders:
            rate, peak = _round(contender, options, options.folder / NAME / f"{number}-{contender.name}")
            say(f"round {number + 1}, {contender.name}: {rate:.0f}/s, {peak} at once")
            gathered.add(contender.name, RATE, "", rate)
            gathered.add(contender.name, PEAK, "", float(peak))
    limit = options.concurrency / options.crm_seconds
    remarks.append(
        f"The CRM takes {options.crm_seconds * 1000:.0f} ms, and {options.concurrency} requests run at once:"
        f" {limit:.0f}/s at most."
    )
    return Report(NAME, gathered.figures(), RATE, BULLMQ, tuple(remarks))


def _round(contender: Worker, options: Options, folder: Path) -> tuple[float, int]:
    """Deliveries a second from the first request to the last answer, and the largest number of requests at once."""
    folder.mkdir(parents=True)
    with ExitStack() as ends:
        sink = ends.enter_context(CrmSink(folder, options.crm_seconds).serving())
        place = Place(folder, ends.enter_context(private_redis(folder)).url, sink.url, options.concurrency)
        if command := contender.fill(place, options.operations):
            fill_by(command, folder, place.env)
        ends.enter_context(running(*contender.start(place)))
        deadline = 30 + options.operations * SECONDS_EACH
        await_end(f"{contender.name} delivers all", lambda: sink.seen()["answered"] >= options.operations, deadline)
        seen = sink.seen()
    if seen["requests"] != options.operations:
        raise LoadFailed(f"{contender.name} sent {seen['requests']} requests for {options.operations} operations")
    return options.operations / seen["seconds"], seen["peak"]

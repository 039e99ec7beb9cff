"""What an operation costs: memory of Redis while it waits and afterwards, CPU time, and memory of web and worker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from benchmarks import gateway, usage, wrk
from benchmarks.figures import Gathered, Report
from benchmarks.options import Options
from benchmarks.processes import CrmSink, accepts, await_end, private_redis, running
from crmgate.store import keys
from tests.processes import Process, wait_until

NAME = "cost"
WAITING, RECEIPT, PASSING = "waiting operation", "receipt", "limits and repeats"
REDIS, CPU = "Redis, bytes", "CPU s for 1,000"
IDLE, LOADED, AFTER = "memory idle", "memory loaded", "memory afterwards"
ACCEPTS, DELIVERIES = "accepts", "deliveries"
WEB, WORKER = "web (2 processes)", "worker"
CRM_SECONDS = 0.010
CHUNK_SECONDS = 5.0
"""Time between two looks at the memory of a process under load."""
SETTLE_SECONDS = 3.0
PASSING_SECONDS = 3600
"""A key that expires within this time is no part of an operation: the meter of a limit, or the digest of a repeat."""
SECONDS_EACH = 0.05


class _Run:
    """The processes of one run, and what is measured on them."""

    def __init__(self, folder: Path, redis_url: str, sink: CrmSink, options: Options) -> None:
        self.client = redis.Redis.from_url(redis_url, socket_timeout=60)
        self.ledger, self.sink, self.options = gateway.ledger(redis_url), sink, options
        env = gateway.settings(redis_url, sink.url, CRM_DELIVERY="queued", CRM_MAX_CONCURRENCY=str(options.concurrency))
        self.web = gateway.web(folder, env)
        [self.worker] = gateway.workers(folder, env, 1)
        self.figures = Gathered()

    def note(self, who: str, what: str, value: float) -> None:
        """Add a figure; its unit is part of its name, or MB."""
        self.figures.add(who, what, "MB" if what.startswith("memory") else "", value)

    def cpu(self, process: Process) -> Callable[[], tuple[float, float]]:
        """A function that returns the CPU seconds of the process and of Redis from now on."""
        begun, redis_begun = usage.cpu(process), _redis_cpu(self.client)
        return lambda: (usage.cpu(process) - begun, _redis_cpu(self.client) - redis_begun)

    def accept(self) -> int:
        """Accept the operations; their number."""
        used, peak = self.cpu(self.web), 0.0
        url = f"http://127.0.0.1:{self.web.env['PORT']}"
        while (count := self.ledger.stats().get("accepted", 0)) < self.options.deliveries:
            wrk.run(url, min(CHUNK_SECONDS, self.options.seconds), self.options.connections)
            peak = max(peak, usage.memory(self.web))
        self._note_cpu(used(), ACCEPTS, WEB, count)
        self.note(WEB, LOADED, peak)
        return count

    def deliver(self, count: int) -> None:
        """Deliver all of them."""
        used, peak = self.cpu(self.worker), 0.0

        def is_over() -> bool:
            nonlocal peak
            peak = max(peak, usage.memory(self.worker))
            return self.ledger.stats().get("delivered", 0) >= count

        await_end("all are delivered", is_over, 60 + count * SECONDS_EACH)
        self._note_cpu(used(), DELIVERIES, WORKER, count)
        self.note(WORKER, LOADED, peak)

    def _note_cpu(self, used: tuple[float, float], what: str, who: str, count: int) -> None:
        for name, seconds in zip((who, "Redis"), used, strict=True):
            self.note(name, f"{CPU} {what}", seconds * 1000 / count)


def run(options: Options, say: Callable[[str], None]) -> Report:
    """Accept all operations while no worker runs, then deliver them. One round."""
    folder = options.folder / NAME
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as ends:
        sink = ends.enter_context(CrmSink(folder, CRM_SECONDS).serving())
        run = _Run(folder, ends.enter_context(private_redis(folder)).url, sink, options)
        ends.enter_context(running(run.web))
        wait_until("the web server answers", lambda: accepts(f"http://127.0.0.1:{run.web.env['PORT']}"))
        _idle(run)
        run.client.flushall()
        empty = _used(run.client)
        count = run.accept()
        say(f"accepted {count:,}")
        each = _without_passing(run, empty, count)
        run.note(WAITING, REDIS, each - _payload(run.client))
        ends.enter_context(running(run.worker))
        run.deliver(count)
        say(f"delivered {count:,}")
        _drop_passing(run.client)
        run.note(RECEIPT, REDIS, (_used(run.client) - empty) / count)
        time.sleep(SETTLE_SECONDS)
        run.note(WEB, AFTER, usage.memory(run.web))
        run.note(WORKER, AFTER, usage.memory(run.worker))
    remarks = (
        f"{count:,} operations, one round. The CRM takes {CRM_SECONDS * 1000:.0f} ms.",
        "A waiting operation is counted without its payload, and without the meters of the limits and the digests of"
        f" repeats, which expire within an hour ({PASSING}).",
    )
    return Report(NAME, run.figures.figures(), "", "", remarks)


def _idle(run: _Run) -> None:
    """Memory after the start and one accept or delivery."""
    with running(run.worker):
        wait_until("the first delivery", lambda: run.sink.seen()["answered"])
        time.sleep(SETTLE_SECONDS)
        run.note(WEB, IDLE, usage.memory(run.web))
        run.note(WORKER, IDLE, usage.memory(run.worker))


def _without_passing(run: _Run, empty: int, count: int) -> float:
    """Bytes in Redis for each operation, without keys that expire soon; those are noted as a figure of their own."""
    whole = _used(run.client)
    _drop_passing(run.client)
    lasting = _used(run.client)
    run.note(PASSING, REDIS, (whole - lasting) / count)
    return (lasting - empty) / count


def _drop_passing(client: redis.Redis) -> None:
    for part in _in_parts(client):
        pipe = client.pipeline(transaction=False)
        for key in part:
            pipe.ttl(key)
        passing = [key for key, left in zip(part, pipe.execute(), strict=True) if 0 <= left <= PASSING_SECONDS]
        if passing:
            client.delete(*passing)


def _in_parts(client: redis.Redis) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    for key in client.scan_iter(count=1000):
        part.append(key)
        if len(part) == 1000:
            yield part
            part = []
    if part:
        yield part


def _payload(client: redis.Redis) -> float:
    """Mean length of a stored payload, in bytes."""
    ids: Any = client.zrange(keys.OPS, 0, 199)
    lengths = [client.hstrlen(keys.op(name.decode()), "payload") for name in ids]
    return sum(lengths) / len(lengths)


def _used(client: redis.Redis) -> int:
    """Memory without scripts and buffers of connections and of the append-only file: they belong to no operation.

    Waits until no rewrite of the append-only file is under way: it has a buffer of 10 MB.
    """
    wait_until("no rewrite is under way", lambda: not _rewrites(client))
    info: Any = client.info("memory")
    apart = ("mem_clients_normal", "mem_aof_buffer", "used_memory_scripts")
    return int(info["used_memory"]) - sum(int(info.get(name, 0)) for name in apart)


def _rewrites(client: redis.Redis) -> bool:
    info: Any = client.info("persistence")
    return bool(info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])


def _redis_cpu(client: redis.Redis) -> float:
    info: Any = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

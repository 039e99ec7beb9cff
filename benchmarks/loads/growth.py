"""Accept and claim with 1,000 to 1,000,000 waiting operations: does a long queue slow the ledger down?

Each size has a Redis of its own, and all are measured in turn. Nothing is written to the append-only file: its rewrite
after the fill would disturb the measurement.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from benchmarks import gateway
from benchmarks.figures import Gathered, Report
from benchmarks.options import Options
from benchmarks.processes import private_redis
from benchmarks.wrk import LoadFailed
from crmgate.model import Delivered, Event, EventType, Kind, Operation, new_id
from crmgate.store.client import connect
from crmgate.store.entries import Claim, GateEvent, NotClaimed, Result
from crmgate.store.gate import Recipient
from crmgate.store.keys import digest
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message

NAME = "growth"
ACCEPT, CLAIM = "accept", "claim"
SINK = Recipient("sink", most=32)
AT_ONCE = 500
"""Operations in one pipeline."""


class _Filling(Ledger):
    """A ledger on a pipeline: it records operations without waiting for the answers."""

    def run(self, script: str, arguments: Mapping[str, Any], **options: Any) -> Any:
        """Put the script into the pipeline, and answer as the script will."""
        super().run(script, arguments, **options)
        return [b"accepted", options["operation"].encode(), str(arguments["kind"]).encode(), b"", b"0"]


def run(options: Options, say: Callable[[str], None]) -> Report:
    """Fill a Redis for each size, then measure all of them, `rounds` times."""
    shutil.rmtree(options.folder / NAME, ignore_errors=True)
    gathered = Gathered()
    with ExitStack() as ends:
        ledgers = {size: _filled(size, options, ends, say) for size in options.sizes}
        for number in range(options.rounds):
            for size, ledger in ledgers.items():
                accept, claim = _measure(ledger, options.samples, size + number * options.samples)
                say(f"round {number + 1}, {size:,}: accept {accept * 1e6:.0f} µs, claim {claim * 1e6:.0f} µs")
                gathered.add(name(size), ACCEPT, "µs", accept * 1e6)
                gathered.add(name(size), CLAIM, "µs", claim * 1e6)
    remarks = (f"The median of {options.samples} calls of the ledger over the loopback interface, in each round.",)
    return Report(NAME, gathered.figures(), ACCEPT, name(options.sizes[0]), remarks)


def name(size: int) -> str:
    """The contender of a size."""
    return f"{size:,} waiting"


def _filled(size: int, options: Options, ends: ExitStack, say: Callable[[str], None]) -> Ledger:
    folder = options.folder / NAME / str(size)
    folder.mkdir(parents=True)
    url = ends.enter_context(private_redis(folder)).url
    with connect(url, 60.0) as client:
        client.config_set("appendonly", "no")
        begun = time.monotonic()
        pipe = client.pipeline(transaction=False)
        ledger = _Filling(pipe, wake_message)
        for number in range(size):
            _accept(ledger, number)
            if len(pipe) >= AT_ONCE:
                pipe.execute()
        pipe.execute()
    say(f"{size:,} operations recorded in {time.monotonic() - begun:.0f} s")
    return gateway.ledger(url)


def _accept(ledger: Ledger, number: int) -> str:
    """Record the application of person N; the id of its operation."""
    operation = Operation(new_id(), Kind.CREATE_LEAD, gateway.payload(number), time.time())
    people = [digest(f"email test{number}@example.com")]
    return ledger.accept(operation, SINK, alarm=2, people=people).id


def _measure(ledger: Ledger, samples: int, first: int) -> tuple[float, float]:
    """Median seconds of an accept and of a claim. Each operation is delivered, so that the queue keeps its length."""
    accepts, claims = [], []
    for number in range(first, first + samples):
        begun = time.perf_counter()
        operation_id = _accept(ledger, number)
        accepted = time.perf_counter()
        claim = ledger.claim(operation_id, SINK, f"lease-{number}", seconds=30)
        claims.append(time.perf_counter() - accepted)
        accepts.append(accepted - begun)
        _deliver(ledger, claim)
    return statistics.median(accepts), statistics.median(claims)


def _deliver(ledger: Ledger, claim: Claim | NotClaimed) -> None:
    if isinstance(claim, NotClaimed):
        raise LoadFailed(f"an operation could not be claimed: {claim.reason}")
    event = Event(claim.at, 0.05, SINK.provider, EventType.DELIVERED)
    ledger.record_delivered(claim, SINK, Result(event, used=1, event=GateEvent("delivered")), Delivered("sink", "abc"))

"""Metrics beside the ledger's own counters: attempts at the CRM, and the waiting time of the oldest operation.

Attempts are counted in Redis rather than in the processes that make them: a worker has no port that could be scraped,
and a count outlives its process. The script that records an attempt counts it in the same step.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import redis

from crmgate.model import Event, EventType, Operation
from crmgate.store import keys
from crmgate.store.checks import share_of_memory
from crmgate.store.client import server_of
from crmgate.store.keys import translated

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration of an attempt, in seconds."""
DELIVERY_BUCKETS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
"""Upper bounds of the time from the acceptance to the delivery, in seconds."""
LOOKED_AT = 1000
"""Number of due operations that are searched for the oldest, beside those that wait for their provider."""


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram: pairs of an upper bound in seconds and the number of values up to it; `seconds` is their sum."""

    provider: str
    buckets: tuple[tuple[str, int], ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts by provider, kind and outcome (`delivered`, or the code), and how long they took.

    `deliveries`: time from the acceptance of an operation to its delivery.
    """

    counts: dict[tuple[str, str, str], int]
    durations: tuple[Durations, ...]
    deliveries: tuple[Durations, ...]


def counted(operation: Operation, attempt: Event) -> dict[str, int]:
    """Numbers that an attempt adds to the counters, by the name of the counter."""
    provider = attempt.provider
    numbers = {
        f"count|{provider}|{operation.kind}|{attempt.code or attempt.outcome}": 1,
        f"le|{provider}|{_bound(BUCKETS, attempt.duration)}": 1,
        f"ms|{provider}": round(attempt.duration * 1000),
    }
    if attempt.outcome is EventType.DELIVERED and not operation.repairs:  # a repair comes days after the acceptance
        took = max(attempt.at + attempt.duration - operation.accepted_at, 0.0)
        numbers[f"took|{provider}|{_bound(DELIVERY_BUCKETS, took)}"] = 1
        numbers[f"took_ms|{provider}"] = round(took * 1000)
    return numbers


def _bound(bounds: tuple[float, ...], seconds: float) -> str:
    """The smallest upper bound for a duration."""
    place = bisect_left(bounds, seconds)
    return f"{bounds[place]:g}" if place < len(bounds) else "+Inf"


class Figures:
    """Counters in one hash: `count|<provider>|<kind>|<outcome>`, `le|<provider>|<bound>`, `ms|<provider>`.

    `took|<provider>|<bound>` and `took_ms|<provider>` are those of the time from the acceptance to the delivery.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def attempts(self) -> Attempts:
        """The attempts and deliveries of each provider. Raises `LedgerUnavailable`."""
        with translated():
            found: dict[bytes, bytes] = self._redis.hgetall(keys.ATTEMPTS)  # type: ignore[assignment]
        counts: dict[tuple[str, str, str], int] = {}
        numbers = {tuple(name.decode().split("|")): int(value) for name, value in found.items()}
        for name, number in numbers.items():
            if name[0] == "count":
                counts[name[1], name[2], name[3]] = number
        providers = sorted({name[1] for name in numbers})
        return Attempts(
            counts,
            tuple(_durations(provider, numbers, ("le", "ms"), BUCKETS) for provider in providers),
            tuple(_durations(provider, numbers, ("took", "took_ms"), DELIVERY_BUCKETS) for provider in providers),
        )

    def count_lost_clicks(self, reasons: Mapping[str, int]) -> None:
        """Add to the counter `clicks_lost`, and to the recent ones by reason (`lost_clicks`).

        Raises `LedgerUnavailable`.
        """
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hincrby(keys.STATS, "clicks_lost", sum(reasons.values()))
            for reason, number in reasons.items():
                pipe.hincrby(keys.CLICKS_LOST, reason, number)
            pipe.expire(keys.CLICKS_LOST, keys.LOST_CLICKS_SECONDS)
            pipe.execute()

    def lost_clicks(self) -> dict[str, int]:
        """Number of recently lost clicks by reason; empty `keys.LOST_CLICKS_SECONDS` after the last one.

        Raises `LedgerUnavailable`.
        """
        with translated():
            counts: dict[bytes, bytes] = self._redis.hgetall(keys.CLICKS_LOST)  # type: ignore[assignment]
        return {reason.decode(): int(number) for reason, number in counts.items()}

    def oldest_waiting(self) -> float | None:
        """Time at which the operation that waits longest was accepted, in seconds since the epoch; None if none waits.

        Raises `LedgerUnavailable`.
        """
        with translated():
            providers: set[bytes] = self._redis.smembers(keys.PROVIDERS)  # type: ignore[assignment]
            pipe = self._redis.pipeline(transaction=False)
            for provider in providers:
                for queue in (keys.held, keys.tried):
                    pipe.zrange(queue(provider.decode()), 0, 0, withscores=True)
            pipe.zrange(keys.DUE, 0, LOOKED_AT - 1)
            *held, due = pipe.execute()
            for operation in due:
                pipe.hget(keys.op(operation.decode()), "accepted_at")
            accepted = [float(time) for time in pipe.execute() if time]
        return min([*accepted, *(score for first in held for _, score in first)], default=None)

    def memory_share(self) -> float | None:
        """Share of `maxmemory` in use: 1 is full, 0 means that there is no limit. None if Redis does not show it.

        Raises `LedgerUnavailable`.
        """
        with translated():
            server = server_of(self._redis, keys.PROBE)
            try:
                return share_of_memory(server.info("memory"))
            except redis.ResponseError:  # this user may not run INFO, or the server does not have it
                return None


def _durations(
    provider: str, numbers: dict[tuple[str, ...], int], names: tuple[str, str], bounds: tuple[float, ...]
) -> Durations:
    """The histogram in the counters `<buckets>|<provider>|<bound>` and `<sum>|<provider>`."""
    buckets, milliseconds = names
    names_of_bounds = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    counts = (numbers.get((buckets, provider, bound), 0) for bound in names_of_bounds)
    running = zip(names_of_bounds, accumulate(counts), strict=True)
    return Durations(provider, tuple(running), numbers.get((milliseconds, provider), 0) / 1000)

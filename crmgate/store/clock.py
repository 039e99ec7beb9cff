"""Redis's clock, which dates everything in the ledger, and how far the clocks of the hosts differ from it.

Hosts whose clocks differ, or jump, agree on leases, due times and heartbeats, because none of these come from their own
clocks. Logs, the time of a click and the checks of certificates do: so a clock that is wrong is reported.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping

import redis

from crmgate.model import Check
from crmgate.store import keys
from crmgate.store.keys import translated

TOLERANCE = 2.0
"""Seconds by which the clock of a host may differ from Redis's before it is reported."""
KEPT = 120.0
"""Seconds for which the last measurement of a host counts."""
_SLOW = 1.0  # seconds: a measurement that takes longer is too imprecise
_TIME = "return redis.call('TIME')"  # a script, because a cluster sends a script to the server that has its key


def redis_time(client: redis.Redis) -> float:
    """The time of Redis's clock, in seconds since the epoch. Raises `LedgerUnavailable`."""
    with translated():
        seconds, microseconds = client.eval(_TIME, 1, keys.DUE)
    return int(seconds) + int(microseconds) / 1_000_000


class Clocks:
    """Offsets of the hosts' clocks: each host measures its own and keeps it in Redis, where all processes read it.

    `wall` is the clock of this host, in seconds since the epoch.
    """

    def __init__(self, client: redis.Redis, wall: Callable[[], float] = time.time, host: str = "") -> None:
        self._redis, self._wall, self.host = client, wall, host or socket.gethostname()

    def measure(self) -> float | None:
        """Seconds by which this host's clock is ahead of Redis's; None if Redis answers too slowly to tell.

        Raises `LedgerUnavailable`.
        """
        before, begun = self._wall(), time.monotonic()
        at = redis_time(self._redis)
        took = time.monotonic() - begun
        return None if took > _SLOW else before + took / 2 - at

    def note(self) -> None:
        """Measure this host's clock and keep the result. Raises `LedgerUnavailable`."""
        offset = self.measure()
        if offset is None:
            return
        now = self._wall() - offset
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hset(keys.CLOCKS, self.host, f"{offset:.3f} {now:.3f}")
            pipe.hgetall(keys.CLOCKS)
            _, found = pipe.execute()
            if gone := [host for host, (_, at) in _read(found) if abs(now - at) > KEPT]:
                self._redis.hdel(keys.CLOCKS, *gone)

    def offsets(self) -> dict[str, float]:
        """Seconds by which the clock of each host is ahead of Redis's, by host. Raises `LedgerUnavailable`."""
        now = redis_time(self._redis)
        with translated():
            found: Mapping[bytes, bytes] = self._redis.hgetall(keys.CLOCKS)  # type: ignore[assignment]
        return {host: offset for host, (offset, at) in sorted(_read(found)) if abs(now - at) <= KEPT}


def _read(found: Mapping[bytes, bytes]) -> Iterator[tuple[str, tuple[float, float]]]:
    """Host, offset and the time of its measurement."""
    for host, text in found.items():
        offset, _, at = text.decode().partition(" ")
        yield host.decode(), (float(offset), float(at))


def check(offsets: Mapping[str, float], *, names: bool = True) -> Check:
    """Whether the clocks of the hosts agree with Redis's, within `TOLERANCE`. `names`: the detail names the hosts."""
    wrong = {host: offset for host, offset in offsets.items() if abs(offset) > TOLERANCE}
    if not wrong:
        return Check("clocks", True, f"The clocks of the hosts agree with Redis's within {TOLERANCE:g} s.")
    which = ", ".join(f"{host if names else 'a host'} {_differs(offset)}" for host, offset in wrong.items())
    remedy = "synchronise them with NTP. Deliveries use Redis's clock and continue"
    return Check("clocks", False, f"Clocks that differ from Redis's: {which}. What to do: {remedy}.")


def _differs(offset: float) -> str:
    """The offset in words, in whole tenths of a second."""
    return f"is {math.fabs(offset):.1f} s {'ahead' if offset > 0 else 'behind'}"

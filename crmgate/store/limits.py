"""How often somebody may: meters in Redis, shared by all processes, and in this process while Redis is away.

A meter is the generic cell rate algorithm (ITU-T I.371, annex A): `60/minute` lets 60 through at once and then one each
second. It is one number, the time at which the meter is empty again, and forgets itself then. What is limited must not
fail with Redis, so nothing here raises; and it must not wait for it twice, so a Redis that did not answer is left alone
for `REST` seconds.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis

from crmgate.errors import LedgerUnavailable
from crmgate.store import keys
from crmgate.store.keys import translated
from crmgate.store.scripts import standing_alone

log = logging.getLogger(__name__)

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
REST = 5.0
CAPACITY = 10_000
"""Meters that a process keeps of its own."""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many at once, and after that one each `seconds / most`."""

    most: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Limit:
        """`60/minute`. Raises `ValueError`."""
        number, _, unit = text.partition("/")
        if not number.isdecimal() or not 0 < int(number) <= 1_000_000 or unit not in UNITS:
            raise ValueError(text)
        return cls(int(number), UNITS[unit])

    def __str__(self) -> str:
        return f"{self.most}/{next(unit for unit, seconds in UNITS.items() if seconds == self.seconds)}"


@dataclass(frozen=True, slots=True)
class Use:
    """One use by `who` of what `limit` is about. `replays`: it counts for a submission that is known already, too."""

    what: str
    who: str
    limit: Limit
    replays: bool = True

    @property
    def key(self) -> str:
        """The meter's key. It holds a digest: an address or an email is nobody's to read in Redis."""
        digest = hashlib.sha256(f"{self.what} {self.who}".encode()).hexdigest()[:32]
        return keys.limit(self.what, digest)

    @property
    def interval(self) -> float:
        """Seconds that one use takes of the meter."""
        return self.limit.seconds / self.limit.most


class Limiter:
    """The meters. `clock` is in seconds since the epoch."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._here = clock, _Meters()
        self._script = client.register_script(standing_alone("limit"))
        self._rest_until = 0.0

    def take(self, uses: Sequence[Use], known: str = "") -> float:
        """Count all uses, or none and say for how many seconds not: one round trip.

        If the key `known` exists, those that are not for replays are passed over.
        """
        if not uses:
            return 0.0
        if time.monotonic() >= self._rest_until:
            try:
                return self._shared(uses, known)
            except LedgerUnavailable as error:
                self._rest_until = time.monotonic() + REST
                log.warning("rate limits are counted by each process for itself: %s", error)
        return self.take_here(uses)

    def take_here(self, uses: Sequence[Use]) -> float:
        """The same by the meters of this process alone: never waits."""
        return self._here.take(uses, self._clock())

    def _shared(self, uses: Sequence[Use], known: str) -> float:
        keys = [use.key for use in uses] + ([known] if known else [])
        arguments: list[str | float] = [self._clock(), len(uses)]
        for use in uses:
            arguments += [use.interval, use.limit.seconds, int(use.replays)]
        with translated():
            return float(self._script(keys=keys, args=arguments))


class _Meters:
    """Meters in memory: the time at which each is empty again."""

    def __init__(self) -> None:
        self._empty_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, uses: Sequence[Use], now: float) -> float:
        with self._lock:
            after = {use: max(self._empty_at.get(use.key, now), now) + use.interval for use in uses}
            wait = max(at - now - use.limit.seconds for use, at in after.items())
            if wait > 0.0005:
                return wait
            self._make_room(now)
            self._empty_at |= {use.key: at for use, at in after.items()}
            return 0.0

    def _make_room(self, now: float) -> None:
        if len(self._empty_at) >= CAPACITY:
            self._empty_at = {name: at for name, at in self._empty_at.items() if at > now}
        while len(self._empty_at) >= CAPACITY:  # the oldest: a flood from everywhere must not fill the memory
            del self._empty_at[next(iter(self._empty_at))]

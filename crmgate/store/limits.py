"""Rate limits: meters in Redis, shared by all processes, and meters in this process while Redis is unavailable.

A meter is the generic cell rate algorithm (ITU-T I.371, annex A): `60/minute` allows a burst of 60 and then one use
each second. It is one number, the time at which the meter is empty, and expires at that time. A request must not fail
because Redis fails, so nothing here raises. It must not wait for Redis twice either, so after a command without an
answer no command is sent to Redis for `PAUSE` seconds.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import redis

from crmgate.errors import LedgerUnavailable
from crmgate.store import keys
from crmgate.store.keys import translated
from crmgate.store.scripts import standing_alone

log = logging.getLogger(__name__)

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
PAUSE = 5.0
"""Seconds without a request to Redis after one that it did not answer."""
CAPACITY = 10_000
"""Number of meters that a process keeps in its memory."""
IPV6_NETWORK = 64
"""Prefix length that counts as one IPv6 address, because one customer gets at least a /64 (RFC 6177)."""
IPV6_SITE = 48
"""Prefix length of the largest usual assignment to one customer: 65,536 networks."""
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?=\d)|\Z)){4}", re.ASCII)
SITE_FACTOR = 10
"""The limit of an IPv6 site is this multiple of the limit of an address."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Allows a burst of `most`, then one use per `seconds / most` seconds."""

    most: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Limit:
        """The limit that a text such as `60/minute` names. Raises `ValueError`."""
        number, _, unit = text.partition("/")
        if not number.isdecimal() or not 0 < int(number) <= 1_000_000 or unit not in UNITS:
            raise ValueError(text)
        return cls(int(number), UNITS[unit])

    def times(self, factor: int) -> Limit:
        """A limit that allows `factor` times as many uses."""
        return Limit(self.most * factor, self.seconds)

    def __str__(self) -> str:
        return f"{self.most}/{next(unit for unit, seconds in UNITS.items() if seconds == self.seconds)}"


@dataclass(slots=True)
class Use:
    """One use of the thing `what` by `who`. With `replays` it also counts for a submission that is known already.

    `key` is the meter's key in Redis. It holds a digest, so that Redis holds no address and no email. `interval`:
    seconds by which one use fills the meter.
    """

    what: str
    who: str
    limit: Limit
    replays: bool = True
    key: str = field(init=False)
    interval: float = field(init=False)

    def __post_init__(self) -> None:
        self.key = keys.limit(self.what, keys.digest(f"{self.what} {self.who}"))
        self.interval = self.limit.seconds / self.limit.most

    def for_scripts(self) -> list[str | float]:
        """The use as the Lua scripts read it (`lua/meter.lua`)."""
        return [self.key, self.interval, self.limit.seconds, self.replays]


@dataclass(frozen=True, slots=True)
class Metered:
    """The uses of a submission, which the ledger counts in the step that records it.

    A submission that exceeds the limit of one of `refusing` is refused. One that exceeds only the limit of one of
    `reviewing` is kept for review.
    """

    refusing: Sequence[Use] = ()
    reviewing: Sequence[Use] = ()

    def for_scripts(self) -> dict[str, list[list[str | float]]]:
        """The uses as the Lua scripts read them."""
        return {
            "refusing": [use.for_scripts() for use in self.refusing],
            "reviewing": [use.for_scripts() for use in self.reviewing],
        }


UNMETERED = Metered()


def network(address: str, bits: int = IPV6_NETWORK) -> str:
    """The IPv4 address, or the IPv6 network of `bits` bits; empty for a text that is no address.

    A Unix socket has no address.
    """
    if _IPV4.fullmatch(address):
        return address
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(known, ipaddress.IPv6Address):
        known = known.ipv4_mapped or known
    if known.version == 4:
        return str(known)
    return str(ipaddress.ip_network((known, bits), strict=False))


def by_address(what: str, address: str, limit: Limit) -> list[Use]:
    """The uses of `what` by a network address: with IPv6 also by its site. None without an address."""
    if not (who := network(address)):
        return []
    uses = [Use(what, who, limit)]
    return uses if ":" not in who else [*uses, Use(what, network(address, IPV6_SITE), limit.times(SITE_FACTOR))]


class Limiter:
    """The meters. Those in Redis use its clock, those of this process a monotonic one, unless a test passes `clock`."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] | None = None) -> None:
        self._clock, self._here = clock, _Meters()
        self._script = client.register_script(standing_alone("meter", "limit"))
        self._paused_until = 0.0

    def take(self, uses: Sequence[Use]) -> float:
        """Count all uses in one round trip and return 0, or count none and return the seconds to wait.

        While Redis does not answer, the meters of this process count.
        """
        wait = self._ask(uses)
        return self.take_here(uses) if wait is None else wait

    def take_shared(self, uses: Sequence[Use]) -> float:
        """Like `take`, but returns 0 while Redis does not answer."""
        return self._ask(uses) or 0.0

    def take_here(self, uses: Sequence[Use]) -> float:
        """Like `take`, with the meters of this process alone and without Redis."""
        return self._here.take(uses, (self._clock or time.monotonic)()) if uses else 0.0

    def _ask(self, uses: Sequence[Use]) -> float | None:
        """The answer of Redis; None if it gives none."""
        if not uses:
            return 0.0
        if time.monotonic() < self._paused_until:
            return None
        try:
            return self._shared(uses)
        except LedgerUnavailable as error:
            self._paused_until = time.monotonic() + PAUSE
            log.warning("rate limits are counted by each process for itself: %s", error)
            return None

    def _shared(self, uses: Sequence[Use]) -> float:
        arguments = [self._clock() if self._clock else "", json.dumps([use.for_scripts() for use in uses])]
        with translated():
            return float(self._script(keys=[uses[0].key], args=arguments))


class _Meters:
    """Meters in memory: the time at which each is empty."""

    def __init__(self) -> None:
        self._empty_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, uses: Sequence[Use], now: float) -> float:
        with self._lock:
            after = {use.key: max(self._empty_at.get(use.key, now), now) + use.interval for use in uses}
            wait = max([after[use.key] - now - use.limit.seconds for use in uses])
            if wait > 0.0005:
                return wait
            self._make_room(now)
            self._empty_at |= after
            return 0.0

    def _make_room(self, now: float) -> None:
        if len(self._empty_at) >= CAPACITY:
            self._empty_at = {name: at for name, at in self._empty_at.items() if at > now}
        while len(self._empty_at) >= CAPACITY:  # the oldest: a flood from many addresses must not fill the memory
            del self._empty_at[next(iter(self._empty_at))]

"""State in Redis with which the web processes report an incident once: the watch, and the announced incidents."""

from __future__ import annotations

import redis

from crmgate.store import keys
from crmgate.store.keys import WATCH_SECONDS, translated


class Watchbook:
    """The watch and the announcements in Redis. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def hold(self, process: str) -> bool:
        """Take the watch, or keep it, for `WATCH_SECONDS`; False if another process has it.

        Each call writes, so that a Redis that is full or read-only is noticed.
        """
        with translated():
            if self._redis.set(keys.WATCH, process, nx=True, ex=WATCH_SECONDS):
                return True
            if self._redis.get(keys.WATCH) != process.encode():
                return False
            return bool(self._redis.set(keys.WATCH, process, xx=True, ex=WATCH_SECONDS))

    def announce(self, incident: str, now: float) -> bool:
        """Mark an incident as announced; False if it is marked already. `now`: seconds since the epoch."""
        with translated():
            return bool(self._redis.hsetnx(keys.ANNOUNCED, incident, str(now)))

    def withdraw(self, incident: str) -> bool:
        """Remove the mark of an incident that ended; False if it has none."""
        with translated():
            return bool(self._redis.hdel(keys.ANNOUNCED, incident))

    def last_heartbeat(self) -> float:
        """Time of the newest heartbeat of a worker, in seconds since the epoch; 0 if no worker is known."""
        with translated():
            newest: list[tuple[bytes, float]] = self._redis.zrange(keys.WORKERS, -1, -1, withscores=True)  # type: ignore[assignment]
        return newest[0][1] if newest else 0.0

"""The connection test with a shared result, so that frequent calls do not load the CRM.

A test sends the CRM several requests and, with a wrong key, one failed login. After some failed logins a CRM blocks the
gateway's address. Therefore at most one test runs in a process, and Redis shares its result with all processes.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import redis

from crmgate.errors import LedgerUnavailable
from crmgate.model import Connection
from crmgate.plugin_host.caller import HookCaller
from crmgate.policy import REFUSED_PROBE
from crmgate.store import keys
from crmgate.store.clock import redis_time
from crmgate.store.keys import translated

KEPT = 5.0
"""Seconds for which a successful result is reused."""
KEPT_FAILED = REFUSED_PROBE
"""Seconds for which a failed result is reused."""


class ConnectionTest:
    """Tests the connection to `crm`. `budget` is the time for one test, in seconds; `clock` measures durations."""

    def __init__(
        self, client: redis.Redis, crm: HookCaller, budget: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis, self._crm, self._budget, self._clock = client, crm, budget, clock
        self._lock = threading.Lock()
        self._last: tuple[float, tuple[float, Connection]] | None = None  # when this process tested, and the result

    def result(self) -> tuple[float, Connection]:
        """The time of the last test (seconds since the epoch) and its result. Runs a test if the last one is too old.

        Works without Redis.
        """
        with self._lock:
            return self._own() or self._shared() or self._tested()

    def _own(self) -> tuple[float, Connection] | None:
        """The last result of this process, if it is fresh."""
        if self._last is None:
            return None
        begun, found = self._last
        return found if self._clock() - begun < _kept(found[1]) else None

    def _tested(self) -> tuple[float, Connection]:
        begun, connection = self._clock(), self._crm.test_connection(self._budget)
        found = self._time(), connection
        self._last = begun, found
        self._share(*found)
        return found

    def _time(self) -> float:
        try:
            return redis_time(self._redis)
        except LedgerUnavailable:
            return time.time()

    @property
    def _key(self) -> str:
        """The key contains the credentials, so that a corrected setting has an effect at once."""
        return keys.tested(self._crm.name, self._crm.credentials)

    def _shared(self) -> tuple[float, Connection] | None:
        try:
            with translated():
                text = self._redis.get(self._key)
        except LedgerUnavailable:
            return None  # the CRM can be tested while Redis is unavailable
        if text is None:
            return None
        record = json.loads(text)
        return record["at"], Connection.from_dict(record["connection"])

    def _share(self, at: float, connection: Connection) -> None:
        try:
            with translated():
                record = json.dumps({"at": at, "connection": connection.to_dict()})
                self._redis.set(self._key, record, ex=round(_kept(connection)))
        except LedgerUnavailable:
            pass


def _kept(connection: Connection) -> float:
    """Seconds for which a result is reused."""
    return KEPT if connection.connected else KEPT_FAILED

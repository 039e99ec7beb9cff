"""The audit trail: for each change one line in the log `crmgate.audit` and one entry of a capped stream in Redis.

The entry is written in the same step as the change, in the transaction of `Audit.change` or in the script that makes
the change: there is no change without its entry, and no entry without its change.
"""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from functools import partial
from typing import Any

import redis
from redis.client import Pipeline

from crmgate.model import rfc3339
from crmgate.store import keys
from crmgate.store.clock import redis_time
from crmgate.store.keys import translated

KEPT = 10_000
"""Number of entries that are kept; Redis drops the oldest ones some hundred at a time."""

log = logging.getLogger("crmgate.audit")


class Action(StrEnum):
    """Actions in the audit log: changes by an operator, and the export of personal data.

    `RETRY`, `DISCARD` and `EDIT` are also those of a suspect and of an operation that waits: the change is the same.
    """

    RETRY = "dead_letters.retry"
    DISCARD = "dead_letters.discard"
    EDIT = "dead_letters.edit"
    EXPORT = "dead_letters.export"
    RETRIES_START = "dead_letters.retries.start"
    RETRIES_CANCEL = "dead_letters.retries.cancel"
    CRM_PAUSE = "crm.pause"
    CRM_RESUME = "crm.resume"
    TOKEN_NEW = "tokens.new"  # noqa: S105
    TOKEN_REVOKE = "tokens.revoke"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Entry:
    """A change: `who` is the name of a token or `cli:<user>`, `what` an `Action`, `on` the id of what changed.

    `detail` holds no secret and no personal data; `at` is RFC 3339.
    """

    at: str
    who: str
    what: str
    on: str
    detail: str = ""


class Audit:
    """The audit trail in Redis. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] | None = None) -> None:
        """`clock` dates the entries; None: Redis's clock."""
        self._redis, self._clock = client, clock or partial(redis_time, client)

    @contextmanager
    def change(self, who: str, what: Action, on: str, detail: str = "") -> Iterator[Pipeline]:
        """A transaction for the commands of a change; it runs, with the entry, when the block ends without an error."""
        entry = made(self._clock(), who, what, on, detail)
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            yield pipe
            pipe.xadd(keys.AUDIT, asdict(entry), maxlen=KEPT, approximate=True)  # type: ignore[arg-type]
            pipe.execute()
        report(entry)

    def record(self, who: str, what: Action, on: str, detail: str = "") -> None:
        """Record an action that changes nothing in Redis, such as an export."""
        with self.change(who, what, on, detail):
            pass

    def recent(self, limit: int = 100) -> list[Entry]:
        """The latest entries, newest first."""
        with translated():
            found = self._redis.xrevrange(keys.AUDIT, count=limit)
        return [_entry(stored) for _, stored in found]  # type: ignore[arg-type, union-attr]


def made(at: float, who: str, what: Action, on: str, detail: str = "") -> Entry:
    """The entry of a change made at a time in seconds since the epoch."""
    return Entry(rfc3339(at), who, what, on, detail)


def for_scripts(entry: Entry | None) -> dict[str, Any]:
    """The argument with which a Lua script writes the entry (`audit` in `lua/common.lua`); empty for None."""
    return {"audit": asdict(entry) | {"kept": KEPT}} if entry else {}


def _entry(stored: Mapping[bytes, bytes]) -> Entry:
    """The entry that was stored, perhaps by another version: unknown fields are left out, missing ones are empty."""
    return Entry(*(stored.get(field.name.encode(), b"").decode() for field in fields(Entry)))


def reported(done: bool, entry: Entry | None) -> bool:
    """Log the entry if the change was made (`done`). Returns `done`."""
    if done and entry:
        report(entry)
    return done


def report(entry: Entry) -> None:
    """Log the entry of a change that was made."""
    detail = f" ({entry.detail})" if entry.detail else ""
    about = {"who": entry.who, "what": entry.what, "on": entry.on}
    log.info("%s %s by %s%s", entry.what, entry.on, entry.who, detail, extra=about)


def command_line() -> str:
    """The user of the command line: `cli:<user>`."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run as a user without a name
        return f"cli:{os.getuid()}"

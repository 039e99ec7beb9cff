"""Who changed what, and when: one line in the log `crmgate.store.audit` and one entry of a capped stream in Redis.

The entry is written in the same transaction as the change: there is no change without its entry.
"""

from __future__ import annotations

import getpass
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

import redis
from redis.client import Pipeline

from crmgate.model import rfc3339
from crmgate.store.keys import key, translated

KEPT = 10_000
"""Entries that are kept; Redis drops the oldest ones some hundred at a time."""

log = logging.getLogger("crmgate.audit")


class Action(StrEnum):
    """What the audit log names: a change by an operator, and the export of personal data."""

    RETRY = "dead_letters.retry"
    DISCARD = "dead_letters.discard"
    EDIT = "dead_letters.edit"
    EXPORT = "dead_letters.export"
    RETRIES_START = "dead_letters.retries.start"
    RETRIES_CANCEL = "dead_letters.retries.cancel"
    TOKEN_NEW = "tokens.new"  # noqa: S105
    TOKEN_REVOKE = "tokens.revoke"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Entry:
    """`who` is the name of a token or `cli:<user>`, `what` an `Action`, `on` the id of what it was done to.

    `detail` holds no secret and no personal data; `at` is RFC 3339.
    """

    at: str
    who: str
    what: str
    on: str
    detail: str = ""


class Audit:
    """The list of changes. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.time) -> None:
        self._redis, self._clock = client, clock

    @contextmanager
    def change(self, who: str, what: Action, on: str, detail: str = "") -> Iterator[Pipeline]:
        """A transaction for the commands of a change; it runs, with the entry, when the block ends without an error."""
        entry = Entry(rfc3339(self._clock()), who, what, on, detail)
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            yield pipe
            pipe.xadd(key("audit"), asdict(entry), maxlen=KEPT, approximate=True)  # type: ignore[arg-type]
            pipe.execute()
        _tell(entry)

    def record(self, who: str, what: Action, on: str, detail: str = "") -> None:
        """Write down a change that something else makes, such as a script of the ledger."""
        with self.change(who, what, on, detail):
            pass

    def recent(self, limit: int = 100) -> list[Entry]:
        """The latest entries, newest first."""
        with translated():
            found = self._redis.xrevrange(key("audit"), count=limit)
        return [_entry(stored) for _, stored in found]  # type: ignore[arg-type, union-attr]


def _entry(stored: Mapping[bytes, bytes]) -> Entry:
    """An entry as it was read; what another version of crmgate knows beyond it, or did not know yet, is left out."""
    return Entry(*(stored.get(field.name.encode(), b"").decode() for field in fields(Entry)))


def _tell(entry: Entry) -> None:
    detail = f" ({entry.detail})" if entry.detail else ""
    about = {"who": entry.who, "what": entry.what, "on": entry.on}
    log.info("%s %s by %s%s", entry.what, entry.on, entry.who, detail, extra=about)


def command_line() -> str:
    """Who uses the command line: `cli:<user>`."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run as a user without a name
        return f"cli:{os.getuid()}"

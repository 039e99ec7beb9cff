"""The audit trail: for each change one line in the log `crmgate.audit` and one entry of a capped stream in Redis.

There is no change without its entry. The entry is written in the same step as the change, in the transaction of
`Audit.change` or in the script that makes the change. A restore and a rotation of keys take many steps: their entry
comes before the first of them, and does not say that the last one was made.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
import time
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

PLACE = re.compile(r"\d{1,20}-\d{1,20}")
"""The form of the place of an entry: its id in the stream."""

log = logging.getLogger("crmgate.audit")


class Action(StrEnum):
    """Actions in the audit log: changes by an operator, log-ins, and each view and export of personal data.

    `RETRY`, `DISCARD` and `EDIT` are also those of a suspect and of an operation that waits: the change is the same.
    """

    RETRY = "dead_letters.retry"
    DISCARD = "dead_letters.discard"
    EDIT = "dead_letters.edit"
    EXPORT = "dead_letters.export"
    RETRIES_START = "dead_letters.retries.start"
    RETRIES_CANCEL = "dead_letters.retries.cancel"
    REPAIR = "operations.repair"
    CRM_PAUSE = "crm.pause"
    CRM_RESUME = "crm.resume"
    CRM_SETUP = "crm.setup"
    PERSON_SHOW = "persons.show"
    PERSON_EXPORT = "persons.export"
    PERSON_ERASE = "persons.erase"
    TOKEN_NEW = "tokens.new"  # noqa: S105
    TOKEN_REVOKE = "tokens.revoke"  # noqa: S105
    VIEW = "operations.view"
    BACKUP = "backups.make"
    RESTORE = "backups.restore"
    KEYS_ROTATE = "keys.rotate"
    OPS_LOGIN = "ops.login"
    OPS_LOGOUT = "ops.logout"
    OPS_LOGIN_LINK = "ops.login_link"


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


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of entries, newest first. `next` is the place after which the following page begins, empty: the last."""

    items: tuple[Entry, ...]
    next: str


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
        """Record an action that changes nothing in Redis, such as an export, or the start of one with many steps."""
        with self.change(who, what, on, detail):
            pass

    def log(self, who: str, what: Action, on: str, detail: str = "") -> None:
        """Log an action without an entry in Redis: for what an operator may do while Redis is unavailable."""
        report(made(time.time(), who, what, on, detail))

    def recent(self, limit: int = 100) -> list[Entry]:
        """The latest entries, newest first."""
        return list(self.page(limit).items)

    def page(self, limit: int, before: str = "") -> AuditPage:
        """At most `limit` entries, newest first; with `before`, the `next` of a page, the ones after that page.

        Raises `ValueError` for a `before` that is none.
        """
        if before and not PLACE.fullmatch(before):
            raise ValueError("not a place in the audit log")
        with translated():
            found: Any = self._redis.xrevrange(keys.AUDIT, max=f"({before}" if before else "+", count=limit + 1)
        following = found[limit - 1][0].decode() if len(found) > limit else ""
        return AuditPage(tuple(_entry(stored) for _, stored in found[:limit]), following)


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

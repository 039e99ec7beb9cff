"""What a backup has of Redis, and how it is read and written again (`lua/snapshot.lua`, `lua/restore.lua`).

`COPIED`, `REBUILT` and `LEFT_OUT` decide about each key of the table in `crmgate.store.keys`.
`tests/store/test_backup.py` fails for a key without a decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import Any

import redis

from crmgate.store import keys
from crmgate.store.client import server_of
from crmgate.store.gate import Cause, Recipient
from crmgate.store.keys import PREFIX, Key, translated
from crmgate.store.ledger import Ledger

Record = dict[str, Any]
"""A line of a backup, for JSON: an operation, or another key with its value."""

STREAMED = 500
"""Number of entries of a stream in one line of a backup."""
SCANNED = 500
"""Number of keys that one step of the search for keys looks at."""


class Way(StrEnum):
    """How the value of a key comes back where Redis has the key already."""

    WHOLE = "whole"
    """Not at all: the value in Redis stays."""
    FIELDS = "fields"
    """Each field of the hash that Redis does not have."""
    STREAM = "stream"
    """Each entry that is newer than the last one in Redis."""


COPIED = {
    "person_key": Way.WHOLE,
    "stats": Way.WHOLE,
    "attempts": Way.WHOLE,
    "job": Way.WHOLE,
    "tokens": Way.FIELDS,
    "tokens:used": Way.FIELDS,
    "audit": Way.STREAM,
    "session:<digest>": Way.WHOLE,
    "idem:<digest>": Way.WHOLE,
    "same:<operation>": Way.WHOLE,
    "kept:<operation>": Way.WHOLE,
    "reconciled": Way.WHOLE,
    "gate:<provider>": Way.WHOLE,
    "job:<job>": Way.WHOLE,
    "hour:<number>": Way.WHOLE,
    "day:<number>:<dimension>": Way.WHOLE,
}
"""Keys that a backup has with their values. Of a gate it has only a pause."""
REBUILT = {
    "op:<operation>": "each operation and receipt is a line of the backup",
    "due": "an operation that has not ended waits for its provider after a restore",
    "held:<provider>": "an operation that has not ended waits for its provider after a restore",
    "tried:<provider>": "an operation that has not ended waits for its provider after a restore",
    "later:<provider>": "an operation that has not ended waits for its provider after a restore",
    "dead": "the state of the operation",
    "causes": "the history of the dead letters",
    "cause:<digest>": "the history of the dead letters",
    "returning": "the operation has the time that was left",
    "suspect": "the state of the operation",
    "person:<digest>": "the operations and sessions",
    "line:<digest>": "the operation has its lines and its place in them",
    "providers": "the operations that wait",
    "ops": "the operations",
    "ids": "the operations",
}
"""Keys that a restore makes from the operations and sessions."""
LEFT_OUT = {
    "slots:<provider>": "the attempts under way end before a restore",
    "limit:<what>:<digest>": "a rate limit starts again",
    "reconciling": "it describes running processes",
    "workers": "it describes running processes",
    "clocks": "it describes running processes",
    "watch": "it describes running processes",
    "announced": "an incident that lasts is announced again",
    "events": "the operations have their histories",
    "clicks_lost": "it is about the last minutes",
    "ops_session:<digest>": "after a restore an operator logs in again",
    "login_code:<digest>": "a code is valid for ten minutes",
    "access_token:<digest>": "a new one is asked for; the server refuses a refresh token that was used since",
    "access_token_lock:<digest>": "it describes running processes",
    "tested:<provider>:<credentials>": "the connection is tested again",
    "probe": "it is a test write",
    "rewrite": "it is about the files of the old Redis",
    "huey:queue": "a restored operation is woken again",
    "huey:schedule": "a restored operation is woken again",
}
"""Keys that a backup does not have, with the reason."""
_PAUSE = ("cause", "since", "until", "window")  # fields of a gate that make a pause


class BackupStore:
    """Reads what a backup holds, and writes it again. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, ledger: Ledger, to: Recipient) -> None:
        """Restored operations wait for the provider `to`."""
        self._redis, self._ledger, self._to = client, ledger, to

    def count(self) -> int:
        """Number of operations and receipts."""
        with translated():
            return int(self._redis.zcard(keys.IDS))

    def operations(self, ids: Sequence[str]) -> list[Record]:
        """The operations and receipts with these ids; those that are no longer kept are left out."""
        return [_operation(answer) for answer in self._ledger.run("snapshot", {"ids": list(ids)})]

    def entries(self) -> Iterator[Record]:
        """The other keys of a backup, the secret key of the index of persons first.

        Read after the operations, a session is never older than its operations. Sessions and idempotency keys have no
        index, so SCAN finds them; it does not block Redis.
        """
        single = [PREFIX + name for name in COPIED if "<" not in name]
        for names in chain([single], self._families()):
            yield from self._read(names)

    def _families(self) -> Iterator[list[str]]:
        """Names of keys with a variable part, in bounded batches."""
        server, cursor = server_of(self._redis, keys.DUE), 0
        while True:
            with translated():
                answer: Any = server.scan(cursor, match=f"{PREFIX}*", count=SCANNED)
            cursor, found = answer
            rows = ((name.decode(), row_of(name.decode())) for name in found)
            yield [name for name, row in rows if row and row.name in COPIED and "<" in row.name]
            if not cursor:
                return

    def _read(self, names: Sequence[str]) -> Iterator[Record]:
        rows = [(name, row) for name in names if (row := row_of(name))]
        with translated():
            pipe = self._redis.pipeline(transaction=True)
            for name, row in rows:
                pipe.pttl(name)
                match row.type:
                    case "string":
                        pipe.get(name)
                    case "hash":
                        pipe.hgetall(name)
                    case _:
                        pipe.exists(name)
            answers = pipe.execute() if rows else []
        for (name, row), expiry, value in zip(rows, answers[::2], answers[1::2], strict=True):
            values = self._stream(name) if row.type == "stream" else iter([_decoded(value)])
            for kept in map(_pause, values) if row.name == "gate:<provider>" else values:
                if kept:
                    yield {"key": name.removeprefix(PREFIX), "value": kept, "expiry": expiry}

    def _stream(self, name: str) -> Iterator[Any]:
        after = "-"
        while True:
            with translated():
                found: Any = self._redis.xrange(name, min=after, count=STREAMED)
            if not found:
                return
            yield [[item.decode(), _decoded(fields)] for item, fields in found]
            after = f"({found[-1][0].decode()}"

    def has_other_key(self, person_key: str) -> bool:
        """Whether the index of persons has another secret key than that of a backup."""
        with translated():
            known: Any = self._redis.get(keys.PERSON_KEY)
        return known is not None and known.decode() != person_key

    def write(
        self, operations: Sequence[Record], entries: Sequence[Record], *, base: float, foreign: bool
    ) -> tuple[int, int]:
        """Write records of a backup, if they are not there yet. Returns the numbers of operations and of entries.

        The operations get places behind `base` in their lines. `foreign`: see `has_other_key`.
        """
        arguments = {
            "operations": [_for_script(record) for record in operations],
            "entries": [entry for record in entries if (entry := _entry(record))],
            "base": base, "foreign": foreign,
        }  # fmt: skip
        written, others = self._ledger.run("restore", arguments, to=self._to)
        return written, others


def row_of(name: str) -> Key | None:
    """The row of the table of keys for a full name; None for a name that this version does not know."""
    short = name.removeprefix(PREFIX)
    beginning, colon, _ = short.partition(":")
    exact = (row for row in keys.TABLE if row.name == short)
    families = (row for row in keys.TABLE if colon and row.name.startswith(f"{beginning}:<"))
    return next(chain(exact, families), None)


def _operation(answer: Sequence[Any]) -> Record:
    operation, expiry, place, returns_in, flat = answer
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return {
        "operation": operation.decode(), "fields": _decoded(fields), "expiry": expiry,
        "place": float(place or 0), "returns_in": float(returns_in) if returns_in else None,
    }  # fmt: skip


def _for_script(record: Mapping[str, Any]) -> Record:
    named = {name: value for name, value in record.items() if value is not None and name != "operation"}
    return named | {"id": record["operation"]}


def _entry(record: Mapping[str, Any]) -> Record | None:
    """The argument of the script for a key; None for a key that this version does not restore."""
    name = PREFIX + record["key"]
    row = row_of(name)
    if row is None or row.name not in COPIED:
        return None
    visit = record["key"].partition(":")[2] if row.name == "session:<digest>" else ""
    return {"key": name, "way": COPIED[row.name], "value": record["value"], "expiry": record["expiry"], "visit": visit}


def _pause(gate: Mapping[str, str]) -> dict[str, str]:
    """The fields of a gate that make a pause; empty if it is not paused."""
    if gate.get("cause") != Cause.PAUSED:
        return {}
    return {name: gate[name] for name in _PAUSE if name in gate}


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.decode(): text.decode() for name, text in value.items()}
    return value.decode() if isinstance(value, bytes) else value

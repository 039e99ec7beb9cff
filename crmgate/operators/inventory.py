"""Lists operations by time, filters them and finds them by tracking code or id. Changes no operation.

The work for a page is bounded: it reads at most `SCAN` records. If few of them match the filter, the page is short or
even empty, and its cursor continues the search. A filter by provider, code or field reads only the dead letters of the
causes that match it (`crmgate.store.causes`).

The index `ops` contains each operation until its receipt expires; the workers call `trim` to remove expired entries.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import redis

from crmgate.model import Event, EventType, Kind, Operation, State
from crmgate.record import Word
from crmgate.store import keys
from crmgate.store.causes import REST, CauseGroup, Causes, DeathCause
from crmgate.store.keys import RECEIPT_SECONDS, translated
from crmgate.store.records import to_operation
from crmgate.store.vault import Vault
from crmgate.tracking import id_prefix

PAGE = 100
"""Largest number of operations on a page."""
SCAN = 500
"""Largest number of records that are read for one page."""
CHUNK = 100
"""Number of records that are read in one round trip."""
TRIM = 500
"""Number of index entries that one call of `trim` checks."""
MERGED = 16
"""Largest number of causes whose dead letters are merged for a page; of more causes all dead letters are read."""
ID_BEGINNING = 6
"""Smallest number of digits of the beginning of an id."""
COUNTED = 2500
"""Largest number of dead letters that are read to count matches of a filter, rounded up to `CHUNK`."""
INDEXES: dict[str, str] = {State.DEAD: keys.DEAD, State.SUSPECT: keys.SUSPECT}
"""The sorted set with the operations of a state; `keys.OPS` has all operations."""


_WORDS: Mapping[str, type[Word]] = {"state": State, "kind": Kind}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter for operations. Empty fields do not restrict it. Times are seconds since the epoch.

    `code` is the code of the last failure, `field` has names, separated by commas, of CRM fields that were refused
    together, `detail` is a part of its message in any
    case. `accepted_from` is inclusive, `accepted_to` exclusive. `dead_before` (inclusive) fixes a selection of dead
    letters: it excludes operations that become dead letters later.
    """

    state: State | None = None
    kind: Kind | None = None
    provider: str = ""
    code: str = ""
    accepted_from: float | None = None
    accepted_to: float | None = None
    dead_before: float | None = None
    field: str = ""
    detail: str = ""

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """The filter in `data`. Converts `state` and `kind`; keeps a value that only a newer version knows."""
        words = {name: word.read(data[name]) for name, word in _WORDS.items() if data.get(name)}
        return cls(**{**data, **words})

    def passes(self, operation: Operation) -> bool:
        """Whether the operation matches the filter."""
        return all((
            self.state in (None, operation.state),
            self.kind in (None, operation.kind),
            self.provider in ("", provider_of(operation)),
            self.code in ("", code_of(operation)),
            self._names(fields_of(operation)),
            self.detail.casefold() in detail_of(operation).casefold(),
            self.accepted_from is None or operation.accepted_at >= self.accepted_from,
            self.accepted_to is None or operation.accepted_at < self.accepted_to,
            self.dead_before is None or operation.dead_at <= self.dead_before,
        ))  # fmt: skip

    def may_have(self, cause: DeathCause) -> bool:
        """Whether a dead letter of this cause can match the filter. `REST` has dead letters of several causes."""
        if cause == REST:
            return True
        return all((
            self.provider in ("", cause.provider),
            self.code in ("", cause.code),
            self._names(cause.fields),
        ))  # fmt: skip

    def _names(self, refused: Sequence[str]) -> bool:
        """Whether all fields of the filter are among the refused ones."""
        return not self.field or set(self.field.split(",")) <= set(refused)

    @property
    def selective(self) -> bool:
        """Whether the filter needs more than the index `dead`, which has only the time of each dead letter."""
        return self.by_cause or self._needs_record

    @property
    def by_cause(self) -> bool:
        """Whether the filter restricts the cause of a dead letter."""
        return any((self.provider, self.code, self.field))

    @property
    def _needs_record(self) -> bool:
        """Whether the filter restricts what only the record of an operation has."""
        return any((self.kind, self.detail, self.accepted_from is not None, self.accepted_to is not None))

    def counts_by(self, groups: Sequence[CauseGroup]) -> bool:
        """Whether each dead letter of these causes matches the filter, apart from its time `dead_at`."""
        return not self._needs_record and all(group.cause != REST for group in groups)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in an index: after the operation `id` with the time `score` (seconds since the epoch)."""

    score: float
    id: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.score!r} {self.id}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the result of `str(cursor)`. Raises `ValueError`."""
        try:
            score, _, operation = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(" ")
        except (binascii.Error, UnicodeDecodeError):
            raise ValueError("not a cursor") from None
        if len(operation) != 32 or not operation.isalnum():
            raise ValueError("not a cursor")
        return cls(float(score), operation)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of operations, and the cursor of the next page; None on the last page."""

    items: tuple[Operation, ...]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class Count:
    """A number of operations; a lower bound if it is not `exact`."""

    number: int
    exact: bool


class Inventory:
    """Reads operations from Redis. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, vault: Vault | None = None) -> None:
        """`vault` decrypts the payloads."""
        self._redis, self._causes, self._vault = client, Causes(client), vault or Vault()
        self._trimmed: Cursor | None = None

    def page(self, wanted: Filter, cursor: Cursor | None = None, limit: int = PAGE, scan: int = SCAN) -> Page:
        """At most `limit` operations, newest first: dead letters by `dead_at`, others by the time of acceptance.

        Reads at most `scan` records.
        """
        indexes = self._indexes(wanted)
        items: list[Operation] = []
        while len(items) < limit and scan > 0:
            size = min(CHUNK, scan)
            rows = self._merged(indexes, wanted, cursor, size, newest_first=True)
            for place, operation in zip(rows, self.read([row.id for row in rows]), strict=True):
                cursor = place
                if operation and wanted.passes(operation):
                    items.append(operation)
                    if len(items) == limit:
                        break
            else:
                if len(rows) < size:
                    return Page(tuple(items), None)
            scan -= size
        return Page(tuple(items), cursor)

    def neighbours(self, wanted: Filter, place: Cursor) -> tuple[str, str]:
        """Ids of the next newer and the next older entry of the list beside `place`; empty at its ends.

        Of the filter only the state counts.
        """
        index = INDEXES.get(wanted.state, keys.OPS) if wanted.state else keys.OPS
        newer, older = (
            self.walk(index, Filter(), place, 1, newest_first=newest_first) for newest_first in (False, True)
        )
        return newer[0].id if newer else "", older[0].id if older else ""

    def all(self, wanted: Filter) -> Iterator[Operation]:
        """Yield every operation that matches the filter, newest first. At most one page is in memory."""
        cursor: Cursor | None = None
        while True:
            page = self.page(wanted, cursor)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def accepted_since(self, since: float) -> int:
        """Number of entries of the operations accepted since then (seconds since the epoch), also of expired ones."""
        with translated():
            return int(self._redis.zcount(keys.OPS, since, "+inf"))

    def find(self, code: str) -> list[Operation]:
        """The operations with a tracking code as people write it, or with an id that begins so (`ID_BEGINNING` digits).

        Usually one; none if it is unknown or expired; at most ten.
        """
        prefix = id_prefix(code) or _beginning(code)
        if not prefix:
            return []
        with translated():
            ids: list[bytes] = self._redis.zrangebylex(keys.IDS, f"[{prefix}", f"({prefix}g", 0, 10)  # type: ignore[assignment]
        return [operation for operation in self.read([i.decode() for i in ids]) if operation]

    def count_dead(self, wanted: Filter) -> Count:
        """Count the dead letters that match the filter.

        Reads no record if the indexes have the number, else only the records of the first `COUNTED`.
        """
        groups = self._matching(wanted)
        if not wanted.selective or (groups is not None and wanted.counts_by(groups)):
            return Count(self.looked_at(wanted), True)
        number, looked, cursor = 0, 0, None
        while looked < COUNTED:
            rows = self.walk_dead(wanted, cursor, CHUNK)
            number += sum(bool(found and wanted.passes(found)) for found in self.read([row.id for row in rows]))
            if len(rows) < CHUNK:
                return Count(number, True)
            looked, cursor = looked + len(rows), rows[-1]
        return Count(number, False)

    def looked_at(self, wanted: Filter) -> int:
        """Number of dead letters that `walk_dead` yields for the filter: those that match it, and perhaps others."""
        high = _bound(wanted.dead_before, "+inf")
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for index in self._indexes(replace(wanted, state=State.DEAD)):
                pipe.zcount(index, "-inf", high)
            return sum(pipe.execute())

    def walk_dead(self, wanted: Filter, cursor: Cursor | None, count: int) -> list[Cursor]:
        """At most `count` positions of dead letters after the cursor, the oldest first.

        All dead letters that match the filter are among them, and perhaps others. Reads no records.
        """
        return self._merged(self._indexes(replace(wanted, state=State.DEAD)), wanted, cursor, count)

    def _indexes(self, wanted: Filter) -> tuple[str, ...]:
        """The sorted sets that together have all operations which match the filter."""
        if wanted.state != State.DEAD:
            return (INDEXES.get(wanted.state, keys.OPS) if wanted.state else keys.OPS,)
        groups = self._matching(wanted)
        return (keys.DEAD,) if groups is None else tuple(group.index for group in groups)

    def _matching(self, wanted: Filter) -> list[CauseGroup] | None:
        """The causes whose dead letters can match; None if all dead letters have to be read."""
        if not wanted.by_cause:
            return None
        groups = self._causes.groups()
        matching = [group for group in groups.items if wanted.may_have(group.cause)]
        return matching if groups.complete and len(matching) <= MERGED else None

    def _merged(
        self, indexes: Sequence[str], wanted: Filter, cursor: Cursor | None, count: int, *, newest_first: bool = False
    ) -> list[Cursor]:  # fmt: skip
        """At most `count` positions of several indexes after the cursor, in one order."""
        found = [self.walk(index, wanted, cursor, count, newest_first=newest_first) for index in indexes]
        together = heapq.merge(*found, key=lambda place: (place.score, place.id), reverse=newest_first)
        return list(itertools.islice(together, count))

    def walk(
        self, index: str, wanted: Filter, cursor: Cursor | None, count: int, *, newest_first: bool = False
    ) -> list[Cursor]:
        """At most `count` positions of an index (a key of `crmgate.store.keys`) after the cursor.

        Reads no records, and applies only the time limits of the filter that the index is sorted by.
        """
        low = _bound(wanted.accepted_from if index == keys.OPS else None, "-inf")
        high = "+inf" if wanted.accepted_to is None or index != keys.OPS else f"({wanted.accepted_to!r}"
        if index not in (keys.OPS, keys.SUSPECT):
            high = _bound(wanted.dead_before, "+inf")
        if cursor and newest_first:
            high = min(high, repr(cursor.score), key=_number)
        elif cursor:
            low = max(low, repr(cursor.score), key=_number)
        return self._range(index, (low, high), cursor, count, newest_first)

    def _range(
        self, index: str, bounds: tuple[str, str], cursor: Cursor | None, count: int, newest_first: bool
    ) -> list[Cursor]:
        """Read a range of the index, skipping entries with the cursor's time that come before the cursor."""
        found: list[Cursor] = []
        start, end = reversed(bounds) if newest_first else bounds
        for offset in range(0, 1_000_000, count):
            with translated():
                rows: Any = self._redis.zrange(
                    index, start, end, desc=newest_first, withscores=True, byscore=True, offset=offset, num=count
                )  # fmt: skip
            places = [Cursor(score, i.decode()) for i, score in rows]
            found += [place for place in places if not cursor or _beyond(place, cursor, newest_first)]
            if len(rows) < count or len(found) >= count:
                break
        return found[:count]

    def read(self, ids: Sequence[str]) -> list[Operation | None]:
        """Read the operations with these ids in one round trip; None for one that is unknown or expired."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for operation_id in ids:
                pipe.hgetall(keys.op(operation_id))
            records = pipe.execute()
        return [to_operation(i, record, self._vault) for i, record in zip(ids, records, strict=True)]

    def trim(self, now: float) -> int:
        """Remove expired operations from the index; returns their number. `now` is in seconds since the epoch.

        Each call checks the next `TRIM` entries that are older than a receipt, and starts again at the oldest one after
        the last. An old entry is not always expired: dead letters do not expire.
        """
        old = Filter(accepted_to=now - RECEIPT_SECONDS)
        rows = self.walk(keys.OPS, old, self._trimmed, TRIM)
        self._trimmed = rows[-1] if len(rows) == TRIM else None
        if not rows:
            return 0
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for row in rows:
                pipe.exists(keys.op(row.id))
            gone = [row.id for row, there in zip(rows, pipe.execute(), strict=True) if not there]
            if gone:
                pipe.zrem(keys.OPS, *gone)
                pipe.zrem(keys.IDS, *gone)
                pipe.execute()
        return len(gone)


def failure_of(operation: Operation) -> Event | None:
    """The last failed attempt; None if no attempt failed."""
    return next((attempt for attempt in reversed(operation.events) if attempt.outcome is EventType.FAILED), None)


def code_of(operation: Operation) -> str:
    """The code of the last failure; empty if no attempt failed."""
    failure = failure_of(operation)
    return failure.code if failure else ""


def fields_of(operation: Operation) -> tuple[str, ...]:
    """The CRM fields that were refused in the last failure."""
    failure = failure_of(operation)
    return DeathCause(field=failure.field).fields if failure else ()


def detail_of(operation: Operation) -> str:
    """The message of the last failure; empty if no attempt failed."""
    failure = failure_of(operation)
    return failure.detail if failure else ""


def provider_of(operation: Operation) -> str:
    """The CRM that has the record, else the one tried last, else the one of its lead; empty if none is known."""
    if operation.delivered:
        return operation.delivered.provider
    tried = (attempt.provider for attempt in reversed(operation.events) if attempt.provider)
    return next(tried, operation.provider)


def _beginning(text: str) -> str:
    """The beginning of an id in lower case; empty if `text` is none."""
    return text.lower() if re.fullmatch(rf"[0-9a-fA-F]{{{ID_BEGINNING},32}}", text) else ""


def _beyond(place: Cursor, cursor: Cursor, newest_first: bool) -> bool:
    ours, theirs = (place.score, place.id), (cursor.score, cursor.id)
    return ours < theirs if newest_first else ours > theirs


def _bound(value: float | None, default: str) -> str:
    return default if value is None else repr(value)


def _number(bound: str) -> float:
    return float(bound.removeprefix("("))

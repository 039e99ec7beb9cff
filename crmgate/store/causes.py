"""The causes of the dead letters: an index by provider, code and field of the last failure.

The scripts that make, release and end a dead letter keep the index. Each cause is a sorted set of its dead letters by
`dead_at`, so their number and the oldest one cost no scan. Processes of a version without the index may
run during an upgrade: `Causes.repair` adds the dead letters that they made, and removes those that they released.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from crmgate.store import keys
from crmgate.store.keys import translated

MOST = 200
"""Largest number of causes. Dead letters of further causes are counted together, as `REST`."""
CHECKED = 500
"""Number of entries that `repair` checks in one round trip."""


@dataclass(frozen=True, slots=True)
class DeathCause:
    """Provider, code and field of the last failure of dead letters. `field`: names of CRM fields, separated by commas.

    `code` is empty for dead letters without a failed attempt, and for those of more causes than are counted.
    """

    provider: str = ""
    code: str = ""
    field: str = ""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the refused CRM fields."""
        return tuple(filter(None, self.field.split(",")))


REST = DeathCause()
"""Dead letters without a failed attempt, and those beyond `MOST` causes."""


@dataclass(frozen=True, slots=True)
class CauseGroup:
    """The dead letters of one cause: their number, and `dead_at` of the oldest in seconds since the epoch.

    `index` is the key of the sorted set with their ids.
    """

    cause: DeathCause
    count: int
    oldest: float
    index: str


@dataclass(frozen=True, slots=True)
class CauseGroups:
    """All causes, the largest first. `complete`: each dead letter is in the index."""

    items: tuple[CauseGroup, ...]
    dead: int

    @property
    def indexed(self) -> int:
        """Number of dead letters in the index."""
        return sum(group.count for group in self.items)

    @property
    def complete(self) -> bool:
        """Whether the index has as many entries as there are dead letters."""
        return self.indexed == self.dead


class Causes:
    """Reads and repairs the index of the causes. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._checked = False

    def groups(self) -> CauseGroups:
        """The causes with their counts."""
        known = self._known()
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zcard(keys.DEAD)
            for index in known:
                pipe.zcard(index)
                pipe.zrange(index, 0, 0, withscores=True)
            dead, *answers = pipe.execute()
        found = _groups(known, answers)
        return CauseGroups(tuple(sorted(found, key=lambda group: (-group.count, group.oldest))), dead)

    def repair(self, refile: Callable[[str, Sequence[str]], object]) -> int:
        """Correct the index if it is not complete; returns the number of corrected entries.

        The first call of a process checks each dead letter. `refile` takes an index ("" for none) and the ids to enter
        or to remove (`Ledger.refile`).
        """
        if self._checked and self.groups().complete:
            return 0
        corrected = sum(_corrected(refile, "", ids) for ids in self._missing())
        for index in self._known():
            corrected += sum(_corrected(refile, index, ids) for ids in self._stale(index))
        self._checked = True
        return corrected

    def _known(self) -> dict[str, DeathCause]:
        """The causes by the key of their index."""
        with translated():
            found: dict[bytes, bytes] = self._redis.hgetall(keys.CAUSES)  # type: ignore[assignment]
        return {keys.cause(digest.decode()): DeathCause(*json.loads(text)) for digest, text in found.items()}

    def _missing(self) -> Iterator[list[str]]:
        """Dead letters that no index has."""
        for ids in self._entries(keys.DEAD):
            with translated():
                pipe = self._redis.pipeline(transaction=False)
                for each in ids:
                    pipe.hexists(keys.op(each), "filed_under")
                filed = pipe.execute()
            yield [each for each, there in zip(ids, filed, strict=True) if not there]

    def _stale(self, index: str) -> Iterator[list[str]]:
        """Entries of an index that are no longer dead letters."""
        for ids in self._entries(index):
            with translated():
                pipe = self._redis.pipeline(transaction=False)
                for each in ids:
                    pipe.zscore(keys.DEAD, each)
                scores = pipe.execute()
            yield [each for each, score in zip(ids, scores, strict=True) if score is None]

    def _entries(self, index: str) -> Iterator[list[str]]:
        with translated():
            number: int = self._redis.zcard(index)
        for start in range(0, number, CHECKED):
            with translated():
                ids: list[bytes] = self._redis.zrange(index, start, start + CHECKED - 1)  # type: ignore[assignment]
            yield [each.decode() for each in ids]


def _corrected(refile: Callable[[str, Sequence[str]], object], index: str, ids: Sequence[str]) -> int:
    if ids:
        refile(index, ids)
    return len(ids)


def _groups(known: dict[str, DeathCause], answers: list[Any]) -> Iterator[CauseGroup]:
    for position, (index, cause) in enumerate(known.items()):
        count, first = answers[2 * position], answers[2 * position + 1]
        if first:
            yield CauseGroup(cause, count, first[0][1], index)

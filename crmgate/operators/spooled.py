"""Finds and erases the submissions of a person in the spool of this host: Redis did not take them yet.

Only the process of the host that is asked sees its spool. The other hosts drain theirs as soon as Redis works.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crmgate.delivery import identity
from crmgate.model import Operation
from crmgate.store.spool import Spool


class SpooledPersons:
    """The submissions of persons in a spool; without one there are none. Every method raises `SpoolUnavailable`."""

    def __init__(self, spool: Spool | None = None) -> None:
        self._spool = spool

    def ids(self, people: Sequence[str]) -> tuple[str, ...]:
        """The ids of the submissions, the oldest first; `people` are digests of an email or phone."""
        if self._spool is None or not self._spool.on:
            return ()
        return tuple(self._spool.about([*people, *map(identity.of_suspect, people)]))

    def read(self, ids: Sequence[str]) -> Iterator[Operation]:
        """The submissions with these ids that are still there, without those that another version wrote otherwise."""
        if self._spool is None:
            return
        for operation_id in ids:
            try:
                entry = self._spool.read(operation_id)
            except ValueError:
                continue
            if entry:
                yield entry.operation

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Let no submission go to Redis meanwhile; false if another process or thread moves submissions now."""
        if self._spool is None or not self._spool.on:
            yield True
            return
        with self._spool.claimed() as mine:
            yield mine

    def erase(self, ids: Sequence[str]) -> None:
        """Remove submissions; nothing of them stays on the disk."""
        if self._spool and ids:
            self._spool.erase(ids)

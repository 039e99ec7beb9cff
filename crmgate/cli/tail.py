"""What happens to operations, found by looking again and again: new ones, and others whose state changed."""

from __future__ import annotations

from collections.abc import Iterator

from crmgate.model import Operation, State
from crmgate.operators.inventory import CHUNK, Cursor, Filter, Inventory
from crmgate.store import keys

OVERLAP = 10.0
"""Seconds that are looked at again: an operation may be recorded a little later than it was accepted."""
WATCHED = 500
"""Operations that are asked after with each look: the newest of those that have not ended."""
ENDED = (State.DELIVERED, State.DISCARDED)


class Tail:
    """Each change of state once; of two changes between two looks only the later one."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._since = float("-inf")
        self._states: dict[str, tuple[float, str]] = {}
        """When each operation was accepted and what it was, the oldest first."""

    def begin(self, last: int) -> Iterator[Operation]:
        """The newest `last` operations, the oldest of them first; from here on changes are told."""
        places = self._inventory.walk(keys.OPS, Filter(), None, WATCHED, newest_first=True)[::-1]
        if places:
            self._since = places[-1].score
        found = self._look(places)
        yield from found[len(found) - min(last, len(found)) :]

    def changes(self) -> Iterator[Operation]:
        """What is new or has changed since the last look."""
        yield from self._look([Cursor(at, i) for i, (at, state) in self._states.items() if state not in ENDED])
        wanted, cursor = Filter(accepted_from=self._since - OVERLAP), None
        while True:
            places = self._inventory.walk(keys.OPS, wanted, cursor, CHUNK)
            yield from self._look([place for place in places if place.id not in self._states])
            if places:
                cursor, self._since = places[-1], max(self._since, places[-1].score)
            if len(places) < CHUNK:
                break
        self._forget()

    def _look(self, places: list[Cursor]) -> list[Operation]:
        changed = []
        for place, operation in zip(places, self._inventory.read([place.id for place in places]), strict=True):
            state = operation.state if operation else State.DISCARDED
            if operation and self._states.get(place.id, (0, ""))[1] != state:
                changed.append(operation)
            self._states[place.id] = place.score, state
        return changed

    def _forget(self) -> None:
        """Keep what the next look meets again, and of what is older only so much as can be watched."""
        ordered = sorted(self._states.items(), key=lambda entry: entry[1][0])
        recent = self._since - OVERLAP
        watched = {i for i, _ in [entry for entry in ordered if entry[1][1] not in ENDED][-WATCHED:]}
        self._states = {i: known for i, known in ordered if i in watched or known[0] >= recent}

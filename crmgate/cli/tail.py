"""Poll Redis for new operations and for changes of state."""

from __future__ import annotations

from collections.abc import Iterator

from crmgate.model import Operation, State
from crmgate.operators.inventory import CHUNK, Cursor, Filter, Inventory
from crmgate.store import keys

OVERLAP = 10.0
"""Seconds that each query covers again, because an operation is recorded a little later than it is accepted."""
WATCHED = 500
"""Largest number of unfinished operations that each query reads again; the newest ones."""


class Tail:
    """Reports each change of state once; of two changes between two queries only the later one."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._since = float("-inf")
        self._states: dict[str, tuple[float, State]] = {}
        """Time of acceptance and last known state of each operation by its id, oldest first."""

    def begin(self, last: int) -> Iterator[Operation]:
        """Yield the newest `last` operations, oldest first. `changes` reports what happens after this call.

        Raises `LedgerUnavailable`.
        """
        places = self._inventory.walk(keys.OPS, Filter(), None, WATCHED, newest_first=True)[::-1]
        if places:
            self._since = places[-1].score
        found = self._look(places)
        yield from found[len(found) - min(last, len(found)) :]

    def changes(self) -> Iterator[Operation]:
        """Yield operations that are new or have a new state since the last query. Raises `LedgerUnavailable`."""
        yield from self._look([Cursor(at, i) for i, (at, state) in self._states.items() if not state.ended])
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
            if operation and self._states.get(place.id, (0, None))[1] != state:
                changed.append(operation)
            self._states[place.id] = place.score, state
        return changed

    def _forget(self) -> None:
        """Forget old operations, except the newest `WATCHED` unfinished ones."""
        ordered = sorted(self._states.items(), key=lambda entry: entry[1][0])
        recent = self._since - OVERLAP
        watched = {i for i, _ in [entry for entry in ordered if not entry[1][1].ended][-WATCHED:]}
        self._states = {i: known for i, known in ordered if i in watched or known[0] >= recent}

"""The database of the fake EspoCRM: tables with indexes made on demand, ids in order of creation, settings."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

from crmgate.testing.espocrm.addresses import ADDRESSES, values
from crmgate.testing.espocrm.entities import stock_entity_types
from crmgate.testing.espocrm.fields import fold
from crmgate.testing.espocrm.metadata import EntityType, Record, stock_settings


def index_key(record: Record, attribute: str) -> str | None:
    """Index key of an attribute; the name of a person is first and last name together."""
    if attribute == "name" and "name" not in record:
        parts = [record.get("firstName"), record.get("lastName")]
        return "\0".join(fold(part or "") for part in parts) if any(parts) else None
    value = record.get(attribute)
    return None if value is None else fold(value)


def created_at(record: Record) -> float:
    """Time of creation in seconds since the epoch, read from the id; 0 for an id that a client chose."""
    try:
        return int(record["id"][:8], 16) + int(record["id"][8:13], 16) / 1_000_000
    except ValueError:
        return 0.0


def index_keys(record: Record, attribute: str) -> set[str]:
    """All index keys of an attribute, including those of secondary email addresses and phones."""
    if attribute in ADDRESSES and record.get(f"{attribute}Data"):
        return {fold(value) for value in values(record, attribute)}
    key = index_key(record, attribute)
    return set() if key is None else {key}


class Table:
    """The records of one entity type, deleted ones included, in the order of their creation."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._indexes: dict[str, dict[str, list[str]]] = {}

    def __iter__(self) -> Iterator[Record]:
        return (record for record in self.records.values() if not record["deleted"])

    def get(self, id_: str | None, *, deleted: bool = False) -> Record | None:
        record = self.records.get(id_ or "")
        return None if record is None or (record["deleted"] and not deleted) else record

    def insert(self, record: Record) -> None:
        self.records[record["id"]] = record
        for attribute in self._indexes:
            self._enter(attribute, record)

    def change(self, record: Record, changes: Record) -> None:
        before = {attribute: index_keys(record, attribute) for attribute in self._indexes}
        record.update(changes)
        for attribute, keys in before.items():
            for key in keys:
                self._indexes[attribute][key].remove(record["id"])
            self._enter(attribute, record)

    def find(self, attribute: str, key: str, *, deleted: bool = False) -> list[Record]:
        """The records with that key (see `index_key`), in the order of their creation."""
        if attribute not in self._indexes:
            self._indexes[attribute] = {}
            for record in self.records.values():
                self._enter(attribute, record)
        found = (self.records[id_] for id_ in sorted(self._indexes[attribute].get(key, ())))
        return [record for record in found if deleted or not record["deleted"]]

    def _enter(self, attribute: str, record: Record) -> None:
        for key in index_keys(record, attribute):
            self._indexes[attribute].setdefault(key, []).append(record["id"])


class Database:
    """All tables, the definitions of their entity types, and the settings."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] = time.time
        self.types: dict[str, EntityType] = stock_entity_types()
        self.stock: dict[str, EntityType] = stock_entity_types()
        self.settings: dict[str, Any] = stock_settings()
        self.unique: dict[str, set[str]] = {}
        self._tables: dict[str, Table] = {}
        self._last_id = 0
        self._notes = 0

    def table(self, entity: str) -> Table:
        return self._tables.setdefault(entity, Table())

    def tables(self) -> dict[str, Table]:
        return dict(self._tables)

    def clear(self, keep: set[str]) -> None:
        """Empty every table but those to keep."""
        self._tables = {name: table for name, table in self._tables.items() if name in keep}

    def now(self) -> str:
        return datetime.datetime.fromtimestamp(self.clock(), datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")

    def new_id(self) -> str:
        """17 hexadecimal digits that begin with the time: ids sort by creation."""
        self._last_id = max(int(self.clock() * 1_000_000), self._last_id + 1)
        seconds, microseconds = divmod(self._last_id, 1_000_000)
        return f"{seconds:08x}{microseconds:05x}{secrets.token_hex(2)}"

    def next_note(self) -> int:
        self._notes += 1
        return self._notes

    def unique_clash(self, entity: str, record: Record, changes: Record) -> bool:
        """Whether an index refuses the changed record. A deleted record still holds its key, and null is no key."""
        for attribute in self.unique.get(entity, ()):
            key = index_key({**record, **changes}, attribute)
            holders = [] if key is None else self.table(entity).find(attribute, key, deleted=True)
            if any(holder["id"] != record.get("id") for holder in holders):
                return True
        return False

"""Stores leads and activities in SQLite. Operation ids are unique, so that a create is safe to repeat."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crmgate.model import rfc3339

SCHEMA = """
CREATE TABLE IF NOT EXISTS leads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    operation_id TEXT UNIQUE,
    fields TEXT NOT NULL,
    created_at TEXT NOT NULL,
    revision INTEGER NOT NULL UNIQUE,
    email TEXT COLLATE NOCASE GENERATED ALWAYS AS (json_extract(fields, '$.email'))
);
CREATE INDEX IF NOT EXISTS leads_email ON leads (email);
CREATE TABLE IF NOT EXISTS activities (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lead_id INTEGER NOT NULL REFERENCES leads (id),
    operation_id TEXT UNIQUE,
    fields TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS activities_lead ON activities (lead_id);
"""
# Every change of a lead gets the next revision, so that `changed_since` misses no change.
INSERT_LEAD = """
INSERT INTO leads (operation_id, fields, created_at, revision)
VALUES (?, ?, ?, (SELECT coalesce(max(revision), 0) + 1 FROM leads))
"""
CHANGE_LEAD = """
UPDATE leads
SET fields = json_patch(fields, ?), revision = (SELECT max(revision) + 1 FROM leads)
WHERE id = ?
"""
LEAD_OF = "SELECT id FROM leads WHERE operation_id = ?"
INSERT_ACTIVITY = "INSERT INTO activities (operation_id, fields, created_at, lead_id) VALUES (?, ?, ?, ?)"
ACTIVITY_OF = "SELECT id FROM activities WHERE operation_id = ?"

MAX_NUMBER = 2**63 - 1
"""Largest integer of SQLite."""

Fields = Mapping[str, str | int | float | bool | None]


def row_number(text: str) -> int:
    """Parse a number of a query string. Raises `ValueError` if it is not an integer that SQLite can store."""
    number = int(text)
    if abs(number) > MAX_NUMBER:
        raise ValueError(f"at most {MAX_NUMBER}")
    return number


class OperationTakenError(Exception):
    """A record with this operation id exists already; `id` is its number."""

    def __init__(self, id: int) -> None:
        self.id = id
        super().__init__(f"record {id} has this operation id")


class MissingError(Exception):
    """The lead does not exist."""


@dataclass(frozen=True)
class StoredActivity:
    """An activity that was logged on a lead."""

    id: int
    operation_id: str | None
    fields: dict[str, Any]
    created_at: str


@dataclass(frozen=True)
class StoredLead:
    """A stored lead. `revision` is the number of its last change, counted over all leads."""

    id: int
    operation_id: str | None
    fields: dict[str, Any]
    created_at: str
    revision: int
    activities: list[StoredActivity]


class Store:
    """The database file. Each call opens a new connection, because a connection belongs to one thread."""

    def __init__(self, database: Path) -> None:
        self._database = database
        database.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(SCHEMA)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection with a transaction that is committed at the end, or rolled back on an error."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=10)) as connection, connection:
            connection.row_factory = sqlite3.Row
            yield connection

    def create(self, operation_id: str | None, fields: Fields) -> int:
        """Store a lead and return its number. Raises `OperationTakenError`."""
        row = (operation_id, _dump(fields), _now())
        with self._connection() as connection:
            return _insert(connection, INSERT_LEAD, LEAD_OF, row)

    def update(self, id: int, fields: Fields) -> None:
        """Change the given fields and keep the others; None removes a field. Raises `MissingError`."""
        with self._connection() as connection:
            _change(connection, id, fields)

    def add_activity(self, lead_id: int, operation_id: str | None, fields: Fields) -> int:
        """Log an activity on a lead and return its number. Raises `MissingError` and `OperationTakenError`."""
        row = (operation_id, _dump(fields), _now(), lead_id)
        with self._connection() as connection:
            # In one transaction: a reader that gets the new revision without the activity would never get it.
            _change(connection, lead_id, {})
            return _insert(connection, INSERT_ACTIVITY, ACTIVITY_OF, row)

    def get(self, id: int) -> StoredLead:
        """One lead. Raises `MissingError`."""
        found = self._leads("SELECT * FROM leads WHERE id = ?", id)
        if not found:
            raise MissingError
        return found[0]

    def by_operation(self, operation_id: str) -> list[StoredLead]:
        """The lead that an operation created; empty if there is none."""
        return self._leads("SELECT * FROM leads WHERE operation_id = ?", operation_id)

    def by_numbers(self, numbers: Sequence[int]) -> list[StoredLead]:
        """The leads with these numbers."""
        return self._leads("SELECT * FROM leads WHERE id IN (SELECT value FROM json_each(?))", json.dumps(numbers))

    def by_email(self, email: str, limit: int) -> list[StoredLead]:
        """At most `limit` leads with this email (case-insensitive), newest first."""
        return self._leads("SELECT * FROM leads WHERE email = ? ORDER BY id DESC LIMIT ?", email, limit)

    def newest(self, limit: int, before: int | None = None) -> list[StoredLead]:
        """At most `limit` leads with numbers below `before`, newest first."""
        highest = MAX_NUMBER if before is None else before
        return self._leads("SELECT * FROM leads WHERE id < ? ORDER BY id DESC LIMIT ?", highest, limit)

    def changed_since(self, revision: int, limit: int) -> list[StoredLead]:
        """At most `limit` leads changed after `revision`, in the order of their changes."""
        return self._leads("SELECT * FROM leads WHERE revision > ? ORDER BY revision LIMIT ?", revision, limit)

    def counts(self) -> dict[str, int]:
        """The number of `leads` and `activities`, and the last `revision`."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM leads) AS leads, (SELECT count(*) FROM activities) AS activities,"
                " (SELECT coalesce(max(revision), 0) FROM leads) AS revision"
            ).fetchone()
        return dict(row)

    def _leads(self, query: str, *values: str | int) -> list[StoredLead]:
        with self._connection() as connection:
            rows = connection.execute(query, values).fetchall()
            activities = _activities(connection, [row["id"] for row in rows])
        return [_lead(row, activities.get(row["id"], [])) for row in rows]


def _insert(connection: sqlite3.Connection, insert: str, find: str, row: Sequence[Any]) -> int:
    """Insert a row that begins with its operation id. Raises `OperationTakenError` if `find` finds its record."""
    try:
        return connection.execute(insert, row).lastrowid or 0
    except sqlite3.IntegrityError:
        taken = connection.execute(find, row[:1]).fetchone()
        if taken is None:
            raise
        raise OperationTakenError(taken["id"]) from None


def _change(connection: sqlite3.Connection, id: int, fields: Fields) -> None:
    if not connection.execute(CHANGE_LEAD, (json.dumps(dict(fields)), id)).rowcount:
        raise MissingError


def _activities(connection: sqlite3.Connection, lead_ids: list[int]) -> dict[int, list[StoredActivity]]:
    query = "SELECT * FROM activities WHERE lead_id IN (SELECT value FROM json_each(?)) ORDER BY id"
    found: dict[int, list[StoredActivity]] = {}
    for row in connection.execute(query, (json.dumps(lead_ids),)):
        activity = StoredActivity(row["id"], row["operation_id"], json.loads(row["fields"]), row["created_at"])
        found.setdefault(row["lead_id"], []).append(activity)
    return found


def _lead(row: sqlite3.Row, activities: list[StoredActivity]) -> StoredLead:
    fields = json.loads(row["fields"])
    return StoredLead(row["id"], row["operation_id"], fields, row["created_at"], row["revision"], activities)


def _dump(fields: Fields) -> str:
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def _now() -> str:
    return rfc3339(time.time())

"""A fake CRM with a database: a process that may be killed at any moment and keeps what it stored.

`python -m tests.chaos.crm espocrm|bitrix DATABASE --port PORT`. Every record is in SQLite before the request that made
it goes on. `synchronous=OFF` is enough: the kernel keeps what a killed process has written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.espocrm import FakeEspoCRM
from crmgate.testing.espocrm.store import Table
from crmgate.testing.server import FakeCRM, Request, Response
from tests.chaos.auditor import CLOSED, REASON

PACE = (0.002, 0.05)
"""Seconds, from and to, before a request is looked at, and again before it is answered: time to be killed in, and for
requests to overtake each other."""
SCHEMA = "create table if not exists records (entity, id, at real, data, primary key (entity, id))"


class Disk:
    """Records by entity and id, each with the time at which it was first stored (seconds since the epoch)."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=off")
        self._db.execute(SCHEMA)
        self._lock = threading.Lock()

    def save(self, entity: str, key: object, record: dict[str, Any]) -> None:
        with self._lock:
            self._db.execute(
                "insert into records values (?, ?, ?, ?) on conflict do update set data = excluded.data",
                (entity, str(key), time.time(), json.dumps(record)),
            )

    def load(self, entity: str) -> Iterator[dict[str, Any]]:
        """The records in the order in which they were made."""
        for (data,) in self._db.execute("select data from records where entity = ? order by rowid", (entity,)):
            yield json.loads(data)


class _Paced(FakeCRM):
    """A CRM that takes its time."""

    def answer(self, request: Request) -> Response:
        time.sleep(random.uniform(*PACE))
        response = super().answer(request)  # type: ignore[safe-super]
        time.sleep(random.uniform(*PACE))
        return response


class _SavedTable(Table):
    def __init__(self, entity: str, disk: Disk) -> None:
        super().__init__()
        for record in disk.load(entity):
            super().insert(record)
        self._entity, self._disk = entity, disk

    def insert(self, record: dict[str, Any]) -> None:
        self._disk.save(self._entity, record["id"], record)
        super().insert(record)

    def change(self, record: dict[str, Any], changes: dict[str, Any]) -> None:
        super().change(record, changes)
        self._disk.save(self._entity, record["id"], record)


class EspoCRM(_Paced, FakeEspoCRM):
    """The fake EspoCRM with leads, calls and notes on disk, a unique index, and a script that refuses some leads."""

    def __init__(self, disk: Disk, port: int) -> None:
        super().__init__(port=port)
        self.forbidden = {CLOSED: REASON}
        for entity in ("Lead", "Call", "Note"):
            self.database._tables[entity] = _SavedTable(entity, disk)


class _SavedRows(dict[int, dict[str, Any]]):
    def __init__(self, entity: str, disk: Disk) -> None:
        super().__init__()
        self._entity, self._disk = entity, disk

    def __setitem__(self, key: int, record: dict[str, Any]) -> None:
        self._disk.save(self._entity, key, record)
        super().__setitem__(key, record)


class Bitrix24(_Paced, FakeBitrix24):
    """The fake Bitrix24 with its leads and comments on disk. Nothing in it is unique but its own ids."""

    def __init__(self, disk: Disk, port: int) -> None:
        super().__init__(port=port)
        leads, comments = list(disk.load("lead")), list(disk.load("comment"))
        self.leads, self.comments = _SavedRows("lead", disk), _SavedRows("comment", disk)
        for lead in leads:
            self._settle(lead, created=False)
        for comment in comments:
            number, lead_id = int(comment["ID"]), int(comment["ENTITY_ID"])
            self.comments[number] = comment
            self._comments_of.setdefault((comment["ENTITY_TYPE"], lead_id), []).append(number)
        rows = [row["id"] for lead in leads for row in lead["fm"]]
        for kind, used in {"lead": self.leads, "comment": self.comments, "fm": rows}.items():
            self._ids[kind] = itertools.count(max(used, default=0) + 1)


FAKES = {"espocrm": EspoCRM, "bitrix": Bitrix24}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("provider", choices=sorted(FAKES))
    parser.add_argument("database", type=Path)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    with FAKES[options.provider](Disk(options.database), options.port):
        threading.Event().wait()


if __name__ == "__main__":
    main()

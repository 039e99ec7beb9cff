"""What an older version left in Redis, loaded into a Redis of its own (tests/data/upgrade/README.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from crmgate.model import Operation
from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.processes import ROOT, RedisProcess
from tests.world import World

DATA = ROOT / "tests/data/upgrade"
FIELDS = (
    "kind", "state", "accepted_at", "due_at", "behind", "ahead_of", "lead_id", "provider", "dead_at", "version",
)  # fmt: skip


class Older:
    """The data in a folder; `about` says which operation is which."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: dict[str, Any] = json.loads((folder / "about.json").read_text())

    @contextmanager
    def client(self, folder: Path) -> Iterator[redis.Redis]:
        """A client of a Redis in `folder` that starts with the data."""
        server = RedisProcess(folder)
        shutil.copy(self.folder / "appendonly.aof", folder)
        server.start()
        with connect(server.url) as client:
            yield client
        server.kill()

    def world(self, client: redis.Redis) -> World:
        """This version's gateway a minute later; the CRM has what the older version brought there."""
        world = World(Ledger(client, wake_message), client)
        world.now = self.about["now"] + 60
        world.crm.records |= self.about["in_the_crm"]
        return world

    def ids(self, *names: str) -> list[str]:
        return [operation for name in names for operation in self.about[name]]


def described(operation: Operation) -> dict[str, Any]:
    """An operation as `about.json` has it."""
    fields = {name: getattr(operation, name) for name in FIELDS if getattr(operation, name)}
    return fields | {"attempts": history(operation)}


def history(operation: Operation) -> list[str]:
    return [f"{event.at:.0f} {event.outcome}" for event in operation.events]

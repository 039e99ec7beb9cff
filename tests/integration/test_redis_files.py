"""The ways to copy and restore Redis's own files that docs/operations.md describes, with the redis-server at hand.

`make test-redis` runs them with another server.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from crmgate.model import State
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.integration.redis_servers import PASSWORD, Server, ended
from tests.processes import ROOT, wait_until
from tests.world import World

AS_DOCUMENTED = ("appendonly yes", "appendfsync always", 'save ""', f"requirepass {PASSWORD}")
DOCUMENTED = (ROOT / "docs/operations.md").read_text()


class Used:
    """A Redis with operations that wait, which is stopped at the end of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Server(folder, "used", *AS_DOCUMENTED)
        self.server.start()
        with self.server.client() as client:
            world = World(Ledger(client, wake_message), client)
            world.delivery.pause()
            self.operations = [world.apply(number) for number in range(20)]

    def is_whole_in(self, server: Server) -> bool:
        """Whether everything is in another Redis, and is delivered from there."""
        with server.client() as client:
            world = World(Ledger(client, wake_message), client)
            if any(world.ledger.get(operation.id) is None for operation in self.operations):
                return False
            world.delivery.resume()
            world.pass_time(30)
            assert world.states(self.operations) == {State.DELIVERED}
        return True


@pytest.fixture
def used(tmp_path: Path) -> Iterator[Used]:
    used = Used(tmp_path / "used")
    with ended(used.server):
        yield used


def snapshot(used: Used, folder: Path) -> None:
    """`redis-cli --rdb` as `dump.rdb` in an empty folder; SAVE writes the same."""
    folder.mkdir()
    with used.server.client() as client:
        client.save()
    shutil.copy(used.folder / "dump.rdb", folder)


def append_only_file_is_written(client: redis.Redis) -> bool:
    found = client.info("persistence")
    return bool(found["aof_enabled"]) and not (found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])


def test_a_snapshot_is_restored_in_the_documented_way(used: Used, tmp_path: Path) -> None:
    for line in ("--appendonly no", "config set appendonly yes", "aof_rewrite_in_progress"):
        assert line in DOCUMENTED
    folder = tmp_path / "new"
    snapshot(used, folder)
    first = Server(folder, "redis", *AS_DOCUMENTED, flags=("--appendonly", "no"))
    with ended(first):
        first.start()
        with first.client() as client:
            client.config_set("appendonly", "yes")
            wait_until("the append-only file is written", lambda: append_only_file_is_written(client))
        first.stop()
    (folder / "dump.rdb").unlink()
    second = Server(folder, "redis", *AS_DOCUMENTED)
    with ended(second):
        second.start()
        assert used.is_whole_in(second)


def test_a_snapshot_beside_an_append_only_file_is_ignored(used: Used, tmp_path: Path) -> None:
    """The reason for the documented way."""
    folder = tmp_path / "new"
    snapshot(used, folder)
    server = Server(folder, "redis", *AS_DOCUMENTED)
    with ended(server):
        server.start()
        assert not used.is_whole_in(server)


def test_a_copy_of_the_append_only_files_is_restored(used: Used, tmp_path: Path) -> None:
    """Copied while Redis is at work, with the last command cut in half as a copy may be."""
    folder = tmp_path / "new"
    shutil.copytree(used.folder, folder, ignore=shutil.ignore_patterns("*.conf", "*.log"))
    newest = max(folder.rglob("*.aof"), key=lambda file: (".incr." in file.name, file.stat().st_size))
    with newest.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\ncut")
    server = Server(folder, "redis", *AS_DOCUMENTED)
    with ended(server):
        server.start()
        assert used.is_whole_in(server)

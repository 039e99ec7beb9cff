"""While Redis is away, a submission is accepted once it is on the disk of the host, and goes to Redis afterwards."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crmgate.delivery.drain import BATCH, LATE, Drain
from crmgate.errors import NotAccepted, SpoolUnavailable
from crmgate.model import Operation, State
from crmgate.store import spool as store
from tests.delivery.spooling import MOST, Host, Redis, come_back
from tests.processes import wait_until
from tests.world import PLAN, World, away


def full_disk(_ids: object) -> None:
    raise SpoolUnavailable("database or disk is full")


def fill(host: Host, accepted: list[Operation]) -> None:
    """Apply until the spool refuses."""
    for number in range(1000):
        accepted.append(host.apply(number))  # noqa: PERF401


class TestWithoutRoom:
    """What cannot be written to the disk is not accepted."""

    def test_a_full_spool_refuses(self, world: World, server: Redis, tmp_path: Path) -> None:
        server.away = True
        host = Host(world, tmp_path, most=60_000)
        accepted: list[Operation] = []
        with pytest.raises(NotAccepted) as refused:
            fill(host, accepted)
        assert refused.value.retry_after > 0
        assert len(accepted) > 10
        assert host.waiting == [operation.id for operation in accepted]
        come_back(server, host)
        assert {*world.crm.records} == {operation.id for operation in accepted}
        server.away = True
        assert host.apply(1001).state is State.WAITING, "there is room again"

    def test_a_disk_that_fails_refuses_and_nothing_is_sent_to_the_crm(
        self, host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(store, "_insert", fail)
        with pytest.raises(NotAccepted):
            host.apply()
        assert host.world.crm.records == {}
        assert host.waiting == []
        assert "disk I/O error" in caplog.text
        assert "test0@example.com" not in caplog.text

    def test_a_folder_that_disappears_refuses(self, host: Host, server: Redis) -> None:
        """SQLite itself goes on with a removed file: what it accepts would be lost with the process."""
        host.apply()
        shutil.rmtree(host.folder)
        with pytest.raises(NotAccepted):
            host.apply(1)
        restarted = Host(host.world, host.folder)
        operation = host.apply(2)
        assert restarted.waiting == [operation.id], "it uses the file that another process made"
        come_back(server, host)
        assert list(host.world.crm.records) == [operation.id]

    def test_a_full_disk_that_refuses_to_remove_what_redis_has(
        self, host: Host, server: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        operations = [host.apply(number) for number in range(BATCH + 2)]
        with monkeypatch.context() as patch:
            patch.setattr(host.spool, "remove", full_disk)
            server.away = False
            for _ in range(3):
                with pytest.raises(SpoolUnavailable):
                    host.drain.look()
        heard = [arguments["operation"].id for _, arguments in host.hooks]
        assert heard == [operation.id for operation in operations], "the rest goes to Redis, and each of them once"
        come_back(server, host)
        assert {*host.world.crm.records} == {*heard}

    @pytest.mark.parametrize("damage", ["a file in its place", "no database"])
    def test_a_spool_that_cannot_be_opened_is_off(
        self, world: World, server: Redis, tmp_path: Path, damage: str
    ) -> None:
        """The gateway works as without a spool: it sends to the CRM at once, or refuses."""
        folder = tmp_path / "spool"
        if damage == "a file in its place":
            folder.write_text("")
        else:
            folder.mkdir()
            (folder / store.FILE).write_bytes(b"no database" * 1000)
        host = Host(world, folder)
        assert not host.spool.on
        assert host.spool.problem.startswith("SPOOL_DIR cannot be used: ")
        server.away = True
        assert host.apply().state is State.DELIVERED
        world.crm.trouble = away
        with pytest.raises(NotAccepted):
            host.apply(1)

    def test_redis_is_used_while_the_spool_fails(
        self, host: Host, server: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_marks: object) -> None:
            raise SpoolUnavailable("it cannot be read")

        server.away = False
        monkeypatch.setattr(host.spool, "concerns", fail)
        assert host.apply().state is State.DELIVERED


class TestFailures:
    """Whatever fails in between, the CRM gets each submission once."""

    @pytest.mark.parametrize("inline", [True, False])
    def test_what_was_accepted_without_redis_is_delivered_once(self, host: Host, server: Redis, inline: bool) -> None:
        world = host.world
        operation = host.apply(inline=inline)
        assert operation.state is State.WAITING
        assert world.crm.records == {}, "nothing is sent without a record"
        assert host.hooks == [], "a listener is called when the ledger has it"
        world.now += 40
        accepted_at = operation.accepted_at
        come_back(server, host)
        assert list(world.crm.records) == [operation.id]
        stored = world.stored(operation)
        assert (stored.state, stored.accepted_at) == (State.DELIVERED, accepted_at)
        assert [hook for hook, _ in host.hooks] == ["operation_accepted"]

    @pytest.mark.parametrize("inline", [True, False])
    def test_an_answer_of_redis_that_was_lost(self, host: Host, server: Redis, inline: bool) -> None:
        """Redis has the operation, perhaps with a lease of this process, and the spool has it too."""
        server.away, server.mute = False, True
        operation = host.apply(inline=inline)
        assert (operation.state, host.waiting) == (State.WAITING, [operation.id])
        come_back(server, host)
        assert list(host.world.crm.records) == [operation.id]

    def test_a_crash_after_redis_took_it_and_before_it_left_the_spool(
        self, host: Host, server: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crash(_ids: object) -> None:
            raise SpoolUnavailable("killed")

        operations = [host.apply(number) for number in range(3)]
        with monkeypatch.context() as patch:
            patch.setattr(host.spool, "remove", crash)
            server.away = False
            with pytest.raises(SpoolUnavailable):
                host.drain.look()
        host.world.pass_time(5)
        restarted = Host(host.world, host.folder)
        assert restarted.waiting == [operation.id for operation in operations]
        come_back(server, restarted)
        assert {*host.world.crm.records} == {operation.id for operation in operations}

    def test_a_restart_drains_what_an_earlier_process_left(self, host: Host, server: Redis) -> None:
        operation = host.apply()
        restarted = Host(host.world, host.folder)
        restarted.drain.look()
        assert restarted.waiting == [operation.id], "Redis is still away"
        come_back(server, restarted)
        assert list(host.world.crm.records) == [operation.id]

    def test_redis_fails_again_during_the_drain(
        self, host: Host, server: Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        operations = [host.apply(number) for number in range(5)]
        taken: list[str] = []

        def full(operation: Operation) -> bool:
            server.away = len(taken) == 2
            taken.append(operation.id)
            return server.away

        server.away, server.refuses = False, full
        host.drain.look()
        assert host.waiting == [operation.id for operation in operations[2:]]
        assert len(taken) == 3, "the rest is not tried"
        assert "stays in the spool" not in caplog.text
        server.refuses = lambda _operation: False
        come_back(server, host)
        assert {*host.world.crm.records} == {operation.id for operation in operations}

    def test_one_that_redis_refuses_or_nobody_can_read_stays_and_the_others_go(
        self, host: Host, server: Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        unreadable, newer, refused, good = (host.apply(number, key=f"k{number}") for number in range(4))
        with closing(sqlite3.connect(host.folder / store.FILE)) as db, db:
            db.execute("update spool set payload = ? where id = ?", (b"\x80", unreadable.id))
            db.execute("update spool set once = ? where id = ?", ('{"of a newer version": 1}', newer.id))
        server.away, server.refuses = False, lambda operation: operation.id == refused.id
        for _ in range(2):
            host.drain.look()
        host.world.pass_time(5)
        assert host.waiting == [unreadable.id, newer.id, refused.id]
        assert list(host.world.crm.records) == [good.id]
        for name in host.waiting:
            assert caplog.text.count(f"operation {name} stays in the spool") == 1

    def test_a_short_failure_of_redis(self, host: Host, server: Redis) -> None:
        """The second one about a person does not overtake the first one, which met a broken connection."""
        first, second = host.apply(1), host.apply(1)
        tried: list[str] = []

        def once(operation: Operation) -> bool:
            tried.append(operation.id)
            return len(tried) == 1

        server.away, server.refuses = False, once
        host.drain.look()
        assert tried == [first.id, first.id, second.id]

    def test_one_process_drains_at_a_time(self, host: Host, server: Redis) -> None:
        operation = host.apply()
        other = Host(host.world, host.folder)
        server.away = False
        with other.spool.claimed() as mine:
            assert mine
            host.drain.look()
            assert host.waiting == [operation.id]
        come_back(server, host)

    def test_processes_that_write_at_the_same_time(self, world: World, server: Redis, tmp_path: Path) -> None:
        server.away = True
        found: list[str] = []

        def write(number: int) -> None:
            host = Host(world, tmp_path / "spool")
            found.extend(host.apply(number * 10 + each).id for each in range(10))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        host = Host(world, tmp_path / "spool")
        assert sorted(host.waiting) == sorted(found)
        assert len(found) == 60
        come_back(server, host)
        assert {*world.crm.records} == {*found}


class TestPrivacy:
    def test_only_the_user_of_the_gateway_can_read_it(self, world: World, server: Redis, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            server.away = True
            host = Host(world, tmp_path / "deep" / "spool")
            host.apply()
        finally:
            os.umask(before)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in host.folder.iterdir()}
        assert modes.keys() >= {store.FILE, f"{store.FILE}-wal", store.LOCK}
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(host.folder.stat().st_mode) == 0o700

    def test_nothing_of_a_person_is_left_after_draining(self, host: Host, server: Redis) -> None:
        for number in range(200):
            host.apply(number, key=f"key-{number}")
        assert b"@example.com" in host.files()
        come_back(server, host)
        assert b"example.com" not in host.files()
        assert b"Test1" not in host.files()


class TestReports:
    def test_listeners_hear_once_of_a_spool_that_is_not_drained(self, host: Host, server: Redis) -> None:
        def reports() -> list[dict[str, Any]]:
            return [arguments for hook, arguments in host.hooks if hook == "spool_waiting"]

        host.apply()
        host.drain.look()
        assert reports() == []
        host.world.now += LATE
        for _ in range(3):
            host.drain.look()
        [report] = reports()
        assert (report["operations"], report["seconds"]) == (1, LATE)
        assert 0 < report["size"] < MOST
        come_back(server, host)
        server.away = True
        host.apply(1)
        host.world.now += LATE
        host.drain.look()
        Host(host.world, host.folder).drain.look()
        assert len(reports()) == 2, "another outage is another report, by one process of the host"

    def test_and_once_more_when_it_is_nearly_full(self, world: World, server: Redis, tmp_path: Path) -> None:
        server.away = True
        host = Host(world, tmp_path, most=60_000)
        host.apply()
        world.now += LATE
        host.drain.look()
        with pytest.raises(NotAccepted):
            fill(host, [])
        for _ in range(2):
            host.drain.look()
        shares = [arguments["share"] for hook, arguments in host.hooks if hook == "spool_waiting"]
        assert len(shares) == 2
        assert shares[1] >= 0.8

    def test_the_figures(self, host: Host) -> None:
        assert host.spool.figures() == store.SpoolFigures()
        for number in range(3):
            host.apply(number)
            host.world.now += 10
        found = host.spool.figures()
        assert (found.operations, found.oldest) == (3, 30)
        assert found.share == found.size / MOST


@pytest.fixture
def thread(host: Host) -> Iterator[Drain]:
    yield host.drain
    host.drain.stop()


def test_the_thread_drains_as_soon_as_redis_is_back(host: Host, server: Redis, thread: Drain) -> None:
    host.gateway.on_spooled = thread.start
    operation = host.apply()
    assert host.waiting == [operation.id]
    server.away = False
    wait_until("the spool is empty", lambda: not host.waiting)
    host.world.pass_time(PLAN.inline_budget)
    assert list(host.world.crm.records) == [operation.id]

"""The daily rewrite of the append-only file, on a real Redis: its result, and the reason if Redis refuses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.rewrite import Rewriter
from tests.integration.redis_servers import Server, ended
from tests.processes import DEADLINE, RedisProcess, wait_until


@pytest.fixture
def limited(redis_client: redis.Redis, redis_process: RedisProcess) -> Iterator[redis.Redis]:
    """A client of the user `limited`, which may do everything until a test takes a right away."""
    redis_client.execute_command("ACL SETUSER", "limited", "on", "nopass", "~*", "+@all")
    place = redis_process.url.rpartition("@")[2]
    client = connect(f"redis://limited:x@{place}", timeout=DEADLINE)
    yield client
    client.close()
    redis_client.acl_deluser("limited")


def files(folder: Path) -> bytes:
    """Everything in the files of append-only data."""
    found = [path for path in folder.rglob("appendonly*") if path.is_file()]
    return b"".join(path.read_bytes() for path in found)


def test_what_was_deleted_leaves_the_file_once_a_day(redis_client: redis.Redis, redis_process: RedisProcess) -> None:
    folder = redis_process.log.parent
    redis_client.set(keys.PROBE, "canary-4711")
    redis_client.delete(keys.PROBE)
    wait_until("it is in the file", lambda: b"canary-4711" in files(folder))
    assert Rewriter(redis_client).daily()
    wait_until("it has left the file", lambda: b"canary-4711" not in files(folder))
    check = Rewriter(redis_client).check()
    assert (check.ok, check.detail) == (True, "The append-only file was rewritten within the last day.")
    assert not Rewriter(redis_client).daily(), "another worker does not rewrite it again"
    assert 0 < redis_client.ttl(keys.REWRITE) <= 86_400  # type: ignore[operator]


def test_before_the_first_rewrite_the_check_says_so(redis_client: redis.Redis) -> None:
    check = Rewriter(redis_client).check()
    assert (check.ok, check.detail) == (
        True,
        "A worker rewrites the append-only file once a day; none has done so yet.",
    )


@pytest.mark.parametrize("right", ["-bgrewriteaof", "-info"])
def test_a_refusal_is_reported_with_its_consequence(
    limited: redis.Redis, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture, right: str
) -> None:
    redis_client.execute_command("ACL SETUSER", "limited", right)
    assert Rewriter(limited).daily()
    check = Rewriter(limited).check()
    assert not check.ok
    assert check.detail.startswith("Deleted personal data stays in the append-only file until Redis rewrites it")
    assert "NOPERM" in check.detail
    assert "+bgrewriteaof" in check.detail
    assert "was not rewritten" in caplog.text


def test_a_managed_redis_without_the_command_and_one_without_a_file(tmp_path: Path) -> None:
    lines = ("requirepass x", 'save ""', "appendonly yes", 'rename-command BGREWRITEAOF ""')
    server = Server(tmp_path / "managed", "redis", *lines)
    with ended(server):
        server.start("x")
        with server.client(password="x") as client:
            assert Rewriter(client).daily()
            check = Rewriter(client).check()
            assert (check.ok, "Redis refuses INFO or BGREWRITEAOF" in check.detail) == (False, True)
            client.config_set("appendonly", "no")
            client.delete(keys.REWRITE)
            assert Rewriter(client).daily()
            check = Rewriter(client).check()
            assert (check.ok, check.detail) == (True, "Redis has no append-only file to rewrite.")
    assert not list((tmp_path / "managed").rglob("*rewriteaof*"))

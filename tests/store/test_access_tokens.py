"""Access tokens in Redis: expiry, encryption, one renewal at a time, also by several processes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.store import keys
from crmgate.store.access_tokens import AccessTokens
from crmgate.store.client import connect
from crmgate.store.vault import Vault, new_key
from tests.plugin_kit.oauth_rig import REFRESH, FakeClub
from tests.processes import DEADLINE, ROOT

NAME = "c0ffee"
OLD, NEW = new_key(), new_key()


def test_a_text_is_kept_until_it_expires(redis_client: redis.Redis) -> None:
    tokens = AccessTokens(redis_client)
    assert tokens.read(NAME) is None
    tokens.write(NAME, "ü", 3600.4)
    assert tokens.read(NAME) == "ü"
    assert 0 < redis_client.ttl(keys.access_token(NAME)) <= 3600  # type: ignore[operator]
    for seconds, expiry in ((0.0, 1), (1e12, keys.ACCESS_TOKEN_SECONDS)):
        tokens.write(NAME, "x", seconds)
        assert redis_client.ttl(keys.access_token(NAME)) in (expiry - 1, expiry, -2)


def test_with_a_key_redis_has_no_plain_text(redis_client: redis.Redis) -> None:
    tokens = AccessTokens(redis_client, Vault([OLD]))
    tokens.write(NAME, "access", 3600)
    stored = redis_client.get(keys.access_token(NAME))
    assert stored.startswith(b"sealed:")  # type: ignore[union-attr]
    assert b"access" not in stored  # type: ignore[operator]
    assert tokens.read(NAME) == "access"


def test_a_text_that_cannot_be_decrypted_counts_as_none(redis_client: redis.Redis) -> None:
    AccessTokens(redis_client, Vault([OLD])).write(NAME, "access", 3600)
    assert AccessTokens(redis_client, Vault([NEW])).read(NAME) is None
    AccessTokens(redis_client).write(NAME, "plain", 3600)
    assert AccessTokens(redis_client, Vault([NEW])).read(NAME) == "plain", "from before the first key"


def failing(tokens: AccessTokens) -> None:
    with tokens.locked(NAME, DEADLINE) as mine:
        assert mine
        raise ValueError("fails")


def test_one_at_a_time_renews(redis_client: redis.Redis) -> None:
    tokens = AccessTokens(redis_client)
    locks = [tokens.locked(name, DEADLINE) for name in (NAME, NAME, "other")]
    assert [lock.__enter__() for lock in locks] == [True, False, True]
    for lock in locks:
        lock.__exit__(None, None, None)
    with pytest.raises(ValueError, match="fails"):
        failing(tokens)
    with tokens.locked(NAME, DEADLINE) as fourth:
        assert fourth
        assert 0 < redis_client.ttl(keys.access_token_lock(NAME)) <= DEADLINE  # type: ignore[operator]


def test_a_lock_that_may_belong_to_another_process_stays(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("crmgate.store.access_tokens.time.monotonic", lambda: now[0])
    with AccessTokens(redis_client).locked(NAME, 60):
        now[0] = 31.0
    assert redis_client.get(keys.access_token_lock(NAME)) == b"1"


def test_without_redis() -> None:
    tokens = AccessTokens(connect("redis://127.0.0.1:1/0"))
    for call in (
        lambda: tokens.read(NAME),
        lambda: tokens.write(NAME, "x", 1.0),
        lambda: tokens.locked(NAME, 1.0).__enter__(),
    ):
        with pytest.raises(LedgerUnavailable):
            call()


def test_two_processes_share_one_renewal(redis_client: redis.Redis, redis_process: object) -> None:
    """Each refresh token can be used once: a second renewal would end in a refusal."""
    with FakeClub() as fake:
        fake.rotates = True
        fake.fail("latency", seconds=0.3, path="/token")
        url = redis_process.url  # type: ignore[attr-defined]
        command = [sys.executable, "-m", "tests.plugin_kit.oauth_rig", fake.url, url]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]  # type: ignore[call-overload]
        try:
            assert [process.stdout.readline() for process in running] == ["ready\n"] * 2
            for process in running:
                process.stdin.write("\n")
                process.stdin.flush()
            assert [process.stdout.readline() for process in running] == ["201\n"] * 2
        finally:
            for process in running:
                process.communicate(timeout=DEADLINE)
        assert (fake.issued, fake.refresh, len(fake.written)) == (1, "refresh-canary-1", 2)
        assert REFRESH.encode() not in (redis_client.get(next(redis_client.scan_iter("*access_token:*"))) or b"")

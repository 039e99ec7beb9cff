"""Sessions and one-time codes on a real Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from crmgate.store.audit import Audit
from crmgate.store.sessions import Sessions
from crmgate.store.tokens import Scope, Tokens


@pytest.fixture
def tokens(redis_client: redis.Redis) -> Tokens:
    return Tokens(redis_client, (), Audit(redis_client))


@pytest.fixture
def sessions(redis_client: redis.Redis, tokens: Tokens) -> Sessions:
    return Sessions(redis_client, tokens, Audit(redis_client))


def test_a_session_belongs_to_its_token(sessions: Sessions, tokens: Tokens) -> None:
    token, _ = tokens.new("ayse", Scope.OPERATE, "cli:test")
    begun = sessions.begin(token)
    found = sessions.get(begun.id)
    assert found == begun
    assert found.token.name == "ayse"
    assert found.carries(begun.csrf)
    assert not found.carries(begun.csrf + "x")
    assert sessions.get(begun.id + "x") is None
    assert begun.id not in repr(begun)
    assert begun.csrf not in repr(begun)
    sessions.end(begun)
    assert sessions.get(begun.id) is None


def test_a_session_and_a_code_end_with_their_token(
    redis_client: redis.Redis, sessions: Sessions, tokens: Tokens
) -> None:
    token, _ = tokens.new("ayse", Scope.OPERATE, "cli:test")
    begun, code = sessions.begin(token), sessions.new_code(token, "cli:test")
    tokens.revoke(token.id, "cli:test")
    others = Sessions(redis_client, Tokens(redis_client, (), Audit(redis_client)), Audit(redis_client))
    assert others.get(begun.id) is None
    assert others.redeem(code) is None


def test_a_token_is_known_by_its_id_and_its_hash(sessions: Sessions, tokens: Tokens) -> None:
    token, _ = tokens.new("ayse", Scope.OPERATE, "cli:test")
    begun = sessions.begin(token)
    assert tokens.current(token.id, token.sha256) == token
    assert tokens.current(token.id, "0" * 64) is None
    assert tokens.current("", token.sha256) is None
    assert sessions.get(begun.id) is not None


def test_a_code_that_many_send_at_once_works_for_one(sessions: Sessions, tokens: Tokens) -> None:
    token, _ = tokens.new("ayse", Scope.READ, "cli:test")
    code = sessions.new_code(token, "cli:root")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: sessions.redeem(code), range(8)))
    assert [one for one in found if one] == [token]

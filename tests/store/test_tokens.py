"""API tokens on a real Redis: what is kept, what is verified, what it costs, and what happens without Redis."""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import replace
from typing import Any

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.store import tokens as room
from crmgate.store.audit import Audit
from crmgate.store.client import connect
from crmgate.store.tokens import Scope, Token, Tokens, configured, digest, generate

NOW = 1_800_000_000.0


def kept_by(client: redis.Redis, *fixed: Token) -> Tokens:
    return Tokens(client, fixed, Audit(client, lambda: NOW), lambda: NOW)


@pytest.fixture
def tokens(redis_client: redis.Redis) -> Tokens:
    return kept_by(redis_client)


def reads(client: redis.Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0))


def test_a_new_token_is_known_and_only_its_hash_is_kept(tokens: Tokens, redis_client: redis.Redis) -> None:
    token, text = tokens.new("site", Scope.READ, "cli:ayse")
    assert tokens.verify(text) == token
    everything = b"".join(
        b"".join([key, str(redis_client.dump(key)).encode()])
        for key in redis_client.keys("*")  # type: ignore[union-attr]
    )
    assert text.split("_", 2)[2].encode() not in everything
    record = redis_client.hget("{crmgate}:tokens", token.id)
    assert hashlib.sha256(text.encode()).hexdigest() in str(record)


def test_a_secret_has_256_bits_and_no_two_are_the_same() -> None:
    texts = {generate()[1] for _ in range(100)}
    assert len(texts) == 100
    assert all(room.FORM.fullmatch(text) for text in texts)


@pytest.mark.parametrize("change", ["first", "last", "id", "case", "space", "none"])
def test_whatever_is_not_the_token_is_refused(tokens: Tokens, change: str) -> None:
    _, text = tokens.new("site", Scope.OPERATE, "cli:ayse")
    head, _, secret = text.rpartition("_")
    other = "A" if secret[0] != "A" else "B"
    forged = {
        "first": f"{head}_{other}{secret[1:]}",
        "last": text[:-1] + ("A" if text[-1] != "A" else "E"),
        "id": generate()[1][:12] + secret,
        "case": text.upper(),
        "space": text + " ",
        "none": "",
    }[change]
    assert tokens.verify(forged) is None


def test_made_up_tokens_cost_no_read_each(tokens: Tokens, redis_client: redis.Redis) -> None:
    _, text = tokens.new("site", Scope.READ, "cli:ayse")
    before = reads(redis_client)
    for _ in range(200):
        assert tokens.verify(generate()[1]) is None
        assert tokens.verify("password") is None
    assert tokens.verify(text)
    assert reads(redis_client) - before <= 4, "two reads, of two keys each"


def test_an_unknown_token_is_looked_for_again_after_a_second(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tokens.verify(generate()[1]) is None
    _, text = kept_by(tokens._redis).new("site", Scope.READ, "cli:ayse")
    assert tokens.verify(text) is None
    monkeypatch.setattr(room, "AGAIN", 0.0)
    assert tokens.verify(text)


def test_a_revoked_token_is_refused_by_other_processes_soon(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token, text = tokens.new("site", Scope.READ, "cli:ayse")
    other = kept_by(tokens._redis)
    assert other.verify(text)
    revoked = tokens.revoke(token.id, "cli:ayse")
    assert revoked
    assert revoked.name == "site"
    assert tokens.revoke(token.id, "cli:ayse") is None
    monkeypatch.setattr(room, "FRESH", 0.0)
    assert other.verify(text) is None


def test_the_list_says_when_a_token_was_used(tokens: Tokens) -> None:
    used, text = tokens.new("site", Scope.READ, "cli:ayse")
    tokens.new("spare", Scope.OPERATE, "cli:ayse")
    tokens.verify(text)
    assert [(token.name, token.last_used) for token in tokens.all()] == [("site", NOW), ("spare", 0.0)]
    assert tokens.all()[0].id == used.id


def test_operate_includes_read_and_not_the_other_way() -> None:
    operator, reader = (Token("", "x", scope, "") for scope in (Scope.OPERATE, Scope.READ))
    assert operator.allows(Scope.READ)
    assert operator.allows(Scope.OPERATE)
    assert reader.allows(Scope.READ)
    assert not reader.allows(Scope.OPERATE)


class Hash(str):
    """A digest that may be compared in constant time only."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a comparison that ends at the first difference")

    __ne__ = __eq__


def test_the_time_of_a_guess_reveals_nothing(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each guess is compared as often, wherever it differs, and never in a way that ends early."""
    compare, compared = hmac.compare_digest, []
    monkeypatch.setattr(room.hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b))
    texts = [generate()[1] for _ in range(3)]
    fixed = tuple(Token("", "site", "read", Hash(digest(text))) for text in texts)
    guarded = kept_by(tokens._redis, *fixed)
    for guess in [*texts, generate()[1], texts[0][:-1] + ("b" if texts[0][-1] == "a" else "a")]:
        compared.clear()
        assert bool(guarded.verify(guess)) == (guess in texts)
        assert len(compared) == 3


def test_a_wrong_secret_of_a_token_in_redis_is_compared_in_constant_time(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, text = tokens.new("site", Scope.READ, "test")
    known = tokens._read()[kept.id]
    monkeypatch.setattr(tokens, "_lookup", lambda _: replace(known, sha256=Hash(known.sha256)))
    assert tokens.verify(text)
    assert tokens.verify(text[:-1] + ("b" if text[-1] == "a" else "a")) is None


def test_without_redis_the_configured_tokens_work_and_others_cannot_be_judged() -> None:
    _, text = generate()
    tokens = kept_by(connect("redis://127.0.0.1:1/0", 0.2), configured(f"site:read:{digest(text)}"))
    known = tokens.verify(text)
    assert known
    assert known.name == "site"
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            tokens.verify(generate()[1])
    assert tokens.verify("password") is None


def test_every_change_leaves_an_entry_and_a_line(
    tokens: Tokens, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "crmgate.audit")
    token, text = tokens.new("site", Scope.READ, "cli:ayse")
    tokens.revoke(token.id, "cli:mehmet")
    entries = Audit(redis_client).recent()
    assert [(e.who, e.what, e.on, e.detail) for e in entries] == [
        ("cli:mehmet", "tokens.revoke", token.id, "site, read"),
        ("cli:ayse", "tokens.new", token.id, "site, read"),
    ]
    assert entries[0].at == "2027-01-15T08:00:00.000Z"
    assert caplog.messages == [
        f"tokens.new {token.id} by cli:ayse (site, read)",
        f"tokens.revoke {token.id} by cli:mehmet (site, read)",
    ]
    assert text not in caplog.text


def test_a_change_that_fails_leaves_no_entry_and_an_entry_that_fails_no_change(redis_client: redis.Redis) -> None:
    audit = Audit(redis_client)

    def fail() -> None:
        with audit.change("x", "y", "z") as pipe:
            pipe.set("changed", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert redis_client.keys("*") == []
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(LedgerUnavailable):
            kept_by(redis_client).new("site", Scope.READ, "cli:ayse")
    finally:
        redis_client.config_set("maxmemory", 0)
    assert redis_client.keys("*") == []


def test_the_audit_log_is_capped(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crmgate.store.audit.KEPT", 50)
    audit: Any = Audit(redis_client)
    for number in range(400):
        audit.record("x", "y", str(number))
    assert 50 <= redis_client.xlen("{crmgate}:audit") < 250  # Redis drops a node of 100 entries at once
    assert audit.recent(1)[0].on == "399"

"""A change and its audit entry are one step: on a full Redis (`maxmemory`, `noeviction`) both happen, or neither."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from crmgate.store.tokens import Scope, Tokens
from tests.dead_letters import add_dead_letters
from tests.world import World


@contextmanager
def full(client: redis.Redis) -> Iterator[None]:
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


class Office:
    """One dead letter, one running job and one token."""

    def __init__(self, world: World) -> None:
        self.world, self.client = world, world.redis
        retries = Retries(self.client, world.ledger, Inventory(self.client), world.delivery.recipient)
        self.desk = Desk(world.ledger, world.gateway, world.delivery, retries)
        [self.dead] = add_dead_letters(world.ledger)
        self.operation = self.desk.get(self.dead)
        self.tokens = Tokens(self.client, (), Audit(self.client))
        self.token = self.tokens.new("site", Scope.READ, "ada")[0].id

    def job(self) -> str:
        job = self.desk.retries.current()
        return job.state if job else ""

    def everything(self) -> dict[bytes, object]:
        """Everything in Redis except the audit entries."""
        return {name: self.content(name) for name in self.client.scan_iter() if not name.endswith(b":audit")}

    def content(self, name: bytes) -> object:
        # Of a large hash the order of the fields, and so its dump, changes without a write.
        return self.client.hgetall(name) if self.client.type(name) == b"hash" else self.client.dump(name)

    def edit(self) -> None:
        self.desk.amend(self.operation, {**self.operation.payload, "city": "Ankara"}, "ada")

    def start(self) -> None:
        self.desk.start_retries(Filter(), "ada")

    def cancel(self) -> None:
        self.desk.cancel_retries(self.desk.retries.current().id, "ada")  # type: ignore[union-attr]


@dataclass(frozen=True)
class Change:
    """An action of an operator. `when_full`: it works on a full Redis, because it makes room or stops something."""

    what: str
    make: Callable[[Office], object]
    when_full: bool
    before: Callable[[Office], object] = lambda _office: None

    def __str__(self) -> str:
        return self.what


CHANGES = [
    Change("dead_letters.retry", lambda office: office.desk.retry(office.dead, "ada"), True),
    Change("dead_letters.discard", lambda office: office.desk.discard(office.dead, "a test", "ada"), True),
    Change("dead_letters.edit", Office.edit, False),
    Change("dead_letters.retries.start", Office.start, False),
    Change("dead_letters.retries.cancel", Office.cancel, True, Office.start),
    Change("crm.pause", lambda office: office.desk.pause("ada"), False),
    Change("crm.resume", lambda office: office.desk.resume("ada"), True, lambda office: office.desk.pause("ada")),
    Change("tokens.new", lambda office: office.tokens.new("other", Scope.READ, "ada"), False),
    Change("tokens.revoke", lambda office: office.tokens.revoke(office.token, "ada"), False),
]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The actions in the audit log."""
    return [record.what for record in caplog.records if record.name == "crmgate.audit"]  # type: ignore[attr-defined]


@pytest.fixture
def office(world: World) -> Office:
    return Office(world)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_on_a_full_redis_both_happen_or_neither(
    office: Office, change: Change, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "crmgate.audit")
    change.before(office)
    audit = Audit(office.client)
    before, entries = office.everything(), len(audit.recent())
    caplog.clear()
    with full(office.client), suppress(LedgerUnavailable):
        change.make(office)
    changed = office.everything() != before
    assert changed == change.when_full
    trail = audit.recent()
    expected = [change.what] if changed else []
    assert [entry.what for entry in trail[: len(trail) - entries]] == expected
    assert logged(caplog) == expected


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_change_has_one_entry(office: Office, change: Change, caplog: pytest.LogCaptureFixture) -> None:
    change.before(office)
    caplog.set_level(logging.INFO, "crmgate.audit")
    before, entries = office.everything(), len(Audit(office.client).recent())
    change.make(office)
    assert office.everything() != before
    newest, *older = Audit(office.client).recent()
    assert (newest.what, newest.who, len(older)) == (change.what, "ada", entries)
    assert logged(caplog) == [change.what]


def test_what_changes_nothing_has_no_entry(office: Office) -> None:
    office.start()
    office.cancel()
    entries = Audit(office.client).recent()
    office.cancel()
    assert Audit(office.client).recent() == entries
    office.desk.discard(office.dead, "a test", "ada")
    discarded = Audit(office.client).recent()
    for change in CHANGES[:3]:
        with pytest.raises(Exception, match="discarded"):
            change.make(office)
    assert Audit(office.client).recent() == discarded


def test_what_the_gateway_does_by_itself_has_no_entry(office: Office) -> None:
    entries = Audit(office.client).recent()
    assert office.world.ledger.discard(office.dead, office.world.delivery.recipient, reason="room for others")
    assert Audit(office.client).recent() == entries


def test_the_trail_is_capped(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crmgate.store.audit.KEPT", 50)
    for _ in range(400):
        office.desk.retry(office.dead, "ada")
        office.client.hset(f"{{crmgate}}:op:{office.dead}", "state", "dead")
    assert 50 <= office.client.xlen("{crmgate}:audit") < 250  # Redis drops a node of 100 entries at once

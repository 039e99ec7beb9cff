"""A change and its audit entry are one step: on a full Redis (`maxmemory`, `noeviction`) both happen, or neither."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.operators.archive import Archive
from crmgate.operators.backups import Backups
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.persons import Persons
from crmgate.operators.reconcile import Reconcile, Report
from crmgate.operators.retries import Retries
from crmgate.operators.rotation import Rotation
from crmgate.store.audit import Action, Audit
from crmgate.store.backup import BackupStore
from crmgate.store.ledger import Ledger
from crmgate.store.persons import PersonIndex
from crmgate.store.reconciled import KeptPayloads, ReconcileBook
from crmgate.store.sessions import Sessions
from crmgate.store.stored import StoredPayloads
from crmgate.store.tokens import Scope, Tokens
from crmgate.store.vault import Vault, new_key
from crmgate.store.wakeups import wake_message
from crmgate.web.ops.words import ACTIONS
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
    """A gateway with one dead letter, one token and a backup of both. It keeps the payloads of delivered operations."""

    report: Report

    def __init__(self, world: World) -> None:
        self.world, self.client = world, world.redis
        world.ledger.keep = 3600.0
        inventory, audit = Inventory(self.client), Audit(self.client)
        retries = Retries(self.client, world.ledger, inventory, world.delivery.recipient)
        self.desk = Desk(world.ledger, world.gateway, world.delivery, retries)
        [self.dead] = add_dead_letters(world.ledger)
        self.operation = self.desk.get(self.dead)
        self.tokens = Tokens(self.client, (), audit)
        token, _ = self.tokens.new("site", Scope.READ, "ada")
        self.token = token.id
        self.sessions = Sessions(self.client, self.tokens, audit)
        self.session = self.sessions.begin(replace(token, name="ada"))
        kept = KeptPayloads(self.client)
        index = PersonIndex(self.client, world.ledger)
        self.persons = Persons(index, world.ledger, inventory, world.gateway, audit, "TR", kept)
        book, crm = ReconcileBook(self.client, world.ledger), world.crm
        self.reconcile = Reconcile(
            world.ledger, inventory, book, kept, crm, world.delivery.recipient  # type: ignore[arg-type]
        )  # fmt: skip
        stored = StoredPayloads(self.client, world.ledger)
        self.rotation = Rotation(stored, inventory, Vault([new_key()]), audit)
        store = BackupStore(self.client, world.ledger, world.delivery.recipient)
        self.backups = Backups(store, inventory, world.ledger, audit)
        self.backup = io.BytesIO()
        self.backups.make(self.backup, None, "ada")

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

    def erase(self) -> None:
        self.persons.erase(self.persons.contact("test0@example.com"), "ada")

    def lose(self) -> None:
        """The CRM loses the record of an operation, and a comparison finds that."""
        lost = self.world.apply(7, inline=True)
        del self.world.crm.records[lost.id]
        self.world.pass_time(20)
        self.report = self.reconcile.compare(self.world.now - 3600)

    def repair(self) -> None:
        self.reconcile.repair(self.report, [gap.operation.id for gap in self.report.gaps], "ada")

    def rotate(self) -> None:
        list(self.rotation.steps("ada"))

    def forget(self) -> None:
        self.client.flushall()

    def restore(self) -> None:
        self.backups.restore(Archive.open(self.backup, None), "ada")

    def log_in(self) -> None:
        self.sessions.begin(self.session.token)

    def cancel(self) -> None:
        self.desk.cancel_retries(self.desk.retries.current().id, "ada")  # type: ignore[union-attr]


@dataclass(frozen=True)
class Change:
    """An action of an operator. `when_full`: it works on a full Redis, because it makes room or stops something.

    `parts`: the entries of the changes that the action consists of, the oldest first.
    """

    what: str
    make: Callable[[Office], object]
    when_full: bool
    before: Callable[[Office], object] = lambda _office: None
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.what

    @property
    def entries(self) -> list[str]:
        return [*self.parts, self.what]


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
    Change("persons.erase", Office.erase, True, parts=("dead_letters.discard",)),
    Change("operations.repair", Office.repair, True, Office.lose),
    Change("backups.restore", Office.restore, False, Office.forget),
    Change("keys.rotate", Office.rotate, False),
    Change("ops.login", Office.log_in, False),
    Change("ops.logout", lambda office: office.sessions.end(office.session), False),
    Change("ops.login_link", lambda office: office.sessions.new_code(office.session.token, "ada"), False),
]
NOT_IN_REDIS = {
    Action.EXPORT, Action.PERSON_SHOW, Action.PERSON_EXPORT, Action.VIEW, Action.BACKUP, Action.CRM_SETUP,
}  # fmt: skip
"""Actions that change nothing in Redis."""


def test_each_action_is_tried_on_a_full_redis() -> None:
    missing = {*Action} - NOT_IN_REDIS - {change.what for change in CHANGES}
    assert not missing, f"tests/store/test_audit.py: CHANGES has no {', '.join(missing)}"


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
    expected = change.entries if changed else []
    assert [entry.what for entry in trail[: len(trail) - entries]][::-1] == expected
    assert logged(caplog) == expected


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_change_has_one_entry(office: Office, change: Change, caplog: pytest.LogCaptureFixture) -> None:
    change.before(office)
    caplog.set_level(logging.INFO, "crmgate.audit")
    before, entries = office.everything(), len(Audit(office.client).recent())
    change.make(office)
    assert office.everything() != before
    assert logged(caplog) == change.entries
    trail = [(entry.what, entry.who) for entry in Audit(office.client).recent()]
    assert trail[: len(change.entries)][::-1] == [(what, "ada") for what in change.entries]
    # A restore also brings back the entries of the backup.
    assert len(trail) == entries + len(change.entries) or change.what == "backups.restore"


class Lossy(Ledger):
    """A ledger that loses Redis after some more scripts."""

    scripts_left = 1000

    def run(self, script: str, arguments: Mapping[str, Any], **options: Any) -> Any:
        self.scripts_left -= 1
        if self.scripts_left < 0:
            raise LedgerUnavailable("lost")
        return super().run(script, arguments, **options)


@pytest.mark.parametrize("scripts", [1, 2, 3])
@pytest.mark.parametrize("what", ["persons.erase", "keys.rotate", "backups.restore"])
def test_a_change_in_several_steps_has_an_entry_before_it_has_ended(
    redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch, what: str, scripts: int
) -> None:
    monkeypatch.setattr("crmgate.operators.backups.BATCH", 1)
    monkeypatch.setattr("crmgate.operators.rotation.BATCH", 1)
    ledger = Lossy(redis_client, wake_message)
    office = Office(World(ledger, redis_client))
    [change] = [change for change in CHANGES if change.what == what]
    change.before(office)
    before = office.everything()
    ledger.scripts_left = scripts
    with suppress(LedgerUnavailable):
        change.make(office)
    newest = [entry.what for entry in Audit(office.client).recent(1)]
    assert office.everything() == before or newest[0] in change.entries


@pytest.mark.parametrize(("what", "scripts"), [("keys.rotate", 0), ("backups.restore", 1)])
def test_the_entry_of_a_change_that_is_cut_off_does_not_say_that_it_has_ended(
    redis_client: redis.Redis, what: str, scripts: int
) -> None:
    """An operator who reads that all payloads are encrypted removes the old key."""
    ledger = Lossy(redis_client, wake_message)
    office = Office(World(ledger, redis_client))
    [change] = [change for change in CHANGES if change.what == what]
    change.before(office)
    ledger.scripts_left = scripts
    with pytest.raises(LedgerUnavailable):
        change.make(office)
    [newest] = Audit(office.client).recent(1)
    assert ACTIONS[newest.what].startswith("Started")


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

"""Finds, exports and erases a person whose submissions Redis does not have: they are in the spool of the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from crmgate.delivery import identity
from crmgate.errors import LedgerUnavailable, SpoolUnavailable
from crmgate.model import Kind, Operation, Suspicion
from crmgate.operators.inventory import Inventory
from crmgate.operators.persons import Persons
from crmgate.operators.spooled import SpooledPersons
from crmgate.schemas.typed_contact import Contact
from crmgate.store.audit import Audit
from crmgate.store.persons import PersonIndex
from crmgate.store.reconciled import KeptPayloads
from crmgate.store.spool import FILE
from tests.delivery.spooling import Host, Redis, come_back
from tests.world import World

EMAIL, PHONE = "ada.canary@example.com", "+905321234567"
ADA = {"first_name": "Ada", "email": EMAIL, "phone": PHONE, "custom": {"note": "Canarium"}}
CONTACTS = [Contact("email", EMAIL), Contact("phone", PHONE)]
WHO = CONTACTS[0]


@pytest.fixture
def server(world: World, monkeypatch: pytest.MonkeyPatch) -> Redis:
    return Redis(world.ledger, monkeypatch)


@pytest.fixture
def host(world: World, tmp_path: Path) -> Host:
    return Host(world, tmp_path / "spool")


@pytest.fixture
def persons(world: World, host: Host) -> Persons:
    index, audit = PersonIndex(world.redis, world.ledger), Audit(world.redis, world.clock)
    return Persons(
        index, world.ledger, Inventory(world.redis), world.gateway, audit, "TR", KeptPayloads(world.redis),
        SpooledPersons(host.spool),
    )  # fmt: skip


def submit(host: Host, suspect: Suspicion | None = None) -> Operation:
    return host.gateway.submit(Kind.CREATE_LEAD, ADA, inline=False, suspect=suspect)


@pytest.fixture
def kept(host: Host, server: Redis) -> list[str]:
    """Ada's application and her suspect in the spool, beside one of somebody else."""
    server.away = True
    host.apply(7)
    return [submit(host).id, submit(host, Suspicion.HONEYPOT).id]


@pytest.mark.parametrize("contact", CONTACTS)
def test_a_person_in_the_spool_is_found_and_exported(persons: Persons, kept: list[str], contact: Contact) -> None:
    found = persons.find(contact, "ops")
    assert (found.spooled, found.known, found.counts()["spooled"]) == (tuple(kept), True, 2)
    exported = persons.export(contact, "ops")["operations"]
    assert [(one["id"], one["state"], one["payload"]) for one in exported] == [
        (kept[0], "waiting", ADA), (kept[1], "suspect", ADA),
    ]  # fmt: skip
    assert persons.find(Contact("email", "test70@example.com"), "ops").known is False


@pytest.mark.parametrize("contact", CONTACTS)
def test_an_erasure_removes_them_from_the_disk_and_touches_nobody_else(
    persons: Persons, host: Host, kept: list[str], server: Redis, contact: Contact
) -> None:
    assert host.files().count(b"Canarium") >= 2
    done = persons.erase(contact, "ops")
    assert (done.discarded, done.left, done.complete) == (2, (), True)
    assert [word for word in (EMAIL, PHONE, "Canarium") if word.encode() in host.files()] == []
    assert len(host.waiting) == 1
    come_back(server, host)
    assert len(host.world.crm.records) == 1
    assert not persons.find(contact, "ops").known


def test_one_that_redis_has_and_the_spool_still_has_counts_once_and_is_removed(
    persons: Persons, host: Host, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.away = True
    made = submit(host)
    server.away = False

    def full_disk(_ids: object) -> None:
        raise SpoolUnavailable("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(host.spool, "remove", full_disk)
        with pytest.raises(SpoolUnavailable):
            host.drain.look()
    found = persons.find(WHO, "ops")
    assert ([one.id for one in found.operations], found.spooled, found.unsent) == ([made.id], (), 1)
    assert (persons.erase(WHO, "ops").discarded, host.waiting) == (1, [])
    assert b"Canarium" not in host.files()


def test_while_the_spool_is_drained_an_erasure_is_not_complete(persons: Persons, host: Host, kept: list[str]) -> None:
    with host.spool.claimed() as mine:
        assert mine
        first = persons.erase(WHO, "ops")
        assert (first.left, first.complete, first.discarded) == (tuple(kept), False, 0)
        assert {*kept} < {*host.waiting}
    assert persons.erase(WHO, "ops").complete


def test_without_redis_nothing_is_erased(
    persons: Persons, host: Host, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(persons._index, "erase", away)
    with pytest.raises(LedgerUnavailable):
        persons.erase(WHO, "ops")
    assert {*kept} < {*host.waiting}


def test_a_spool_that_cannot_be_read_is_no_empty_one(persons: Persons, host: Host, kept: list[str]) -> None:
    (host.folder / FILE).unlink()
    for action in (persons.find, persons.export, persons.erase):
        with pytest.raises(SpoolUnavailable):
            action(WHO, "ops")


def test_one_of_another_version_is_found_and_erased_though_it_cannot_be_read(
    persons: Persons, host: Host, kept: list[str]
) -> None:
    with host.spool._writing() as db:
        db.execute("update spool set once = ?, payload = ? where id = ?", ('{"new": 1}', b"{}", kept[0]))
    assert persons.find(WHO, "ops").spooled == tuple(kept)
    assert [one["id"] for one in persons.export(WHO, "ops")["operations"]] == [kept[1]]
    assert persons.erase(WHO, "ops").complete
    assert {*kept}.isdisjoint(host.waiting)


def test_the_mark_of_a_suspect_holds_nobody_back(host: Host, server: Redis) -> None:
    server.away = True
    submit(host, Suspicion.HONEYPOT)
    server.away = False
    assert not host.spool.concerns(identity.people(ADA))
    submit(host)
    assert len(host.waiting) == 1

"""What the previous version left in Redis is delivered exactly once, and can be listed, edited, retried and backed up.

tests/data/upgrade/README.md says how the data were made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from crmgate.delivery import identity
from crmgate.errors import KeyReused
from crmgate.model import Kind, State
from crmgate.operators.archive import Archive
from crmgate.operators.backups import Backups
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from crmgate.store.backup import BackupStore
from crmgate.store.causes import Causes
from crmgate.store.persons import PersonIndex
from crmgate.store.tokens import Tokens
from tests.integration.older import DATA, Older, described, history
from tests.world import World

OLDER = Older(DATA / "previous")
ABOUT, ids = OLDER.about, OLDER.ids
DEAD = ids("dead", "in_the_job", "dead_of_the_outage")
DELIVERED_SOON = ids("waiting", "leased", "dead_of_the_outage")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    """A client of a Redis that starts with the previous version's data."""
    with OLDER.client(tmp_path) as client:
        yield client


@pytest.fixture
def world(client: redis.Redis) -> World:
    return OLDER.world(client)


@pytest.fixture
def desk(world: World, client: redis.Redis) -> Desk:
    retries = Retries(client, world.ledger, Inventory(client), world.delivery.recipient)
    return Desk(world.ledger, world.gateway, world.delivery, retries)


def backups(world: World) -> Backups:
    store = BackupStore(world.redis, world.ledger, world.delivery.recipient)
    return Backups(store, Inventory(world.redis), world.ledger, Audit(world.redis, world.clock))


def test_every_record_reads_as_before(world: World) -> None:
    assert len(ABOUT["operations"]) == 20
    for operation, expected in ABOUT["operations"].items():
        assert described(world.stored(operation)) == expected


@pytest.mark.parametrize("restored", [False, True])
def test_everything_is_delivered_once_and_in_order(world: World, desk: Desk, restored: bool) -> None:
    """Also after a backup by this version, and its restore."""
    if restored:
        file = io.BytesIO()
        backups(world).make(file, None, "ada")
        world.redis.flushall()
        backups(world).restore(Archive.open(file, None), "ada")
    before = list(world.crm.records)
    world.pass_time(180)
    assert world.states(DELIVERED_SOON) == {State.DELIVERED}  # type: ignore[arg-type]
    sent = list(world.crm.records)[len(before) :]
    # The CRM of the test takes nothing twice. It has two already: their outcome was not recorded.
    assert sorted(sent) == sorted(set(DELIVERED_SOON) - set(before))
    assert len(before) - len(set(before) - set(DELIVERED_SOON)) == 2
    places = [sent.index(operation) for operation in ids("chains")]
    assert places == sorted(places)
    assert len({world.crm.records[operation] for operation in ids("chains")}) == 1, "about one lead"
    first, second = ids("person")
    assert sent.index(first) < sent.index(second)
    for operation in [*ids("dead"), *ids("suspects")]:
        desk.retry(operation, "ada")
    while desk.retries.step() is not None:
        world.pass_time(1)
    world.pass_time(180)
    kept = set(ABOUT["operations"]) - set(ids("discarded"))
    assert world.states(kept) == {State.DELIVERED}  # type: ignore[arg-type]
    assert set(world.crm.records) >= kept - set(ids("delivered"))


def test_dead_letters_are_listed_by_cause_edited_and_retried(world: World, desk: Desk) -> None:
    listed = Inventory(world.redis).page(Filter(state=State.DEAD)).items
    assert {operation.id for operation in listed} == set(DEAD)
    Causes(world.redis).repair(world.ledger.refile)
    groups = Causes(world.redis).groups()
    assert groups.complete
    assert sum(group.count for group in groups.items if group.cause.code == "invalid_value") == len(DEAD) - 1
    letter = desk.get(ids("dead")[1])
    assert letter.payload["city"] == "Ankara"
    desk.amend(letter, {**letter.payload, "city": "Oslo"}, "bob")
    desk.retry(letter.id, "bob")
    world.pass_time(180)
    delivered = world.stored(letter)
    assert history(delivered)[: len(letter.events)] == history(letter)
    assert [event.outcome for event in delivered.events[-3:]] == ["edited", "released", "delivered"]


def test_an_idempotency_key_still_stands_for_its_submission(world: World) -> None:
    lead = {"first_name": "Test1", "last_name": "Öğrenci", "email": "test1@example.com", "session": "known"}
    at = "2027-01-15T08:00:00.000Z"
    click = {"channel": "telegram", "referral_code": "REF52", "occurred_at": at, "session": "new"}
    for key, kind, payload, operation in (
        ("key-of-a-delivered-one", Kind.CREATE_LEAD, lead, ids("delivered")[0]),
        ("key-of-a-waiting-one", Kind.CREATE_MINIMAL_LEAD, click, ids("chains")[0]),
    ):
        assert world.gateway.submit(kind, payload, inline=True, key=key).id == operation
        with pytest.raises(KeyReused):
            world.gateway.submit(kind, payload | {"referral_code": "OTHER"}, inline=True, key=key)


def test_a_session_still_knows_its_lead(world: World) -> None:
    world.pass_time(180)
    click = world.click("known", inline=True)
    assert (click.kind, click.state) == (Kind.LOG_ACTIVITY, State.DELIVERED)
    assert world.crm.records[click.id] == world.crm.records[ids("delivered")[0]]


def test_persons_tokens_and_the_audit_log_are_there(world: World, client: redis.Redis) -> None:
    index = PersonIndex(client, world.ledger)
    assert index.renew() > 0
    found = set(index.traces(index.references([*identity.people({"email": "test55@example.com"})]), 10).operations)
    assert found == set(ids("person"))
    token = Tokens(client, (), Audit(client)).verify(ABOUT["token"]["text"])
    assert token is not None
    assert (token.id, token.name) == (ABOUT["token"]["id"], "site")
    assert {"dead_letters.retry", "dead_letters.edit"} <= {entry.what for entry in Audit(client).recent(200)}

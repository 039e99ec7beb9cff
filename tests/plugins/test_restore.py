"""An old backup doubles nothing in a CRM: every kind of operation of it is looked for before it is sent again."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import redis

from crmgate.model import Kind, Operation, State, Suspicion
from crmgate.operators.archive import Archive
from crmgate.operators.backups import Backups
from crmgate.operators.inventory import Inventory
from crmgate.store.audit import Audit
from crmgate.store.backup import BackupStore
from crmgate.store.ledger import Ledger
from tests.plugins.test_one_person import CRMS, Site

SUSPECT = {"first_name": "Bot", "email": "bot@example.com", "additional_info": "text-of-a-suspect."}


@pytest.fixture(params=CRMS)
def site(request: pytest.FixtureRequest, ledger: Ledger, redis_client: redis.Redis) -> Iterator[Site]:
    fake, connect = CRMS[request.param]()
    with fake:
        yield Site(fake, connect(), ledger, redis_client)


def submitted(site: Site) -> list[Operation]:
    """Operations of every kind, which wait: each has a text of its own."""
    world = site.world
    return [
        world.apply(1, session="s", additional_info="text-of-the-first."),
        world.click("s", metadata={"page": "/text-of-the-click."}),
        world.apply(1, session="s", city="Oslo", additional_info="text-of-the-second."),
        world.click("t", metadata={"page": "/text-of-a-minimal-one."}),
        world.click("t", metadata={"page": "/text-of-its-activity."}),
        world.apply(2, additional_info="text-of-another-one."),
        world.apply(2, additional_info="text-of-a-known-person."),
        world.gateway.submit(Kind.CREATE_LEAD, SUSPECT, inline=False, suspect=Suspicion.HONEYPOT),
    ]  # fmt: skip


def deliver(site: Site, operations: list[Operation]) -> None:
    site.world.delivery.resume()
    site.world.gateway.release(operations[-1].id)
    site.drain(operations)


@pytest.mark.parametrize("delivered_before", [0, 1, 4])
def test_an_old_backup_makes_no_second_record(site: Site, delivered_before: int) -> None:
    world, file = site.world, io.BytesIO()
    store = BackupStore(world.redis, world.ledger, world.delivery.recipient)
    backups = Backups(store, Inventory(world.redis), world.ledger, Audit(world.redis, world.clock))
    world.delivery.pause()
    operations = submitted(site)
    world.delivery.resume()
    for operation in operations[:delivered_before]:
        world.delivery.attempt(operation.id)
    world.delivery.pause()
    backups.make(file, None, "ada")
    deliver(site, operations)
    before = site.everything()
    assert all(before.count(str(text)) == 1 for text in texts_of(operations)), before
    world.redis.flushall()
    backups.restore(Archive.open(file, None), "ada")
    assert [world.stored(one).state for one in operations].count(State.DELIVERED) == delivered_before
    deliver(site, operations)
    assert site.everything() == before


def texts_of(operations: list[Operation]) -> list[object]:
    return [
        operation.payload.get("additional_info") or operation.payload["metadata"]["page"] for operation in operations
    ]

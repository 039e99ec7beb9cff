"""Discards of many dead letters: in bounded batches, and what somebody else handles meanwhile is skipped."""

from __future__ import annotations

import pytest
import redis

from crmgate.model import Operation
from crmgate.operators.desk import Desk
from crmgate.operators.discards import DiscardBatch, discard_batch
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from tests.dead_letters import add_dead_letters
from tests.world import World


@pytest.fixture
def inventory(redis_client: redis.Redis) -> Inventory:
    return Inventory(redis_client)


@pytest.fixture
def desk(world: World, redis_client: redis.Redis, inventory: Inventory) -> Desk:
    retries = Retries(redis_client, world.ledger, inventory, world.delivery.recipient)
    return Desk(world.ledger, world.gateway, world.delivery, retries)


def test_one_that_somebody_else_handles_is_skipped(
    world: World, desk: Desk, inventory: Inventory, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    discarded, kept, sent = add_dead_letters(world.ledger, 3, code="duplicate")
    original = inventory.read

    def read(ids: list[str]) -> list[Operation | None]:
        found = original(ids)
        world.gateway.discard(discarded, "meanwhile")
        redis_client.hset(f"{{crmgate}}:op:{sent}", "state", "delivering")
        return found

    monkeypatch.setattr(inventory, "read", read)
    batch = discard_batch(inventory, desk, Filter(code="duplicate"), "sent twice", "ada")
    assert batch == DiscardBatch(discarded=1, skipped=2, next=None)
    assert (world.stored(kept).state, world.stored(kept).events[-1].detail) == ("discarded", "sent twice")
    assert world.stored(discarded).events[-1].detail == "meanwhile"
    assert [(entry.who, entry.on) for entry in Audit(redis_client).recent()] == [("ada", kept)]


def test_a_batch_is_bounded_and_takes_dead_letters_only(world: World, desk: Desk, inventory: Inventory) -> None:
    add_dead_letters(world.ledger, 130, step=0.1)
    world.click("waits")
    waiting = world.ledger.stats()["waiting"]
    first = discard_batch(inventory, desk, Filter(), "a test", "ada")
    assert (first.discarded, first.skipped) == (100, 0)
    assert discard_batch(inventory, desk, Filter(), "a test", "ada", first.next) == DiscardBatch(30, 0, None)
    assert world.ledger.stats()["waiting"] == waiting

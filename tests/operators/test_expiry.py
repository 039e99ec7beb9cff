"""`DEAD_DAYS`: dead letters beyond the age limit are discarded, and never silently; by default none is."""

from __future__ import annotations

import logging

import pytest
import redis

from crmgate.model import State
from crmgate.operators.expiry import BATCH, Expiry
from crmgate.operators.inventory import Inventory
from crmgate.store import keys
from crmgate.store.audit import Audit
from tests.dead_letters import add_dead_letters
from tests.world import START, World

DAY = 86_400.0


@pytest.fixture
def inventory(redis_client: redis.Redis) -> Inventory:
    return Inventory(redis_client)


def expiry(world: World, inventory: Inventory, days: float) -> Expiry:
    return Expiry(world.ledger, inventory, world.delivery.recipient, days)


def test_by_default_a_dead_letter_is_kept_for_ever(world: World, inventory: Inventory) -> None:
    [old] = add_dead_letters(world.ledger, at=START - 4000 * DAY)
    assert expiry(world, inventory, 0).discard_old() == 0
    assert world.stored(old).state == State.DEAD


def test_an_old_one_is_discarded_audited_counted_and_logged(
    world: World, inventory: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    old, young = add_dead_letters(world.ledger, 2, at=START - 31 * DAY, step=2 * DAY)
    with caplog.at_level(logging.INFO):
        assert expiry(world, inventory, 30).discard_old() == 1
    assert (world.stored(old).state, world.stored(young).state) == (State.DISCARDED, State.DEAD)
    assert world.stored(old).payload == {}
    assert world.stored(old).events[-1].detail == "nobody decided about it within 30 days (DEAD_DAYS)"
    assert 0 < world.redis.ttl(keys.op(old)) <= keys.RECEIPT_SECONDS  # type: ignore[operator]
    [entry] = Audit(world.redis).recent()
    assert (entry.who, entry.what, entry.on) == ("gateway", "dead_letters.discard", old)
    assert {"dead_expired": 1, "dead_letters": 1}.items() <= world.ledger.stats().items()
    assert "1 dead letters were discarded: they were older than 30 days" in caplog.text


def test_one_that_an_operator_retries_meanwhile_is_not_discarded(
    world: World, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, other = add_dead_letters(world.ledger, 2, at=START - 40 * DAY)
    walk = inventory.walk_dead

    def retried_meanwhile(*arguments: object) -> object:
        found = walk(*arguments)  # type: ignore[arg-type]
        assert world.gateway.release(old)
        return found

    monkeypatch.setattr(inventory, "walk_dead", retried_meanwhile)
    assert expiry(world, inventory, 30).discard_old() == 1
    assert (world.stored(old).state, world.stored(other).state) == (State.WAITING, State.DISCARDED)
    assert [entry.on for entry in Audit(world.redis).recent()] == [other]


def test_at_most_a_batch_goes_at_once_the_oldest_first(world: World, inventory: Inventory) -> None:
    ids = add_dead_letters(world.ledger, BATCH + 1, at=START - 40 * DAY)
    assert [expiry(world, inventory, 30).discard_old() for _ in range(3)] == [BATCH, 1, 0]
    assert {world.stored(each).state for each in ids} == {State.DISCARDED}

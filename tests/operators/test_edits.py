"""Edits of many dead letters: counted before, made in batches, and an invalid result is left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from crmgate.model import Kind, Operation, Suspicion
from crmgate.operators.desk import Desk
from crmgate.operators.edits import EditBatch, Edits
from crmgate.operators.inventory import Count, Cursor, Filter, Inventory
from crmgate.operators.payloads import Payloads
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from tests.dead_letters import add_dead_letters
from tests.world import World

SOURCE = Filter(field="source")


@pytest.fixture
def edits(world: World, redis_client: redis.Redis) -> Edits:
    inventory = Inventory(redis_client)
    retries = Retries(redis_client, world.ledger, inventory, world.delivery.recipient)
    desk = Desk(world.ledger, world.gateway, world.delivery, retries)
    world.now += 1000
    return Edits(inventory, desk, Payloads(Audit(redis_client)), default_region="TR", channels={"telegram"})


def numbers(batch: EditBatch) -> dict[str, int]:
    return {str(effect): number for effect, number in batch.numbers.items() if number}


def test_a_preview_counts_shows_an_example_and_changes_nothing(world: World, edits: Edits) -> None:
    made = add_dead_letters(world.ledger, 3, field="source", source="fair")
    add_dead_letters(world.ledger, 2, field="email", source="fair")
    preview = edits.preview(SOURCE, {"source": "website"}, "ada")
    assert (preview.count, preview.checked, preview.refused) == (Count(3, True), 3, 0)
    assert preview.example is not None
    assert (preview.example.id, preview.example.before["source"]) == (made[-1], "fair")
    assert preview.example.after["source"] == "website"
    assert {world.stored(each).payload["source"] for each in made} == {"fair"}


def test_only_those_that_match_are_edited_each_with_its_audit_entry(world: World, edits: Edits) -> None:
    made = add_dead_letters(world.ledger, 3, field="source", source="fair")
    [other] = add_dead_letters(world.ledger, field="email", source="fair")
    fixed = edits.preview(SOURCE, {"source": "website"}, "eve").filter
    [later] = add_dead_letters(world.ledger, field="source", source="fair", at=world.now + 1)
    assert numbers(edits.batch(fixed, {"source": "website"}, "ada")) == {"edited": 3}
    assert [world.stored(each).payload["source"] for each in (*made, other, later)] == ["website"] * 3 + ["fair"] * 2
    assert world.states([world.stored(each) for each in made]) == {"dead"}
    entries = Audit(world.redis).recent()
    assert {(entry.who, entry.what, entry.on) for entry in entries} == {
        ("ada", "dead_letters.edit", each) for each in made
    } | {("eve", "operations.view", made[-1])}, "the preview showed one"
    assert numbers(edits.batch(fixed, {"source": "website"}, "ada")) == {"unchanged": 3}


def test_an_invalid_result_is_refused_and_counted(world: World, edits: Edits) -> None:
    [applied] = add_dead_letters(world.ledger, field="source")
    [clicked] = add_dead_letters(world.ledger, field="source", kind=Kind.CREATE_MINIMAL_LEAD)
    preview = edits.preview(SOURCE, {"source": "website", "email": "nowhere"}, "ada")
    assert (preview.refused, preview.checked, preview.example) == (2, 2, None)
    assert {error.field for error in preview.errors} <= {"source", "email"}
    batch = edits.batch(SOURCE, {"source": "fair"}, "ada")
    assert numbers(batch) == {"edited": 1, "refused": 1}
    assert [error.field for error in batch.errors] == ["source"], "a click has no source"
    assert world.stored(applied).payload["source"] == "fair"
    assert world.stored(clicked).version == 1


def test_batches_together_edit_each_once(world: World, edits: Edits) -> None:
    made = add_dead_letters(world.ledger, 25, field="source")
    cursor: Cursor | None = None
    sizes: list[int] = []
    while True:
        batch = edits.batch(SOURCE, {"city": "Ankara"}, "ada", cursor, limit=10)
        sizes.append(sum(batch.numbers.values()))
        if batch.next is None:
            break
        cursor = Cursor.parse(str(batch.next))
    assert sizes == [10, 10, 5]
    assert {world.stored(each).version for each in made} == {2}


def test_one_that_somebody_else_changes_is_skipped(world: World, edits: Edits, monkeypatch: pytest.MonkeyPatch) -> None:
    changed, released, kept = add_dead_letters(world.ledger, 3, field="source")
    inventory: Any = edits._inventory
    original = inventory.read

    def read(ids: list[str]) -> list[Operation | None]:
        found: list[Operation | None] = original(ids)
        world.redis.hincrby(f"{{crmgate}}:op:{changed}", "version", 1)
        world.gateway.discard(released, "a test")
        return found

    monkeypatch.setattr(inventory, "read", read)
    assert numbers(edits.batch(SOURCE, {"city": "Ankara"}, "ada")) == {"edited": 1, "skipped": 2}
    assert world.stored(kept).payload["city"] == "Ankara"


def test_a_suspect_is_never_edited_with_many(world: World, edits: Edits) -> None:
    kept = world.gateway.submit(Kind.CREATE_LEAD, {"first_name": "Bot"}, inline=False, suspect=Suspicion.HONEYPOT)
    assert numbers(edits.batch(Filter(), {"city": "Ankara"}, "ada")) == {}
    assert world.stored(kept).version == 0

"""Encrypted payloads on a real Redis: a lost key loses nothing, sends nothing, and everything returns with the key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from crmgate.errors import Rejected
from crmgate.model import Operation, State
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.operators.rotation import BATCH, Rotation
from crmgate.operators.waiting import Waiting, WaitsFor
from crmgate.schemas.edit import edited
from crmgate.schemas.faults import InvalidFields
from crmgate.store import keys
from crmgate.store.audit import Audit
from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.reconciled import KeptPayloads
from crmgate.store.stored import StoredPayloads
from crmgate.store.vault import Vault, key_id
from crmgate.store.wakeups import wake_message
from tests.delivery.spooling import Host, Redis, come_back
from tests.processes import DEADLINE, RedisProcess
from tests.world import World, away

OLD, NEW, LOST = (base64.urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n", b"l"))
Start = Callable[..., World]


@pytest.fixture
def start(redis_client: redis.Redis, redis_process: RedisProcess) -> Start:
    """A function that starts the gateway with these keys, on the Redis as it is. `before`: it goes on from this one."""

    def start(*keys_: str, before: World | None = None) -> World:
        ledger = Ledger(connect(redis_process.url, timeout=DEADLINE), wake_message, Vault(keys_))
        world = World(ledger, redis_client)
        if before:
            world.now, world._sweep_at = before.now, before.now
            world.crm.records = before.crm.records
        return world

    return start


def payload_of(world: World, operation: Operation) -> bytes:
    return world.redis.hget(keys.op(operation.id), "payload") or b""  # type: ignore[return-value]


def desk_of(world: World, vault: Vault) -> Desk:
    inventory = Inventory(world.redis, vault)
    retries = Retries(world.redis, world.ledger, inventory, world.delivery.recipient)
    return Desk(world.ledger, world.gateway, world.delivery, retries)


def test_no_payload_stands_in_redis_in_plain(start: Start) -> None:
    world = start(OLD)
    world.crm.trouble = lambda _operation: Rejected("no")
    dead, waiting = world.apply(1), world.apply(2)
    world.delivery.attempt(dead.id)
    world.delivery.record_dead_letter(dead.id)
    desk_of(world, Vault([OLD])).amend(world.stored(dead), {"first_name": "Changed", "email": "c@example.com"}, "ada")
    for operation in (dead, waiting):
        assert payload_of(world, operation).startswith(f"sealed:{key_id(OLD)}:".encode())
    assert world.stored(dead).payload["first_name"] == "Changed"
    assert world.stored(waiting).payload["email"] == "test2@example.com"
    world.crm.trouble = lambda _operation: None
    assert world.gateway.release(dead.id)
    world.pass_time(60)
    assert world.states([dead, waiting]) == {State.DELIVERED}


def test_what_was_stored_in_plain_before_is_delivered(start: Start) -> None:
    before = start()
    plain = before.apply(1)
    world = start(OLD, before=before)
    assert world.stored(plain).payload["email"] == "test1@example.com"
    world.pass_time(10)
    assert world.states([plain]) == {State.DELIVERED}


def test_repeated_and_related_submissions_are_recognised_as_without_encryption(start: Start) -> None:
    world = start(OLD)
    first = world.apply(1, key="k")
    assert world.apply(1, key="k").id == first.id
    second = world.apply(1, city="Ankara")
    assert world.stored(second).behind == first.id


@pytest.mark.parametrize("later", [(), (NEW,)])
def test_a_lost_key_sends_nothing_and_loses_nothing_until_it_is_back(start: Start, later: tuple[str, ...]) -> None:
    """Many operations, an outage while the key is away, and new ones in between: the new ones are delivered."""
    before = start(OLD)
    locked = [before.apply(number) for number in range(10)]
    world = start(*later, before=before)
    fresh = world.apply(20)
    behind = world.apply(3, city="Ankara")
    world.crm.trouble = away
    world.pass_time(120)
    world.crm.trouble = lambda _operation: None
    world.pass_time(1000)
    assert world.stored(fresh).state == State.DELIVERED
    assert set(world.crm.records) == {fresh.id}
    for operation in locked:
        found = world.stored(operation)
        assert (found.payload, found.state in (State.WAITING, State.ACCEPTED)) == ({}, True)
        assert f"the key {key_id(OLD)}, which PAYLOAD_KEYS lacks" in found.unreadable
        assert len(found.events) == 0, "no attempt was made, and no retry is used up"
    assert world.ledger.stats()["dead_letters"] == 0
    assert world.stored(behind).behind == locked[3].id, "the order of one person's operations holds"

    world = start(NEW, OLD, before=world)
    world.pass_time(200)
    assert world.states([*locked, behind]) == {State.DELIVERED}
    assert list(world.crm.records).index(behind.id) > list(world.crm.records).index(locked[3].id)


def test_a_lost_key_is_logged_once_and_shown_as_the_reason(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    before = start(OLD)
    locked = [before.apply(number) for number in range(3)]
    world = start(before=before)
    world.pass_time(200)
    lines = [record.message for record in caplog.records if "PAYLOAD_KEYS" in record.message]
    assert len(lines) == 1
    assert "operations wait" in lines[0]
    [wait] = Waiting(world.ledger, world.delivery.recipient).of([world.stored(locked[0])])
    assert wait is not None
    assert (wait.reason, key_id(OLD) in wait.why) == (WaitsFor.KEY, True)


def test_an_attempt_that_a_dead_process_left_can_be_discarded_without_its_key(start: Start) -> None:
    before = start(OLD)
    operation = before.apply(1)
    before.ledger.claim(operation.id, before.delivery.recipient, "dead", seconds=5)
    world = start(before=before)
    world.now += 6
    assert world.delivery.attempt(operation.id).reason == "locked"
    assert world.stored(operation).state == State.WAITING
    desk_of(world, Vault()).discard(operation.id, "a test", "ada")
    assert world.stored(operation).state == State.DISCARDED
    again = start(OLD, before=world)
    again.pass_time(100)
    assert again.crm.records == {}


def test_the_crm_is_searched_first_after_a_lease_that_ended_without_its_key(start: Start) -> None:
    before = start(OLD)
    operation = before.apply(1)
    before.ledger.claim(operation.id, before.delivery.recipient, "dead", seconds=5)
    before.crm.records[operation.id] = "r"
    world = start(before=before)
    world.now += 6
    world.delivery.attempt(operation.id)
    world = start(OLD, before=world)
    world.pass_time(100)
    delivered = world.stored(operation).delivered
    assert delivered is not None
    assert (delivered.record_id, delivered.adopted) == ("r", True)


def test_an_operation_without_its_key_cannot_be_edited(start: Start) -> None:
    before = start(OLD)
    operation = before.apply(1)
    world = start(before=before)
    with pytest.raises(InvalidFields) as caught:
        edited(world.stored(operation), {"first_name": "X"}, default_region="TR", channels=set())
    assert [key_id(OLD) in error.message for error in caught.value.errors] == [True]


def test_one_damaged_payload_is_a_dead_letter_that_says_so(start: Start) -> None:
    world = start(OLD)
    damaged, well = world.apply(1), world.apply(2)
    world.redis.hset(keys.op(damaged.id), "payload", payload_of(world, damaged)[:-8])
    world.pass_time(10)
    found = world.stored(damaged)
    assert found.state == State.DEAD
    assert "is damaged" in found.events[-1].detail
    assert set(world.crm.records) == {well.id}


def rotation(world: World, *keys_: str) -> Rotation:
    vault = Vault(keys_)
    payloads, inventory = StoredPayloads(world.redis, world.ledger), Inventory(world.redis, vault)
    return Rotation(payloads, inventory, vault, Audit(world.redis))


def test_a_rotation_that_ends_in_the_middle_goes_on_the_next_time(start: Start) -> None:
    before = start(OLD)
    operations = [before.apply(number) for number in range(BATCH + 20)]
    world = start(NEW, OLD, before=before)
    steps = rotation(world, NEW, OLD).steps("ada")
    assert next(steps).encrypted == BATCH
    steps.close()  # type: ignore[attr-defined]
    assert {world.stored(operation).unreadable for operation in operations} == {""}
    assert sum(step.encrypted for step in rotation(world, NEW, OLD).steps("ada")) == 20
    assert sum(step.encrypted for step in rotation(world, NEW, OLD).steps("ada")) == 0
    world = start(NEW, before=world)
    world.pass_time(30)
    assert world.states(operations) == {State.DELIVERED}


def test_a_rotation_encrypts_what_is_plain_and_counts_what_no_key_decrypts(start: Start) -> None:
    before = start()
    plain = before.apply(1)
    between = start(LOST, before=before)
    locked = between.apply(2)
    world = start(NEW, before=between)
    done = world.apply(3)
    world.delivery.attempt(done.id)
    steps = list(rotation(world, NEW).steps("ada"))
    assert [(step.seen, step.encrypted, step.unreadable) for step in steps] == [(3, 1, 1)]
    assert payload_of(world, plain).startswith(b"sealed:")
    assert payload_of(world, locked).startswith(f"sealed:{key_id(LOST)}:".encode())


def test_a_rotation_overwrites_no_edit_and_revives_no_payload(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the reading and the writing of a batch one operation is edited and another one is delivered."""
    world = start(OLD)
    operation, delivered = world.apply(1), world.apply(2)
    world = start(NEW, OLD, before=world)
    replace = StoredPayloads.replace

    def meanwhile(*arguments: Any) -> int:
        payload = {"first_name": "Edited", "email": "test1@example.com"}
        desk_of(world, Vault([NEW, OLD])).amend(world.stored(operation), payload, "ada")
        world.delivery.attempt(delivered.id)
        return replace(*arguments)

    monkeypatch.setattr(StoredPayloads, "replace", meanwhile)
    assert [step.encrypted for step in rotation(world, NEW, OLD).steps("ada")] == [0]
    assert world.stored(operation).payload["first_name"] == "Edited"
    assert payload_of(world, delivered) == b""


def test_lists_and_searches_read_encrypted_payloads(start: Start) -> None:
    world = start(OLD)
    operation = world.apply(1)
    [found] = Inventory(world.redis, Vault([OLD])).page(Filter()).items
    assert (found.id, found.payload["email"]) == (operation.id, "test1@example.com")
    [hidden] = Inventory(world.redis, Vault()).page(Filter()).items
    assert (hidden.payload, key_id(OLD) in hidden.unreadable) == ({}, True)


def test_a_kept_payload_is_encrypted_read_and_rotated(start: Start) -> None:
    """`PAYLOAD_KEEP` keeps the payload of a delivered operation for `crmgate reconcile --repair`."""
    world = start(OLD)
    world.ledger.keep = 600.0
    operation = world.apply(1, inline=True)
    kept = keys.kept(operation.id)
    assert world.redis.get(kept).startswith(f"sealed:{key_id(OLD)}:".encode())  # type: ignore[union-attr]
    assert KeptPayloads(world.redis, Vault([NEW])).read([operation.id]) == {}, "without its key it is not used"
    assert sum(step.encrypted for step in rotation(world, NEW, OLD).steps("ada")) == 1
    assert KeptPayloads(world.redis, Vault([NEW])).read([operation.id])[operation.id]["email"] == "test1@example.com"
    assert 0 < world.redis.ttl(kept) <= 600  # type: ignore[operator]


def test_the_spool_is_encrypted_and_waits_for_a_missing_key(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = start(OLD)
    server = Redis(world.ledger, monkeypatch)
    host = Host(world, tmp_path / "spool", vault=Vault([OLD]))
    server.away = True
    operation = host.apply(1)
    assert b"test1@example.com" not in host.files()
    server.away = False
    other = Host(world, tmp_path / "spool", vault=Vault([NEW]))
    other.drain.look()
    assert other.waiting == [operation.id], "nothing is lost while the key is missing"
    assert key_id(OLD) in caplog.text
    come_back(server, host)
    assert world.states([operation]) == {State.DELIVERED}

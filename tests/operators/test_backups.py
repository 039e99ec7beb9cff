"""A backup restores every operation once, whatever the gateway does while it is made and between it and the restore."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import redis

from crmgate.delivery import identity
from crmgate.errors import KeyReused, LedgerNotEmpty, Rejected
from crmgate.model import Event, EventType, Kind, Operation, Rate, State, Suspicion
from crmgate.operators.archive import Archive, Writer
from crmgate.operators.backups import Backups, Progress, Restored
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.store import keys
from crmgate.store.audit import Action, Audit, made
from crmgate.store.backup import COPIED, BackupStore, row_of
from crmgate.store.causes import Causes
from crmgate.store.ledger import Ledger
from crmgate.store.persons import PersonIndex
from crmgate.store.tokens import Scope, Tokens
from crmgate.store.wakeups import wake_message
from tests.dead_letters import add_dead_letters
from tests.everything import use
from tests.world import World, at, away

DAY = 24 * 3600


def backups(world: World) -> Backups:
    store = BackupStore(world.redis, world.ledger, world.delivery.recipient)
    return Backups(store, Inventory(world.redis), world.ledger, Audit(world.redis, world.clock))


def backed_up(world: World, progress: Progress = lambda _: None) -> io.BytesIO:
    file = io.BytesIO()
    backups(world).make(file, None, "ada", progress)
    return file


def restored(world: World, file: io.BytesIO, *, merge: bool = False) -> Restored:
    return backups(world).restore(Archive.open(file, None), "ada", merge=merge)


def lost(world: World, file: io.BytesIO) -> Restored:
    """Redis loses everything, and gets the backup."""
    world.redis.flushall()
    return restored(world, file)


def paused(world: World, number: int) -> list[Operation]:
    """Operations that wait because deliveries are paused. The CRM has one already, so that its credentials are good."""
    world.apply(9999, inline=True)
    world.delivery.pause()
    return [world.apply(each) for each in range(number)]


def reference(world: World, email: str) -> str:
    digests = identity.people({"email": email})
    return PersonIndex(world.redis, world.ledger).references(digests)[0]


def operations_of(world: World, email: str) -> set[str]:
    index = PersonIndex(world.redis, world.ledger)
    return set(index.traces([reference(world, email)], 100).operations)


def traces_of_sessions(world: World) -> list[bytes]:
    """Sessions with keyed digests of their person."""
    return [name for name in world.redis.scan_iter(match=keys.session("*")) if world.redis.hexists(name, "who")]


class Contents:
    """Everything in Redis, with the expiry of each key in seconds."""

    def __init__(self, client: redis.Redis) -> None:
        self.values: dict[str, Any] = {}
        self.expiries: dict[str, int] = {}
        readers: dict[str, Callable[[bytes], Any]] = {
            "hash": client.hgetall, "string": client.get, "stream": client.xrange, "set": client.smembers,
            "zset": lambda name: client.zrange(name, 0, -1, withscores=True),
            "list": lambda name: client.lrange(name, 0, -1),
        }  # fmt: skip
        for name in client.scan_iter(count=1000):
            kind: Any = client.type(name)
            self.values[name.decode()] = readers[kind.decode()](name)
            self.expiries[name.decode()] = client.ttl(name)  # type: ignore[assignment]


def test_a_gateway_that_has_used_everything_comes_back(ledger: Ledger, redis_client: redis.Redis) -> None:
    use(ledger, redis_client)
    world = World(ledger, redis_client)
    world.now = ledger.now() + 1
    file = backed_up(world)
    before = Contents(redis_client)
    result = lost(world, file)
    after = Contents(redis_client)
    operations = [name for name in before.values if name.startswith(keys.op(""))]
    assert result.operations == len(operations) >= 20
    for name in operations:
        assert after.values[name].items() >= unchanged(before.values[name]).items()
    copied = {name: row.name for name in before.values if (row := row_of(name)) and row.name in COPIED}
    assert set(copied.values()) == set(COPIED)
    for name, row_name in copied.items():
        if row_name not in ("audit", "gate:<provider>"):
            assert after.values[name] == before.values[name], name
    assert after.values[keys.AUDIT][:-1] == before.values[keys.AUDIT]
    for name in (*operations, *copied):
        assert abs(after.expiries.get(name, -1) - before.expiries[name]) <= 5 or name.startswith(keys.gate("")), name
    for name in [keys.OPS, keys.IDS, keys.DEAD, keys.CAUSES, keys.SUSPECT, *starting(before, keys.cause(""))]:
        assert after.values.get(name) == before.values.get(name), name
    for name in starting(before, keys.person("")):
        members = {member for member, _ in before.values[name]}
        assert {member for member, _ in after.values.get(name, ())} == members, name


def unchanged(record: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The fields of an operation that a restore does not change."""
    if record[b"state"] in (b"delivered", b"discarded"):
        return record
    changed = (b"look", b"lease", b"lease_until", b"inline", b"due_at", b"state")
    return {name: value for name, value in record.items() if name not in changed}


def starting(contents: Contents, prefix: str) -> list[str]:
    return [name for name in contents.values if name.startswith(prefix)]


def test_a_thousand_waiting_operations_are_delivered(world: World) -> None:
    waiting = paused(world, 1000)
    file = backed_up(world)
    assert lost(world, file).operations == 1001
    world.delivery.resume()
    world.pass_time(30)
    assert world.states(waiting) == {State.DELIVERED}
    assert len(world.crm.records) == 1001
    assert world.ledger.stats()["accepted"] == 1001


def test_what_was_delivered_after_the_backup_is_not_sent_again(world: World) -> None:
    waiting = [world.apply(1, session="a"), world.click("a"), world.click("b"), world.apply(2)]
    world.crm.trouble = lambda operation: Rejected("no") if operation and operation.id == waiting[3].id else None
    suspect = world.gateway.submit(Kind.CREATE_LEAD, {"first_name": "Bot"}, inline=False, suspect=Suspicion.HONEYPOT)
    world.delivery.pause()
    file = backed_up(world)
    world.delivery.resume()
    world.gateway.release(suspect.id)
    world.pass_time(30)
    world.crm.trouble = lambda _: None
    world.gateway.release(waiting[3].id)
    world.pass_time(30)
    assert world.crm.records.keys() == {operation.id for operation in (*waiting, suspect)}
    lost(world, file)
    world.delivery.resume()
    world.gateway.release(suspect.id)
    world.pass_time(90)
    assert world.states([*waiting, suspect]) == {State.DELIVERED}, "and the CRM of the test takes nothing twice"
    assert all(world.stored(operation).delivered.adopted for operation in waiting)  # type: ignore[union-attr]


@pytest.mark.parametrize("arrived", [True, False])
def test_an_attempt_under_way_is_looked_for(world: World, arrived: bool) -> None:
    operation = world.apply(1)
    claim = world.ledger.claim(operation.id, world.delivery.recipient, "L", seconds=9)
    assert claim
    file = backed_up(world)
    if arrived:
        world.crm.records[operation.id] = "acme-1"
    lost(world, file)
    stored = world.stored(operation)
    assert (stored.state, world.redis.hget(keys.op(operation.id), "lease")) == (State.WAITING, None)
    world.pass_time(30)
    delivered = world.stored(operation).delivered
    assert delivered is not None
    assert delivered.adopted is arrived


def test_a_running_gateway_is_backed_up_and_nothing_is_lost_or_doubled(
    ledger: Ledger, redis_client: redis.Redis
) -> None:  # fmt: skip
    """Deliveries go on between the batches of a backup: receipts and waiting operations of all moments are in it."""
    world = World(ledger, redis_client, rate=Rate(20, 20, 1))
    operations = [world.click(f"s{number}") for number in range(50) for _ in range(2)]
    operations += paused(world, 300)
    world.delivery.resume()
    file = backed_up(world, lambda _: world.pass_time(12))
    states = Archive.open(file, None).contents.operations
    assert min(states["waiting"], states["delivered"]) > 20, states
    lost(world, file)
    world.pass_time(120)
    assert world.states(operations) == {State.DELIVERED}
    assert len(world.crm.records) == 401
    for first, second in zip(operations[:100:2], operations[1:100:2], strict=True):
        assert world.crm.records[first.id] == world.crm.records[second.id], "about one lead"


def test_order_is_kept(world: World) -> None:
    """Also that of an operation which went to the ends of its lines after a change of its email."""
    world.delivery.pause()
    first, second, third = (world.apply(0, city=city) for city in ("Ankara", "Oslo", "Rome"))
    entry_of = world.stored(first)
    other = world.apply(7)
    moved = {**entry_of.payload, "email": "test7@example.com"}
    amend(world, entry_of, moved)
    file = backed_up(world)
    lost(world, file)
    assert world.stored(other).behind == ""
    world.delivery.resume()
    world.pass_time(60)
    sent = list(world.crm.records)
    assert sent.index(second.id) < sent.index(third.id)
    assert sent.index(other.id) < sent.index(first.id)


def amend(world: World, operation: Operation, payload: dict[str, Any]) -> None:
    event = Event(world.now, 0.0, "", EventType.EDITED, counted=False)
    entry = made(world.now, "ada", Action.EDIT, operation.id)
    people = identity.people(payload)
    assert world.ledger.amend(operation, payload, event, entry, people=people) == "amended"


def test_dead_letters_return_and_are_retried_by_their_job(world: World) -> None:
    world.crm.trouble = lambda _: Rejected("no", fields={"city": "no"}, status=400)
    dead = [world.apply(number) for number in range(4)]
    world.pass_time(30)
    world.delivery.resume()
    world.pass_time(30)
    assert world.states(dead) == {State.DEAD}
    retries = Retries(world.redis, world.ledger, Inventory(world.redis), world.delivery.recipient)
    job = retries.start(Filter(), "ada")
    groups = Causes(world.redis).groups()
    file = backed_up(world)
    lost(world, file)
    assert Causes(world.redis).groups() == groups
    assert groups.complete
    world.crm.trouble = lambda _: None
    while retries.step() is not None:
        world.pass_time(10)
    world.pass_time(60)
    assert world.states(dead) == {State.DELIVERED}
    assert retries.current() == retries.get(job.id)


def test_the_time_until_a_dead_letter_returns_is_kept(world: World) -> None:
    [dead] = add_dead_letters(world.ledger, at=world.now)
    world.redis.zadd(keys.RETURNING, {dead: world.now + 300})
    file = backed_up(world)
    world.now += DAY
    lost(world, file)
    assert world.redis.zscore(keys.RETURNING, dead) == world.now + 300


def test_an_idempotency_key_still_stands_for_its_submission(world: World) -> None:
    done = world.apply(1, inline=True, key="k")
    world.delivery.pause()
    waiting = world.apply(2, key="l")
    file = backed_up(world)
    lost(world, file)
    assert (world.apply(1, key="k").id, world.apply(2, key="l").id) == (done.id, waiting.id)
    with pytest.raises(KeyReused):
        world.apply(3, key="k")
    assert 0 < world.redis.ttl(keys.op(done.id)) <= keys.RECEIPT_SECONDS  # type: ignore[operator]


def test_a_session_still_has_its_lead(world: World) -> None:
    first = world.apply(1, session="s", inline=True)
    file = backed_up(world)
    lost(world, file)
    click = world.click("s", inline=True)
    assert click.kind == Kind.LOG_ACTIVITY
    assert world.crm.records[click.id] == world.crm.records[first.id]


def test_a_pause_lasts_and_other_causes_are_found_again(world: World) -> None:
    paused(world, 1)
    lost(world, backed_up(world))
    assert world.delivery.resume() == "paused"
    world.crm.trouble = away
    for number in range(10, 15):
        world.apply(number)
    world.pass_time(10)
    assert world.ledger.gate(world.delivery.recipient).cause == "outage"
    lost(world, backed_up(world))
    assert world.ledger.gate(world.delivery.recipient).cause is None


class TestAMerge:
    def test_without_it_operations_in_redis_are_an_error(self, world: World) -> None:
        waiting = paused(world, 3)
        file = backed_up(world)
        before = Contents(world.redis)
        with pytest.raises(LedgerNotEmpty):
            restored(world, file)
        assert Contents(world.redis).values == before.values
        assert restored(world, file, merge=True) == Restored(0, 0)
        assert len(waiting) == 3

    def test_a_second_restore_changes_nothing(self, world: World) -> None:
        paused(world, 5)
        file = backed_up(world)
        lost(world, file)
        before = Contents(world.redis)
        with at(world.ledger, world.now + 5):
            assert restored(world, file, merge=True) == Restored(0, 0)
        after = Contents(world.redis)
        del before.values[keys.AUDIT], after.values[keys.AUDIT]
        assert after.values == before.values

    def test_new_operations_and_old_ones_are_delivered_in_order(self, world: World) -> None:
        """The gateway ran on with an empty Redis: another secret key of the index of persons, other counters."""
        old = [*paused(world, 3), world.click("s"), world.apply(5, session="t")]
        file = backed_up(world)
        world.redis.flushall()
        later = World(Ledger(world.redis, wake_message), world.redis, world.crm)
        later.now = world.now
        later.delivery.pause()
        new = [later.apply(0), later.click("s")]
        assert restored(later, file, merge=True).operations == 6
        assert later.ledger.stats()["accepted"] == 2, "counters are not added up"
        assert operations_of(later, "test0@example.com") == {old[0].id, new[0].id}
        assert traces_of_sessions(later) == []
        later.delivery.resume()
        later.pass_time(120)
        assert later.states([*old, *new]) == {State.DELIVERED}
        sent = list(world.crm.records)
        assert sent.index(new[0].id) < sent.index(old[0].id), "those that Redis had go first"
        assert world.crm.records[new[1].id] == world.crm.records[old[3].id], "one session, one lead"

    def test_a_receipt_in_redis_wins_over_a_waiting_operation_of_the_backup(self, world: World) -> None:
        waiting = paused(world, 2)
        file = backed_up(world)
        world.delivery.resume()
        world.pass_time(10)
        assert restored(world, file, merge=True) == Restored(0, 0)
        world.pass_time(60)
        assert world.states(waiting) == {State.DELIVERED}

    def test_tokens_are_added_and_others_stay(self, world: World) -> None:
        tokens = Tokens(world.redis, (), Audit(world.redis))
        _, text = tokens.new("site", Scope.READ, "ada")
        assert tokens.verify(text)
        file = backed_up(world)
        world.redis.flushall()
        _, other = tokens.new("other", Scope.OPERATE, "ada")
        restored(world, file)
        world.redis.hset(keys.TOKENS_USED, tokens.all()[0].id, "7")
        restored(world, file, merge=True)
        again = Tokens(world.redis, (), Audit(world.redis))
        assert again.all()[0].last_used == 7
        assert [token.name for token in map(again.verify, (text, other)) if token] == ["site", "other"]


def test_a_key_that_this_version_does_not_know_is_left_out(world: World) -> None:
    waiting = paused(world, 1)
    file = io.BytesIO()
    writer = Writer(file, world.now, None)
    for kind in ("operation", "key"):
        for record in Archive.open(backed_up(world), None).records(kind):
            writer.add(record)
    for name in ("telepathy:1", "huey:queue", "limit:person:1"):
        writer.add({"key": name, "value": {"a": "b"}, "expiry": -1})
    writer.end()
    lost(world, file)
    names = {row.name for key in world.redis.scan_iter() if (row := row_of(key.decode()))}
    assert not names & {"huey:queue", "limit:<what>:<digest>"}
    assert world.redis.keys("*telepathy*") == []
    assert world.states(waiting) == {State.WAITING}

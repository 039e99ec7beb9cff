"""One person, one lead, without a session: operations with the same email or phone are sent one after another."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest
import redis

from crmgate.errors import Code, OutcomeUnknown, ProviderError, Rejected, Unavailable
from crmgate.model import Kind, Operation, State, Suspicion
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Inventory
from crmgate.operators.retries import Retries
from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.processes import RedisProcess
from tests.world import World, away, well

EMAIL, PHONE = "ada@example.com", "+905321234567"


@pytest.fixture
def desk(world: World, redis_client: redis.Redis) -> Desk:
    retries = Retries(redis_client, world.ledger, Inventory(redis_client), world.delivery.recipient)
    return Desk(world.ledger, world.gateway, world.delivery, retries)


def edit(desk: Desk, operation: Operation, **changes: str) -> None:
    found = desk.get(operation.id)
    desk.amend(found, {**found.payload, **changes}, "ada")


def lines(client: redis.Redis) -> list[bytes]:
    return [*client.scan_iter(f"{keys.line('')}*")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"email": EMAIL}, {"email": EMAIL}),
        ({"email": EMAIL}, {"email": "Ada@Example.COM"}),
        ({"email": "a@example.com", "phone": PHONE}, {"email": "b@example.com", "phone": PHONE}),
        ({"email": EMAIL, "phone": PHONE}, {"email": EMAIL, "phone": "+905321234568"}),
        ({"email": EMAIL, "session": "s1"}, {"email": EMAIL, "session": "s2"}),
    ],
    ids=["email", "case of the email", "phone", "email, other phone", "other session"],
)
def test_the_second_waits_until_the_first_is_delivered(
    world: World, redis_client: redis.Redis, first: dict[str, str], second: dict[str, str]
) -> None:
    world.apply(99, inline=True)
    world.crm.trouble = away
    one, two = world.apply(1, inline=True, **first), world.apply(2, inline=True, **second)
    assert (world.stored(two).state, world.stored(two).behind, world.stored(two).events) == (State.WAITING, one.id, ())
    world.crm.trouble = well
    world.pass_time(10)
    assert [*world.crm.records][1:] == [one.id, two.id]
    assert lines(redis_client) == []


def test_other_people_do_not_wait(world: World) -> None:
    world.apply(99, inline=True)
    world.crm.trouble = away
    world.apply(1, inline=True)
    world.crm.trouble = well
    assert world.apply(2, inline=True, email="", phone=PHONE).state == State.DELIVERED
    assert world.apply(3, inline=True, email="", phone="").state == State.DELIVERED


def test_one_that_shares_with_two_waits_for_both(world: World) -> None:
    world.apply(99, inline=True)
    world.crm.trouble = away
    one, two = world.apply(1, email=EMAIL), world.apply(2, email="", phone=PHONE)
    both = world.apply(3, email=EMAIL, phone=PHONE)
    world.crm.trouble = lambda operation: Rejected("no") if operation and operation.id == one.id else away(operation)
    world.pass_time(0)
    assert world.stored(both).behind == two.id, "the first is dead, the second waits for its next attempt"
    world.crm.trouble = well
    world.pass_time(30)
    assert [*world.crm.records][1:] == [two.id, both.id]


def test_a_dead_letter_delays_no_other_and_joins_the_end_when_it_returns(world: World) -> None:
    world.apply(99, inline=True)
    world.crm.trouble = lambda _: Rejected("no")
    letter = world.apply(1)
    world.pass_time(1)
    world.crm.trouble = away
    later = world.apply(1, inline=True, city="Ankara")
    assert world.stored(later).behind == ""
    world.gateway.release(letter.id)
    assert world.stored(letter).behind == later.id
    world.crm.trouble = well
    world.pass_time(10)
    assert [*world.crm.records][1:] == [later.id, letter.id]


def test_released_suspects_of_one_person_are_sent_one_after_another(world: World) -> None:
    payload = {"first_name": "Ada", "email": EMAIL}
    suspects = [world.gateway.submit(Kind.CREATE_LEAD, payload, inline=False, suspect=Suspicion.FAST) for _ in range(2)]
    for suspect in suspects:
        world.gateway.release(suspect.id)
    assert [world.stored(suspect).behind for suspect in suspects] == ["", suspects[0].id]
    world.pass_time(1)
    assert world.states(suspects) == {State.DELIVERED}


class TestAnEdit:
    def test_of_the_email_makes_it_wait_for_that_person(self, world: World, desk: Desk) -> None:
        world.crm.trouble = away
        one, other = world.apply(1), world.apply(2)
        edit(desk, other, email="test1@example.com")
        assert world.stored(other).behind == one.id

    def test_of_the_email_ends_the_wait_for_another_person(self, world: World, desk: Desk) -> None:
        world.apply(99, inline=True)
        world.crm.trouble = away
        world.apply(1, inline=True)
        other = world.apply(1, city="Ankara")
        world.crm.trouble = well
        edit(desk, other, email=EMAIL)
        world.pass_time(0)
        assert world.stored(other).state == State.DELIVERED

    def test_wakes_the_operations_that_waited_for_it(self, world: World, desk: Desk) -> None:
        world.apply(99, inline=True)
        world.crm.trouble = away
        first, second = world.apply(1, inline=True), world.apply(1, city="Ankara")
        world.crm.trouble = well
        edit(desk, first, email=EMAIL)
        world.pass_time(0)
        assert [*world.crm.records][1:] == [second.id, first.id]

    def test_of_something_else_changes_no_order(self, world: World, desk: Desk) -> None:
        world.crm.trouble = away
        first, second = world.apply(1), world.apply(1, city="Ankara")
        edit(desk, first, city="Bursa")
        assert (world.stored(first).behind, world.stored(second).behind) == ("", first.id)

    def test_into_each_other_is_no_deadlock(self, world: World, desk: Desk) -> None:
        world.crm.trouble = away
        one = world.apply(1, phone="+905321234501")
        two = world.apply(2, phone="+905321234502")
        edit(desk, one, phone="+905321234502")
        edit(desk, two, email="test1@example.com")
        world.crm.trouble = well
        world.pass_time(60)
        assert [*world.crm.records] == [one.id, two.id]

    def test_of_a_dead_letter_counts_when_it_returns(self, world: World, desk: Desk) -> None:
        world.apply(99, inline=True)
        world.crm.trouble = lambda _: Rejected("no")
        letter = world.apply(1)
        world.pass_time(1)
        world.crm.trouble = away
        other = world.apply(2, inline=True)
        edit(desk, letter, email="test2@example.com")
        world.gateway.release(letter.id)
        assert world.stored(letter).behind == other.id


def test_parallel_processes_let_one_through(world: World, redis_process: RedisProcess) -> None:
    world.apply(99, inline=True)
    clients = [connect(redis_process.url) for _ in range(8)]
    others = [World(Ledger(client, wake_message), client) for client in clients]
    barrier = threading.Barrier(len(others))

    def apply(number: int) -> None:
        barrier.wait()
        others[number].apply(1, city=f"City {number}", inline=True)

    threads = [threading.Thread(target=apply, args=(number,)) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    world.pass_time(5)
    assert len(world.crm.records) + sum(len(other.crm.records) for other in others) == 9
    assert lines(world.redis) == []


class Chance:
    """A CRM with every kind of failure, which checks that no two operations of a person are sent at a time."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.rng = world, random.Random(seed)
        world.crm.trouble = self.answer

    def answer(self, operation: Operation | None) -> ProviderError | None:
        if operation is None:
            return None
        self.alone(operation)
        return self.rng.choice([
            None, None, None, Rejected("no"), Unavailable("away", code=Code.CONNECTION_FAILED), OutcomeUnknown("?"),
        ])  # fmt: skip

    def alone(self, operation: Operation) -> None:
        for digest in self.world.redis.hget(keys.op(operation.id), "lines").split():  # type: ignore[union-attr]
            first = self.world.redis.zrange(keys.line(digest.decode()), 0, 0)
            assert first == [operation.id.encode()]

    def payload(self) -> dict[str, Any]:
        people = {"email": f"p{self.rng.randrange(6)}@example.com", "phone": f"+90532123450{self.rng.randrange(6)}"}
        chosen = {fact: value for fact, value in people.items() if self.rng.random() < 0.7} or {"email": EMAIL}
        return {"email": ""} | chosen | {"session": self.rng.choice(["", f"s{self.rng.randrange(5)}"])}


@pytest.mark.parametrize("seed", range(3))
def test_no_operation_waits_forever(world: World, desk: Desk, redis_client: redis.Redis, seed: int) -> None:
    chance = Chance(world, seed)
    operations: list[Operation] = []
    for step in range(80):
        payload = chance.payload()
        if chance.rng.random() < 0.3:
            operations.append(world.click(payload["session"], page=str(step), inline=chance.rng.random() < 0.5))
        else:
            operations.append(world.apply(step, inline=chance.rng.random() < 0.5, **payload))
        change(chance, desk, chance.rng.choice(operations))
        world.pass_time(chance.rng.choice([0, 0, 1]))
    world.crm.trouble = well
    for operation in operations:
        if world.stored(operation).state == State.DEAD:
            world.gateway.release(operation.id)
    world.pass_time(120)
    assert world.states(operations) <= {State.DELIVERED, State.DISCARDED}
    assert lines(redis_client) == []


def change(chance: Chance, desk: Desk, operation: Operation) -> None:
    """What an operator may do to an operation, if it has not ended."""
    stored, world = chance.world.stored(operation), chance.world
    what = chance.rng.choice(["nothing", "retry", "discard", "edit"])
    if what == "retry":
        world.gateway.release(operation.id)
    if what == "discard" and chance.rng.random() < 0.3:
        world.gateway.discard(operation.id, "a test")
    if what == "edit" and stored.state in (State.WAITING, State.DEAD) and "first_name" in stored.payload:
        edit(desk, operation, **{name: value for name, value in chance.payload().items() if name != "session"})

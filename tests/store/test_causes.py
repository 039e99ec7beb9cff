"""The index of the causes: exact after every change of a dead letter, and repaired after an older version worked."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from crmgate.errors import Code, LedgerUnavailable, Rejected, Unavailable
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.store import keys
from crmgate.store.causes import MOST, REST, Causes, DeathCause
from crmgate.store.client import connect
from tests.dead_letters import add_dead_letters
from tests.world import World

SOURCE, EMAIL = DeathCause("acme", "invalid_value", "source"), DeathCause("acme", "invalid_value", "email")


@pytest.fixture
def causes(redis_client: redis.Redis) -> Causes:
    return Causes(redis_client)


@pytest.fixture
def desk(world: World, redis_client: redis.Redis) -> Desk:
    retries = Retries(redis_client, world.ledger, Inventory(redis_client), world.delivery.recipient)
    return Desk(world.ledger, world.gateway, world.delivery, retries)


def counts(causes: Causes) -> dict[DeathCause, int]:
    """The causes with their numbers; as many dead letters are in the index as there are."""
    groups = causes.groups()
    assert groups.complete
    return {group.cause: group.count for group in groups.items}


def make_dead_letter(world: World, number: int, error: Any) -> str:
    world.crm.trouble = lambda _operation: error
    dead = world.apply(number)
    world.work()
    world.crm.trouble = lambda _operation: None
    assert world.states([dead]) == {"dead"}
    return dead.id


def test_the_number_of_each_cause_is_exact_after_every_change(world: World, causes: Causes, desk: Desk) -> None:
    first = make_dead_letter(world, 1, Rejected("no", fields={"source": "invalid"}))
    died = world.now
    world.now += 5
    second = make_dead_letter(world, 2, Rejected("no", fields={"source": "invalid"}))
    third = make_dead_letter(world, 3, Rejected("no", fields={"source": "invalid", "email": "invalid"}))
    fourth = make_dead_letter(world, 4, Rejected("too large", code=Code.INVALID_REQUEST))
    both, request = DeathCause("acme", "invalid_value", "email,source"), DeathCause("acme", "invalid_request")
    assert counts(causes) == {SOURCE: 2, both: 1, request: 1}
    assert both.fields == ("email", "source")
    largest = causes.groups().items[0]
    assert (largest.cause, largest.oldest) == (SOURCE, died)

    desk.discard(first, "a test", "ada")
    assert counts(causes) == {SOURCE: 1, both: 1, request: 1}
    edited = desk.get(second)
    desk.amend(edited, {**edited.payload, "source": "website"}, "ada")
    assert counts(causes)[SOURCE] == 1
    world.crm.trouble = lambda _operation: Rejected("no", fields={"email": "invalid"})
    desk.retry(second, "ada")
    assert counts(causes) == {both: 1, request: 1}
    world.work()
    assert counts(causes) == {EMAIL: 1, both: 1, request: 1}
    world.crm.trouble = lambda _operation: None
    world.now += 1
    desk.start_retries(Filter(), "ada")
    while desk.retries.step() is not None:
        world.pass_time(0.5)
    assert counts(causes) == {}
    assert world.states([world.stored(each) for each in (second, third, fourth)]) == {"delivered"}
    assert world.redis.exists(keys.CAUSES) == 0


def test_dead_letters_that_return_by_themselves_leave_the_index(world: World, causes: Causes) -> None:
    world.crm.trouble = lambda _operation: Unavailable("away")
    dead = world.apply(1)
    world.pass_time(40)
    assert counts(causes) == {DeathCause("acme", "server_error"): 1}
    world.crm.trouble = lambda _operation: None
    world.pass_time(60)
    assert world.states([dead]) == {"delivered"}
    assert counts(causes) == {}


def test_the_number_of_causes_is_bounded(world: World, causes: Causes) -> None:
    for number in range(MOST + 3):
        add_dead_letters(world.ledger, field=f"f{number}")
    found = counts(causes)
    assert len(found) == MOST + 1
    assert found[REST] == 3
    dead = Inventory(world.redis).page(Filter(state=None, field=f"f{MOST + 1}")).items
    assert len(dead) == 1, "what is counted with the rest is found, too"


def forget(world: World, ids: list[str]) -> None:
    """Make the index what it was before the first version with an index."""
    for each in ids:
        digest = world.redis.hget(keys.op(each), "filed_under")
        assert digest
        world.redis.delete(keys.cause(digest.decode()), keys.CAUSES)  # type: ignore[union-attr]
        world.redis.hdel(keys.op(each), "filed_under")


def test_dead_letters_of_the_previous_version_are_entered(world: World, causes: Causes) -> None:
    made = [
        *add_dead_letters(world.ledger, 600, field="source"),
        *add_dead_letters(world.ledger, 3, code="timeout", at=world.now + 1000),
    ]
    forget(world, made[:1])
    for each in made:
        world.redis.hdel(keys.op(each), "filed_under")
    world.redis.delete(*world.redis.keys(keys.cause("*")))  # type: ignore[misc]
    assert (causes.groups().indexed, causes.groups().dead) == (0, 603)
    assert causes.repair(world.ledger.refile) == 603
    assert counts(causes) == {SOURCE: 600, DeathCause("acme", "timeout"): 3}
    assert causes.groups().items[1].oldest == world.now + 1000
    assert causes.repair(world.ledger.refile) == 0


def test_an_event_of_the_previous_version_names_no_field(world: World, causes: Causes) -> None:
    [dead] = add_dead_letters(world.ledger)
    forget(world, [dead])
    world.redis.hset(keys.op(dead), "event:1", '{"at":1,"duration":0,"provider":"acme","outcome":"failed","code":"x"}')
    causes.repair(world.ledger.refile)
    assert counts(causes) == {DeathCause("acme", "x"): 1}


def test_dead_letters_that_the_previous_version_released_are_removed(world: World, causes: Causes) -> None:
    made = add_dead_letters(world.ledger, 5, field="source")
    world.redis.zrem(keys.DEAD, *made[:2])
    world.redis.hset(keys.op(made[0]), "state", "waiting")
    world.redis.delete(keys.op(made[1]))
    assert not causes.groups().complete
    assert causes.repair(world.ledger.refile) == 2
    assert counts(causes) == {SOURCE: 3}
    assert not world.redis.hexists(keys.op(made[0]), "filed_under")
    assert not world.redis.exists(keys.op(made[1]))


def test_the_first_check_of_a_process_finds_errors_that_cancel_out(world: World, causes: Causes) -> None:
    gone, forgotten, _ = add_dead_letters(world.ledger, 3, field="source")
    world.redis.zrem(keys.DEAD, gone)
    digest = world.redis.hget(keys.op(forgotten), "filed_under")
    world.redis.zrem(keys.cause(digest.decode()), forgotten)  # type: ignore[union-attr]
    world.redis.hdel(keys.op(forgotten), "filed_under")
    assert causes.repair(world.ledger.refile) == 2
    assert counts(causes) == {SOURCE: 2}


def test_an_unavailable_redis_is_reported() -> None:
    with pytest.raises(LedgerUnavailable):
        Causes(connect("redis://127.0.0.1:1/0", 0.2)).groups()

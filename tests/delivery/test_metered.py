"""Rate limits that the ledger counts in the step that records a submission."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from crmgate.errors import LedgerUnavailable, TooMany
from crmgate.model import Kind, Operation, State, Suspicion
from crmgate.store import keys
from crmgate.store.limits import Limit, Metered, Use
from tests.world import World

ADA = {"first_name": "Ada", "email": "ada@example.com"}


def of_address(most: int, who: str = "192.0.2.7") -> Use:
    return Use("applications", who, Limit(most, 3600))


def of_person(most: int, who: str = "ada@example.com") -> Use:
    return Use("person", who, Limit(most, 3600), replays=False)


def submit(world: World, number: int, metered: Metered, **options: Any) -> Operation:
    """Submit an application; each number is another one."""
    payload = ADA | {"city": str(number)}
    return world.gateway.submit(Kind.CREATE_LEAD, payload, metered=metered, **{"inline": False, **options})


def test_above_the_limit_of_an_address_nothing_is_recorded(world: World, redis_client: redis.Redis) -> None:
    metered = Metered([of_address(2)])
    accepted = [submit(world, number, metered, key=f"k{number}") for number in range(2)]
    with pytest.raises(TooMany) as refused:
        submit(world, 2, metered, key="k2")
    assert refused.value.wait == pytest.approx(1800, abs=0.01)
    assert redis_client.zcard(keys.OPS) == len(accepted) == world.ledger.stats()["accepted"]
    assert world.ledger.stats()["limited"] == 1
    assert submit(world, 9, Metered([of_address(2, "192.0.2.8")]), key="k2").tracking_code, "the key is free"


def test_a_repetition_counts_for_its_address(world: World) -> None:
    metered = Metered([of_address(2)])
    assert {submit(world, 0, metered, key="k").id for _ in range(2)} == {submit(world, 0, Metered(), key="k").id}
    with pytest.raises(TooMany):
        submit(world, 0, metered, key="k")


@pytest.mark.parametrize("inline", [False, True])
def test_above_the_limit_of_a_person_a_submission_is_a_suspect(world: World, inline: bool) -> None:
    metered = Metered([of_address(9)], [of_person(1), of_person(9, "+905321234567")])
    assert submit(world, 0, metered, inline=inline).suspicion is None
    second = submit(world, 1, metered, inline=inline)
    assert (second.state, second.suspicion) == (State.SUSPECT, Suspicion.OVER_LIMIT)
    assert world.stored(second).suspicion is Suspicion.OVER_LIMIT
    assert world.ledger.stats()["suspects"] == 1
    assert world.hooks_called.count("operation_accepted") == 1, "listeners hear nothing of a suspect"
    assert second.id not in world.crm.records


def test_a_replay_does_not_count_for_the_person(world: World) -> None:
    """A visitor whose first answer was lost repeats the request."""
    metered = Metered(reviewing=[of_person(1)])
    first = submit(world, 0, metered, key="k")
    assert [submit(world, 0, metered, key="k").id for _ in range(3)] == [first.id] * 3
    assert submit(world, 1, metered, key="other").suspicion is Suspicion.OVER_LIMIT


def test_a_use_that_is_for_replays_counts_for_one(world: World) -> None:
    metered = Metered(reviewing=[Use("session", "s", Limit(2, 3600))])
    assert {submit(world, 0, metered, key="k").state for _ in range(2)} == {State.ACCEPTED}
    assert submit(world, 1, metered, key="k2").suspicion is Suspicion.OVER_LIMIT


def test_a_suspect_uses_no_meter_of_a_person(world: World) -> None:
    metered = Metered(reviewing=[of_person(1)])
    for number in range(3):
        submit(world, number, metered, suspect=Suspicion.HONEYPOT)
    assert submit(world, 9, metered).state == State.ACCEPTED


@pytest.mark.parametrize("most", [1, 2])
def test_a_submission_that_is_recorded_twice_counts_once(
    world: World, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """The answer of Redis was lost, and the gateway asks again. With a limit of 1 the submission is a suspect."""
    accept, answers = world.ledger.accept, list[Any]()
    submit(world, 0, Metered(reviewing=[of_person(most)]))

    def lost_once(*arguments: Any, **options: Any) -> Any:
        answers.append(accept(*arguments, **options))
        if len(answers) == 1:
            raise LedgerUnavailable("TimeoutError")
        return answers[-1]

    monkeypatch.setattr(world.ledger, "accept", lost_once)
    found = submit(world, 1, Metered([of_address(1)], [of_person(most)]))
    assert len(answers) == 2
    assert world.stored(found).suspicion is found.suspicion is (Suspicion.OVER_LIMIT if most == 1 else None)


def test_an_accept_with_limits_is_one_round_trip(world: World, redis_client: redis.Redis) -> None:
    metered = Metered([of_address(9)], [of_person(9)])
    submit(world, 0, metered, key="warm")
    before = redis_client.info("commandstats")
    submit(world, 1, metered, key="k")
    after = redis_client.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - before["cmdstat_evalsha"]["calls"] == 1  # type: ignore[index]

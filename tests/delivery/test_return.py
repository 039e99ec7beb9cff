"""Dead letters of an outage return by themselves once the CRM answers."""

from __future__ import annotations

import redis

from crmgate.errors import Code, OutcomeUnknown, ProviderError, Rejected
from crmgate.model import Operation, State
from crmgate.store.gate import RETURN_WAITS
from crmgate.store.keys import WAKE_LIST
from tests.world import World, away, well


class TestDeadLettersOfAnOutage:
    def dead_letter_of_an_outage(self, world: World, number: int = 0) -> Operation:
        """Make the only operation of an outage a dead letter: after four attempts the gate is still open."""
        world.crm.trouble = away
        operation = world.apply(number, inline=True)
        world.pass_time(45)
        assert world.stored(operation).state == State.DEAD
        return operation

    def test_they_return_when_the_crm_works_again(self, world: World) -> None:
        operation = self.dead_letter_of_an_outage(world)
        world.pass_time(60)
        assert world.stored(operation).state == State.DEAD, "not while it is away"
        world.crm.trouble = well
        world.pass_time(20)
        letter = world.stored(operation)
        assert (letter.state, letter.returns) == (State.DELIVERED, 1)
        assert "returned" in [attempt.outcome for attempt in letter.events]
        assert world.ledger.stats()["returned"] == 1
        assert world.ledger.stats()["dead_letters"] == 0

    def test_those_that_a_person_must_see_do_not(self, world: World) -> None:
        world.crm.trouble = lambda _: Rejected("no such option")
        operation = world.apply(0, inline=True)
        world.pass_time(5)
        world.crm.trouble = well
        world.apply(1, inline=True)
        world.pass_time(60)
        assert world.stored(operation).state == State.DEAD
        assert world.crm.probes == []

    def test_one_that_the_crm_fails_on_returns_ever_more_rarely_and_then_stays(self, world: World) -> None:
        def fails_for_one_person(operation: Operation | None) -> ProviderError | None:
            broken = operation is not None and operation.payload.get("email") == "test0@example.com"
            return OutcomeUnknown("500", code=Code.SERVER_ERROR) if broken else None

        world.crm.trouble = fails_for_one_person
        operation = world.apply(0, inline=True)
        world.pass_time(3600, step=2)
        early = world.stored(operation).returns
        world.pass_time(12 * 3600, step=10)
        letter = world.stored(operation)
        assert (early, letter.returns, letter.state) == (4, len(RETURN_WAITS), State.DEAD)
        assert world.apply(1, inline=True).state == State.DELIVERED, "the others are not held up"

    def test_they_return_the_oldest_first_and_few_at_a_time(self, world: World, redis_client: redis.Redis) -> None:
        letters = [dead_letter(world, number) for number in range(120)]
        fresh = world.apply(999, inline=True)
        assert fresh.state == State.DELIVERED
        swept, _ = world.delivery.tend()
        assert swept.returned == 50
        swept, _ = world.delivery.tend()
        assert swept.returned <= 4, "none while others wait"
        world.pass_time(120)
        order = [operation for operation in world.crm.records if operation != fresh.id]
        assert order == [letter.id for letter in letters]

    def test_none_goes_back_to_a_crm_that_was_not_heard_of_lately(self, world: World) -> None:
        letter = self.dead_letter_of_an_outage(world)
        world.crm.trouble = well
        world._deliver(world.apply(1).id)
        world.now += 16
        swept, doubtful = world.delivery.tend()
        assert (swept.returned, doubtful) == (0, ["acme"])
        assert world.delivery.probe("acme")
        swept, doubtful = world.delivery.tend()
        assert (swept.returned, doubtful) == (1, [])
        world.work()
        assert world.stored(letter).state == State.DELIVERED

    def test_a_person_can_release_one(self, world: World) -> None:
        operation = self.dead_letter_of_an_outage(world)
        world.crm.trouble = well
        assert world.gateway.release(operation.id)
        assert world.stored(operation).state == State.WAITING
        world.pass_time(3)
        assert world.stored(operation).state == State.DELIVERED

    def test_a_person_can_discard_one(self, world: World, redis_client: redis.Redis) -> None:
        operation = self.dead_letter_of_an_outage(world)
        assert world.gateway.discard(operation.id, "spam")
        assert not world.gateway.discard(operation.id, "spam")
        world.crm.trouble = well
        world.pass_time(60)
        ended = world.stored(operation)
        assert (ended.state, ended.payload, ended.events[-1].detail) == (State.DISCARDED, {}, "spam")
        assert world.crm.records == {}
        assert redis_client.ttl(f"{{crmgate}}:op:{operation.id}") > 0  # type: ignore[operator]


def dead_letter(world: World, number: int) -> Operation:
    """A dead letter of an outage, recorded directly, without an outage."""
    operation = world.apply(number)
    world.now += 0.001
    for place in ("held:acme", "due"):
        world.redis.zrem(f"{{crmgate}}:{place}", operation.id)
    world.redis.delete(WAKE_LIST)
    world.redis.hset(f"{{crmgate}}:op:{operation.id}", mapping={"verdict": "dead", "cause": "outage"})
    assert world.ledger.make_dead_letter(operation.id)
    return operation

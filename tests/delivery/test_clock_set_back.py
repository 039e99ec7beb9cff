"""Redis's clock is set back by an hour: nothing is lost or sent twice, and nothing waits for an hour."""

from __future__ import annotations

import pytest

from crmgate.delivery.attempt import Outcome
from crmgate.errors import Code, OutcomeUnknown, RateLimited, Unavailable
from crmgate.model import Rate
from crmgate.store import keys
from crmgate.store.keys import WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.ledger import Ledger
from tests.world import PLAN, World, away, refused, well

HOUR = 3600.0
LEASE = PLAN.longest_lease


def test_a_retry_waits_at_most_for_the_longest_possible_wait(world: World) -> None:
    world.crm.trouble = lambda _operation: Unavailable("busy", code=Code.MAINTENANCE, retry_after=60.0)
    operation = world.apply()
    world.pass_time(1)
    world.crm.trouble = well
    world.set_back(HOUR)
    world.pass_time(PLAN.longest_wait + 5, step=2)
    assert world.stored(operation).state == "delivered"
    assert world.redis.zcard(WAKE_SCHEDULE) == 0


def test_the_lease_of_a_dead_worker_ends_in_its_own_time(world: World) -> None:
    operation = world.apply()
    world.redis.delete(WAKE_LIST)
    world.ledger.claim(operation.id, world.delivery.recipient, "of a dead worker", seconds=LEASE)
    world.set_back(HOUR)
    world.pass_time(LEASE - 1)
    assert world.crm.records == {}, "the worker may live"
    world.pass_time(world.crm.settle_seconds + 5)
    assert world.stored(operation).state == "delivered"


def test_an_attempt_under_way_stays_the_only_one(world: World) -> None:
    others: list[Outcome] = []

    def at_once(_operation: object) -> None:
        world.crm.trouble = well
        world.set_back(HOUR)
        world.delivery.tend()
        others.append(world.delivery.attempt(operation.id))

    operation = world.apply()
    world.crm.trouble = at_once
    world.work()
    assert others == [Outcome(None, "leased")]
    assert len(world.crm.records) == 1


def test_a_crm_that_stores_late_still_gets_its_time(world: World) -> None:
    world.crm.trouble = lambda _operation: OutcomeUnknown("no answer", code=Code.TIMEOUT)
    operation = world.apply()
    world.pass_time(0.5)
    world.crm.trouble = well
    world.set_back(HOUR)
    world.pass_time(5)
    world.crm.records[operation.id] = "stored late"
    world.pass_time(2 * PLAN.longest_wait, step=2)
    found = world.stored(operation)
    assert (found.state, found.delivered and found.delivered.record_id) == ("delivered", "stored late")


def test_attempts_of_dead_workers_do_not_block_the_others(world: World) -> None:
    first = world.apply()
    world.pass_time(1)
    assert world.stored(first).state == "delivered"
    for number in range(4):  # as many as may run at once
        world.ledger.claim(world.apply(number + 1).id, world.delivery.recipient, f"L{number}", seconds=LEASE)
    world.set_back(HOUR)
    waiting = world.apply(9)
    world.pass_time(LEASE + 12)
    assert world.stored(waiting).state == "delivered"


@pytest.mark.parametrize("trouble", [away, refused, lambda _operation: RateLimited("slowly", retry_after=30.0)])
def test_a_gate_is_probed_in_time(world: World, trouble: object) -> None:
    world.crm.trouble = trouble  # type: ignore[assignment]
    operations = [world.apply(number) for number in range(6)]
    world.pass_time(10)
    assert world.ledger.gate(world.delivery.recipient).cause
    world.crm.trouble = well
    world.set_back(HOUR)
    world.pass_time(PLAN.longest_wait + 10, step=2)
    assert world.states(operations) == {"delivered"}


def test_a_rate_is_not_lower_for_an_hour(ledger: Ledger, redis_client: object) -> None:
    world = World(ledger, redis_client, rate=Rate(per_second=2, burst=2, reserve=1))  # type: ignore[arg-type]
    operations = [world.apply(number) for number in range(4)]
    world.pass_time(1)
    world.set_back(HOUR)
    world.pass_time(20)
    assert world.states(operations) == {"delivered"}


def test_a_worker_that_died_before_is_not_seen_after(world: World) -> None:
    world.ledger.beat("dead")
    world.set_back(HOUR)
    assert world.ledger.workers_seen(30) == 0
    world.ledger.beat("alive")
    assert world.ledger.workers_seen(30) == 1
    assert world.redis.zcard(keys.WORKERS) == 2

"""Two hours without a CRM, on a clock that the test moves; and what a long queue leaves behind in Redis."""

from __future__ import annotations

import pytest
import redis

from crmgate.errors import Code, Unavailable
from crmgate.model import Operation, Rate, State
from crmgate.operators.inventory import Inventory
from crmgate.store import keys
from crmgate.store.ledger import Ledger
from tests.processes import wait_until
from tests.world import World

HOURS = 3600.0


def test_two_hours_of_outage_need_no_operator(ledger: Ledger, redis_client: redis.Redis) -> None:
    """Everything is delivered afterwards: one lead a person, in order but for a dead letter, at the vendor's rate."""
    rate = Rate(2, 50, 10)
    world = World(ledger, redis_client, rate=rate, cost=3)
    world.apply(9999, inline=True)
    world.crm.trouble = lambda _: Unavailable("no connection", code=Code.CONNECTION_FAILED)
    sessions: dict[str, list[Operation]] = {}
    for minute in range(120):
        session = f"s{minute}"
        sessions[session] = [world.click(session, inline=True), world.apply(minute, session=session, inline=True)]
        if minute % 3 == 0:  # somebody from an hour ago comes back
            earlier = f"s{max(minute - 60, 0)}"
            sessions[earlier].append(world.click(earlier, inline=True, page=str(minute)))
        world.pass_time(60, step=2)
    everything = [operation for operations in sessions.values() for operation in operations]
    assert State.DELIVERED not in world.states(everything)
    away, world.crm.sent = world.crm.sent, []
    assert len(away) <= 2 * HOURS / 15 * 1.1 + 3 * 20, "an outage is not met with requests"

    world.crm.trouble = lambda _: None
    back = world.now
    world.pass_time(len(everything) * 3 / 2 + 60, step=1)

    assert world.states(everything) == {State.DELIVERED}
    assert ledger.stats()["dead_letters"] == 0
    order = [*world.crm.records]
    for operations in sessions.values():
        places = [order.index(operation.id) for operation in operations if not world.stored(operation).returns]
        assert len(places) >= len(operations) - 1
        assert places == sorted(places)
        assert len({world.crm.records[operation.id] for operation in operations}) == 1
    sent = [at - back for at in world.crm.sent]
    assert_rate(sent, rate)
    assert world.hooks_called.count("provider_paused") == 1
    assert world.hooks_called.count("provider_recovered") == 1


def assert_rate(sent: list[float], rate: Rate) -> None:
    """The vendor's own leaky bucket never flows over."""
    level, last = 0.0, 0.0
    for at in sent:
        level = max(level - (at - last) * rate.per_second, 0.0) + 1
        last = at
        assert level <= rate.burst, f"too many requests {at:.1f} s after the outage"


@pytest.mark.parametrize("count", [1000])
def test_redis_is_as_empty_as_before_once_a_backlog_has_gone(world: World, count: int) -> None:
    """Receipts and their indexes aside, which go after 7 days."""

    def live() -> set[bytes]:
        for family in (keys.op("*"), keys.person("*")):
            ended = {key for key in world.redis.scan_iter(family, count=1000) if world.redis.ttl(key) > 0}  # type: ignore[operator]
            world.redis.delete(*ended)
        inventory = Inventory(world.redis)
        while inventory.trim(world.now + 8 * 24 * 3600):
            pass
        return {key for key in world.redis.scan_iter(count=1000) if not key.startswith(b"{crmgate}:session:")}

    def memory() -> int:  # without the buffers of connections, which other tests left
        return int(world.redis.info("memory")["used_memory_dataset"])  # type: ignore[index]

    world.apply(0, inline=True)
    world.pass_time(5)
    before, used = live(), memory()
    world.crm.trouble = lambda _: Unavailable("no connection", code=Code.CONNECTION_FAILED)
    operations = [world.apply(number) for number in range(1, count)]
    world.pass_time(40)
    assert State.DELIVERED not in world.states(operations)
    backlog = memory() - used
    world.crm.trouble = lambda _: None
    world.pass_time(60, step=1)
    assert world.states(operations) == {State.DELIVERED}
    assert live() == before | {b"{crmgate}:providers"}  # the name of the provider for which some waited
    # Redis shrinks its tables from time to time, not at once.
    wait_until("Redis has its memory back", lambda: memory() - used < backlog / 20)

"""Sessions and persons with random events: no lead has two persons, nothing waits for ever, no line is left."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import redis

from crmgate.errors import NotFound, ProviderError, Rejected
from crmgate.model import Kind, Operation, State, Suspicion
from crmgate.store import keys
from tests.world import World, away


class Visitors:
    """Two persons who use the same two browsers, while leads vanish, the CRM fails and an operator interferes."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.operations: list[Operation] = []
        self.gone, self.refused, self.away = set[str](), set[str](), False
        world.apply(99, inline=True)
        world.crm.trouble = self.answer

    def answer(self, operation: Operation | None) -> ProviderError | None:
        if self.away or operation is None:
            return away(operation) if self.away else None
        if operation.lead_id in self.gone:
            return NotFound("no such lead")
        return Rejected("no") if operation.id in self.refused else None

    def apply(self) -> None:
        payload = {"email": f"test{self.chance.randrange(2)}@example.com", **self.visit()}
        suspect = Suspicion.FAST if self.chance.random() < 0.3 else None
        self.operations.append(self.world.gateway.submit(Kind.CREATE_LEAD, payload, inline=False, suspect=suspect))

    def click(self) -> None:
        self.operations.append(self.world.gateway.submit(Kind.CREATE_MINIMAL_LEAD, self.visit(), inline=False))

    def visit(self) -> dict[str, str]:
        return {"session": self.chance.choice(("", "s1", "s1", "s2")), "city": str(len(self.operations))}

    def vanish(self) -> None:
        self.gone.add(self.chance.choice([*self.world.crm.records.values()]))

    def fail(self) -> None:
        self.away = not self.away

    def wait(self) -> None:
        self.world.pass_time(self.chance.choice((0, 1, 10)))

    def touch(self) -> None:
        if self.operations:
            touched = self.chance.choice(self.operations).id
            self.chance.choice((self.refused.add, self.discard, self.world.gateway.release))(touched)

    def discard(self, operation_id: str) -> None:
        self.world.gateway.discard(operation_id, "a test")

    def end(self) -> None:
        """Let all that is left be delivered."""
        self.away, self.refused = False, set()
        self.world.pass_time(60)
        for operation in self.operations:
            if self.world.stored(operation).state in (State.DEAD, State.SUSPECT):
                self.world.gateway.release(operation.id)
        self.world.pass_time(60)

    def people(self) -> list[set[str]]:
        """Emails of the applications on each lead."""
        found: dict[str, set[str]] = {}
        for operation in self.operations:
            if operation.payload.get("email") and operation.id in self.world.crm.records:
                found.setdefault(self.world.crm.records[operation.id], set()).add(operation.payload["email"])
        return [*found.values()]


@pytest.mark.parametrize("seed", range(20, 40))
def test_no_lead_has_two_persons_and_all_operations_end(world: World, redis_client: redis.Redis, seed: int) -> None:
    visitors = Visitors(world, seed)
    events: list[Callable[[], None]] = [
        visitors.apply, visitors.apply, visitors.click, visitors.click, visitors.vanish, visitors.fail, visitors.wait,
        visitors.wait, visitors.touch,
    ]  # fmt: skip
    for _ in range(40):
        visitors.chance.choice(events)()
    visitors.end()
    assert world.states(visitors.operations) <= {State.DELIVERED, State.DISCARDED}
    assert [len(emails) for emails in visitors.people() if len(emails) > 1] == []
    assert [*redis_client.scan_iter(f"{keys.line('')}*")] == []
    assert all(redis_client.ttl(key) > 0 for key in redis_client.scan_iter(f"{keys.session('')}*"))

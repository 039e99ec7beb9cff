"""A failure of one record affects that record only; a failure of all records loses none. On a real Redis."""

from __future__ import annotations

import collections
import itertools

import pytest

from crmgate.errors import AuthFailed, Code, Duplicate, Forbidden, NotFound, ProviderError, RateLimited, Rejected
from crmgate.model import Operation, State
from crmgate.store.gate import Cause
from tests.world import World, well

BAD = "test0@example.com"


def only(error: ProviderError) -> object:
    """A trouble of the operation with the address `BAD`."""
    return lambda operation: error if operation and operation.payload.get("email") == BAD else None


def everybody(error: ProviderError) -> object:
    """A trouble of every operation, but not of the connection test."""
    return lambda operation: error if operation else None


class TestOneRecord:
    @pytest.mark.parametrize(
        "error",
        [
            Forbidden("region closed"),
            Rejected("no such option", fields={"source": "valid"}),
            NotFound("gone"),
            Duplicate("known"),
            AuthFailed("no access to this record", code=Code.NO_PERMISSION),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_refused_one_at_the_head_holds_nobody_back(self, world: World, error: ProviderError) -> None:
        world.crm.trouble = only(error)  # type: ignore[assignment]
        refused = world.apply(0)
        others = [world.apply(number) for number in range(1, 21)]
        world.pass_time(15)
        assert world.stored(refused).state == State.DEAD
        assert world.stored(refused).events[-1].detail == error.detail
        assert world.states(others) == {State.DELIVERED}
        assert world.hooks_called.count("provider_paused") == 0
        assert world.ledger.gate(world.delivery.recipient).cause is None

    def test_five_of_them_between_others_are_no_epidemic(self, world: World) -> None:
        world.crm.trouble = only(Rejected("no", fields={"phone": "valid"}))  # type: ignore[assignment]
        refused = []
        for number in range(1, 8):
            refused.append(world.apply(0))
            world.apply(number)
            world.pass_time(2)
        assert world.states(refused) == {State.DEAD}
        assert world.hooks_called.count("provider_paused") == 0

    def test_records_that_are_missing_are_no_epidemic(self, world: World) -> None:
        world.crm.trouble = everybody(NotFound("gone"))  # type: ignore[assignment]
        operations = [world.apply(number) for number in range(8)]
        world.pass_time(10)
        assert world.states(operations) == {State.DEAD}
        assert world.ledger.gate(world.delivery.recipient).cause is None


class TestEpidemic:
    REQUIRED = Rejected("Branch is required", fields={"branchC": "required"})

    def test_nothing_is_dead_after_it_that_was_not_dead_before(self, world: World) -> None:
        world.crm.trouble = everybody(self.REQUIRED)  # type: ignore[assignment]
        operations = []
        for number in range(40):
            operations.append(world.apply(number))
            world.pass_time(1.5)
            dead = [operation for operation in operations if world.stored(operation).state == State.DEAD]
            assert len(dead) <= 4
        gate = world.ledger.gate(world.delivery.recipient)
        assert (gate.cause, gate.reason) == (Cause.EPIDEMIC, "invalid_value branchC")
        assert world.hooks_called.count("provider_paused") == 1
        world.crm.trouble = well
        world.pass_time(60)
        assert world.states(operations) == {State.DELIVERED}
        assert world.hooks_called.count("provider_recovered") == 1

    def test_probes_take_turns(self, world: World) -> None:
        tried: list[str] = []

        def trouble(operation: Operation | None) -> ProviderError | None:
            if operation:
                tried.append(operation.id)
            return self.REQUIRED if operation else None

        world.crm.trouble = trouble
        operations = [world.apply(number) for number in range(9)]
        world.pass_time(180)
        waiting = {operation.id for operation in operations if world.stored(operation).state == State.WAITING}
        tries = [one for one in tried if one in waiting]
        assert len(tries) > 5 * len(waiting)
        for end in range(len(waiting), len(tries)):
            counts = collections.Counter(tries[:end])
            assert max(counts.values()) - min(counts.values()) <= 1, "none again before all others"
        assert all(earlier != later for earlier, later in itertools.pairwise(tries))

    def test_a_good_lead_among_many_bad_ones_ends_it_soon(self, world: World) -> None:
        world.crm.trouble = lambda operation: (  # type: ignore[assignment]
            self.REQUIRED if operation and operation.payload.get("email") != "test99@example.com" else None
        )
        for number in range(30):
            world.apply(number)
        world.pass_time(20)
        good = world.apply(99)
        world.pass_time(13)
        assert world.stored(good).state == State.DELIVERED


class TestRateLimit:
    @pytest.mark.parametrize("wait", [None, 75.0], ids=["without a time", "with Retry-After"])
    def test_a_long_one_uses_no_attempt_and_leaves_no_dead_letter(self, world: World, wait: float | None) -> None:
        end = world.now + 75
        world.crm.trouble = lambda operation: (  # type: ignore[assignment]
            RateLimited("slow down", retry_after=wait and max(end - world.now, 0))
            if operation and world.now < end
            else None
        )
        operations = [world.apply(number) for number in range(8)]
        world.pass_time(74)
        assert world.ledger.gate(world.delivery.recipient).cause is Cause.LIMITED
        assert not [event for operation in operations for event in world.stored(operation).events if event.counted]
        world.pass_time(31)
        assert world.states(operations) == {State.DELIVERED}
        assert world.ledger.stats().get("dead", 0) == 0

    def test_it_holds_the_provider_and_not_each_operation_by_itself(self, world: World) -> None:
        world.apply(99, inline=True)
        world.crm.trouble = everybody(RateLimited("slow down", retry_after=60))  # type: ignore[assignment]
        before = len(world.crm.sent)
        for number in range(8):
            world.apply(number, inline=True)
        world.pass_time(50)
        assert len(world.crm.sent) - before == 1


class TestPause:
    def test_an_operator_pauses_and_resumes(self, world: World) -> None:
        world.delivery.pause()
        operations = [world.apply(number, inline=True) for number in range(5)]
        world.pass_time(300, step=5)
        assert not world.crm.sent
        assert world.states(operations) == {State.WAITING}
        world.delivery.resume()
        world.pass_time(10)
        assert world.states(operations) == {State.DELIVERED}


def test_a_key_repaired_with_thirty_bad_leads_at_the_head(world: World) -> None:
    world.crm.trouble = lambda _: AuthFailed("401")
    for _ in range(30):
        world.apply(0)
    world.pass_time(40)
    good = world.apply(1)
    world.crm.trouble = only(Rejected("no", fields={"phone": "valid"}))  # type: ignore[assignment]
    world.pass_time(40)
    assert world.stored(good).state == State.DELIVERED

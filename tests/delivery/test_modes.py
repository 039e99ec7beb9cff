"""Destinations that cannot be searched: what an unknown outcome leads to, and what is never sent twice by itself."""

from __future__ import annotations

import pytest
import redis

from crmgate.errors import AuthFailed, Code, LedgerUnavailable, OutcomeUnknown, ProviderError, Rejected, Unavailable
from crmgate.model import Operation, State
from crmgate.policy import DeliveryMode, Done
from crmgate.store.ledger import Ledger
from tests.delivery.scripted import ScriptedCrm, down
from tests.world import World, away, well

LEASE = 30
"""Seconds after which every lease of an attempt is over."""


def made(ledger: Ledger, client: redis.Redis, mode: DeliveryMode) -> World:
    crm = ScriptedCrm()
    crm.delivery = mode
    return World(ledger, client, crm)


@pytest.fixture
def once(ledger: Ledger, redis_client: redis.Redis) -> World:
    """A gateway whose destination takes each operation at most once."""
    return made(ledger, redis_client, DeliveryMode.AT_MOST_ONCE)


@pytest.fixture
def keyed(ledger: Ledger, redis_client: redis.Redis) -> World:
    """A gateway whose destination recognizes a repetition."""
    return made(ledger, redis_client, DeliveryMode.IDEMPOTENT)


def lost(code: Code = Code.CONNECTION_DROPPED) -> OutcomeUnknown:
    return OutcomeUnknown("the connection was cut", code=code)


def calls(world: World) -> list[str]:
    """What the destination was called for, without connection tests."""
    return [call for call, _ in world.crm.calls if call != "test"]


class KilledError(BaseException):
    """The process ends at this line."""


def killed(world: World, operation: Operation) -> None:
    """A worker is killed in the middle of an attempt; its lease runs out."""

    def kill() -> None:
        raise KilledError

    world.crm.during = kill
    with pytest.raises(KilledError):
        world.delivery.attempt(operation.id)
    world.crm.during = lambda: None
    world.now += LEASE


class TestIdempotent:
    def test_an_unknown_outcome_is_sent_again_without_a_look_up(self, keyed: World) -> None:
        keyed.crm.answers = [lost(), lost(Code.TIMEOUT)]
        operation = keyed.apply()
        assert isinstance(keyed.run(operation).verdict, Done)
        assert keyed.crm.calls == [("deliver", operation.id)] * 3

    def test_a_killed_worker_leaves_an_operation_that_is_sent_again(self, keyed: World) -> None:
        operation = keyed.apply()
        killed(keyed, operation)
        assert isinstance(keyed.run(operation).verdict, Done)
        assert keyed.crm.calls == [("deliver", operation.id)] * 2

    def test_a_released_dead_letter_is_sent_again_without_a_look_up(self, keyed: World) -> None:
        keyed.crm.answers = [Rejected("no")]
        operation = keyed.apply()
        keyed.pass_time(1)
        assert keyed.gateway.release(operation.id)
        keyed.pass_time(1)
        assert keyed.stored(operation).state == State.DELIVERED
        assert calls(keyed) == ["deliver", "deliver"]


class TestAtMostOnce:
    @pytest.mark.parametrize("code", [Code.TIMEOUT, Code.CONNECTION_DROPPED, Code.PLUGIN_BUG])
    def test_an_unknown_outcome_is_a_dead_letter_at_once(self, once: World, code: Code) -> None:
        once.crm.answers = [lost(code)]
        operation = once.apply()
        once.pass_time(3 * 3600, step=30)
        letter = once.stored(operation)
        assert letter.state == State.DEAD
        [event] = letter.events
        assert event.code == "outcome_unknown"
        assert event.detail.startswith(f"{code}: the connection was cut. It may have arrived")
        assert calls(once) == ["deliver"]
        assert once.hooks_called == ["operation_accepted", "operation_dead"]

    def test_the_web_process_makes_a_dead_letter_too(self, once: World) -> None:
        once.crm.answers = [lost()]
        operation = once.apply(inline=True)
        assert operation.state == State.WAITING, "the visitor is not bothered"
        once.pass_time(60)
        assert once.stored(operation).state == State.DEAD
        assert calls(once) == ["deliver"]

    def test_a_long_detail_keeps_the_warning(self, once: World) -> None:
        once.crm.answers = [OutcomeUnknown("x" * 300)]
        operation = once.apply(inline=True)
        [event] = once.stored(operation).events
        assert len(event.detail) == 300
        assert event.detail.endswith("A retry sends it again.")

    @pytest.mark.parametrize("error", [down(), Unavailable("451", code=Code.SERVER_ERROR), AuthFailed("535")])
    def test_what_was_certainly_not_sent_is_sent_again(self, once: World, error: ProviderError) -> None:
        once.crm.answers = [error]
        operation = once.apply()
        once.pass_time(60)
        assert once.stored(operation).state == State.DELIVERED
        assert calls(once) == ["deliver", "deliver"]

    def test_a_killed_worker_leaves_a_dead_letter(self, once: World) -> None:
        operation = once.apply()
        killed(once, operation)
        once.pass_time(3 * 3600, step=30)
        letter = once.stored(operation)
        assert (letter.state, [event.code for event in letter.events]) == (State.DEAD, ["outcome_unknown"])
        assert letter.events[0].detail.startswith("an earlier attempt ended without a recorded outcome")
        assert calls(once) == ["deliver"]
        assert once.hooks_called[-1] == "operation_dead"

    def test_a_killed_web_process_leaves_a_dead_letter(self, once: World) -> None:
        def kill() -> None:
            raise KilledError

        once.crm.during = kill
        with pytest.raises(KilledError):
            once.apply(inline=True)
        once.crm.during = lambda: None
        once.pass_time(LEASE + 60)
        assert once.ledger.stats()["dead_letters"] == 1
        assert calls(once) == ["deliver"]

    def test_an_outcome_that_could_not_be_recorded_is_a_dead_letter(
        self, once: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unavailable(*_: object, **__: object) -> None:
            raise LedgerUnavailable

        operation = once.apply()
        with monkeypatch.context() as broken:
            broken.setattr(once.ledger, "record_delivered", unavailable)
            assert once.delivery.attempt(operation.id).reason == "unrecorded"
        once.pass_time(LEASE + 60)
        assert once.stored(operation).state == State.DEAD
        assert calls(once) == ["deliver"]

    def test_an_operator_can_have_it_sent_again(self, once: World) -> None:
        operation = once.apply()
        killed(once, operation)
        once.pass_time(60)
        assert once.gateway.release(operation.id)
        once.pass_time(60)
        assert once.stored(operation).state == State.DELIVERED
        assert calls(once) == ["deliver", "deliver"]

    def test_an_attempt_after_a_release_that_is_killed_is_a_dead_letter_again(self, once: World) -> None:
        once.crm.answers = [lost()]
        operation = once.apply()
        once.pass_time(10)
        once.gateway.release(operation.id)
        killed(once, operation)
        once.pass_time(600)
        assert once.stored(operation).state == State.DEAD
        assert calls(once) == ["deliver", "deliver"]


def outage(world: World) -> list[Operation]:
    """Operations whose outcome is unknown during an outage: one for each attempt that may run at once, and more."""
    operations = [world.apply(number) for number in range(12)]
    world.crm.trouble = lambda operation: lost() if operation else away(operation)
    world.pass_time(120, step=2)
    return operations


def test_in_an_outage_nothing_of_unknown_outcome_waits_or_returns(ledger: Ledger, redis_client: redis.Redis) -> None:
    """The gate holds what was not sent. What may have arrived is dead, although the gate is shut."""
    world = World(ledger, redis_client, mode=DeliveryMode.AT_MOST_ONCE)
    operations = outage(world)
    states = [world.stored(operation).state for operation in operations]
    dead = [operation for operation, state in zip(operations, states, strict=True) if state == State.DEAD]
    assert 5 <= len(dead) < len(operations)
    assert {State.WAITING} == {state for state in states if state != State.DEAD}
    world.crm.trouble = well
    world.pass_time(600, step=2)
    assert world.states(dead) == {State.DEAD}
    assert len(world.crm.records) == len(operations) - len(dead)
    assert not {operation.id for operation in dead} & world.crm.records.keys()
    assert {len(world.stored(operation).events) for operation in dead} == {1}, "none returned"


def test_while_an_operator_pauses_an_unknown_outcome_is_a_dead_letter(once: World) -> None:
    def pause() -> None:
        once.delivery.pause()

    operation = once.apply()
    once.crm.answers, once.crm.during = [lost()], pause
    once.delivery.attempt(operation.id)
    once.delivery.record_dead_letter(operation.id)
    assert once.stored(operation).state == State.DEAD


@pytest.mark.parametrize("mode", DeliveryMode)
def test_a_refusal_that_operations_share_ends_with_their_delivery(
    ledger: Ledger, redis_client: redis.Redis, mode: DeliveryMode
) -> None:
    """A dead letter that was certainly refused returns by itself, in each mode."""
    world = World(ledger, redis_client, mode=mode)
    world.crm.trouble = lambda operation: Rejected("no such box", fields={"to": "x"}) if operation else None
    operations = [world.apply(number) for number in range(8)]
    world.pass_time(20)
    world.crm.trouble = well
    world.pass_time(900, step=2)
    assert world.states(operations) == {State.DELIVERED}
    assert len(world.crm.records) == len(operations)


@pytest.mark.parametrize("release", [True, False])
def test_a_bug_of_the_plugin_makes_no_epidemic_that_sends_again(
    ledger: Ledger, redis_client: redis.Redis, release: bool
) -> None:
    world = World(ledger, redis_client, mode=DeliveryMode.AT_MOST_ONCE)
    world.crm.trouble = lambda operation: lost(Code.PLUGIN_BUG) if operation else None
    operations = [world.apply(number) for number in range(8)]
    world.pass_time(60)
    assert world.states(operations) == {State.DEAD}
    assert {len(world.stored(operation).events) for operation in operations} == {1}, "none returned"
    assert world.ledger.gate(world.delivery.recipient).cause is None
    world.crm.trouble = well
    if release:
        for operation in operations:
            world.gateway.release(operation.id)
    world.pass_time(900, step=5)
    assert world.states(operations) == {State.DELIVERED if release else State.DEAD}


def test_the_mode_of_the_crm_in_use_decides(ledger: Ledger, redis_client: redis.Redis) -> None:
    """After a change of the CRM an operation that may be in the former one is not mailed."""
    world = made(ledger, redis_client, DeliveryMode.EXACTLY_ONCE)
    world.crm.answers = [lost()]
    operation = world.apply()
    world.delivery.attempt(operation.id)
    mail = ScriptedCrm()
    mail.delivery = DeliveryMode.AT_MOST_ONCE
    world.use(mail)
    world.pass_time(60)
    assert world.stored(operation).state == State.DEAD
    assert [call for call, _ in mail.calls if call != "test"] == []

"""The gateway on a real Redis, with a scripted CRM and a clock that the test moves."""

from __future__ import annotations

import logging

import pytest
import redis

from crmgate.delivery.attempt import Outcome
from crmgate.errors import (
    AuthFailed,
    Code,
    KeyReused,
    OutcomeUnknown,
    Rejected,
)
from crmgate.model import Delivered, EventType, Kind, State
from crmgate.policy import SETTLE_SECONDS, Dead, Done, Hold, Retry
from crmgate.store.keys import WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.delivery.scripted import ScriptedCrm, down
from tests.world import PLAN, START, World


@pytest.fixture
def world(ledger: Ledger, redis_client: redis.Redis) -> World:
    return World(ledger, redis_client, ScriptedCrm())


def redis_alarms(world: World) -> list[str]:
    return [member.decode() for member in world.ledger._redis.zrange("{crmgate}:due", 0, -1)]  # type: ignore[union-attr]


def test_inline_success_is_delivered_and_recorded(world: World) -> None:
    operation = world.apply(inline=True)
    assert operation.state == State.DELIVERED
    assert world.stored(operation).state == State.DELIVERED
    assert world.hooks_called == ["operation_accepted", "operation_delivered"]


def test_inline_failure_waits_and_the_worker_is_scheduled(world: World, redis_client: redis.Redis) -> None:
    world.crm.answers = [down()]
    operation = world.apply(inline=True)
    assert operation.state == State.WAITING
    ((message, at),) = redis_client.zrange(WAKE_SCHEDULE, 0, -1, withscores=True)  # type: ignore[misc,union-attr]
    assert message == wake_message(operation.id)
    assert START + 0.8 <= at <= START + 1.2
    assert world.stored(operation).due_at == pytest.approx(at)


def test_queued_submission_sends_nothing_and_wakes_a_worker(world: World, redis_client: redis.Redis) -> None:
    operation = world.apply()
    assert world.crm.calls == []
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(operation.id)]


def test_retries_follow_the_schedule_and_then_it_is_dead(world: World) -> None:
    world.crm.answers = [down() for _ in range(9)]
    operation = world.apply()
    outcome = world.run(operation)
    assert isinstance(outcome.verdict, Dead)
    waits = [attempt.at - START for attempt in world.stored(operation).events]
    assert waits == pytest.approx([0, 1, 6, 31], rel=0.2)
    assert world.delivery.record_dead_letter(operation.id)
    letter = world.stored(operation)
    assert (letter.state, letter.payload) == (State.DEAD, operation.payload)
    assert [attempt.code for attempt in letter.events] == ["connection_failed"] * 4
    assert world.hooks_called == ["operation_accepted", "operation_dead"]


def test_listeners_are_called_once_for_a_dead_letter(world: World) -> None:
    world.crm.answers = [Rejected("an option is missing")]
    operation = world.apply(inline=True)
    assert world.delivery.record_dead_letter(operation.id)
    assert not world.delivery.record_dead_letter(operation.id)
    assert world.hooks_called.count("operation_dead") == 1


def test_a_released_dead_letter_has_all_its_retries_again(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("a bug", code=Code.PLUGIN_BUG) for _ in range(4 + 3)]
    operation = world.apply()
    assert isinstance(world.run(operation).verdict, Dead)
    world.delivery.record_dead_letter(operation.id)
    assert world.gateway.release(operation.id)
    assert isinstance(world.run(operation).verdict, Done)


def test_a_refused_value_is_not_sent_again(world: World) -> None:
    world.crm.answers = [Rejected("an option is missing", fields={"source": "valid"})]
    operation = world.apply()
    assert isinstance(world.run(operation).verdict, Dead)
    assert len(world.crm.calls) == 1
    assert world.delivery.attempt(operation.id) == Outcome(None, "exhausted")


def test_an_ambiguous_outcome_is_looked_up_before_it_is_sent_again(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("no answer")]
    operation = world.apply()
    first = world.delivery.attempt(operation.id)
    assert isinstance(first.verdict, Retry)
    world.now += first.verdict.delay
    world.crm.found = Delivered("scripted", "made-by-the-first-attempt", adopted=True)
    assert isinstance(world.delivery.attempt(operation.id).verdict, Done)
    assert world.crm.calls == [("deliver", operation.id), ("find", operation.id)]
    assert world.stored(operation).delivered == world.crm.found


def test_an_ambiguous_outcome_that_left_nothing_is_sent_again(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("cut off", code=Code.CONNECTION_DROPPED)]
    operation = world.apply()
    assert isinstance(world.run(operation).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "find", "deliver"]


def test_after_a_timeout_the_crm_gets_the_time_to_finish(world: World) -> None:
    """A CRM without a unique key that stores late must not be sent it twice meanwhile."""
    world.crm.answers = [OutcomeUnknown("no answer", code=Code.TIMEOUT)]
    operation = world.apply()
    first = world.delivery.attempt(operation.id)
    assert isinstance(first.verdict, Retry)
    world.now += first.verdict.delay
    second = world.delivery.attempt(operation.id)
    assert isinstance(second.verdict, Retry)
    assert world.now + second.verdict.delay == pytest.approx(START + SETTLE_SECONDS, abs=0.1)
    assert second.verdict.left == first.verdict.left, "a look uses no retry up"
    assert [call for call, _ in world.crm.calls] == ["deliver", "find"]
    world.now += second.verdict.delay - 0.1
    assert world.delivery.attempt(operation.id) == Outcome(None, "early")
    world.crm.found = Delivered("scripted", "stored late", adopted=True)
    world.now += 0.2
    assert isinstance(world.delivery.attempt(operation.id).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "find"]


def test_a_request_that_came_to_nothing_is_sent_again_when_it_has_settled(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("no answer", code=Code.TIMEOUT)]
    operation = world.apply()
    assert isinstance(world.run(operation).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "find", "deliver"]
    assert world.now >= START + SETTLE_SECONDS


def test_a_web_process_killed_in_mid_delivery_leaves_the_crm_the_time_to_finish(world: World) -> None:
    world.crm.during = lambda: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        world.apply(inline=True)
    world.crm.during = lambda: None
    (alarm,) = redis_alarms(world)
    world.now = START + PLAN.inline_budget + 2.1
    outcome = world.delivery.attempt(alarm)
    assert isinstance(outcome.verdict, Retry)
    assert world.now + outcome.verdict.delay == pytest.approx(START + SETTLE_SECONDS, abs=0.1)


def test_a_worker_killed_in_mid_delivery_leaves_the_crm_the_time_to_finish(world: World) -> None:
    """Its lease may be shorter than that, with a short `CRM_TIMEOUT`."""
    operation = world.apply()
    world.crm.during = lambda: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        world.delivery.attempt(operation.id)
    world.crm.during = lambda: None
    world.now = START + PLAN.worker_budget + 2.1
    outcome = world.delivery.attempt(operation.id)
    assert isinstance(outcome.verdict, Retry)
    assert world.now + outcome.verdict.delay == pytest.approx(START + SETTLE_SECONDS, abs=0.1)


def test_the_doubt_outlives_a_failure_that_is_certain(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("cut off", code=Code.CONNECTION_DROPPED), down()]
    operation = world.apply()
    world.run(operation)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "find", "deliver", "find", "deliver"]


def test_an_attempt_that_nobody_finished_is_looked_up(world: World) -> None:
    """A worker killed in mid-delivery: its lease runs out."""
    operation = world.apply()
    world.crm.answers = [KeyboardInterrupt()]
    world.crm.during = lambda: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        world.delivery.attempt(operation.id)
    world.crm.during = lambda: None
    assert world.delivery.attempt(operation.id) == Outcome(None, "leased")
    world.now += PLAN.worker_budget + 6
    world.delivery.attempt(operation.id)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "deliver"]


def test_two_wakeups_at_once_make_one_attempt(world: World) -> None:
    operation = world.apply()
    inner: list[Outcome] = []
    world.crm.during = lambda: inner.append(world.delivery.attempt(operation.id))
    world.delivery.attempt(operation.id)
    assert inner == [Outcome(None, "leased")]
    assert len(world.crm.calls) == 1


def test_a_wakeup_for_something_delivered_ends_at_once(world: World) -> None:
    operation = world.apply(inline=True)
    assert world.delivery.attempt(operation.id) == Outcome(None, "delivered")
    assert len(world.crm.calls) == 1


def test_refused_credentials_hold_all_operations_and_use_no_retry(world: World) -> None:
    operations = [world.apply(number) for number in range(20)]
    world.crm.answers = [AuthFailed("401")]
    world.crm.connected, world.crm.refused = False, True
    outcomes = [world.delivery.attempt(operation.id) for operation in operations]
    assert isinstance(outcomes[0].verdict, Hold)
    assert {outcome.reason for outcome in outcomes[1:]} == {"held"}
    assert world.hooks_called.count("provider_paused") == 0, "one refusal may concern one record"
    world.pass_time(4)
    assert world.hooks_called.count("provider_paused") == 1, "the connection test was refused as well"
    world.pass_time(65)
    assert [call for call, _ in world.crm.calls] == ["deliver"] + ["test"] * 3, "one test every 30 s"
    world.crm.connected, world.crm.refused = True, False
    world.pass_time(32)
    assert world.states(operations) == {State.DELIVERED}
    assert [attempt.counted for attempt in world.stored(operations[0]).events] == [False, True]
    assert (world.hooks_called.count("provider_paused"), world.hooks_called.count("provider_recovered")) == (1, 1)


def test_a_submission_during_a_refusal_waits_for_the_worker(world: World) -> None:
    world.crm.answers = [AuthFailed("401")]
    operations = [world.apply(inline=True) for _ in range(12)]
    assert len(world.crm.calls) == 1
    assert {operation.state for operation in operations} <= {State.WAITING, State.ACCEPTED}
    world.pass_time(4)
    assert world.states(operations) == {State.DELIVERED}
    assert world.apply(inline=True).state == State.DELIVERED


def test_an_outage_at_the_first_contact_delays_nobody(world: World) -> None:
    world.crm.answers = [down()]
    first, second = world.apply(1), world.apply(2)
    assert isinstance(world.delivery.attempt(first.id).verdict, Retry)
    assert isinstance(world.delivery.attempt(second.id).verdict, Done)


def test_a_field_that_the_crm_drops_or_refuses_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.crm.record = {"dropped": ("referralCodeC",), "moved": ("source",)}
    for _ in range(3):
        world.apply(inline=True)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "scripted does not keep the field referralCodeC: see `crmgate crm fields`",
        "scripted refuses a bad or missing value of the field source: see `crmgate crm fields`",
    ]


def test_a_refusal_that_named_no_field_is_in_the_events(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.crm.record = {"moved": ("source", "town"), "unnamed": True}
    operation = world.ledger.get(world.apply(inline=True).id)
    assert operation.delivered is not None
    assert (operation.delivered.moved, operation.delivered.unnamed) == (("source", "town"), True)
    [event] = operation.events
    assert event.outcome is EventType.DELIVERED
    assert event.detail == "the CRM refused the record and named no field: all optional values are in the description"
    assert [record for record in caplog.records if record.levelno == logging.WARNING] == []


def test_no_log_line_holds_what_a_visitor_typed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.crm.answers = [down(), OutcomeUnknown("no answer"), Rejected("no such option")]
    operation = world.apply(inline=True)
    world.now += 2
    world.run(operation)
    world.delivery.record_dead_letter(operation.id)
    assert operation.id in caplog.text
    assert not [value for value in operation.payload.values() if value and value in caplog.text]


def test_what_makes_two_submissions_the_same_can_be_less_than_the_payload(world: World) -> None:
    def click(at: str, content: object, key: str = "") -> str:
        payload = {"channel": "telegram", "occurred_at": at}
        return world.gateway.submit(
            Kind.CREATE_MINIMAL_LEAD, payload, inline=False, key=key, repeats=60, content=content
        ).id  # fmt: skip

    first = click("10:00", "telegram")
    assert click("10:01", "telegram") == first
    assert click("10:01", "whatsapp") != first
    assert click("10:02", "telegram", key="k") == click("10:03", "telegram", key="k") != first
    with pytest.raises(KeyReused):
        click("10:04", "whatsapp", key="k")


def test_a_released_dead_letter_of_a_refusal_is_searched_for_before_it_is_sent_again(world: World) -> None:
    """The CRM may have stored the record before it reported the refusal."""
    world.crm.answers = [Rejected("an option is missing", fields={"source": "valid"})]
    operation = world.apply()
    assert isinstance(world.run(operation).verdict, Dead)
    world.delivery.record_dead_letter(operation.id)
    assert world.gateway.release(operation.id)
    world.crm.found = Delivered("scripted", "stored-before-the-refusal", adopted=True)
    assert isinstance(world.run(operation).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find"]
    assert world.stored(operation).delivered == world.crm.found

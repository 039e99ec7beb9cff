"""The gateway on a real Redis, with a scripted CRM and a clock that the test moves."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
import redis

from crmgate.delivery.attempt import Delivery, Outcome, Plan
from crmgate.delivery.gateway import REPEATS_SETTLE, Gateway
from crmgate.errors import (
    AuthFailed,
    Code,
    KeyReused,
    LedgerUnavailable,
    NotAccepted,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.model import Connection, Delivered, Kind, Operation, Rate, State
from crmgate.policy import SETTLE_SECONDS, Dead, Done, Hold, Retry
from crmgate.store.client import connect
from crmgate.store.keys import WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message

START = 1_800_000_000.0
PLAN = Plan(inline_budget=2, worker_budget=5, retry_delays=(1, 5, 25))
PAYLOAD = {"first_name": "Ayşe", "email": "canary@example.com"}


class ScriptedCrm:
    """Answers each call with the next of `answers`; an exception is raised, "ok" makes a record."""

    name = "scripted"
    credentials = "c1"
    rate: Rate | None = None

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.found: Delivered | None = None
        self.calls: list[tuple[str, str]] = []
        self.record: dict[str, Any] = {}
        self.during: Callable[[], None] = lambda: None
        self.kinds = {*Kind}
        self.connected, self.refused = True, False

    def supports(self, kind: str) -> bool:
        return kind in self.kinds

    def used(self) -> int:
        return 0

    def test_connection(self, budget: float) -> Connection:
        self.calls.append(("test", ""))
        return Connection(self.name, self.connected, 1.0, refused=self.refused)

    def deliver(self, operation: Operation, budget: float) -> Delivered:
        assert budget > 0
        self.calls.append(("deliver", operation.id))
        self.during()
        answer = self.answers.pop(0) if self.answers else "ok"
        if isinstance(answer, ProviderError):
            raise answer
        return Delivered(self.name, f"record-{operation.id}", **self.record)

    def find(self, operation: Operation, budget: float) -> Delivered | None:
        self.calls.append(("find", operation.id))
        return self.found


class World:
    def __init__(self, ledger: Ledger) -> None:
        self.now = START
        self.crm = ScriptedCrm()
        self.told: list[str] = []
        self.ledger = ledger
        tell, clock = (lambda hook, **_: self.told.append(hook)), (lambda: self.now)
        self.delivery = Delivery(ledger, self.crm, PLAN, clock=clock, rng=random.Random(7), tell=tell)
        self.gateway = Gateway(ledger, self.delivery, tell=tell, clock=clock)

    def submit(self, *, inline: bool = False, key: str = "") -> Operation:
        return self.gateway.submit(Kind.CREATE_LEAD, dict(PAYLOAD), inline=inline, key=key)

    def run(self, operation: Operation) -> Outcome:
        """Attempt it whenever it is due, until no retry follows."""
        while True:
            outcome = self.delivery.attempt(operation.id)
            if not isinstance(outcome.verdict, Retry):
                return outcome
            self.now = outcome.verdict.at

    def stored(self, operation: Operation) -> Operation:
        found = self.ledger.get(operation.id)
        assert found is not None
        return found


@pytest.fixture
def world(ledger: Ledger) -> World:
    return World(ledger)


@pytest.fixture
def away() -> World:
    """A gateway whose Redis does not answer."""
    return World(Ledger(connect("redis://127.0.0.1:1/0", 0.2), wake_message))


def redis_alarms(world: World) -> list[str]:
    return [member.decode() for member in world.ledger._redis.zrange("{crmgate}:due", 0, -1)]  # type: ignore[union-attr]


def down() -> Unavailable:
    return Unavailable("no connection", code=Code.CONNECTION_FAILED)


def test_inline_success_is_delivered_and_recorded(world: World) -> None:
    operation = world.submit(inline=True)
    assert operation.state == State.DELIVERED
    assert world.stored(operation).state == State.DELIVERED
    assert world.told == ["operation_accepted", "operation_delivered"]


def test_inline_failure_waits_and_the_worker_is_scheduled(world: World, redis_client: redis.Redis) -> None:
    world.crm.answers = [down()]
    operation = world.submit(inline=True)
    assert operation.state == State.WAITING
    ((message, at),) = redis_client.zrange(WAKE_SCHEDULE, 0, -1, withscores=True)  # type: ignore[misc,union-attr]
    assert message == wake_message(operation.id)
    assert START + 0.8 <= at <= START + 1.2
    assert world.stored(operation).due_at == pytest.approx(at)


def test_queued_submission_sends_nothing_and_wakes_a_worker(world: World, redis_client: redis.Redis) -> None:
    operation = world.submit()
    assert world.crm.calls == []
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(operation.id)]


def test_retries_follow_the_schedule_and_then_it_is_dead(world: World) -> None:
    world.crm.answers = [down() for _ in range(9)]
    operation = world.submit()
    outcome = world.run(operation)
    assert isinstance(outcome.verdict, Dead)
    waits = [attempt.at - START for attempt in world.stored(operation).events]
    assert waits == pytest.approx([0, 1, 6, 31], rel=0.2)
    assert world.delivery.bury(operation.id)
    letter = world.stored(operation)
    assert (letter.state, letter.payload) == (State.DEAD, PAYLOAD)
    assert [attempt.code for attempt in letter.events] == ["connection_failed"] * 4
    assert world.told == ["operation_accepted", "operation_dead"]


def test_a_dead_letter_is_told_once(world: World) -> None:
    world.crm.answers = [Rejected("an option is missing")]
    operation = world.submit(inline=True)
    assert world.delivery.bury(operation.id)
    assert not world.delivery.bury(operation.id)
    assert world.told.count("operation_dead") == 1


def test_a_released_dead_letter_has_all_its_retries_again(world: World) -> None:
    world.crm.answers = [RateLimited("slower") for _ in range(4 + 3)]
    operation = world.submit()
    assert isinstance(world.run(operation).verdict, Dead)
    world.delivery.bury(operation.id)
    assert world.gateway.release(operation.id)
    assert isinstance(world.run(operation).verdict, Done)


def test_a_refused_value_is_not_sent_again(world: World) -> None:
    world.crm.answers = [Rejected("an option is missing", fields={"source": "valid"})]
    operation = world.submit()
    assert isinstance(world.run(operation).verdict, Dead)
    assert len(world.crm.calls) == 1
    assert world.delivery.attempt(operation.id) == Outcome(None, "exhausted")


def test_an_ambiguous_outcome_is_looked_up_before_it_is_sent_again(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("no answer")]
    operation = world.submit()
    first = world.delivery.attempt(operation.id)
    assert isinstance(first.verdict, Retry)
    world.now = first.verdict.at
    world.crm.found = Delivered("scripted", "made-by-the-first-attempt", adopted=True)
    assert isinstance(world.delivery.attempt(operation.id).verdict, Done)
    assert world.crm.calls == [("deliver", operation.id), ("find", operation.id)]
    assert world.stored(operation).delivered == world.crm.found


def test_an_ambiguous_outcome_that_left_nothing_is_sent_again(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("cut off", code=Code.CONNECTION_DROPPED)]
    operation = world.submit()
    assert isinstance(world.run(operation).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "deliver"]


def test_after_a_timeout_the_crm_gets_the_time_to_finish(world: World) -> None:
    """A CRM without a unique key that stores late must not be sent it twice meanwhile."""
    world.crm.answers = [OutcomeUnknown("no answer", code=Code.TIMEOUT)]
    operation = world.submit()
    first = world.delivery.attempt(operation.id)
    assert isinstance(first.verdict, Retry)
    world.now = first.verdict.at
    second = world.delivery.attempt(operation.id)
    assert isinstance(second.verdict, Retry)
    assert second.verdict.at == pytest.approx(START + SETTLE_SECONDS, abs=0.1)
    assert second.verdict.left == first.verdict.left, "a look uses no retry up"
    assert [call for call, _ in world.crm.calls] == ["deliver", "find"]
    world.now = second.verdict.at - 0.1
    assert world.delivery.attempt(operation.id) == Outcome(None, "early")
    world.crm.found = Delivered("scripted", "stored late", adopted=True)
    world.now += 0.2
    assert isinstance(world.delivery.attempt(operation.id).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "find"]


def test_a_request_that_came_to_nothing_is_sent_again_when_it_has_settled(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("no answer", code=Code.TIMEOUT)]
    operation = world.submit()
    assert isinstance(world.run(operation).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "find", "deliver"]
    assert world.now >= START + SETTLE_SECONDS


def test_a_web_process_killed_in_mid_delivery_leaves_the_crm_the_time_to_finish(world: World) -> None:
    world.crm.during = lambda: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        world.submit(inline=True)
    world.crm.during = lambda: None
    (alarm,) = redis_alarms(world)
    world.now = START + PLAN.inline_budget + 2.1
    outcome = world.delivery.attempt(alarm)
    assert isinstance(outcome.verdict, Retry)
    assert outcome.verdict.at == pytest.approx(START + SETTLE_SECONDS, abs=0.1)


def test_a_worker_killed_in_mid_delivery_leaves_the_crm_the_time_to_finish(world: World) -> None:
    """Its lease may be shorter than that, with a short `CRM_TIMEOUT`."""
    operation = world.submit()
    world.crm.during = lambda: (_ for _ in ()).throw(SystemExit)
    with pytest.raises(SystemExit):
        world.delivery.attempt(operation.id)
    world.crm.during = lambda: None
    world.now = START + PLAN.worker_budget + 2.1
    outcome = world.delivery.attempt(operation.id)
    assert isinstance(outcome.verdict, Retry)
    assert outcome.verdict.at == pytest.approx(START + SETTLE_SECONDS, abs=0.1)


def test_the_doubt_outlives_a_failure_that_is_certain(world: World) -> None:
    world.crm.answers = [OutcomeUnknown("cut off", code=Code.CONNECTION_DROPPED), down()]
    operation = world.submit()
    world.run(operation)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find", "deliver", "find", "deliver"]


def test_an_attempt_that_nobody_finished_is_looked_up(world: World) -> None:
    """A worker killed in mid-delivery: its lease runs out."""
    operation = world.submit()
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
    operation = world.submit()
    inner: list[Outcome] = []
    world.crm.during = lambda: inner.append(world.delivery.attempt(operation.id))
    world.delivery.attempt(operation.id)
    assert inner == [Outcome(None, "leased")]
    assert len(world.crm.calls) == 1


def test_a_wakeup_for_something_delivered_ends_at_once(world: World) -> None:
    operation = world.submit(inline=True)
    assert world.delivery.attempt(operation.id) == Outcome(None, "delivered")
    assert len(world.crm.calls) == 1


def test_refused_credentials_pause_the_provider_and_use_no_retry_up(world: World) -> None:
    operations = [world.submit() for _ in range(20)]
    world.crm.answers = [AuthFailed("401"), AuthFailed("401")]
    outcomes = [world.delivery.attempt(operation.id) for operation in operations]
    assert isinstance(outcomes[0].verdict, Hold)
    assert world.told[-1] == "provider_paused"
    assert {outcome.reason for outcome in outcomes[1:]} == {"held"}
    assert len(world.crm.calls) == 1
    world.now += 31
    [world.delivery.attempt(operation.id) for operation in operations]
    assert len(world.crm.calls) == 2, "one probe every 30 s, not one for each operation"
    world.now += 31
    [world.delivery.attempt(operation.id) for operation in operations]
    assert {world.stored(operation).state for operation in operations} == {State.DELIVERED}
    assert (world.told.count("provider_paused"), world.told.count("provider_recovered")) == (1, 1)


def test_a_paused_provider_is_not_asked_by_the_web_either(world: World) -> None:
    world.crm.answers = [AuthFailed("401")]
    operations = [world.submit(inline=True) for _ in range(12)]
    assert len(world.crm.calls) == 1
    assert {operation.state for operation in operations} <= {State.WAITING, State.ACCEPTED}
    world.now += 31
    world.submit(inline=True)
    assert len(world.crm.calls) == 1, "the probe is the worker's"
    assert isinstance(world.delivery.attempt(operations[5].id).verdict, Done)
    assert world.submit(inline=True).state == State.DELIVERED


def test_an_outage_at_the_first_contact_delays_nobody(world: World) -> None:
    world.crm.answers = [down()]
    first, second = world.submit(), world.submit()
    assert isinstance(world.delivery.attempt(first.id).verdict, Retry)
    assert isinstance(world.delivery.attempt(second.id).verdict, Done)


def test_without_redis_a_confirmed_delivery_is_a_success(away: World, caplog: pytest.LogCaptureFixture) -> None:
    operation = away.submit(inline=True)
    assert operation.state == State.DELIVERED
    assert "the ledger is unavailable" in caplog.text
    assert "delivered without a record" in caplog.text


def test_without_redis_and_crm_the_submission_is_refused(away: World, caplog: pytest.LogCaptureFixture) -> None:
    away.crm.answers = [down()]
    with pytest.raises(NotAccepted) as refused:
        away.submit(inline=True)
    assert refused.value.retry_after > 0
    assert "the ledger is unavailable" in caplog.text
    assert "connection_failed" in caplog.text
    assert "canary" not in caplog.text


def test_without_redis_a_queued_submission_is_tried_at_once(away: World) -> None:
    assert away.submit(inline=False).state == State.DELIVERED


class TestRepeatedWithoutRedis:
    """Whoever sends a key sends again what got no answer. An earlier request may be on record, or still at work."""

    @pytest.mark.parametrize("inline", [True, False])
    def test_nothing_is_sent_while_an_earlier_request_may_be_at_work(self, away: World, inline: bool) -> None:
        for _ in range(3):
            with pytest.raises(LedgerUnavailable):
                away.submit(inline=inline, key="k")
            away.now += 9
        assert away.crm.calls == []

    def test_it_is_sent_when_redis_stays_away(self, away: World) -> None:
        with pytest.raises(LedgerUnavailable):
            away.submit(inline=True, key="k")
        away.now += REPEATS_SETTLE
        assert away.submit(inline=True, key="k").state == State.DELIVERED

    def test_the_time_begins_anew_where_nobody_has_looked_for_long(self, away: World) -> None:
        """Redis may have been there meanwhile, and have recorded something by another process."""
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                away.submit(inline=True, key="k")
            away.now += REPEATS_SETTLE + 1
        assert away.crm.calls == []

    def test_the_time_begins_anew_with_each_outage(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def unavailable(*_: object, **__: object) -> None:
            raise LedgerUnavailable("away", refused=True)

        with monkeypatch.context() as patch:
            patch.setattr(world.ledger, "accept", unavailable)
            with pytest.raises(LedgerUnavailable):
                world.submit(inline=True, key="k")
        world.now += REPEATS_SETTLE
        world.submit(inline=False)
        monkeypatch.setattr(world.ledger, "accept", unavailable)
        with pytest.raises(LedgerUnavailable):
            world.submit(inline=True, key="k")
        assert world.crm.calls == []


def test_a_worker_without_redis_does_not_pretend(away: World) -> None:
    with pytest.raises(LedgerUnavailable):
        away.delivery.attempt("a" * 32)


def test_redis_lost_after_the_crm_confirmed_is_still_a_success(world: World, caplog: pytest.LogCaptureFixture) -> None:
    broken = Ledger(connect("redis://127.0.0.1:1/0", 0.2), wake_message)
    good = world.ledger

    def lose_redis() -> None:
        world.delivery._ledger = broken

    world.crm.during = lose_redis
    operation = world.submit(inline=True)
    assert operation.state == State.DELIVERED
    assert "could not be recorded" in caplog.text
    world.delivery._ledger, world.crm.during = good, lambda: None
    world.crm.found = Delivered("scripted", f"record-{operation.id}", adopted=True)
    world.now += PLAN.inline_budget + 6
    assert isinstance(world.delivery.attempt(operation.id).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find"]


def test_a_field_that_the_crm_drops_or_refuses_is_told_of_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.crm.record = {"dropped": ("referralCodeC",), "moved": ("source",)}
    for _ in range(3):
        world.submit(inline=True)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        "scripted does not keep the field referralCodeC: see `crmgate crm fields`",
        "scripted refused a value of the field source: see `crmgate crm fields`",
    ]


def test_no_log_line_holds_what_a_visitor_typed(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.crm.answers = [down(), OutcomeUnknown("no answer"), Rejected("no such option")]
    operation = world.submit(inline=True)
    world.now += 2
    world.run(operation)
    world.delivery.bury(operation.id)
    assert operation.id in caplog.text
    assert "canary" not in caplog.text
    assert "Ayşe" not in caplog.text


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


def test_without_the_last_resort_nothing_is_sent_unrecorded(away: World) -> None:
    with pytest.raises(LedgerUnavailable):
        away.gateway.submit(Kind.CREATE_MINIMAL_LEAD, {}, inline=False, last_resort=False)
    assert away.crm.calls == []
    assert away.told == []

"""Several applications that wait are sent together: each has its own outcome, and none is lost or sent twice."""

from __future__ import annotations

import json

import pytest

from crmgate.delivery.batch import FIRST, BatchSize
from crmgate.delivery.outcome import Outcome
from crmgate.delivery.plan import LEASE_MARGIN
from crmgate.errors import AuthFailed, Code, OutcomeUnknown, RateLimited, Rejected, Unavailable
from crmgate.model import Delivered, Operation, Rate, State
from crmgate.policy import DeliveryMode
from crmgate.store import keys
from crmgate.store.keys import WAKE_LIST
from tests.cases import all_cases
from tests.world import Crm, World, well

LEASE = 5 + LEASE_MARGIN


@pytest.fixture
def world(world: World) -> World:
    """A CRM whose credentials have worked, and that takes 50 leads at once."""
    world.crm.leads_at_once = 50
    world.use(world.crm, most=4)
    world.apply(999, inline=True)
    return world


def backlog(world: World, number: int) -> list[Operation]:
    """Applications that wait, one a second."""
    operations = []
    for each in range(number):
        operations.append(world.apply(each))
        world.now += 1
    return operations


def attempt(world: World) -> Outcome:
    """Attempt the operation of the oldest wake-up, as one task does."""
    message = world.redis.rpop(WAKE_LIST)
    assert isinstance(message, bytes)
    return world.delivery.attempt(json.loads(message)["args"][0])


def ids(operations: list[Operation]) -> list[str]:
    return [operation.id for operation in operations]


def is_leased(world: World, operation: Operation) -> bool:
    return bool(world.redis.hexists(keys.op(operation.id), "lease"))


def test_a_backlog_is_sent_together_in_its_order(world: World) -> None:
    operations = backlog(world, FIRST + 2)
    assert attempt(world).reason == "batch"
    assert world.crm.batches == [ids(operations[:FIRST])]
    assert world.states(operations[:FIRST]) == {State.DELIVERED}
    world.work()
    assert world.states(operations) == {State.DELIVERED}
    assert not any(is_leased(world, operation) for operation in operations)


def test_one_that_waits_alone_is_sent_alone(world: World) -> None:
    [operation] = backlog(world, 1)
    world.work()
    assert (world.stored(operation).state, world.crm.batches) == (State.DELIVERED, [])


def test_a_crm_without_batches_gets_one_at_a_time(world: World) -> None:
    world.crm.leads_at_once = 0
    world.use(world.crm)
    operations = backlog(world, 12)
    world.work()
    assert (world.states(operations), world.crm.batches) == ({State.DELIVERED}, [])


def test_at_most_once_sends_one_at_a_time(world: World) -> None:
    world.use(Crm(world, mode=DeliveryMode.AT_MOST_ONCE))
    world.crm.leads_at_once = 50
    world.use(world.crm)
    operations = backlog(world, 12)
    world.work()
    assert (world.states(operations), world.crm.batches) == ({State.DELIVERED}, [])


def test_other_kinds_are_sent_alone_and_in_their_turn(world: World) -> None:
    first, click, last = world.apply(1), world.click(), world.apply(2)
    attempt(world)
    assert world.crm.batches == []
    world.work()
    assert world.states([first, click, last]) == {State.DELIVERED}
    assert list(world.crm.records)[1:] == [first.id, click.id, last.id]


def test_two_operations_of_one_person_are_not_sent_together(world: World) -> None:
    one, again = world.apply(1), world.apply(1, first_name="Other")
    other = world.apply(2)
    attempt(world)
    assert world.crm.batches == [[one.id, other.id]]
    world.work()
    assert world.stored(again).state == State.DELIVERED
    assert list(world.crm.records)[-1] == again.id


def test_one_that_is_refused_fails_no_other_one(world: World) -> None:
    operations = backlog(world, 3)
    bad = operations[1].id
    world.crm.answers = lambda one: (
        Rejected("no", code=Code.INVALID_VALUE) if one.id == bad else world.crm._created(one)
    )
    world.work()
    assert [world.stored(one).state for one in operations] == [State.DELIVERED, State.DEAD, State.DELIVERED]
    assert len(world.crm.batches) == 1


def test_one_without_an_answer_goes_alone_and_never_with_others_again(world: World) -> None:
    operations = backlog(world, 3)
    known = operations[0].id
    world.crm.answers = lambda one: None if one.id == known else world.crm._created(one)
    attempt(world)
    assert [world.stored(one).state for one in operations] == [State.WAITING, State.DELIVERED, State.DELIVERED]
    more = backlog(world, 3)
    world.work()
    assert world.states([*operations, *more]) == {State.DELIVERED}
    assert sum(known in batch for batch in world.crm.batches) == 1
    assert world.stored(operations[0]).events[0].counted is True, "the attempt together left no event"


def test_after_a_lost_answer_all_are_searched_together_and_none_is_sent_twice(world: World) -> None:
    operations = backlog(world, 6)
    world.crm.lost = True
    attempt(world)
    assert not {State.DELIVERED, State.DEAD} & world.states(operations)
    world.crm.lost = False
    world.pass_time(60)
    assert world.states(operations) == {State.DELIVERED}
    assert sum(map(len, world.crm.searches)) >= 4, "they are not looked for one by one"
    assert len(world.crm.batches) == 1


def test_after_half_of_a_batch_the_rest_is_sent_alone(world: World) -> None:
    """The CRM carried out half of the batch before it failed."""
    operations = backlog(world, 6)
    done = {one.id for one in operations[:3]}

    def half(one: Operation) -> Delivered:
        return world.crm._created(one) if one.id in done else Delivered("acme", "never")

    world.crm.answers, world.crm.lost = half, True
    attempt(world)
    world.crm.lost = False
    assert world.crm.records.keys() >= done
    world.pass_time(world.crm.settle_seconds + 90)
    assert world.states(operations) == {State.DELIVERED}
    assert sorted(world.crm.records) == sorted([*ids(operations), *list(world.crm.records)[:1]])
    assert len(world.crm.batches) == 1, "one that was not found was sent with others again"


def test_a_worker_that_dies_after_half_of_a_batch_loses_and_doubles_nothing(world: World) -> None:
    class Killed(BaseException):
        pass

    operations = backlog(world, 6)
    done = {one.id for one in operations[:3]}

    def killed(one: Operation) -> Delivered:
        if one.id not in done:
            raise Killed
        return world.crm._created(one)

    world.crm.answers = killed
    with pytest.raises(Killed):
        attempt(world)
    assert all(is_leased(world, operation) for operation in operations)
    world.crm.answers = world.crm._created
    world.pass_time(world.crm.settle_seconds + LEASE + 90)
    assert world.states(operations) == {State.DELIVERED}
    assert len(world.crm.records) == 1 + len(operations)


def test_a_worker_that_dies_between_two_records_loses_and_doubles_nothing(world: World) -> None:
    operations = backlog(world, 6)
    record, recorded = world.ledger.record_delivered, list[str]()

    def dies(claim, *arguments):  # type: ignore[no-untyped-def]
        if len(recorded) == 3:
            raise KeyboardInterrupt
        recorded.append(claim.operation.id)
        return record(claim, *arguments)

    world.ledger.record_delivered = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        attempt(world)
    world.ledger.record_delivered = record  # type: ignore[method-assign]
    assert recorded == ids(operations[:3])
    world.pass_time(world.crm.settle_seconds + LEASE + 30)
    assert world.states(operations) == {State.DELIVERED}
    assert len(world.crm.records) == 1 + len(operations)


@pytest.mark.parametrize("error", [
    Unavailable("away", code=Code.CONNECTION_FAILED), RateLimited("slow down", retry_after=3.0), AuthFailed("401"),
    OutcomeUnknown("500", code=Code.SERVER_ERROR),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_a_failure_of_the_whole_batch_is_that_of_each(world: World, error: Exception) -> None:
    operations = backlog(world, 4)
    world.crm.trouble = lambda _operation: error
    attempt(world)
    assert world.states(operations) == {State.WAITING}
    assert {world.stored(one).events[-1].code for one in operations} == {error.code}  # type: ignore[attr-defined]
    assert not any(is_leased(world, operation) for operation in operations)
    world.crm.trouble = well
    world.pass_time(world.crm.settle_seconds + 60)
    assert world.states(operations) == {State.DELIVERED}


def test_a_batch_that_fails_is_one_failure_of_the_crm(world: World) -> None:
    operations = backlog(world, 10)
    world.crm.trouble = lambda _operation: Unavailable("away", code=Code.CONNECTION_FAILED)
    attempt(world)
    assert len(world.crm.batches[0]) == len(operations)
    assert world.ledger.gate(world.delivery.recipient).failures == 1


def test_a_provider_in_trouble_gets_one_at_a_time(world: World) -> None:
    """Its gate lets one operation through as a probe."""
    world.crm.trouble = lambda _operation: RateLimited("slow down", retry_after=5.0)
    operations = backlog(world, 1)
    world.work()
    operations += backlog(world, 3)
    world.crm.trouble = well
    world.pass_time(30)
    assert world.states(operations) == {State.DELIVERED}
    probe = list(world.crm.records)[1]
    assert not any(probe in batch for batch in world.crm.batches)


def test_a_batch_costs_the_requests_that_it_sends(world: World) -> None:
    world.use(Crm(world, rate=Rate(1, 20, 10), cost=2))
    world.crm.leads_at_once = 50
    world.use(world.crm)
    world.apply(999, inline=True)
    world.redis.hset(keys.gate("acme"), mapping={"tokens": 20, "tokens_at": world.now})
    operations = [world.apply(number) for number in range(FIRST)]
    attempt(world)
    assert world.states(operations) == {State.DELIVERED}
    assert float(world.redis.hget(keys.gate("acme"), "tokens") or 0) == 18
    assert world.redis.zcard(keys.slots("acme")) == 0


def test_a_backlog_keeps_the_limit_of_the_vendor(world: World) -> None:
    world.use(Crm(world, rate=Rate(2, 50, 10), cost=2))
    world.crm.leads_at_once = 50
    world.use(world.crm)
    world.apply(999, inline=True)
    operations = [world.apply(number) for number in range(300)]
    world.crm.sent.clear()
    begun = world.now
    world.pass_time(30)
    assert world.states(operations) == {State.DELIVERED}
    for second in range(30):
        sent = sum(at <= begun + second for at in world.crm.sent)
        assert sent <= 50 + 2 * second
    assert len(world.crm.sent) < 60


def test_a_later_task_continues_with_the_next_batch(world: World) -> None:
    operations = backlog(world, 3 * FIRST)
    message = world.redis.rpop(WAKE_LIST)
    assert isinstance(message, bytes)
    outcome = world.delivery.attempt(json.loads(message)["args"][0], more=lambda: True)
    rounds = 1
    while outcome.following:
        outcome, rounds = world.delivery.follow(outcome.following, more=lambda: True), rounds + 1
    assert world.states(operations) == {State.DELIVERED}
    assert rounds == len(world.crm.batches) == 2, "the second batch is larger"


@all_cases("number, seconds, lost, size", [
    (10, 0.1, False, 20), (10, 9.0, False, 5), (10, 0.1, True, 5), (10, 100.0, False, 2), (2, 0.001, False, 10),
])  # fmt: skip
def test_the_size_follows_what_the_crm_can_do(number: int, seconds: float, lost: bool, size: int) -> None:
    batch = BatchSize(50)
    batch.note(number, seconds, 15.0, lost=lost)
    assert batch.size == size


def test_the_size_ends_at_what_the_plugin_takes() -> None:
    batch = BatchSize(50)
    for _ in range(5):
        batch.note(batch.size, 0.01, 15.0, lost=False)
    assert (batch.size, batch.others) == (50, 49)

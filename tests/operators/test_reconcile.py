"""The comparison of receipts with the CRM: what is counted, what is a gap, and when nothing is asked."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from crmgate.errors import AuthFailed, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Operation, Rate, State, Suspicion
from crmgate.operators.comparison import RETRIES, CrmShut
from crmgate.operators.inventory import Inventory
from crmgate.operators.reconcile import DAY, PERIOD, Reconcile, Report
from crmgate.policy import DeliveryMode
from crmgate.store import keys
from crmgate.store.audit import Audit
from crmgate.store.gate import Cause
from crmgate.store.ledger import Ledger
from crmgate.store.reconciled import KeptPayloads, ReconcileBook
from crmgate.store.wakeups import wake_message
from tests.world import Crm, World

KEEP = 3600.0


class Office:
    """A gateway that keeps payloads for an hour, and its comparison."""

    def __init__(self, client: redis.Redis, keep: float = KEEP, **options: Any) -> None:
        self.world = World(Ledger(client, wake_message, keep=keep), client, **options)
        self.slept: list[float] = []
        self.heard: list[dict[str, Any]] = []
        self.world.listen = lambda hook, **arguments: self.heard.append(arguments) if "missing" in arguments else None
        self.book = ReconcileBook(client, self.world.ledger)
        self.reconcile = self.reconciling(self.world.crm)

    def reconciling(self, crm: Any) -> Reconcile:
        world = self.world
        return Reconcile(
            world.ledger, Inventory(world.redis), self.book, KeptPayloads(world.redis), crm, world.delivery.recipient,
            others=world.other.get, notify=world._hear, sleep=self._sleep,  # type: ignore[arg-type]
        )  # fmt: skip

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.world.now += seconds

    def delivered(self, count: int) -> list[Operation]:
        made = [self.world.apply(number, inline=True) for number in range(count)]
        self.world.pass_time(20)
        assert self.world.states(made) == {State.DELIVERED}
        return made

    def lose(self, *operations: Operation) -> None:
        for operation in operations:
            del self.world.crm.records[operation.id]

    def compare(self) -> Report:
        return self.reconcile.compare(self.world.now - PERIOD)

    def repair(self, report: Report) -> Report:
        return self.reconcile.repair(report, {gap.operation.id for gap in report.gaps}, "ada")


@pytest.fixture
def office(redis_client: redis.Redis) -> Office:
    return Office(redis_client)


def test_every_accepted_operation_is_counted_once(office: Office) -> None:
    world = office.world
    [kept, lost] = office.delivered(2)
    office.lose(lost)
    world.crm.trouble = lambda operation: Rejected("no") if operation else None
    dead = world.apply(3, inline=True)
    discarded = world.apply(4, inline=True)
    world.pass_time(1)
    world.gateway.discard(discarded.id, "a test")
    world.crm.trouble = lambda _: None
    world.gateway.submit(dead.kind, {"first_name": "Bot"}, inline=False, suspect=Suspicion.HONEYPOT)
    world.apply(5)
    world.now += 1
    report = office.compare()
    assert report.counts() == {
        "in_crm": 1, "missing": 1, "unsettled": 0, "other_crm": 0, "not_comparable": 0, "waiting": 1,
        "dead_letters": 1, "suspects": 1, "discarded": 1,
    }  # fmt: skip
    assert (report.accepted, report.checked) == (6, 2)
    [gap] = report.gaps
    assert gap.operation.id == lost.id
    facts = gap.to_json()
    assert (facts["tracking_code"], facts["lead_id"], facts["repairable"]) == (lost.tracking_code, "acme-2", True)
    assert kept.id in world.crm.records


def test_only_what_was_accepted_since_is_compared(office: Office) -> None:
    office.delivered(1)
    office.world.now += 600
    office.delivered(2)
    assert office.reconcile.compare(office.world.now - 60).accepted == 2
    assert office.reconcile.last() is None, "a comparison of a minute is not the last result"


def test_the_record_of_a_fresh_delivery_may_be_found_late(office: Office) -> None:
    fresh = office.world.apply(1, inline=True)
    office.lose(fresh)
    office.world.now += 1
    report = office.compare()
    assert (report.missing, report.unsettled, report.accepted) == (0, 1, 1)
    office.world.now += 10
    assert office.compare().missing == 1


class TestAnotherCrm:
    def test_is_asked_while_its_settings_exist(self, office: Office) -> None:
        [_, lost] = office.delivered(2)
        old = office.world.crm
        office.world.other["acme"] = old
        office.world.use(Crm(office.world, "other"))
        del old.records[lost.id]
        office.reconcile = office.reconciling(office.world.crm)
        report = office.compare()
        assert [gap.operation.id for gap in report.gaps] == [lost.id]
        office.repair(report)
        office.world.pass_time(30)
        assert office.world.crm.records == {lost.id: "other-1"}

    def test_without_settings_is_counted(self, office: Office) -> None:
        office.delivered(2)
        office.world.use(Crm(office.world, "other"))
        office.reconcile = office.reconciling(office.world.crm)
        report = office.compare()
        assert (report.other_crm, report.missing, report.accepted) == (2, 0, 2)


@pytest.mark.parametrize("mode", [DeliveryMode.IDEMPOTENT, DeliveryMode.AT_MOST_ONCE])
def test_a_destination_that_cannot_be_searched_is_not_asked(redis_client: redis.Redis, mode: DeliveryMode) -> None:
    office = Office(redis_client, mode=mode)
    office.delivered(2)
    asked = len(office.world.crm.sent)
    report = office.compare()
    assert (report.not_comparable, report.checked, report.missing, report.accepted) == (2, 0, 0, 2)
    assert len(office.world.crm.sent) == asked


class TestTheGate:
    def test_nothing_is_asked_while_it_is_shut(self, office: Office) -> None:
        office.delivered(2)
        office.world.delivery.pause()
        asked = len(office.world.crm.sent)
        with pytest.raises(CrmShut) as raised:
            office.compare()
        assert raised.value.cause is Cause.PAUSED
        assert len(office.world.crm.sent) == asked
        assert office.reconcile.last() is None

    def test_the_requests_count_against_the_limit_of_the_vendor(self, office: Office) -> None:
        office.delivered(120)
        office.world.crm.rate = Rate(0.5, 6, 3)
        office.world.use(office.world.crm)
        office.reconcile = office.reconciling(office.world.crm)
        began, asked = office.world.now, len(office.world.crm.sent)
        assert office.compare().in_crm == 120
        assert len(office.world.crm.sent) - asked == 3
        assert office.world.now - began == sum(office.slept) == pytest.approx(2.0)  # 4 + t / 2 >= 2 + 3


class TestACrmThatFails:
    def answers(self, office: Office, *errors: ProviderError) -> None:
        left = list(errors)
        office.world.crm.trouble = lambda _: left.pop(0) if left else None

    def test_is_asked_again(self, office: Office) -> None:
        office.delivered(2)
        self.answers(
            office, Unavailable("away"), RateLimited("slowly", retry_after=7.0), RateLimited("", retry_after=900)
        )
        assert office.compare().in_crm == 2
        assert office.slept == [1.0, 7.0, 60.0]

    def test_ends_the_comparison(self, office: Office) -> None:
        office.delivered(2)
        self.answers(office, *[Unavailable("away")] * (len(RETRIES) + 1))
        with pytest.raises(Unavailable):
            office.compare()
        assert office.slept == [*RETRIES]
        assert office.reconcile.last() is None

    def test_that_refuses_the_credentials_is_not_asked_again(self, office: Office) -> None:
        office.delivered(1)
        self.answers(office, AuthFailed("no"))
        with pytest.raises(AuthFailed):
            office.compare()
        assert office.slept == []


class TestRepair:
    def test_a_lost_operation_is_delivered_once_more(self, office: Office) -> None:
        [_, lost, _] = office.delivered(3)
        office.lose(lost)
        report = office.compare()
        left = office.repair(report)
        assert (left.missing, left.waiting) == (0, 1)
        stored = office.world.stored(lost)
        assert (stored.state, stored.payload["first_name"], stored.repairs) == (State.WAITING, "Test1", 1)
        assert (stored.events[-1].outcome, stored.events[-1].detail) == ("released", "the CRM no longer has its record")
        assert office.world.redis.ttl(keys.op(lost.id)) == -1
        assert office.repair(report).missing == 1, "the second repair of the same report changes nothing"
        office.world.pass_time(30)
        assert office.world.states([lost]) == {State.DELIVERED}
        assert office.compare().missing == 0
        assert 0 < office.world.redis.ttl(keys.op(lost.id)) <= keys.RECEIPT_SECONDS  # type: ignore[operator]
        [entry, *_] = Audit(office.world.redis).recent(5)
        assert (entry.who, entry.what, entry.on) == ("ada", "operations.repair", lost.id)
        assert entry.detail == "acme no longer has the record acme-2"
        assert office.world.ledger.stats()["repaired"] == 1

    def test_the_crm_is_searched_before_it_is_sent(self, office: Office) -> None:
        [lost] = office.delivered(1)
        office.lose(lost)
        report = office.compare()
        office.world.crm.records[lost.id] = "acme-restored"
        office.repair(report)
        office.world.pass_time(30)
        delivered = office.world.stored(lost).delivered
        assert delivered is not None
        assert (delivered.record_id, delivered.adopted) == ("acme-restored", True)

    def test_an_operation_without_its_payload_is_named_and_left(self, office: Office) -> None:
        [lost] = office.delivered(1)
        office.lose(lost)
        office.world.redis.delete(keys.kept(lost.id))
        report = office.compare()
        assert [gap.repairable for gap in report.gaps] == [False]
        assert office.repair(report).missing == 1
        assert office.world.states([lost]) == {State.DELIVERED}

    def test_an_operation_that_changed_since_is_left(self, office: Office) -> None:
        [lost] = office.delivered(1)
        office.lose(lost)
        report = office.compare()
        office.world.redis.hincrby(keys.op(lost.id), "version", 1)
        assert office.repair(report).missing == 1
        assert office.world.states([lost]) == {State.DELIVERED}

    def test_operations_of_one_person_keep_their_order(self, office: Office) -> None:
        world = office.world
        first = world.apply(1, session="s", inline=True, city="Ankara")
        world.now += 1
        second = world.apply(1, session="s", inline=True, city="Bursa")
        world.now += 20
        office.lose(first, second)
        world.crm.trouble = lambda _: None
        office.repair(office.compare())
        assert world.stored(second).behind == first.id
        world.pass_time(30)
        assert [*world.crm.records] == [first.id, second.id]
        assert world.stored(second).lead_id == world.crm.records[first.id]


class TestKeptPayloads:
    def test_redis_removes_them_in_time(self, office: Office) -> None:
        [operation] = office.delivered(1)
        assert 0 < office.world.redis.ttl(keys.kept(operation.id)) <= KEEP  # type: ignore[operator]
        assert office.world.redis.hget(keys.op(operation.id), "payload") is None

    def test_nothing_is_kept_without_the_setting(self, redis_client: redis.Redis) -> None:
        office = Office(redis_client, keep=0.0)
        [operation] = office.delivered(1)
        assert redis_client.exists(keys.kept(operation.id)) == 0


class TestTheDailyRun:
    def test_is_due_once_a_day(self, office: Office) -> None:
        office.delivered(1)
        assert office.reconcile.is_due()
        assert office.reconcile.daily("w1") is not None
        fresh = office.reconciling(office.world.crm)
        assert not fresh.is_due()
        office.world.now += DAY
        assert not fresh.is_due(), "Redis is not asked with each pulse"
        assert office.reconciling(office.world.crm).is_due()

    def test_is_made_by_one_worker(self, office: Office) -> None:
        assert office.book.begin("w2")
        assert office.reconcile.daily("w1") is None
        office.book.end()
        assert office.reconcile.daily("w1") is not None
        assert office.book.begin("w2"), "the mark is removed"

    def test_that_fails_is_tried_again_when_its_mark_has_expired(self, office: Office) -> None:
        office.delivered(1)
        office.world.delivery.pause()
        with pytest.raises(CrmShut):
            office.reconcile.daily("w1")
        office.world.delivery.resume()
        assert office.reconcile.daily("w1") is None
        assert 0 < office.world.redis.ttl(keys.RECONCILING) <= keys.RECONCILING_SECONDS  # type: ignore[operator]

    def test_reports_each_gap_once(self, office: Office) -> None:
        [first, second, _] = office.delivered(3)
        office.reconcile.daily("w1")
        assert office.heard == []
        office.lose(first)
        office.reconcile.daily("w1")
        office.reconcile.daily("w1")
        office.lose(second)
        office.reconcile.daily("w1")
        assert office.heard == [
            {"missing": 1, "checked": 3, "operations": [first.id]},
            {"missing": 2, "checked": 3, "operations": [second.id]},
        ]

"""While Redis does not answer, the gateway reports success only after a confirmation of the CRM."""

from __future__ import annotations

import pytest
import redis

from crmgate.delivery.gateway import REPEATS_SETTLE
from crmgate.errors import LedgerUnavailable, NotAccepted
from crmgate.model import Delivered, Kind, State
from crmgate.policy import Done
from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.delivery.scripted import ScriptedCrm, down
from tests.world import PLAN, World


@pytest.fixture
def world(ledger: Ledger, redis_client: redis.Redis) -> World:
    return World(ledger, redis_client, ScriptedCrm())


@pytest.fixture
def away(redis_client: redis.Redis) -> World:
    """A gateway whose Redis does not answer."""
    return World(Ledger(connect("redis://127.0.0.1:1/0", 0.2), wake_message), redis_client, ScriptedCrm())


def test_without_redis_a_confirmed_delivery_is_a_success(away: World, caplog: pytest.LogCaptureFixture) -> None:
    operation = away.apply(inline=True)
    assert operation.state == State.DELIVERED
    assert "the ledger is unavailable" in caplog.text
    assert "delivered without a record" in caplog.text


def test_without_redis_and_crm_the_submission_is_refused(away: World, caplog: pytest.LogCaptureFixture) -> None:
    away.crm.answers = [down()]
    with pytest.raises(NotAccepted) as refused:
        away.apply(inline=True)
    assert refused.value.retry_after > 0
    assert "the ledger is unavailable" in caplog.text
    assert "connection_failed" in caplog.text
    assert "test0@example.com" not in caplog.text


def test_without_redis_a_queued_submission_is_tried_at_once(away: World) -> None:
    assert away.apply(inline=False).state == State.DELIVERED


class TestRepeatedWithoutRedis:
    """A sender with an idempotency key repeats its request. An earlier one may be stored or still running."""

    @pytest.mark.parametrize("inline", [True, False])
    def test_nothing_is_sent_while_the_crm_may_process_an_earlier_request(self, away: World, inline: bool) -> None:
        for _ in range(3):
            with pytest.raises(LedgerUnavailable):
                away.apply(inline=inline, key="k")
            away.now += 9
        assert away.crm.calls == []

    def test_it_is_sent_while_redis_stays_unavailable(self, away: World) -> None:
        with pytest.raises(LedgerUnavailable):
            away.apply(inline=True, key="k")
        away.now += REPEATS_SETTLE
        assert away.apply(inline=True, key="k").state == State.DELIVERED

    def test_the_wait_starts_again_after_a_long_silence(self, away: World) -> None:
        """Redis may have been there meanwhile, and have recorded something by another process."""
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                away.apply(inline=True, key="k")
            away.now += REPEATS_SETTLE + 1
        assert away.crm.calls == []

    def test_the_wait_starts_again_with_each_outage(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def unavailable(*_: object, **__: object) -> None:
            raise LedgerUnavailable("away", refused=True)

        with monkeypatch.context() as patch:
            patch.setattr(world.ledger, "accept", unavailable)
            with pytest.raises(LedgerUnavailable):
                world.apply(inline=True, key="k")
        world.now += REPEATS_SETTLE
        world.apply(inline=False)
        monkeypatch.setattr(world.ledger, "accept", unavailable)
        with pytest.raises(LedgerUnavailable):
            world.apply(inline=True, key="k")
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
    operation = world.apply(inline=True)
    assert operation.state == State.DELIVERED
    assert "could not be recorded" in caplog.text
    world.delivery._ledger, world.crm.during = good, lambda: None
    world.crm.found = Delivered("scripted", f"record-{operation.id}", adopted=True)
    world.now += PLAN.inline_budget + 6
    assert isinstance(world.delivery.attempt(operation.id).verdict, Done)
    assert [call for call, _ in world.crm.calls] == ["deliver", "find"]


def test_without_the_last_resort_nothing_is_sent_unrecorded(away: World) -> None:
    with pytest.raises(LedgerUnavailable):
        away.gateway.submit(Kind.CREATE_MINIMAL_LEAD, {}, inline=False, last_resort=False)
    assert away.crm.calls == []
    assert away.hooks_called == []

"""A provider's gate: outages, refused credentials, limits, and dead letters that return by themselves."""

from __future__ import annotations

import itertools
import json
import time

import pytest
import redis

from crmgate.errors import Code, OutcomeUnknown, OutOfTime, ProviderError, RateLimited, Unavailable
from crmgate.model import Kind, Operation, Rate, State, Suspicion
from crmgate.store.entries import Claim
from crmgate.store.gate import Cause
from crmgate.store.keys import WAKE_LIST
from crmgate.store.ledger import Ledger
from tests.world import START, Crm, World, away, refused, well

BOT = Suspicion.FAST


class TestCircuitBreaker:
    def test_after_five_failures_nothing_is_sent(self, world: World) -> None:
        world.crm.trouble = away
        operations = [world.apply(number, inline=True) for number in range(12)]
        assert len(world.crm.sent) == 5
        assert world.states(operations) == {State.WAITING}
        assert [len(world.stored(operation).events) for operation in operations] == [1] * 5 + [0] * 7
        assert world.ledger.gate(world.delivery.recipient).cause == "outage"
        assert world.hooks_called.count("provider_paused") == 1

    @pytest.mark.parametrize(
        "error",
        [
            Unavailable("503", code=Code.MAINTENANCE),
            OutcomeUnknown("no answer", code=Code.TIMEOUT),
            OutcomeUnknown("500", code=Code.SERVER_ERROR),
        ],
        ids=lambda error: error.code,
    )
    def test_every_sign_of_absence_counts(self, world: World, error: ProviderError) -> None:
        world.crm.trouble = lambda _: error
        for number in range(6):
            world.apply(number, inline=True)
        assert len(world.crm.sent) == 5

    @pytest.mark.parametrize(
        "error",
        [
            OutcomeUnknown("the plugin", code=Code.PLUGIN_BUG),
            OutOfTime("too little time"),
        ],
        ids=lambda error: error.code,
    )
    def test_what_says_nothing_about_the_crm_does_not_count(self, world: World, error: ProviderError) -> None:
        world.crm.trouble = lambda _: error
        for number in range(8):
            world.apply(number, inline=True)
        assert len(world.crm.sent) == 8
        assert world.ledger.gate(world.delivery.recipient).cause is None

    def test_a_success_in_between_resets_the_count(self, world: World) -> None:
        for round_ in range(3):
            world.crm.trouble = away
            for number in range(4):
                world.apply(10 * round_ + number, inline=True)
            world.crm.trouble = well
            assert world.apply(10 * round_ + 9, inline=True).state == State.DELIVERED
        assert world.hooks_called.count("provider_paused") == 0

    def test_the_probe_asks_every_5_s_then_every_15_s_and_opens_the_gate(self, world: World) -> None:
        world.crm.trouble = away
        operations = [world.apply(number, inline=True) for number in range(20)]
        begun = world.now
        world.pass_time(160)
        waits = [later - earlier for earlier, later in itertools.pairwise(world.crm.probes)]
        young = sum(at < begun + 60 for at in world.crm.probes)
        assert len(world.crm.sent) == 5 + len(world.crm.probes), "nothing but probes is sent"
        assert all(5 <= wait <= 7.5 for wait in waits[: young - 1])
        assert all(15 <= wait <= 17.5 for wait in waits[young:])
        assert young >= 8
        assert len(waits[young:]) >= 4
        assert world.states(operations) == {State.WAITING}, "no attempt is used up: nothing died"
        world.crm.trouble = well
        back = world.now
        world.pass_time(20)
        assert world.states(operations) == {State.DELIVERED}
        assert world.crm.sent[-1] - back <= 18
        assert world.hooks_called.count("provider_recovered") == 1

    def test_after_an_outage_it_begins_with_one_at_a_time(self, world: World) -> None:
        """The first that is delivered lets two go, the second three."""
        world.apply(98, inline=True)  # credentials that work are tried by all at once
        world.crm.trouble = away
        for number in range(20):
            world.apply(number, inline=True)
        world.pass_time(14)
        world.crm.trouble = well
        assert world.delivery.probe("acme")
        to = world.delivery.recipient
        ids = [member.decode() for member in world.redis.zrange("{crmgate}:held:acme", 0, -1)]  # type: ignore[union-attr]

        def claims() -> list[Claim]:
            found = (world.ledger.claim(one, to, one, seconds=9) for one in ids)
            return [claim for claim in found if isinstance(claim, Claim)]

        [first] = claims()
        world.delivery.attempt_claimed(first, to, time.monotonic() + 5, wake=False)
        second, third = claims()
        world.delivery.attempt_claimed(second, to, time.monotonic() + 5, wake=False)
        under_way = claims()
        assert third.operation.id in {claim.operation.id for claim in under_way}
        assert len(under_way) == 3

    def test_a_retry_goes_as_soon_as_another_one_is_delivered(self, world: World) -> None:
        """Neither its own time nor a sweep has to come."""
        world.apply(0, inline=True)
        world.crm.trouble = away
        late = world.apply(1, inline=True)
        assert late.state == State.WAITING
        world.crm.trouble = well
        world.apply(2, inline=True)
        message = world._message()
        assert message
        world._deliver(json.loads(message)["args"][0])
        assert world.stored(late).state == State.DELIVERED

    def test_a_delivery_that_was_under_way_opens_it_too(self, world: World) -> None:
        world.apply(99, inline=True)  # credentials that work are tried by all at once
        slow = world.apply(0)
        claim = world.delivery._claim(slow.id, world.delivery.recipient)
        world.crm.trouble = away
        for number in range(1, 9):
            world.apply(number, inline=True)
        assert world.ledger.gate(world.delivery.recipient).cause is Cause.OUTAGE
        world.crm.trouble = well
        world.delivery.attempt_claimed(claim, world.delivery.recipient, time.monotonic() + 5, wake=False)  # type: ignore[arg-type]
        assert world.ledger.gate(world.delivery.recipient).cause is None

    def test_an_outage_of_one_crm_does_not_shut_another(self, world: World) -> None:
        world.crm.trouble = away
        for number in range(6):
            world.apply(number, inline=True)
        world.use(Crm(world, "other"))
        assert world.apply(7, inline=True).state == State.DELIVERED

    def test_retries_do_not_wait_once_the_crm_works(self, world: World) -> None:
        """An attempt of another operation shows that it is back: the long wait of the third retry is cut short."""
        world.crm.trouble = away
        waiting = world.apply(0, inline=True)
        world.pass_time(10)
        assert len(world.stored(waiting).events) == 3
        world.crm.trouble = well
        assert world.apply(1, inline=True).state == State.DELIVERED
        world.pass_time(3)
        assert world.stored(waiting).state == State.DELIVERED

    def test_what_the_crm_asked_for_is_waited_for(self, world: World) -> None:
        world.crm.trouble = lambda _: Unavailable("maintenance", code=Code.MAINTENANCE, retry_after=120)
        waiting = world.apply(0, inline=True)
        world.crm.trouble = well
        world.apply(1, inline=True)
        world.pass_time(115)
        assert world.stored(waiting).state == State.WAITING
        world.pass_time(10)
        assert world.stored(waiting).state == State.DELIVERED

    def test_that_holds_for_those_that_shut_the_gate_too(self, world: World) -> None:
        world.crm.trouble = lambda _: Unavailable("maintenance", code=Code.MAINTENANCE, retry_after=120)
        operations = [world.apply(number, inline=True) for number in range(7)]
        assert world.ledger.gate(world.delivery.recipient).cause == "outage"
        world.crm.trouble = well
        world.pass_time(100)
        states = [world.stored(operation).state for operation in operations]
        assert states == [State.WAITING] * 5 + [State.DELIVERED] * 2
        world.pass_time(30)
        assert world.states(operations) == {State.DELIVERED}


class TestRefusedCredentials:
    def test_an_hour_of_them_costs_one_alert_and_no_dead_letter(self, world: World) -> None:
        world.apply(0, inline=True)
        world.crm.trouble = refused
        operations = []
        before = len(world.crm.sent)
        for number in range(1, 61):
            operations.append(world.apply(number, inline=True))
            world.pass_time(60, step=2)
        first, *tests = world.crm.sent[before:]
        assert tests == world.crm.probes, "nothing but the connection test is sent after the first operation"
        assert 60 <= len(tests) <= 121, "one test every 30 s"
        assert all(later - earlier >= 30 for earlier, later in itertools.pairwise(tests))
        assert tests[0] - first <= 2, "the first refusal is confirmed at once"
        assert world.ledger.stats().get("dead", 0) == 0
        assert world.hooks_called.count("provider_paused") == 1
        world.crm.trouble = well
        world.pass_time(40)
        assert world.states(operations) == {State.DELIVERED}
        assert world.hooks_called.count("provider_recovered") == 1

    def test_other_credentials_are_tried_at_once_and_by_one(self, world: World) -> None:
        world.crm.trouble = refused
        operations = [world.apply(number, inline=True) for number in range(10)]
        world.pass_time(3)
        repaired = Crm(world)
        repaired.credentials = "c2"
        repaired.trouble = refused
        world.use(repaired)
        world.pass_time(10)
        assert len(repaired.sent) - len(repaired.probes) == 1, "wrong again"
        repaired = Crm(world)
        repaired.credentials = "c3"
        world.use(repaired)
        world.pass_time(3)
        assert world.states(operations) == {State.DELIVERED}

    def test_resume_asks_at_once(self, world: World) -> None:
        world.crm.trouble = refused
        operations = [world.apply(number, inline=True) for number in range(3)]
        world.pass_time(5)
        world.crm.trouble = well
        assert world.delivery.resume() == "refused"
        world.pass_time(1)
        assert world.states(operations) == {State.DELIVERED}
        assert world.delivery.resume() is None

    def test_resume_ends_an_outage_at_the_next_sweep(self, world: World) -> None:
        world.crm.trouble = away
        operations = [world.apply(number, inline=True) for number in range(7)]
        world.pass_time(3)
        world.crm.trouble = well
        assert world.delivery.resume() == "outage"
        world.pass_time(3)
        assert world.states(operations) == {State.DELIVERED}

    def test_a_crm_that_returns_with_other_credentials_is_asked_every_30_s(self, world: World) -> None:
        world.crm.trouble = away
        operations = [world.apply(number, inline=True) for number in range(7)]
        world.pass_time(20)
        world.crm.trouble = refused
        world.pass_time(20)
        before, begun = len(world.crm.sent), world.now
        world.pass_time(300)
        assert 9 <= len(world.crm.sent) - before <= 11, f"{world.crm.sent[before:]} since {begun}"
        world.crm.trouble = well
        world.pass_time(40)
        assert world.states(operations) == {State.DELIVERED}


class TestLimits:
    def test_no_more_than_the_limit_are_under_way(self, world: World) -> None:
        world.apply(99, inline=True)
        running: list[int] = []

        def nested(operation: Operation | None) -> None:
            """While one is under way another one is tried, and so on."""
            running.append(1)
            world.apply(len(running), inline=True)

        world.crm.trouble = nested  # type: ignore[assignment]
        world.apply(0, inline=True)
        assert len(running) == 4
        world.crm.trouble = well
        world.pass_time(1)
        assert len(world.crm.records) == 6, "what found no room went as soon as there was some"

    def test_no_more_are_woken_than_find_room(self, world: World) -> None:
        world.apply(99, inline=True)
        for number in range(20):
            world.apply(number)
        assert world.redis.llen(WAKE_LIST) == 4
        world.pass_time(1)
        assert len(world.crm.records) == 21

    def test_an_attempt_that_nobody_finished_gives_its_room_back(self, world: World) -> None:
        world.apply(99, inline=True)
        for number in range(4):
            world.delivery._claim(world.apply(number).id, world.delivery.recipient)
        late = world.apply(5, inline=True)
        assert late.state == State.WAITING
        world.pass_time(12)
        assert world.stored(late).state == State.DELIVERED
        assert len(world.crm.records) == 6

    def test_the_rate_of_the_vendor_is_kept(self, ledger: Ledger, redis_client: redis.Redis) -> None:
        world = World(ledger, redis_client, rate=Rate(2, 50, 10), cost=3)
        operations = [world.apply(number) for number in range(100)]
        world.pass_time(200)
        assert world.states(operations) == {State.DELIVERED}
        sent = [at - START for at in world.crm.sent]
        assert len(sent) == 300
        for index, at in enumerate(sent):
            burst = sum(1 for other in sent[: index + 1] if other >= at - 10)
            assert burst <= 50 + 2 * 10
        assert sent[-1] <= (300 - 50) / 2 + 25, "and used up"

    def test_the_crm_saying_too_many_empties_the_bucket(self, ledger: Ledger, redis_client: redis.Redis) -> None:
        world = World(ledger, redis_client, rate=Rate(2, 50, 10), cost=1)
        world.crm.trouble = lambda _: RateLimited("slow down", retry_after=3)
        world.apply(0, inline=True)
        world.crm.trouble = well
        assert world.apply(1, inline=True).state == State.WAITING
        world.pass_time(12)
        assert len(world.crm.records) == 2


class TestSuspects:
    def test_nothing_is_sent_of_one_until_a_person_releases_it(self, world: World) -> None:
        suspect = world.gateway.submit(Kind.CREATE_LEAD, {"email": "bot@example.com"}, inline=True, suspect=BOT)
        world.pass_time(120, step=5)
        assert (world.stored(suspect).state, world.crm.sent, world.hooks_called) == (State.SUSPECT, [], [])
        assert world._deliver(suspect.id).reason == "suspect"
        assert world.gateway.release(suspect.id)
        world.pass_time(5)
        assert world.stored(suspect).state == State.DELIVERED

    def test_one_can_be_discarded(self, world: World) -> None:
        suspect = world.gateway.submit(Kind.CREATE_LEAD, {"email": "bot@example.com"}, inline=True, suspect=BOT)
        assert world.gateway.discard(suspect.id, "spam")
        assert world.redis.zcard("{crmgate}:suspect") == 0
        assert (world.stored(suspect).state, world.stored(suspect).payload) == (State.DISCARDED, {})

    def test_a_flood_of_them_is_bounded_and_the_oldest_are_dropped(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("crmgate.delivery.gateway.SUSPECTS_KEPT", 3)
        lead = world.apply(1)
        suspects = []
        for number in range(5):
            world.now += 1
            payload = {"email": f"bot{number}@example.com"}
            suspects.append(world.gateway.submit(Kind.CREATE_LEAD, payload, inline=True, suspect=BOT))
        assert [world.stored(each).state for each in suspects] == [State.DISCARDED] * 2 + [State.SUSPECT] * 3
        assert world.stored(suspects[0]).payload == {}
        assert world.stored(suspects[0]).events[-1].detail == "more suspects came than are kept"
        assert 0 < world.redis.ttl(f"{{crmgate}}:op:{suspects[0].id}") <= 3600
        assert world.ledger.stats()["suspects_dropped"] == 2
        assert world.stored(lead).state == State.ACCEPTED, "only suspects are dropped"
        assert world.gateway.release(suspects[4].id)

    def test_it_holds_nobody_of_its_session_up(self, world: World) -> None:
        payload = {"email": "bot@example.com", "session": "s1"}
        world.gateway.submit(Kind.CREATE_LEAD, payload, inline=True, suspect=BOT)
        assert world.click("s1", inline=True).state == State.DELIVERED

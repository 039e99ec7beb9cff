"""One person, one lead, in order: the operations of a session wait for each other."""

from __future__ import annotations

import itertools
import threading

import pytest

from crmgate.errors import Code, OutcomeUnknown, ProviderError, Rejected, Unavailable
from crmgate.model import Delivered, Kind, Operation, State, Suspicion
from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests.processes import RedisProcess
from tests.world import Crm, World

BOT = Suspicion.FAST


def away(_operation: Operation | None) -> ProviderError:
    return Unavailable("no connection", code=Code.CONNECTION_FAILED)


def well(_operation: Operation | None) -> None:
    return None


def delivered(world: World) -> list[str]:
    """The kinds in the order in which the CRM got them."""
    return [world.stored(operation).kind for operation in world.crm.records]


def test_clicks_and_an_application_of_a_session_make_one_lead(world: World) -> None:
    first = world.click("s1", inline=True)
    second = world.click("s1", inline=True)
    application = world.apply(1, session="s1", inline=True)
    last = world.click("s1", inline=True)
    kinds = [operation.kind for operation in (first, second, application, last)]
    assert kinds == [Kind.CREATE_MINIMAL_LEAD, Kind.LOG_ACTIVITY, Kind.UPDATE_LEAD, Kind.LOG_ACTIVITY]
    assert {*world.crm.records.values()} == {"acme-1"}


def test_clicks_without_a_session_stand_alone(world: World) -> None:
    assert {world.click(inline=True).kind for _ in range(2)} == {Kind.CREATE_MINIMAL_LEAD}
    assert len({*world.crm.records.values()}) == 2


def test_another_session_gets_another_lead(world: World) -> None:
    world.click("s1", inline=True)
    assert world.click("s2", inline=True).kind == Kind.CREATE_MINIMAL_LEAD


def test_the_same_person_applying_again_updates_their_lead(world: World) -> None:
    world.apply(1, session="s1", inline=True)
    assert world.apply(1, session="s1", inline=True, budget="5000").kind == Kind.UPDATE_LEAD


def test_somebody_else_at_the_same_computer_gets_a_lead_of_their_own(world: World) -> None:
    world.click("s1", inline=True)
    assert world.apply(1, session="s1", inline=True).kind == Kind.UPDATE_LEAD
    sister = world.apply(2, session="s1", inline=True)
    assert sister.kind == Kind.CREATE_LEAD
    again = world.click("s1", inline=True)
    assert (again.kind, world.crm.records[again.id]) == (Kind.LOG_ACTIVITY, "acme-1"), "the session stays the first's"
    for _ in range(2):
        later = world.apply(2, session="s1", inline=True)
        assert (later.kind, world.crm.records[later.id]) == (Kind.UPDATE_LEAD, world.crm.records[sister.id])
    first = world.apply(1, session="s1", inline=True)
    assert (first.kind, world.crm.records[first.id]) == (Kind.UPDATE_LEAD, "acme-1")


def test_released_suspects_of_a_session_are_about_its_lead(world: World) -> None:
    lead = world.crm.records[world.apply(1, session="s1", inline=True).id]
    click = {"channel": "telegram", "session": "s1"}
    clicks = [world.gateway.submit(Kind.CREATE_MINIMAL_LEAD, click, inline=False, suspect=BOT) for _ in range(2)]
    people = [
        world.gateway.submit(Kind.CREATE_LEAD, {"email": email, "session": "s1"}, inline=False, suspect=BOT)
        for email in ("test1@example.com", "test2@example.com")
    ]
    for suspect in (*clicks, *people):
        assert world.gateway.release(suspect.id)
    world.pass_time(1)
    kinds = [world.stored(suspect).kind for suspect in (*clicks, *people)]
    assert kinds == [Kind.LOG_ACTIVITY, Kind.LOG_ACTIVITY, Kind.UPDATE_LEAD, Kind.CREATE_LEAD]
    assert {world.crm.records[suspect.id] for suspect in (*clicks, people[0])} == {lead}


def test_two_people_among_released_suspects_do_not_share_the_lead_of_a_click(world: World) -> None:
    lead = world.crm.records[world.click("s1", inline=True).id]
    for number in (1, 2):
        payload = {"email": f"test{number}@example.com", "session": "s1"}
        world.gateway.release(world.gateway.submit(Kind.CREATE_LEAD, payload, inline=False, suspect=BOT).id)
    world.pass_time(1)
    later = [world.apply(number, session="s1", inline=True) for number in (1, 2)]
    assert delivered(world)[1:3] == [Kind.UPDATE_LEAD, Kind.CREATE_LEAD]
    assert [world.crm.records[operation.id] == lead for operation in later] == [True, False]


def test_the_lead_that_a_later_click_makes_for_an_application_is_of_nobody_else(world: World) -> None:
    world.apply(99, inline=True)
    first = world.click("s1")
    world.crm.trouble = lambda operation: Rejected("no") if operation and operation.id == first.id else None
    click, application = world.click("s1", page="b"), world.apply(1, session="s1")
    world.pass_time(1)
    assert world.stored(click).kind == Kind.CREATE_MINIMAL_LEAD
    other = world.apply(2, session="s1", inline=True)
    assert world.crm.records[application.id] == world.crm.records[click.id] != world.crm.records[other.id]


def test_a_person_who_applies_after_a_discard_does_not_join_those_who_wait(world: World) -> None:
    world.apply(99, inline=True)
    world.crm.trouble = away
    discarded, waiting = world.apply(1, session="s1"), world.apply(1, session="s1", city="Ankara")
    world.gateway.discard(discarded.id, "test")
    other = world.apply(2, session="s1")
    world.crm.trouble = well
    world.pass_time(30)
    assert world.states([waiting, other]) == {State.DELIVERED}
    assert world.crm.records[waiting.id] != world.crm.records[other.id]


@pytest.mark.parametrize("inline", [True, False], ids=["delivered", "waiting"])
def test_an_application_needs_an_email_or_phone_of_the_sessions_person(world: World, inline: bool) -> None:
    world.apply(99, inline=True)
    world.apply(1, session="s1", phone="+905321234567", inline=inline)
    same = [{"phone": "+905321234567"}, {"email": "TEST1@example.com"}, {"phone": "+905321234567", "email": "n@x.org"}]
    for more in same:
        assert world.apply(5, session="s1", inline=inline, **more).kind == Kind.UPDATE_LEAD
    assert world.apply(6, session="s1", inline=inline, email="n@x.org").kind == Kind.UPDATE_LEAD, "known by now"
    assert world.apply(7, session="s1", inline=inline).kind == Kind.CREATE_LEAD


def test_further_addresses_do_not_remove_the_person_of_a_session(world: World) -> None:
    """Somebody who knows session and phone adds addresses without end: the first ones stay."""
    world.apply(1, session="s1", phone="+905321234567", inline=True)
    for number in range(20, 40):
        assert world.apply(number, session="s1", phone="+905321234567", inline=True).kind == Kind.UPDATE_LEAD
    own = world.apply(1, session="s1", inline=True)
    assert (own.kind, world.crm.records[own.id]) == (Kind.UPDATE_LEAD, "acme-1")
    assert len(world.redis.hget(keys.session(keys.digest("session s1")), "who")) < 400  # type: ignore[arg-type]


def test_a_lead_that_was_discarded_leaves_nobody_in_the_session(world: World) -> None:
    world.apply(99, inline=True)
    world.crm.trouble = lambda _: Rejected("no such option")
    letter = world.apply(1, session="s1")
    world.pass_time(3)
    world.crm.trouble = well
    world.gateway.discard(letter.id, "spam")
    other = world.apply(2, session="s1", inline=True)
    assert other.kind == Kind.CREATE_LEAD
    first = world.apply(1, session="s1", inline=True)
    assert (first.kind, world.crm.records[first.id]) == (Kind.CREATE_LEAD, "acme-3")


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))], ids=str)
def test_they_reach_the_crm_in_the_order_of_their_acceptance(world: World, order: tuple[int, ...]) -> None:
    """The order in which the worker is woken does not matter."""
    world.apply(99, inline=True)
    operations = [
        world.click("s1"),
        world.click("s1", page="b"),
        world.apply(1, session="s1"),
        world.click("s1", page="c"),
    ]
    for number in order:
        world._deliver(operations[number].id)
    world.pass_time(3)
    assert [*world.crm.records][1:] == [operation.id for operation in operations]
    assert len({*world.crm.records.values()}) == 2


def test_an_outage_does_not_change_the_order(world: World) -> None:
    world.crm.trouble = away
    sessions = [f"s{number}" for number in range(10)]
    operations = {
        session: [
            world.click(session, inline=True),
            world.apply(number, session=session, inline=True),
            world.click(session, inline=True, page="b"),
        ]
        for number, session in enumerate(sessions)
    }
    world.pass_time(120)
    world.crm.trouble = well
    world.pass_time(60)
    order = [*world.crm.records]
    for session in sessions:
        places = [order.index(operation.id) for operation in operations[session]]
        assert places == sorted(places)
    assert len({*world.crm.records.values()}) == 10


def test_two_clicks_at_the_same_moment_make_one_lead(world: World, redis_process: RedisProcess) -> None:
    clients = [connect(redis_process.url) for _ in range(8)]
    others = [World(Ledger(client, wake_message), client) for client in clients]
    barrier = threading.Barrier(len(others))

    def click(number: int) -> None:
        barrier.wait()
        others[number].click("s1", page=str(number))

    threads = [threading.Thread(target=click, args=(number,)) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    world.pass_time(5)
    assert delivered(world) == [Kind.CREATE_MINIMAL_LEAD] + [Kind.LOG_ACTIVITY] * 7
    assert {*world.crm.records.values()} == {"acme-1"}


class TestADeadOne:
    """The first of a session is a dead letter: it holds nobody back, and the next one makes the lead."""

    @pytest.fixture
    def letter(self, world: World) -> Operation:
        world.apply(99, inline=True)
        world.crm.trouble = lambda operation: Rejected("no such option") if operation else None
        letter = world.click("s1", inline=True)
        world.pass_time(3)
        assert world.stored(letter).state == State.DEAD
        world.crm.trouble = well
        return letter

    def test_a_later_one_makes_the_lead_at_once(self, world: World, letter: Operation) -> None:
        application = world.apply(1, session="s1", inline=True)
        click = world.click("s1", inline=True)
        assert [(one.kind, one.state) for one in (application, click)] == [
            (Kind.CREATE_LEAD, State.DELIVERED), (Kind.LOG_ACTIVITY, State.DELIVERED),
        ]  # fmt: skip
        assert world.crm.records[click.id] == world.crm.records[application.id]

    def test_operations_that_waited_for_it_continue(self, world: World) -> None:
        world.apply(99, inline=True)
        first, click, application = world.click("s1"), world.click("s1", page="b"), world.apply(1, session="s1")
        world.crm.trouble = lambda operation: Rejected("no") if operation and operation.id == first.id else None
        world.pass_time(1)
        assert world.states([first, click, application]) == {State.DEAD, State.DELIVERED}
        assert delivered(world)[1:] == [Kind.CREATE_MINIMAL_LEAD, Kind.UPDATE_LEAD]
        assert world.crm.records[click.id] == world.crm.records[application.id]

    @pytest.mark.parametrize("later", ["click", "application"])
    def test_a_retry_finds_the_lead_that_was_made_meanwhile(self, world: World, letter: Operation, later: str) -> None:
        second = world.click("s1", page="b") if later == "click" else world.apply(1, session="s1")
        world.pass_time(1)
        world.gateway.release(letter.id)
        world.pass_time(3)
        assert (world.stored(letter).kind, world.stored(letter).state) == (Kind.LOG_ACTIVITY, State.DELIVERED)
        assert world.crm.records[letter.id] == world.crm.records[second.id]

    def test_a_lead_that_it_had_made_after_all_is_adopted(self, world: World, letter: Operation) -> None:
        """A refusal may come after the record was stored. It is not logged on the other lead as well."""
        application = world.apply(1, session="s1", inline=True)
        world.crm.records[letter.id], find = "acme-of-the-click", world.crm.find
        world.crm.find = lambda operation, budget: (  # type: ignore[method-assign]
            find(operation, budget) if operation.kind == Kind.CREATE_MINIMAL_LEAD else None
        )
        world.gateway.release(letter.id)
        world.pass_time(3)
        assert world.stored(letter).delivered == Delivered("acme", "acme-of-the-click", adopted=True)
        assert world.click("s1", inline=True).delivered.record_id == world.crm.records[application.id]  # type: ignore[union-attr]

    def test_the_lead_of_another_person_stays_unchanged(self, world: World) -> None:
        """Two people applied from one browser, and the first application is a dead letter for a while."""
        world.apply(99, inline=True)
        world.crm.trouble = lambda _: Rejected("no such option")
        letter = world.apply(1, session="s1")
        world.pass_time(3)
        world.crm.trouble = well
        sister = world.apply(2, session="s1", inline=True)
        world.gateway.release(letter.id)
        world.pass_time(3)
        assert world.stored(letter).kind == Kind.CREATE_LEAD
        assert world.crm.records[letter.id] != world.crm.records[sister.id]

    def test_discarding_it_changes_nothing_for_the_others(self, world: World, letter: Operation) -> None:
        application = world.apply(1, session="s1", inline=True)
        world.gateway.discard(letter.id, "spam")
        assert world.click("s1", inline=True).delivered.record_id == world.crm.records[application.id]  # type: ignore[union-attr]

    def test_a_crm_that_logs_no_activities_gets_a_lead_by_the_next_click(self, world: World, letter: Operation) -> None:
        """There later clicks are the first one's repetitions, once it has made the lead."""
        world.crm.kinds.remove(Kind.LOG_ACTIVITY)
        later = world.click("s1", inline=True)
        assert (later.kind, later.state) == (Kind.CREATE_MINIMAL_LEAD, State.DELIVERED)
        assert world.click("s1", page="b").id == later.id


def test_discarding_one_that_waits_lets_those_after_it_wait_for_those_before(world: World) -> None:
    world.crm.trouble = away
    first = world.click("s1", inline=True)
    second, third = world.click("s1", page="b"), world.apply(1, session="s1")
    world.gateway.discard(second.id, "a test")
    assert world.stored(third).behind == first.id
    world.crm.trouble = well
    world.pass_time(30)
    assert delivered(world) == [Kind.CREATE_MINIMAL_LEAD, Kind.UPDATE_LEAD]


def test_a_follower_whose_wakeup_was_lost_is_found(world: World) -> None:
    first, second = world.click("s1"), world.click("s1", page="b")
    world._deliver(first.id)
    world.redis.delete("{crmgate}:huey:queue")
    world.pass_time(10)
    assert world.stored(second).state == State.DELIVERED


def test_a_lead_whose_creation_is_in_doubt_is_not_made_twice_by_a_follower(world: World) -> None:
    def lost_answer(operation: Operation | None) -> ProviderError | None:
        if operation is not None and operation.id not in world.crm.records:
            world.crm.records[operation.id] = "acme-1"
            return OutcomeUnknown("no answer", code=Code.TIMEOUT)
        return None

    world.crm.trouble = lost_answer
    first = world.click("s1", inline=True)
    world.crm.trouble = well
    second = world.apply(1, session="s1", inline=True)
    world.pass_time(10)
    assert world.stored(first).delivered.adopted  # type: ignore[union-attr]
    assert (world.stored(second).kind, world.crm.records[second.id]) == (Kind.UPDATE_LEAD, "acme-1")


class TestACrmThatCannot:
    def test_without_updates_an_application_makes_a_lead(self, world: World) -> None:
        world.crm.kinds -= {Kind.UPDATE_LEAD}
        world.click("s1", inline=True)
        assert world.apply(1, session="s1", inline=True).kind == Kind.CREATE_LEAD

    def test_without_activities_further_clicks_are_the_first_one_again(self, world: World) -> None:
        world.crm.kinds -= {Kind.LOG_ACTIVITY}
        first = world.click("s1", inline=True)
        assert world.click("s1", inline=True, page="b").id == first.id
        assert len(world.crm.records) == 1


class TestProviderSwitch:
    def test_a_waiting_lead_goes_to_the_new_one(self, world: World) -> None:
        world.crm.trouble = away
        operations = [world.apply(number, inline=True) for number in range(9)]
        old = world.crm
        world.use(Crm(world, "other"))
        world.pass_time(40)
        assert {world.stored(operation).delivered.provider for operation in operations} == {"other"}  # type: ignore[union-attr]
        assert old.records == {}

    def change_of_a_lead(self, world: World) -> tuple[Crm, Operation]:
        """An update that waits while the gateway is switched to another CRM."""
        world.click("s1", inline=True)
        old = world.crm
        old.trouble = away
        update = world.apply(1, session="s1", inline=True)
        assert update.kind == Kind.UPDATE_LEAD
        old.trouble = well
        world.use(Crm(world, "other"))
        return old, update

    def test_a_change_goes_to_the_crm_that_has_the_lead(self, world: World) -> None:
        old, update = self.change_of_a_lead(world)
        world.other["acme"] = old
        world.pass_time(10)
        assert world.stored(update).delivered.provider == "acme"  # type: ignore[union-attr]
        assert old.records[update.id] == "acme-1"
        assert world.crm.records == {}

    def test_it_is_a_dead_letter_that_says_so_if_that_one_is_gone(self, world: World) -> None:
        _, update = self.change_of_a_lead(world)
        world.pass_time(10)
        letter = world.stored(update)
        assert (letter.state, letter.events[-1].code) == (State.DEAD, "unsupported")
        assert "'acme', which is no longer configured" in letter.events[-1].detail
        assert world.crm.records == {}

    def test_setting_it_up_again_and_releasing_mends_that(self, world: World) -> None:
        old, update = self.change_of_a_lead(world)
        world.pass_time(10)
        world.other["acme"] = old
        world.use(world.crm)
        world.gateway.release(update.id)
        world.pass_time(10)
        assert world.stored(update).delivered.provider == "acme"  # type: ignore[union-attr]

    def test_an_outage_of_the_old_crm_is_waited_for(self, world: World) -> None:
        old, update = self.change_of_a_lead(world)
        world.other["acme"] = old
        old.trouble = away
        world.pass_time(300)
        old.trouble = well
        world.pass_time(40)
        assert world.stored(update).state == State.DELIVERED

    def test_a_session_goes_on_with_a_lead_in_the_new_one(self, world: World) -> None:
        world.click("s1", inline=True)
        world.use(Crm(world, "other"))
        assert world.apply(1, session="s1", inline=True).kind == Kind.CREATE_LEAD
        again = world.click("s1", inline=True)
        assert (again.kind, world.crm.records[again.id]) == (Kind.LOG_ACTIVITY, "other-1")

"""A session's lead that is no longer in the CRM, deleted or merged: the next operation on it creates another lead."""

from __future__ import annotations

import pytest

from crmgate.errors import Code, Forbidden, NotFound, OutcomeUnknown, ProviderError, Rejected
from crmgate.model import Kind, Operation, State
from tests.world import Crm, World, away, well


class Leads:
    """Leads of the session `s1` that staff deleted, or that the CRM refuses to touch."""

    def __init__(self, world: World) -> None:
        self.world, self.gone, self.refused = world, set[str](), set[str]()
        world.apply(99, inline=True)
        world.crm.trouble = self.answer

    def answer(self, operation: Operation | None) -> ProviderError | None:
        lead = operation.lead_id if operation else ""
        if lead in self.gone:
            return NotFound("no such lead")
        return Forbidden("not this one") if lead in self.refused else None

    def of(self, operation: Operation) -> str:
        return self.world.crm.records[operation.id]


@pytest.fixture
def leads(world: World) -> Leads:
    return Leads(world)


@pytest.mark.parametrize("inline", [True, False])
def test_an_application_makes_a_lead(world: World, leads: Leads, inline: bool) -> None:
    click = world.click("s1", inline=True)
    leads.gone.add(leads.of(click))
    application = world.apply(1, session="s1", inline=inline)
    assert application.kind == Kind.UPDATE_LEAD
    world.pass_time(0)
    stored = world.stored(application)
    assert (stored.kind, stored.state, stored.lead_id) == (Kind.CREATE_LEAD, State.DELIVERED, "")
    assert [event.code for event in stored.events] == ["not_found", ""]
    assert world.hooks_called.count("operation_dead") == 0


def test_a_click_makes_a_minimal_lead_again(world: World, leads: Leads) -> None:
    leads.gone.add(leads.of(world.click("s1", inline=True)))
    click = world.click("s1", page="b")
    world.pass_time(0)
    assert (world.stored(click).kind, world.stored(click).state) == (Kind.CREATE_MINIMAL_LEAD, State.DELIVERED)
    application = world.apply(1, session="s1", inline=True)
    assert (application.kind, leads.of(application)) == (Kind.UPDATE_LEAD, leads.of(click))


def test_the_session_continues_with_the_new_lead(world: World, leads: Leads) -> None:
    first = world.apply(1, session="s1", inline=True)
    leads.gone.add(leads.of(first))
    waiting = [world.click("s1"), world.apply(1, session="s1", city="Ankara"), world.click("s1", page="b")]
    world.pass_time(1)
    later = world.click("s1", page="c", inline=True)
    assert world.states([*waiting, later]) == {State.DELIVERED}
    assert {leads.of(operation) for operation in (*waiting, later)} == {leads.of(waiting[0])}
    assert [world.stored(operation).kind for operation in (*waiting, later)] == [
        Kind.CREATE_MINIMAL_LEAD, Kind.UPDATE_LEAD, Kind.LOG_ACTIVITY, Kind.LOG_ACTIVITY,
    ]  # fmt: skip


def test_the_lead_of_a_click_that_an_application_updates_is_of_nobody_else(world: World, leads: Leads) -> None:
    first = world.apply(1, session="s1", inline=True)
    leads.gone.add(leads.of(first))
    click, application = world.click("s1"), world.apply(1, session="s1", city="Ankara")
    world.pass_time(1)
    assert leads.of(application) == leads.of(click), "the click made a minimal lead, which the application updated"
    other = world.apply(2, session="s1", inline=True)
    assert (other.kind, leads.of(other) == leads.of(application)) == (Kind.CREATE_LEAD, False)


def test_one_that_waited_for_a_dead_maker_of_the_new_lead_is_about_no_gone_lead(world: World, leads: Leads) -> None:
    leads.gone.add(leads.of(world.click("s1", inline=True)))
    maker, waiting = world.click("s1", page="b"), world.apply(1, session="s1")
    answer = leads.answer
    world.crm.trouble = lambda operation: (
        answer(operation) or (Rejected("no") if operation and operation.id == maker.id else None)
    )
    world.pass_time(1)
    stored = world.stored(waiting)
    assert (stored.kind, stored.state, stored.lead_id) == (Kind.CREATE_LEAD, State.DELIVERED, "")


def test_it_has_all_its_retries_again(world: World, leads: Leads) -> None:
    leads.gone.add(leads.of(world.click("s1", inline=True)))
    application = world.apply(1, session="s1", inline=True)
    world.crm.trouble = away
    world.pass_time(31, step=0.1)
    world.crm.trouble = well
    world.pass_time(60)
    assert world.stored(application).state == State.DELIVERED
    assert world.hooks_called.count("operation_dead") == 0


def test_a_new_lead_that_is_refused_is_a_dead_letter(world: World, leads: Leads) -> None:
    leads.gone.add(leads.of(world.click("s1", inline=True)))
    world.crm.trouble = lambda operation: leads.answer(operation) or (Rejected("no") if operation else None)
    application = world.apply(1, session="s1")
    world.pass_time(60)
    stored = world.stored(application)
    assert (stored.kind, stored.state) == (Kind.CREATE_LEAD, State.DEAD)
    assert [event.code for event in stored.events] == ["not_found", "invalid_value"]


def test_an_outcome_that_was_unknown_before_is_still_looked_up(world: World, leads: Leads) -> None:
    """The answer to the update was lost; then staff delete the lead. Before another one is made, it is searched for."""
    click = world.click("s1", inline=True)
    world.crm.trouble = lambda _: OutcomeUnknown("no answer", code=Code.TIMEOUT)
    application = world.apply(1, session="s1", inline=True)
    leads.gone.add(leads.of(click))
    finds: list[str] = []
    find = world.crm.find
    world.crm.find = lambda operation, budget: finds.append(operation.kind) or find(operation, budget)  # type: ignore[method-assign,func-returns-value]
    world.crm.trouble = lambda operation: leads.answer(operation) if operation and operation.lead_id else None
    world.pass_time(60)
    assert world.stored(application).state == State.DELIVERED
    assert finds[-1] == Kind.CREATE_LEAD


class TestARefusedLead:
    """The CRM has the lead, and refuses to touch it: it belongs to another user, for example."""

    def test_is_replaced(self, world: World, leads: Leads) -> None:
        leads.refused.add(leads.of(world.click("s1", inline=True)))
        application = world.apply(1, session="s1")
        world.pass_time(0)
        assert (world.stored(application).kind, world.stored(application).state) == (Kind.CREATE_LEAD, State.DELIVERED)

    def test_is_replaced_once_for_clicks(self, world: World, leads: Leads) -> None:
        """A CRM that refuses every activity would get a lead for each click."""
        leads.refused.add(leads.of(world.click("s1", inline=True)))
        second = world.click("s1", page="b")
        world.pass_time(0)
        leads.refused.add(leads.of(second))
        third = world.click("s1", page="c")
        world.pass_time(0)
        assert (world.stored(third).kind, world.stored(third).state) == (Kind.LOG_ACTIVITY, State.DEAD)
        assert world.apply(1, session="s2", inline=True).state == State.DELIVERED

    def test_is_replaced_for_each_application(self, world: World, leads: Leads) -> None:
        """The lead of an application is subject to the search for duplicates."""
        for city in ("Ankara", "Bursa", "Van"):
            application = world.apply(1, session="s1", city=city)
            world.pass_time(0)
            assert world.stored(application).state == State.DELIVERED
            leads.refused.add(leads.of(application))
        assert world.stored(application).kind == Kind.CREATE_LEAD

    def test_is_no_epidemic(self, world: World, leads: Leads) -> None:
        clicks = [world.click(f"s{number}", inline=True) for number in range(6)]
        leads.refused |= {leads.of(click) for click in clicks}
        applications = [world.apply(number, session=f"s{number}", inline=True) for number in range(6)]
        assert world.ledger.gate(world.delivery.recipient).cause is None
        world.pass_time(1)
        assert world.states(applications) == {State.DELIVERED}


def test_the_lead_of_another_crm_is_made_in_the_active_one(world: World, leads: Leads) -> None:
    old, click = world.crm, world.click("s1", inline=True)
    world.crm.trouble = away
    application = world.apply(1, session="s1", inline=True)
    assert application.kind == Kind.UPDATE_LEAD
    old.trouble = lambda _: NotFound("no such lead")
    world.other["acme"] = old
    world.use(Crm(world, "other"))
    world.pass_time(60)
    assert (world.stored(application).kind, world.crm.records) == (Kind.CREATE_LEAD, {application.id: "other-1"})
    assert world.click("s1", inline=True).delivered.record_id == "other-1"  # type: ignore[union-attr]
    assert old.records[click.id]

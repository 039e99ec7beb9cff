"""HubSpot: whatever happens to a submission, one contact is there in the end.

Each case runs through the gateway on a real Redis, whose clock the test moves, and against the fake over HTTP.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from crmgate.model import Operation, State
from crmgate.store.ledger import Ledger
from crmgate.testing.hubspot import FakeHubSpot
from crmgate.testing.hubspot.fake import WRITE
from tests.plugins.hubspot.rig import CONTACTS, KEY, NOTES, connected, contacts, notes, only, text_of_records
from tests.world import World

Act = Callable[[FakeHubSpot], object]
PEOPLE: dict[str, dict[str, str]] = {
    "email": {"email": "ada@example.org", "phone": ""},
    "phone": {"email": "", "phone": "+905321234567"},
    "both": {"email": "ada@example.org", "phone": "+905321234567"},
}
HOUR = 3600.0
FOREVER = 1e9
"""Seconds of a delay that the test ends: the clock of the world is not that of the fake."""


@dataclass(frozen=True)
class Case:
    """What happens: `begin` before the submission, `end` after `seconds` of the gateway's clock."""

    begin: Act
    end: Act = lambda account: account.heal()
    seconds: float = 60.0


def creating(kind: Any, **options: Any) -> Act:
    """The first request that creates a contact meets a fault."""
    return lambda account: account.fail(kind, method="POST", path=CONTACTS, times=1, **options)


def every(**options: Any) -> Act:
    """Every request gets this answer."""
    return lambda account: account.fail("answer", **options)


def setting(**values: Any) -> Act:
    return lambda account: account.configure(values)


def both(*acts: Act) -> Act:
    return lambda account: [act(account) for act in acts]


def without_property(account: FakeHubSpot) -> None:
    account.kept = account.definitions.pop(KEY)  # type: ignore[attr-defined]


def with_property(account: FakeHubSpot) -> None:
    account.definitions[KEY] = account.kept  # type: ignore[attr-defined]


HTML = {"body": "<h1>Sorry</h1>", "content_type": "text/html"}
JSON = {"content_type": "application/json"}
SCOPES = FakeHubSpot().scopes
OUTAGES = {
    **{f"{status} before": creating("answer", status=status, **HTML) for status in (500, 502, 503, 504, 524)},
    **{f"{status} after": creating("answer", when="after", status=status, **HTML) for status in (500, 502, 504)},
    "drop before": creating("drop"), "drop after": creating("drop", when="after"),
    "HTML with 200 before": creating("answer", status=200, **HTML),
    "HTML with 200 after": creating("answer", when="after", status=200, **HTML),
    "nothing with 201 after": creating("answer", when="after", status=201, body=""),
    "half a JSON after": creating("answer", when="after", status=201, body='{"id": "1', **JSON),
    "200 in place of 201": creating("answer", when="after", status=200, body='{"id": "101"}', **JSON),
    "error inside a 200": creating("answer", status=200, body='{"status": "error", "message": "no"}', **JSON),
}  # fmt: skip
CASES: dict[str, Case] = {
    **{name: Case(begin) for name, begin in OUTAGES.items()},
    "429 daily": Case(setting(policy="DAILY"), setting(policy=""), 3 * HOUR),
    "429 ten-secondly": Case(setting(policy="TEN_SECONDLY_ROLLING"), setting(policy="")),
    "429 secondly": Case(setting(policy="SECONDLY"), setting(policy="")),
    "429 after a lost answer": Case(
        both(creating("drop", when="after"), every(status=429, path="/batch/read", times=3, body="{}", **JSON))
    ),
    "423": Case(creating("answer", status=423, body="{}", **JSON)),
    "477 for hours": Case(every(status=477, headers={"Retry-After": "7200"}, body="{}", **JSON), seconds=3 * HOUR),
    "401": Case(setting(token="another"), setting(token="pat-eu1-fake-0123456789")),
    "403 without a scope": Case(setting(scopes=[one for one in SCOPES if one != WRITE]), setting(scopes=SCOPES)),
    "403 of a proxy": Case(every(status=403, **HTML)),
    "404 of another server": Case(every(status=404, **HTML)),
    "before the setup": Case(without_property, with_property),
    "search lags": Case(both(creating("drop", when="after"), setting(search_lag=FOREVER))),
    "read by key lags 5 s": Case(
        both(creating("drop", when="after"), setting(read_lag=FOREVER)), setting(read_lag=0.0), seconds=5
    ),
    "read by key lags 40 s": Case(
        both(creating("drop", when="after"), setting(read_lag=FOREVER)), setting(read_lag=0.0), seconds=40
    ),
    "a conflict is a 409": Case(both(creating("drop", when="after"), setting(conflict_status=409))),
    "away": Case(lambda account: account.stop(), lambda account: account.start(), HOUR),
}
"""Every case that costs a contact, or makes a second one, in a careless plugin."""


@pytest.fixture
def world(account: FakeHubSpot, ledger: Ledger, redis_client: redis.Redis) -> World:
    """A gateway whose credentials have worked."""
    return World(ledger, redis_client, connected(account))


def submit(world: World, who: str) -> Operation:
    if who == "click":
        return world.click("s-1", inline=True)
    return world.apply(inline=True, additional_info="walnut allergy", **PEOPLE[who])


@pytest.mark.parametrize(
    ("name", "who"),
    [(name, who) for who in ("email", "phone") for name in CASES] + [("drop after", "both"), ("502 after", "click")],
)
def test_one_contact(name: str, who: str, account: FakeHubSpot, world: World) -> None:
    case = CASES[name]
    case.begin(account)
    operation = submit(world, who)
    step = max(case.seconds / 40, 0.5)
    world.pass_time(case.seconds, step)
    case.end(account)
    world.pass_time(60, 2)
    world.pass_time(950, 25)
    assert world.stored(operation).state == State.DELIVERED
    contact = only(account)
    assert contact[KEY] == operation.id
    assert text_of_records(account).count(operation.tracking_code) == 1
    assert [one.path for one in account.requests if one.path.endswith("/search")] == []


class TestASilentAccount:
    """It takes the request and does not answer. These cases take the time of the limit."""

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_one_contact(self, when: Any, account: FakeHubSpot, ledger: Ledger, redis_client: redis.Redis) -> None:
        world = World(ledger, redis_client, connected(account, timeout=1.0))
        account.fail("hang", when=when, method="POST", path=CONTACTS, times=1, seconds=1.5)
        operation = submit(world, "phone")
        world.pass_time(100, 2)
        assert world.stored(operation).state == State.DELIVERED
        assert only(account)[KEY] == operation.id


NOTE_FAULTS: dict[str, Act] = {
    "drop before": lambda account: account.fail("drop", path=NOTES, times=1),
    "drop after": lambda account: account.fail("drop", when="after", path=NOTES, times=1),
    "502 after": lambda account: account.fail("answer", when="after", status=502, path=NOTES, times=1),
    "HTML after": lambda account: account.fail("answer", when="after", status=200, path=NOTES, times=1),
    "429": lambda account: account.fail("answer", status=429, path=NOTES, times=1),
    "both answers": both(
        creating("answer", when="after", status=502), lambda account: account.fail("drop", path=NOTES, times=1)
    ),
    "no fault": lambda account: None,
}


@pytest.mark.parametrize("fault", NOTE_FAULTS.values(), ids=NOTE_FAULTS)
@pytest.mark.parametrize("who", PEOPLE)
def test_a_known_person_gets_one_note(fault: Act, who: str, account: FakeHubSpot, world: World) -> None:
    first = submit(world, who)
    fault(account)
    second = world.apply(inline=True, additional_info="hazelnut allergy", **PEOPLE[who])
    world.pass_time(1000, 20)
    assert world.states([first, second]) == {State.DELIVERED}
    assert only(account)[KEY] == first.id
    [note] = notes(account)
    assert ("hazelnut allergy" in note, second.tracking_code in note) == (True, True)


def test_a_contact_of_staff_is_known_by_its_email(account: FakeHubSpot, world: World) -> None:
    theirs = account.add_contact({"email": "Ada@Example.org", "hs_additional_emails": "lace@example.org"})
    operations = [
        world.apply(number, inline=True, email=email)
        for number, email in enumerate(("ada@example.org", "lace@example.org"))
    ]
    assert world.states(operations) == {State.DELIVERED}
    assert only(account)["id"] == theirs.id
    assert len(notes(account)) == 2


def test_a_session_is_one_contact_with_its_clicks(account: FakeHubSpot, world: World) -> None:
    operations = [
        world.click("s-1", inline=True), world.apply(inline=True, session="s-1", **PEOPLE["both"]),
        world.click("s-1", inline=True, metadata={"page": "/later"}),
    ]  # fmt: skip
    world.pass_time(5)
    assert world.states(operations) == {State.DELIVERED}
    contact = only(account)
    assert (contact["firstname"], contact["lastname"], contact["email"]) == ("Test0", "", "ada@example.org")
    assert "/later" in notes(account)[0]


@pytest.mark.parametrize("who", PEOPLE)
def test_people_at_once_are_one_contact_each(who: str, account: FakeHubSpot, world: World) -> None:
    world.use(world.crm, most=8)
    operations = [world.apply(number % 3, **PEOPLE[who] | _numbered(who, number % 3)) for number in range(9)]
    world.pass_time(60, 1)
    assert world.states(operations) == {State.DELIVERED}
    assert len(contacts(account)) == 3
    assert len(notes(account)) == 6
    assert [one for one in operations if one.tracking_code not in json.dumps(account.records())] == []


def _numbered(who: str, number: int) -> dict[str, str]:
    return {
        name: f"{number}{value}" if name == "email" else f"{value}{number}"
        for name, value in PEOPLE[who].items()
        if value
    }

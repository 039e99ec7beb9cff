"""Figures by hour and day: who is counted as what, without personal data, and with a bound on the number of values."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import redis

from crmgate.delivery import identity
from crmgate.errors import LedgerUnavailable, Rejected, Unavailable
from crmgate.model import Activity, Kind, Suspicion
from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.tallies import DAY, HOUR, LENGTH, VALUES, Dimension, Tallies, labels
from tests.world import START, World

TODAY, THIS_HOUR = int(START // DAY), int(START // HOUR)
UTM = {"source": "google", "medium": "cpc", "campaign": "spring"}


@pytest.fixture
def tallies(redis_client: redis.Redis) -> Tallies:
    return Tallies(redis_client)


def day(tallies: Tallies, dimension: Dimension = Dimension.SOURCE, number: int = TODAY) -> dict[str, dict[str, int]]:
    [found] = tallies.days(range(number, number + 1), dimension)
    return {value: dict(counts) for value, counts in found.items()}


def hour(tallies: Tallies, number: int = THIS_HOUR) -> dict[str, int]:
    [found] = tallies.hours(range(number, number + 1))
    return found


def test_an_application_is_counted_when_it_is_accepted_and_delivered(world: World, tallies: Tallies) -> None:
    world.apply(1, source="fair", referral_code="ADA", utm=UTM)
    assert day(tallies) == {"fair": {"accepted": 1}}
    world.now += DAY
    world.work()
    assert day(tallies) == {"fair": {"accepted": 1}}
    assert day(tallies, number=TODAY + 1) == {"fair": {"delivered": 1}}
    for dimension, value in (
        (Dimension.REFERRAL, "ADA"), (Dimension.UTM_SOURCE, "google"), (Dimension.UTM_MEDIUM, "cpc"),
        (Dimension.UTM_CAMPAIGN, "spring"),
    ):  # fmt: skip
        assert day(tallies, dimension) == {value: {"accepted": 1}}
    assert day(tallies, Dimension.CHANNEL) == {}
    assert hour(tallies) == {"accepted": 1}
    assert hour(tallies, THIS_HOUR + 24) == {"delivered": 1}


def test_a_dead_letter_is_counted_each_time_it_becomes_one(world: World, tallies: Tallies) -> None:
    world.crm.trouble = lambda _operation: Rejected("no")
    dead = world.apply(1)
    world.work()
    world.gateway.release(dead.id)
    world.work()
    world.crm.trouble = lambda _operation: None
    world.gateway.release(dead.id)
    world.work()
    assert day(tallies) == {"website": {"accepted": 1, "dead": 2, "delivered": 1}}
    assert hour(tallies) == {"accepted": 1, "dead": 2, "delivered": 1}


def test_a_click_that_an_application_follows_counts_for_its_channel_once(world: World, tallies: Tallies) -> None:
    world.click("s", referral_code="ADA")
    world.click("s", channel="whatsapp", referral_code="BOB")
    world.click("other")
    world.apply(1, session="s")
    world.apply(1, session="s", city="Ankara")
    world.apply(2, session="without a click")
    world.work()
    assert day(tallies, Dimension.CHANNEL) == {"telegram": {"clicks": 2}, "whatsapp": {"clicks": 1, "applied": 1}}
    assert day(tallies, Dimension.REFERRAL) == {
        "ADA": {"clicks": 1}, "BOB": {"clicks": 1, "applied": 1},
        "DIRECT": {"clicks": 1, "accepted": 3, "delivered": 3},
    }  # fmt: skip
    assert world.ledger.stats()["clicks:telegram"] == 2
    assert hour(tallies) == {"accepted": 6, "delivered": 6}


def test_a_click_without_an_operation_is_counted(world: World, tallies: Tallies) -> None:
    world.ledger.count_click(Activity("telegram", "ADA"))
    assert day(tallies, Dimension.CHANNEL) == {"telegram": {"clicks": 1}}
    assert world.ledger.stats()["clicks:telegram"] == 1
    assert hour(tallies) == {}


def test_a_click_without_an_operation_counts_when_its_visitor_applies(world: World, tallies: Tallies) -> None:
    visit = identity.visit("s")
    for channel in ("telegram", "whatsapp"):
        world.ledger.count_click(Activity(channel), visit)
    assert 0 < world.redis.ttl(keys.session(visit)) <= keys.SESSION_SECONDS  # type: ignore[operator]
    world.apply(1, session="another")
    world.apply(2, session="s")
    world.apply(2, session="s", city="Ankara")
    world.work()
    assert day(tallies, Dimension.CHANNEL) == {"telegram": {"clicks": 1}, "whatsapp": {"clicks": 1, "applied": 1}}
    assert len({*world.crm.records.values()}) == 2, "the click is no lead"


def test_a_click_without_an_operation_does_not_prolong_the_session_of_a_person(world: World) -> None:
    visit = identity.visit("s")
    world.apply(1, session="s")
    world.redis.expire(keys.session(visit), 100)
    world.ledger.count_click(Activity("telegram"), visit)
    assert 0 < world.redis.ttl(keys.session(visit)) <= 100  # type: ignore[operator]


@pytest.mark.parametrize("kind", [Kind.CREATE_LEAD, Kind.CREATE_MINIMAL_LEAD])
def test_a_suspect_counts_when_it_is_released(world: World, tallies: Tallies, kind: Kind) -> None:
    click = kind == Kind.CREATE_MINIMAL_LEAD
    dimension, value = (Dimension.CHANNEL, "telegram") if click else (Dimension.SOURCE, "website")
    payload = {"channel": "telegram"} if click else {"first_name": "Ada"}
    kept = world.gateway.submit(kind, payload, inline=False, suspect=Suspicion.HONEYPOT)
    assert (day(tallies, dimension), hour(tallies)) == ({}, {})
    world.gateway.release(kept.id)
    world.work()
    assert day(tallies, dimension) == {value: {"clicks": 1} if click else {"accepted": 1, "delivered": 1}}
    assert hour(tallies) == {"accepted": 1, "delivered": 1}


def test_a_suspect_of_a_newer_version_is_released(world: World, tallies: Tallies) -> None:
    kept = world.gateway.submit(Kind.CREATE_LEAD, {"first_name": "Ada"}, inline=False, suspect=Suspicion.HONEYPOT)
    world.redis.hset(keys.op(kept.id), "kind", "newer_kind")
    assert world.gateway.release(kept.id)
    assert hour(tallies) == {"accepted": 1}


def test_a_repeated_request_counts_once(world: World, tallies: Tallies) -> None:
    for _ in range(3):
        world.apply(1, key="k")
    assert day(tallies) == {"website": {"accepted": 1}}


def test_further_values_are_counted_together(world: World, tallies: Tallies) -> None:
    for number in range(VALUES + 5):
        world.apply(number, source=f"s{number}")
    world.apply(VALUES + 6, source="s3")
    found = day(tallies)
    assert len(found) == VALUES + 1
    assert (found["s3"], found[""]) == ({"accepted": 2}, {"accepted": 5})
    assert sum(counts["accepted"] for counts in found.values()) == VALUES + 6


def test_the_figures_expire(world: World) -> None:
    world.apply(1)
    for name, seconds in ((keys.hour(THIS_HOUR), 49 * HOUR), (keys.day(TODAY, Dimension.SOURCE), 400 * DAY)):
        assert seconds - 60 < world.redis.ttl(name) <= seconds


@pytest.mark.parametrize(
    ("value", "counted"),
    [
        ("ada@example.com", ""), ("ada%40example.com", ""), ("+90 532 123 45 67", ""), ("0532-123-4567", ""),
        ("17171717171", "17171717171"), ("spring 2026", "spring 2026"), ("a|b\nc", "a|b c"),
        ("x" * 500, "x" * LENGTH), ("\u00d6\u011frenci", "\u00d6\u011frenci"),
    ],
)  # fmt: skip
def test_a_value_is_shortened_and_is_no_personal_data(world: World, tallies: Tallies, value: str, counted: str) -> None:
    """Google's campaigns are numbers of eleven digits."""
    world.apply(1, utm={"campaign": value})
    assert day(tallies, Dimension.UTM_CAMPAIGN) == {counted: {"accepted": 1}}


def test_nothing_that_a_visitor_typed_elsewhere_is_a_label() -> None:
    payload: dict[str, Any] = {"first_name": "Canary", "email": "canary@example.com", "additional_info": "canary"}
    assert labels(Kind.CREATE_LEAD, payload) == "source|website\nreferral|DIRECT"
    assert labels(Kind.UPDATE_LEAD, payload) == labels(Kind.CREATE_LEAD, payload)


def test_the_labels_of_an_ended_operation_are_forgotten(world: World) -> None:
    delivered, discarded = world.apply(1), world.apply(2)
    world.gateway.discard(discarded.id, "a test")
    world.work()
    for operation in (delivered, discarded):
        assert not world.redis.hexists(keys.op(operation.id), "labels")


def test_the_latest_events_are_listed(world: World, tallies: Tallies) -> None:
    world.crm.trouble = lambda _operation: Rejected("no")
    dead = world.apply(1)
    world.pass_time(1)
    world.delivery.pause()
    world.crm.trouble = lambda _operation: None
    delivered = world.apply(2)
    world.delivery.resume()
    world.pass_time(1)
    assert [(each.what, each.on, each.detail) for each in tallies.latest(10)] == [
        ("delivered", delivered.id, "acme"), ("opened", "acme", "paused"), ("shut", "acme", "paused"),
        ("dead", dead.id, "invalid_value"),
    ]  # fmt: skip
    assert START <= tallies.latest(1)[0].at <= world.now
    assert [each.what for each in tallies.latest(2)] == ["delivered", "opened"]


def test_an_outage_is_among_the_events(world: World, tallies: Tallies) -> None:
    world.crm.trouble = lambda _operation: Unavailable("away")
    for number in range(6):
        world.apply(number)
    world.pass_time(10)
    world.crm.trouble = lambda _operation: None
    world.pass_time(60)
    found = Counter((each.what, each.detail) for each in tallies.latest(100) if each.on == "acme")
    assert found == {("shut", "outage"): 1, ("opened", "outage"): 1}


def test_an_unavailable_redis_is_reported() -> None:
    away = Tallies(connect("redis://127.0.0.1:1/0", 0.2))
    with pytest.raises(LedgerUnavailable):
        away.hours(range(1))
    with pytest.raises(LedgerUnavailable):
        away.latest(1)

"""Numbers for operators and marketing: what they say. (web/ops/test_speed.py: they need no scan of the operations.)"""

from __future__ import annotations

import time
from datetime import date, timedelta

import pytest

from crmgate.errors import Code, LedgerUnavailable
from crmgate.operators import sheets
from crmgate.operators.numbers import KEPT_DAYS, Amounts, DayCount, Numbers, ValueCount
from crmgate.operators.remedies import remedy
from crmgate.store.client import connect
from crmgate.store.tallies import DAY, HOUR, Dimension
from tests.dead_letters import add_dead_letters
from tests.world import START, World

TODAY = date(2027, 1, 15)
"""The day of `START`."""


@pytest.fixture
def numbers(world: World) -> Numbers:
    return Numbers(world.redis, world.clock)


def test_the_causes_have_their_number_the_oldest_and_a_remedy(world: World, numbers: Numbers) -> None:
    assert (numbers.causes().items, numbers.causes().dead) == ((), 0)
    add_dead_letters(world.ledger, code="timeout")
    add_dead_letters(world.ledger, 3, field="source", at=START + 50)
    found = numbers.causes()
    assert [(each.provider, each.code, each.field, each.count, each.oldest) for each in found.items] == [
        ("acme", "invalid_value", "source", 3, START + 50), ("acme", "timeout", "", 1, START),
    ]  # fmt: skip
    assert "source" in found.items[0].remedy
    assert (found.dead, found.indexed) == (4, 4)


@pytest.mark.parametrize("code", Code)
def test_each_code_has_a_remedy(code: Code) -> None:
    assert len(remedy(code)) > 20
    assert remedy(code) != remedy("")


def test_a_code_of_a_newer_version_has_a_remedy_too() -> None:
    assert "dlq list" in remedy("newer_code", "x") == remedy("")


def test_the_hours_are_those_until_now(world: World, numbers: Numbers) -> None:
    world.apply(1)
    world.work()
    world.now += 3 * HOUR
    world.apply(2)
    found = numbers.hours(5)
    assert [(hour.accepted, hour.delivered, hour.dead) for hour in found] == [
        (0, 0, 0), (1, 1, 0), (0, 0, 0), (0, 0, 0), (1, 0, 0),
    ]  # fmt: skip
    assert found[-1].at <= world.now < found[-1].at + HOUR
    assert len(numbers.hours(1000)) == 48


def test_days_values_and_totals_agree(world: World, numbers: Numbers) -> None:
    world.click("s", referral_code="ADA")
    for number, source in enumerate(("website", "fair", "fair")):
        world.apply(number, source=source, session="s" if number == 0 else "")
    world.work()
    world.now += DAY
    world.apply(9, source="website")
    tomorrow = TODAY + timedelta(days=1)
    assert numbers.today() == tomorrow
    assert numbers.days(TODAY, tomorrow, Dimension.SOURCE) == [
        DayCount(TODAY, "fair", Amounts(accepted=2, delivered=2)),
        DayCount(TODAY, "website", Amounts(accepted=1, delivered=1)),
        DayCount(tomorrow, "website", Amounts(accepted=1)),
    ]
    assert numbers.values(TODAY, tomorrow, Dimension.SOURCE) == [
        ValueCount("fair", Amounts(accepted=2, delivered=2)), ValueCount("website", Amounts(accepted=2, delivered=1)),
    ]  # fmt: skip
    assert numbers.values(TODAY, TODAY, Dimension.CHANNEL) == [ValueCount("telegram", Amounts(clicks=1, applied=1))]
    totals = {row.day: row.figures for row in numbers.totals(TODAY - timedelta(days=1), tomorrow)}
    assert totals == {
        TODAY - timedelta(days=1): Amounts(), tomorrow: Amounts(accepted=1),
        TODAY: Amounts(accepted=3, delivered=3, clicks=1, applied=1),
    }  # fmt: skip


def test_the_rest_of_the_values_is_the_last_row(world: World, numbers: Numbers) -> None:
    for campaign in ("ada@example.com", "bob@example.com", "spring"):
        world.apply(1, utm={"campaign": campaign})
    assert numbers.values(TODAY, TODAY, Dimension.UTM_CAMPAIGN) == [
        ValueCount("spring", Amounts(accepted=1)), ValueCount(None, Amounts(accepted=2)),
    ]  # fmt: skip


def test_a_range_of_days_is_bounded(numbers: Numbers) -> None:
    assert len(numbers.totals(date(1, 1, 1), TODAY)) == KEPT_DAYS
    assert numbers.totals(TODAY, TODAY - timedelta(days=1)) == []


def test_a_sheet_has_a_line_for_each_day_and_value_and_no_formula() -> None:
    rows = [DayCount(TODAY, "=1+1", Amounts(1, 2, 3, 4, 5)), DayCount(TODAY, None, Amounts(dead=1))]
    assert "".join(sheets.lines(rows)) == (
        "day,value,accepted,delivered,dead,clicks,applied\r\n2027-01-15,'=1+1,1,2,3,4,5\r\n2027-01-15,(other),0,0,1,0,0\r\n"
    )


def test_an_unavailable_redis_is_reported() -> None:
    with pytest.raises(LedgerUnavailable):
        Numbers(connect("redis://127.0.0.1:1/0", 0.2), time.time).causes()

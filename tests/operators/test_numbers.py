"""Numbers for operators and marketing: what they say, and that they need no scan of the operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pytest
import redis

from crmgate.errors import Code, LedgerUnavailable
from crmgate.model import State
from crmgate.operators import sheets
from crmgate.operators.inventory import Count, Filter, Inventory
from crmgate.operators.numbers import KEPT_DAYS, Amounts, DayCount, Numbers, ValueCount
from crmgate.operators.remedies import remedy
from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.tallies import DAY, HOUR, Dimension
from tests.graves import bury
from tests.processes import DEADLINE, RedisProcess, fastest_of_ten
from tests.world import START, World

TODAY = date(2027, 1, 15)
"""The day of `START`."""


@pytest.fixture
def numbers(world: World) -> Numbers:
    return Numbers(world.redis, world.clock)


def test_the_causes_have_their_number_the_oldest_and_a_remedy(world: World, numbers: Numbers) -> None:
    assert (numbers.causes().items, numbers.causes().dead) == ((), 0)
    bury(world.ledger, code="timeout")
    bury(world.ledger, 3, field="source", at=START + 50)
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


# A Redis with 100,000 operations, 10,000 of them dead letters of 60 causes, and the figures of a year of many values.

FILL = """
local key = function(name) return ARGV[1] .. name end
for n = tonumber(ARGV[2]), tonumber(ARGV[2]) + 9999 do
  local id = string.format('%032x', n * 7919)
  local op, at = key('op:' .. id), 1800000000 + n
  redis.call('ZADD', key('ops'), at, id)
  redis.call('ZADD', key('ids'), 0, id)
  local state = n % 10 == 0 and 'dead' or 'delivered'
  redis.call('HSET', op, 'kind', 'create_lead', 'state', state, 'accepted_at', at, 'version', 1)
  if state == 'dead' then
    local field = 'f' .. (n / 10) % 60
    local digest = redis.sha1hex(field)
    redis.call('HSET', op, 'dead_at', at, 'filed_under', digest, 'event:1', cjson.encode({at = at, duration = 1,
      provider = 'acme', outcome = 'failed', code = 'invalid_value', detail = 'The CRM refuses it.', field = field}))
    redis.call('ZADD', key('dead'), at, id)
    redis.call('ZADD', key('cause:' .. digest), at, id)
    redis.call('HSET', key('causes'), digest, cjson.encode({'acme', 'invalid_value', field}))
  end
end
"""
FILL_DAYS = """
local key = function(name) return ARGV[1] .. name end
for day = tonumber(ARGV[2]) - 364, tonumber(ARGV[2]) do
  for value = 1, 100 do
    for _, event in ipairs({'accepted', 'delivered', 'dead'}) do
      redis.call('HSET', key('day:' .. day .. ':source'), event .. '|value' .. value, value)
    end
  end
end
"""


@pytest.fixture(scope="module")
def full(redis_process: RedisProcess) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_process.url, socket_timeout=DEADLINE) as client:
        client.flushall()
        for first in range(1, 100_001, 10_000):
            client.eval(FILL, 0, keys.PREFIX, str(first))
        client.eval(FILL_DAYS, 0, keys.PREFIX, int(START // DAY))
        yield client
        client.flushall()


def inventory(client: redis.Redis) -> Inventory:
    return Inventory(client)


def dead(**more: str) -> Filter:
    return Filter(state=State.DEAD, **more)  # type: ignore[arg-type]


READS: dict[str, tuple[Callable[[redis.Redis], object], int]] = {
    "causes": (lambda client: Numbers(client, lambda: START).causes(), 130),
    "hours": (lambda client: Numbers(client, lambda: START).hours(), 30),
    "days": (lambda client: Numbers(client, lambda: START).days(date(2026, 12, 15), TODAY, Dimension.SOURCE), 40),
    "totals": (lambda client: Numbers(client, lambda: START).totals(date(2026, 12, 15), TODAY), 80),
    "latest": (lambda client: Numbers(client, lambda: START).latest(), 5),
    "dead by field": (lambda client: inventory(client).page(dead(field="f7")), 300),
    "dead by code": (lambda client: inventory(client).page(dead(code="invalid_value")), 300),
    "none by field": (lambda client: inventory(client).page(dead(field="nothing")), 130),
    "none by detail": (lambda client: inventory(client).page(dead(detail="nowhere")), 600),
    "count by field": (lambda client: inventory(client).count_dead(dead(field="f7")), 400),
    "newest": (lambda client: inventory(client).page(Filter()), 150),
    "by id": (lambda client: inventory(client).find(f"{7919:032x}"), 5),
}
"""A read, and the largest number of commands that it may send."""


@pytest.mark.parametrize("name", READS)
def test_a_read_is_quick_however_much_there_is(full: redis.Redis, name: str) -> None:
    """Filling Redis takes two seconds, once. The limit is for a busy machine: a scan of all operations takes longer."""
    read, most = READS[name]

    def commands() -> dict[str, int]:
        stats: dict[str, dict[str, int]] = full.info("commandstats")  # type: ignore[assignment]
        return {command: counted["calls"] for command, counted in stats.items() if command != "cmdstat_info"}

    before = commands()
    read(full)
    sent = {command: calls - before.get(command, 0) for command, calls in commands().items()}
    assert sum(sent.values()) <= most, sent
    assert not {command for command, calls in sent.items() if calls and ("keys" in command or "scan" in command)}
    assert fastest_of_ten(lambda: read(full), 0.2) < 2


def test_the_numbers_of_a_full_redis_are_right(full: redis.Redis) -> None:
    found = Numbers(full, lambda: START).causes()
    assert (found.dead, found.indexed, len(found.items)) == (10_000, 10_000, 60)
    assert inventory(full).count_dead(dead(field="f7")) == Count(167, True)

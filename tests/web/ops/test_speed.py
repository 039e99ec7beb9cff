"""The cost of pages and reads on a Redis with 100,000 operations, 10,000 of them dead letters, and a year's figures.

The cost is counted in commands of Redis and in CPU time, because neither depends on the load of the machine. A scan of
the operations or of the dead letters sends thousands of commands.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
import redis
from flask import Flask

from crmgate.model import State
from crmgate.operators.inventory import Count, Filter, Inventory
from crmgate.operators.numbers import Numbers
from crmgate.services import Services
from crmgate.store import keys
from crmgate.store.tallies import DAY, Dimension
from tests.processes import DEADLINE, RedisProcess
from tests.web.ops.conftest import Browser

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
CPU_SECONDS = 2.0
"""CPU time, of Redis and of this thread together, that a page may take: 0.15 without other programs on the machine."""


class Full:
    """A full Redis, and the application on it with an operator who is logged in. Filling takes two seconds, once."""

    def __init__(self, client: redis.Redis, app: Flask) -> None:
        self.client = client
        parts: Services = app.extensions["crmgate"]
        self.now = parts.ledger.now
        client.flushall()
        for first in range(1, 100_001, 10_000):
            client.eval(FILL, 0, keys.PREFIX, str(first))
        client.eval(FILL_DAYS, 0, keys.PREFIX, int(self.now() // DAY))
        self.browser = Browser(app.test_client())
        self.browser.log_in()

    def commands(self, read: Callable[[], object]) -> Counter[str]:
        """The number of commands that a read sends, those of scripts included."""
        before = self._counted()
        read()
        return self._counted() - before

    def seconds(self, read: Callable[[], object]) -> float:
        """The CPU time that a read takes, in this thread and in Redis."""
        begun = time.thread_time() + self._busy()
        read()
        return time.thread_time() + self._busy() - begun

    def _busy(self) -> float:
        spent: dict[str, float] = self.client.info("cpu")  # type: ignore[assignment]
        return spent["used_cpu_user"] + spent["used_cpu_sys"]

    def _counted(self) -> Counter[str]:
        stats: dict[str, Any] = self.client.info("commandstats")  # type: ignore[assignment]
        return Counter({
            name.removeprefix("cmdstat_"): counted["calls"] for name, counted in stats.items() if name != "cmdstat_info"
        })  # fmt: skip


@pytest.fixture(scope="module")
def full(redis_process: RedisProcess, app: Flask) -> Iterator[Full]:
    with redis.Redis.from_url(redis_process.url, socket_timeout=DEADLINE) as client:
        yield Full(client, app)
        client.flushall()


ONE = f"{7919 * 10:032x}"
"""A dead letter."""
PATHS = {
    "/": 200, "/operations": 130, "/operations?state=dead": 130, "/operations?state=dead&field=f7": 300,
    "/operations?state=dead&detail=nowhere": 600, "/operations?state=waiting": 600,
    "/operations?kind=log_activity": 600, "/suspects": 10, f"/operations/{ONE}": 20,
    f"/operations/{ONE}?data=shown": 20, f"/operations/{ONE}/edit": 20, "/retries/new": 20,
    "/retries/new?field=f7": 300, "/retries/new?detail=nowhere": 20, "/edits/new?field=f7": 450,
    "/edits/new?detail=nowhere": 20, "/crm": 30, "/crm/setup?field=f7": 300, "/numbers": 130,
    "/numbers?days=400": 1300, "/numbers?days=400&by=utm_campaign": 1300, "/numbers?days=400&value=value7": 1300,
    "/audit": 10, "/tokens": 10, "/persons": 10,
}  # fmt: skip
"""A page, and the largest number of commands that it may send."""


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_quick_however_much_there_is(full: Full, path: str) -> None:
    def get() -> None:
        assert full.browser.get(f"/ops{path}").status_code == 200

    no_scan(full.commands(get), PATHS[path])
    assert full.seconds(get) < CPU_SECONDS


def no_scan(sent: Counter[str], most: int) -> None:
    assert sent.total() <= most, sent
    assert [command for command in +sent if "keys" in command or "scan" in command] == []


def dead(**more: str) -> Filter:
    return Filter(state=State.DEAD, **more)  # type: ignore[arg-type]


def in_a_month(read: Callable[..., object], *more: Dimension) -> object:
    """Read the figures of the last 32 days."""
    today: date = read.__self__.today()  # type: ignore[attr-defined]
    return read(today - timedelta(days=31), today, *more)


READS: dict[str, tuple[Callable[[Numbers, Inventory], object], int]] = {
    "causes": (lambda numbers, _: numbers.causes(), 130),
    "hours": (lambda numbers, _: numbers.hours(), 30),
    "days": (lambda numbers, _: in_a_month(numbers.days, Dimension.SOURCE), 40),
    "totals": (lambda numbers, _: in_a_month(numbers.totals), 80),
    "latest": (lambda numbers, _: numbers.latest(), 5),
    "dead by field": (lambda _, inventory: inventory.page(dead(field="f7")), 300),
    "dead by code": (lambda _, inventory: inventory.page(dead(code="invalid_value")), 300),
    "none by field": (lambda _, inventory: inventory.page(dead(field="nothing")), 130),
    "none by detail": (lambda _, inventory: inventory.page(dead(detail="nowhere")), 600),
    "count by field": (lambda _, inventory: inventory.count_dead(dead(field="f7")), 400),
    "newest": (lambda _, inventory: inventory.page(Filter()), 150),
    "by id": (lambda _, inventory: inventory.find(f"{7919:032x}"), 5),
}
"""A read, and the largest number of commands that it may send."""


@pytest.mark.parametrize("name", READS)
def test_a_read_is_quick_however_much_there_is(full: Full, name: str) -> None:
    read, most = READS[name]
    numbers, inventory = Numbers(full.client, full.now), Inventory(full.client)
    no_scan(full.commands(lambda: read(numbers, inventory)), most)
    assert full.seconds(lambda: read(numbers, inventory)) < CPU_SECONDS


def test_the_numbers_of_a_full_redis_are_right(full: Full) -> None:
    found = Numbers(full.client, full.now).causes()
    assert (found.dead, found.indexed, len(found.items)) == (10_000, 10_000, 60)
    assert Inventory(full.client).count_dead(dead(field="f7")) == Count(167, True)

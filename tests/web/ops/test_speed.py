"""Every page on a Redis with 100,000 operations, 10,000 of them dead letters, and the figures of a year."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from flask import Flask

from crmgate.services import Services
from crmgate.store import keys
from crmgate.store.tallies import DAY
from tests.operators.test_numbers import FILL, FILL_DAYS
from tests.processes import DEADLINE, RedisProcess, fastest_of_ten
from tests.web.ops.conftest import Browser

LIMIT = 1.0
"""Seconds of server time for a page: 0.2 on a machine of one's own (`pytest -s` prints the times), more otherwise."""
ONE = f"{7919 * 10:032x}"
"""A dead letter."""
PATHS = (
    "/", "/operations", "/operations?state=dead", "/operations?state=dead&field=f7",
    "/operations?state=dead&detail=nowhere", "/operations?state=waiting", "/operations?kind=log_activity", "/suspects",
    f"/operations/{ONE}", f"/operations/{ONE}?data=shown", f"/operations/{ONE}/edit", "/retries/new",
    "/retries/new?field=f7", "/retries/new?detail=nowhere", "/edits/new?field=f7", "/edits/new?detail=nowhere", "/crm",
    "/crm/setup?field=f7", "/numbers", "/numbers?days=400", "/numbers?days=400&by=utm_campaign",
    "/numbers?days=400&value=value7", "/audit", "/tokens", "/persons",
)  # fmt: skip


@pytest.fixture(scope="module")
def full(redis_process: RedisProcess, app: Flask) -> Iterator[Browser]:
    parts: Services = app.extensions["crmgate"]
    with redis.Redis.from_url(redis_process.url, socket_timeout=DEADLINE) as client:
        client.flushall()
        for first in range(1, 100_001, 10_000):
            client.eval(FILL, 0, keys.PREFIX, str(first))
        client.eval(FILL_DAYS, 0, keys.PREFIX, int(parts.ledger.now() // DAY))
        browser = Browser(app.test_client())
        browser.log_in()
        yield browser
        client.flushall()


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_quick_however_much_there_is(full: Browser, path: str) -> None:
    def get() -> None:
        assert full.get(f"/ops{path}").status_code == 200

    took = fastest_of_ten(get, LIMIT)
    print(f"{took * 1000:.0f} ms {path}")
    assert took < LIMIT

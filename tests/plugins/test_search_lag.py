"""A CRM whose search shows a record late: `settle_seconds` of the plugin keeps the gateway from sending it twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from crmgate.model import State
from crmgate.plugin_host.caller import HookCaller, hook_manager
from crmgate.store.ledger import Ledger
from crmgate.testing.bitrix24 import FakeBitrix24
from plugins.bitrix import Bitrix
from tests.world import World

FAULTS: dict[str, dict[str, Any]] = {
    "drop": {"kind": "drop"}, "502": {"kind": "answer", "status": 502, "body": "<h1>Bad Gateway</h1>"},
}  # fmt: skip
HIDDEN = 1e9
"""Seconds of search lag that last until the test ends the lag: the clock of the world is not that of the fake."""


class WaitsForTheSearch(Bitrix):
    """A plugin for a portal whose search lags by up to 25 s."""

    settle_seconds = 30.0


class TrustsTheSearch(Bitrix):
    """A plugin that says that its search never lags."""

    settle_seconds = 0


@pytest.fixture
def portal() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as running:
        yield running


@pytest.fixture(params=FAULTS.values(), ids=FAULTS)
def lost(request: pytest.FixtureRequest, portal: FakeBitrix24) -> None:
    """The first create is stored, its answer is lost, and the search does not show it."""
    portal.search_lag = HIDDEN
    portal.fail(when="after", path=r"crm\.item\.add", times=1, **request.param)


def leads_after_a_lag(
    plugin: type[Bitrix], seconds: float, portal: FakeBitrix24, ledger: Ledger, client: redis.Redis
) -> int:  # fmt: skip
    """Deliver one submission while the search lags by `seconds`; the number of leads that it made."""
    crm = HookCaller(hook_manager(), plugin({"BITRIX_WEBHOOK_URL": portal.webhook_url, "BITRIX_RATE": "0"}))
    world = World(ledger, client, crm)
    operation = world.apply(inline=True)
    world.pass_time(seconds)
    portal.search_lag = 0.0
    world.pass_time(60)
    assert world.stored(operation).state == State.DELIVERED
    return len(portal.leads)


@pytest.mark.usefixtures("lost")
@pytest.mark.parametrize(("plugin", "seconds"), [(Bitrix, 5), (WaitsForTheSearch, 25)])
def test_a_lag_that_is_shorter_than_settle_seconds_makes_no_second_lead(
    plugin: type[Bitrix], seconds: float, portal: FakeBitrix24, ledger: Ledger, redis_client: redis.Redis
) -> None:
    assert leads_after_a_lag(plugin, seconds, portal, ledger, redis_client) == 1


@pytest.mark.usefixtures("lost")
def test_a_lag_that_is_longer_makes_one(portal: FakeBitrix24, ledger: Ledger, redis_client: redis.Redis) -> None:
    """Nothing else in the gateway waits for the search."""
    assert leads_after_a_lag(TrustsTheSearch, 5, portal, ledger, redis_client) == 2

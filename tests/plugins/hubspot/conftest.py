"""The plugin, loaded and called as the gateway does it, against the running fake account."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.hubspot import FakeHubSpot
from tests.plugins.hubspot.rig import Connect, connected


@pytest.fixture
def account() -> Iterator[FakeHubSpot]:
    with FakeHubSpot() as fake:
        yield fake


@pytest.fixture
def connect(account: FakeHubSpot) -> Connect:
    return partial(connected, account)


@pytest.fixture
def crm(connect: Connect) -> HookCaller:
    return connect()

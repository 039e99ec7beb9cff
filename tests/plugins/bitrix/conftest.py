"""The plugin, loaded and called as the gateway does it, against the running fake portal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crmgate.errors import RateLimited
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import ADD, ANNA, Connect, creation, deliver, failure, plugins


@pytest.fixture
def api(request: pytest.FixtureRequest) -> str:
    """Which methods the plugin uses for leads; see BOTH_APIS."""
    return str(getattr(request, "param", "item"))


@pytest.fixture
def portal() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


@pytest.fixture
def connect(portal: FakeBitrix24, api: str) -> Connect:
    """The plugin, loaded and called as the gateway does; `settings` are further environment variables."""

    def configured(
        on_duplicate: str = "note", on_rejected_field: str = "describe", on_update: str = "describe",
        timeout: float = 5.0, **settings: str,
    ) -> HookCaller:  # fmt: skip
        policies = {"on_duplicate": on_duplicate, "on_rejected_field": on_rejected_field, "on_update": on_update}
        environ = {"BITRIX_WEBHOOK_URL": portal.webhook_url, "BITRIX_API": api} | settings
        return plugins().choose("bitrix", environ, timeout, ("127.0.0.1",), **policies)

    return configured


@pytest.fixture
def crm(connect: Connect) -> HookCaller:
    return connect()


@pytest.fixture
def adding(portal: FakeBitrix24, connect: Connect) -> Callable[..., HookCaller]:
    """The plugin in a state in which a create is one request: it knows the fields and looks up no duplicates."""

    def warmed(**settings: Any) -> HookCaller:
        crm = connect(on_duplicate="create", on_rejected_field="dead", **settings)
        portal.fail_with("QUERY_LIMIT_EXCEEDED", path=ADD, times=1)
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), RateLimited)
        portal.requests.clear()
        return crm

    return warmed

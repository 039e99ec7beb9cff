"""A fake Bitrix24, over real HTTP. Its tests hold it against the documented contract of the vendor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from crmgate.testing.bitrix24 import FakeBitrix24
from tests.processes import DEADLINE
from tests.testing.bitrix24.rig import Call


@pytest.fixture
def crm() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


@pytest.fixture
def call(crm: FakeBitrix24) -> Iterator[Call]:
    """Post a method with JSON parameters."""
    with requests.Session() as session:

        def post(method: str, **params: Any) -> requests.Response:
            url = f"{crm.webhook_url}{method}.json"
            return session.post(url, json=params, timeout=DEADLINE, allow_redirects=False)

        yield post


@pytest.fixture
def add(call: Call) -> Callable[..., dict[str, Any]]:
    """Create a lead by `crm.item.add` with original names, as the plugin does; returns the item."""

    def create(**fields: Any) -> dict[str, Any]:
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields=fields)
        assert response.status_code == 200, response.text
        item: dict[str, Any] = response.json()["result"]["item"]
        return item

    return create

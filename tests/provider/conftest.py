"""A CRM whose answers a test sets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crmgate.testing.server import Response
from tests.provider.rig import (
    Script,
)


@pytest.fixture(scope="module")
def server() -> Iterator[Script]:
    with Script() as running:
        yield running


@pytest.fixture
def crm(server: Script) -> Script:
    """A working CRM without requests so far."""
    server.heal()
    server.requests.clear()
    server.response = Response(200, '{"ok": true}')
    return server

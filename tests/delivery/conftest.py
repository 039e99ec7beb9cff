"""Fixtures of tests with a spool."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from crmgate.store.ledger import Ledger
from tests.delivery.spooling import Host, Redis
from tests.world import World


@pytest.fixture
def server(world: World, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """A Redis whose clock is that of the host."""
    monkeypatch.setattr(time, "time", world.clock)
    return Redis(ledger, monkeypatch)


@pytest.fixture
def host(world: World, server: Redis, tmp_path: Path) -> Host:
    """A host whose Redis is away."""
    server.away = True
    return Host(world, tmp_path / "spool")

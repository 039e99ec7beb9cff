"""A web host with a spool, and a Redis that goes away, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crmgate.delivery.drain import Drain
from crmgate.delivery.gateway import Gateway
from crmgate.errors import LedgerUnavailable
from crmgate.model import Check, Kind, Operation
from crmgate.store.entries import Accepted
from crmgate.store.ledger import Ledger
from crmgate.store.spool import Spool
from tests.world import World

MOST = 1_000_000.0


class Redis:
    """The ledger's Redis as the gateway sees it: it refuses connections, or answers are lost after the work is done."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = self.mute = False
        self.refuses: Callable[[Operation], bool] = lambda _operation: False
        self._accept = ledger.accept
        health = ledger.health
        monkeypatch.setattr(ledger, "accept", self.accept)
        monkeypatch.setattr(ledger, "health", lambda: (Check("redis", False),) if self.away else health())

    def accept(self, operation: Operation, *arguments: Any, **options: Any) -> Accepted:
        if self.away or self.refuses(operation):
            raise LedgerUnavailable("away", refused=True)
        accepted = self._accept(operation, *arguments, **options)
        if self.mute:
            raise LedgerUnavailable("TimeoutError")
        return accepted


class Host:
    """A web host: a spool, a gateway and the draining of one process."""

    def __init__(self, world: World, folder: Path, most: float = MOST) -> None:
        self.world, self.folder = world, folder
        self.spool = Spool(folder, most)
        self.spool.prepare()
        self.hooks: list[tuple[str, dict[str, Any]]] = []
        self.gateway = Gateway(world.ledger, world.delivery, notify=self._hear, clock=world.clock, spool=self.spool)
        self.drain = Drain(self.spool, self.gateway, world.ledger, self._hear)

    def _hear(self, hook: str, **arguments: Any) -> None:
        self.hooks.append((hook, arguments))

    def apply(self, number: int = 0, *, session: str = "", inline: bool = True, **options: Any) -> Operation:
        payload = {"first_name": f"Test{number}", "email": f"test{number}@example.com", "session": session}
        return self.gateway.submit(Kind.CREATE_LEAD, payload, inline=inline, **options)

    @property
    def waiting(self) -> list[str]:
        """The ids in the spool."""
        return [name for _, name in self.spool.ids(limit=1000)]

    def files(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.iterdir())


def come_back(server: Redis, *hosts: Host) -> None:
    """Redis is back: every host drains its spool, and the worker does its work."""
    server.away = server.mute = False
    for each in hosts:
        each.drain.look()
        assert each.waiting == []
    hosts[0].world.pass_time(30)

"""A CRM whose answer to each call the test sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crmgate.errors import Code, ProviderError, Unavailable
from crmgate.model import Connection, Delivered, Kind, Operation, Rate
from crmgate.policy import SETTLE_SECONDS, DeliveryMode


class ScriptedCrm:
    """Answers each call with the next of `answers`; an exception is raised, "ok" makes a record."""

    name = "scripted"
    credentials = "c1"
    rate: Rate | None = None
    settle_seconds = SETTLE_SECONDS
    leads_at_once = 0
    delivery = DeliveryMode.EXACTLY_ONCE

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.found: Delivered | None = None
        self.calls: list[tuple[str, str]] = []
        self.record: dict[str, Any] = {}
        self.during: Callable[[], None] = lambda: None
        self.kinds = {*Kind}
        self.connected, self.refused = True, False

    def supports(self, kind: str) -> bool:
        return kind in self.kinds

    def used(self) -> int:
        return 0  # as a plugin with a transport of its own

    def test_connection(self, budget: float) -> Connection:
        self.calls.append(("test", ""))
        return Connection(self.name, self.connected, 1.0, refused=self.refused)

    def deliver(self, operation: Operation, budget: float) -> Delivered:
        assert budget > 0
        self.calls.append(("deliver", operation.id))
        self.during()
        answer = self.answers.pop(0) if self.answers else "ok"
        if isinstance(answer, ProviderError):
            raise answer
        return Delivered(self.name, f"record-{operation.id}", **self.record)

    def find(self, operation: Operation, budget: float) -> Delivered | None:
        self.calls.append(("find", operation.id))
        return self.found


def down() -> Unavailable:
    """The error of a CRM that refuses connections."""
    return Unavailable("no connection", code=Code.CONNECTION_FAILED)

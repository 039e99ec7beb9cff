"""What a delivery needs from outside: the provider, and the limits of attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crmgate.errors import ProviderError
from crmgate.model import Connection, Delivered, Kind, Operation, Rate
from crmgate.policy import JITTER, MAX_RETRY_AFTER, DeliveryMode
from crmgate.store import keys
from crmgate.store.gate import EPIDEMIC_AFTER
from crmgate.store.scripts import ALARM_GRACE

LEASE_MARGIN = 2.0
"""Seconds between the end of an attempt's time budget and the end of its lease."""


class Crm(Protocol):
    """A provider, as deliveries use it. `used`: number of requests that this thread sent since its previous call."""

    @property
    def name(self) -> str: ...
    @property
    def credentials(self) -> str: ...
    @property
    def rate(self) -> Rate | None: ...
    @property
    def settle_seconds(self) -> float: ...
    @property
    def delivery(self) -> DeliveryMode: ...
    def supports(self, kind: Kind) -> bool: ...
    def used(self) -> int: ...
    def test_connection(self, budget: float) -> Connection: ...
    def deliver(self, operation: Operation, budget: float) -> Delivered: ...
    def find(self, operation: Operation, budget: float) -> Delivered | None: ...
    @property
    def leads_at_once(self) -> int: ...
    def create_leads(
        self, operations: Sequence[Operation], budget: float
    ) -> Mapping[str, Delivered | ProviderError | None]: ...
    def find_leads(self, operations: Sequence[Operation], budget: float) -> Mapping[str, Delivered]: ...


@dataclass(frozen=True)
class Plan:
    """Limits of attempts: time budgets inline and in the worker, and delays between attempts, all in seconds.

    `most`: maximum number of attempts at once, 0: no limit. `epidemic_after`: see `Recipient`. `suspects`: age at which
    a suspect is discarded.
    """

    inline_budget: float
    worker_budget: float
    retry_delays: tuple[float, ...]
    most: int = 0
    epidemic_after: int = EPIDEMIC_AFTER
    suspects: float = keys.SUSPECT_SECONDS

    @property
    def longest_lease(self) -> float:
        """The longest duration of a lease, in seconds."""
        return max(self.inline_budget, self.worker_budget) + LEASE_MARGIN

    @property
    def longest_wait(self) -> float:
        """The longest time that an operation may have to wait for its next attempt, in seconds."""
        delays = (delay * (1 + JITTER) for delay in self.retry_delays)
        return max(self.longest_lease, MAX_RETRY_AFTER, *delays) + ALARM_GRACE

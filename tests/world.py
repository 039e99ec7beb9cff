"""A gateway on a real Redis with a clock that the test moves: hours pass in seconds, and nothing sleeps."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from crmgate.delivery.attempt import Delivery, Outcome
from crmgate.delivery.gateway import Gateway
from crmgate.delivery.plan import Plan
from crmgate.errors import AuthFailed, Code, OutcomeUnknown, ProviderError, Unavailable
from crmgate.model import Connection, Delivered, Kind, Operation, Rate
from crmgate.policy import SETTLE_SECONDS, Dead, DeliveryMode, Retry
from crmgate.store.keys import WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message

START = 1_800_000_000.0
PLAN = Plan(inline_budget=2, worker_budget=5, retry_delays=(1, 5, 25))


@contextmanager
def at(ledger: Ledger, moment: float) -> Iterator[None]:
    """Let the clock of the ledger stand at `moment` (seconds since the epoch)."""
    before, ledger.clock = ledger.clock, lambda: moment
    yield
    ledger.clock = before


class Crm:
    """A CRM that the test controls: `trouble` returns the error of a request, each call costs `cost` requests."""

    def __init__(
        self, world: World, name: str = "acme", rate: Rate | None = None, cost: int = 1,
        mode: DeliveryMode = DeliveryMode.EXACTLY_ONCE,
    ) -> None:  # fmt: skip
        self.world, self.name, self.rate, self.cost = world, name, rate, cost
        self.credentials = "c1"
        self.settle_seconds = SETTLE_SECONDS
        self.delivery = mode
        self.kinds: set[str] = {*Kind}
        self.leads_at_once = 0
        self.answers: Callable[[Operation], Delivered | ProviderError | None] = self._created
        """The answer of a batch for one operation; None: it goes alone."""
        self.batches: list[list[str]] = []
        """The ids of the operations that were sent together, batch by batch."""
        self.lost = False
        """Whether the answer of a batch is lost after it was carried out."""
        self.searches: list[list[str]] = []
        self.trouble: Callable[[Operation | None], ProviderError | None] = lambda _operation: None
        self.records: dict[str, str] = {}
        """Operation id -> record id, of everything that was carried out, in that order."""
        self.sent: list[float] = []
        """The time of each request."""
        self.probes: list[float] = []
        self._used = 0

    def supports(self, kind: str) -> bool:
        return kind in self.kinds

    def used(self) -> int:
        used, self._used = self._used, 0
        return used

    def _request(self, operation: Operation | None, requests: int = 1) -> None:
        self._used += requests
        self.sent += [self.world.now] * requests
        if error := self.trouble(operation):
            raise error

    def deliver(self, operation: Operation, budget: float) -> Delivered:
        assert budget > 0
        self._request(operation, self.cost)
        record = operation.lead_id or f"{self.name}-{len(self.records) + 1}"
        assert operation.id not in self.records, "carried out twice"
        self.records[operation.id] = record
        return Delivered(self.name, record)

    def find(self, operation: Operation, budget: float) -> Delivered | None:
        assert budget > 0
        self._request(operation)
        known = self.records.get(operation.id)
        return Delivered(self.name, known, adopted=True) if known else None

    def create_leads(
        self, operations: Sequence[Operation], budget: float
    ) -> dict[str, Delivered | ProviderError | None]:
        assert budget > 0
        self.batches.append([one.id for one in operations])
        self._request(None, self.cost)
        answers = {one.id: self.answers(one) for one in operations}
        if self.lost:
            raise OutcomeUnknown("the answer was lost")
        return answers

    def _created(self, operation: Operation) -> Delivered:
        assert operation.id not in self.records, "carried out twice"
        self.records[operation.id] = f"{self.name}-{len(self.records) + 1}"
        return Delivered(self.name, self.records[operation.id])

    def find_leads(self, operations: Sequence[Operation], budget: float) -> dict[str, Delivered]:
        assert budget > 0
        self.searches.append([one.id for one in operations])
        self._request(None)
        known = [one.id for one in operations if one.id in self.records]
        return {each: Delivered(self.name, self.records[each], adopted=True) for each in known}

    finds_many = True

    def find_many(self, operations: Sequence[Operation], budget: float) -> dict[str, str]:
        assert budget > 0
        self._request(None)
        return {one.id: self.records[one.id] for one in operations if one.id in self.records}

    def test_connection(self, budget: float) -> Connection:
        assert budget > 0
        self.probes.append(self.world.now)
        try:
            self._request(None)
        except ProviderError as error:
            return Connection(self.name, False, 1.0, refused=type(error).__name__ == "AuthFailed")
        return Connection(self.name, True, 1.0)


def away(_operation: Operation | None) -> ProviderError:
    """For `Crm.trouble`: the CRM refuses connections."""
    return Unavailable("no connection", code=Code.CONNECTION_FAILED)


def refused(_operation: Operation | None) -> ProviderError:
    """For `Crm.trouble`: the CRM refuses the credentials."""
    return AuthFailed("401")


def well(_operation: Operation | None) -> None:
    """For `Crm.trouble`: the CRM works."""


TAKE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
if not due then return redis.call('RPOP', KEYS[2]) end
redis.call('ZREM', KEYS[1], due)
return due
"""
"""The next message of a worker: one that is due, else one that waits. One request instead of three."""


class World:
    """One gateway with its worker, its CRM and its clock."""

    def __init__(self, ledger: Ledger, client: redis.Redis, crm: Any = None, **options: Any) -> None:
        """With `crm` as the active provider, by default a `Crm` with these options."""
        self.now, self.redis, self.ledger = START, client, ledger
        ledger.clock = self.clock
        self.crm = crm or Crm(self, **options)
        self.other: dict[str, Crm] = {}
        self.hooks_called: list[str] = []
        """Names of the listener hooks that were called, in order."""
        self.listen: Callable[..., None] = lambda _hook, **_arguments: None
        self.use(self.crm)
        self._sweep_at = self.now
        self._order = itertools.count()
        self._take = client.register_script(TAKE)

    def use(self, crm: Any, most: int = 4) -> None:
        """Make `crm` the active provider: a restart with another configuration."""
        self.crm = crm
        plan = Plan(PLAN.inline_budget, PLAN.worker_budget, PLAN.retry_delays, most)
        self.delivery = Delivery(
            self.ledger, crm, plan, others=self.other.get, rng=random.Random(7), notify=self._hear
        )  # fmt: skip
        self.gateway = Gateway(self.ledger, self.delivery, notify=self._hear, clock=self.clock)

    def clock(self) -> float:
        return self.now

    def _hear(self, hook: str, **arguments: Any) -> None:
        self.hooks_called.append(hook)
        self.listen(hook, **arguments)

    def apply(
        self, number: int = 0, *, session: str = "", inline: bool = False, key: str = "", **more: Any
    ) -> Operation:
        payload = {"first_name": f"Test{number}", "email": f"test{number}@example.com", "session": session} | more
        return self.gateway.submit(Kind.CREATE_LEAD, payload, inline=inline, key=key)

    def click(self, session: str = "", *, inline: bool = False, **more: Any) -> Operation:
        payload = {"channel": "telegram", "session": session} | more
        return self.gateway.submit(Kind.CREATE_MINIMAL_LEAD, payload, inline=inline)

    def stored(self, operation: Operation | str) -> Operation:
        found = self.ledger.get(operation if isinstance(operation, str) else operation.id)
        assert found is not None
        return found

    def states(self, operations: list[Operation]) -> set[str]:
        return {self.stored(operation).state for operation in operations}

    def run(self, operation: Operation) -> Outcome:
        """Attempt the operation, and again whenever a retry is due, until no retry follows."""
        while True:
            outcome = self.delivery.attempt(operation.id)
            if not isinstance(outcome.verdict, Retry):
                return outcome
            self.now += outcome.verdict.delay

    def work(self) -> None:
        """Do what a worker does now: attempt all operations with a wake-up, and sweep every 2 s."""
        while message := self._message():
            self._deliver(json.loads(message)["args"][0])
        if self.now >= self._sweep_at:
            self._sweep_at = self.now + 2
            _, doubtful = self.delivery.tend()
            for name in doubtful:
                self.delivery.probe(name)
            if self.redis.llen(WAKE_LIST):
                self.work()

    def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass, with a worker at work."""
        until = self.now + seconds
        self.work()
        while self.now < until:
            self.now = min(self.now + step, until)
            self.work()

    def set_back(self, seconds: float) -> None:
        """Set the clock of Redis back. The worker goes on with its next sweep."""
        self.now -= seconds
        self._sweep_at = self.now

    def _message(self) -> bytes | None:
        return self._take(keys=[WAKE_SCHEDULE, WAKE_LIST], args=[self.now])  # type: ignore[no-any-return]

    def _deliver(self, operation_id: str) -> Outcome:
        outcome = self.delivery.attempt(operation_id, more=lambda: True)
        following = outcome.following
        while following:
            following = self.delivery.follow(following, more=lambda: True).following
        match outcome.verdict:
            case Retry(delay):
                message = wake_message(operation_id)
                self.redis.zadd(WAKE_SCHEDULE, {message: self.now + delay})
            case Dead():
                self.delivery.record_dead_letter(operation_id)
        if outcome.reason == "exhausted":
            self.delivery.record_dead_letter(operation_id)
        return outcome

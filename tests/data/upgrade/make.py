"""Make `appendonly.aof` and `about.json` beside this file: what an older version of crmgate left in Redis.

Run in a checkout of that version, with its virtual environment: `PYTHONPATH=. python <this file>`. README.md has the
commit.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import redis
from commands import commands
from crmgate.audit import Audit
from crmgate.desk import Desk
from crmgate.inventory import Filter, Inventory
from crmgate.ledger import Ledger
from crmgate.limits import Limit, Limiter, Use
from crmgate.redis_client import connect
from crmgate.retries import Retries
from crmgate.tokens import Scope, Tokens
from crmgate.wakeups import wake_message

from crmgate.errors import Duplicate, OutcomeUnknown, RateLimited, Rejected, Unavailable
from crmgate.model import Kind, Operation
from tests.processes import RedisProcess
from tests.world import World

FOLDER = Path(__file__).parent


class Maker:
    """Fills one Redis; `about` says which operations are which."""

    def __init__(self, world: World, client: redis.Redis) -> None:
        self.world, self.client = world, client
        self.about: dict[str, Any] = {}
        self.troubles: dict[str, Any] = {}
        """Operation id -> the error that the CRM answers with."""
        world.crm.trouble = lambda operation: self.troubles.get(operation.id) if operation else None
        audit = Audit(client, self.clock)
        retries = Retries(client, world.ledger, Inventory(client), world.gateway.to, clock=self.clock)
        self.desk = Desk(world.ledger, world.gateway, retries, audit, self.clock)
        self.tokens = Tokens(client, (), audit, self.clock)

    def clock(self) -> float:
        return self.world.now

    def note(self, name: str, *operations: Operation) -> None:
        self.about[name] = [operation.id for operation in operations]

    def submit(self, number: int, kind: Kind = Kind.CREATE_LEAD, **more: Any) -> Operation:
        options = {name: more.pop(name) for name in ("key", "repeats", "suspect", "inline") if name in more}
        return self.world.gateway.submit(kind, payload(number, kind) | more, **({"inline": False} | options))

    def fill(self) -> None:
        self.delivered()
        self.dead()
        self.suspects()
        self.chain_behind_a_dead_one()
        self.retries()
        self.rest()
        self.waiting()
        self.leased()
        self.outage()

    def delivered(self) -> None:
        done = [self.submit(1), self.submit(2, key="key-of-a-delivered-one", session="known")]
        self.world.work()
        follower = self.submit(3, Kind.CREATE_MINIMAL_LEAD, session="known")
        self.world.pass_time(1)
        self.note("delivered", *done, follower)

    def dead(self) -> None:
        """Rejected ones; one was edited, one released and rejected again."""
        rejected = [self.submit(number) for number in range(10, 15)]
        self.troubles |= {one.id: Rejected("The CRM refuses it.", status=400) for one in rejected}
        self.world.pass_time(1)
        self.desk.amend(self.desk.get(rejected[1].id), payload(11) | {"city": "Ankara"}, "ada")
        self.desk.retry(rejected[2].id, "ada")
        self.world.pass_time(1)
        self.desk.discard(rejected[4].id, "a test", "bob")
        self.note("rejected", *rejected[:4])
        self.note("discarded", rejected[4])
        many = self.submit(15)
        self.troubles[many.id] = Rejected("The CRM refuses it.", status=400)
        for _ in range(60):
            self.world.pass_time(1)
            self.desk.retry(many.id, "ada")
        self.world.pass_time(1)
        self.note("rejected_often", many)

    def suspects(self) -> None:
        self.note("suspects", *(self.submit(number, suspect=True) for number in (20, 21)))

    def chain_behind_a_dead_one(self) -> None:
        first = self.submit(30, session="blocked")
        self.troubles[first.id] = Rejected("The CRM refuses it.", status=400)
        click = self.submit(31, Kind.CREATE_MINIMAL_LEAD, session="blocked")
        update = self.submit(32, session="blocked", email="test30@example.com")
        self.world.pass_time(1)
        self.note("behind_a_dead_one", first, click, update)

    def retries(self) -> None:
        """One job that was cancelled, and one that has begun."""
        dead = [self.submit(number) for number in range(40, 43)]
        self.troubles |= {one.id: Duplicate("Known.", status=409) for one in dead}
        self.world.pass_time(1)
        self.desk.cancel_retries(self.desk.start_retries(Filter(code="duplicate"), "ada").id, "bob")
        self.about["job"] = self.desk.start_retries(Filter(code="duplicate"), "ada").id
        self.note("in_the_job", *dead)

    def rest(self) -> None:
        token, text = self.tokens.new("site", Scope.READ, "ada")
        assert self.tokens.verify(text)
        self.about["token"] = {"id": token.id, "text": text}
        Limiter(self.client).take([Use("applications", "192.0.2.7", Limit(60, 86400))])
        self.world.ledger.count_lost_clicks({"full": 2})
        self.world.ledger.beat("worker:1")

    def waiting(self) -> None:
        """Of every kind, in `due`: a time to wait for, an attempt whose outcome is not known, a chain."""
        late = self.submit(50)
        self.troubles[late.id] = RateLimited("Later.", retry_after=40.0, status=429)
        unknown = self.submit(51)
        self.troubles[unknown.id] = OutcomeUnknown("No answer.")
        update = self.submit(2, session="known", city="Ankara")
        self.troubles[update.id] = RateLimited("Later.", retry_after=40.0, status=429)
        click = self.submit(52, Kind.CREATE_MINIMAL_LEAD, session="known")
        minimal = self.submit(53, Kind.CREATE_MINIMAL_LEAD, session="new", key="key-of-a-waiting-one")
        self.troubles[minimal.id] = RateLimited("Later.", retry_after=40.0, status=429)
        follower = self.submit(54, Kind.CREATE_MINIMAL_LEAD, session="new")
        self.world.work()
        self.note("waiting", late, unknown, update, click, minimal, follower)
        self.note("chains", update, click, minimal, follower)

    def leased(self) -> None:
        """One that the CRM has, and one that it has not: their worker died before it could write that down."""
        there, not_there = self.submit(60), self.submit(61)
        for operation in (there, not_there):
            assert self.world.ledger.claim(
                operation.id, self.world.gateway.to, f"lease-{operation.id}", now=self.world.now, seconds=9.5, pause=30
            ).lease  # type: ignore[union-attr]
        self.world.crm.records[there.id] = "acme-60"
        self.note("leased", there, not_there)

    def outage(self) -> None:
        """A dead letter of the outage, and what is held until it ends."""
        self.submit(69)  # the last one that works: failures are counted from here
        self.world.pass_time(0)
        unlucky = self.submit(70)
        self.troubles[unlucky.id] = Unavailable("Away.", status=503)
        self.world.pass_time(0)
        for wait in (1.5, 6, 26):
            self.world.now += wait
            self.deliver(unlucky)
        assert self.world.stored(unlucky).state == "dead"
        last = self.submit(71)
        self.troubles[last.id] = Unavailable("Away.", status=503)
        self.deliver(last)
        click = self.submit(73, Kind.CREATE_MINIMAL_LEAD, session="held")
        held = [self.submit(72), click, self.submit(74, inline=True)]
        behind = self.submit(75, session="held")
        self.note("outage", unlucky)
        self.note("held", last, *held)
        self.note("behind_a_held_one", click, behind)

    def records(self) -> dict[str, Any]:
        """How the older version reads each operation, without its payload and the text of its attempts."""
        ids = [one.decode() for one in self.client.zrange("{crmgate}:ids", 0, -1)]
        return {one: described(self.world.stored(one)) for one in ids}

    def deliver(self, operation: Operation) -> None:
        self.world._deliver(operation.id)


def described(operation: Operation) -> dict[str, Any]:
    names = (
        "kind",
        "state",
        "accepted_at",
        "due_at",
        "behind",
        "ahead_of",
        "lead_id",
        "provider",
        "dead_at",
        "version",
    )
    facts = {name: getattr(operation, name) for name in names if getattr(operation, name)}
    return facts | {"attempts": [f"{attempt.at:.0f} {attempt.outcome}" for attempt in operation.attempts]}


def payload(number: int, kind: Kind = Kind.CREATE_LEAD) -> dict[str, Any]:
    if kind == Kind.CREATE_MINIMAL_LEAD:
        return {"channel": "telegram", "referral_code": f"REF{number}", "occurred_at": "2027-01-15T08:00:00.000Z"}
    return {"first_name": f"Test{number}", "last_name": "Öğrenci", "email": f"test{number}@example.com"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisProcess(Path(folder))
        server.start()
        try:
            with redis.Redis.from_url(server.url) as client:
                maker = Maker(World(Ledger(connect(server.url), wake_message), client), client)
                maker.fill()
                maker.about |= {
                    "now": maker.world.now,
                    "in_the_crm": maker.world.crm.records,
                    "operations": maker.records(),
                }
                (FOLDER / "about.json").write_text(json.dumps(maker.about) + "\n")
                (FOLDER / "appendonly.aof").write_bytes(commands(client, server.log.parent / "appendonly.aof"))
        finally:
            server.kill()


if __name__ == "__main__":
    main()

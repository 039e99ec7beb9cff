"""Make `appendonly.aof` and `about.json` beside this file: what the version before this one left in Redis.

Run in a checkout of that version: `PYTHONPATH=.:<folder above> python <this file>`, with a redis-server 6.2 on the
PATH. The README.md above has the commit.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import redis
from commands import commands

from crmgate.errors import OutcomeUnknown, Rejected, Unavailable
from crmgate.model import Kind, Operation
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from crmgate.store.client import connect
from crmgate.store.ledger import Ledger
from crmgate.store.tokens import Scope, Tokens
from crmgate.store.wakeups import wake_message
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
        retries = Retries(client, world.ledger, Inventory(client), world.delivery.recipient)
        self.desk = Desk(world.ledger, world.gateway, world.delivery, retries)

    def fill(self) -> None:
        for part in (self.delivered, self.dead, self.job, self.suspects, self.others, self.leased, self.outage):
            part()

    def note(self, name: str, *operations: Operation) -> None:
        self.about[name] = [operation.id for operation in operations]

    def submit(self, number: int, kind: Kind = Kind.CREATE_LEAD, **more: Any) -> Operation:
        options = {name: more.pop(name) for name in ("key", "suspect") if name in more}
        return self.world.gateway.submit(kind, payload(number, kind) | more, inline=False, **options)

    def delivered(self) -> None:
        lead = self.submit(1, session="known", key="key-of-a-delivered-one")
        click = self.submit(2, Kind.CREATE_MINIMAL_LEAD, session="known")
        self.world.pass_time(1)
        self.note("delivered", lead, click)

    def dead(self) -> None:
        """Refused ones: one edited, one retried and refused again, one discarded."""
        refused = [self.refused(number, f"field{number}") for number in range(10, 14)]
        self.desk.amend(self.desk.get(refused[1].id), payload(11) | {"city": "Ankara"}, "ada")
        self.desk.retry(refused[2].id, "ada")
        self.world.pass_time(1)
        self.desk.discard(refused[3].id, "a test", "bob")
        self.note("dead", *refused[:3])
        self.note("discarded", refused[3])

    def refused(self, number: int, field: str) -> Operation:
        operation = self.submit(number)
        self.troubles[operation.id] = Rejected("The CRM refuses it.", fields={field: "no"}, status=400)
        self.world.pass_time(1)
        assert self.world.stored(operation).state == "dead"
        return operation

    def job(self) -> None:
        """A job that has begun, and one that was cancelled."""
        dead = [self.refused(number, f"other{number}") for number in (20, 21)]
        self.desk.cancel_retries(self.desk.start_retries(Filter(code="timeout"), "ada").id, "bob")
        wanted = Filter(code="invalid_value", accepted_from=dead[0].accepted_at)
        self.about["job"] = self.desk.start_retries(wanted, "ada").id
        self.note("in_the_job", *dead)

    def suspects(self) -> None:
        self.note("suspects", *(self.submit(number, suspect=True) for number in (30, 31)))

    def others(self) -> None:
        token, text = Tokens(self.client, (), Audit(self.client), self.world.clock).new("site", Scope.READ, "ada")
        self.about["token"] = {"id": token.id, "text": text}
        self.world.ledger.count_lost_clicks({"full": 2})
        self.world.ledger.beat("worker:1")

    def leased(self) -> None:
        """One that the CRM has, and one that it has not: their worker died before it could record that."""
        there, not_there = self.submit(40), self.submit(41)
        for operation in (there, not_there):
            claim = self.world.ledger.claim(operation.id, self.world.delivery.recipient, operation.id, seconds=9.5)
            assert claim.lease  # type: ignore[union-attr]
        self.world.crm.records[there.id] = "acme-40"
        self.note("leased", there, not_there)

    def outage(self) -> None:
        """Operations of every kind that wait, also for each other; one whose outcome is unknown; a dead letter."""
        unlucky = self.submit(51)
        self.troubles[unlucky.id] = Unavailable("Away.", status=503)
        for wait in (0, 1.5, 6, 27):
            self.world.now += wait
            self.deliver(unlucky)
        assert self.world.stored(unlucky).state == "dead"
        lost = self.submit(50)
        self.troubles[lost.id] = OutcomeUnknown("No answer.")
        self.world.crm.records[lost.id] = "acme-50"
        self.deliver(lost)
        update = self.submit(1, session="known", city="Oslo")
        click = self.submit(52, Kind.CREATE_MINIMAL_LEAD, session="new", key="key-of-a-waiting-one")
        follower = self.submit(53, Kind.CREATE_MINIMAL_LEAD, session="new")
        applied = self.submit(54, session="new")
        person = [self.submit(55, additional_info=text) for text in ("first", "second")]
        for operation in (update, click, follower):
            self.deliver(operation)
        self.note("dead_of_the_outage", unlucky)
        self.note("waiting", lost, update, click, follower, applied, *person)
        self.note("chains", click, follower, applied)
        self.note("person", *person)

    def records(self) -> dict[str, Any]:
        """How the version reads each operation, without its payload and the text of its attempts."""
        ids = [each.decode() for each in self.client.zrange("{crmgate}:ids", 0, -1)]
        return {each: described(self.world.stored(each)) for each in ids}

    def deliver(self, operation: Operation) -> None:
        self.world._deliver(operation.id)


def described(operation: Operation) -> dict[str, Any]:
    names = (
        "kind", "state", "accepted_at", "due_at", "behind", "ahead_of", "lead_id", "provider", "dead_at", "version",
    )  # fmt: skip
    facts = {name: getattr(operation, name) for name in names if getattr(operation, name)}
    return facts | {"attempts": [f"{event.at:.0f} {event.outcome}" for event in operation.events]}


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
                world = maker.world
                about = maker.about | {"now": world.now, "in_the_crm": world.crm.records, "operations": maker.records()}
                (FOLDER / "about.json").write_text(json.dumps(about) + "\n")
                (FOLDER / "appendonly.aof").write_bytes(commands(client, server.log.parent / "appendonly.aof"))
        finally:
            server.kill()


if __name__ == "__main__":
    main()

"""A gateway that uses every key in Redis and every script: for tests about all keys, or all scripts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import redis

from crmgate.delivery import identity
from crmgate.errors import AuthFailed, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Activity, Kind, Operation, Suspicion, new_id
from crmgate.operators.archive import Archive
from crmgate.operators.backups import Backups
from crmgate.operators.connection_test import ConnectionTest
from crmgate.operators.desk import Desk
from crmgate.operators.expiry import Expiry
from crmgate.operators.inventory import Filter, Inventory
from crmgate.operators.persons import Persons
from crmgate.operators.reconcile import Reconcile
from crmgate.operators.retries import Retries
from crmgate.operators.rotation import Rotation
from crmgate.store import keys
from crmgate.store.access_tokens import AccessTokens
from crmgate.store.audit import Audit
from crmgate.store.backup import BackupStore
from crmgate.store.clock import Clocks
from crmgate.store.figures import Figures
from crmgate.store.ledger import Ledger
from crmgate.store.limits import Limit, Limiter, Use
from crmgate.store.persons import PersonIndex
from crmgate.store.reconciled import KeptPayloads, ReconcileBook
from crmgate.store.rewrite import Rewriter
from crmgate.store.sessions import Sessions
from crmgate.store.spool import Spooled
from crmgate.store.stored import StoredPayloads
from crmgate.store.tokens import Scope, Tokens
from crmgate.store.vault import Vault, new_key
from crmgate.store.watch import Watchbook
from tests.dead_letters import add_dead_letters
from tests.world import World

Look = Callable[[], object]


def _pattern(row: keys.Key) -> re.Pattern[str]:
    return re.compile(re.escape(keys.PREFIX) + re.sub(r"<\w+>", r"[\\w.-]+", row.name))


PATTERNS = {row: _pattern(row) for row in keys.TABLE}


def rows(name: str) -> list[keys.Key]:
    """The rows of the table of keys that a key belongs to: one, or none if it is not documented."""
    return [row for row, pattern in PATTERNS.items() if pattern.fullmatch(name)]


def use(ledger: Ledger, client: redis.Redis, look: Look = lambda: None) -> None:
    """Use every part of the store; `look` is called after each step, and while an attempt is under way."""
    world = World(ledger, client)
    retries = Retries(client, ledger, Inventory(client), world.delivery.recipient)
    desk = Desk(ledger, world.gateway, world.delivery, retries)
    for step in (_deliver, _deliver_together, _fail, _break_down, _refuse):
        step(world, look)
    for change in (_pause, _change, _retry_many, _erase):
        change(world, desk, look)
    _repair(world, look)
    _keep_the_rest(world, look)


def _trouble(world: World, look: Look, error: ProviderError | None) -> None:
    def trouble(_operation: Operation | None) -> ProviderError | None:
        look()
        return error

    world.crm.trouble = trouble


def _deliver(world: World, look: Look) -> None:
    """Submit queued and inline, with a session, with a key, and as suspects, one more than are kept."""
    _trouble(world, look, None)
    world.apply(1, session="s")
    world.click("s")
    look()
    world.pass_time(1)
    world.gateway.submit(Kind.CREATE_LEAD, {"first_name": "Jane"}, inline=True, key="k")
    for number in (2, 3):
        world.gateway.submit(Kind.CREATE_LEAD, {"first_name": f"Bot{number}"}, inline=False, suspect=Suspicion.HONEYPOT)
    look()
    world.ledger.drop_suspects(1, world.delivery.recipient)


def _deliver_together(world: World, look: Look) -> None:
    world.crm.leads_at_once = 50
    world.use(world.crm)
    several = [world.apply(number) for number in range(30, 33)]
    alone = several[0].id
    world.crm.answers = lambda one: None if one.id == alone else world.crm._created(one)
    world.work()
    look()
    assert world.states(several) == {"delivered"}
    world.crm.leads_at_once = 0
    world.use(world.crm)


def _fail(world: World, look: Look) -> None:
    """A failed inline attempt, and a dead letter of an outage."""
    _trouble(world, look, Unavailable("away"))
    world.apply(4, inline=True)
    look()
    world.pass_time(40)
    look()


def _break_down(world: World, look: Look) -> None:
    """An outage, and its end."""
    held = [world.apply(number) for number in range(10, 16)]
    world.pass_time(10)
    look()
    _trouble(world, look, None)
    world.pass_time(60)
    assert world.states(held) == {"delivered"}


def _refuse(world: World, look: Look) -> None:
    """Refused credentials, and a rate limit."""
    for number, error in ((20, AuthFailed("no")), (21, RateLimited("slowly"))):
        _trouble(world, look, error)
        refused = world.apply(number)
        world.pass_time(1)
        look()
        assert world.delivery.resume() in ("refused", "limited")
        _trouble(world, look, None)
        world.pass_time(60)
        assert world.states([refused]) == {"delivered"}


def _pause(world: World, desk: Desk, look: Look) -> None:
    """A pause of an operator."""
    desk.pause("ada")
    waiting = world.apply(25)
    world.pass_time(10)
    look()
    assert world.states([waiting]) == {"waiting"}
    desk.resume("ada")
    world.pass_time(1)
    assert world.states([waiting]) == {"delivered"}


def _change(world: World, desk: Desk, look: Look) -> None:
    """An edit, a retry, and a retry that is discarded after it died again."""
    _trouble(world, look, Rejected("no"))
    rejected = world.apply(30, session="t")
    world.click("t")
    world.pass_time(1)
    looked_at = desk.get(rejected.id)
    desk.amend(looked_at, {**looked_at.payload, "city": "Ankara"}, "ada")
    desk.retry(rejected.id, "ada")
    world.pass_time(1)
    desk.discard(rejected.id, "a test", "ada")
    look()


def _retry_many(world: World, desk: Desk, look: Look) -> None:
    add_dead_letters(world.ledger, 3, at=world.now)
    world.now += 10
    desk.cancel_retries(desk.start_retries(Filter(), "ada").id, "ada")
    desk.start_retries(Filter(), "ada")
    while desk.retries.step() is not None:
        look()


def _erase(world: World, _desk: Desk, look: Look) -> None:
    """Bring an operation of the previous version into the index of persons, and erase a person."""
    audit, index = Audit(world.redis, world.clock), PersonIndex(world.redis, world.ledger)
    persons = Persons(
        index, world.ledger, Inventory(world.redis), world.gateway, audit, "TR", KeptPayloads(world.redis)
    )
    index.renew()
    persons.erase(persons.contact("test30@example.com"), "ada")
    look()


def _drain_a_repetition(world: World) -> None:
    """Record a submission from the spool that repeats one that Redis has."""
    first = world.apply(41, key="k41")
    repeated = Operation(new_id(), Kind.CREATE_LEAD, first.payload, world.now)
    world.gateway.record_spooled(Spooled(repeated, identity.once(repeated, None, "k41", 0)))
    world.pass_time(1)


def _back_up(world: World) -> None:
    """Make a backup, and restore it where everything is there already."""
    store = BackupStore(world.redis, world.ledger, world.delivery.recipient)
    backups = Backups(store, Inventory(world.redis), world.ledger, Audit(world.redis, world.clock))
    file = io.BytesIO()
    backups.make(file, None, "ada")
    assert backups.restore(Archive.open(file, None), "ada", merge=True).operations == 0


def _repair(world: World, look: Look) -> None:
    """Keep the payload of an operation, find that its record is gone, and send it again."""
    ledger, client, crm = world.ledger, world.redis, world.crm
    _trouble(world, look, None)
    ledger.keep = 60.0
    lost = world.apply(40)
    world.pass_time(1)
    look()
    del crm.records[lost.id]
    world.pass_time(20)
    book: Any = ReconcileBook(client, ledger)
    reconcile = Reconcile(
        ledger, Inventory(client), book, KeptPayloads(client), crm, world.delivery.recipient  # type: ignore[arg-type]
    )  # fmt: skip
    report = reconcile.daily("w")
    assert report is not None
    assert report.missing == 1
    reconcile.repair(report, [lost.id], "ada")
    book.begin("w")
    look()
    world.pass_time(1)
    assert world.states([lost]) == {"delivered"}


def _keep_the_rest(world: World, look: Look) -> None:
    ledger, client = world.ledger, world.redis
    crm: Any = world.crm
    world.crm.trouble = lambda _operation: None
    tokens = Tokens(client, (), Audit(client))
    token, text = tokens.new("site", Scope.READ, "ada")
    tokens.verify(text)
    sessions = Sessions(client, tokens, Audit(client))
    sessions.begin(token)
    sessions.new_code(token, "ada")
    Limiter(client).take([Use("applications", "192.0.2.7", Limit.parse("1/day"))])
    ConnectionTest(client, crm, 1.0).result()
    Figures(client).count_lost_clicks({"full": 1})
    ledger.count_click(Activity("telegram"))
    ledger.refile("", ["x"])
    ledger.beat("w")
    Clocks(client).note()
    Rewriter(client).daily()
    _expire_and_encrypt(world)
    book = Watchbook(client)
    book.hold("p")
    book.announce("worker_missing", world.now)
    assert ledger.health()[0].ok
    _drain_a_repetition(world)
    access = AccessTokens(client)
    access.write("c0ffee", "{}", 60)
    with access.locked("c0ffee", 60):
        look()
    _back_up(world)


def _expire_and_encrypt(world: World) -> None:
    """An old dead letter is discarded, and what waits is encrypted."""
    inventory = Inventory(world.redis)
    add_dead_letters(world.ledger, at=world.now - 40 * 86_400, email="old@example.com")
    assert Expiry(world.ledger, inventory, world.delivery.recipient, 30).discard_old()
    world.apply(90)
    vault = Vault([new_key()])
    rotation = Rotation(StoredPayloads(world.redis, world.ledger), inventory, vault, Audit(world.redis))
    assert sum(step.encrypted for step in rotation.steps("ada"))
    world.ledger.vault = vault
    world.pass_time(1)
    world.ledger.vault = Vault()

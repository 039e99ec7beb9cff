"""The index of persons: what is found by an email or phone, until when, and that an erasure leaves no trace."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis

from crmgate.errors import Rejected
from crmgate.model import Kind, Operation, State, Suspicion
from crmgate.operators.inventory import Inventory
from crmgate.operators.persons import Erasure, PersonData, Persons
from crmgate.schemas.faults import InvalidFields
from crmgate.schemas.typed_contact import Contact
from crmgate.store import keys
from crmgate.store.audit import Audit
from crmgate.store.keys import RECEIPT_SECONDS, SESSION_SECONDS, digest
from crmgate.store.ledger import Ledger
from crmgate.store.persons import PersonIndex
from crmgate.store.reconciled import KeptPayloads
from crmgate.store.wakeups import wake_message
from tests.world import World, away, well

EMAIL, PHONE, NAME = "ada.canary@example.com", "+905321234567", "Adacanary"
ADA: dict[str, Any] = {"first_name": NAME, "email": EMAIL, "phone": PHONE}


class Office:
    """An operator of a world."""

    def __init__(self, world: World) -> None:
        self.world, self.redis = world, world.redis
        self.audit = Audit(world.redis, world.clock)
        self.index = PersonIndex(world.redis, world.ledger)
        inventory = Inventory(world.redis)
        self.persons = Persons(
            self.index, world.ledger, inventory, world.gateway, self.audit, "TR", KeptPayloads(world.redis)
        )

    def apply(self, **more: Any) -> Operation:
        return self.world.gateway.submit(Kind.CREATE_LEAD, ADA | more, inline=False)

    def find(self, typed: str = EMAIL) -> PersonData:
        return self.persons.find(self.persons.contact(typed), "ops")

    def references(self) -> tuple[str, ...]:
        return self.index.references([digest(f"who {word}") for word in (EMAIL, PHONE)])

    def ids(self, typed: str = EMAIL) -> set[str]:
        return {operation.id for operation in self.find(typed).operations}

    def erase(self, typed: str = EMAIL) -> Erasure:
        return self.persons.erase(self.persons.contact(typed), "ops")

    def indexes(self) -> list[str]:
        return sorted(name.decode() for name in self.redis.scan_iter(match=keys.person("*")))

    def everything(self) -> str:
        """The names and values of all keys in Redis."""
        return "\n".join(f"{name} {self._value(name)}" for name in self.redis.scan_iter(count=1000))

    def _value(self, name: bytes) -> Any:
        match self.redis.type(name):
            case b"hash":
                return self.redis.hgetall(name)
            case b"zset":
                return self.redis.zrange(name, 0, -1, withscores=True)
            case b"list":
                return self.redis.lrange(name, 0, -1)
            case b"stream":
                return self.redis.xrange(name)
            case b"set":
                return self.redis.smembers(name)
            case _:
                return self.redis.get(name)


@pytest.fixture
def office(ledger: Ledger, redis_client: redis.Redis) -> Office:
    return Office(World(ledger, redis_client))


@pytest.mark.parametrize("typed", ["", " ", "nobody", "a@b@c", "ada@", "99", "++", "x" * 5000, "\x00", "ada@example"])
def test_what_is_no_contact_is_refused_and_not_repeated(office: Office, typed: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        office.persons.contact(typed)
    [error] = refused.value.errors
    assert error.field == "contact"
    assert not typed.strip() or typed not in error.message


def test_nobody_is_found_in_an_empty_redis(office: Office) -> None:
    assert office.find() == PersonData((), (), ())
    assert [*office.redis.scan_iter()] == [keys.AUDIT.encode()], "the search is an entry in the audit log"
    assert office.erase().complete


@pytest.mark.parametrize("typed", ["ADA.Canary@Example.COM ", "0532 123 45 67", "+90 (532) 123-4567", "00905321234567"])
def test_a_person_is_found_in_any_spelling(office: Office, typed: str) -> None:
    made = office.apply()
    office.apply(email="other@example.com", phone="+905330000000")
    assert office.ids(typed) == {made.id}


def test_a_session_is_found_by_each_email_of_its_person_as_long_as_it_is_kept(office: Office) -> None:
    office.apply(session="visit")
    office.world.work()
    office.world.now += SESSION_SECONDS / 2
    office.world.crm.trouble = away
    office.apply(session="visit", email="ada@second.example.com")
    [visit] = office.find("ada@second.example.com").sessions
    forgotten_at = [office.redis.zscore(keys.person(one), f"s:{visit.digest}") for one in office.references()]
    assert forgotten_at == [office.world.now + SESSION_SECONDS] * 2


def test_every_kind_of_operation_is_found_and_counted(office: Office) -> None:
    world = office.world
    click = world.click("visit")
    done = office.apply(session="visit")
    after = world.click("visit")
    assert office.ids() == {click.id, done.id, after.id}, "the clicks of the person's session, before and after"
    world.pass_time(5)
    office.apply(session="visit", city="Izmir")
    world.pass_time(5)
    world.crm.trouble = lambda _operation: Rejected("no")
    office.apply(city="dead")
    world.pass_time(5)
    world.gateway.submit(Kind.CREATE_LEAD, ADA | {"city": "bot"}, inline=False, suspect=Suspicion.HONEYPOT)
    world.crm.trouble = away
    office.apply(city="waits")
    found = office.find()
    assert found.counts() == {
        "waiting": 1,
        "dead_letters": 1,
        "suspects": 1,
        "ended": 4,
        "sessions": 1,
        "kept_payloads": 0,
        "spooled": 0,
    }
    assert [one.accepted_at for one in found.operations] == sorted(o.accepted_at for o in found.operations)[::-1]
    assert {record.record_id for record in found.records} == {"acme-1"}
    assert found.sessions[0].record_id == "acme-1"
    assert office.persons.of(found.references[0]) == list(found.operations)
    assert office.persons.of("p" + "0" * 31) == office.persons.of(EMAIL) == []


def test_an_index_has_no_expiry_before_the_end_and_expires_with_the_receipt(office: Office) -> None:
    world = office.world
    world.crm.trouble = away
    first, second = office.apply(), office.apply(city="Izmir")
    email, phone = office.indexes()
    assert {office.redis.ttl(name) for name in (email, phone)} == {-1}
    world.crm.trouble = lambda operation: None if operation and operation.id == first.id else away(operation)
    world.pass_time(8)
    assert world.states([first, second]) == {"delivered", "waiting"}
    assert office.redis.ttl(email) == -1, "the second one waits"
    world.crm.trouble = well
    world.pass_time(120)
    assert world.states([first, second]) == {"delivered"}
    assert 0 < office.redis.ttl(email) <= RECEIPT_SECONDS  # type: ignore[operator]
    world.now += RECEIPT_SECONDS - 1
    third = office.apply(city="Van")
    world.now += 1000
    office.apply(city="Bursa")
    assert first.id.encode() not in office.redis.zrange(email, 0, -1), "its receipt has expired"  # type: ignore[operator]
    assert third.id in office.ids()


def test_a_session_is_found_for_as_long_as_it_is_kept(office: Office) -> None:
    office.apply(session="visit")
    office.world.pass_time(2)
    assert [RECEIPT_SECONDS < office.redis.ttl(name) <= SESSION_SECONDS for name in office.indexes()] == [True, True]  # type: ignore[operator]


def test_an_edit_moves_an_operation_to_its_new_person(office: Office) -> None:
    office.world.crm.trouble = away
    made = office.apply(session="visit")
    office.world.pass_time(3)
    stored = office.world.stored(made)
    payload = {**stored.payload, "email": "new@example.com"}
    event, entry = stored.events[0], _entry()
    people = [digest("who new@example.com"), digest(f"who {PHONE}")]
    assert office.world.ledger.amend(stored, payload, event, entry, people=people) == "amended"
    assert (office.ids(), office.ids("new@example.com"), office.ids(PHONE)) == (set(), {made.id}, {made.id})


def _entry() -> Any:
    from crmgate.store.audit import Action, made

    return made(0, "ops", Action.EDIT, "x")


def test_processes_share_one_key_and_it_is_no_plain_digest(office: Office, redis_client: redis.Redis) -> None:
    first = office.apply()
    other = World(Ledger(redis_client, wake_message), redis_client)
    second = other.gateway.submit(Kind.CREATE_LEAD, ADA | {"city": "Izmir"}, inline=False)
    assert office.ids() == {first.id, second.id}
    before = office.indexes()
    redis_client.flushdb()
    other.gateway.submit(Kind.CREATE_LEAD, ADA, inline=False)
    assert office.ids()
    assert not set(before) & set(office.indexes()), "another Redis, another key"


def test_no_plain_digest_of_a_person_outlives_the_operation(office: Office) -> None:
    plain = [digest(f"who {word}") for word in (EMAIL, PHONE)]
    office.apply(session="visit")
    assert all(word in office.everything() for word in plain), "the order of operations needs it"
    office.world.pass_time(5)
    assert [word for word in plain if word in office.everything()] == []
    office.apply(session="visit", city="Izmir")
    office.world.pass_time(5)
    assert len(office.world.crm.records) == 2
    assert len(set(office.world.crm.records.values())) == 1, "it is still known to be the session's person"


def test_operations_of_the_previous_version_come_into_the_index(office: Office) -> None:
    world = office.world
    plain = " ".join(digest(f"who {word}") for word in (EMAIL, PHONE))
    done = office.apply(session="visit")
    world.pass_time(3)
    world.crm.trouble = away
    waits = office.apply(session="visit", city="Izmir")
    world.gateway.submit(Kind.CREATE_LEAD, ADA | {"city": "bot"}, inline=False, suspect=Suspicion.HONEYPOT)
    visit = digest("session visit")
    for name in [*office.indexes(), keys.PERSON_KEY]:
        office.redis.delete(name)
    for operation in office.redis.zrange(keys.OPS, 0, -1):  # type: ignore[union-attr]
        office.redis.hdel(keys.op(operation.decode()), "persons")
    office.redis.hset(keys.op(done.id), "lines", f"{visit} {plain}")
    office.redis.hset(keys.session(visit), "who", plain)
    assert office.ids() == set()
    assert (office.index.renew(), office.index.renew()) == (3, 0)
    assert office.find().counts() == {
        "waiting": 1,
        "dead_letters": 0,
        "suspects": 1,
        "ended": 1,
        "sessions": 1,
        "kept_payloads": 0,
        "spooled": 0,
    }
    assert {done.id, waits.id} < office.ids()
    assert office.redis.hget(keys.session(visit), "who") == " ".join(office.references()).encode()
    assert office.redis.hget(keys.op(done.id), "lines") is None
    world.crm.trouble = well
    world.pass_time(60)
    assert set(world.crm.records.values()) == {"acme-1"}, "still the lead of the session"


def test_what_a_process_of_the_previous_version_ended_does_not_stay_in_the_index(office: Office) -> None:
    made = office.apply()
    record = keys.op(made.id)
    office.redis.hset(record, "state", "delivered")
    office.redis.hdel(record, "payload")
    office.redis.expire(record, 100)
    assert office.index.renew() == 1
    assert [0 < office.redis.ttl(name) <= 100 for name in office.indexes()] == [True, True]  # type: ignore[operator]
    assert office.redis.hget(record, "lines") is None


def test_an_erasure_leaves_what_is_under_way_and_then_the_rest(office: Office) -> None:
    world = office.world
    busy = office.apply(session="visit")
    waits = office.apply(city="Izmir", session="visit")
    world.ledger.claim(busy.id, world.delivery.recipient, "L", seconds=20)
    first = office.erase()
    assert (first.discarded, first.left, first.complete) == (1, (busy.id,), False)
    assert world.stored(waits).state == "discarded"
    assert world.stored(busy).payload["email"] == EMAIL
    assert office.ids() == {busy.id}
    world.now += 30
    world.pass_time(60)
    second = office.erase()
    assert (second.discarded, second.left, second.complete) == (0, (), True)
    assert [record.record_id for record in second.found.records] == ["acme-1"]
    assert (office.find().operations, office.find().sessions) == ((), ())


def test_an_erasure_removes_what_the_index_has_of_operations_that_are_gone(office: Office) -> None:
    made = office.apply()
    office.redis.delete(keys.op(made.id))  # ended by a process of the previous version, and expired
    assert office.indexes()
    assert office.erase("test@example.com").complete
    assert office.erase().complete
    assert office.redis.zscore(office.indexes()[0], made.id) is not None, "the phone is another contact"
    office.erase(PHONE)
    assert office.indexes() == []


def test_an_erasure_touches_nobody_else(office: Office) -> None:
    office.world.crm.trouble = away
    office.apply(session="ada")
    other = office.apply(first_name="Eve", email="eve@example.com", phone="+905330000000", session="eve")
    shared = office.apply(first_name="Bob", email="bob@example.com", session="bob")
    office.erase()
    assert office.ids("eve@example.com") == {other.id}
    assert office.find("eve@example.com").sessions
    assert office.ids("bob@example.com") == office.ids(PHONE) == {shared.id}, "the phone is Bob's as well"
    assert office.world.states([other, shared]) == {"waiting"}


def test_after_delivery_and_erasure_nothing_of_a_person_is_left(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = office.world
    world.click("visit", metadata={"page": f"/{NAME}"})
    office.apply(session="visit")
    world.pass_time(5)
    world.crm.trouble = lambda _operation: Rejected(f"{EMAIL} is wrong")
    office.apply(city="dead", session="visit")
    world.pass_time(5)
    world.gateway.submit(Kind.CREATE_LEAD, ADA, inline=False, suspect=Suspicion.HONEYPOT, key="k")
    world.crm.trouble = away
    office.apply(city="waits")
    world.pass_time(10)
    references = office.find().references
    kept = office.everything()
    assert [word for word in (EMAIL, PHONE, NAME) if word not in kept] == []
    caplog.clear()  # the stand-in for the CRM masks nothing in its errors, unlike the caller of a plugin
    done = office.erase()
    assert (done.discarded, done.complete) == (3, True)
    after = office.everything() + caplog.text
    traces = [EMAIL, PHONE, PHONE[3:], NAME, NAME.lower(), *references, *(digest(f"who {w}") for w in (EMAIL, PHONE))]
    assert [trace for trace in traces if trace in after] == []
    assert office.indexes() == []
    entry = office.audit.recent(1)[0]
    assert (entry.who, entry.what, entry.on) == ("ops", "persons.erase", "person")
    numbers, _, discarded = entry.detail.partition("; ")
    assert numbers == "1 waiting, 1 dead letters, 1 suspects, 2 ended, 1 sessions, 0 kept payloads, 0 spooled"
    assert discarded == "3 discarded"


def test_an_export_has_everything_and_is_audited_without_the_person(office: Office) -> None:
    office.apply(session="visit")
    office.world.pass_time(3)
    office.world.crm.trouble = away
    office.apply(city="Izmir")
    data = office.persons.export(office.persons.contact(PHONE), "ops")
    assert data["contact"] == {"phone": PHONE}
    assert [operation["payload"].get("city") for operation in data["operations"]] == ["Izmir", None]
    assert [attempt["outcome"] for attempt in data["operations"][1]["attempts"]] == ["delivered"]
    assert data["sessions"] == [{"provider": "acme", "lead_id": "acme-1", "url": ""}]
    [entry] = office.audit.recent()
    assert EMAIL not in str(entry)
    assert (entry.what, entry.detail) == (
        "persons.export", "1 waiting, 0 dead letters, 0 suspects, 1 ended, 1 sessions, 0 kept payloads, 0 spooled",
    )  # fmt: skip


class TestKeptPayloads:
    """With PAYLOAD_KEEP the payload of a delivered operation is data of the person, too."""

    @pytest.fixture
    def done(self, office: Office) -> Operation:
        office.world.ledger.keep = 3600.0
        made = office.apply()
        office.world.pass_time(3)
        assert office.world.stored(made).state == State.DELIVERED
        return made

    def test_are_counted_and_exported(self, office: Office, done: Operation) -> None:
        contact = Contact("email", EMAIL)
        assert office.persons.find(contact, "ops").counts()["kept_payloads"] == 1
        [exported] = office.persons.export(contact, "ops")["operations"]
        assert (exported["id"], exported["payload"]) == (done.id, ADA)

    def test_are_erased(self, office: Office, done: Operation) -> None:
        assert NAME in office.everything()
        assert office.persons.erase(Contact("email", EMAIL), "ops").complete
        assert office.redis.exists(keys.kept(done.id)) == 0
        assert not any(word in office.everything() for word in (NAME, EMAIL, PHONE))

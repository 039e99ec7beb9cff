"""Operations that the previous version left in Redis are read, delivered, edited and retried like those of this one.

tests/data/upgrade/README.md says how the data were made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from crmgate.errors import ChangedMeanwhile, KeyReused
from crmgate.model import Kind, State, new_id
from crmgate.operators.desk import Desk
from crmgate.operators.inventory import Filter, Inventory, code_of
from crmgate.operators.retries import Retries
from crmgate.store.audit import Audit
from crmgate.store.causes import Causes
from crmgate.store.tokens import Tokens
from tests.integration.older import DATA, Older, described, history
from tests.world import World

OLDER = Older(DATA)
ABOUT, ids = OLDER.about, OLDER.ids
PAYLOADS = {
    "key-of-a-delivered-one": (
        Kind.CREATE_LEAD,
        {"first_name": "Test2", "last_name": "Öğrenci", "email": "test2@example.com", "session": "known"},
    ),
    "key-of-a-waiting-one": (
        Kind.CREATE_MINIMAL_LEAD,
        {"channel": "telegram", "referral_code": "REF53", "occurred_at": "2027-01-15T08:00:00.000Z", "session": "new"},
    ),
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    """A client of a Redis that starts with the older version's data."""
    with OLDER.client(tmp_path) as client:
        yield client


@pytest.fixture
def world(client: redis.Redis) -> World:
    return OLDER.world(client)


@pytest.fixture
def desk(world: World, client: redis.Redis) -> Desk:
    retries = Retries(client, world.ledger, Inventory(client), world.delivery.recipient)
    return Desk(world.ledger, world.gateway, world.delivery, retries)


def test_every_record_reads_as_before(world: World) -> None:
    assert len(ABOUT["operations"]) >= 30
    for operation, expected in ABOUT["operations"].items():
        assert described(world.stored(operation)) == expected


def test_all_that_waits_is_delivered_once_and_in_order(world: World) -> None:
    """Waiting, held, behind another one or a dead one, in a dead worker's hands, and the dead letter of the outage."""
    before = list(world.crm.records)
    waiting = ids("waiting", "chains", "leased", "held", "behind_a_held_one", "outage") + ABOUT["behind_a_dead_one"][1:]
    world.pass_time(180)
    assert world.states(waiting) == {"delivered"}  # type: ignore[arg-type]
    sent = list(world.crm.records)[len(before) :]
    assert sorted(sent) == sorted(set(waiting) - set(before)), "none twice, and nothing else"
    for first, second in (ABOUT["chains"][:2], ABOUT["chains"][2:], ABOUT["behind_a_held_one"]):
        assert sent.index(first) < sent.index(second)
        assert world.crm.records[second] == world.crm.records[first], "about the lead of its session"


def test_a_history_goes_on_where_it_was(world: World) -> None:
    [dead] = ABOUT["outage"]
    before = world.stored(dead)
    world.pass_time(180)
    after = world.stored(dead)
    assert history(after)[: len(before.events)] == history(before)
    assert [event.outcome for event in after.events[len(before.events) :]] == ["returned", "delivered"]
    assert after.version == before.version + 2


def test_dead_letters_are_listed_edited_and_released_and_let_the_others_go(world: World, desk: Desk) -> None:
    dead = ids("rejected", "rejected_often", "in_the_job", "outage") + ABOUT["behind_a_dead_one"][:1]
    listed = Inventory(world.redis).page(Filter(state="dead")).items
    assert sorted(operation.id for operation in listed) == sorted(dead)
    first = desk.get(ABOUT["behind_a_dead_one"][0])
    edited = desk.amend(first, {**first.payload, "city": "Ankara"}, "ada")
    assert (edited.version, edited.payload["city"]) == (first.version + 1, "Ankara")
    with pytest.raises(ChangedMeanwhile):
        desk.amend(first, {**first.payload, "last_name": "Other"}, "bob")
    desk.retry(first.id, "ada")
    world.pass_time(180)
    sent = [operation for operation in world.crm.records if operation in ABOUT["behind_a_dead_one"]]
    assert sent == ABOUT["behind_a_dead_one"]
    assert history(world.stored(first.id))[-3:] == [
        f"{ABOUT['now'] + 60:.0f} edited", f"{ABOUT['now'] + 60:.0f} released",
        f"{world.stored(first.id).events[-1].at:.0f} delivered",
    ]  # fmt: skip


def test_the_dead_letters_are_counted_by_cause(world: World) -> None:
    causes, dead = Causes(world.redis), ids("rejected", "rejected_often", "in_the_job", "outage")
    dead += ABOUT["behind_a_dead_one"][:1]
    assert (causes.groups().indexed, causes.groups().dead) == (0, len(dead))
    by_code = Filter(state=State.DEAD, code=code_of(world.stored(dead[0])))
    before = {operation.id for operation in Inventory(world.redis).all(by_code)}
    assert causes.repair(world.ledger.refile) == len(dead)
    assert causes.groups().complete
    assert {operation.id for operation in Inventory(world.redis).all(by_code)} == before
    assert dead[0] in before


def test_a_long_history_keeps_its_first_and_its_last_events(world: World, desk: Desk) -> None:
    [often] = ABOUT["rejected_often"]
    before = world.stored(often)
    desk.retry(often, "ada")
    world.pass_time(180)
    after = world.stored(often)
    assert (after.state, after.version) == ("delivered", before.version + 2)
    assert history(after)[:10] == history(before)[:10]
    assert history(after)[10:-2] == history(before)[12:], "the two oldest of the last ones made room"


def test_a_discarded_one_lets_the_next_make_the_lead(world: World, desk: Desk) -> None:
    first, click, update = ABOUT["behind_a_dead_one"]
    desk.discard(first, "a test", "ada")
    world.pass_time(180)
    assert (world.stored(click).kind, world.stored(update).kind) == ("create_minimal_lead", "update_lead")
    assert world.crm.records[click] == world.crm.records[update]
    assert first not in world.crm.records


def test_a_suspect_is_released(world: World, desk: Desk) -> None:
    for suspect in ABOUT["suspects"]:
        assert desk.retry(suspect, "ada").state == "waiting"
    world.pass_time(180)
    assert world.states(ABOUT["suspects"]) == {"delivered"}


def test_an_idempotency_key_still_stands_for_its_submission(world: World) -> None:
    expected = {"key-of-a-delivered-one": ABOUT["delivered"][1], "key-of-a-waiting-one": ABOUT["chains"][2]}
    for key, (kind, payload) in PAYLOADS.items():
        again = world.gateway.submit(kind, payload, inline=True, key=key)
        assert again.id == expected[key]
        with pytest.raises(KeyReused):
            world.gateway.submit(kind, payload | {"referral_code": "OTHER"}, inline=True, key=key)


def test_a_session_still_knows_its_lead(world: World) -> None:
    world.pass_time(180)
    payload = PAYLOADS["key-of-a-waiting-one"][1] | {"referral_code": "REF99"}
    follower = world.gateway.submit(Kind.CREATE_MINIMAL_LEAD, payload, inline=True)
    assert (follower.kind, follower.state) == ("log_activity", "delivered")
    assert world.crm.records[follower.id] == world.crm.records[ABOUT["chains"][2]]


def test_a_job_that_had_begun_goes_on(world: World, desk: Desk) -> None:
    while desk.retries.step() is not None:
        world.pass_time(1)
    world.pass_time(180)
    assert world.states(ABOUT["in_the_job"]) == {"delivered"}
    job = desk.retries.get(ABOUT["job"])
    assert job is not None
    assert (job.state, job.released, job.who) == ("finished", 3, "ada")


def test_what_an_old_process_writes_meanwhile_is_understood(world: World, client: redis.Redis) -> None:
    """During an upgrade both versions attempt one operation."""
    first = world.apply(90, session="both")
    second = world.apply(90, session="both", city="Ankara")
    record = f"{{crmgate}}:op:{first.id}"
    for number, outcome in enumerate(("failed", "released"), 1):
        note_as_before(client, record, number, outcome)
    assert history(world.stored(first)) == ["1 failed", "2 released"]
    world.ledger.claim(first.id, world.delivery.recipient, "L", seconds=1)
    assert (history(world.stored(first)), world.stored(first).version) == (["1 failed", "2 released"], 2)
    note_as_before(client, record, 3, "failed")
    assert client.hget(record, "tries") == b"1", "the older version counts from the start"
    assert (history(world.stored(first)), world.stored(first).version) == (["1 failed", "2 released", "3 failed"], 3)
    third = new_id()
    accept_as_before(client, third, behind=second.id, session=client.hget(record, "session"))
    world.pass_time(120)
    sent = [operation for operation in world.crm.records if operation in (first.id, second.id, third)]
    assert sent == [first.id, second.id, third]
    assert history(world.stored(first))[:3] == ["1 failed", "2 released", "3 failed"]
    assert world.stored(first).version == 4
    assert (world.stored(second).ahead_of, world.stored(third).behind) == (third, "")


def test_an_old_process_keeps_the_order_of_what_this_version_accepted(world: World, client: redis.Redis) -> None:
    """It looks for the one that goes first in the field `after`."""
    first = world.apply(91, session="order")
    second = world.click("order")
    assert client.hget(f"{{crmgate}}:op:{second.id}", "after") == first.id.encode()


def test_what_this_version_accepts_waits_for_what_the_older_one_accepted(world: World) -> None:
    """The older version recorded no lines: the last operation of a session, and those before it, come into one."""
    payload = PAYLOADS["key-of-a-waiting-one"][1]
    third = world.gateway.submit(Kind.CREATE_MINIMAL_LEAD, payload | {"referral_code": "REF99"}, inline=True)
    assert world.stored(third).behind == ABOUT["chains"][3]
    world.pass_time(180)
    sent = [operation for operation in world.crm.records if operation in (*ABOUT["chains"][2:], third.id)]
    assert sent == [*ABOUT["chains"][2:], third.id]
    assert [*world.redis.scan_iter("{crmgate}:line:*")] == []


def test_a_discarded_last_operation_of_the_older_version_hides_none_before_it(world: World, desk: Desk) -> None:
    payload = PAYLOADS["key-of-a-waiting-one"][1]
    desk.discard(ABOUT["chains"][3], "a test", "ada")
    later = world.gateway.submit(Kind.CREATE_MINIMAL_LEAD, payload | {"referral_code": "REF99"}, inline=True)
    assert world.stored(later).behind == ABOUT["chains"][2]


def note_as_before(client: redis.Redis, record: str, time: int, outcome: str) -> None:
    """Add an event to a history as the older version does."""
    number = client.hincrby(record, "tries", 1)
    event = {"at": time, "duration": 0.1, "provider": "acme", "outcome": outcome}
    client.hset(record, f"attempt:{number}", json.dumps(event))


def accept_as_before(client: redis.Redis, operation: str, *, behind: str, session: bytes | None) -> None:
    """Accept a click that waits for another operation as the older version does."""
    assert session is not None
    fields: dict[str, Any] = {
        "kind": "log_activity", "payload": '{"channel": "telegram"}', "accepted_at": ABOUT["now"] + 60,
        "state": "waiting", "after": behind, "session": session,
    }  # fmt: skip
    client.hset(f"{{crmgate}}:op:{operation}", mapping=fields)
    client.hset(f"{{crmgate}}:op:{behind}", "next", operation)
    client.zadd("{crmgate}:due", {operation: ABOUT["now"] + 120})


def test_tokens_and_the_audit_trail_are_still_there(client: redis.Redis) -> None:
    token = Tokens(client, (), Audit(client)).verify(ABOUT["token"]["text"])
    assert token is not None
    assert (token.id, token.name, token.scope) == (ABOUT["token"]["id"], "site", "read")
    entries = Audit(client).recent(200)
    assert entries[0].what == "tokens.new"
    assert {"dead_letters.retry", "dead_letters.edit", "dead_letters.discard", "dead_letters.retries.start"} <= {
        entry.what for entry in entries
    }

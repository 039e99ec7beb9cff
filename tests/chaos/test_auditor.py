"""The auditor sees what is wrong: forged evidence, one forgery at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.chaos.auditor import (
    BURIED_LIMIT,
    CLOSED,
    HELD_LIMIT,
    REASON,
    Complaint,
    Evidence,
    Lead,
    Letter,
    Note,
    Trial,
    audit,
    dead_letters,
    last_arrival,
    read_leads,
    read_letters,
    read_operations,
)
from tests.chaos.crm import Disk
from tests.processes import RedisProcess

STORED = Note("stored@example.com", True, 10.0, 11.0, "a1", (201,))
WAITS = Note("waits@example.com", True, 10.0, 12.0, "b2", (0, 503, 409, 202))
GONE = Note("gone@example.com", False, 10.0, 11.0, "", (503,))
WELL = Evidence(
    (STORED, WAITS, GONE),
    (Lead(STORED.email, 10.5), Lead(WAITS.email, 15.0)),
    {"a1": "delivered", "b2": "delivered"},
)


def complaints(evidence: Evidence) -> list[tuple[str, str]]:
    return [(complaint.what, complaint.who.split()[0]) for complaint in audit(evidence)]


def test_when_all_is_well_it_says_nothing() -> None:
    assert audit(WELL) == []


def test_a_submission_without_an_answer_may_have_one_lead_or_none() -> None:
    assert audit(replace(WELL, leads=(*WELL.leads, Lead(GONE.email, 20.0)))) == []


def test_a_lead_without_a_record_is_unrecorded() -> None:
    assert complaints(replace(WELL, operations={"b2": "delivered"})) == [("unrecorded", STORED.email)]


@pytest.mark.parametrize("note", [STORED, WAITS], ids=["201", "202"])
def test_a_missing_lead_is_lost(note: Note) -> None:
    left = tuple(lead for lead in WELL.leads if lead.email != note.email)
    assert complaints(replace(WELL, leads=left)) == [("lost", note.email)]


def test_what_still_waits_is_unfinished_and_not_lost() -> None:
    waiting = replace(WELL, leads=WELL.leads[:1], operations={"a1": "delivered", "b2": "waiting"})
    assert [complaint.what for complaint in audit(waiting)] == ["unfinished"]


@pytest.mark.parametrize("note", [STORED, WAITS, GONE], ids=["201", "202", "503"])
def test_a_second_lead_is_a_duplicate_whatever_the_answer(note: Note) -> None:
    doubled = (*WELL.leads, Lead(note.email, 30.0), Lead(note.email, 31.0))
    assert complaints(replace(WELL, leads=doubled)) == [("duplicated", note.email)]


def test_a_201_before_the_lead_exists_is_early() -> None:
    late = (Lead(STORED.email, 11.5), WELL.leads[1])
    assert complaints(replace(WELL, leads=late)) == [("early", STORED.email)]


@pytest.mark.parametrize("state", ["accepted", "delivering", "waiting", "dead"])
def test_an_operation_that_is_stuck_is_named_with_its_state(state: str) -> None:
    stuck = audit(replace(WELL, operations={"a1": "delivered", "b2": state}))
    assert [str(complaint) for complaint in stuck] == [f"unfinished: b2 ({state}) an operation is not delivered"]


def test_a_202_without_a_record_is_unrecorded() -> None:
    assert complaints(replace(WELL, operations={"a1": "delivered"})) == [("unrecorded", WAITS.email)]


def test_a_lead_without_a_submission_is_named() -> None:
    assert audit(replace(WELL, leads=(*WELL.leads, Lead("who@example.com", 1.0)))) == [
        Complaint("stranger", "who@example.com")
    ]


@pytest.mark.parametrize("status", [400, 422, 500])
def test_an_answer_that_no_fault_excuses_is_reported(status: int) -> None:
    notes = (replace(STORED, statuses=(status, 201)), WAITS, GONE)
    assert complaints(replace(WELL, notes=notes)) == [("refused", STORED.email)]


def test_a_client_that_insists_has_to_be_answered_in_the_end() -> None:
    notes = (STORED, WAITS, replace(GONE, persistent=True))
    assert complaints(replace(WELL, notes=notes)) == [("unanswered", GONE.email)]


def test_recovery_looks_at_what_was_under_way_during_a_fault() -> None:
    assert last_arrival(WELL, 11.5, 13.0) == 15.0
    assert last_arrival(WELL, 9.0, 10.0) == 0.0


REFUSED = Note(f"eve{CLOSED}", True, 10.0, 11.0, "c3", (202,))
BURIED = replace(
    WELL, notes=(*WELL.notes, REFUSED), operations={**WELL.operations, "c3": "dead"},
    letters={"c3": Letter(REFUSED.email, f'{{"detail": "{REASON}"}}')},
)  # fmt: skip
ALONE = Trial("it refuses one record", "record", 9.0, 20.0, 1.0, 20.0, frozenset({"c3"}), 1)
EVERYBODY = Trial("it refuses everybody", "everybody", 9.0, 20.0, 1.0, 20.0, frozenset(), BURIED_LIMIT)


def test_what_the_crm_refuses_for_good_ends_as_a_dead_letter_with_its_reason() -> None:
    assert audit(BURIED) == []
    silent = replace(BURIED, letters={"c3": Letter(REFUSED.email, '{"detail": "no permission"}')})
    assert complaints(silent) == [("unexplained", REFUSED.email)]


@pytest.mark.parametrize("state", ["waiting", "delivering"])
def test_what_the_crm_refuses_for_good_may_not_wait_for_ever(state: str) -> None:
    waits = replace(BURIED, operations={**WELL.operations, "c3": state}, letters={})
    assert complaints(waits) == [("unfinished", "c3")]


def test_a_refused_lead_with_the_answer_201_is_a_complaint() -> None:
    assert complaints(replace(BURIED, notes=(*WELL.notes, replace(REFUSED, statuses=(201,))))) == [
        ("early", REFUSED.email)
    ]


def test_a_dead_letter_of_somebody_else_is_unfinished_whatever_its_reason() -> None:
    dead = replace(WELL, operations={"a1": "delivered", "b2": "dead"}, letters={"b2": Letter(WAITS.email, REASON)})
    assert complaints(dead) == [("unfinished", "b2")]


def test_one_record_in_trouble_holds_nobody_up() -> None:
    assert audit(replace(BURIED, trials=(ALONE,))) == []
    late = (WELL.leads[0], Lead(WAITS.email, WAITS.sent_at + HELD_LIMIT + 0.1))
    assert complaints(replace(BURIED, leads=late, trials=(ALONE,))) == [("held", "it")]
    assert audit(replace(BURIED, leads=late, trials=(replace(ALONE, began=11.0),))) == [], "it was sent before"
    assert audit(replace(BURIED, leads=late, trials=(EVERYBODY,))) == [], "everybody waits for everybody's trouble"


def test_a_trouble_of_everybody_makes_no_dead_letter() -> None:
    assert audit(replace(WELL, trials=(EVERYBODY,))) == []
    assert complaints(replace(WELL, trials=(replace(EVERYBODY, made=frozenset({"b2"})),))) == [("buried", "it")]
    assert complaints(replace(WELL, trials=(replace(EVERYBODY, most=BURIED_LIMIT + 1),))) == [("many", "it")]


def test_it_reads_the_databases_of_both_crms(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "crm.sqlite")
    disk.save("Lead", "1", {"emailAddress": "ada@example.com"})
    disk.save("Lead", "2", {"emailAddress": "old@example.com", "deleted": True})
    disk.save("Call", "3", {"name": "no lead"})
    phone, email = {"typeId": "PHONE", "value": "+90"}, {"typeId": "EMAIL", "value": "eve@example.com"}
    disk.save("lead", 4, {"fm": [phone, email], "originId": "a1"})
    disk.save("lead", 5, {"fm": [email], "originId": None})
    assert [lead.email for lead in read_leads("espocrm", tmp_path / "crm.sqlite")] == ["ada@example.com"]
    assert [lead.email for lead in read_leads("bitrix", tmp_path / "crm.sqlite")] == ["eve@example.com"]


def test_it_reads_the_states_in_redis(redis_client: redis.Redis, redis_process: RedisProcess) -> None:
    redis_client.hset("{crmgate}:op:a1", mapping={"state": "waiting", "kind": "create_lead"})
    redis_client.zadd("{crmgate}:due", {"a1": 1.0})
    redis_client.set("{crmgate}:same:b2", "a1")
    redis_client.set("{crmgate}:same:c3", "forgotten")
    assert read_operations(redis_process.url) == {"a1": "waiting", "b2": "waiting"}


def test_it_reads_the_dead_letters_in_redis(redis_client: redis.Redis, redis_process: RedisProcess) -> None:
    events = {f"event:{number}": f'{{"detail": "number {number}"}}' for number in (1, 2, 10)}
    redis_client.hset("{crmgate}:op:a1", mapping={"state": "dead", "payload": '{"email": "a@b.example"}', **events})
    redis_client.zadd("{crmgate}:dead", {"a1": 1.0})
    assert dead_letters(redis_process.url) == {"a1"}
    assert read_letters(redis_process.url) == {"a1": Letter("a@b.example", '{"detail": "number 10"}')}

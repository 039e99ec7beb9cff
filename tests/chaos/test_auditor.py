"""The auditor sees what is wrong: forged evidence, one forgery at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests.chaos.auditor import Complaint, Evidence, Lead, Note, audit, last_arrival, read_leads, read_operations
from tests.chaos.crm import Disk
from tests.processes import RedisProcess

TOLD = Note("told@example.com", True, 10.0, 11.0, "a1", (201,))
WAITS = Note("waits@example.com", True, 10.0, 12.0, "b2", (0, 503, 409, 202))
GONE = Note("gone@example.com", False, 10.0, 11.0, "", (503,))
WELL = Evidence(
    (TOLD, WAITS, GONE),
    (Lead(TOLD.email, 10.5), Lead(WAITS.email, 15.0)),
    {"a1": "delivered", "b2": "delivered"},
)


def complaints(evidence: Evidence) -> list[tuple[str, str]]:
    return [(complaint.what, complaint.who.split()[0]) for complaint in audit(evidence)]


def test_when_all_is_well_it_says_nothing() -> None:
    assert audit(WELL) == []


def test_a_submission_without_an_answer_may_have_one_lead_or_none() -> None:
    assert audit(replace(WELL, leads=(*WELL.leads, Lead(GONE.email, 20.0)))) == []


def test_a_lead_confirmed_while_redis_was_away_needs_no_record() -> None:
    assert audit(replace(WELL, operations={"b2": "delivered"})) == []


@pytest.mark.parametrize("note", [TOLD, WAITS], ids=["201", "202"])
def test_a_missing_lead_is_lost(note: Note) -> None:
    left = tuple(lead for lead in WELL.leads if lead.email != note.email)
    assert complaints(replace(WELL, leads=left)) == [("lost", note.email)]


def test_what_still_waits_is_unfinished_and_not_lost() -> None:
    waiting = replace(WELL, leads=WELL.leads[:1], operations={"a1": "delivered", "b2": "waiting"})
    assert [complaint.what for complaint in audit(waiting)] == ["unfinished"]


@pytest.mark.parametrize("note", [TOLD, WAITS, GONE], ids=["201", "202", "503"])
def test_a_second_lead_is_a_duplicate_whatever_was_told(note: Note) -> None:
    doubled = (*WELL.leads, Lead(note.email, 30.0), Lead(note.email, 31.0))
    assert complaints(replace(WELL, leads=doubled)) == [("duplicated", note.email)]


def test_201_before_the_lead_is_there_is_a_lie() -> None:
    late = (Lead(TOLD.email, 11.5), WELL.leads[1])
    assert complaints(replace(WELL, leads=late)) == [("early", TOLD.email)]


@pytest.mark.parametrize("state", ["accepted", "delivering", "waiting", "dead"])
def test_an_operation_that_is_stuck_is_named_with_its_state(state: str) -> None:
    stuck = audit(replace(WELL, operations={"a1": "delivered", "b2": state}))
    assert [str(complaint) for complaint in stuck] == [f"unfinished: b2 ({state}) an operation is not delivered"]


def test_202_without_a_record_is_a_promise_that_nobody_keeps() -> None:
    assert complaints(replace(WELL, operations={"a1": "delivered"})) == [("unrecorded", WAITS.email)]


def test_a_lead_that_nobody_sent_is_a_stranger() -> None:
    assert audit(replace(WELL, leads=(*WELL.leads, Lead("who@example.com", 1.0)))) == [
        Complaint("stranger", "who@example.com")
    ]


@pytest.mark.parametrize("status", [400, 422, 500])
def test_an_answer_that_no_fault_excuses_is_told(status: int) -> None:
    notes = (replace(TOLD, statuses=(status, 201)), WAITS, GONE)
    assert complaints(replace(WELL, notes=notes)) == [("refused", TOLD.email)]


def test_a_client_that_insists_has_to_be_answered_in_the_end() -> None:
    notes = (TOLD, WAITS, replace(GONE, persistent=True))
    assert complaints(replace(WELL, notes=notes)) == [("unanswered", GONE.email)]


def test_recovery_looks_at_what_was_under_way_during_a_fault() -> None:
    assert last_arrival(WELL, 11.5, 13.0) == 15.0
    assert last_arrival(WELL, 9.0, 10.0) == 0.0


def test_it_reads_the_databases_of_both_crms(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "crm.sqlite")
    disk.save("Lead", "1", {"emailAddress": "ada@example.com"})
    disk.save("Lead", "2", {"emailAddress": "old@example.com", "deleted": True})
    disk.save("Call", "3", {"name": "no lead"})
    phone, email = {"typeId": "PHONE", "value": "+90"}, {"typeId": "EMAIL", "value": "eve@example.com"}
    disk.save("lead", 4, {"fm": [phone, email]})
    assert [lead.email for lead in read_leads("espocrm", tmp_path / "crm.sqlite")] == ["ada@example.com"]
    assert [lead.email for lead in read_leads("bitrix", tmp_path / "crm.sqlite")] == ["eve@example.com"]


def test_it_reads_the_states_in_redis(redis_client: redis.Redis, redis_process: RedisProcess) -> None:
    redis_client.hset("{crmgate}:op:a1", mapping={"state": "waiting", "kind": "create_lead"})
    redis_client.zadd("{crmgate}:due", {"a1": 1.0})
    assert read_operations(redis_process.url) == {"a1": "waiting"}

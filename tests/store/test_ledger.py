"""The ledger on a real Redis: what it holds it never lets go of, and only one holder at a time may speak for it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.model import Activity, Delivered, Event, Kind, Operation, State, Suspicion, new_id
from crmgate.store import keys
from crmgate.store.client import connect
from crmgate.store.entries import Announcement, Claim, GateEvent, NotClaimed, Recorded, Result, Swept, Written
from crmgate.store.gate import Cause, Gate, Recipient
from crmgate.store.keys import RECEIPT_SECONDS, WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.ledger import Ledger
from crmgate.store.scripts import ALARM_GRACE
from crmgate.store.wakeups import wake_message
from tests import world
from tests.processes import RedisProcess

NOW = 1_800_000_000.0
FAILED = Result(Event(NOW, 0.5, "espocrm", "failed", "timeout"))
AWAY = replace(FAILED, event=GateEvent("unavailable"), outage=True)
REFUSED = Result(
    Event(NOW, 0.5, "espocrm", "failed", "bad_credentials", counted=False),
    event=GateEvent("login_refused", "bad_credentials"),
)
INVALID = Result(
    Event(NOW, 0.5, "espocrm", "failed", "invalid_value"), event=GateEvent("refusal", "invalid_value city")
)
LIMITED = Result(Event(NOW, 0.5, "espocrm", "failed", "rate_limited", counted=False), event=GateEvent("limited"))
WELL = Result(Event(NOW, 0.5, "espocrm", "delivered"), event=GateEvent("delivered"))
ESPO, BITRIX = Recipient("espocrm", "c1"), Recipient("bitrix", "c1")
RECORD = Delivered("espocrm", "6b03", "https://crm.example.com/#Lead/view/6b03")


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """A ledger whose clock stands."""
    ledger.clock = lambda: NOW
    return ledger


def operation(**changes: object) -> Operation:
    payload = {"first_name": "Ayşe", "email": "canary@example.com"}
    return replace(Operation(new_id(), Kind.CREATE_LEAD, payload, NOW), **changes)  # type: ignore[arg-type]


def accept(ledger: Ledger, *, at: float = NOW, **options: object) -> Operation:
    accepted = operation(accepted_at=at)
    with world.at(ledger, at):
        assert ledger.accept(accepted, ESPO, **({"alarm": 0} | options)).what != "exists"  # type: ignore[arg-type]
    return accepted


def claim(ledger: Ledger, operation_id: str, lease: str = "L1", now: float = NOW) -> Claim | NotClaimed:
    with world.at(ledger, now):
        return ledger.claim(operation_id, ESPO, lease, seconds=20)


def stored(ledger: Ledger, operation_id: str) -> Operation:
    found = ledger.get(operation_id)
    assert found is not None
    return found


def sweep(ledger: Ledger, now: float, again: float = 8, **options: int) -> Swept:
    with world.at(ledger, now):
        return ledger.sweep(ESPO, again=again, lease=20, wait=900, **options)


def probe(ledger: Ledger, began: float, *, ok: bool) -> Recorded:
    """Record a connection test that took a second."""
    with world.at(ledger, began + 1):
        return ledger.record_probe(ESPO, began=began, ok=ok, refused=not ok, used=1)


def lease(operation: Operation, token: str) -> Claim:
    """The lease that an earlier claim got."""
    return Claim(operation, token, look_first=False, counted=0, at=NOW)


def verify(ledger: Ledger) -> None:
    """Let the credentials in use prove themselves: those that never worked are tried by one operation at a time."""
    for to in (ESPO, BITRIX):
        first = operation()
        ledger.accept(first, to, alarm=0, lease="V", seconds=8)
        ledger.record_delivered(lease(first, "V"), to, WELL, RECORD)


def alarm(client: redis.Redis, operation_id: str) -> float | None:
    return client.zscore("{crmgate}:due", operation_id)  # type: ignore[return-value]


def held(client: redis.Redis) -> list[str]:
    return [member.decode() for member in client.zrange("{crmgate}:held:espocrm", 0, -1)]  # type: ignore[union-attr]


def tried(client: redis.Redis) -> list[str]:
    return [member.decode() for member in client.zrange("{crmgate}:tried:espocrm", 0, -1)]  # type: ignore[union-attr]


def test_accepting_twice_keeps_the_first(ledger: Ledger) -> None:
    first = accept(ledger)
    assert ledger.accept(replace(first, payload={"first_name": "Other"}), ESPO, alarm=0).what == "exists"
    assert ledger.get(first.id) == first
    assert ledger.stats()["accepted"] == 1


def test_accepted_operation_can_be_read_back_whole(ledger: Ledger) -> None:
    accepted = accept(ledger)
    assert ledger.get(accepted.id) == accepted


def test_accept_wakes_a_worker_in_the_same_step(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = operation()
    assert ledger.accept(accepted, ESPO, alarm=0).what == "accepted"
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(accepted.id)]


def test_no_key_of_an_unfinished_operation_expires(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, delay=5, look=False)
    figures = (keys.hour("").encode(), keys.day("").encode())
    names = [name for name in redis_client.scan_iter() if not name.startswith(figures)]
    assert {redis_client.ttl(name) for name in names} == {-1}


def test_every_key_shares_the_hash_tag(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, delay=5, look=False, wake=True)
    claim(ledger, accepted.id, "L2", NOW + 5)
    ledger.record_held(lease(accepted, "L2"), ESPO, REFUSED, look=False)
    ledger.beat("w")
    names = redis_client.keys()
    assert len(names) == 15
    assert all(name.startswith(b"{crmgate}:") for name in names)


def test_only_one_of_many_gets_the_lease(ledger: Ledger) -> None:
    accepted = accept(ledger)
    answers: list[Claim | NotClaimed] = []
    barrier = threading.Barrier(16)

    def compete(number: int) -> None:
        barrier.wait()
        answers.append(claim(ledger, accepted.id, f"L{number}"))

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(answer, Claim) for answer in answers) == 1
    assert answers.count(NotClaimed("leased")) == 15


def test_claim_repeated_by_its_holder_is_granted_again(ledger: Ledger) -> None:
    """The client repeats a command whose answer was lost with the connection."""
    accepted = accept(ledger)
    assert isinstance(claim(ledger, accepted.id, "L1"), Claim)
    assert isinstance(claim(ledger, accepted.id, "L1"), Claim)


def test_a_lease_that_ran_out_is_taken_over_and_the_crm_is_asked_first(ledger: Ledger) -> None:
    accepted = accept(ledger)
    first = claim(ledger, accepted.id, "L1")
    assert isinstance(first, Claim)
    assert not first.look_first
    assert claim(ledger, accepted.id, "L2", NOW + 19) == NotClaimed("leased")
    second = claim(ledger, accepted.id, "L2", NOW + 21)
    assert isinstance(second, Claim)
    assert second.look_first


def test_an_inline_lease_is_taken_with_the_accept(ledger: Ledger) -> None:
    accepted = accept(ledger, lease="WEB", seconds=8)
    assert claim(ledger, accepted.id, "L1", NOW + 7) == NotClaimed("leased")
    late = claim(ledger, accepted.id, "L1", NOW + 9)
    assert isinstance(late, Claim)
    assert late.look_first


def test_the_holder_of_a_lost_lease_cannot_report_a_failure(ledger: Ledger) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id, "L1")
    claim(ledger, accepted.id, "L2", NOW + 21)
    late = lease(accepted, "L1")
    assert ledger.record_waiting(late, ESPO, AWAY, delay=99, look=False).written is Written.LOST
    assert ledger.record_held(late, ESPO, REFUSED, look=False).written is Written.LOST
    assert ledger.record_dead(late, ESPO, INVALID, look=False).written is Written.LOST
    assert ledger.gate(ESPO) == Gate(), "nor does it say anything about the provider"
    stored = ledger.get(accepted.id)
    assert stored is not None
    assert (stored.state, stored.events) == (State.DELIVERING, ())


def test_a_confirmation_is_recorded_without_the_lease(ledger: Ledger) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id, "L1")
    claim(ledger, accepted.id, "L2", NOW + 21)
    assert ledger.record_delivered(lease(accepted, "L1"), ESPO, WELL, RECORD).written is Written.DELIVERED
    assert ledger.record_delivered(lease(accepted, "L2"), ESPO, WELL, RECORD).written is Written.ENDED
    assert ledger.stats()["delivered"] == 1


def test_a_delivered_operation_leaves_a_receipt_without_personal_data(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_delivered(lease(accepted, "L1"), ESPO, WELL, RECORD)
    receipt = ledger.get(accepted.id)
    assert receipt is not None
    assert (receipt.state, receipt.delivered, receipt.payload) == ("delivered", RECORD, {})
    assert receipt.events == (WELL.attempt,)
    key = f"{{crmgate}}:op:{accepted.id}"
    assert 0 < redis_client.ttl(key) <= RECEIPT_SECONDS  # type: ignore[operator]
    assert b"canary" not in b"".join(redis_client.hgetall(key).values())  # type: ignore[union-attr]
    assert alarm(redis_client, accepted.id) is None
    assert claim(ledger, accepted.id, "L2") == NotClaimed("delivered")


def test_a_waiting_operation_is_claimed_when_due_and_not_before(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, delay=5, look=True)
    assert alarm(redis_client, accepted.id) == NOW + 5 + ALARM_GRACE
    assert claim(ledger, accepted.id, "L2", NOW + 4.9) == NotClaimed("early")
    again = claim(ledger, accepted.id, "L2", NOW + 5)
    assert isinstance(again, Claim)
    assert (again.look_first, again.counted, again.operation.events) == (True, 1, (FAILED.attempt,))


def test_a_failed_inline_attempt_schedules_its_retry_in_the_same_step(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    accepted = accept(ledger, lease="WEB", seconds=8)
    message = wake_message(accepted.id)
    ledger.record_waiting(lease(accepted, "WEB"), ESPO, FAILED, delay=1, look=False, wake=True)
    assert redis_client.zrange(WAKE_SCHEDULE, 0, -1, withscores=True) == [(message, NOW + 1)]


def test_only_an_operation_whose_attempt_decided_so_becomes_a_dead_letter(ledger: Ledger) -> None:
    accepted = accept(ledger)
    assert not ledger.bury(accepted.id)
    claim(ledger, accepted.id)
    assert ledger.record_dead(lease(accepted, "L1"), ESPO, FAILED, look=False).written is Written.DEAD
    assert claim(ledger, accepted.id, "L2") == NotClaimed("exhausted")
    assert ledger.bury(accepted.id)
    assert not ledger.bury(accepted.id)
    letter = ledger.get(accepted.id)
    assert letter is not None
    assert ledger.stats()["dead_letters"] == 1
    assert (letter.id, letter.state, letter.payload, letter.events) == (
        accepted.id,
        "dead",
        accepted.payload,
        (FAILED.attempt,),
    )
    assert claim(ledger, accepted.id, "L2", NOW + 99) == NotClaimed("dead")
    assert ledger.stats()["dead"] == 1


def shut(ledger: Ledger, result: Result = REFUSED) -> Operation:
    """Shut the gate by an operation that waits for it."""
    first = accept(ledger)
    claim(ledger, first.id)
    ledger.record_held(lease(first, "L1"), ESPO, result, look=False)
    return first


def test_refused_credentials_shut_the_gate_until_a_connection_test_passes(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    verify(ledger)
    first, second = accept(ledger), accept(ledger)
    claim(ledger, first.id)
    recorded = ledger.record_held(lease(first, "L1"), ESPO, REFUSED, look=False)
    assert recorded == Recorded(None, Cause.REFUSED, Written.HELD), "not confirmed, so nobody is alarmed"
    assert claim(ledger, second.id, "L2", NOW + 100) == NotClaimed("held")
    assert sweep(ledger, NOW + 100).probe
    found = probe(ledger, NOW + 100, ok=False)
    assert found == Recorded(Announcement.PAUSED, Cause.REFUSED)
    assert (ledger.gate(ESPO).confirmed, ledger.gate(ESPO).held) == (True, 2)
    assert not sweep(ledger, NOW + 130).probe, "30 s between two tests"
    assert sweep(ledger, NOW + 132).probe
    redis_client.delete(WAKE_LIST)
    found = probe(ledger, NOW + 132, ok=True)
    assert (found.cause, ledger.gate(ESPO).cause) == (None, None)
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(second.id)], "one at first"
    waited = claim(ledger, second.id, "L3", NOW + 133)
    assert isinstance(waited, Claim)
    delivered = ledger.record_delivered(waited, ESPO, WELL, RECORD)
    assert delivered.announcement is Announcement.RECOVERED
    refused = ledger.get(first.id)
    assert refused is not None
    assert refused.events == (REFUSED.attempt,)


def test_the_wait_for_refused_credentials_uses_no_retry(ledger: Ledger) -> None:
    first = shut(ledger)
    probe(ledger, NOW + 1, ok=True)
    again = claim(ledger, first.id, "L2", NOW + 3)
    assert isinstance(again, Claim)
    assert again.counted == 0


def test_a_refusal_of_one_record_is_dead_the_second_time(ledger: Ledger) -> None:
    """The connection test passed in between: the credentials are fine."""
    first = shut(ledger)
    probe(ledger, NOW + 1, ok=True)
    again = claim(ledger, first.id, "L2", NOW + 3)
    assert isinstance(again, Claim)
    recorded = ledger.record_held(again, ESPO, REFUSED, look=False)
    assert recorded == Recorded(None, None, Written.DEAD)
    assert ledger.bury(first.id)


def test_failures_in_a_row_are_an_outage_in_which_nothing_dies(ledger: Ledger) -> None:
    verify(ledger)
    operations = [accept(ledger) for _ in range(6)]
    claims = [claim(ledger, each.id, f"L{number}") for number, each in enumerate(operations)]
    answers = [ledger.record_dead(each, ESPO, AWAY, look=False) for each in claims if isinstance(each, Claim)]
    assert [answer.written for answer in answers] == [Written.DEAD] * 4 + [Written.HELD] * 2
    assert [answer.announcement for answer in answers] == [None] * 4 + [Announcement.PAUSED, None]
    assert (ledger.gate(ESPO).cause, ledger.gate(ESPO).held) == (Cause.OUTAGE, 2)


def test_one_refusal_that_different_operations_meet_is_an_epidemic(ledger: Ledger, redis_client: redis.Redis) -> None:
    verify(ledger)
    operations = [accept(ledger) for _ in range(6)]
    claims = [claim(ledger, each.id, f"L{number}") for number, each in enumerate(operations[:5])]
    answers = []
    for each in claims:
        assert isinstance(each, Claim)
        answers.append(ledger.record_dead(each, ESPO, INVALID, look=False))
        ledger.bury(each.operation.id)
    assert [answer.written for answer in answers] == [Written.DEAD] * 4 + [Written.HELD]
    assert answers[-1].announcement is Announcement.PAUSED
    gate = ledger.gate(ESPO)
    assert (gate.cause, gate.reason, gate.returning) == (Cause.EPIDEMIC, "invalid_value city", 4)
    assert claim(ledger, operations[5].id, "L9", NOW + 0.9) == NotClaimed("held")
    probe = claim(ledger, operations[5].id, "L9", NOW + 2)
    assert isinstance(probe, Claim), "one operation is the probe"
    assert claim(ledger, operations[4].id, "L8", NOW + 2) == NotClaimed("held"), "and only one"
    delivered = ledger.record_delivered(probe, ESPO, WELL, RECORD)
    assert (delivered.announcement, delivered.cause) == (Announcement.RECOVERED, None)
    assert sweep(ledger, NOW + 3).returned == 4
    assert redis_client.zcard("{crmgate}:dead") == 0


def test_a_limited_provider_lets_one_operation_through_when_its_time_has_come(ledger: Ledger) -> None:
    verify(ledger)
    first, second, third = (accept(ledger) for _ in range(3))
    claim(ledger, first.id)
    limited = replace(LIMITED, event=GateEvent("limited", wait=60))
    assert ledger.record_held(lease(first, "L1"), ESPO, limited, look=False).cause is Cause.LIMITED
    assert ledger.gate(ESPO).until == NOW + 60
    assert claim(ledger, second.id, "L2", NOW + 59) == NotClaimed("held")
    probe = claim(ledger, second.id, "L2", NOW + 61)
    assert isinstance(probe, Claim)
    assert claim(ledger, third.id, "L3", NOW + 61) == NotClaimed("held")
    ledger.record_delivered(probe, ESPO, WELL, RECORD)
    assert isinstance(claim(ledger, third.id, "L3", NOW + 61), Claim)


def test_an_operators_pause_ends_with_resume_only(ledger: Ledger) -> None:
    verify(ledger)
    waiting, under_way = accept(ledger), accept(ledger)
    claim(ledger, under_way.id)
    assert ledger.pause(ESPO) is None
    ledger.record_delivered(lease(under_way, "L1"), ESPO, WELL, RECORD)
    probe(ledger, NOW, ok=True)
    assert claim(ledger, waiting.id, "L2", NOW + 100_000) == NotClaimed("held")
    assert ledger.gate(ESPO).cause is Cause.PAUSED
    with world.at(ledger, NOW + 100_000):
        assert ledger.resume(ESPO) is Cause.PAUSED
    assert isinstance(claim(ledger, waiting.id, "L2", NOW + 100_000), Claim)


def test_what_is_accepted_while_the_gate_is_shut_waits(ledger: Ledger, redis_client: redis.Redis) -> None:
    first, second = shut(ledger), operation(accepted_at=NOW + 1)
    assert ledger.accept(second, ESPO, alarm=0, lease="WEB", seconds=8).what == "held"
    stored = ledger.get(second.id)
    assert stored is not None
    assert (stored.state, held(redis_client), tried(redis_client)) == (State.WAITING, [second.id], [first.id])
    assert ledger.gate(ESPO).held == 2
    assert ledger.accept(operation(), BITRIX, alarm=0, lease="WEB", seconds=8).what == "leased"


def test_credentials_that_never_worked_are_tried_by_one_at_a_time(ledger: Ledger, redis_client: redis.Redis) -> None:
    first, second, third = (accept(ledger, at=NOW + seconds) for seconds in range(3))
    assert isinstance(claim(ledger, first.id, "L1"), Claim)
    assert claim(ledger, second.id, "L2") == NotClaimed("held")
    web = operation(accepted_at=NOW + 3)
    with world.at(ledger, NOW + 3):
        assert ledger.accept(web, ESPO, alarm=0, lease="WEB", seconds=8).what == "held"
    redis_client.delete(WAKE_LIST)
    assert ledger.record_waiting(lease(first, "L1"), ESPO, AWAY, delay=5, look=False).written is Written.WAITING
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(second.id)], "the one held longest, and no herd"
    assert isinstance(claim(ledger, second.id, "L2"), Claim), "an outage says nothing about the credentials"
    assert claim(ledger, third.id, "L3") == NotClaimed("held")
    ledger.record_delivered(lease(second, "L2"), ESPO, WELL, RECORD)
    assert isinstance(claim(ledger, third.id, "L3"), Claim)
    assert isinstance(claim(ledger, web.id, "L4"), Claim), "credentials that worked are used by all at once"


def test_other_credentials_are_tried_by_one_operation_first(ledger: Ledger) -> None:
    verify(ledger)
    changed = Recipient("espocrm", "c2")
    first, second = accept(ledger), accept(ledger)
    assert isinstance(ledger.claim(first.id, changed, "L1", seconds=20), Claim)
    assert ledger.claim(second.id, changed, "L2", seconds=20) == NotClaimed("held")


def test_other_credentials_may_be_tried_after_a_refusal(ledger: Ledger) -> None:
    verify(ledger)
    shut(ledger)
    second = accept(ledger)
    assert claim(ledger, second.id, "L2") == NotClaimed("held")
    assert isinstance(ledger.claim(second.id, Recipient("espocrm", "c2"), "L2", seconds=20), Claim)


def test_a_first_attempt_that_nobody_finished_holds_the_others_for_its_lease_only(ledger: Ledger) -> None:
    first, second = accept(ledger), accept(ledger)
    claim(ledger, first.id, "L1")
    assert claim(ledger, second.id, "L2", NOW + 19) == NotClaimed("held")
    assert isinstance(claim(ledger, second.id, "L2", NOW + 21), Claim)


def test_a_gate_concerns_its_provider_only(ledger: Ledger) -> None:
    shut(ledger)
    assert isinstance(ledger.claim(accept(ledger).id, BITRIX, "L2", seconds=20), Claim)


def test_the_cause_of_an_older_process_holds_nobody_back(ledger: Ledger, redis_client: redis.Redis) -> None:
    """The version before this one wrote `trial` while credentials were tried for the first time."""
    redis_client.hset("{crmgate}:gate:espocrm", mapping={"cause": "trial", "until": NOW + 100, "by": "c1"})
    assert ledger.gate(ESPO).cause is None
    sweep(ledger, NOW)
    assert ledger.accept(operation(), ESPO, alarm=0, lease="WEB", seconds=8).what == "leased"


def test_an_unknown_operation_is_not_claimed_and_leaves_no_alarm(ledger: Ledger, redis_client: redis.Redis) -> None:
    redis_client.zadd("{crmgate}:due", {"nope": NOW})
    assert claim(ledger, "nope") == NotClaimed("unknown")
    assert alarm(redis_client, "nope") is None


def test_the_sweep_wakes_what_is_due_once_a_round(ledger: Ledger, redis_client: redis.Redis) -> None:
    verify(ledger)
    due, later = accept(ledger, alarm=-1), accept(ledger, alarm=10)
    redis_client.delete(WAKE_LIST)
    assert sweep(ledger, NOW, again=30).woken == 1
    assert sweep(ledger, NOW, again=30).woken == 0
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(due.id)]
    assert (alarm(redis_client, due.id), alarm(redis_client, later.id)) == (NOW + 30, NOW + 10)


def test_the_sweep_does_not_pile_wakeups_up(ledger: Ledger, redis_client: redis.Redis) -> None:
    verify(ledger)
    for _ in range(5):
        accept(ledger)
    redis_client.delete(WAKE_LIST)
    assert sweep(ledger, NOW, again=30, limit=3).woken == 3
    assert sweep(ledger, NOW, again=30, limit=3).woken == 0
    redis_client.delete(WAKE_LIST)
    assert sweep(ledger, NOW, again=30, limit=3).woken == 2


def test_a_suspect_that_nobody_releases_is_discarded_with_its_payload(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    """The old one goes, the young one stays; a released one is no suspect; at most 100 go in one sweep."""
    day = 86_400
    ages = {"old": 31, "released": 31, "young": 29}
    kept = {
        name: accept(ledger, at=NOW - age * day, suspect=Suspicion.INCOMPLETE).id for name, age in ages.items()
    }  # fmt: skip
    assert ledger.release(kept["released"], ESPO)
    sweep(ledger, NOW)
    found = {name: stored(ledger, each) for name, each in kept.items()}
    assert [each.state for each in found.values()] == ["discarded", "waiting", "suspect"]
    assert (found["old"].payload, found["old"].suspicion) == ({}, Suspicion.INCOMPLETE)
    assert found["old"].events[-1].detail == "nobody released it within 30 days"
    assert 0 < redis_client.ttl(keys.op(kept["old"])) <= keys.DROPPED_SECONDS
    assert ledger.stats()["suspects_expired"] == 1
    for _ in range(101):
        accept(ledger, at=NOW - 40 * day, suspect=Suspicion.FAST)
    sweep(ledger, NOW, suspects=39 * day)
    assert redis_client.zcard(keys.SUSPECT) == 2, "the young one, and one for the next sweep"


def test_many_attempts_keep_the_first_and_the_last(ledger: Ledger) -> None:
    accepted = accept(ledger)
    for number in range(120):
        assert isinstance(claim(ledger, accepted.id, f"L{number}", NOW + number), Claim)
        attempt = Result(replace(FAILED.attempt, at=float(number), counted=False))
        ledger.record_waiting(lease(accepted, f"L{number}"), ESPO, attempt, delay=number + 1, look=False)
    stored = ledger.get(accepted.id)
    assert stored is not None
    times = [attempt.at for attempt in stored.events]
    assert times == [*range(10), *range(80, 120)]


def test_workers_are_seen_while_they_beat(ledger: Ledger) -> None:
    ledger.beat("a")
    ledger.clock = lambda: NOW + 20
    ledger.beat("b")
    ledger.clock = lambda: NOW + 31
    assert ledger.workers_seen(30) == 1
    ledger.leave("b")
    assert ledger.workers_seen(30) == 0


def test_an_unavailable_redis_is_reported_without_the_payload(redis_process: RedisProcess) -> None:
    ledger = Ledger(connect("redis://127.0.0.1:1/0", 0.2), wake_message)
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.accept(operation(), ESPO, alarm=0)
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_lost_clicks_are_counted_and_remembered_for_a_while(ledger: Ledger, redis_client: redis.Redis) -> None:
    ledger.count_click(Activity("telegram"))
    ledger.count_lost_clicks({"full": 2})
    ledger.count_lost_clicks({"full": 1, "stopped": 1})
    assert ledger.lost_clicks() == {"full": 3, "stopped": 1}
    assert {"clicks:telegram": 1, "clicks_lost": 4}.items() <= ledger.stats().items()
    assert 0 < redis_client.ttl("{crmgate}:clicks_lost") <= 900  # type: ignore[operator]

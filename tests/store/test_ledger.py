"""The ledger on a real Redis: what it holds it never lets go of, and only one holder at a time may speak for it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import redis

from crmgate.errors import LedgerUnavailable
from crmgate.model import Delivered, Event, Kind, Operation, State, new_id
from crmgate.store.client import connect
from crmgate.store.entries import Claim, NotClaimed, Result
from crmgate.store.gate import Recipient
from crmgate.store.keys import RECEIPT_SECONDS, WAKE_LIST, WAKE_SCHEDULE
from crmgate.store.ledger import Ledger
from crmgate.store.scripts import ALARM_GRACE
from crmgate.store.wakeups import wake_message
from tests.processes import RedisProcess

NOW = 1_800_000_000.0
FAILED = Result(Event(NOW, 0.5, "espocrm", "failed", "timeout"))
WELL = Result(Event(NOW, 0.5, "espocrm", "delivered"))
ESPO, BITRIX = Recipient("espocrm", "c1"), Recipient("bitrix", "c1")
RECORD = Delivered("espocrm", "6b03", "https://crm.example.com/#Lead/view/6b03")


def operation(**changes: object) -> Operation:
    payload = {"first_name": "Ayşe", "email": "canary@example.com"}
    return replace(Operation(new_id(), Kind.CREATE_LEAD, payload, NOW), **changes)  # type: ignore[arg-type]


def accept(ledger: Ledger, **options: object) -> Operation:
    accepted = operation()
    assert ledger.accept(accepted, ESPO, **({"alarm": NOW} | options)).what != "exists"  # type: ignore[arg-type]
    return accepted


def claim(ledger: Ledger, operation_id: str, lease: str = "L1", now: float = NOW) -> Claim | NotClaimed:
    return ledger.claim(operation_id, ESPO, lease, now=now, seconds=20)


def lease(operation: Operation, token: str) -> Claim:
    """The lease that an earlier claim got."""
    return Claim(operation, token, look_first=False, counted=0)


def verify(ledger: Ledger) -> None:
    """Let the credentials in use prove themselves: those that never worked are tried by one operation at a time."""
    for to in (ESPO, BITRIX):
        first = operation()
        ledger.accept(first, to, alarm=NOW, lease="V", until=NOW + 8)
        ledger.record_delivered(lease(first, "V"), to, WELL, RECORD)


def alarm(client: redis.Redis, operation_id: str) -> float | None:
    return client.zscore("{crmgate}:due", operation_id)  # type: ignore[return-value]


def held(client: redis.Redis) -> list[str]:
    return [member.decode() for member in client.zrange("{crmgate}:held:espocrm", 0, -1)]  # type: ignore[union-attr]


def test_an_operation_of_a_newer_version_can_be_claimed(ledger: Ledger, redis_client: redis.Redis) -> None:
    newer = accept(ledger)
    redis_client.hset(f"{{crmgate}}:op:{newer.id}", "kind", "newer_kind")
    claimed = claim(ledger, newer.id)
    assert isinstance(claimed, Claim)
    assert (claimed.operation.kind, claimed.operation.kind.known) == ("newer_kind", False)


def test_accepting_twice_keeps_the_first(ledger: Ledger) -> None:
    first = accept(ledger)
    assert ledger.accept(replace(first, payload={"first_name": "Other"}), ESPO, alarm=NOW).what == "exists"
    assert ledger.get(first.id) == first
    assert ledger.stats()["accepted"] == 1


def test_accepted_operation_can_be_read_back_whole(ledger: Ledger) -> None:
    accepted = accept(ledger)
    assert ledger.get(accepted.id) == accepted


def test_accept_wakes_a_worker_in_the_same_step(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = operation()
    assert ledger.accept(accepted, ESPO, alarm=NOW).what == "accepted"
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(accepted.id)]


def test_no_key_of_an_unfinished_operation_expires(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, due=NOW + 5, look=False)
    assert {key: redis_client.ttl(key) for key in redis_client.scan_iter()} == dict.fromkeys(redis_client.keys(), -1)


def test_every_key_shares_the_hash_tag(ledger: Ledger, redis_client: redis.Redis) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id)
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, due=NOW + 5, look=False, wake=True)
    claim(ledger, accepted.id, "L2", NOW + 5)
    ledger.record_waiting(lease(accepted, "L2"), ESPO, FAILED, due=NOW + 35, look=False, paused=True)
    ledger.beat("w", now=NOW)
    keys = redis_client.keys()
    assert len(keys) == 11
    assert all(key.startswith(b"{crmgate}:") for key in keys)


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
    accepted = accept(ledger, lease="WEB", until=NOW + 8)
    assert claim(ledger, accepted.id, "L1", NOW + 7) == NotClaimed("leased")
    late = claim(ledger, accepted.id, "L1", NOW + 9)
    assert isinstance(late, Claim)
    assert late.look_first


def test_the_holder_of_a_lost_lease_cannot_report_a_failure(ledger: Ledger) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id, "L1")
    claim(ledger, accepted.id, "L2", NOW + 21)
    assert ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, due=NOW + 99, look=False) == "lost"
    assert ledger.record_dead(lease(accepted, "L1"), ESPO, FAILED, now=NOW, look=False) == "lost"
    stored = ledger.get(accepted.id)
    assert stored is not None
    assert (stored.state, stored.events) == (State.DELIVERING, ())


def test_what_the_crm_confirmed_counts_whoever_holds_the_lease(ledger: Ledger) -> None:
    accepted = accept(ledger)
    claim(ledger, accepted.id, "L1")
    claim(ledger, accepted.id, "L2", NOW + 21)
    assert ledger.record_delivered(lease(accepted, "L1"), ESPO, WELL, RECORD) == "recorded"
    assert ledger.record_delivered(lease(accepted, "L2"), ESPO, WELL, RECORD) == "ended"
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
    ledger.record_waiting(lease(accepted, "L1"), ESPO, FAILED, due=NOW + 5, look=True)
    assert alarm(redis_client, accepted.id) == NOW + 5 + ALARM_GRACE
    assert claim(ledger, accepted.id, "L2", NOW + 4.9) == NotClaimed("early")
    again = claim(ledger, accepted.id, "L2", NOW + 5)
    assert isinstance(again, Claim)
    assert (again.look_first, again.counted, again.operation.events) == (True, 1, (FAILED.attempt,))


def test_a_failed_inline_attempt_schedules_its_retry_in_the_same_step(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    accepted = accept(ledger, lease="WEB", until=NOW + 8)
    message = wake_message(accepted.id)
    ledger.record_waiting(lease(accepted, "WEB"), ESPO, FAILED, due=NOW + 1, look=False, wake=True)
    assert redis_client.zrange(WAKE_SCHEDULE, 0, -1, withscores=True) == [(message, NOW + 1)]


def test_only_an_operation_whose_attempt_decided_so_becomes_a_dead_letter(ledger: Ledger) -> None:
    accepted = accept(ledger)
    assert not ledger.bury(accepted.id, now=NOW)
    claim(ledger, accepted.id)
    ledger.record_dead(lease(accepted, "L1"), ESPO, FAILED, now=NOW, look=False)
    assert claim(ledger, accepted.id, "L2") == NotClaimed("exhausted")
    assert ledger.bury(accepted.id, now=NOW)
    assert not ledger.bury(accepted.id, now=NOW)
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


def test_a_paused_provider_lets_one_probe_through(ledger: Ledger, redis_client: redis.Redis) -> None:
    first, second, third = (accept(ledger) for _ in range(3))
    claim(ledger, first.id)
    refused = Result(replace(FAILED.attempt, code="bad_credentials", counted=False))
    ledger.record_waiting(lease(first, "L1"), ESPO, refused, due=NOW + 30, look=False, paused=True)
    assert claim(ledger, second.id, "L2", NOW + 1) == NotClaimed("held")
    assert (ledger.gate(ESPO).cause, ledger.gate(ESPO).until) == ("refused", NOW + 30)
    assert isinstance(claim(ledger, second.id, "L2", NOW + 31), Claim)
    assert claim(ledger, third.id, "L3", NOW + 31) == NotClaimed("held")
    ledger.record_delivered(lease(second, "L2"), ESPO, WELL, RECORD)
    assert ledger.gate(ESPO).cause is None
    assert wake_message(third.id) in redis_client.lrange(WAKE_LIST, 0, -1), "what was held back may go at once"  # type: ignore[operator]
    assert isinstance(claim(ledger, third.id, "L3", NOW + 31), Claim)
    probe = ledger.get(first.id)
    assert probe is not None
    assert probe.events == (refused.attempt,)


def test_nobody_gets_the_lease_of_what_is_accepted_during_a_pause(ledger: Ledger, redis_client: redis.Redis) -> None:
    first, second = accept(ledger), operation(accepted_at=NOW + 1)
    claim(ledger, first.id)
    ledger.record_waiting(lease(first, "L1"), ESPO, FAILED, due=NOW + 30, look=False, paused=True)
    assert ledger.accept(second, ESPO, alarm=NOW, lease="WEB", until=NOW + 8).what == "held"
    stored = ledger.get(second.id)
    assert stored is not None
    assert (stored.state, held(redis_client)) == (State.WAITING, [first.id, second.id])
    assert ledger.accept(operation(), BITRIX, alarm=NOW, lease="WEB", until=NOW + 8).what == "leased"


def test_credentials_that_never_worked_are_tried_by_one_at_a_time(ledger: Ledger, redis_client: redis.Redis) -> None:
    first, second, third = (accept(ledger) for _ in range(3))
    assert isinstance(claim(ledger, first.id, "L1"), Claim)
    assert claim(ledger, second.id, "L2") == NotClaimed("held")
    web = operation(accepted_at=NOW + 1)
    assert ledger.accept(web, ESPO, alarm=NOW, lease="WEB", until=NOW + 8).what == "held"
    redis_client.delete(WAKE_LIST)
    assert ledger.record_waiting(lease(first, "L1"), ESPO, FAILED, due=NOW + 5, look=False) == "recorded"
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(second.id)], "the one held longest, and no herd"
    assert isinstance(claim(ledger, second.id, "L2"), Claim), "an outage says nothing about the credentials"
    assert claim(ledger, third.id, "L3") == NotClaimed("held")
    ledger.record_delivered(lease(second, "L2"), ESPO, WELL, RECORD)
    assert isinstance(claim(ledger, third.id, "L3"), Claim)
    assert isinstance(claim(ledger, web.id, "L4"), Claim), "credentials that worked are used by all at once"


def test_other_credentials_have_to_prove_themselves_anew(ledger: Ledger) -> None:
    verify(ledger)
    changed = Recipient("espocrm", "c2")
    first, second = accept(ledger), accept(ledger)
    assert isinstance(ledger.claim(first.id, changed, "L1", now=NOW, seconds=20), Claim)
    assert ledger.claim(second.id, changed, "L2", now=NOW, seconds=20) == NotClaimed("held")


def test_a_trial_that_nobody_finished_holds_the_others_for_its_lease_only(ledger: Ledger) -> None:
    first, second = accept(ledger), accept(ledger)
    claim(ledger, first.id, "L1")
    assert claim(ledger, second.id, "L2", NOW + 19) == NotClaimed("held")
    assert isinstance(claim(ledger, second.id, "L2", NOW + 21), Claim)


def test_a_pause_concerns_its_provider_only(ledger: Ledger) -> None:
    first, second = accept(ledger), accept(ledger)
    claim(ledger, first.id)
    ledger.record_waiting(lease(first, "L1"), ESPO, FAILED, due=NOW + 30, look=False, paused=True)
    assert isinstance(ledger.claim(second.id, BITRIX, "L2", now=NOW, seconds=20), Claim)


def test_an_unknown_operation_is_not_claimed_and_leaves_no_alarm(ledger: Ledger, redis_client: redis.Redis) -> None:
    redis_client.zadd("{crmgate}:due", {"nope": NOW})
    assert claim(ledger, "nope") == NotClaimed("unknown")
    assert alarm(redis_client, "nope") is None


def test_a_kind_of_a_newer_version_is_claimed_for_its_caller_to_decide(
    ledger: Ledger, redis_client: redis.Redis
) -> None:
    accepted = accept(ledger)
    redis_client.hset(f"{{crmgate}}:op:{accepted.id}", "kind", "of_tomorrow")
    claimed = claim(ledger, accepted.id)
    assert isinstance(claimed, Claim)
    assert claimed.operation.kind == "of_tomorrow"


def test_the_sweep_wakes_what_is_due_once_a_round(ledger: Ledger, redis_client: redis.Redis) -> None:
    due, later = accept(ledger, alarm=NOW - 1), accept(ledger, alarm=NOW + 10)
    redis_client.delete(WAKE_LIST)
    assert ledger.sweep(ESPO, now=NOW, again=NOW + 30).woken == 1
    assert ledger.sweep(ESPO, now=NOW, again=NOW + 30).woken == 0
    assert redis_client.lrange(WAKE_LIST, 0, -1) == [wake_message(due.id)]
    assert (alarm(redis_client, due.id), alarm(redis_client, later.id)) == (NOW + 30, NOW + 10)


def test_the_sweep_does_not_pile_wakeups_up(ledger: Ledger, redis_client: redis.Redis) -> None:
    for _ in range(5):
        accept(ledger)
    redis_client.delete(WAKE_LIST)
    assert ledger.sweep(ESPO, now=NOW, again=NOW + 30, limit=3).woken == 3
    assert ledger.sweep(ESPO, now=NOW, again=NOW + 30, limit=3).woken == 0
    redis_client.delete(WAKE_LIST)
    assert ledger.sweep(ESPO, now=NOW, again=NOW + 30, limit=3).woken == 2


def test_many_attempts_keep_the_first_and_the_last(ledger: Ledger) -> None:
    accepted = accept(ledger)
    for number in range(120):
        assert isinstance(claim(ledger, accepted.id, f"L{number}", NOW + number), Claim)
        attempt = Result(replace(FAILED.attempt, at=float(number), counted=False))
        ledger.record_waiting(lease(accepted, f"L{number}"), ESPO, attempt, due=NOW + number + 1, look=False)
    stored = ledger.get(accepted.id)
    assert stored is not None
    times = [attempt.at for attempt in stored.events]
    assert times == [*range(10), *range(80, 120)]


def test_workers_are_seen_while_they_beat(ledger: Ledger) -> None:
    ledger.beat("a", now=NOW)
    ledger.beat("b", now=NOW + 20)
    assert ledger.workers_seen(30, now=NOW + 31) == 1
    ledger.leave("b")
    assert ledger.workers_seen(30, now=NOW + 31) == 0


def test_a_redis_that_is_away_is_told_without_the_payload(redis_process: RedisProcess) -> None:
    ledger = Ledger(connect("redis://127.0.0.1:1/0", 0.2), wake_message)
    with pytest.raises(LedgerUnavailable) as caught:
        ledger.accept(operation(), ESPO, alarm=NOW)
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_lost_clicks_are_counted_and_remembered_for_a_while(ledger: Ledger, redis_client: redis.Redis) -> None:
    ledger.count("clicks:telegram")
    ledger.count_lost_clicks({"full": 2})
    ledger.count_lost_clicks({"full": 1, "stopped": 1})
    assert ledger.lost_clicks() == {"full": 3, "stopped": 1}
    assert {"clicks:telegram": 1, "clicks_lost": 4}.items() <= ledger.stats().items()
    assert 0 < redis_client.ttl("{crmgate}:clicks_lost") <= 900  # type: ignore[operator]

"""The gates of the ledger on a real Redis: what shuts and opens them, and what waits for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from crmgate.model import Operation, State
from crmgate.store.entries import Announcement, Claim, GateEvent, NotClaimed, Recorded, Result, Written
from crmgate.store.gate import Cause, Recipient
from crmgate.store.keys import WAKE_LIST
from crmgate.store.ledger import Ledger
from crmgate.store.wakeups import wake_message
from tests import world
from tests.store.steps import (
    AWAY,
    BITRIX,
    ESPO,
    INVALID,
    LIMITED,
    NOW,
    RECORD,
    REFUSED,
    WELL,
    accept,
    claim,
    held,
    lease,
    operation,
    probe,
    sweep,
    tried,
    verify,
)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """A ledger whose clock stands."""
    ledger.clock = lambda: NOW
    return ledger


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
    assert ledger.make_dead_letter(first.id)


def test_failures_in_a_row_are_an_outage_that_makes_no_dead_letter(ledger: Ledger) -> None:
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
        ledger.make_dead_letter(each.operation.id)
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

"""`crmgate crm pause` and `crmgate crm resume`: Redis is asked, the CRM is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from crmgate.model import Event, Kind, Operation, new_id
from crmgate.store.audit import Audit
from crmgate.store.entries import Claim, GateEvent, NoClaim, NotClaimed, Result
from crmgate.store.gate import Cause, Recipient
from crmgate.store.ledger import Ledger
from tests.cli.conftest import Run, told
from tests.processes import RedisProcess

NOW = 1_800_000_000.0
MINI = Recipient("mini")
AWAY = GateEvent("unavailable")
REFUSED = GateEvent("login_refused", "bad_credentials")
INVALID = GateEvent("refusal", "invalid_value phone", answered=True)


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


@pytest.fixture
def fail(ledger: Ledger) -> Callable[..., None]:
    """Let attempts of different operations fail."""

    def fail(count: int, event: GateEvent) -> None:
        for number in range(count):
            at = NOW + 100 * number
            operation = Operation(new_id(), Kind.CREATE_LEAD, {}, at)
            ledger.accept(operation, MINI, alarm=at)
            claim = ledger.claim(operation.id, MINI, "L", now=at, seconds=20)
            assert isinstance(claim, Claim)
            ledger.record_dead(claim, MINI, Result(Event(at, 0.1, "mini", "failed"), event=event), look=False)

    return fail


def accepted(ledger: Ledger) -> Operation:
    operation = Operation(new_id(), Kind.CREATE_LEAD, {}, NOW)
    ledger.accept(operation, MINI, alarm=NOW)
    return operation


def test_a_pause_lets_nothing_go_until_it_is_resumed(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis
) -> None:
    paused = run("crm", "pause", **configured)
    assert paused.exit_code == 0
    assert paused.stdout == "Mini CRM (mini) is paused; 0 operations wait. `crmgate crm resume` ends the pause.\n"
    waiting = accepted(ledger)
    assert ledger.claim(waiting.id, MINI, "L", now=NOW + 100_000, seconds=20) == NotClaimed(NoClaim.HELD)
    answer = told(run("crm", "pause", "--json", **configured))
    assert (answer["provider"], answer["cause"], answer["held"]) == ("mini", "paused", 1)
    assert "crmgate crm resume" in answer["remedy"]
    resumed = run("crm", "resume", **configured)
    assert resumed.stdout == "Mini CRM (mini) goes on now. Before, an operator paused deliveries; 1 operations wait.\n"
    assert isinstance(ledger.claim(waiting.id, MINI, "L", now=NOW + 100_000, seconds=20), Claim)
    assert [entry.what for entry in Audit(redis_client).recent()] == ["crm.resume", "crm.pause", "crm.pause"]


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_without_redis_the_remedy_is_reported(run: Run, mini: dict[str, str], command: str) -> None:
    result = run("crm", command, **mini, REDIS_URL="redis://127.0.0.1:1/0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Redis does not answer" in result.stderr
    assert "REDIS_URL" in result.stderr


def test_there_may_be_nothing_to_resume(run: Run, configured: dict[str, str]) -> None:
    result = run("crm", "resume", **configured)
    assert result.exit_code == 0
    assert "takes requests; there was nothing to resume" in result.stdout
    assert told(run("crm", "resume", "--json", **configured))["cause"] == ""


@pytest.mark.parametrize(
    ("count", "event", "cause", "words"),
    [
        (5, AWAY, Cause.OUTAGE, "the CRM does not answer, or answers with errors"),
        (1, REFUSED, Cause.REFUSED, "the CRM refused the credentials for one operation"),
        (5, INVALID, Cause.EPIDEMIC, "the CRM refuses different operations for the same reason"),
    ],
)
def test_the_cause_is_reported_and_the_crm_is_tried_at_once(
    run: Run, configured: dict[str, str], ledger: Ledger, fail: Callable[..., None], count: int, event: GateEvent,
    cause: Cause, words: str,
) -> None:  # fmt: skip
    fail(count, event)
    assert ledger.gate(MINI).cause is cause
    ledger.sweep(MINI, now=NOW + 1000, again=NOW + 1008)
    before = ledger.gate(MINI)
    text = run("crm", "resume", **configured).stdout
    assert text == f"Mini CRM (mini) is tried now. Before, {words}; {before.held} operations wait.\n"
    assert ledger.gate(MINI).until < before.until, "the next probe is due"
    answer = told(run("crm", "resume", "--json", **configured))
    assert (answer["provider"], answer["cause"], answer["what"]) == ("mini", cause, words)
    assert answer["since"] > NOW

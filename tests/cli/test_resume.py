"""`crmgate crm pause` and `resume` use Redis, and send no request to the CRM."""

from __future__ import annotations

import pytest
import redis

from crmgate.store.audit import Audit
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from tests.cli.conftest import Run, output_of
from tests.processes import RedisProcess

MINI = Recipient("mini")


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


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
    assert output_of(run("crm", "resume", "--json", **configured))["cause"] is None


def test_a_pause_ends_with_the_resumption(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis
) -> None:
    paused = output_of(run("crm", "pause", "--json", **configured))
    assert (paused["provider"], paused["cause"], paused["what"]) == ("mini", "paused", "an operator paused deliveries")
    assert ledger.gate(MINI).cause == "paused"
    assert "is paused; 0 operations wait" in run("crm", "pause", **configured).stdout
    resumed = output_of(run("crm", "resume", "--json", **configured))
    assert (resumed["cause"], resumed["before"]["cause"]) == (None, "paused")
    assert ledger.gate(MINI).cause is None
    assert [entry.what for entry in Audit(redis_client).recent()] == ["crm.resume", "crm.pause", "crm.pause"]


@pytest.mark.parametrize(
    ("cause", "words"), [("outage", "the CRM does not answer"), ("refused", "the CRM refused the credentials")]
)
def test_another_cause_is_tried_at_once_and_not_claimed_to_have_ended(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis, cause: str, words: str
) -> None:
    later = 4_000_000_000
    redis_client.hset(
        "{crmgate}:gate:mini", mapping={"cause": cause, "since": 1_800_000_000, "until": later, "by": "x"}
    )
    text = run("crm", "resume", **configured).stdout
    assert text.startswith(f"Mini CRM (mini) is tried now. Before, {words}")
    gate = ledger.gate(MINI)
    assert gate.cause == cause
    assert gate.until < later
    answer = output_of(run("crm", "resume", "--json", **configured))
    assert (answer["cause"], answer["since"]) == (cause, "2027-01-15T08:00:00.000Z")

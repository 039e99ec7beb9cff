"""`crmgate crm resume`: Redis is asked, the CRM is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crmgate.model import Event, Kind, Operation, new_id
from crmgate.store.entries import Result
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from tests.cli.conftest import Run, told
from tests.processes import RedisProcess

NOW = 1_800_000_000.0
MINI = Recipient("mini")


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


@pytest.fixture
def fail(ledger: Ledger) -> Callable[..., None]:
    """Let attempts fail."""

    def fail(count: int, *, outage: bool) -> None:
        for number in range(count):
            operation = Operation(new_id(), Kind.CREATE_LEAD, {}, NOW + number)
            ledger.accept(operation, MINI, alarm=NOW)
            claim = ledger.claim(operation.id, MINI, "L", now=NOW + 100 * number, seconds=20)
            result = Result(Event(NOW, 0.1, "mini", "failed"), outage=outage)
            ledger.record_waiting(claim, MINI, result, due=NOW + 30, look=False, paused=not outage)  # type: ignore[arg-type]

    return fail


def test_without_redis_the_remedy_is_reported(run: Run, mini: dict[str, str]) -> None:
    result = run("crm", "resume", **mini, REDIS_URL="redis://127.0.0.1:1/0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Redis does not answer" in result.stderr
    assert "REDIS_URL" in result.stderr


def test_there_may_be_nothing_to_resume(run: Run, configured: dict[str, str]) -> None:
    result = run("crm", "resume", **configured)
    assert result.exit_code == 0
    assert "takes requests; there was nothing to resume" in result.stdout


@pytest.mark.parametrize(
    ("count", "cause", "words"), [(5, "outage", "did not answer"), (1, "refused", "refused the credentials")]
)
def test_the_reason_for_the_pause_is_reported(
    run: Run, configured: dict[str, str], ledger: Ledger, fail: Callable[..., None], count: int, cause: str, words: str
) -> None:
    fail(count, outage=cause == "outage")
    assert ledger.gate(MINI).cause == cause
    text = run("crm", "resume", **configured).stdout
    assert text.startswith("Mini CRM (mini) is asked again now. It was held back: it " + words)
    answer = told(run("crm", "resume", "--json", **configured))
    assert (answer["provider"], answer["cause"], answer["since"] > NOW) == ("mini", cause, True)
    assert ledger.gate(MINI).until < NOW + 1_000_000_000

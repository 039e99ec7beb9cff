"""`crmgate ops retry|edit|discard` and `crmgate dlq retry|edit|discard` on waiting operations."""

from __future__ import annotations

import time

import pytest

from crmgate.model import Kind, Operation, new_id
from crmgate.store.entries import Session
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from crmgate.tracking import code as tracking_code
from tests.cli.conftest import Run, output_of
from tests.processes import RedisProcess

MINI = Recipient("mini")


@pytest.fixture
def configured(mini: dict[str, str], redis_process: RedisProcess, ledger: Ledger) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


@pytest.fixture
def waiting(ledger: Ledger) -> str:
    """An operation that waits because deliveries are paused."""
    ledger.pause(MINI)
    operation = Operation(new_id(), Kind.CREATE_LEAD, {"first_name": "Ada", "email": "a@example.com"}, time.time())
    ledger.accept(operation, MINI, alarm=2)
    return operation.id


COMMANDS = [("retry",), ("edit", "--set", "city=Izmir"), ("discard", "--reason", "a test")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_an_ended_operation_or_one_under_way_is_not_changed(
    run: Run, configured: dict[str, str], ledger: Ledger, waiting: str, command: tuple[str, ...]
) -> None:
    missing = run("ops", *command, new_id(), **configured)
    assert (missing.exit_code, "no operation has this id" in missing.stderr) == (1, True)
    ledger.resume(MINI)
    ledger.claim(waiting, MINI, "L", seconds=600)
    before = ledger.get(waiting)
    busy = run("ops", *command, waiting, **configured)
    assert (busy.exit_code, "an attempt to deliver the operation is under way" in busy.stderr) == (1, True)
    assert ledger.get(waiting) == before
    other = Operation(new_id(), Kind.CREATE_LEAD, {"first_name": "Ada"}, time.time())
    ledger.accept(other, MINI, alarm=2)
    ledger.discard(other.id, MINI, reason="x")
    done = run("ops", *command, other.id, **configured)
    assert (done.exit_code, "the operation has ended in the state discarded" in done.stderr) == (1, True)


@pytest.mark.parametrize("group", ["ops", "dlq"])
def test_a_waiting_operation_is_retried_edited_and_discarded(
    run: Run, configured: dict[str, str], ledger: Ledger, waiting: str, group: str
) -> None:
    [item] = output_of(run(group, "retry", tracking_code(waiting), "--json", **configured))["items"]
    assert (item["id"], item["error"], item["waits"]["cause"]) == (waiting, None, "paused")
    text = run(group, "edit", waiting, "--set", "city=\u0130zmir", **configured).stdout
    assert text.startswith("Changed. The next attempt sends it: nothing is sent to the CRM since ")
    assert "an operator paused deliveries" in text
    answer = output_of(run(group, "edit", waiting, "--unset", "city", "--json", **configured))
    assert (answer["payload"].get("city"), answer["waits"]["cause"]) == (None, "paused")
    assert run(group, "discard", waiting, "--reason", " ", **configured).exit_code == 2
    assert run(group, "discard", waiting, "--reason", "a test", **configured).stdout == f"{waiting}: discarded\n"
    found = ledger.get(waiting)
    assert found is not None
    assert (found.state, found.payload, found.events[-1].detail) == ("discarded", {}, "a test")


def test_a_held_operation_names_the_one_it_waits_for(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    made = [Operation(new_id(), Kind.CREATE_LEAD, {"first_name": "Ada"}, time.time()) for _ in range(2)]
    for operation in made:
        ledger.accept(operation, MINI, alarm=2, session=Session("s", Kind.UPDATE_LEAD, "own"), people=["ada"])
    first, second = (operation.id for operation in made)
    result = run("ops", "retry", second, **configured)
    assert result.stdout == f"{second}: released\n"
    assert f"Not sent yet: the operation {first} about the same person goes first.\n" in result.stderr

"""`crmgate audit` on a real Redis."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import redis

from crmgate.store.audit import Audit, command_line
from crmgate.store.ledger import Ledger
from tests.cli.conftest import Run, output_of
from tests.dead_letters import add_dead_letters
from tests.processes import RedisProcess
from tests.world import START


@pytest.fixture
def settings(mini: dict[str, str], redis_process: RedisProcess, redis_client: redis.Redis) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


@pytest.fixture
def trail(redis_client: redis.Redis) -> Audit:
    """An audit trail whose clock advances by a second with each entry."""
    seconds = itertools.count(START)
    return Audit(redis_client, lambda: next(seconds))


def test_without_redis_the_remedy_is_reported(run: Run, mini: dict[str, str]) -> None:
    result = run("audit", "--json", **mini, REDIS_URL="redis://127.0.0.1:1/0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Redis does not answer" in result.stderr


def test_without_a_configuration_nothing_is_tried(run: Run) -> None:
    result = run("audit")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "CRM_PROVIDER" in result.stderr


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_an_invalid_limit_is_refused(run: Run, settings: dict[str, str], limit: str) -> None:
    result = run("audit", "--limit", limit, **settings)
    assert (result.exit_code, "--limit" in result.stderr) == (2, True)


def test_an_empty_audit_log_is_reported(run: Run, settings: dict[str, str]) -> None:
    assert run("audit", **settings).stdout == "There are no entries.\n"
    assert output_of(run("audit", "--json", **settings)) == {"items": []}


def test_entries_of_another_version_are_shown(
    run: Run, settings: dict[str, str], trail: Audit, redis_client: redis.Redis
) -> None:
    trail.record("bob", "tokens.new", "1")
    [name] = redis_client.keys("*")
    entry: Any = {"at": "2027-01-15T09:00:00.000Z", "who": "eve", "what": "x.new", "on": "2", "where": "host"}
    redis_client.xadd(name, entry)
    del entry["where"]
    newest = output_of(run("audit", "--limit", "1", "--json", **settings))
    assert newest == {"items": [entry | {"detail": ""}]}


def test_the_newest_comes_first_for_people_and_for_scripts(run: Run, settings: dict[str, str], trail: Audit) -> None:
    for number in range(60):
        trail.record("bob", "dead_letters.retry", f"op-{number}")
    trail.record("[red]eve\x1b[2J", "dead_letters.edit", "op-60", "city, phone")
    lines = run("audit", **settings).stdout.splitlines()
    assert lines[0].split() == ["AT", "WHO", "WHAT", "ON", "DETAIL"]
    assert (len(lines), "\x1b" in "".join(lines)) == (51, False)
    assert re.split(r" {2,}", lines[1]) == [
        "2027-01-15T08:01:00.000Z", "[red]eve [2J", "dead_letters.edit", "op-60", "city, phone",
    ]  # fmt: skip
    assert "op-59" in lines[2]
    items = output_of(run("audit", "--limit", "2", "--json", **settings))["items"]
    assert items[1] == {
        "at": "2027-01-15T08:00:59.000Z", "who": "bob", "what": "dead_letters.retry", "on": "op-59", "detail": "",
    }  # fmt: skip
    assert len(items) == 2


def test_changes_by_a_command_are_shown(run: Run, settings: dict[str, str], ledger: Ledger) -> None:
    [dead] = add_dead_letters(ledger, provider="mini")
    assert run("dlq", "discard", dead, "--reason", "Ada asked for it", **settings).exit_code == 0
    result = run("audit", "--json", **settings)
    [item] = output_of(result)["items"]
    assert (item["who"], item["what"], item["on"]) == (command_line(), "dead_letters.discard", dead)
    assert "Ada" not in result.stdout

"""`crmgate stats`, `crmgate dlq causes`, and edits and discards of many dead letters, on a real ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import redis

from crmgate.model import Activity, Operation
from crmgate.store.ledger import Ledger
from tests.cli.conftest import Run, output_of
from tests.cli.test_dlq import configured, dig
from tests.processes import RedisProcess

__all__ = ["configured"]  # a fixture


def stored(ledger: Ledger, operation: str) -> Operation:
    found = ledger.get(operation)
    assert found is not None
    return found


@pytest.mark.parametrize("command", [("stats",), ("dlq", "causes")], ids=" ".join)
def test_without_redis_the_remedy_is_reported(run: Run, mini: dict[str, str], command: tuple[str, ...]) -> None:
    result = run(*command, **mini, REDIS_URL="redis://127.0.0.1:1/0")
    assert (result.exit_code, "Redis does not answer" in result.stderr) == (1, True)


def test_the_figures_by_value_as_a_table_as_json_and_as_a_sheet(
    run: Run, configured: dict[str, str], ledger: Ledger
) -> None:
    assert "Nothing was counted" in run("stats", **configured).stdout
    today = datetime.now(UTC).date().isoformat()
    for channel in ("telegram", "telegram", "whatsapp"):
        ledger.count_click(Activity(channel, "ADA"))
    table = run("stats", "--by", "channel", **configured).stdout.splitlines()
    assert table[2].split() == ["CHANNEL", "ACCEPTED", "DELIVERED", "DEAD", "CLICKS", "APPLIED"]
    assert [line.split() for line in table[3:]] == [["telegram", "2"], ["whatsapp", "1"]]
    answer = output_of(run("stats", "--by", "referral", "--days", "1", "--json", **configured))
    assert answer["items"] == [
        {"day": today, "value": "ADA", "accepted": 0, "delivered": 0, "dead": 0, "clicks": 3, "applied": 0}
    ]
    sheet = run("stats", "--by", "channel", "--csv", **configured).stdout.splitlines()
    assert sheet == ["day,value,accepted,delivered,dead,clicks,applied", f"{today},telegram,0,0,0,2,0",
                     f"{today},whatsapp,0,0,0,1,0"]  # fmt: skip
    assert run("stats", "--csv", "--json", **configured).exit_code == 2


def test_the_causes_with_what_to_do(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    assert run("dlq", "causes", **configured).stdout == "There are no dead letters.\n"
    dig(ledger, 3, field="source")
    dig(ledger, code="timeout")
    lines = run("dlq", "causes", **configured).stdout.splitlines()
    assert lines[1].split()[:4] == ["3", "mini", "invalid_value", "source"]
    assert "crmgate crm fields" in lines[1]
    answer = output_of(run("dlq", "causes", "--json", **configured))
    assert [(item["code"], item["count"]) for item in answer["items"]] == [("invalid_value", 3), ("timeout", 1)]


def test_what_is_not_indexed_yet_is_mentioned(
    run: Run, configured: dict[str, str], ledger: Ledger, redis_client: redis.Redis
) -> None:  # fmt: skip
    dig(ledger, 2)
    redis_client.delete("{crmgate}:causes")
    assert "0 of 2 dead letters are indexed" in run("dlq", "causes", **configured).stderr


def test_the_list_takes_a_field_and_a_part_of_the_message(
    run: Run, configured: dict[str, str], ledger: Ledger
) -> None:  # fmt: skip
    [wanted] = dig(ledger, field="source")
    dig(ledger, field="email")
    answer = output_of(run("dlq", "list", "--field", "source", "--detail", "REFUSES", "--json", **configured))
    assert [(item["id"], item["field"]) for item in answer["items"]] == [(wanted, "source")]
    assert output_of(run("dlq", "list", "--detail", "accepts", "--json", **configured))["items"] == []
    assert wanted in run("dlq", "show", wanted[:10], **configured).stdout
    assert output_of(run("dlq", "retry", "--all", "--field", "source", "--json", **configured))["count"] == 1


def test_many_are_edited_after_a_question(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    made = dig(ledger, 3, field="source", source="fair")
    [other] = dig(ledger, field="email", source="fair")
    command = ("dlq", "edit", "--all", "--field", "source", "--set", "source=website")
    asked = run(*command, **configured, stdin="n\n")
    assert asked.exit_code == 1
    assert "source: fair -> website" in asked.stdout
    assert "Edit 3 dead letters?" in asked.stderr
    assert stored(ledger, made[0]).payload["source"] == "fair"
    preview = output_of(run(*command, "--json", **configured))
    assert (preview["count"], preview["refused"], preview["example"]["after"]["source"]) == (3, 0, "website")
    done = run(*command, **configured, stdin="y\n")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "3 edited")
    assert {stored(ledger, each).payload["source"] for each in made} == {"website"}
    assert stored(ledger, other).payload["source"] == "fair"
    assert output_of(run(*command, "--yes", "--json", **configured))["unchanged"] == 3
    assert "There is nothing to edit" in run(*command, "--code", "timeout", **configured).stdout


def test_refused_edits_are_counted_and_explained(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    dig(ledger, 2)
    result = run("dlq", "edit", "--all", "--set", "email=nowhere", **configured, stdin="y\n")
    assert "2 of the first 2 would not be valid and stay as they are:" in result.stdout
    assert "  email: " in result.stdout
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "2 refused")


def test_many_are_discarded_after_a_question(run: Run, configured: dict[str, str], ledger: Ledger) -> None:
    made = dig(ledger, 3, code="duplicate")
    dig(ledger, code="timeout")
    command = ("dlq", "discard", "--all", "--code", "duplicate", "--reason", "known")
    assert run(*command, **configured, stdin="n\n").exit_code == 1
    assert output_of(run(*command, "--json", **configured)) == {"count": 3, "exact": True}
    assert ledger.stats()["dead_letters"] == 4
    done = run(*command, **configured, stdin="y\n")
    assert (done.exit_code, done.stdout) == (0, "3 discarded\n")
    assert "Discard 3 dead letters and their data for ever?" in done.stderr
    assert {str(stored(ledger, each).state) for each in made} == {"discarded"}
    assert ledger.stats()["dead_letters"] == 1
    answer = output_of(run("dlq", "discard", "--all", "--reason", "x", "--yes", "--json", **configured))
    assert answer == {"discarded": 1, "skipped": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        ("edit",), ("edit", "--all"), ("edit", "0" * 32, "--all", "--set", "city=x"), ("edit", "--all", "--set", "x"),
        ("edit", "0" * 32, "--field", "source"), ("discard", "--reason", "x"),
        ("discard", "0" * 32, "--all", "--reason", "x"), ("discard", "0" * 32, "--code", "timeout", "--reason", "x"),
        ("discard", "--all", "--reason", " "),
    ],
    ids=" ".join,
)  # fmt: skip
def test_an_ambiguous_command_is_refused(
    run: Run, mini: dict[str, str], redis_process: RedisProcess, arguments: tuple[str, ...]
) -> None:
    settings: dict[str, Any] = mini | {"REDIS_URL": redis_process.url}
    assert run("dlq", *arguments, **settings).exit_code == 2

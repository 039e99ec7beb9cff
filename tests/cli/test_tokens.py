"""`crmgate tokens` on a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from crmgate.store.audit import Audit, command_line
from crmgate.store.tokens import FORM, configured, digest
from tests.cli.conftest import Run, output_of
from tests.processes import RedisProcess


@pytest.fixture
def settings(mini: dict[str, str], redis_process: RedisProcess, redis_client: redis.Redis) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


def test_a_token_is_shown_once_listed_and_revoked(
    run: Run, settings: dict[str, str], redis_client: redis.Redis
) -> None:
    made = run("tokens", "new", "--name", "site", "--scope", "read", **settings)
    assert made.exit_code == 0
    text = made.stdout.strip()
    assert FORM.fullmatch(text), "nothing else on stdout: `TOKEN=$(crmgate tokens new ...)`"

    listed = run("tokens", "list", **settings)
    assert text not in listed.output
    assert digest(text) not in listed.output
    [line] = output_of(run("tokens", "list", "--json", **settings))["tokens"]
    assert (line["name"], line["scope"], line["kept_in"], line["last_used"]) == ("site", "read", "Redis", None)
    assert line["id"] in listed.stdout

    assert output_of(run("tokens", "revoke", line["id"], "--json", **settings))["revoked"] is True
    assert output_of(run("tokens", "list", "--json", **settings)) == {"tokens": []}
    again = run("tokens", "revoke", line["id"], **settings)
    assert again.exit_code == 1
    assert "no token with this id" in again.stderr
    entries = Audit(redis_client).recent()
    assert [(entry.who, entry.what) for entry in entries] == [
        (command_line(), "tokens.revoke"), (command_line(), "tokens.new"),
    ]  # fmt: skip


def test_a_token_for_the_environment_is_kept_nowhere(run: Run, folder: Path, redis_client: redis.Redis) -> None:
    made = output_of(run("tokens", "new", "--name", "ops", "--scope", "operate", "--env", "--json"))
    token = configured(made["entry"])
    assert (token.name, token.scope, token.sha256) == ("ops", "operate", digest(made["token"]))
    assert redis_client.keys("*") == []


def test_tokens_of_the_environment_are_listed(run: Run, settings: dict[str, str]) -> None:
    entry = output_of(run("tokens", "new", "--name", "ops", "--scope", "read", "--env", "--json"))["entry"]
    [line] = output_of(run("tokens", "list", "--json", **settings, API_TOKENS=entry))["tokens"]
    assert (line["id"], line["name"], line["kept_in"]) == (None, "ops", "API_TOKENS")


@pytest.mark.parametrize("arguments", [
    ("--name", "a b", "--scope", "read"), ("--name", "", "--scope", "read"), ("--name", "x", "--scope", "admin"),
    ("--name", "x"), ("--scope", "read"),
])  # fmt: skip
def test_a_wrong_use_makes_nothing(
    run: Run, settings: dict[str, str], redis_client: redis.Redis, arguments: tuple[str, ...]
) -> None:
    assert run("tokens", "new", *arguments, **settings).exit_code == 2
    assert redis_client.keys("*") == []


def test_without_redis_it_says_so(run: Run, mini: dict[str, str]) -> None:
    result = run("tokens", "list", **mini, REDIS_URL="redis://:c4n4ry@127.0.0.1:1/0")
    assert result.exit_code == 1
    assert "Redis does not answer" in result.stderr
    assert "c4n4ry" not in result.output

"""`crmgate ops login-link` on a real Redis."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import redis

from crmgate.store.audit import Audit, command_line
from crmgate.store.sessions import Sessions
from crmgate.store.tokens import Tokens
from tests.cli.conftest import Run, output_of
from tests.processes import RedisProcess


@pytest.fixture
def settings(mini: dict[str, str], redis_process: RedisProcess, redis_client: redis.Redis) -> dict[str, str]:
    return mini | {"REDIS_URL": redis_process.url}


def made(run: Run, settings: dict[str, str], name: str, scope: str) -> str:
    token: str = output_of(run("tokens", "new", "--name", name, "--scope", scope, "--json", **settings))["id"]
    return token


def test_the_link_logs_in_as_the_only_operator(run: Run, settings: dict[str, str], redis_client: redis.Redis) -> None:
    made(run, settings, "reader", "read")
    token = made(run, settings, "ayse", "operate")
    result = run("ops", "login-link", "--url", "https://gate.example/", **settings)
    assert result.exit_code == 0, result.output
    link = urlsplit(result.stdout.strip())
    assert (link.netloc, link.path, link.query) == ("gate.example", "/ops/login", ""), "the code is in the fragment"
    audit = Audit(redis_client)
    sessions = Sessions(redis_client, Tokens(redis_client, (), audit), audit)
    found = sessions.redeem(link.fragment.removeprefix("once="))
    assert found is not None
    assert (found.id, found.name) == (token, "ayse")
    assert (audit.recent(1)[0].what, audit.recent(1)[0].who) == ("ops.login_link", command_line())


def test_one_of_several_tokens_has_to_be_chosen(run: Run, settings: dict[str, str]) -> None:
    nobody = run("ops", "login-link", **settings)
    assert (nobody.exit_code, "crmgate tokens new" in nobody.stderr) == (1, True)
    first, second = made(run, settings, "ayse", "operate"), made(run, settings, "mehmet", "operate")
    unclear = run("ops", "login-link", **settings)
    assert unclear.exit_code == 1
    assert first in unclear.stderr
    assert second in unclear.stderr
    chosen = output_of(run("ops", "login-link", "--token", "mehmet", "--json", **settings))
    assert (chosen["token"], chosen["scope"], chosen["seconds"]) == ("mehmet", "operate", 600)
    assert run("ops", "login-link", "--token", "nobody", **settings).exit_code == 1

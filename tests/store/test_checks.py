"""The checks of a Redis, on a real one: whether it runs scripts, and how full it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from crmgate.model import Check
from crmgate.store import keys
from crmgate.store.checks import inspect, undetermined
from tests.processes import RedisProcess

NO_SCRIPTS = (
    "Redis accepts writes, but runs no scripts. NOPERM: its user lacks rights: docs/configuration.md has the ACL line"
    " that suffices."
)


def checked(client: redis.Redis) -> dict[str, Check]:
    return {check.name: check for check in inspect(client, keys.PROBE)}


@pytest.fixture
def limited(redis_client: redis.Redis, redis_process: RedisProcess) -> Iterator[redis.Redis]:
    """A client of the user `limited`, which may do everything until a test takes a right away."""
    redis_client.execute_command("ACL SETUSER", "limited", "on", "nopass", "~*", "+@all")
    place = redis_process.url.rpartition("@")[2]
    with redis.Redis.from_url(f"redis://limited:x@{place}") as client:
        yield client
    redis_client.acl_deluser("limited")


def test_a_redis_that_takes_writes_and_runs_scripts_is_usable(limited: redis.Redis) -> None:
    assert checked(limited)["redis"] == Check("redis", True, "Redis accepts writes and runs scripts.")


@pytest.mark.parametrize(
    "rights", [["-@scripting"], ["-evalsha"], ["resetkeys", f"~{keys.PROBE}"]], ids=["category", "command", "keys"]
)
def test_a_user_that_may_run_no_script_is_named(
    limited: redis.Redis, redis_client: redis.Redis, rights: list[str]
) -> None:
    redis_client.execute_command("ACL SETUSER", "limited", *rights)
    assert inspect(limited, keys.PROBE) == (Check("redis", False, NO_SCRIPTS),)


class Refusing(redis.Redis):
    """A Redis whose answer to a script is that of another server."""

    answer = ""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        if arguments[0] == "EVALSHA":
            raise redis.ResponseError(self.answer)
        return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (
            "Error running script (call to 5c4d): @user_script:2: script tried accessing undeclared key, key: k",
            "Redis refuses scripts that use keys which they do not declare: allow them.",
        ),
        (
            "unknown command 'EVALSHA'",
            "Redis refuses the scripts of crmgate: use a server that runs Lua scripts.",
        ),
    ],
)
def test_a_server_that_refuses_the_scripts_is_named(redis_client: redis.Redis, answer: str, remedy: str) -> None:
    client = Refusing(connection_pool=redis_client.connection_pool)
    client.answer = answer
    [check] = inspect(client, keys.PROBE)
    assert not check.ok
    assert check.detail == f"{remedy} docs/deployment.md lists servers and their settings."


@pytest.mark.parametrize(("share", "well"), [(0.0, True), (0.7, True), (0.9, False)])
def test_from_80_percent_of_its_memory_on_a_redis_is_nearly_full(
    redis_client: redis.Redis, share: float, well: bool
) -> None:
    used = redis_client.info("memory")["used_memory"]
    redis_client.config_set("maxmemory", int(used / share) if share else 0)
    try:
        check = checked(redis_client)["redis_memory"]
    finally:
        redis_client.config_set("maxmemory", 0)
    assert check.ok is well
    assert ("raise maxmemory. A full Redis accepts no submissions." in check.detail) is not well
    assert ("no limit" in check.detail) is (share == 0)


def test_what_a_server_does_not_show_is_undetermined(limited: redis.Redis, redis_client: redis.Redis) -> None:
    redis_client.execute_command("ACL SETUSER", "limited", "-info")
    usable, *dangers = inspect(limited, keys.PROBE)
    assert (usable.ok, undetermined(usable)) == (True, False)
    assert len(dangers) == 4
    assert all(undetermined(check) for check in dangers)

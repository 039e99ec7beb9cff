"""Checks whether a Redis can be trusted with submissions: at the start, for `/readyz` and for the command line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import redis
from redis.exceptions import NoPermissionError

from crmgate.model import Check
from crmgate.store.client import ERRORS, code, server_of, unavailable
from crmgate.store.keys import MARK_SECONDS
from crmgate.store.scripts import standing_alone

log = logging.getLogger(__name__)

OLDEST = (6, 2)
NEARLY_FULL = 0.8
"""Share of `maxmemory` in use from which an operator should act."""
_UNKNOWN = "could not be checked: Redis does not allow INFO or CONFIG GET here."
_TRIAL = standing_alone("trial")
_DENIED_INSIDE = re.compile("ACL failure in script|The user executing the script can't")
"""The words of Redis and of Valkey for a missing right within a script, which have no error code."""


def inspect(client: redis.Redis, probe: str) -> tuple[Check, ...]:
    """The checks of a Redis. The first, `redis`, writes the key `probe` and runs a script.

    The others find settings that could lose a record, and pass if the server does not show them (`undetermined`).
    Never raises.
    """
    try:
        client.set(probe, 1, ex=MARK_SECONDS)
    except ERRORS as error:
        return (Check("redis", False, _not_usable(error)),)
    try:
        client.register_script(_TRIAL)(keys=[probe], args=[MARK_SECONDS])
    except ERRORS as error:
        return (Check("redis", False, _no_scripts(error)),)
    return (Check("redis", True, "Redis accepts writes and runs scripts."), *_dangers(client, probe))


def undetermined(check: Check) -> bool:
    """Whether the check passed only because the server does not show the setting."""
    return check.ok and check.detail.endswith(_UNKNOWN)


def report(checks: tuple[Check, ...]) -> None:
    """Log failed checks and undetermined ones as warnings."""
    for check in checks:
        if not check.ok or undetermined(check):
            log.warning("%s: %s", check.name, check.detail)


def share_of_memory(about: Mapping[str, Any]) -> float:
    """Share of `maxmemory` in use, by the answer of INFO; 0 without a limit. 1 is full."""
    used, limit = int(about.get("used_memory", 0)), int(about.get("maxmemory", 0))
    return used / limit if limit else 0.0


def _not_usable(error: Exception) -> str:
    known = unavailable(error)
    if code(error):
        return f"Redis accepts no writes. {known}."
    return f"Redis does not answer ({known}): start it, or correct REDIS_URL."


def _no_scripts(error: Exception) -> str:
    if _DENIED_INSIDE.search(str(error)):
        error = NoPermissionError()
    if code(error):
        return f"Redis accepts writes, but runs no scripts. {unavailable(error)}."
    if not isinstance(error, redis.ResponseError):
        return _not_usable(error)
    servers = "docs/deployment.md lists servers and their settings"
    if "undeclared" in str(error):
        return f"Redis refuses scripts that use keys which they do not declare: allow them. {servers}."
    return f"Redis refuses the scripts of crmgate: use a server that runs Lua scripts. {servers}."


def _dangers(client: redis.Redis, probe: str) -> Iterator[Check]:
    try:
        server = server_of(client, probe)
        about: Mapping[str, Any] = server.info()
    except ERRORS:
        for name in ("redis_version", "redis_eviction", "redis_memory", "redis_persistence"):
            yield Check(name, True, _unknown(name))
        return
    yield _version(about)
    yield _eviction(about)
    yield _memory(about)
    yield _persistence(about, server)


def _unknown(name: str) -> str:
    return f"{name.removeprefix('redis_').capitalize()} {_UNKNOWN}"


def _version(about: Mapping[str, Any]) -> Check:
    version = str(about.get("redis_version", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if not numbers:
        return Check("redis_version", True, _unknown("redis_version"))
    if (int(numbers[1]), int(numbers[2])) >= OLDEST:
        valkey = f"Valkey {about['valkey_version']}, compatible with " if "valkey_version" in about else ""
        return Check("redis_version", True, f"{valkey}Redis {version}.")
    return Check("redis_version", False, f"Redis {version} is too old: install 6.2 or newer.")


def _eviction(about: Mapping[str, Any]) -> Check:
    policy = about.get("maxmemory_policy")
    if policy is None:
        return Check("redis_eviction", True, _unknown("redis_eviction"))
    if policy == "noeviction":
        return Check("redis_eviction", True, "Redis drops nothing when it is full.")
    remedy = f"Redis may drop submissions when it is full: set maxmemory-policy to noeviction, it is {policy}."
    return Check("redis_eviction", False, remedy)


def _memory(about: Mapping[str, Any]) -> Check:
    share = share_of_memory(about)
    if not share:
        return Check(
            "redis_memory", True, "Redis has no limit (maxmemory): set one that fits into the memory of its machine."
        )
    in_use = f"{share:.0%} of maxmemory is in use"
    if share < NEARLY_FULL:
        return Check("redis_memory", True, f"{in_use}.")
    return Check("redis_memory", False, f"{in_use}: raise maxmemory. A full Redis accepts no submissions.")


def _persistence(about: Mapping[str, Any], server: redis.Redis) -> Check:
    name = "redis_persistence"
    if "err" in (about.get("aof_last_write_status"), about.get("rdb_last_bgsave_status")):
        return Check(name, False, "Redis could not write to its disk: make room there, and look at its log.")
    if int(about.get("aof_enabled", 0)):
        return Check(name, True, "Redis writes an append-only file.")
    saves = _snapshots(server)
    if saves is None:
        return Check(name, True, _unknown(name))
    lost = "what came since its last snapshot" if saves else "every submission that waits"
    return Check(name, False, f"A crash of Redis would lose {lost}: set appendonly to yes.")


def _snapshots(server: redis.Redis) -> str | None:
    """The schedule of snapshots; None if the server does not show it."""
    try:
        answer: Mapping[str, str] = server.config_get("save")  # type: ignore[assignment]
    except ERRORS:
        return None
    return answer.get("save")

"""Checks whether a Redis can be trusted with submissions: at the start, for `/readyz` and for the command line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import redis

from crmgate.model import Check
from crmgate.store.client import ERRORS, code, server_of, unavailable
from crmgate.store.keys import MARK_SECONDS

log = logging.getLogger(__name__)

OLDEST = (6, 2)
NEARLY_FULL = 0.9
"""Share of `maxmemory` in use from which an operator should act."""
_UNKNOWN = "could not be checked: this user of Redis may not run INFO or CONFIG GET."


def inspect(client: redis.Redis, probe: str) -> tuple[Check, ...]:
    """The checks of a Redis. The first, `redis`, says whether it takes a write: the key `probe` is written to see.

    The others find settings that could lose a record, and pass if the server does not show them. Never raises.
    """
    try:
        client.set(probe, 1, ex=MARK_SECONDS)
    except ERRORS as error:
        return (Check("redis", False, _not_usable(error)),)
    return (Check("redis", True, "Redis accepts writes."), *_dangers(client, probe))


def report(checks: tuple[Check, ...]) -> None:
    """Log failed checks as warnings, and checks that could not be made."""
    for check in checks:
        if not check.ok:
            log.warning("%s: %s", check.name, check.detail)
        elif check.detail.endswith(_UNKNOWN):
            log.info("%s: %s", check.name, check.detail)


def _not_usable(error: Exception) -> str:
    known = unavailable(error)
    if code(error):
        return f"Redis accepts no writes. {known}."
    return f"Redis does not answer ({known}): start it, or correct REDIS_URL."


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
        return Check("redis_version", True, f"Redis {version}.")
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
    used, limit = int(about.get("used_memory", 0)), int(about.get("maxmemory", 0))
    if not limit:
        return Check("redis_memory", True, "Redis has no limit of its own (maxmemory).")
    well = used < limit * NEARLY_FULL
    return Check("redis_memory", well, f"{used / limit:.0%} of maxmemory is in use{'.' if well else ': raise it.'}")


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

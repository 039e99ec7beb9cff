"""Address of Redis from the settings, and checks for settings that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from redis.connection import parse_url


def contradictions(values: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Settings that name two servers or would be ignored, each with a remedy."""
    url, sentinels, cluster = values["REDIS_URL"], values["REDIS_SENTINELS"], values["REDIS_CLUSTER"] == "on"
    login: dict[str, Any] = parse_url(url or "redis://")  # type: ignore[no-untyped-call]
    if cluster and sentinels:
        yield "REDIS_CLUSTER", "A Redis Cluster has no Sentinels: leave REDIS_SENTINELS out."
    if cluster and (login.get("db") or "path" in login):
        yield "REDIS_CLUSTER", "REDIS_URL names a socket, or a database other than 0: no Redis Cluster has that."
    if cluster and values["REDIS_REPLICAS"]:
        yield "REDIS_REPLICAS", "crmgate cannot wait for the replicas of a Redis Cluster: leave it out."
    for name in given.keys() & ({"REDIS_URL", "REDIS_HOST"} if sentinels else set()):
        yield name, "REDIS_SENTINELS already names Redis: leave one of them out."
    for name in given.keys() & (set() if sentinels else _OF_SENTINELS):
        yield name, "It has an effect only together with REDIS_SENTINELS."
    tls = url.startswith("rediss:") if url else values["REDIS_TLS"] == "on"
    if values["REDIS_TLS"] == "on" and not tls:
        yield "REDIS_TLS", "With REDIS_URL it has no effect: let REDIS_URL begin with rediss://."
    for name in given.keys() & (set() if tls else _OF_TLS):
        yield name, "The connection to Redis uses no TLS: set REDIS_TLS=on, or let REDIS_URL begin with rediss://."
    if tls and bool(values["REDIS_CERT_FILE"]) != bool(values["REDIS_KEY_FILE"]):
        yield "REDIS_CERT_FILE", "A certificate and its key belong together: set REDIS_KEY_FILE as well, or neither."


_OF_SENTINELS = {"REDIS_SENTINEL_MASTER", "REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD"}
_OF_TLS = {"REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"}


def redis_url(values: Mapping[str, Any]) -> str:
    """Address of Redis, built from REDIS_HOST and the other single settings."""
    scheme = "rediss" if values["REDIS_TLS"] else "redis"
    user, password = (quote(values[name], safe="") for name in ("REDIS_USERNAME", "REDIS_PASSWORD"))
    login = f"{user}:{password}@" if user or password else ""
    host = f"[{values['REDIS_HOST']}]" if ":" in values["REDIS_HOST"] else values["REDIS_HOST"]
    return f"{scheme}://{login}{host}:{values['REDIS_PORT']}/0"

"""Clients of Redis (one server, Sentinel or Cluster, with or without TLS), and the meaning of its errors.

The ledger and Huey's queue both get their client here.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection, parse_url
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    RedisClusterException,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from crmgate.errors import LedgerUnavailable

ERRORS = (redis.RedisError, RedisClusterException)
"""The errors that a client raises. The second is not a `RedisError`."""


@dataclass(frozen=True)
class RedisAddress:
    """The address of Redis and how to connect; `timeout` in seconds.

    With `sentinels` those name the host, and only user, password, database and TLS of `url` count. `replicas` is the
    number of replicas that must hold what has to survive a failover.
    """

    url: str = field(repr=False)
    timeout: float = 1.0
    cluster: bool = False
    sentinels: tuple[tuple[str, int], ...] = ()
    sentinel_master: str = "mymaster"
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    replicas: int = 0


def connect(address: RedisAddress | str, timeout: float = 1.0, *, blocking: float = 0.0) -> redis.Redis:
    """A client for the address (a URL is enough for one server); nothing is sent before its first command.

    `blocking` is the time in seconds that a command may wait in Redis on top of the timeout. A command that met a
    broken connection is sent once more, after a failover to the new master: every script may run twice. A command that
    ran into the timeout is not sent again, because a visitor waits for the caller.
    """
    address = RedisAddress(address, timeout) if isinstance(address, str) else address
    options: dict[str, Any] = {
        "socket_timeout": address.timeout + blocking, "socket_connect_timeout": address.timeout,
    }  # fmt: skip
    if address.sentinels:
        return _from_sentinels(address, options)
    if address.url.startswith("rediss:"):
        options |= _tls(address)
    if address.cluster:
        return _from_cluster(address, options)
    return _Redis.from_url(address.url, retry=_once_more(), **options)


class _Redis(redis.Redis):
    """A client of one server. It keeps the connections that it has, so that a command costs a third of the calls.

    redis-py takes each connection from a pool and returns it, and measures that for OpenTelemetry.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._idle: tuple[int, deque[Any]] = os.getpid(), deque()
        """The idle connections of a process: none of them survives a fork."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its answer. Redis's errors, and those of the connection, are raised."""
        connection = self._connection()
        try:
            answer = connection.retry.call_with_retry(
                lambda: self._answer(connection, args, options), lambda _error: connection.disconnect()
            )
        except BaseException:
            self.connection_pool.release(connection)
            raise
        if connection.should_reconnect():  # the server is about to move
            self.connection_pool.release(connection)
        else:
            self._idle[1].append(connection)
        return answer

    def _answer(self, connection: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        connection.send_command(*args)
        return self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]

    def _connection(self) -> Any:
        """A connection that no other thread uses."""
        process, idle = self._idle
        if process != os.getpid():
            self._idle = process, idle = os.getpid(), deque()
        try:
            connection = idle.pop()
        except IndexError:
            return self.connection_pool.get_connection()
        if _has_ended(connection):
            connection.disconnect()
        return connection


def _has_ended(connection: Any) -> bool:
    """Whether the server has closed an idle connection, or has sent something that nobody asked for."""
    try:
        return bool(connection.can_read())
    except redis.RedisError:
        return True


class Demoted(redis.ConnectionError):
    """The server became a replica, so the connection leads to the wrong server. Nothing was written."""


class _OnceMore(Retry):
    """One more try after a broken connection, and after a failover that left the connection as it was.

    An error says `in_doubt` if the try before it may have done the work.
    """

    def call_with_retry(self, do: Callable[[], Any], fail: Any, *args: Any, **options: Any) -> Any:
        doubts: list[bool] = []

        def attempt() -> Any:
            try:
                return do()
            except redis.RedisError as error:
                error = Demoted() if code(error) == "READONLY" else error
                error.in_doubt = any(doubts)  # type: ignore[attr-defined]
                doubts.append(not _never_sent(error))
                raise error from None

        return super().call_with_retry(attempt, fail, *args, **options)


def _once_more() -> Retry:
    return _OnceMore(NoBackoff(), 1, (redis.ConnectionError,))


def _tls(address: RedisAddress) -> dict[str, Any]:
    """Options for the TLS files that are set; without `ca_file` the authorities of the operating system are trusted."""
    files = {"ca_certs": address.ca_file, "certfile": address.cert_file, "keyfile": address.key_file}
    return {f"ssl_{name}": path for name, path in files.items() if path}


def _from_sentinels(address: RedisAddress, options: dict[str, Any]) -> redis.Redis:
    login: dict[str, Any] = parse_url(address.url)  # type: ignore[no-untyped-call]
    tls = {"ssl": True, **_tls(address)} if login.pop("connection_class", None) is SSLConnection else {}
    login = {name: login[name] for name in ("username", "password", "db") if name in login}
    keeper = {"username": address.sentinel_username or None, "password": address.sentinel_password or None}
    once_more = {"retry": _once_more()}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        address.sentinels, sentinel_kwargs=options | tls | keeper | once_more, **options, **tls, **login, **once_more
    )
    return cast(redis.Redis, sentinel.master_for(address.sentinel_master))  # type: ignore[no-untyped-call]


def _from_cluster(address: RedisAddress, options: dict[str, Any]) -> redis.Redis:
    def make() -> redis.RedisCluster:
        return redis.RedisCluster.from_url(address.url, retry=_once_more(), **options)

    return cast(redis.Redis, _Cluster(make))  # it has all the commands that are used here


def run_replicated(
    client: redis.Redis, script: Any, keys: Sequence[str], arguments: Sequence[Any], *, replicas: int, seconds: float,
    mark: str,
) -> Any:  # fmt: skip
    """Run the script and wait up to `seconds` until `replicas` replicas have its effect. Raises `NotReplicated`.

    `WAIT` waits for the writes of its own connection, and a script that runs a second time may write nothing: therefore
    the key `mark` is written as well.
    """
    pipe = client.pipeline(transaction=False)
    script(keys=keys, args=arguments, client=pipe)
    pipe.set(mark, 1, ex=1)
    pipe.wait(replicas, round(seconds * 1000))
    answers = pipe.execute(raise_on_error=False)  # the text of what it would raise holds the command
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    if answers[-1] < replicas:
        raise NotReplicated
    return answers[0]


class NotReplicated(redis.RedisError):
    """Written, but by too few replicas: a failover could lose it."""


def server_of(client: redis.Redis, key: str) -> redis.Redis:
    """The client of the server that holds `key`: one node, if it is a cluster."""
    if not isinstance(client, _Cluster):
        return client
    node = client.get_node_from_key(key)
    return cast(redis.Redis, client.get_redis_connection(node))


def nodes(client: redis.Redis) -> list[redis.Redis]:
    """A client of each server: every node of a cluster, also the replicas; else the server of `client`."""
    if not isinstance(client, _Cluster):
        return [client]
    return [cast(redis.Redis, client.get_redis_connection(node)) for node in client.get_nodes()]


class _Cluster:
    """The client of a cluster, created at its first use because redis-py connects as soon as it creates one."""

    def __init__(self, make: Callable[[], redis.RedisCluster]) -> None:
        self._make, self._making = make, threading.Lock()

    def register_script(self, script: str) -> Callable[..., Any]:
        return _LateScript(self, script)

    def close(self) -> None:
        if "made" in vars(self):
            self.made.close()

    @cached_property
    def made(self) -> redis.RedisCluster:
        return self._make()

    def __getattr__(self, name: str) -> Any:
        with self._making:
            client = self.made
        return getattr(client, name)


class _LateScript:
    """A script that is registered with the cluster's client when it is first run."""

    def __init__(self, cluster: _Cluster, text: str) -> None:
        self._cluster, self._text = cluster, text

    def __call__(self, **arguments: Any) -> Any:
        return self._registered(**arguments)

    @cached_property
    def _registered(self) -> Any:
        register: Callable[[str], Any] = self._cluster.__getattr__("register_script")
        return register(self._text)


_CODES: tuple[tuple[type[Exception], str], ...] = (
    (redis.AuthenticationError, "WRONGPASS"),
    (redis.BusyLoadingError, "LOADING"),
    (MasterNotFoundError, "NOMASTER"),
    (MasterDownError, "MASTERDOWN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (NoPermissionError, "NOPERM"),
    (OutOfMemoryError, "OOM"),
    (redis.ReadOnlyError, "READONLY"),
    (Demoted, "READONLY"),
)
_MEANINGS = {
    "WRONGPASS": "it refuses the login: correct REDIS_USERNAME and REDIS_PASSWORD, or those in REDIS_URL",
    "LOADING": "it is still loading its data: wait a moment",
    "NOMASTER": "no Sentinel names a master: correct REDIS_SENTINELS, REDIS_SENTINEL_MASTER or REDIS_SENTINEL_PASSWORD",
    "MASTERDOWN": "it is a replica without its master: start the master",
    "CLUSTERDOWN": "a part of the cluster is missing: start its nodes",
    "NOPERM": "its user lacks rights: docs/configuration.md has the ACL line that suffices",
    "OOM": "its memory is full: raise its maxmemory",
    "READONLY": "it is a read-only replica: name its master, or set REDIS_SENTINELS",
    "NOREPLICAS": "too few replicas follow it: start them, or lower its min-replicas-to-write",
    "MISCONF": "it cannot save to its disk: make room there, and look at its log",
}
_IN_SCRIPT = re.compile(rf"\b({'|'.join(_MEANINGS)})\b")
_NOT_CONNECTED = "connecting to"  # redis-py has one class for a connection that failed and for one that broke


def code(error: Exception) -> str:
    """Redis's error code, such as `OOM`; empty if Redis did not answer."""
    for kind, word in _CODES:
        if isinstance(error, kind):
            return word
    # A refusal inside a script is an error of the script, with the word somewhere in its text.
    found = _IN_SCRIPT.search(str(error)) if isinstance(error, redis.ResponseError) else None
    return found[0] if found else ""


def unavailable(error: Exception) -> LedgerUnavailable:
    """The error with its meaning and remedy, but without its text, which may hold the command and so the payload.

    `refused` is set if nothing can have been written. After a broken connection that is not known.
    """
    word = code(error)
    meaning = f"{word}: {_MEANINGS[word]}" if word else type(error).__name__
    return LedgerUnavailable(meaning, refused=_never_sent(error) and not getattr(error, "in_doubt", False))


def _never_sent(error: Exception) -> bool:
    failed = isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return bool(code(error)) or (failed and _NOT_CONNECTED in str(error))

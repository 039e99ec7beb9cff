"""An error of Redis says whether the write was refused or may have been carried out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from crmgate.cli.redis_server import free_port
from crmgate.errors import LedgerUnavailable
from crmgate.store.client import RedisAddress, connect, unavailable

SECRET = "connecting to OOM canary"
"""Text of a visitor: it must neither be shown nor be mistaken for an error code of Redis."""


@contextmanager
def server(*answers: bytes | None) -> Iterator[str]:
    """Takes one connection for each of `answers`, reads a command, answers it (not at all: None) and closes both."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                while b"canary" not in connection.recv(65536):
                    connection.sendall(b"+OK\r\n")  # what the client has to say about itself
                if answer is not None:
                    connection.sendall(answer)
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"redis://127.0.0.1:{listener.getsockname()[1]}?protocol=2"
    thread.join()


def failure(address: RedisAddress | str) -> LedgerUnavailable:
    with connect(address, 0.5) as client, pytest.raises(redis.RedisError) as caught:
        client.set("canary", SECRET)
    error = unavailable(caught.value)
    assert "canary" not in str(error)
    return error


def test_a_redis_that_is_not_there_has_written_nothing() -> None:
    assert failure(f"redis://127.0.0.1:{free_port()}/0").refused
    assert failure("unix:///nowhere/redis.sock").refused
    assert failure(RedisAddress("redis:///0", sentinels=(("127.0.0.1", free_port()),))).refused


@pytest.mark.parametrize("word", ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOPERM", "LOADING", "NOAUTH"])
def test_what_redis_refuses_it_has_not_written(word: str) -> None:
    answer = f"-{word} says Redis\r\n".encode()
    with server(*[answer] * (2 if word in ("READONLY", "LOADING", "NOAUTH") else 1)) as url:
        error = failure(url)
    assert error.refused
    assert str(error).startswith("WRONGPASS: " if word == "NOAUTH" else f"{word}: ")


def test_what_a_script_met_is_known_too() -> None:
    inside = b"-ERR Error running script (call to f_0): @user_script:10: -OOM command not allowed\r\n"
    with server(inside) as url:
        error = failure(url)
    assert error.refused
    assert str(error) == "OOM: its memory is full: raise its maxmemory"


def test_a_connection_that_broke_leaves_it_open() -> None:
    with server(None, None) as url:
        error = failure(url)
    assert (str(error), error.refused) == ("ConnectionError", False)


def test_a_refusal_says_nothing_about_the_earlier_try() -> None:
    with server(None, b"-OOM says Redis\r\n") as url:
        assert not failure(url).refused
    with server(None) as url:  # nobody listens when it is tried again
        assert not failure(url).refused


def test_a_server_that_became_a_replica_is_left_for_the_new_master() -> None:
    with (
        server(b"-READONLY You can't write against a read only replica.\r\n", b"+OK\r\n") as url,
        connect(url) as client,
    ):
        assert client.set("canary", "x")


def test_what_a_visitor_typed_is_not_taken_for_words_of_redis() -> None:
    assert not unavailable(redis.ResponseError(f"connecting to {SECRET.replace('OOM', '')}")).refused
    assert unavailable(redis.TimeoutError("Timeout connecting to server")).refused
    assert not unavailable(redis.TimeoutError("Timeout reading from socket")).refused

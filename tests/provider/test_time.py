"""Time limits: no answer, however it drips in, takes longer than the provider's timeout or the budget around it."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from crmgate.errors import Code, OutcomeUnknown, OutOfTime, ProviderError, Unavailable
from crmgate.provider import (
    time_budget,
    time_left,
)
from tests.processes import DEADLINE, fastest_of_ten
from tests.provider.rig import HEAD, LIMIT, TIMEOUT, Script, failure, probe, raw_server, send, verdict


@pytest.mark.parametrize(("method", "kind"), [("POST", OutcomeUnknown), ("GET", Unavailable)])
def test_silence_is_a_timeout(crm: Script, method: str, kind: type[ProviderError]) -> None:
    crm.fail("hang")
    error = failure(lambda: send(probe(timeout=LIMIT), crm.url, method))
    assert verdict(error) == (kind, TIMEOUT)


DRIPS = {
    "status line": (b"", b"H"),
    "headers": (HEAD, b"X"),
    "body with a length": (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "body without a length": (HEAD + b"Connection: close\r\n\r\n", b"x"),
    "one long chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b"x"),
    "many small chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "length of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "nothing but interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("pause", [0.0, 0.02], ids=["fast", "slow"])
@pytest.mark.parametrize(("begin", "drop"), DRIPS.values(), ids=DRIPS)
def test_an_answer_that_drips_in_is_cut_off_at_the_deadline(begin: bytes, drop: bytes, pause: float) -> None:
    """Each byte comes well within a socket's timeout; only the sum of them is too much."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(begin)
        while not over.wait(pause or 0.001):
            connection.sendall(drop)

    with raw_server(speak) as address:
        begun = time.monotonic()
        error = failure(lambda: send(probe(timeout=LIMIT), f"http://{address}"))
        assert verdict(error) == (OutcomeUnknown, TIMEOUT)
        assert LIMIT - 0.05 < time.monotonic() - begun < 30 * LIMIT


def test_a_flood_of_interim_answers_is_cut_off_at_the_deadline() -> None:
    """There is always something to read, so that no read ever times out."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        while not over.is_set():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    with raw_server(speak) as address:
        begun = time.monotonic()
        assert failure(lambda: send(probe(timeout=LIMIT), f"http://{address}")).code == TIMEOUT
        assert time.monotonic() - begun < 30 * LIMIT


def test_an_answer_that_stops_has_only_the_rest_of_the_time() -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        over.wait(0.8 * LIMIT)
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\nabc")
        over.wait(DEADLINE)

    def attempt() -> None:
        assert failure(lambda: send(probe(timeout=LIMIT), f"http://{address}")).code == TIMEOUT

    with raw_server(speak) as address:
        assert fastest_of_ten(attempt, 1.5 * LIMIT) < 1.5 * LIMIT, "with a time limit of its own it would end at 1.8"


def test_a_request_that_is_not_taken_is_cut_off_at_the_deadline() -> None:
    """On a connection that an earlier request with more time left behind."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
        over.wait(DEADLINE)

    def cut_off(budget: float) -> ProviderError:
        provider = probe(timeout=DEADLINE)
        with raw_server(speak) as address:
            send(provider, f"http://{address}")
            with time_budget(budget):
                return failure(lambda: send(provider, f"http://{address}", json="x" * 20_000_000))

    for budget in (LIMIT, 5 * LIMIT, 25 * LIMIT):
        begun = time.monotonic()
        error = cut_off(budget)
        if error.code != Code.CONNECTION_FAILED:  # a busy machine needs the shortest time for the encoding of the body
            break
    assert verdict(error) == (OutcomeUnknown, TIMEOUT)
    assert time.monotonic() - begun < DEADLINE / 2


def test_a_server_that_takes_no_connection_was_sent_nothing() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue; further connections get no answer
        try:
            for client in waiting:
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            error = failure(lambda: send(probe(timeout=LIMIT), f"http://127.0.0.1:{full.getsockname()[1]}"))
        finally:
            for client in waiting:
                client.close()
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
    assert error.detail == "no connection within the time limit"


def test_a_tls_handshake_that_never_ends_is_cut_off_at_the_deadline() -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        over.wait(DEADLINE)

    with raw_server(speak) as address:
        begun = time.monotonic()
        error = failure(lambda: send(probe(timeout=LIMIT), f"https://{address}"))
        assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
        assert time.monotonic() - begun < DEADLINE / 2


def test_requests_share_a_budget(crm: Script) -> None:
    provider = probe(timeout=DEADLINE)

    def attempt() -> None:
        crm.heal()
        crm.fail("latency", seconds=LIMIT, times=1)
        with time_budget(2 * LIMIT):
            send(provider, crm.url)
            crm.fail("hang")
            assert verdict(failure(lambda: send(provider, crm.url))) == (OutcomeUnknown, TIMEOUT)

    assert fastest_of_ten(attempt, 2.8 * LIMIT) < 2.8 * LIMIT, "each with a budget of its own would take 3"


def test_without_time_left_nothing_is_sent(crm: Script) -> None:
    for seconds in (0.0, -1.0, 0.04):
        with time_budget(seconds):
            assert verdict(failure(lambda: send(probe(), crm.url))) == (OutOfTime, Code.OUT_OF_TIME)
    assert crm.requests == []


def test_a_request_whose_time_ends_while_it_connects_is_not_sent(
    crm: Script, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Another process may send the operation once the time is over."""
    resolve = socket.getaddrinfo

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(1.5 * LIMIT)
        return resolve(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    with time_budget(LIMIT):
        error = failure(lambda: send(probe(), crm.url))
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
    assert crm.requests == []


def test_the_time_that_is_left() -> None:
    assert time_left() == float("inf")
    with time_budget(DEADLINE):
        assert DEADLINE - 1 < time_left() <= DEADLINE
        with time_budget(-1.0):
            assert time_left() == 0.0


def test_an_inner_budget_cannot_outlast_the_outer_one(crm: Script) -> None:
    crm.fail("hang")
    begun = time.monotonic()
    with time_budget(LIMIT), time_budget(DEADLINE):
        failure(lambda: send(probe(timeout=DEADLINE), crm.url))
    assert time.monotonic() - begun < DEADLINE / 2


def test_after_a_budget_the_providers_own_timeout_holds_again(crm: Script) -> None:
    with time_budget(0.0):
        failure(lambda: send(probe(), crm.url))
    assert send(probe(), crm.url).status == 200


def test_a_connection_that_is_used_again_has_the_time_of_the_new_request(crm: Script) -> None:
    provider = probe(timeout=DEADLINE)
    with time_budget(LIMIT):
        send(provider, crm.url)
    crm.fail("latency", seconds=1.1 * LIMIT)
    assert send(provider, crm.url).status == 200


def test_threads_have_sessions_and_budgets_of_their_own(crm: Script) -> None:
    provider = probe(timeout=DEADLINE)
    sessions: list[object] = []

    def work() -> None:
        sessions.append(provider._transport._session())
        assert send(provider, crm.url).status == 200
        sessions.append(provider._transport._session())

    with time_budget(0.0):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert len(crm.requests) == 4
    assert (len(sessions), len({id(session) for session in sessions})) == (8, 4)

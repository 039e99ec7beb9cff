"""Slow senders of one address, and what is believed of headers, on running processes.

The web server never cuts anything off here: an honest request that had to wait for a slow one would wait for ever.
`make bench` measures the delay.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.integration import flood
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("slow")
    with Stack(folder, CRM_DELIVERY="queued", RATE_LIMIT_ADDRESS="60/hour") as built:
        built.redis.start()
        built.start_web(GUNICORN_CMD_ARGS="--worker-class tests.integration.patient.Worker")
        yield built


def port(stack: Stack) -> int:
    return int(stack.web.env["PORT"])


def post(stack: Stack, number: int) -> int:
    """Send an application from an address of its own."""
    source = (f"127.0.1.{number % 250 + 1}", 0)
    connection = http.client.HTTPConnection("127.0.0.1", port(stack), timeout=DEADLINE, source_address=source)
    connection.request(
        "POST", "/api/v1/applications", json.dumps(person(number)), {"Content-Type": "application/json"}
    )  # fmt: skip
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(
    "begin",
    [flood.BODY, flood.ELSEWHERE, flood.HEADERS, flood.SILENT_CLOSE],
    ids=["bodies", "bodies that nobody reads", "headers", "connections that are never closed"],
)
def test_300_slow_senders_from_one_address_delay_no_other_address(stack: Stack, begin: bytes) -> None:
    first = time.monotonic_ns()
    with flood.slow_senders(port(stack), begin, 300):
        assert {post(stack, first + number) for number in range(20)} == {202}
    assert stack.web.running


def test_an_address_over_its_limit_is_refused_before_its_body_has_arrived(stack: Stack) -> None:
    source = ("127.0.2.1", 0)
    connection = http.client.HTTPConnection("127.0.0.1", port(stack), timeout=DEADLINE, source_address=source)
    for _ in range(60):
        connection.request("POST", "/api/v1/applications", "{}", {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, len(answer.read()) > 0) == (422, True)
    connection.close()
    with socket.create_connection(("127.0.0.1", port(stack)), DEADLINE, source_address=source) as sender:
        sender.sendall(flood.BODY)
        refusal = sender.recv(65536)
        assert refusal.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nConnection: close\r\n" in refusal, "the rest of the body is not read"


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script_Name", "PATH_INFO"])
@pytest.mark.parametrize(("path", "value"), [("/x/readyz", "/x"), ("/readyz", "//evil.example"), ("/x", "/readyz")])
def test_no_header_changes_the_path(stack: Stack, name: str, path: str, value: str) -> None:
    def ask(headers: dict[str, str]) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", port(stack), timeout=DEADLINE)
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status, response.headers["Location"]

    assert ask({name: value}) == ask({})


def test_a_log_line_contains_no_id_of_an_earlier_request(own_stack: Stack) -> None:
    """The same thread handled both requests."""
    own_stack.redis.start()
    own_stack.start_web(GUNICORN_CMD_ARGS="--threads 1")
    with socket.create_connection(("127.0.0.1", port(own_stack)), DEADLINE) as sender:
        sender.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-ID: earlier\r\n\r\nnonsense\r\n\r\n")
        answers = b"".join(iter(lambda: sender.recv(65536), b""))
        assert b"HTTP/1.1 404 " in answers
        assert b"HTTP/1.1 400 " in answers
    wait_until("it is logged", lambda: "nvalid request" in own_stack.web.output())
    [line] = [line for line in own_stack.web.output().splitlines() if "nvalid request" in line]
    assert "earlier" not in line
    assert "earlier" in own_stack.web.output()

"""Attacks that only show on running processes: slow senders, floods, malformed HTTP. The table: docs/attacks.md."""

from __future__ import annotations

import gzip
import http.client
import json
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import requests

from crmgate.gunicorn.worker import DISCARD_BYTES
from tests.integration.stack import Stack, person
from tests.processes import DEADLINE, wait_until

HEAD = b"POST /api/v1/applications HTTP/1.1\r\nHost: crmgate.test\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("attacks"), CRM_DELIVERY="queued") as built:
        built.redis.start()
        built.start_web(GUNICORN_CMD_ARGS="--worker-class tests.integration.hasty.Worker")
        yield built


@pytest.fixture(autouse=True)
def nothing_breaks(stack: Stack) -> Iterator[None]:
    """Check after each test that no process ended and no traceback was written."""
    begun = len(stack.web.output())
    yield
    assert "Traceback" not in stack.web.output()[begun:]
    assert stack.post(person(time.monotonic_ns())).status_code == 202


def connect(stack: Stack) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(stack.web.env["PORT"])), timeout=DEADLINE)


def raw(stack: Stack, data: bytes) -> bytes:
    """The answer to what is no proper request, up to the end of the connection."""
    with connect(stack) as sender:
        sender.sendall(data)
        sender.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sender.recv(65536), b""))


@pytest.mark.parametrize(
    ("begin", "last_word"),
    [
        (HEAD + b"Content-Length: 1000\r\n\r\n{", b"HTTP/1.1 408 REQUEST TIMEOUT"),
        (HEAD + b"Content-Length: 70000\r\n\r\n{", b"HTTP/1.1 413 REQUEST ENTITY TOO LARGE"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n400\r\n{", b"HTTP/1.1 408 REQUEST TIMEOUT"),
        (b"POST /api/v1/applications HTTP/1.1\r\nX-Slow: ", b""),
    ],
    ids=["body", "body over the limit", "chunked body", "headers"],
)
def test_slow_senders_are_cut_off_and_delay_nobody(stack: Stack, begin: bytes, last_word: bytes) -> None:
    ended = threading.Event()
    with ExitStack() as held:
        slow = [held.enter_context(connect(stack)) for _ in range(20)]
        for sender in slow:
            sender.sendall(begin)
        held.callback(ended.set)
        held.enter_context(ThreadPoolExecutor(1)).submit(drip, slow, ended)
        assert stack.post(person(time.monotonic_ns())).status_code == 202
        cut_off, _, _ = select.select(slow, [], [], 0)
        answers = Counter(answer(sender) for sender in slow)
        ended.set()
    assert cut_off == [], "an honest sender does not wait for the end of the slow ones"
    assert answers == {last_word: 20}


def drip(slow: list[socket.socket], ended: threading.Event) -> None:
    """A byte from each sender, again and again: no single read ever waits long."""
    while not ended.wait(0.2):
        for sender in slow:
            try:
                sender.send(b" ")
            except OSError:
                continue


def answer(sender: socket.socket) -> bytes:
    try:
        return sender.recv(65536).partition(b"\r\n")[0]
    except ConnectionError:
        return b""


def test_rate_limits_hold_across_processes(own_stack: Stack) -> None:
    own_stack.redis.start()
    own_stack.start_web(RATE_LIMIT_ADDRESS="20/hour", CRM_DELIVERY="queued")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: own_stack.post(person(number)), range(60)))
    assert Counter(response.status_code for response in answers) == {202: 20, 429: 40}
    refused = [response for response in answers if response.status_code == 429]
    assert {response.headers["Content-Type"] for response in refused} == {"application/problem+json"}
    assert all(0 < int(response.headers["Retry-After"]) <= 180 for response in refused)
    with redis.Redis.from_url(own_stack.redis.url) as client:
        stored = {key.decode().rpartition(":")[2] for key in client.keys("{crmgate}:op:*")}
    assert stored == {response.json()["id"] for response in answers if response.status_code == 202}


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_half_a_body_is_no_submission(stack: Stack, kind: str) -> None:
    """A form that a broken connection cut short would still parse: as somebody with half an email address."""
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    body = {
        "application/json": b'{"first_name": "Ada", "email": "ada@example.com"}',
        "application/x-www-form-urlencoded": b"first_name=Ada&email=ada@example.co",
        "multipart/form-data": part % (b"first_name", b"Ada") + part % (b"email", b"ada@example.com") + b"--b--\r\n",
    }[kind]
    head = HEAD.replace(b"application/json", kind.encode() + b"; boundary=b") + b"Content-Length: %d\r\n\r\n"
    assert raw(stack, head % (len(body) + 1) + body).startswith(b"HTTP/1.1 408 ")
    assert raw(stack, head % len(body) + body).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", {400}),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", {400}),
        (HEAD + b"Content-Length: -1\r\n\r\n", {400}),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}", {400, 413}),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", {400, 408}),
        (HEAD + b"Content-Length: 10\r\n\r\n{}", {408}),
        (HEAD + b"X-Request-ID: a\r\n b: injected\r\nContent-Length: 2\r\n\r\n{}", {400}),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414}),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", {400, 431}),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 20_000 + b"\r\n\r\n", {400, 431}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    ],
    ids=["two lengths", "lengths that differ", "negative length", "huge length", "bad chunk",
         "short body", "folded header", "long path", "many headers", "long header", "TLS"],
)  # fmt: skip
def test_malformed_http_is_refused(stack: Stack, data: bytes, statuses: set[int]) -> None:
    answer = raw(stack, data)
    assert not answer or int(answer.split(b" ", 2)[1]) in statuses, "refused, or closed without a word"


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize(("path", "status"), [("/api/v1/applications", 413), ("/nowhere", 404)])
@pytest.mark.parametrize("size", [64 * 1024 + 1, 100_000, 1024 * 1024])
def test_a_body_is_read_before_it_is_refused(stack: Stack, path: str, status: int, size: int, chunked: bool) -> None:
    """The connection stays usable: a proxy that still sends, or sends its next request on it, has an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", int(stack.web.env["PORT"]), timeout=DEADLINE)
    body = iter([b"x" * size]) if chunked else b"x" * size
    connection.request("POST", path, body, {"Content-Type": "application/json"}, encode_chunked=chunked)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Connection"], len(answer.read()) > 50) == (status, "keep-alive", True)
    own_port = connection.sock.getsockname()[1]
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    assert connection.sock.getsockname()[1] == own_port, "the same connection"
    connection.close()


def test_a_body_far_over_the_limit_is_not_read(stack: Stack) -> None:
    with connect(stack) as sender:
        sender.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (DISCARD_BYTES + 1))
        head = sender.recv(65536).partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in head


def test_an_endless_body_is_cut_off(stack: Stack) -> None:
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with connect(stack) as sender:
        sender.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            sender.sendall(piece * 1600)  # 100 MB


def test_a_compressed_body_is_not_unpacked(stack: Stack) -> None:
    bomb = gzip.compress(b'{"first_name": "' + b"x" * 10_000_000 + b'"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    response = requests.post(f"{stack.url}/api/v1/applications", data=bomb, headers=headers, timeout=DEADLINE)
    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/applications", "/nope", "/api/v1/crm/test"])
def test_the_server_does_not_say_what_it_is_made_of(stack: Stack, path: str) -> None:
    answer = requests.get(stack.url + path, timeout=DEADLINE)
    text = json.dumps(dict(answer.headers)) + answer.text
    assert answer.headers["Server"] == "crmgate"
    assert not [word for word in ("gunicorn", "Werkzeug", "Python", "Flask", "espocrm") if word.lower() in text.lower()]


def test_the_settings_of_gunicorn_are_crmgates_own(stack: Stack, tmp_path: Path) -> None:
    """`gunicorn wsgi:app` with nothing else, as the Procfile has it."""
    with Stack(tmp_path) as built:
        built.redis.start()
        built.web.command = [word for word in built.web.command if word not in ("--workers", "2")]
        built.web.start()
        wait_until("the web server answers", built._web_answers)
        with connect(built) as silent, connect(built) as slow:
            slow.sendall(HEAD)
            assert built.post(person(1)).status_code in (201, 202)
            silent.close()

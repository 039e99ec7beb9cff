"""The error for each network failure says whether the request may have been carried out."""

from __future__ import annotations

import math
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock

from crmgate.errors import Code, OutcomeUnknown, ProviderError, Rejected, Unavailable
from tests.cases import all_cases
from tests.provider.rig import (
    DROPPED,
    HEAD,
    TIMEOUT,
    TOKEN,
    Script,
    failure,
    probe,
    raw_server,
    send,
    verdict,
)


@pytest.mark.parametrize(
    ("method", "safe", "ambiguous"),
    [
        ("POST", None, True), ("PUT", None, True), ("DELETE", None, True), ("PATCH", None, True),
        ("GET", None, False), ("HEAD", None, False), ("get", None, False),
        ("POST", True, False), ("GET", False, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_dropped_connection_is_ambiguous_unless_the_request_only_read(
    crm: Script, when: Any, method: str, safe: bool | None, ambiguous: bool
) -> None:
    crm.fail("drop", when=when)
    error = failure(lambda: send(probe(), crm.url, method, safe=safe))
    assert verdict(error) == (OutcomeUnknown if ambiguous else Unavailable, DROPPED)
    assert len(crm.requests) == 1, "the transport must not try again by itself"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        HEAD + b"Content-Length: 10\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
    ],
)
def test_half_an_answer_is_none(answer: bytes) -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with raw_server(speak) as address:
        assert verdict(failure(lambda: send(probe(), f"http://{address}"))) == (OutcomeUnknown, DROPPED)
        assert verdict(failure(lambda: send(probe(), f"http://{address}", "GET"))) == (Unavailable, DROPPED)


def test_a_listening_port_that_is_closed_refuses() -> None:
    with socket.socket() as bound:  # bound but not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        error = failure(lambda: send(probe(), f"http://127.0.0.1:{bound.getsockname()[1]}"))
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
    assert error.detail == "no connection: the host is unknown, unreachable or not listening"


def test_an_unknown_host_was_sent_nothing() -> None:
    error = failure(lambda: send(probe(), "https://no-such-host.invalid"))
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)


def test_https_to_an_http_port_was_sent_nothing(crm: Script) -> None:
    error = failure(lambda: send(probe(), crm.url.replace("http:", "https:")))
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
    assert error.detail == "the TLS connection could not be made: check the certificate"
    assert crm.requests == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 of no known authority, its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem"


@contextmanager
def tls_server(certificate: Path, answer: bytes, abrupt: bool = False) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    def speak(connection: socket.socket, over: threading.Event) -> None:
        plain = connection.dup()
        with plain, context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(answer)
            if abrupt:
                plain.sendall(b"this is no TLS record")

    with raw_server(speak) as address:
        yield f"https://{address}"


def test_nothing_is_sent_to_a_server_with_an_unknown_certificate(certificate: Path) -> None:
    with tls_server(certificate, b"") as url:
        error = failure(lambda: send(probe(), url))
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
    assert "certificate" in error.detail


def test_tls_that_breaks_after_the_request_is_ambiguous(certificate: Path) -> None:
    provider = probe()
    provider._transport._session().verify = str(certificate)
    with tls_server(certificate, HEAD + b"Content-Length: 2\r\n\r\n{}") as url:
        assert send(provider, url).json() == {}
    for answer in (b"", HEAD + b"Content-Length: 10\r\n\r\nabc"):
        with tls_server(certificate, answer, abrupt=True) as url:
            error = failure(lambda url=url: send(provider, url))  # type: ignore[misc]
        assert verdict(error) == (OutcomeUnknown, DROPPED)


@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (requests.exceptions.ConnectTimeout, Unavailable, Code.CONNECTION_FAILED),
        (requests.exceptions.SSLError, Unavailable, Code.CONNECTION_FAILED),
        (requests.exceptions.ReadTimeout, OutcomeUnknown, TIMEOUT),
        (requests.exceptions.ConnectionError, OutcomeUnknown, DROPPED),
        (requests.exceptions.ChunkedEncodingError, OutcomeUnknown, DROPPED),
    ],
)
def test_with_a_mocked_transport_the_class_of_the_error_decides(
    requests_mock: requests_mock.Mocker, raised: type[Exception], kind: type[ProviderError], code: Code
) -> None:
    requests_mock.post(requests_mock_any(), exc=raised(f"https://crm.example.com/{TOKEN}"))
    assert verdict(failure(lambda: send(probe(), "https://crm.example.com"))) == (kind, code)


def requests_mock_any() -> Any:
    return requests_mock.ANY


@all_cases(
    ("url", "options"),
    [
        ("no-scheme", {}),
        ("ftp://crm.example.com", {}),
        ("http://", {}),
        ("http://[::1", {}),
        ("http://127.0.0.1:notaport", {}),
        (f"http://{'a' * 70}.example.com", {}),
        ("http://127.0.0.1:1", {"headers": {"X-Api-Key": f"{TOKEN}\r\nX-Evil: 1"}}),
        ("http://127.0.0.1:1", {"headers": {"X-Api-Key": f"{TOKEN}✓"}}),
        ("http://127.0.0.1:1", {"json": {"gpa": math.nan, "token": TOKEN}}),
    ],
)
def test_what_cannot_be_written_as_a_request_is_rejected_at_once(url: str, options: dict[str, Any]) -> None:
    error = failure(lambda: probe().request("POST", url, **options))
    assert verdict(error) == (Rejected, Code.INVALID_REQUEST)

"""The base class of the CRM plugins: settings, field mapping, and what each failure on the wire means."""

from __future__ import annotations

import gzip
import json
import math
import socket
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import marshmallow
import pytest
import requests
import requests_mock

from crmgate.errors import Code, ConfigError, OutcomeUnknown, ProviderError, Rejected, Unavailable
from crmgate.model import Activity, Kind, Lead, Operation
from crmgate.plugin_kit.mapping import LABELS, SILENT
from crmgate.plugin_kit.transport import MAX_BODY
from crmgate.provider import (
    Answer,
    CRMProvider,
    ProviderSettings,
    fields,
    lost,
    secret,
    secret_names,
    time_budget,
    validate,
    web_address,
)
from crmgate.testing.server import FakeCRM, Request, Response

KEY = "k3y-c4n4ry/+ü"
TOKEN = "t0k3n-c4n4ry"
OPERATION = Operation("8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_LEAD, {}, 0.0)


def _even(value: str) -> None:
    if len(value) % 2:
        raise marshmallow.ValidationError(f"{value!r} is odd.")


class Probe(CRMProvider):
    """A provider with one setting of each kind."""

    name = "probe"
    label = "Probe CRM"
    lead_fields: ClassVar[Mapping[str, str]] = {"first_name": "firstName", "source": "source", "city": "town"}
    lead_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"source": {"website": "Web"}}

    class Settings(ProviderSettings):
        """One setting of each kind."""

        PROBE_URL = web_address(required=True)
        PROBE_HOOK = web_address(secret=True)
        PROBE_KEY = secret(required=True)
        PROBE_PIN = secret(validate=_even)
        PROBE_USER = fields.String(validate=validate.Length(max=5), metadata={"takes": "a short name"})
        PROBE_OPTIONAL = secret(load_default="")
        PROBE_NONE = secret(load_default=None)


def settings(**changes: str) -> dict[str, str]:
    return {"PROBE_URL": "https://crm.example.com", "PROBE_KEY": "key", "PATH": "/bin"} | changes


def probe(timeout: float = 5.0, **changes: str) -> Probe:
    return Probe(settings(**changes), timeout=timeout)


def problems(**changes: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Probe(settings(**changes))
    return caught.value.problems


def test_a_plugin_reads_its_secrets_from_files_too_and_shows_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    (tmp_path / "pin").write_text(TOKEN + "!")
    plugin = Probe(settings(PROBE_KEY="", PROBE_KEY_FILE=str(tmp_path / "key")))
    assert plugin.settings["PROBE_KEY"] == KEY
    assert plugin.redact(f"it is {KEY}") == "it is ***"
    [odd] = problems(PROBE_PIN_FILE=str(tmp_path / "pin"))
    assert (odd.startswith("PROBE_PIN, got a value that is not shown: "), TOKEN in odd) == (True, False)
    missing = problems(PROBE_KEY="", PROBE_KEY_FILE=str(tmp_path / "none"))
    assert any(problem.startswith("PROBE_KEY_FILE, got ") for problem in missing)


class Script(FakeCRM):
    """Answers with `response`."""

    def __init__(self) -> None:
        super().__init__()
        self.response = Response(200, '{"ok": true}')

    def answer(self, request: Request) -> Response:
        return self.response

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {}


@pytest.fixture(scope="module")
def server() -> Iterator[Script]:
    with Script() as running:
        yield running


@pytest.fixture
def crm(server: Script) -> Script:
    """A CRM in good health that has seen no request."""
    server.heal()
    server.requests.clear()
    server.response = Response(200, '{"ok": true}')
    return server


@contextmanager
def raw_server(speak: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that says to each connection what `speak` does, until the test is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def converse(connection: socket.socket) -> None:
            with connection:
                try:
                    speak(connection, over)
                except OSError:
                    return  # the client has hung up

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=converse, args=(connection,), daemon=True))
                threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in [acceptor, *threads]:
                thread.join(2)


def failure(call: Callable[[], object]) -> ProviderError:
    """The error that `call` ends with; nothing about it may show a secret, whichever way it is looked at."""
    with pytest.raises(ProviderError) as caught:
        call()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    told = f"{error}{error!r}{error.args}{vars(error)}"
    assert "127.0.0.1" not in told
    for canary in (KEY, TOKEN, "c4n4ry"):
        assert canary not in told + "".join(traceback.format_exception(error))
    return error


def verdict(error: ProviderError) -> tuple[type[ProviderError], Code]:
    return type(error), error.code


def send(provider: CRMProvider, url: str, method: str = "POST", **options: Any) -> Answer:
    """A request with a secret in the address, in a header and in the parameters."""
    headers = {"X-Api-Key": TOKEN}
    return provider.request(method, f"{url}/rest/1/{TOKEN}/lead", headers=headers, params={"auth": TOKEN}, **options)


# -- what a failure means ----------------------------------------------------------------------------------------------

DROPPED, TIMEOUT = Code.CONNECTION_DROPPED, Code.TIMEOUT


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


@pytest.mark.parametrize(("method", "kind"), [("POST", OutcomeUnknown), ("GET", Unavailable)])
def test_silence_is_a_timeout(crm: Script, method: str, kind: type[ProviderError]) -> None:
    crm.fail("hang")
    begun = time.monotonic()
    error = failure(lambda: send(probe(timeout=0.1), crm.url, method))
    assert verdict(error) == (kind, TIMEOUT)
    assert time.monotonic() - begun < 1


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
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
        error = failure(lambda: send(probe(timeout=0.15), f"http://{address}"))
        assert verdict(error) == (OutcomeUnknown, TIMEOUT)
        assert 0.1 < time.monotonic() - begun < 1


def test_a_flood_of_interim_answers_is_cut_off_at_the_deadline() -> None:
    """There is always something to read, so that no read ever times out."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        while not over.is_set():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)

    with raw_server(speak) as address:
        begun = time.monotonic()
        assert failure(lambda: send(probe(timeout=0.15), f"http://{address}")).code == TIMEOUT
        assert time.monotonic() - begun < 1


def test_an_answer_that_stops_has_only_the_rest_of_the_time() -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        over.wait(0.25)
        connection.sendall(HEAD + b"Content-Length: 10\r\n\r\nabc")
        over.wait(5)

    with raw_server(speak) as address:
        begun = time.monotonic()
        assert failure(lambda: send(probe(timeout=0.3), f"http://{address}")).code == TIMEOUT
        assert time.monotonic() - begun < 0.5  # a timeout of its own would end at 0.55


def test_a_request_that_is_not_taken_is_cut_off_at_the_deadline() -> None:
    """On a connection that an earlier request with more time left behind."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
        over.wait(5)

    provider = probe(timeout=5)
    with raw_server(speak) as address:
        send(provider, f"http://{address}")
        begun = time.monotonic()
        with time_budget(0.2):
            error = failure(lambda: send(provider, f"http://{address}", json="x" * 20_000_000))
        assert verdict(error) == (OutcomeUnknown, TIMEOUT)
        assert time.monotonic() - begun < 2


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


def test_a_server_that_takes_no_connection_was_sent_nothing() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue; further connections get no answer
        try:
            for client in waiting:
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            error = failure(lambda: send(probe(timeout=0.15), f"http://127.0.0.1:{full.getsockname()[1]}"))
        finally:
            for client in waiting:
                client.close()
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
    assert error.detail == "no connection within the time limit"


def test_https_to_an_http_port_was_sent_nothing(crm: Script) -> None:
    error = failure(lambda: send(probe(), crm.url.replace("http:", "https:")))
    assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
    assert error.detail == "the TLS connection could not be made: check the certificate"
    assert crm.requests == []


def test_a_tls_handshake_that_never_ends_is_cut_off_at_the_deadline() -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        over.wait(5)

    with raw_server(speak) as address:
        begun = time.monotonic()
        error = failure(lambda: send(probe(timeout=0.15), f"https://{address}"))
        assert verdict(error) == (Unavailable, Code.CONNECTION_FAILED)
        assert time.monotonic() - begun < 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, its key beside it."""
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


def test_a_certificate_that_nobody_vouches_for_was_sent_nothing(certificate: Path) -> None:
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


@pytest.mark.parametrize(
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


# -- answers -----------------------------------------------------------------------------------------------------------


def test_the_whole_answer_comes_back_whatever_its_status(crm: Script) -> None:
    provider = probe()
    for status in (200, 201, 204, 400, 401, 404, 429, 500, 503):
        crm.response = Response(
            status, "" if status == 204 else '{"a": 1}', {"Retry-After": "7"}, "Text/JSON; charset=x"
        )
        answer = send(provider, crm.url)
        assert (answer.status, answer.headers["retry-after"], answer.content_type) == (status, "7", "text/json")
        if status != 204:
            assert answer.json() == {"a": 1}


@pytest.mark.parametrize("body", ["", "<html>", "{", '{"a"', b"\xff\xfe\xfd", "[" * 100_000])
def test_a_body_that_is_no_json_is_a_value_error(crm: Script, body: str | bytes) -> None:
    crm.response = Response(200, body)
    answer = send(probe(), crm.url)
    with pytest.raises(ValueError, match=r".+"):
        answer.json()


@pytest.mark.parametrize(("method", "kind"), [("POST", OutcomeUnknown), ("GET", Unavailable)])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_body_of_more_than_a_megabyte_is_refused(
    crm: Script, status: int, zipped: bool, method: str, kind: type[ProviderError]
) -> None:
    body, headers = b"x" * (MAX_BODY + 1), {"Location": "/elsewhere"}
    if zipped:
        body, headers = gzip.compress(bytes(50 * MAX_BODY)), headers | {"Content-Encoding": "gzip"}
    crm.response = Response(status, body, headers)
    error = failure(lambda: send(probe(), crm.url, method))
    assert (*verdict(error), error.status) == (kind, Code.INVALID_RESPONSE, status)


def test_a_body_of_a_megabyte_passes(crm: Script) -> None:
    crm.response = Response(200, b"x" * MAX_BODY)
    assert len(send(probe(), crm.url).body) == MAX_BODY


def test_a_compressed_body_is_unpacked_and_a_broken_one_refused(crm: Script) -> None:
    packed = gzip.compress(b'{"a": 1}')
    crm.response = Response(200, packed, {"Content-Encoding": "gzip"})
    assert send(probe(), crm.url).json() == {"a": 1}
    crm.response = Response(200, b"no gzip", {"Content-Encoding": "gzip"})
    assert verdict(failure(lambda: send(probe(), crm.url))) == (OutcomeUnknown, Code.INVALID_RESPONSE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["{url}/elsewhere", "/elsewhere", "https://evil.invalid/", "http://[::1", ""])
def test_redirects_are_not_followed(crm: Script, status: int, target: str) -> None:
    crm.response = Response(status, "", {"Location": target.format(url=crm.url)})
    assert send(probe(), crm.url).status == status
    assert len(crm.requests) == 1


def test_what_goes_out(crm: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password from-netrc")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    probe().request("POST", f"{crm.url}/a", json={"name": "Ayşe"}, params={"q": "ü"}, headers={"X-A": "1"})
    [request] = crm.requests
    assert (request.method, request.path, request.query) == ("POST", "/a", "q=%C3%BC")
    assert json.loads(request.body) == {"name": "Ayşe"}
    assert (request.header("X-A"), request.header("User-Agent")) == ("1", "crmgate")
    assert request.header("Authorization") == ""


# -- time budgets ------------------------------------------------------------------------------------------------------


def test_requests_share_a_budget(crm: Script) -> None:
    provider = probe(timeout=5)
    crm.fail("latency", seconds=0.5, times=1)
    begun = time.monotonic()
    with time_budget(1.0):
        send(provider, crm.url)
        crm.fail("hang")
        assert verdict(failure(lambda: send(provider, crm.url))) == (OutcomeUnknown, TIMEOUT)
    assert time.monotonic() - begun < 1.4  # each with a budget of its own would take 1.5
    assert len(crm.requests) == 2


def test_without_time_left_nothing_is_sent(crm: Script) -> None:
    for seconds in (0.0, -1.0, 0.04):
        with time_budget(seconds):
            assert verdict(failure(lambda: send(probe(), crm.url))) == (Unavailable, TIMEOUT)
    assert crm.requests == []


def test_an_inner_budget_cannot_outlast_the_outer_one(crm: Script) -> None:
    crm.fail("hang")
    begun = time.monotonic()
    with time_budget(0.15), time_budget(60):
        failure(lambda: send(probe(timeout=60), crm.url))
    assert time.monotonic() - begun < 1


def test_after_a_budget_the_providers_own_timeout_holds_again(crm: Script) -> None:
    with time_budget(0.0):
        failure(lambda: send(probe(), crm.url))
    assert send(probe(), crm.url).status == 200


def test_a_connection_that_is_used_again_has_the_time_of_the_new_request(crm: Script) -> None:
    provider = probe(timeout=5)
    with time_budget(0.2):
        send(provider, crm.url)
    crm.fail("latency", seconds=0.25)
    assert send(provider, crm.url).status == 200


def test_threads_have_sessions_and_budgets_of_their_own(crm: Script) -> None:
    provider = probe(timeout=5)
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
            thread.join(5)
    assert len(crm.requests) == 4
    assert (len(sessions), len({id(session) for session in sessions})) == (8, 4)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_every_problem_of_the_settings_is_told_at_once() -> None:
    told = problems(
        PROBE_URL="nonsense", PROBE_KEY="", PROBE_HOOK=TOKEN, PROBE_PIN="c4n4r", PROBE_USER="too long",
        PROBE_MAP_CYTI="x", PROBE_VALUES_SOURCE="website",
    )  # fmt: skip
    known = ", ".join([*LABELS, *SILENT])
    assert sorted(told) == [
        "PROBE_HOOK, got a value that is not shown: Not a valid URL. It takes an address such as https://crm.example.com.",
        "PROBE_KEY: Missing data for required field. It takes text.",
        f"PROBE_MAP_CYTI: there is no fact 'cyti'. It takes one of: {known}, custom_<key>.",
        "PROBE_PIN, got a value that is not shown: '***' is odd. It takes text.",
        "PROBE_URL, got 'nonsense': Not a valid URL. It takes an address such as https://crm.example.com.",
        "PROBE_USER, got 'too long': Longer than maximum length 5. It takes a short name.",
        "PROBE_VALUES_SOURCE, got 'website': 'website' is no new pair. It takes a=A,b=B: our value, the CRM's.",
    ]


@pytest.mark.parametrize("missing", ["", " ", "\n"])
def test_a_blank_setting_is_absent(missing: str) -> None:
    assert [problem.partition(":")[0] for problem in problems(PROBE_URL=missing, PROBE_KEY=missing)] == [
        "PROBE_URL", "PROBE_KEY",
    ]  # fmt: skip
    assert "PROBE_USER" not in probe(PROBE_USER=missing).settings


def test_the_line_end_of_a_secrets_file_is_not_part_of_the_secret() -> None:
    assert probe(PROBE_KEY=f" {KEY}\r\n").settings["PROBE_KEY"] == KEY


@pytest.mark.parametrize("user", ["espo", "espo:c4n4r", ":c4n4r"])
def test_an_address_that_would_send_a_password_along_is_refused(user: str) -> None:
    (told,) = problems(PROBE_URL=f"https://{user}@crm.example.com")
    assert told.startswith("PROBE_URL: ")
    assert "c4n4r" not in told


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("http://crm.example.com", ()),
        ("http://127.0.0.1:8080", ()),
        ("http://espo.evil.example", ("espo",)),
        ("HTTP://crm.example.com", ()),
    ],
)
def test_plain_http_is_refused(address: str, hosts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        Probe(settings(PROBE_URL=address, PROBE_HOOK=address), http_hosts=hosts)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["PROBE_URL", "PROBE_HOOK"]
    assert "CRM_HTTP_HOSTS" in str(caught.value)
    assert address not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("http://127.0.0.1:8080", ("localhost", "127.0.0.1")),
        ("http://[::1]:8080", ("::1",)),
        ("http://espo", ("ESPO",)),
        ("http://ESPO/crm", ("espo",)),
        ("https://crm.example.com", ()),
    ],
)
def test_plain_http_goes_to_hosts_that_are_named(address: str, hosts: tuple[str, ...]) -> None:
    provider = Probe(settings(PROBE_URL=address, PROBE_HOOK=address), http_hosts=hosts)
    assert provider.settings["PROBE_URL"] == address


def test_a_provider_shows_no_secret() -> None:
    assert repr(probe(PROBE_KEY=KEY)) == "<Probe probe>"
    assert secret_names(Probe.Settings) == ["PROBE_HOOK", "PROBE_KEY", "PROBE_PIN", "PROBE_OPTIONAL", "PROBE_NONE"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"key {KEY}!", "key ***!"),
        ("key k3y-c4n4ry%2F%2B%C3%BC", "key ***"),
        (f"url: /rest/1/{TOKEN}/crm.lead.add", "url: /***/crm.lead.add"),
        (f"token {TOKEN}", "token ***"),
        (f"https://b24.example.com/rest/1/{TOKEN}/", "***"),
        ("None of this is secret", "None of this is secret"),
        ("", ""),
    ],
)
def test_secrets_are_redacted_in_every_form(text: str, redacted: str) -> None:
    provider = probe(PROBE_KEY=KEY, PROBE_HOOK=f"https://b24.example.com/rest/1/{TOKEN}/")
    assert provider.redact(text) == redacted


def test_a_secret_cannot_be_declared_open() -> None:
    assert secret(metadata={"secret": False, "takes": "a key"}).metadata == {"secret": True, "takes": "a key"}
    assert web_address(metadata={"takes": "an address"}).metadata["takes"] == "an address"


def test_a_lost_answer_is_ambiguous_unless_the_request_only_read() -> None:
    assert verdict(lost(True, Code.SERVER_ERROR, "x", 500)) == (Unavailable, Code.SERVER_ERROR)
    error = lost(False, Code.SERVER_ERROR, "x", 500)
    assert (*verdict(error), error.status) == (OutcomeUnknown, Code.SERVER_ERROR, 500)


# -- field mapping -----------------------------------------------------------------------------------------------------

LEAD = Lead(first_name="Ada", city="Köln", source="website", referral_code="R1", custom={"visaType": "F-1"})


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({}, {"firstName": "Ada", "source": "Web", "town": "Köln"}),
        ({"PROBE_MAP_CITY": ""}, {"firstName": "Ada", "source": "Web"}),
        ({"PROBE_MAP_CITY": " "}, {"firstName": "Ada", "source": "Web"}),
        ({"PROBE_MAP_CITY": " cityC\n"}, {"firstName": "Ada", "source": "Web", "cityC": "Köln"}),
        ({"PROBE_MAP_REFERRAL_CODE": "ref"}, {"firstName": "Ada", "source": "Web", "town": "Köln", "ref": "R1"}),
        ({"PROBE_MAP_CUSTOM_VISATYPE": "v"}, {"firstName": "Ada", "source": "Web", "town": "Köln", "v": "F-1"}),
        ({"PROBE_VALUES_SOURCE": "website=WWW, landing = L"}, {"firstName": "Ada", "source": "WWW", "town": "Köln"}),
        ({"PROBE_VALUES_SOURCE": "website=a=b,"}, {"firstName": "Ada", "source": "a=b", "town": "Köln"}),
        ({"PROBE_VALUES_SOURCE": "landing=L"}, {"firstName": "Ada", "town": "Köln"}),
        ({"PROBE_VALUES_SOURCE": ""}, {"firstName": "Ada", "source": "website", "town": "Köln"}),
        ({"PROBE_VALUES_CITY": "Köln=Cologne"}, {"firstName": "Ada", "source": "Web", "town": "Cologne"}),
        ({"OTHER_MAP_CITY": "x", "XPROBE_MAP_CITY": "y", "probe_map_city": "z"},
         {"firstName": "Ada", "source": "Web", "town": "Köln"}),
    ],
)  # fmt: skip
def test_names_and_values_can_be_changed_by_settings(changes: dict[str, str], sent: dict[str, str]) -> None:
    provider = Probe(settings(**changes))
    mapped = provider.map_lead(LEAD, OPERATION)
    assert mapped.fields == sent
    description = provider.describe(mapped, OPERATION, "hello")
    assert description.startswith("hello\n\n")
    for value in ("Ada", "Köln", "website", "R1", "F-1"):
        assert value in sent.values() or value in description


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PROBE_MAP_NAME", "x", "there is no fact 'name'"),
        ("PROBE_MAP_", "x", "there is no fact ''"),
        ("PROBE_MAP_CUSTOM_", "x", "there is no fact 'custom_'"),
        ("PROBE_VALUES_NAME", "a=b", "there is no fact 'name'"),
        ("PROBE_VALUES_SOURCE", "website", "'website' is no new pair"),
        ("PROBE_VALUES_SOURCE", "a=A,website", "'website' is no new pair"),
        ("PROBE_VALUES_SOURCE", "=Web", "'=Web' is no new pair"),
        ("PROBE_VALUES_SOURCE", "website=", "'website=' is no new pair"),
        ("PROBE_VALUES_SOURCE", "a=A,a=B", "'a=B' is no new pair"),
        ("PROBE_VALUES_SOURCE", "a=A, ,b=B", "' ' is no new pair"),
    ],
)
def test_a_mapping_that_means_nothing_is_a_problem(name: str, value: str, told: str) -> None:
    [problem] = problems(**{name: value})
    assert problem.startswith(name)
    assert told in problem
    assert " It takes " in problem


def test_the_mapping_of_one_provider_does_not_leak_into_the_next() -> None:
    probe(PROBE_MAP_CITY="x", PROBE_VALUES_SOURCE="a=b")
    assert probe().map_lead(LEAD, OPERATION).fields == {"firstName": "Ada", "source": "Web", "town": "Köln"}


def test_clicks_are_mapped_by_the_same_names() -> None:
    activity = Activity("telegram", "R1", metadata={"page": "/de"})
    provider = probe(PROBE_MAP_CHANNEL="chan", PROBE_MAP_CUSTOM_PAGE="pg", PROBE_MAP_OPERATION_ID="op")
    mapped = provider.map_activity(activity, OPERATION)
    assert mapped.fields == {"chan": "telegram", "pg": "/de", "op": OPERATION.id}
    assert mapped.rest == [("Referral code", "R1")]

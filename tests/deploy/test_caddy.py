"""The Caddyfile: a real Caddy with certificates of its own, in front of the whole gateway and a fake EspoCRM."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from crmgate.web.headers import SAFE
from tests.deploy.files import CADDYFILE
from tests.integration import flood
from tests.integration.stack import API_KEY, Stack, person
from tests.processes import DEADLINE, Process, free_port, wait_until

OPERATION = "88c58fe866724682b5bfaf3062997351"
APP, CRM = "app.localhost", "crm.localhost"
OPERATORS_PAGES = [
    "/metrics", "/readyz", "/ops", "/ops/letters", "/api/v1/operations", "/api/v1/dead-letters",
    "/api/v1/dead-letters/1/retry", "/api/v1/crm/test", "/api/v1/persons/search", "/api/v1/plugins", "/api/v1/audit",
    "/api/v1/tokens", "/api/v1/tokens/1",
]  # fmt: skip
HEADERS = ("Authorization", "Cookie", "Referer", "User-Agent", "X-Api-Key")
"""Parts of a request that no log may contain."""
CADDY = str(Path(sys.executable).with_name("caddy"))
PATIENCE = "lb_try_duration 20s"
Response = urllib3.BaseHTTPResponse


class Caddy(Process):
    """Caddy as the compose file runs it, but for its ports, the addresses of the others, and `patience` in seconds."""

    def __init__(self, folder: Path, stack: Stack, patience: float = 1) -> None:
        self.http, self.https, home = free_port(), free_port(), folder / "home"
        text = CADDYFILE.read_text()
        assert text.count(PATIENCE) == 1
        (folder / "Caddyfile").write_text(text.replace(PATIENCE, f"lb_try_duration {patience:.0f}s"))
        self.root = home / "caddy/pki/authorities/local/root.crt"
        env = {
            "APP_DOMAIN": APP, "WEB_UPSTREAM": stack.url.removeprefix("http://"),
            "CRM_DOMAIN": CRM, "CRM_UPSTREAM": stack.espocrm.url.removeprefix("http://"),
            "HTTP_PORT": str(self.http), "HTTPS_PORT": str(self.https), "OPERATOR_NETWORKS": "127.0.0.1 192.0.2.0/24",
            "HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home),
        }  # fmt: skip
        super().__init__(
            "caddy", [CADDY, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"], folder, env
        )

    def pool(self, domain: str, **options: Any) -> urllib3.HTTPSConnectionPool:
        """Connections over TLS; the certificate has to be the domain's."""
        return urllib3.HTTPSConnectionPool(
            "127.0.0.1", self.https, ca_certs=str(self.root), server_hostname=domain, assert_hostname=domain,
            headers={"Host": domain}, retries=False, timeout=DEADLINE, **options,
        )  # fmt: skip

    def ask(self, domain: str, method: str, path: str, *, source: str = "127.0.0.1", **options: Any) -> Response:
        """Send a request over a new connection from the address `source`."""
        headers = {"Host": domain} | options.pop("headers", {})
        with self.pool(domain, source_address=(source, 0)) as pool:
            return pool.request(method, path, headers=headers, **options)

    def answers(self, domain: str) -> bool:
        """Whether it answers for a name."""
        assert self.running, self.output()
        try:
            return self.root.exists() and self.ask(domain, "GET", "/healthz").status in (200, 404)
        except (urllib3.exceptions.HTTPError, OSError):
            return False


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway that cuts off no slow sender."""
    with Stack(tmp_path_factory.mktemp("stack"), TELEGRAM_URL="https://t.me/example_bot") as running:
        running.env["GUNICORN_CMD_ARGS"] = "--worker-class tests.integration.patient.Worker"
        yield running.start()


@pytest.fixture(scope="module")
def caddy(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caddy]:
    with started(Caddy(tmp_path_factory.mktemp("caddy"), stack)) as process:
        yield process


@contextmanager
def started(caddy: Caddy) -> Iterator[Caddy]:
    """A Caddy that answers for both names."""
    caddy.start()
    wait_until("Caddy answers for both names", lambda: caddy.answers(APP) and caddy.answers(CRM))
    try:
        yield caddy
    finally:
        caddy.stop()


def test_it_is_valid_and_in_its_one_form() -> None:
    formatted = subprocess.run([CADDY, "fmt", str(CADDYFILE)], capture_output=True, text=True, check=False)
    assert formatted.stdout == CADDYFILE.read_text()


@pytest.mark.parametrize(
    ("path", "over", "status"),
    [
        ("/api/v1/applications", 1, 413),
        ("/api/v1/applications", 1024, 413),
        ("/api/v1/applications", 30_000, 413),
        # Caddy may end the connection of a sender of more, before that reads the answer.
        ("/api/v1/applications", 256 * 1024, 413),
        ("/nowhere", 30_000, 404),
    ],
)
def test_a_body_over_the_limit_never_makes_a_502(caddy: Caddy, path: str, over: int, status: int) -> None:
    """Neither for its own request nor for the next one that Caddy sends over the same connection."""
    for number in range(60):
        answer = post_too_much(caddy, path, 64 * 1024 + over, chunked=number % 2 == 0)
        assert (answer.status, answer.json()["status"]) == (status, status)


def post_too_much(caddy: Caddy, path: str, size: int, *, chunked: bool) -> Response:
    body = (b"x" * min(8000, size - begin) for begin in range(0, size, 8000)) if chunked else b"x" * size
    return caddy.ask(APP, "POST", path, body=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("size", [65 * 1024, 99_999])
def test_a_body_that_is_a_little_too_large_gets_the_gateways_own_words(caddy: Caddy, size: int) -> None:
    assert "request_id" in post_too_much(caddy, "/api/v1/applications", size, chunked=False).json()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_far_too_large_never_reaches_the_gateway(caddy: Caddy, chunked: bool) -> None:
    answer = post_too_much(caddy, "/api/v1/applications", 300_000, chunked=chunked)
    assert (answer.status, "request_id" in answer.json()) == (413, False)


@pytest.mark.parametrize("path", OPERATORS_PAGES)
def test_the_operators_pages_are_for_the_operators_networks(caddy: Caddy, path: str) -> None:
    refused = caddy.ask(APP, "GET", path, source="127.0.0.2", headers={"X-Forwarded-For": "127.0.0.1"})
    assert refused.status == 403
    assert "OPERATOR_NETWORKS" in refused.json()["detail"]
    assert caddy.ask(APP, "GET", path).status != 403


def test_an_operation_is_not_an_operators_page(caddy: Caddy) -> None:
    path = f"/api/v1/operations/{OPERATION}"
    assert caddy.ask(APP, "GET", path, source="127.0.0.2").status == 404


@pytest.mark.parametrize(("method", "more"), [("PATCH", ""), ("DELETE", ""), ("POST", "/retry")])
def test_only_the_operators_networks_change_an_operation(caddy: Caddy, method: str, more: str) -> None:
    path = f"/api/v1/operations/{OPERATION}{more}"
    refused = caddy.ask(APP, method, path, source="127.0.0.2")
    assert refused.status == 403
    assert "OPERATOR_NETWORKS" in refused.json()["detail"]
    assert caddy.ask(APP, method, path).status == 401


def test_a_lead_gets_through(caddy: Caddy, stack: Stack) -> None:
    response = caddy.ask(APP, "POST", "/api/v1/applications", json=person(4711), source="127.0.0.2")
    assert response.status == 201, response.data
    assert response.headers["Location"].startswith("/api/v1/operations/")
    assert [lead["emailAddress"] for lead in stack.espocrm.leads] == ["test4711@example.com"]


def test_security_headers(caddy: Caddy) -> None:
    for domain, path in ((APP, "/healthz"), (APP, "/nothing"), (CRM, "/")):
        headers = caddy.ask(domain, "GET", path).headers
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert headers["X-Content-Type-Options"] == "nosniff"
        policy = "no-referrer" if domain == APP else "strict-origin-when-cross-origin"
        assert headers.getlist("Referrer-Policy") == [policy]
        assert "Caddy" not in headers.get("Server", "")
    app = caddy.ask(APP, "GET", "/healthz").headers
    assert app["X-Frame-Options"] == "DENY"
    assert app.getlist("Content-Security-Policy") == [SAFE["Content-Security-Policy"]], "the gateway's own, once"


@pytest.mark.parametrize("encoding", ["zstd", "gzip"])
def test_answers_are_compressed(caddy: Caddy, encoding: str) -> None:
    path = "/api/v1/Metadata?key=entityDefs.Lead.fields"
    headers = {"X-Api-Key": API_KEY, "Accept-Encoding": encoding}
    response = caddy.ask(CRM, "GET", path, headers=headers, decode_content=False)
    assert (response.status, response.headers["Content-Encoding"]) == (200, encoding)


def test_forwarded_headers_are_caddys_own(caddy: Caddy, stack: Stack) -> None:
    stack.espocrm.requests.clear()
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example"}
    caddy.ask(CRM, "GET", "/api/v1/App/user", headers=forged)
    [request] = stack.espocrm.requests
    seen = {name.lower(): value for name, value in request.headers.items()}
    assert (seen["x-forwarded-for"], seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("127.0.0.1", "https", CRM)


def test_plain_http_is_redirected(caddy: Caddy) -> None:
    with urllib3.HTTPConnectionPool("127.0.0.1", caddy.http, retries=False, timeout=DEADLINE) as pool:
        response = pool.request("GET", "/go/telegram?ref=A1", headers={"Host": APP}, redirect=False)
    assert (response.status, response.headers["Location"]) == (308, f"https://{APP}/go/telegram?ref=A1")


def test_300_slow_senders_from_one_address_delay_no_other_address(caddy: Caddy) -> None:
    """Caddy keeps them: one that reached the gateway would occupy a thread for ever."""
    with flood.slow_senders(caddy.https, flood.BODY, 300, flood.with_tls):
        for number in range(800, 810):
            answer = caddy.ask(APP, "POST", "/api/v1/applications", json=person(number), source="127.0.0.2")
            assert answer.status in (201, 202)


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO"])
@pytest.mark.parametrize("path", ["/x/readyz", "/x/metrics", "/x/api/v1/operations"])
def test_no_header_bypasses_the_rules(caddy: Caddy, name: str, path: str) -> None:
    value = "/x" if name == "SCRIPT_NAME" else path.removeprefix("/x")
    answer = caddy.ask(APP, "GET", path, source="127.0.0.2", headers={name: value})
    assert answer.status == 404


def test_the_gateway_never_gets_headers_that_some_servers_read_as_the_path() -> None:
    text = CADDYFILE.read_text()
    assert "header_up -SCRIPT_NAME" in text
    assert "header_up -PATH_INFO" in text


CHUNKED = flood.ROUTE + b"Host: app.localhost\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
FORM = CHUNKED % b"application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED % b"application/json" + b"zz\r\n{}\r\n0\r\n\r\n",
        FORM + b"25\r\nfirst_name=Ada&email=half@example.com\r\nzz\r\n",
        FORM + b"-1\r\n\r\n",
    ],
    ids=["no number", "no number later", "negative"],
)
def test_malformed_chunks_are_refused_and_store_nothing(caddy: Caddy, stack: Stack, data: bytes) -> None:
    with flood.with_tls(socket.create_connection(("127.0.0.1", caddy.https), DEADLINE)) as sender:
        sender.sendall(data)
        answer = sender.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert b"Retry-After" not in answer
    assert "half@example.com" not in stack.emails


def test_a_gateway_that_is_down_is_a_502_problem_that_may_be_retried(caddy: Caddy, stack: Stack) -> None:
    stack.web.stop()
    try:
        response = caddy.ask(APP, "POST", "/api/v1/applications", json=person(2))
    finally:
        stack.web.start()
        wait_until("the gateway is back", lambda: caddy.answers(APP) and _up(caddy))
    assert (response.status, response.headers["Content-Type"]) == (502, "application/problem+json")
    assert (response.headers["Retry-After"], response.headers["Cache-Control"]) == ("10", "no-store")


def _up(caddy: Caddy) -> bool:
    return caddy.ask(APP, "GET", "/healthz").status == 200


def test_the_log_holds_no_personal_data(caddy: Caddy) -> None:
    caddy.ask(
        APP, "GET", "/healthz?email=ada@example.com", source="127.0.0.3", headers=dict.fromkeys(HEADERS, "c4n4ry")
    )
    wait_until("the request is logged", lambda: '"/healthz"' in caddy.output())
    caddy.ask(APP, "GET", f"/api/v1/operations/{OPERATION}?a=b")
    caddy.ask(APP, "GET", f"/ops/operations/{OPERATION}/edit?data=shown")
    caddy.ask(APP, "PATCH", f"/api/v1/dead-letters/{OPERATION}/retry")
    wait_until("they are logged", lambda: '"/api/v1/dead-letters//retry"' in caddy.output())
    assert '"/api/v1/operations/"' in caddy.output()
    words = ("ada@", "c4n4ry", "127.0.0.3", "6.6.6.6", OPERATION)
    assert not [word for word in words if word in caddy.output()]
    requests = [json.loads(line)["request"] for line in caddy.output().splitlines() if '"handled request"' in line]
    assert {request["remote_ip"] for request in requests} == {"127.0.0.0"}

"""Security headers of every answer, and CORS."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

URL = "/api/v1/applications"
EVENTS = "/api/v1/messenger-events"
OURS = "https://www.example.org"


def preflight(client: FlaskClient, url: str, origin: str) -> Any:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,idempotency-key"}
    return client.options(url, headers={"Origin": origin} | asked)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", "/healthz", 200),
        ("post", URL, 400),
        ("get", "/nope", 404),
        ("put", URL, 405),
        ("get", "/go/telegram", 302),
        ("get", "/api/v1/crm/test", 401),
        ("options", URL, 200),
    ],
)
def test_every_answer_has_the_security_headers(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = getattr(client, method)(path)
    assert answer.status_code == status
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Request-ID"]
    assert "Werkzeug" not in answer.headers.get("Server", "")


def test_a_page_keeps_its_own_policy(client: FlaskClient) -> None:
    answer = client.post(URL, data={"x": "y"}, headers={"Accept": "text/html"})
    assert answer.mimetype == "text/html"
    [policy] = answer.headers.getlist("Content-Security-Policy")
    assert "style-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("url", [URL, EVENTS])
def test_an_allowed_site_may_send_and_read(client: FlaskClient, body: dict[str, Any], url: str) -> None:
    answer = preflight(client, url, OURS)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert allowed == {"content-type", "idempotency-key", "prefer"}
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    answer = client.post(url, json=body, headers={"Origin": OURS})
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert {"Location", "Retry-After"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert "Origin" in answer.headers["Vary"]


def test_failures_can_be_read_too(client: FlaskClient) -> None:
    for answer in (client.post(URL, json={}, headers={"Origin": OURS}), client.post(URL, headers={"Origin": OURS})):
        assert answer.status_code >= 400
        assert answer.headers["Access-Control-Allow-Origin"] == OURS


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://www.example.org", "https://www.example.org.evil.example",
     "https://www.example.org:8443", "https://wwwxexample.org", "https://evil.example/https://www.example.org", "*",
     ""],
)  # fmt: skip
def test_no_other_site_may_read(client: FlaskClient, body: dict[str, Any], origin: str) -> None:
    for answer in (preflight(client, URL, origin), client.post(URL, json=body, headers={"Origin": origin})):
        assert [name for name, _ in answer.headers if name.startswith("Access-Control")] == []
        assert "Origin" in answer.headers["Vary"], "a cache must not give this answer to an allowed site"


def test_no_site_may_use_credentials(client: FlaskClient, body: dict[str, Any]) -> None:
    for answer in (preflight(client, URL, OURS), client.post(URL, json=body, headers={"Origin": OURS})):
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_scripts_of_sites_cannot_use_operators_routes(client: FlaskClient) -> None:
    for path in ("/api/v1/crm/test", "/metrics", "/readyz"):
        assert "Access-Control-Allow-Origin" not in client.get(path, headers={"Origin": OURS}).headers

"""What is believed of a request's headers: hosts, schemes and forwarded addresses."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crmgate import web

URL = "/api/v1/applications"
FORM = {"first_name": "Ada", "email": "ada@example.com", "_next": "/thanks"}
KNOWN = ["crm.example.com", "CRM.example.com", "crm.example.com:8443", "crm.example.com.", "localhost:8000",
         "127.0.0.1:8000", "[::1]:8000"]  # fmt: skip
UNKNOWN = ["evil.example", "crm.example.com.evil.example", "evil.example:443", "192.0.2.1", "xcrm.example.com"]
MALFORMED = ["a'b", "crm.example.com/x", "crm.example.com:x", "a b", "a<b>", "me@crm.example.com", "crm.example.com,x",
             "[::1", "::1"]  # fmt: skip


@pytest.fixture
def named(services: Any) -> None:
    """The gateway has one name."""
    services.settings.allowed_hosts = ("crm.example.com",)


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("host", KNOWN)
def test_a_known_host_is_served(client: FlaskClient, host: str) -> None:
    assert client.get("/docs", headers={"Host": host}).status_code == 200


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("host", UNKNOWN + MALFORMED)
@pytest.mark.parametrize("path", ["/docs", "/go/telegram", "/api/v1/openapi.json", "/nowhere"])
def test_an_unknown_host_is_refused_with_the_remedy(client: FlaskClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json["type"]) == (421, "/problems/unknown-host")
    assert "ALLOWED_HOSTS" in answer.json["detail"]
    assert host not in answer.text
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers


@pytest.mark.usefixtures("named")
def test_nothing_is_stored_for_an_unknown_host(client: FlaskClient, gateway: Any) -> None:
    assert client.post(URL, data=FORM, headers={"Host": "evil.example"}).status_code == 421
    assert gateway.submitted == []


@pytest.mark.usefixtures("named")
def test_probes_may_use_any_address(client: FlaskClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert client.get(path, headers={"Host": "10.0.0.7:8000"}).status_code == 200


@pytest.mark.parametrize(("host", "status"), [*((host, 200) for host in UNKNOWN), *((host, 421) for host in MALFORMED)])
def test_without_a_name_every_well_formed_host_is_served(client: FlaskClient, host: str, status: int) -> None:
    """As `make run` is used: on a machine of any name, or through a tunnel."""
    assert client.get("/docs", headers={"Host": host}).status_code == status


def test_the_page_with_the_host_is_for_its_reader_only(client: FlaskClient) -> None:
    evil, good = (client.get("/docs", headers={"Host": host}) for host in ("evil.example", "good.example"))
    assert "curl http://evil.example/" in evil.text
    assert "evil" not in good.text
    assert "curl http://good.example/" in good.text
    for answer in (evil, good):
        assert "invalid" not in answer.text.partition("<article")[2].partition("curl ")[2][:60]
        assert answer.headers["Cache-Control"] == "private, no-cache"
        assert "Host" in answer.headers["Vary"]
    assert evil.headers["ETag"] != good.headers["ETag"]


def test_the_page_is_rendered_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/docs")
    monkeypatch.setattr(web.docs, "render_template", None)
    monkeypatch.setattr(web.docs, "page", None)
    monkeypatch.setattr(web.docs.json, "dumps", None)
    assert client.get("/docs").data == first.data
    assert client.get("/docs", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


SCHEMES = [
    ("http", "http"), ("https", "https"), ("HTTPS", "https"), ("javascript", "http"), ("gopher", "http"),
    ("http, javascript", "http"), ("javascript, https", "https"), ("https://evil.example/#", "http"), ("", "http"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "meant"), SCHEMES)
def test_only_http_and_https_are_schemes(app: Flask, given: str, meant: str) -> None:
    web.trust_proxies(app, 1)
    headers = {"X-Forwarded-Proto": given}
    answer = app.test_client().post(URL, data=FORM, headers=headers)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{meant}://localhost/thanks")
    redirect = app.test_client().get("//docs", headers=headers)
    assert redirect.headers.get("Location", f"{meant}://").startswith(f"{meant}://")


def test_without_a_proxy_a_forwarded_scheme_is_ignored(app: Flask) -> None:
    web.trust_proxies(app, 0)
    answer = app.test_client().post(URL, data=FORM, headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["Location"] == "http://localhost/thanks"

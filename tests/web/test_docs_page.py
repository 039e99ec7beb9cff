"""`GET /docs` is complete, needs no internet access and runs only its own script."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from crmgate.web.docs.page import markdown, pretty
from tests.web.published import Published


def test_the_page_has_every_route_with_a_command_to_copy(client: FlaskClient) -> None:
    html = client.get("/docs").text
    for path, method, operation in Published(client.get("/api/v1/openapi.json").json).operations():
        assert f'id="{operation["operationId"].replace("_", "-")}"' in html
        [article] = re.findall(
            rf'<article id="{operation["operationId"].replace("_", "-")}">(.*?)</article>', html, re.DOTALL
        )
        assert f"<code>{path}</code>" in article
        assert f">{method.upper()}</b>" in article
        assert "curl " in article


def test_nothing_comes_from_elsewhere(client: FlaskClient) -> None:
    answer = client.get("/docs")
    loaded = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="([^"]*)"', answer.text)
    assert len(loaded) == 3
    assert all(target.startswith("/static/") for target in loaded)
    assert not re.search(r"<style|<script>|\son\w+=|style=", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")


def test_html_in_the_document_is_escaped() -> None:
    assert "<script>" not in markdown("a <script>alert(1)</script>")
    assert "href" not in markdown("[x](javascript:alert(1))")


def test_json_is_laid_out_to_be_read() -> None:
    assert pretty({"a": 1, "b": [1, 2]}) == '{"a": 1, "b": [1, 2]}'
    assert pretty({"name": "x" * 40, "other": "y" * 40}) == (
        '{\n  "name": "' + "x" * 40 + '",\n  "other": "' + "y" * 40 + '"\n}'
    )


def test_the_address_of_the_gateway_says_what_it_is(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "gateway between a website and its CRM" in answer.text
    assert re.findall(r'href="([^"]*)"', answer.text) == ["/docs"]
    assert client.head("/").status_code == 200

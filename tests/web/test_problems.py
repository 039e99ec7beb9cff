"""Failures as problem+json, without personal data and secrets in answers and logs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from werkzeug.exceptions import TooManyRequests

from crmgate import web
from crmgate.errors import LedgerUnavailable, NotAccepted
from crmgate.web.codes import ProblemCode

URL = "/api/v1/applications"
SECRET = "ayse@example.test"


@pytest.fixture(scope="module")
def routes() -> Flask:
    """An application with routes that fail."""
    app = Flask("crmgate")
    web.init_app(app)
    _failing_routes(app)
    return app


def _failing_routes(app: Flask) -> None:
    @app.get("/boom")
    def boom() -> str:
        try:
            int(SECRET)
        except ValueError as error:
            raise RuntimeError(f"cannot read {SECRET}") from error
        return ""

    @app.get("/slow-down")
    def slow_down() -> str:
        raise TooManyRequests(retry_after=7)

    @app.get("/own-answer")
    def own_answer() -> str:
        abort(app.response_class("mine", 418))

    @app.get("/folder/")
    def folder() -> str:
        return "folder"


def test_not_accepted_is_503_with_its_own_retry_after(client: FlaskClient, gateway: Any, body: Any) -> None:
    gateway.error = NotAccepted(f"redis.internal refused {SECRET}", retry_after=42)
    answer = client.post(URL, json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "42")
    assert answer.json["type"] == "/problems/service-unavailable"
    assert "redis.internal" not in answer.text


def test_a_silent_ledger_is_503_with_retry_after(client: FlaskClient, gateway: Any, body: Any) -> None:
    gateway.error = LedgerUnavailable("redis.internal")
    answer = client.post(URL, json=body)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "redis.internal" not in answer.text


def test_an_unexpected_error_is_logged_without_its_message(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/boom", headers={"X-Request-ID": "r-1"})
    assert (answer.status_code, answer.json["type"]) == (500, "/problems/internal-error")
    for leaked in (SECRET, "Traceback", "RuntimeError", "test_problems"):
        assert leaked not in answer.text
    for useful in ("builtins.ValueError", "builtins.RuntimeError", "in boom", "r-1"):
        assert useful in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status", "problem"),
    [
        ("GET", "/nowhere", 404, "/problems/not-found"),
        ("GET", URL, 405, "/problems/method-not-allowed"),
        ("POST", "/healthz", 405, "/problems/method-not-allowed"),
        ("GET", "/slow-down", 429, "/problems/rate-limited"),
    ],
)
def test_http_errors_are_problems(client: FlaskClient, method: str, path: str, status: int, problem: str) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json) == {"type", "title", "status", "detail", "request_id"}
    assert (answer.json["type"], answer.json["status"]) == (problem, status)


def test_the_headers_of_an_http_error_stay(client: FlaskClient) -> None:
    assert set(client.get(URL).headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert client.get("/slow-down").headers["Retry-After"] == "7"


def test_redirects_and_own_answers_pass(client: FlaskClient) -> None:
    assert client.get("/folder").status_code == 308
    assert client.get("/own-answer").text == "mine"


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 64])
def test_a_harmless_request_id_is_echoed(client: FlaskClient, given: str) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == answer.json["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "a\t", "é"])
def test_any_other_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/nowhere", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == answer.json["request_id"]
    assert len(answer.json["request_id"]) == 32


def test_request_ids_differ_and_stand_in_good_answers_too(client: FlaskClient) -> None:
    assert len({client.get("/healthz").headers["X-Request-ID"] for _ in range(3)}) == 3


def test_a_browser_gets_a_page_for_any_problem_of_its_form(client: FlaskClient, gateway: Any) -> None:
    gateway.error = NotAccepted("down", retry_after=5)
    form = {"first_name": "A", "phone": "05321234567"}
    answer = client.post(URL, data=form, headers={"Accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer.mimetype, answer.headers["Retry-After"]) == (503, "text/html", "5")
    assert "send it again" in answer.text


def test_every_problem_code_has_its_uri_and_status() -> None:
    assert len({code.uri for code in ProblemCode}) == len(ProblemCode)
    assert all(400 <= code.status < 600 and code.summary for code in ProblemCode)

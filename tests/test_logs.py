"""Every log line has one form, with the ids of its request and operation and without the message of an exception."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from crmgate import logs
from tests.conftest import loggers_as_before

CANARY = "c4n4ry"


@pytest.fixture
def _loggers() -> Iterator[None]:
    with loggers_as_before():
        yield
    logs.begin()


@pytest.fixture
def lines(_loggers: None, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call it for the lines logged so far."""
    logs.configure("INFO", "json")
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_crmgate_and_libraries_write_the_same_lines(lines: Any) -> None:
    logging.getLogger("crmgate.x").info("operation %s: %s", "abc", "gönderildi")
    logging.getLogger("library").warning("100%% %s", "full", extra={"secret": CANARY, "status": 3})
    logging.getLogger("library").info("chatter")
    own, foreign = lines()
    assert (own["level"], own["logger"], own["event"]) == ("info", "crmgate.x", "operation abc: gönderildi")
    assert own["timestamp"].endswith("Z")
    assert list(own)[:4] == ["timestamp", "level", "logger", "event"]
    assert (foreign["event"], foreign["status"], foreign.keys() & {"secret"}) == ("100% full", 3, set())


def test_an_exception_is_logged_by_its_type_and_place(lines: Any) -> None:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError:
            raise ValueError(CANARY) from None
    except ValueError:
        logging.getLogger("library").exception("it failed")
    [line] = lines()
    assert "builtins.ValueError" in line["exception"]
    assert "test_logs.py" in line["exception"]
    assert CANARY not in line["exception"].replace("raise ValueError(CANARY)", "")


def test_ids_are_bound_and_end(lines: Any) -> None:
    log = logging.getLogger("crmgate.x")
    logs.begin(request_id="r1")
    with logs.bound(operation="o1"):
        log.info("a")
    log.info("b")
    logs.bind(operation="o2")
    log.info("c")
    logs.begin(request_id="r2")
    log.info("d")
    assert [(line["request_id"], line.get("operation")) for line in lines()] == [
        ("r1", "o1"), ("r1", None), ("r1", "o2"), ("r2", None),
    ]  # fmt: skip


def test_for_people_a_line_is_text(lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("WARNING", "console")
    logs.begin(request_id="r1")
    logging.getLogger("crmgate.x").warning("the ledger is unavailable")
    logging.getLogger("crmgate.x").info("not shown")
    [line] = capsys.readouterr().err.splitlines()
    assert "warning" in line
    assert "the ledger is unavailable" in line
    assert "request_id=r1" in line


@pytest.fixture
def app(_loggers: None) -> Flask:
    from crmgate import web

    app = Flask("crmgate")
    app.add_url_rule("/things/<thing>", view_func=lambda thing: thing)
    app.extensions["crmgate"] = SimpleNamespace(settings=SimpleNamespace(allowed_hosts=()))
    web.init_app(app)
    return app


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", f"/things/{CANARY}?email={CANARY}", ("GET", "/things/<thing>", 200)),
        ("GET", f"/{CANARY}?x={CANARY}", ("GET", "-", 404)),
        ("POST", "/healthz", ("POST", "-", 405)),
        (CANARY.upper(), "/things/x", ("OTHER", "-", 405)),
    ],
)
def test_a_request_is_one_line_without_what_was_typed(
    app: Flask, lines: Any, method: str, path: str, expected: tuple[str, str, int]
) -> None:
    client: FlaskClient = app.test_client()
    answer = client.open(path, method=method, headers={"X-Forwarded-For": "203.0.113.9", "X-Request-ID": "r1"})
    [line] = lines()
    assert (line["method"], line["route"], line["status"]) == expected == (*expected[:2], answer.status_code)
    assert (line["request_id"], line["event"]) == ("r1", " ".join(map(str, expected)))
    assert 0 <= line["duration_ms"] < 5000
    assert CANARY not in json.dumps(line).lower()
    assert "203.0.113" not in json.dumps(line)
    assert "127.0.0.1" not in json.dumps(line)


def test_health_probes_are_logged_at_debug_level_only(app: Flask, lines: Any) -> None:
    app.test_client().get("/healthz")
    assert lines() == []
    logs.configure("DEBUG", "json")
    app.test_client().get("/healthz")
    assert [line["route"] for line in lines()] == ["/healthz"]

"""The log-in to the operator's pages: tokens, links, cookies, sessions, and where it leads."""

from __future__ import annotations

import re

import pytest
import redis
from flask import Flask

from crmgate.services import Services
from crmgate.store import keys
from crmgate.store.keys import OPS_SESSION_SECONDS
from crmgate.store.tokens import Scope
from tests.web.ops.conftest import OPERATE, READ, Browser


@pytest.mark.parametrize("secret", ["", "x", "cg_00000000_" + "a" * 43, "once_" + "a" * 32, "<script>", "ÿ" * 300])
def test_a_wrong_token_is_refused_and_not_repeated(stranger: Browser, secret: str) -> None:
    answer = stranger.log_in(secret)
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert len(secret) < 2 or secret not in answer.text


def test_log_ins_of_one_address_are_limited(stranger: Browser) -> None:
    assert [stranger.log_in("x").status_code for _ in range(10)] == [401] * 10
    answer = stranger.log_in()
    assert (answer.status_code, answer.mimetype) == (429, "text/html")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("site", "name", "secure"),
    [("https://gate.example", "__Host-crmgate_ops", True), ("http://127.0.0.1:8000", "crmgate_ops", False),
     ("http://localhost", "crmgate_ops", False), ("https://[::1]:8443", "__Host-crmgate_ops", True)],
)  # fmt: skip
def test_the_cookie(app: Flask, parts: Services, site: str, name: str, secure: bool) -> None:
    answer = Browser(app.test_client(), site).log_in()
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{name}=")
    attributes = {part.strip().partition("=")[0]: part.partition("=")[2] for part in cookie.split(";")[1:]}
    assert attributes["SameSite"] == "Strict"
    assert attributes["Path"] == "/"
    assert attributes["Max-Age"] == str(OPS_SESSION_SECONDS) == "28800"
    assert ("Secure" in attributes, "HttpOnly" in attributes, "Domain" in attributes) == (secure, True, False)


def test_a_log_in_over_http_is_refused_where_others_can_read_it(app: Flask, parts: Services) -> None:
    browser = Browser(app.test_client(), "http://gate.example")
    answer = browser.log_in()
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert "https" in answer.text


def test_a_planted_session_id_is_not_used(app: Flask, parts: Services, stranger: Browser) -> None:
    planted = "planted" * 6
    stranger.client.set_cookie("__Host-crmgate_ops", planted, domain="gate.example", secure=True)
    answer = stranger.log_in()
    assert planted not in answer.headers["Set-Cookie"]
    thief = Browser(app.test_client())
    thief.client.set_cookie("__Host-crmgate_ops", planted, domain="gate.example", secure=True)
    assert thief.get("/ops/").status_code == 303


def test_a_second_log_in_ends_the_first_session(app: Flask, operator: Browser) -> None:
    [first] = [cookie.value for cookie in operator.client._cookies.values() if cookie.key == "__Host-crmgate_ops"]
    assert operator.log_in(READ).status_code == 303
    old = Browser(app.test_client())
    old.client.set_cookie("__Host-crmgate_ops", first, domain="gate.example", secure=True)
    assert old.get("/ops/").status_code == 303
    assert operator.get("/ops/").status_code == 200


def test_a_session_ends_with_log_out_and_the_audit_has_both(operator: Browser, parts: Services) -> None:
    assert operator.get("/ops/").status_code == 200
    answer = operator.post("/ops/logout")
    assert (answer.status_code, answer.location) == (303, "/ops/login")
    assert operator.get("/ops/").status_code == 303
    assert [(entry.what, entry.who) for entry in parts.audit.recent()] == [
        ("ops.logout", "ayse"), ("ops.login", "ayse"),
    ]  # fmt: skip


def test_a_session_ends_with_its_token(stranger: Browser, parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    token, text = parts.tokens.new("mehmet", Scope.OPERATE, "cli:test")
    monkeypatch.setattr(parts.tokens, "_read_at", float("-inf"))
    assert stranger.log_in(text).status_code == 303
    assert stranger.get("/ops/").status_code == 200
    parts.tokens.revoke(token.id, "cli:test")
    monkeypatch.setattr(parts.tokens, "_read_at", float("-inf"))  # five seconds later
    assert stranger.get("/ops/").status_code == 303


def test_redis_knows_no_id_of_a_session_and_forgets_it_after_eight_hours(
    operator: Browser, redis_client: redis.Redis
) -> None:
    [id_] = [cookie.value for cookie in operator.client._cookies.values()]
    [name] = [name for name in redis_client.scan_iter() if name.startswith(keys.ops_session("").encode())]
    assert id_.encode() not in name + redis_client.get(name)  # type: ignore[operator]
    assert OPERATE.encode() not in redis_client.get(name)  # type: ignore[operator]
    assert 0 < redis_client.ttl(name) <= OPS_SESSION_SECONDS


def test_a_code_logs_in_once(app: Flask, stranger: Browser, parts: Services, redis_client: redis.Redis) -> None:
    code = parts.sessions.new_code(parts.tokens.fixed[0], "cli:root")
    assert all(code.encode() not in name for name in redis_client.scan_iter())
    assert stranger.log_in(code).status_code == 303
    assert Browser(app.test_client()).log_in(code).status_code == 401
    assert [(entry.what, entry.who) for entry in parts.audit.recent()] == [
        ("ops.login", "ayse"), ("ops.login_link", "cli:root"),
    ]  # fmt: skip


def test_an_old_code_does_not_log_in(stranger: Browser, parts: Services, redis_client: redis.Redis) -> None:
    code = parts.sessions.new_code(parts.tokens.fixed[0], "cli:root")
    [name] = [name for name in redis_client.scan_iter() if name.startswith(keys.login_code("").encode())]
    assert 0 < redis_client.ttl(name) <= 600
    redis_client.delete(name)
    assert stranger.log_in(code).status_code == 401


GOALS = [
    "https://evil.example/", "//evil.example", "/\\evil.example", "/ops//evil.example", "/ops/../go/telegram",
    "/ops/%2e%2e/go/telegram", "/ops/./../", "/go/telegram", "javascript:alert(1)", "/ops/\r\nX: y", "/ops/@evil",
    " /ops/", "/opsx/", "/ops/login/..;/", "/ops/?x=\\evil",
]  # fmt: skip


@pytest.mark.parametrize("goal", GOALS)
def test_the_log_in_leads_to_no_other_place(stranger: Browser, goal: str) -> None:
    assert stranger.log_in(next=goal).location == "/ops/"
    assert stranger.get("/ops/login", query_string={"next": goal}).location == "/ops/"


@pytest.mark.parametrize("goal", ["/ops/operations?state=dead&code=timeout", "/ops/operations/" + "0" * 32])
def test_the_log_in_leads_back_to_the_page_that_was_asked_for(stranger: Browser, goal: str) -> None:
    asked = stranger.get(goal)
    form = stranger.get(asked.location).text
    [kept] = re.findall(r'name="next" value="([^"]*)"', form)
    assert stranger.log_in(next=kept.replace("&amp;", "&")).location == goal

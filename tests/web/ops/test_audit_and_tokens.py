"""The audit log page by page, and tokens: created, shown once, revoked with their sessions."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from crmgate.services import Services
from crmgate.store.audit import Action
from crmgate.store.tokens import Scope
from crmgate.web.ops.words import ACTIONS
from tests.dead_letters import add_dead_letters
from tests.web.ops.conftest import Browser
from tests.web.ops.html import MARKUP, inline, texts

TOKEN = re.compile(r"cg_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


def test_every_action_has_words() -> None:
    assert {*Action} - {*ACTIONS} == set()


def test_the_log_is_read_page_by_page_newest_first(reader: Browser, parts: Services) -> None:
    for number in range(120):
        parts.audit.record("ayse", Action.EXPORT, f"number-{number}")
    found: list[str] = []
    link = "/ops/audit"
    while link:
        page = reader.get(link).text
        found += re.findall(r"number-(\d+)<", page)
        links = re.findall(r'href="([^"]+)" rel="next"', page)
        link = links[0] if links else ""
    assert found == [str(number) for number in reversed(range(120))]


def test_entries_lead_to_what_they_are_on(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger)
    operator.get(f"/ops/operations/{operation}?data=shown")
    parts.audit.record(MARKUP, Action.RETRIES_START, "a" * 32, MARKUP)
    answer = operator.get("/ops/audit")
    assert f'href="/ops/operations/{operation}"' in answer.text
    assert f'href="/ops/retries/{"a" * 32}"' in answer.text
    assert "Viewed personal data" in texts(answer.text)
    assert "<script>alert" not in answer.text
    assert inline(answer) == []


@pytest.mark.parametrize("cursor", ["x", "1", "-", "1-x", MARKUP])
def test_a_wrong_place_in_the_log_is_a_page(reader: Browser, cursor: str) -> None:
    answer = reader.get("/ops/audit", query_string={"cursor": cursor})
    assert (answer.status_code, answer.mimetype) == (400, "text/html")
    assert "<script>alert" not in answer.text


# Tokens


def test_a_token_is_shown_once_and_works(operator: Browser, parts: Services) -> None:
    answer = operator.post("/ops/tokens", name="monitoring", scope="read")
    [text] = TOKEN.findall(answer.text)
    token = parts.tokens.verify(text)
    assert token is not None
    assert (token.name, token.scope) == ("monitoring", "read")
    listed = operator.get("/ops/tokens").text
    assert "monitoring" in listed
    assert TOKEN.findall(listed) == []
    assert token.sha256 not in listed
    [entry] = [entry for entry in parts.audit.recent() if entry.what == "tokens.new"]
    assert (entry.who, entry.detail) == ("ayse", "monitoring, read")


@pytest.mark.parametrize(
    "wrong", [{}, {"name": "a b", "scope": "read"}, {"name": "", "scope": "read"}, {"name": "x" * 65, "scope": "read"},
              {"name": "x", "scope": "admin"}, {"name": MARKUP, "scope": MARKUP}],
)  # fmt: skip
def test_a_wrong_token_is_not_created(operator: Browser, parts: Services, wrong: dict[str, str]) -> None:
    answer = operator.post("/ops/tokens", **wrong)
    assert (answer.status_code, TOKEN.findall(answer.text)) == (422, [])
    assert "<script>alert" not in answer.text
    assert len(parts.tokens.all()) == 2


def test_a_revoked_token_ends_its_sessions(
    app: Flask, operator: Browser, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("crmgate.store.tokens.FRESH", -1.0)
    token, secret = parts.tokens.new("berk", Scope.OPERATE, "cli:test")
    other = Browser(app.test_client())
    assert other.log_in(secret).status_code == 303
    assert other.get("/ops/tokens").status_code == 200
    asked = operator.post(f"/ops/tokens/{token.id}/revoke")
    assert "Revoke the token of berk?" in texts(asked.text)
    assert "You are logged in with this token" not in asked.text
    assert other.get("/ops/tokens").status_code == 200, "nothing is revoked before the confirmation"
    assert operator.post(f"/ops/tokens/{token.id}/revoke", confirmed="1").location == "/ops/tokens"
    assert other.get("/ops/tokens").status_code == 303
    assert parts.tokens.verify(secret) is None
    assert [(entry.what, entry.on) for entry in parts.audit.recent(1)] == [("tokens.revoke", token.id)]


def test_the_own_token_is_revoked_with_a_warning(
    app: Flask, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("crmgate.store.tokens.FRESH", -1.0)
    token, secret = parts.tokens.new("berk", Scope.OPERATE, "cli:test")
    browser = Browser(app.test_client())
    browser.log_in(secret)
    assert "You are logged in with this token" in browser.post(f"/ops/tokens/{token.id}/revoke").text


@pytest.mark.parametrize("token", ["00000000", "x", "None"])
def test_an_unknown_token_and_one_of_the_settings_is_not_revoked(operator: Browser, token: str) -> None:
    answer = operator.post(f"/ops/tokens/{token}/revoke", confirmed="1")
    assert (answer.status_code, "remove its entry and restart" in answer.text) == (404, True)


def test_a_reader_gets_no_tokens(reader: Browser, parts: Services) -> None:
    token, _ = parts.tokens.new("berk", Scope.OPERATE, "cli:test")
    assert reader.get("/ops/tokens").status_code == 403
    assert reader.post("/ops/tokens", name="x", scope="operate").status_code == 403
    assert reader.post(f"/ops/tokens/{token.id}/revoke", confirmed="1").status_code == 403
    assert "/ops/tokens" not in reader.get("/ops/audit").text
    assert len(parts.tokens.all()) == 3

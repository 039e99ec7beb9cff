"""Who sees the operator's pages, and what another site or a visitor's markup can do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import redis
from flask import Flask

from crmgate import create_app
from crmgate.config import Settings
from crmgate.kinds import payload_types
from crmgate.model import Kind
from crmgate.services import Services
from crmgate.store import keys
from crmgate.store.tallies import Dimension
from crmgate.store.tokens import Scope
from crmgate.web.ops.shell import PUBLIC
from tests.dead_letters import add_dead_letters
from tests.processes import RedisProcess
from tests.web.ops.conftest import OPERATE, Browser, settings
from tests.web.ops.html import MARKUP, inline

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def routes(app: Flask, method: str) -> list[str]:
    """The paths of the pages that need a session."""
    return [
        re.sub(r"<[^>]+>", "0" * 32, rule.rule)
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("ops.") and rule.endpoint not in PUBLIC and method in (rule.methods or ())
    ]


def pages(operation: str) -> list[str]:
    """Every page."""
    one = f"/ops/operations/{operation}"
    lists = ["/ops/", "/ops/operations", "/ops/operations?state=dead", "/ops/suspects", "/ops/retries/new"]
    crm = ["/ops/crm", "/ops/crm/test", "/ops/crm/fields", "/ops/crm/setup?field=source"]
    numbers = [f"/ops/numbers?by={by}" for by in Dimension]
    rest = ["/ops/audit", "/ops/tokens", "/ops/persons", "/ops/edits/new", "/ops/discards/new"]
    return [*lists, one, f"{one}?data=shown", f"{one}/edit", *crm, *numbers, *rest]


NOT_FOR_READERS = re.compile(r"/edit$|retries|tokens|persons|edits|discards")
"""Pages that show personal data or begin a change."""


# Off by default


def test_without_a_token_that_may_operate_the_pages_are_off(redis_process: RedisProcess, parts: Services) -> None:
    app = create_app(Settings.load(settings(redis_process, "")))
    browser = Browser(app.test_client())
    for answer in (browser.get("/ops/login"), browser.log_in("x")):
        assert (answer.status_code, "crmgate tokens new" in answer.text) == (404, True)
    read_only = app.extensions["crmgate"].tokens.new("reader", Scope.READ, "cli:test")[1]
    assert browser.log_in(read_only).status_code == 404
    app.extensions["crmgate"].tokens.new("ayse", Scope.OPERATE, "cli:test")
    assert browser.get("/ops/login").status_code == 200
    app.extensions["crmgate.clicks"].stop()


def test_a_stranger_gets_nothing_but_the_log_in(app: Flask, stranger: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, first_name="Zeynep")
    gets, posts = routes(app, "GET"), routes(app, "POST")
    assert len(gets) >= 7
    assert len(posts) >= 8
    for path in [*gets, f"/ops/operations/{operation}"]:
        answer = stranger.get(path)
        assert (answer.status_code, answer.location.partition("?")[0]) == (303, "/ops/login"), path
        assert "Zeynep" not in answer.text
    for path in [*posts, f"/ops/operations/{operation}/discard"]:
        answer = stranger.post(path, reason="x", id=operation, action="discard", confirmed="1")
        assert (answer.status_code, answer.location) == (303, "/ops/login?next=/ops/"), path
    assert parts.ledger.stats()["dead_letters"] == 1


def test_a_poll_without_a_session_leads_the_page_to_the_log_in(stranger: Browser) -> None:
    answer = stranger.get("/ops/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/ops/login")


# Forged requests


@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", "http://gate.example", "https://gate.example:444"]
)
def test_no_form_of_another_origin_is_accepted(app: Flask, operator: Browser, origin: str | None) -> None:
    csrf = operator.csrf
    for path in [*routes(app, "POST"), "/ops/login"]:
        assert operator.post(path, origin=origin, csrf=csrf, secret=OPERATE).status_code == 403, path
    assert operator.get("/ops/").status_code == 200


@pytest.mark.parametrize("csrf", ["", "x", "ÿ"])
def test_no_form_without_the_value_of_the_session_is_accepted(
    app: Flask, operator: Browser, reader: Browser, parts: Services, csrf: str
) -> None:
    [operation] = add_dead_letters(parts.ledger)
    for path in [*routes(app, "POST"), f"/ops/operations/{operation}/retry"]:
        assert operator.post(path, csrf=csrf).status_code == 422, path
        assert operator.post(path, csrf=reader.csrf).status_code == 422, path
    assert parts.ledger.stats()["dead_letters"] == 1
    assert operator.get("/ops/").status_code == 200


def test_the_cookie_opens_nothing_but_the_pages(operator: Browser) -> None:
    assert operator.get("/api/v1/operations").status_code == 401


# Policies


def test_every_page_is_as_strict_as_it_can_be(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger)
    for path in [*pages(operation), "/ops/operations/unknown", "/ops/retries/unknown", "/ops/operations?state=x"]:
        answer = operator.get(path)
        assert answer.headers["Content-Security-Policy"] == POLICY, path
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.mimetype == "text/html", path
        assert inline(answer) == [], path
    for path in ("/ops/login", "/ops/"):
        answer = Browser(operator.client.application.test_client()).get(path)
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["Cache-Control"] == "no-store"


def test_static_files_are_kept_by_their_version(stranger: Browser) -> None:
    page = stranger.get("/ops/login").text
    found = re.findall(r'(?:src|href)="(/ops/static/[^"]+)"', page)
    assert len(found) >= 6
    for address in found:
        with stranger.get(address) as answer:
            assert (answer.status_code, len(answer.data) > 100) == (200, True)
        assert "immutable" in answer.headers["Cache-Control"]
        assert "max-age=31536000" in answer.headers["Cache-Control"]
        assert "no-cache" not in answer.headers["Cache-Control"]
        path, _, version = address.partition("?v=")
        for other in (path, f"{path}?v={version[:-1]}", f"{path}x?v={version}"):  # a process of another version
            with stranger.get(other) as answer:
                assert "immutable" not in answer.headers.get("Cache-Control", ""), other


# What visitors type


def spoiled() -> Iterator[tuple[Kind, dict[str, object]]]:
    """Payloads with markup in every field."""
    for payload, kind in zip(payload_types(), (Kind.CREATE_LEAD, Kind.CREATE_MINIMAL_LEAD), strict=True):
        filled = payload().to_dict()
        names = [name for name in payload.__dataclass_fields__ if name not in ("utm", "consent", "custom", "metadata")]
        lists = {"universities": [MARKUP], "programs": [MARKUP]} if kind is Kind.CREATE_LEAD else {}
        more = {"custom": {MARKUP: MARKUP}} if kind is Kind.CREATE_LEAD else {"metadata": {MARKUP: MARKUP}}
        utm = dict.fromkeys(("source", "medium", "campaign", "content", "term"), MARKUP)
        yield kind, filled | dict.fromkeys(names, MARKUP) | lists | more | {"utm": utm}


def answer_with_markup(client: redis.Redis, operation: str) -> None:
    """Let the CRM have refused an operation in words with markup."""
    for name, event in client.hgetall(keys.op(operation)).items():  # type: ignore[union-attr]
        if name.startswith(b"event:"):
            spoilt = json.loads(event) | {"detail": MARKUP, "vendor_code": MARKUP}
            client.hset(keys.op(operation), name, json.dumps(spoilt))


def test_markup_is_text_on_every_page(operator: Browser, parts: Services, redis_client: redis.Redis) -> None:
    for kind, payload in spoiled():
        [operation] = add_dead_letters(parts.ledger, kind=kind, provider="<script>", code=MARKUP, **payload)
        answer_with_markup(redis_client, operation)
        for path in pages(operation):
            answer = operator.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert "<script>" not in answer.text, path
            assert "<img" not in answer.text, path
            assert ">49<" not in answer.text
            assert inline(answer) == [], path
        shown = operator.get(f"/ops/operations/{operation}?data=shown").text
        assert "&lt;script&gt;alert(1)" in shown
        assert operator.post(f"/ops/operations/{operation}/edit", version="1").status_code in (303, 412, 422)


@pytest.mark.parametrize("path", ["/ops/operations", "/ops/retries/new", "/ops/login", "/ops/export"])
def test_markup_in_a_query_is_text(operator: Browser, path: str) -> None:
    for name in ("state", "code", "provider", "accepted_from", "next", "cursor", "live", "format", MARKUP):
        answer = operator.get(path, query_string={name: MARKUP})
        assert answer.status_code in (200, 303, 400)
        assert "<script>" not in answer.text
    assert "<script>" not in operator.post("/ops/search", q=MARKUP).text


# Roles


def test_a_reader_sees_no_personal_data_and_changes_nothing(app: Flask, reader: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(
        parts.ledger, first_name="Zeynep", email="zeynep@example.com", additional_info="Merhaba"
    )
    for path in pages(operation):
        answer = reader.get(path)
        forbidden = NOT_FOR_READERS.search(path)
        assert answer.status_code == (403 if forbidden else 200), path
        for word in ("Zeynep", "zeynep@", "Merhaba"):
            assert word not in answer.text, path
        assert f"/ops/operations/{operation}/discard" not in answer.text
    fields = {"id": operation, "action": "discard", "reason": "x", "confirmed": "1"}
    changes = [path.replace("0" * 32, operation) for path in routes(app, "POST")]
    for path in set(changes) - {"/ops/logout", "/ops/search"}:
        assert reader.post(path, **fields).status_code == 403, path
    assert reader.get("/ops/export").status_code == 403
    assert parts.ledger.stats()["dead_letters"] == 1
    assert [entry.what for entry in parts.audit.recent()] == ["ops.login"]


def test_a_reader_sees_no_contact_that_a_link_put_into_another_field(reader: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(
        parts.ledger, provider="sandbox", utm={"term": "zeynep@example.com"}, referral_code="+905321234567",
        custom={"zeynep@example.com": "x"},
    )  # fmt: skip
    page = reader.get(f"/ops/operations/{operation}").text
    assert "z***@e***.com" in page
    assert [word for word in ("zeynep@", "5321234567") if word in page] == []


def test_the_etag_of_an_operator_tells_a_reader_nothing(operator: Browser, reader: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, first_name="Zeynep")
    for path in (f"/ops/operations/{operation}?data=shown", f"/ops/operations/{operation}", "/ops/operations"):
        etag = operator.get(path).headers["ETag"]
        assert operator.get(path, headers={"If-None-Match": etag}).status_code == 304
        answer = reader.get(path, headers={"If-None-Match": etag})
        assert (answer.status_code, answer.headers["ETag"] == etag) == (200, False), path
        assert "Zeynep" not in answer.text


def test_a_form_that_is_shown_again_is_a_view_of_personal_data(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, first_name="Zeynep")
    answer = operator.post(f"/ops/operations/{operation}/edit", version="1", **{"field.email": "nowhere"})
    assert (answer.status_code, "Zeynep" in answer.text) == (422, True)
    assert [entry.on for entry in parts.audit.recent() if entry.what == "operations.view"] == [operation]


def test_personal_data_is_hidden_until_a_view_that_the_audit_has(operator: Browser, parts: Services) -> None:
    [operation] = add_dead_letters(parts.ledger, first_name="Zeynep")
    for path in ("/ops/", "/ops/operations", f"/ops/operations/{operation}"):
        assert "Zeynep" not in operator.get(path).text
    assert "operations.view" not in [entry.what for entry in parts.audit.recent()]
    assert "Zeynep" in operator.get(f"/ops/operations/{operation}?data=shown").text
    [view] = [entry for entry in parts.audit.recent() if entry.what == "operations.view"]
    assert (view.who, view.on) == ("ayse", operation)
    assert "Zeynep" not in repr(view)


def test_without_redis_a_page_says_so(operator: Browser, parts: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    from crmgate.errors import LedgerUnavailable

    def away(_id: str) -> None:
        raise LedgerUnavailable("redis.internal:6379")

    monkeypatch.setattr(parts.sessions, "get", away)
    answer = operator.get("/ops/")
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "Redis does not answer" in answer.text
    assert "redis.internal" not in answer.text

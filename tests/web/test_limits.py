"""Rate limits over HTTP: what counts as one sender, the refusal, and requests that are never refused."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from crmgate import web
from crmgate.config import Limits
from crmgate.model import State
from crmgate.store.client import connect
from crmgate.store.limits import Limit, Limiter, by_address
from crmgate.store.tokens import Scope, Token
from tests.processes import RedisProcess

URL = "/api/v1/applications"
EVENTS = "/api/v1/messenger-events"


class StandInTokens:
    def verify(self, text: str) -> Token | None:
        """A token of this name is the scope that it has."""
        return Token("id", "shop", text, 0.0) if text in tuple(Scope) else None


@dataclass
class Setup:
    services: Any

    def limit(self, **limits: Limit) -> None:
        self.services.settings.limits = Limits(**limits)


@pytest.fixture
def setup(services: Any, redis_client: redis.Redis, redis_process: RedisProcess) -> Iterator[Setup]:
    client = connect(redis_process.url)
    services.limiter, services.tokens = Limiter(client), StandInTokens()
    services.gateway.limiter = services.limiter
    yield Setup(services)
    client.close()


def post(client: FlaskClient, number: int = 0, **options: Any) -> Any:
    body = {"first_name": "Ada", "email": f"ada{number}@example.com"}
    return client.post(URL, json=body, **options)


def at(address: str) -> dict[str, Any]:
    return {"environ_base": {"REMOTE_ADDR": address}}


def test_one_address_too_often(client: FlaskClient, setup: Setup, gateway: Any) -> None:
    setup.limit(address=Limit(2, 60))
    assert [post(client, number).status_code for number in range(3)] == [201, 201, 429]
    answer = post(client, 4)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"] == "/problems/rate-limited"
    assert 0 < int(answer.headers["Retry-After"]) <= 30
    assert f"in {answer.headers['Retry-After']} second" in answer.json["detail"]
    assert len(gateway.submitted) == 2
    assert post(client, 5, **at("198.51.100.9")).status_code == 201


def test_all_processes_count_together(client: FlaskClient, setup: Setup, redis_process: RedisProcess) -> None:
    """Another process has counted requests of the address: this one learns it when it records a submission."""
    setup.limit(address=Limit(2, 60))
    other = Limiter(connect(redis_process.url))
    assert other.take(by_address("applications", "127.0.0.1", Limit(2, 60))) == 0
    assert [post(client, number).status_code for number in range(3)] == [201, 429, 429]
    assert client.post(URL, data=b"{").status_code == 429, "an invalid body"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("", "", False),
    ],
)
def test_addresses_that_count_as_one_sender(
    client: FlaskClient, setup: Setup, first: str, second: str, same: bool
) -> None:
    setup.limit(address=Limit(1, 60))
    assert post(client, 1, **at(first)).status_code == 201
    assert post(client, 2, **at(second)).status_code == (429 if same else 201)


@pytest.mark.parametrize(
    "other",
    [
        {"email": "ADA@example.com", "phone": "+905321234568"},
        {"email": "other@example.com", "phone": "0532 123 45 67"},
        {"email": "Ada@EXAMPLE.com"},
    ],
)
def test_submissions_above_the_limit_of_a_person_are_kept_and_not_refused(
    client: FlaskClient, setup: Setup, gateway: Any, other: dict[str, str]
) -> None:
    """From any address: otherwise anyone could block anybody else."""
    setup.limit(person=Limit(1, 3600))
    first = {"first_name": "Ada", "email": "ada@example.com", "phone": "+90 532 123 45 67"}
    assert client.post(URL, json=first).status_code == 201
    answer = client.post(URL, json={"first_name": "A"} | other, **at("198.51.100.9"))
    assert (answer.status_code, answer.json["status"]) == (202, "waiting")
    assert gateway.ledger.operations[answer.json["id"]].state == State.SUSPECT
    assert post(client, 7).status_code == 201


def test_a_robot_blocks_no_person(client: FlaskClient, setup: Setup) -> None:
    """What fills in the honeypot uses no limit of a person."""
    setup.limit(person=Limit(2, 3600))
    robot = {"first_name": "R", "email": "ada0@example.com", "_hp": "x"}
    assert {client.post(URL, json=robot).status_code for _ in range(20)} == {202}
    assert [post(client).status_code for _ in range(3)] == [201, 201, 202]


def test_too_many_clicks_of_one_session_are_kept_for_an_operator(
    client: FlaskClient, setup: Setup, gateway: Any, app: Flask
) -> None:
    """Everyone who knows the session of somebody else can write on its lead."""
    setup.limit(person=Limit(2, 3600))
    event = {"channel": "telegram", "referral_code": "R", "session": "s-1"}
    assert [client.post(EVENTS, json=event | {"page": str(number)}).status_code for number in range(3)] == [
        201, 201, 202,
    ]  # fmt: skip
    client.get("/go/telegram?session=s-1")
    client.get("/go/telegram?session=s-2")
    app.extensions["crmgate.clicks"].stop()
    states = [operation.state for operation in gateway.ledger.operations.values()]
    assert [state == State.SUSPECT for state in states] == [False, False, True, True, False]
    headers = {"Authorization": "Bearer operate"}
    assert client.post(EVENTS, json=event, headers=headers).status_code == 201


def test_without_redis_no_submission_is_kept_for_review(
    client: FlaskClient, setup: Setup, redis_process: RedisProcess
) -> None:
    setup.limit(person=Limit(1, 3600))
    setup.services.gateway.limiter = setup.services.limiter = Limiter(connect("redis://127.0.0.1:1/0", timeout=0.1))
    assert [post(client).status_code for _ in range(3)] == [201] * 3


def test_invalid_requests_count_too(client: FlaskClient, setup: Setup) -> None:
    setup.limit(address=Limit(2, 60))
    assert client.post(URL, json={}).status_code == 422
    assert client.post(URL, data="{", content_type="application/json").status_code == 400
    assert client.post(URL, json={}).status_code == 429


def test_an_address_over_its_limit_is_refused_before_its_body_is_read(client: FlaskClient, setup: Setup) -> None:
    class Unread(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("the body was read")

        readinto = readline = read  # type: ignore[assignment]

    setup.limit(address=Limit(1, 60))
    assert post(client).status_code == 201
    options = {"content_length": "60000", "content_type": "application/json"}
    assert client.post(URL, environ_overrides={"wsgi.input": Unread()}, **options).status_code == 429


def test_a_site_of_ipv6_has_a_wider_limit(client: FlaskClient, setup: Setup) -> None:
    """The owner of a /48 has 65,536 networks, each with a limit of its own."""
    setup.limit(address=Limit(1, 60))
    answers = [post(client, number, **at(f"2001:db8:1:{number}::1")).status_code for number in range(12)]
    assert answers == [201] * 10 + [429] * 2
    assert post(client, 20, **at("2001:db8:2::1")).status_code == 201


def test_each_route_has_a_limit_of_its_own(client: FlaskClient, setup: Setup) -> None:
    setup.limit(address=Limit(1, 60), lookups=Limit(1, 60))
    assert post(client).status_code == 201
    event = {"channel": "telegram", "referral_code": "R"}
    assert [client.post(EVENTS, json=event).status_code for _ in range(2)] == [201, 429]
    assert [client.get("/api/v1/operations/nope").status_code for _ in range(2)] == [404, 429]
    assert client.get("/healthz").status_code == 200


def test_ids_cannot_be_guessed_without_end(client: FlaskClient, setup: Setup, gateway: Any) -> None:
    setup.limit(lookups=Limit(5, 60))
    answers = [client.get(f"/api/v1/operations/{number:032x}").status_code for number in range(8)]
    assert answers == [404] * 5 + [429] * 3
    assert len(gateway.ledger.asked) == 5


@pytest.mark.parametrize(
    ("token", "posts", "lookups"), [("operate", 201, 404), ("read", 429, 404), ("made up", 429, 401)]
)
def test_a_token_lifts_the_limits_of_what_it_allows(
    client: FlaskClient, setup: Setup, token: str, posts: int, lookups: int
) -> None:
    setup.limit(address=Limit(1, 60), person=Limit(1, 60), lookups=Limit(1, 60))
    headers = {"Authorization": f"Bearer {token}"}
    assert [post(client, headers=headers).status_code for _ in range(3)] == [201, posts, posts]
    path = f"/api/v1/operations/{'0' * 32}"
    assert [client.get(path, headers=headers).status_code for _ in range(3)] == [lookups] * 3


def test_a_browser_gets_a_page_that_says_when_to_try_again(client: FlaskClient, setup: Setup) -> None:
    setup.limit(address=Limit(10, 3600))
    form = {"data": {"first_name": "Ada", "email": "ada@example.com"}, "headers": {"Accept": "text/html"}}
    for _ in range(10):
        client.post(URL, **form)
    answer = client.post(URL, **form)
    assert (answer.status_code, answer.mimetype) == (429, "text/html")
    assert "please try again in 6 minutes" in answer.text
    assert "ada@example.com" not in answer.text
    assert 0 < int(answer.headers["Retry-After"]) <= 360


def test_a_flood_of_clicks_is_redirected_but_not_recorded(client: FlaskClient, setup: Setup, app: Flask) -> None:
    setup.limit(address=Limit(2, 60))
    answers = [client.get("/go/telegram") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {302}
    assert {answer.headers["Location"] for answer in answers} == {"https://t.me/example_bot"}
    app.extensions["crmgate.clicks"].stop()
    assert len(setup.services.gateway.submitted) == 2
    own, reported = app.extensions["crmgate.clicks"].lost(), setup.services.figures.lost_clicks()
    assert Counter(own) + Counter(reported) == {"too many from one address": 3}, (
        "those not reported yet, and the others"
    )


def test_a_flood_of_clicks_over_several_processes_is_one(
    client: FlaskClient, setup: Setup, app: Flask, redis_process: RedisProcess
) -> None:
    """Another process of this gateway has counted the clicks of the address."""
    setup.limit(address=Limit(2, 60))
    other = Limiter(connect(redis_process.url))
    assert [other.take(by_address("go", "127.0.0.1", Limit(2, 60))) for _ in range(2)] == [0, 0]
    assert [client.get("/go/telegram").status_code for _ in range(2)] == [302, 302]
    app.extensions["crmgate.clicks"].stop()
    assert setup.services.gateway.submitted == []
    own, reported = app.extensions["crmgate.clicks"].lost(), setup.services.figures.lost_clicks()
    assert Counter(own) + Counter(reported) == {"too many from one address": 2}


def test_a_header_does_not_lift_the_limit_of_an_address(
    client: FlaskClient, setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.limit(address=Limit(1, 60))
    web.limits._warned.clear()
    through = {"headers": {"X-Forwarded-For": "203.0.113.7"}, **at("172.18.0.5")}
    assert [post(client, number, **through).status_code for number in range(3)] == [201, 429, 429]
    assert [record.message for record in caplog.records if "TRUSTED_PROXIES" in record.message][1:] == []
    assert "TRUSTED_PROXIES is 0" in caplog.text
    forged = {
        "headers": {"X-Forwarded-For": "203.0.113.8"},
        **at("9.9.9.9"),
    }  # an outside client may send any value
    assert [post(client, number, **forged).status_code for number in range(3)] == [201, 429, 429]


def test_behind_a_trusted_proxy_the_visitor_counts(app: Flask, setup: Setup) -> None:
    setup.limit(address=Limit(1, 60))
    web.trust_proxies(app, 1)
    client = app.test_client()

    def through(visitor: str, number: int) -> int:
        options = {"headers": {"X-Forwarded-For": f"6.6.6.{number}, {visitor}"}, **at("172.18.0.5")}
        return int(post(client, number, **options).status_code)

    assert [through("203.0.113.7", 1), through("203.0.113.7", 2), through("203.0.113.8", 3)] == [201, 429, 201]

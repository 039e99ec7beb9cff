"""OAuth 2: which token a request has, who renews it, what a refusal means, and that no token is shown."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    LedgerUnavailable,
    OutcomeUnknown,
    OutOfTime,
    ProviderError,
    RateLimited,
    Unavailable,
)
from crmgate.plugin_kit.oauth import RETRY_SECONDS, MemoryTokens
from crmgate.provider import time_budget
from tests.plugin_kit.oauth_rig import CLIENT, REFRESH, SECRET, Club, FakeClub, club


@pytest.fixture(scope="module")
def server() -> Iterator[FakeClub]:
    with FakeClub() as fake:
        yield fake


@pytest.fixture
def fake(server: FakeClub) -> FakeClub:
    """The server, without tokens and requests so far."""
    server.heal()
    server.requests.clear()
    server.written.clear()
    server.configure({"rotates": False, "lifetime": 3600, "more": {}, "refresh": REFRESH, "issued": 0, "accepted": ""})
    return server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the helper, in seconds since the epoch."""
    now = [1_000_000.0]
    monkeypatch.setattr("crmgate.plugin_kit.oauth.time.time", lambda: now[0])
    return now


def forms(fake: FakeClub) -> list[dict[str, str]]:
    return [dict(parse_qsl(request.body.decode())) for request in fake.asked()]


def failure(call: Callable[[], object]) -> ProviderError:
    """The error, which shows no secret."""
    with pytest.raises(ProviderError) as caught:
        call()
    error = caught.value
    shown = f"{error}{error!r}{vars(error)}" + "".join(traceback.format_exception(error))
    assert "canary" not in shown
    return error


class TestTheRequest:
    def test_client_credentials(self, fake: FakeClub) -> None:
        crm = club(fake)
        assert [crm.write(), crm.write()] == [201, 201]
        assert forms(fake) == [{"grant_type": "client_credentials"}]
        assert (fake.asked()[0].method, fake.asked()[0].header("Accept")) == ("POST", "application/json")

    def test_the_secret_in_the_body_and_further_fields(self, fake: FakeClub) -> None:
        options = {"secret_in_body": True, "scope": "leads notes", "extra": {"audience": "https://api"}}
        assert club(fake, oauth=options).write() == 201
        assert forms(fake)[0] == {
            "grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET,
            "scope": "leads notes", "audience": "https://api",
        }  # fmt: skip
        assert fake.asked()[0].header("Authorization") == ""

    def test_a_refresh_token_that_the_server_replaces(self, fake: FakeClub, clock: list[float]) -> None:
        fake.rotates = True
        crm = club(fake, refresh=REFRESH)
        for _ in range(3):
            assert crm.write() == 201
            clock[0] += 3600
        assert [form["refresh_token"] for form in forms(fake)] == [REFRESH, "refresh-canary-1", "refresh-canary-2"]

    def test_a_refresh_token_that_stays(self, fake: FakeClub, clock: list[float]) -> None:
        crm = club(fake, refresh=REFRESH)
        for _ in range(2):
            assert crm.write() == 201
            clock[0] += 3600
        assert [form["refresh_token"] for form in forms(fake)] == [REFRESH, REFRESH]

    @pytest.mark.parametrize(
        ("lifetime", "later", "issued"),
        [(3600, 3539, 1), (3600, 3541, 2), (100, 89, 1), (100, 91, 2), ("60", 55, 2), (0, 0, 2)],
    )  # fmt: skip
    def test_it_is_renewed_before_its_end(
        self, fake: FakeClub, clock: list[float], lifetime: Any, later: float, issued: int
    ) -> None:
        fake.lifetime = lifetime
        crm = club(fake)
        crm.write()
        clock[0] += later
        assert (crm.write(), fake.issued) == (201, issued)

    @pytest.mark.parametrize("lifetime", [None, "soon", {}])
    def test_without_a_lifetime_it_counts_an_hour(self, fake: FakeClub, clock: list[float], lifetime: Any) -> None:
        fake.more = {"expires_in": lifetime}
        crm = club(fake)
        for later, issued in ((0, 1), (3500, 1), (3600, 2)):
            clock[0] = 1_000_000.0 + later
            assert (crm.write(), fake.issued) == (201, issued)


class TestRefusals:
    def test_a_401_renews_once_and_writes_once(self, fake: FakeClub) -> None:
        crm = club(fake)
        crm.write("first")
        fake.revoke()
        assert (crm.write("second"), fake.issued, fake.written) == (201, 2, ["first", "second"])

    def test_a_second_401_is_the_answer(self, fake: FakeClub) -> None:
        crm = club(fake)
        fake.fail("answer", status=401, path="/leads")
        assert (crm.write(), fake.issued, len(fake.requests)) == (401, 2, 4)

    def test_no_other_failure_sends_twice(self, fake: FakeClub) -> None:
        crm = club(fake)
        fake.fail("drop", when="after", path="/leads")
        assert isinstance(failure(crm.write), OutcomeUnknown)
        fake.heal()
        fake.fail("answer", status=403, path="/leads")
        assert (crm.write(), fake.issued, fake.written) == (403, 1, ["lead"])

    @pytest.mark.parametrize(
        ("status", "body", "kind", "code", "vendor_code"),
        [
            (400, {"error": "invalid_grant"}, AuthFailed, Code.BAD_CREDENTIALS, "invalid_grant"),
            (401, {"error": "invalid_client"}, AuthFailed, Code.BAD_CREDENTIALS, "invalid_client"),
            (401, "<html>", AuthFailed, Code.BAD_CREDENTIALS, ""),
            (403, {"error": "access_denied"}, AuthFailed, Code.BAD_CREDENTIALS, "access_denied"),
            (200, {"error": "of this vendor: canary"}, AuthFailed, Code.BAD_CREDENTIALS, ""),
            (400, {"error": "temporarily_unavailable"}, Unavailable, Code.INVALID_RESPONSE, ""),
            (400, "<html>canary", Unavailable, Code.INVALID_RESPONSE, ""),
            (404, {"error": "not found"}, Unavailable, Code.INVALID_RESPONSE, ""),
            (302, "", Unavailable, Code.INVALID_RESPONSE, ""),
            (500, {"error": "server_error"}, Unavailable, Code.INVALID_RESPONSE, ""),
            (200, "<html>", Unavailable, Code.INVALID_RESPONSE, ""),
            (200, {"access_token": ""}, Unavailable, Code.INVALID_RESPONSE, ""),
            (200, {"access_token": "canary\r\nX: 1"}, Unavailable, Code.INVALID_RESPONSE, ""),
            (200, {"access_token": 7}, Unavailable, Code.INVALID_RESPONSE, ""),
            (200, {"access_token": "canary", "token_type": "mac"}, Unavailable, Code.INVALID_RESPONSE, ""),
        ],
    )  # fmt: skip
    def test_no_token(
        self, fake: FakeClub, status: int, body: Any, kind: type[ProviderError], code: Code, vendor_code: str
    ) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        fake.fail("answer", status=status, body=text, content_type="application/json", path="/token")
        error = failure(club(fake).write)
        assert (type(error), error.code, error.vendor_code, error.status) == (kind, code, vendor_code, status)
        assert [request.path for request in fake.requests] == ["/token"]

    def test_the_rate_limit_of_the_authorization_server(self, fake: FakeClub) -> None:
        fake.fail("answer", status=429, headers={"Retry-After": "7"}, path="/token")
        error = failure(club(fake).write)
        assert (type(error), error.retry_after) == (RateLimited, 7.0)

    def test_no_answer_is_safe(self, fake: FakeClub) -> None:
        fake.fail("drop", path="/token")
        assert isinstance(failure(club(fake).write), Unavailable)

    def test_a_wrong_secret(self, fake: FakeClub) -> None:
        error = failure(club(fake, secret="another canary").write)
        assert (type(error), error.vendor_code) == (AuthFailed, "invalid_client")

    def test_a_used_refresh_token(self, fake: FakeClub) -> None:
        fake.refresh = "another"
        error = failure(club(fake, refresh=REFRESH).write)
        assert (type(error), error.vendor_code) == (AuthFailed, "invalid_grant")

    def test_an_outage_of_the_server_does_not_matter_while_the_token_is_valid(
        self, fake: FakeClub, clock: list[float]
    ) -> None:
        crm = club(fake)
        crm.write()
        fake.fail("answer", status=503, path="/token")
        clock[0] += 3550
        assert [crm.write(), crm.write()] == [201, 201]
        assert len(fake.asked()) == 2
        clock[0] += RETRY_SECONDS
        assert (crm.write(), len(fake.asked())) == (201, 3)
        clock[0] += 50
        assert isinstance(failure(crm.write), Unavailable)


class Broken(MemoryTokens):
    """A store whose Redis is away for some methods."""

    def __init__(self, *broken: str) -> None:
        super().__init__()
        self.broken = broken

    def read(self, name: str) -> str | None:
        self._answer("read")
        return super().read(name)

    def write(self, name: str, text: str, seconds: float) -> None:
        self._answer("write")
        super().write(name, text, seconds)

    def _answer(self, method: str) -> None:
        if method in self.broken:
            raise LedgerUnavailable("ConnectionError")


class Taken(MemoryTokens):
    """A store in which another process renews the token, and is ready after some questions."""

    def __init__(self, ready: Callable[[], str] | None = None) -> None:
        super().__init__()
        self.ready, self.questions = ready, 0

    @contextmanager
    def locked(self, name: str, seconds: float) -> Iterator[bool]:
        self.questions += 1
        if self.ready and self.questions == 3:
            self.write(name, self.ready(), 1.0)
        yield False


class TestSharing:
    def share(self, crm: Club, tokens: MemoryTokens) -> Club:
        crm.tokens = tokens
        return crm

    def test_providers_share_a_token(self, fake: FakeClub, clock: list[float]) -> None:
        fake.rotates, tokens = True, MemoryTokens()
        first, second = (self.share(club(fake, refresh=REFRESH), tokens) for _ in range(2))
        for _ in range(2):
            assert [first.write(), second.write()] == [201, 201]
            clock[0] += 3600
        assert fake.issued == 2

    def test_other_credentials_have_another_token(self, fake: FakeClub) -> None:
        tokens = MemoryTokens()
        self.share(club(fake), tokens).write()
        for options in ({"scope": "notes"}, {"extra": {"audience": "b"}}):
            self.share(club(fake, oauth=options), tokens).write()
        self.share(club(fake, refresh=REFRESH), tokens).write()
        assert fake.issued == 4

    def test_threads_share_one_request(self, fake: FakeClub) -> None:
        crm = club(fake)
        fake.fail("latency", seconds=0.2, path="/token")
        with ThreadPoolExecutor(8) as pool:
            assert [*pool.map(lambda _: crm.write(), range(8))] == [201] * 8
        assert fake.issued == 1

    def test_a_token_that_another_process_renewed_after_a_401(self, fake: FakeClub) -> None:
        tokens = MemoryTokens()
        first, second = (self.share(club(fake), tokens) for _ in range(2))
        first.write()
        second.write()
        fake.revoke()
        assert [first.write(), second.write()] == [201, 201]
        assert fake.issued == 2

    def test_the_old_token_is_used_while_another_process_renews_it(self, fake: FakeClub, clock: list[float]) -> None:
        crm = club(fake)
        crm.write()
        taken = Taken()
        taken._texts = crm.tokens._texts  # type: ignore[attr-defined]
        clock[0] += 3550
        assert (self.share(crm, taken).write(), fake.issued, taken.questions) == (201, 1, 1)

    def test_without_an_old_token_it_waits(self, fake: FakeClub) -> None:
        other = club(fake)
        other.write()
        [text] = other.tokens._texts.values()  # type: ignore[attr-defined]
        taken = Taken(lambda: text)
        assert (self.share(club(fake), taken).write(), fake.issued, taken.questions) == (201, 1, 3)

    def test_a_process_that_was_faster_renewed_it_already(self, fake: FakeClub) -> None:
        other = club(fake)
        other.write()

        class Late(MemoryTokens):
            """The other process stores its token between the question for it and the lock."""

            @contextmanager
            def locked(self, name: str, seconds: float) -> Iterator[bool]:
                self._texts |= other.tokens._texts  # type: ignore[attr-defined]
                with super().locked(name, seconds) as mine:
                    yield mine

        assert (self.share(club(fake), Late()).write(), fake.issued) == (201, 1)

    def test_it_waits_no_longer_than_the_hook_has_time(self, fake: FakeClub) -> None:
        crm = self.share(club(fake), Taken())
        with time_budget(0.3):
            error = failure(crm.write)
        assert (type(error), error.code, fake.requests) == (OutOfTime, Code.OUT_OF_TIME, [])

    def test_a_refused_refresh_token_that_another_process_replaced(self, fake: FakeClub, clock: list[float]) -> None:
        fake.rotates = True
        first = self.share(club(fake, refresh=REFRESH), MemoryTokens())
        first.write()
        clock[0] += 3600
        stale = dict(first.tokens._texts)  # type: ignore[attr-defined]
        first.write()

        class Stale(MemoryTokens):
            """Answers the first question for the token with an old one."""

            answers = iter([stale, stale])

            def read(self, name: str) -> str | None:
                return next(self.answers, self._texts).get(name)

        late = Stale()
        late._texts = first.tokens._texts  # type: ignore[attr-defined]
        assert self.share(club(fake, refresh=REFRESH), late).write() == 201

    def test_a_store_that_does_not_answer(self, fake: FakeClub) -> None:
        error = failure(self.share(club(fake), Broken("read")).write)
        assert (type(error), error.code, fake.requests) == (Unavailable, Code.CONNECTION_FAILED, [])

    def test_a_token_that_is_not_stored_is_used_by_its_process(
        self, fake: FakeClub, clock: list[float], caplog: pytest.LogCaptureFixture
    ) -> None:
        fake.rotates = True
        crm = self.share(club(fake, refresh=REFRESH), Broken("write"))
        assert crm.write() == 201
        clock[0] += 3600
        assert (crm.write(), fake.issued) == (201, 2)
        assert caplog.messages == ["a new access token of club is not stored (ConnectionError)"] * 2

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"access": "x"}', '{"other": 1}'])
    def test_a_text_of_another_version_counts_as_none(self, fake: FakeClub, text: str) -> None:
        class Other(MemoryTokens):
            def read(self, name: str) -> str | None:
                return self._texts.get(name, text)

        assert (self.share(club(fake), Other()).write(), fake.issued) == (201, 1)


def test_no_token_is_shown(fake: FakeClub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    fake.rotates = True
    crm = club(fake, refresh=REFRESH)
    crm.write()
    fake.revoke()
    crm.write()
    shown = f"{crm.oauth!r}{crm.tokens!r}{crm!r}{crm.oauth._held!r}{caplog.text}"
    assert "canary" not in shown
    for token in ("access-canary-1", "access-canary-2", "refresh-canary-2", REFRESH, SECRET):
        assert crm.redact(f"wrong {token}") == "wrong ***"

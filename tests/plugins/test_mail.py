"""Mail: what each reply of an SMTP server means, TLS, and what stands in a mail."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme

from crmgate.errors import (
    AuthFailed,
    ConfigError,
    OutcomeUnknown,
    OutOfTime,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.model import Activity, Kind, Lead, Operation, new_id
from crmgate.plugin_host.caller import HookCaller
from crmgate.plugin_host.loader import discover
from crmgate.testing.contract import samples
from crmgate.testing.contract.text import contains, texts
from crmgate.testing.smtp import PASSWORD, USER, FakeMailServer
from tests.cases import all_cases

FOLDER = Path(__file__).parents[2] / "plugins"
LEAD = Lead(first_name="Ada", last_name="Lovelace", email="ada@example.com", phone="+905321234567")
ACCOUNT = {"MAIL_USER": USER, "MAIL_PASSWORD": PASSWORD, "MAIL_FROM": USER, "MAIL_TO": "leads@example.com"}
HOSTS = ("127.0.0.1",)


def mail(server: FakeMailServer, **settings: str) -> HookCaller:
    """The plugin with its settings for a server. An empty setting is none."""
    own = {"MAIL_HOST": "127.0.0.1", "MAIL_PORT": str(server.port), "MAIL_TLS": "off"} | ACCOUNT | settings
    return discover(FOLDER, ("mail",)).choose("mail", own, 5, HOSTS)


def operation(lead: Lead = LEAD) -> Operation:
    return Operation(new_id(), Kind.CREATE_LEAD, lead.to_dict(), time.time())


@pytest.fixture
def server() -> Iterator[FakeMailServer]:
    with FakeMailServer() as running:
        yield running


def sent(server: FakeMailServer, lead: Lead = LEAD, **settings: str) -> dict[str, Any]:
    """The mail of a lead."""
    mail(server, **settings).deliver(operation(lead), 10)
    return server.mails[-1]


def failure(server: FakeMailServer, budget: float = 10, **settings: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        mail(server, **settings).deliver(operation(), budget)
    return caught.value


REPLIES = {
    # name: the replies, the error, the code of the vendor
    "greeting: blocked": ({"": "554 5.7.1 No service for you"}, AuthFailed, "554 5.7.1"),
    "greeting: overloaded": ({"": "421 4.3.2 Try later"}, Unavailable, "421 4.3.2"),
    "greeting: a web server": ({"": "HTTP/1.1 400 Bad Request"}, Unavailable, ""),
    "EHLO and HELO refused": ({"EHLO": "502 no", "HELO": "502 no"}, AuthFailed, "502"),
    "log-in refused": ({"AUTH": "535 5.7.8 Bad credentials"}, AuthFailed, "535 5.7.8"),
    "log-in out of order": ({"AUTH": "454 4.7.0 Temporary authentication failure"}, RateLimited, "454 4.7.0"),
    "sender refused": ({"MAIL": "550 5.7.60 Not your address"}, AuthFailed, "550 5.7.60"),
    "sender deferred": ({"MAIL": "452 4.3.1 Insufficient storage"}, Unavailable, "452 4.3.1"),
    "mailbox refused": ({"RCPT": "550 5.1.1 User unknown"}, AuthFailed, "550 5.1.1"),
    "mailbox greylisted": ({"RCPT": "450 4.2.0 Greylisted"}, Unavailable, "450 4.2.0"),
    "mailbox rate": ({"RCPT": "450 4.7.1 Too much mail"}, RateLimited, "450 4.7.1"),
    "DATA deferred": ({"DATA": "451 4.3.0 Local error"}, Unavailable, "451 4.3.0"),
    "DATA refused": ({"DATA": "554 5.5.1 No valid recipients"}, AuthFailed, "554 5.5.1"),
    "DATA without 354": ({"DATA": "250 2.0.0 OK"}, Unavailable, ""),
    "closing": ({"MAIL": "421 4.4.2 Timeout exceeded"}, Unavailable, "421 4.4.2"),
}


@all_cases(("replies", "error", "vendor"), list(REPLIES.values()), ids=list(REPLIES))
def test_a_reply_before_the_content(replies: Mapping[str, str], error: type[ProviderError], vendor: str) -> None:
    """Nothing was sent: no reply says anything about the lead, and none is an unknown outcome."""
    with FakeMailServer() as server:
        server.replies = {**replies}
        raised = failure(server)
        assert (type(raised), raised.vendor_code) == (error, vendor)
        assert server.mails == []
        assert mail(server).test_connection(10).connected == ("DATA" in replies), "it sends everything before DATA"


CONTENT = {
    "deferred": ("451 4.3.0 Local error", Unavailable),
    "rate": ("451 4.7.1 Too much mail", RateLimited),
    "spam": ("550 5.7.1 Looks like spam", Rejected),
    "too long": ("552 5.3.4 Message too big", Rejected),
    "too long for the mailbox": ("552 5.2.3 Message too long", Rejected),
    "without an enhanced code": ("554 Transaction failed", Rejected),
    "mailbox unknown": ("550 5.1.1 User unknown", AuthFailed),
    "mailbox full": ("552 5.2.2 Mailbox full", AuthFailed),
    "no route": ("550 5.4.1 Recipient address rejected: access denied", AuthFailed),
    "no right": ("550 5.7.60 No permission to send as this sender", AuthFailed),
    "no reply of SMTP": ("HTTP/1.1 400 Bad Request", OutcomeUnknown),
    "half a code": ("25", OutcomeUnknown),
    "another code": ("354 Go ahead", OutcomeUnknown),
    "another success": ("222 fine", OutcomeUnknown),
    "a line without end": ("2" * 9000, OutcomeUnknown),
    "an endless reply": ("\r\n".join(["250-more"] * 20_000), OutcomeUnknown),
}


@all_cases(("reply", "error"), list(CONTENT.values()), ids=list(CONTENT))
def test_a_reply_to_the_content(reply: str, error: type[ProviderError]) -> None:
    with FakeMailServer() as server:
        server.replies = {".": reply}
        raised = failure(server)
        assert type(raised) is error
        assert "spam" not in str(raised), "the text of the server may quote the visitor"


@pytest.mark.parametrize(("kind", "options"), [("drop", {}), ("drop", {"when": "after"}), ("hang", {"seconds": 3})])
def test_a_reply_that_is_lost_after_the_content(server: FakeMailServer, kind: Any, options: dict[str, Any]) -> None:
    server.fail(kind, method="WRITE", **options)
    assert type(failure(server, budget=1)) is OutcomeUnknown


def test_without_a_server_nothing_was_sent(server: FakeMailServer) -> None:
    server.stop()
    assert type(failure(server)) is Unavailable
    assert type(failure(server, MAIL_HOST="no-such-host.invalid", MAIL_TLS="starttls")) is Unavailable


def test_a_refused_mailbox_refuses_the_whole_mail(server: FakeMailServer) -> None:
    """Half of the mailboxes would make a second mail for the others."""
    crm = mail(server, MAIL_TO="first@example.com, second@example.com")
    crm.deliver(operation(), 10)
    assert server.mails[-1]["to"] == ["first@example.com", "second@example.com"]
    server.replies = {"RCPT": "550 5.1.1 User unknown"}
    with pytest.raises(AuthFailed, match="mailbox 1 of MAIL_TO"):
        crm.deliver(operation(), 10)
    assert len(server.mails) == 1


def test_a_server_that_sends_a_byte_now_and_then_does_not_extend_the_time(server: FakeMailServer) -> None:
    """The timeout of a socket restarts with every byte."""
    server.slowness = 0.3
    begun = time.monotonic()
    assert type(failure(server, budget=1)) is Unavailable
    assert time.monotonic() - begun < 10, "the greeting alone takes 13 s"


def test_no_connection_is_made_when_no_time_is_left(server: FakeMailServer) -> None:
    assert type(failure(server, budget=0.01)) is OutOfTime
    assert server.commands == []


class TestTls:
    @pytest.fixture(scope="class")
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def tls(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        return context

    @pytest.fixture
    def _trusted(self, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    @pytest.mark.parametrize("mode", ["starttls", "tls"])
    @pytest.mark.usefixtures("_trusted")
    def test_a_mail_is_sent_encrypted(self, tls: ssl.SSLContext, mode: str) -> None:
        with FakeMailServer(tls=tls, implicit=mode == "tls") as server:
            mail(server, MAIL_TLS=mode).deliver(operation(), 10)
            assert len(server.mails) == 1
            said = [command.partition(" ")[0] for command in server.commands]
            before = ["EHLO", "STARTTLS"] if mode == "starttls" else []
            assert said == [*before, "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"]

    @pytest.mark.parametrize("mode", ["starttls", "tls"])
    def test_an_unknown_certificate_gets_no_password(self, tls: ssl.SSLContext, mode: str) -> None:
        with FakeMailServer(tls=tls, implicit=mode == "tls") as server:
            raised = failure(server, MAIL_TLS=mode)
            assert (type(raised), "certificate" in raised.detail) == (Unavailable, True)
            assert "AUTH" not in server.commands

    def test_a_server_without_starttls_gets_no_password(self, server: FakeMailServer) -> None:
        assert type(failure(server, MAIL_TLS="starttls")) is AuthFailed
        assert "AUTH" not in server.commands

    def test_no_encryption_is_for_known_hosts_only(self, server: FakeMailServer) -> None:
        with pytest.raises(ConfigError, match="MAIL_TLS, got 'off': personal data would be sent in the clear"):
            mail(server, MAIL_HOST="mail.example.com")


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN", "CRAM-MD5 LOGIN"])
def test_log_in(server: FakeMailServer, mechanisms: str) -> None:
    server.mechanisms = mechanisms
    assert mail(server).test_connection(10).connected
    refused = mail(server, MAIL_PASSWORD="wrong").test_connection(10)
    assert (refused.connected, refused.refused) == (False, True)


def test_a_log_in_that_is_not_offered(server: FakeMailServer) -> None:
    server.mechanisms = "CRAM-MD5"
    assert type(failure(server)) is AuthFailed


def test_a_mail_has_all_values_twice(server: FakeMailServer) -> None:
    found = sent(server, samples.FULL)
    for value in texts(samples.FULL.to_dict()):
        assert contains(found["text"], value), value
        assert contains(found["html"].replace("<br>", ""), value), value
    assert "<thoughts>" not in found["html"]
    assert "Second &lt;thoughts&gt; &amp; &quot;doubts&quot;<br>" in found["html"]


def test_headers(server: FakeMailServer) -> None:
    one = operation()
    delivered = mail(server).deliver(one, 10)
    headers = server.mails[-1]["headers"]
    assert headers["Subject"] == f"Application: Ada Lovelace [{one.tracking_code}]"
    assert (headers["From"], headers["To"], headers["Reply-To"]) == (USER, "leads@example.com", "ada@example.com")
    assert headers["Message-ID"] == f"<{delivered.record_id}>" == f"<{one.id}@example.com>"
    assert headers["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    "bad", ["Ada\r\nBcc: all@example.com", "Ada\nBcc: all@example.com", "Ada\u2028Bcc: x", "A\x00b\x85c"]
)
def test_nothing_of_a_visitor_becomes_a_header(server: FakeMailServer, bad: str) -> None:
    lead = replace(LEAD, first_name=bad, email="ada@example.com\r\nBcc: all@example.com", additional_info=bad)
    found = sent(server, lead)
    headers, _, _ = found["raw"].partition("\r\n\r\n")
    assert not re.search(r"^bcc", headers, re.IGNORECASE | re.MULTILINE)
    assert "Reply-To" not in found["headers"]
    assert found["to"] == ["leads@example.com"]


def test_a_line_with_a_dot_ends_no_mail(server: FakeMailServer) -> None:
    text = "first\n.\n..two\r\n.\r\nQUIT\n.last"
    found = sent(server, replace(LEAD, additional_info=text))
    assert found["text"].startswith("first\n.\n..two\n.\nQUIT\n.last\n")
    assert server.commands.count("QUIT") == 1


def test_every_line_is_ascii_and_short(server: FakeMailServer) -> None:
    """RFC 5321, 4.5.3.1.6: 1000 octets. Without 8BITMIME only ASCII may be sent."""
    found = sent(server, replace(samples.EMOJI, additional_info="ü" * 5000, first_name="ş" * 300))
    assert max(map(len, found["raw"].split("\r\n"))) <= 998
    assert "ü" * 5000 in found["text"].replace("\n", "")


def test_a_click_and_a_renamed_label(server: FakeMailServer) -> None:
    click = Activity("telegram", "TG-7", "2026-01-02T03:04:05Z")
    crm = mail(server, MAIL_MAP_CHANNEL="Messenger")
    crm.deliver(Operation(new_id(), Kind.CREATE_MINIMAL_LEAD, click.to_dict(), time.time()), 10)
    found = server.mails[-1]
    assert found["headers"]["Subject"].startswith("Click: telegram [CG-")
    assert "Messenger: telegram" in found["text"]
    assert "Reply-To" not in found["headers"]


BAD_SETTINGS = {
    "from": ({"MAIL_FROM": "a@b\r\nBcc: x"}, "MAIL_FROM"),
    "from with a name": ({"MAIL_FROM": "Ada <ada@example.com>"}, "MAIL_FROM"),
    "to": ({"MAIL_TO": "a@example.com, b"}, "MAIL_TO"),
    "tls": ({"MAIL_TLS": "on"}, "MAIL_TLS"),
    "port": ({"MAIL_PORT": "70000"}, "MAIL_PORT"),
    "half an account": ({"MAIL_PASSWORD": ""}, "MAIL_PASSWORD"),
    "password": ({"MAIL_PASSWORD": "pässword"}, "MAIL_PASSWORD, got a value that is not shown"),
}


@all_cases(("settings", "named"), list(BAD_SETTINGS.values()), ids=list(BAD_SETTINGS))
def test_a_bad_setting_is_named(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        mail(FakeMailServer(port=2525), **settings)
    assert "pässword" not in str(caught.value)


def test_without_an_account_there_is_no_log_in(server: FakeMailServer) -> None:
    raised = failure(server, MAIL_USER="", MAIL_PASSWORD="")
    assert (type(raised), raised.vendor_code) == (AuthFailed, "530 5.7.0")
    assert "AUTH" not in server.commands

"""The mail plugin keeps the contract."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path

from crmgate.testing import ProviderContract, Request
from crmgate.testing.smtp import PASSWORD, USER, FakeMailServer, part


def read(request: Request) -> EmailMessage:
    """The mail of a request."""
    message = email.message_from_bytes(request.body, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


class TestMail(ProviderContract):
    plugin = Path(__file__).parents[2] / "plugins" / "mail"

    def fake(self) -> FakeMailServer:
        return FakeMailServer()

    def settings(self, fake: FakeMailServer) -> Mapping[str, str]:
        account = {"MAIL_USER": USER, "MAIL_PASSWORD": PASSWORD, "MAIL_FROM": USER, "MAIL_TO": "leads@example.com"}
        return {"MAIL_HOST": fake.host, "MAIL_PORT": str(fake.port), "MAIL_TLS": "off"} | account

    def rate_limit(self, fake: FakeMailServer) -> None:
        """SMTP has no seconds to wait."""
        fake.fail("answer", status=429)

    def sent_text(self, request: Request) -> str:
        """The headers and both texts."""
        message = read(request)
        return "\n".join((*message.values(), part(message, "plain"), part(message, "html")))

    def html_texts(self, request: Request) -> list[str]:
        """The second part of the mail."""
        return [part(read(request), "html")]

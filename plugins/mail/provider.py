"""The plugin for mail: settings, hooks, and the text of a mail."""

from __future__ import annotations

import contextlib
import html
import re
import smtplib
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime
from typing import Any

from marshmallow import ValidationError, validates_schema

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, ConfigError, Unavailable
from crmgate.model import Activity, Check, Connection, Delivered, Lead, Operation, Preview
from crmgate.provider import CRMProvider, Look, Mapped, ProviderSettings, fields, secret, validate

from .session import EncryptedSmtpSession, SmtpSession, refusal

PORTS = {"starttls": 587, "tls": 465, "off": 25}
LOCAL = ("localhost", "127.0.0.1", "::1")
LONGEST_SUBJECT = 150
ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*", re.ASCII | re.IGNORECASE)
CONTROLS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
NO_CONNECTION = Code.CONNECTION_FAILED


def _address(value: str) -> None:
    """Raise `ValidationError` unless the value is one address in ASCII."""
    if not ADDRESS.fullmatch(value):
        raise ValidationError("It is no mail address.")


def _addresses(value: str) -> None:
    """Raise `ValidationError` unless the value has addresses, separated by commas."""
    for one in value.split(","):
        _address(one.strip())


class Mail(CRMProvider):
    """Submissions as mails."""

    name = "mail"
    label = "Mail"
    delivery = "at_most_once"
    capabilities = frozenset({"preview"})

    class Settings(ProviderSettings):
        """The server, the account, and the mailbox."""

        MAIL_HOST = fields.String(required=True, metadata={"help": "SMTP server", "takes": "the name of a host"})
        MAIL_PORT = fields.Integer(validate=validate.Range(1, 65535), metadata={
            "help": "Its port; empty: 587 for starttls, 465 for tls, 25 for off", "takes": "1 to 65535",
        })  # fmt: skip
        MAIL_TLS = fields.String(load_default="starttls", validate=validate.OneOf(PORTS), metadata={
            "help": "Encryption; off only for a server in CRM_HTTP_HOSTS", "takes": "starttls, tls or off",
        })  # fmt: skip
        MAIL_USER = fields.String(validate=validate.Regexp(r"[ -~]+\Z", error="Not ASCII."), metadata={
            "help": "Account at the server; empty: no log-in", "takes": "text in ASCII",
        })  # fmt: skip
        MAIL_PASSWORD = secret(validate=validate.Regexp(r"[ -~]+\Z", error="Not ASCII."), metadata={
            "help": "Password of the account", "takes": "text in ASCII",
        })  # fmt: skip
        MAIL_FROM = fields.String(required=True, validate=_address, metadata={
            "help": "Sender", "takes": "an address such as crmgate@example.com",
        })  # fmt: skip
        MAIL_TO = fields.String(required=True, validate=_addresses, metadata={
            "help": "Mailboxes that get every submission", "takes": "addresses, separated by commas",
        })  # fmt: skip

        @validates_schema
        def _both_or_none(self, data: Mapping[str, Any], **_: Any) -> None:
            missing = {"MAIL_USER", "MAIL_PASSWORD"} - data.keys()
            if len(missing) == 1:
                raise ValidationError("Set both the account and its password.", missing.pop())

    def __init__(self, environ: Mapping[str, str], *, http_hosts: tuple[str, ...] = LOCAL, **options: Any) -> None:
        super().__init__(environ, http_hosts=http_hosts, **options)
        if self.settings["MAIL_TLS"] == "off" and self.settings["MAIL_HOST"] not in http_hosts:
            raise ConfigError(["MAIL_TLS, got 'off': personal data would be sent in the clear. Use starttls or tls, "
                               "or name the host in CRM_HTTP_HOSTS when the network between is yours."])  # fmt: skip
        self._to = [one.strip() for one in self.settings["MAIL_TO"].split(",")]

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Mail the lead. A reply to the mail goes to the visitor."""
        name = f"{lead.first_name} {lead.last_name}"
        return self._send(f"Application: {name}", self.map_lead(lead, operation), operation, lead)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Mail the click of a visitor without a name."""
        return self._send(f"Click: {activity.channel}", self.map_activity(activity, operation), operation)

    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        """The text of the mail."""
        mapped = _all_described(self.map_again(operation, self.field_map))
        body = {"from": self.settings["MAIL_FROM"], "to": self._to, "text": self.text_of(mapped, operation)}
        return self.previewed("MAIL", "MAIL_HOST", body, mapped, operation)

    @hookimpl
    def test_connection(self) -> Connection:
        """Connect, log in, and name sender and mailboxes; no content is sent."""
        return self.test(Look("server", self._ready, "Check MAIL_HOST, MAIL_PORT and MAIL_TLS.", gate=True))

    def _ready(self) -> Iterator[Check]:
        with self._session() as smtp:
            self._envelope(smtp)
        yield Check("server", True)

    def _send(self, subject: str, mapped: Mapped, operation: Operation, lead: Lead | None = None) -> Delivered:
        sender = self.settings["MAIL_FROM"]
        message_id = f"{operation.id}@{sender.rpartition('@')[2]}"
        message = EmailMessage(policy=SMTP)
        message["Subject"] = f"{_one_line(subject)[:LONGEST_SUBJECT]} [{operation.tracking_code}]"
        message["From"], message["To"], message["Message-ID"] = sender, ", ".join(self._to), f"<{message_id}>"
        message["Date"], message["Auto-Submitted"] = format_datetime(localtime()), "auto-generated"
        if lead and ADDRESS.fullmatch(lead.email):
            message["Reply-To"] = lead.email
        self._write(message, _all_described(mapped), lead.additional_info if lead else "", operation)
        with self._session() as smtp:
            self._envelope(smtp)
            smtp.deliver(message.as_bytes())
        return self.delivered(message_id)

    def _write(self, message: EmailMessage, mapped: Mapped, free_text: str, operation: Operation) -> None:
        """Write the text, as plain text and as HTML, in lines that every server takes."""
        rows = "".join(f"<tr><th align=left>{_escaped(name)}</th><td>{_escaped(text)}</td></tr>\n"
                       for name, text in mapped.rest)  # fmt: skip
        end = self.describe(replace(mapped, rest=[]), operation)
        parts = (f"<p>{_escaped(free_text)}</p>", f"<table>\n{rows}</table>", f"<p>{_escaped(end)}</p>")
        page = "\n".join(("<html><body>", *parts, "</body></html>\n"))
        message.set_content(self.describe(mapped, operation, free_text), cte="quoted-printable")
        message.add_alternative(page, subtype="html", cte="quoted-printable")

    @contextlib.contextmanager
    def _session(self) -> Iterator[SmtpSession]:
        """A session that is encrypted and logged in. Errors of the connection become those of crmgate.

        Nothing but the content can have an effect, so its loss is the only unknown outcome (`SmtpSession.deliver`).
        """
        ends = time.monotonic() + self.begin_request()
        smtp, failure = None, None
        try:
            smtp = self._opened(ends)
            yield smtp
        except smtplib.SMTPResponseException as error:
            failure = refusal(error.smtp_code, error.smtp_error, "the session")
        except smtplib.SMTPNotSupportedError:
            failure = AuthFailed("the server offers no such encryption or log-in: check MAIL_TLS and MAIL_USER")
        except ssl.SSLError:
            failure = Unavailable(
                "no TLS connection: check the certificate, MAIL_PORT and MAIL_TLS", code=NO_CONNECTION
            )
        except (OSError, smtplib.SMTPException):
            late = time.monotonic() >= ends
            words = "no reply within the time limit" if late else "no SMTP server answers, or it cut the connection"
            failure = Unavailable(words, code=Code.TIMEOUT if late else NO_CONNECTION)
        finally:
            if smtp:
                smtp.leave()
        if failure:
            raise failure

    def _opened(self, ends: float) -> SmtpSession:
        settings, mode = self.settings, self.settings["MAIL_TLS"]
        kind = EncryptedSmtpSession if mode == "tls" else SmtpSession
        smtp = kind(settings["MAIL_HOST"], settings.get("MAIL_PORT", PORTS[mode]), ends)
        try:
            if mode == "starttls":
                smtp.starttls(context=ssl.create_default_context())
            smtp.ehlo_or_helo_if_needed()
            if "MAIL_USER" in settings:
                smtp.log_in(settings["MAIL_USER"], settings["MAIL_PASSWORD"])
        except BaseException:
            smtp.leave()
            raise
        return smtp

    def _envelope(self, smtp: SmtpSession) -> None:
        smtp.say(f"MAIL FROM:<{self.settings['MAIL_FROM']}>", "the sender MAIL_FROM")
        for number, one in enumerate(self._to, 1):
            smtp.say(f"RCPT TO:<{one}>", f"mailbox {number} of MAIL_TO")


def _all_described(mapped: Mapped) -> Mapped:
    """The facts as lines of text. `MAIL_MAP_<FACT>` renames the label of a fact."""
    renamed = [(name, str(value)) for name, value in mapped.fields.items()]
    return replace(mapped, fields={}, rest=[*mapped.rest, *renamed])


def _one_line(text: str) -> str:
    """A text for a header."""
    return CONTROLS.sub(" ", text).strip()


def _escaped(text: str) -> str:
    """A text as HTML, with its line breaks."""
    return html.escape(text).replace("\n", "<br>\n")

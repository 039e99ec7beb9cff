"""A session with an SMTP server (RFC 5321), with one deadline for all of it, and the meaning of the replies.

Before the content, a reply says nothing about a submission: the server refuses the account, the sender or a mailbox.
Nothing but the content has an effect, so its loss is the only unknown outcome.
"""

from __future__ import annotations

import contextlib
import io
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from crmgate.errors import AuthFailed, Code, OutcomeUnknown, ProviderError, RateLimited, Rejected, Unavailable

LONGEST_REPLIES = 64 * 1024
"""Number of bytes of the replies to one session."""
ENHANCED = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})\b")
"""Enhanced code at the start of a reply (RFC 3463)."""
OF_THE_MAILBOX = re.compile(r"5\.[14]\.|5\.2\.(?!3\b)|5\.7\.60\b")
"""Enhanced codes that refuse the sender, a mailbox or the route, although the content was sent.

5.2.3 is a mail that is too long. 5.7.60 is Exchange's missing right to send as MAIL_FROM."""
LOG_IN = (530, 534, 535, 538)
"""Replies that refuse the log-in (RFC 4954)."""
INVALID = Code.INVALID_RESPONSE


class SmtpSession(smtplib.SMTP):
    """A session that is over at `ends`, a time of `time.monotonic`: then nothing is sent or read."""

    def __init__(self, host: str, port: int, ends: float, **options: Any) -> None:
        self._ends = ends
        name = socket.gethostname()
        try:
            super().__init__(
                host, port, local_hostname=name if "." in name else "[127.0.0.1]", timeout=self._left(), **options
            )
        except BaseException:
            self.close()
            raise

    def _left(self) -> float:
        """Seconds until the end. Raises `TimeoutError` after it."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left

    def send(self, s: Any) -> None:
        """Send bytes, or a command."""
        if self.sock:
            self.sock.settimeout(self._left())
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        """Read a reply; -1 for what is no reply of SMTP."""
        if self.sock and self.file is None:
            self.file = io.BufferedReader(_Reader(self.sock, self._left))
        return super().getreply()

    def log_in(self, user: str, password: str) -> None:
        """Log in with the first mechanism of PLAIN and LOGIN that the server offers. Raises `SMTPException`."""
        self.user, self.password = user, password
        offered = self.esmtp_features.get("auth", "").upper().split()
        for mechanism, answer in (("PLAIN", self.auth_plain), ("LOGIN", self.auth_login)):
            if mechanism in offered:
                self.auth(mechanism, answer)
                return
        raise smtplib.SMTPNotSupportedError("neither PLAIN nor LOGIN")

    def say(self, command: str, what: str, expected: range = range(200, 300)) -> None:
        """Send a command. Raises the error that its reply means. `what` names the refused part in it, never a lead."""
        code, reply = self.docmd(command)
        if code not in expected:
            raise refusal(code, reply, what)

    def deliver(self, content: bytes) -> None:
        """Send the content. Raises `OutcomeUnknown` unless the server says whether it has it."""
        self.say("DATA", "a mail", range(354, 355))
        stuffed = re.sub(rb"(?m)^\.", b"..", content)
        self._left()
        code, reply = 0, b""
        with contextlib.suppress(OSError, smtplib.SMTPException):  # the code stays 0
            self.send(stuffed + b".\r\n")
            code, reply = self.getreply()
        if code == 0:
            late = time.monotonic() >= self._ends
            words = "no reply within the time limit" if late else "the connection was cut"
            reason = Code.TIMEOUT if late else Code.CONNECTION_DROPPED
            raise OutcomeUnknown(f"{words} after the mail was sent", code=reason)
        if code != 250:
            raise refusal(code, reply, "the mail", content=True)

    def leave(self) -> None:
        """Say goodbye within a second, and close. What the server has accepted stays accepted."""
        self._ends = min(self._ends, time.monotonic() + 1)
        with contextlib.suppress(OSError, smtplib.SMTPException):
            self.docmd("QUIT")
        self.close()


class EncryptedSmtpSession(SmtpSession, smtplib.SMTP_SSL):
    """A session with TLS from its first byte."""

    def __init__(self, host: str, port: int, ends: float) -> None:
        super().__init__(host, port, ends, context=ssl.create_default_context())


class _Reader(io.RawIOBase):
    """Reads a socket until the end of its session. The timeout of a socket restarts with every byte."""

    def __init__(self, connection: socket.socket, left: Callable[[], float]) -> None:
        self._connection, self._left, self._rest = connection, left, LONGEST_REPLIES

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read bytes. Raises `OSError` after the end, and after too many of them."""
        self._connection.settimeout(self._left())
        count = self._connection.recv_into(buffer)
        self._rest -= count
        if self._rest < 0:
            raise OSError("too long")
        return count


def refusal(code: int, reply: bytes | str, what: str, *, content: bool = False) -> ProviderError:
    """The error that a reply means (RFC 5321, 4.2.1). `content`: it is about a mail that was sent.

    The text of the reply may quote the visitor or the password: only its codes are kept.
    """
    found = ENHANCED.match(reply.encode() if isinstance(reply, str) else reply)
    enhanced = found[1].decode() if found else ""
    vendor = f"{code} {enhanced}".strip()
    if code in range(400, 500):
        kind = RateLimited if enhanced.startswith("4.7.") else Unavailable
        return kind(
            f"the server takes {what} later", code=None if kind is RateLimited else Code.MAINTENANCE, vendor_code=vendor
        )
    if code not in range(500, 600):
        words = "the reply is none of SMTP"
        return OutcomeUnknown(words, code=INVALID) if content else Unavailable(words, code=INVALID)
    if content and not OF_THE_MAILBOX.match(enhanced):
        return Rejected("the server refuses the content of the mail", code=Code.INVALID_REQUEST, vendor_code=vendor)
    code_of = Code.BAD_CREDENTIALS if code in LOG_IN else Code.NO_PERMISSION
    return AuthFailed(f"the server refuses {what}", code=code_of, vendor_code=vendor)

"""A fake mail server (RFC 5321) with TLS (RFC 3207, 8314), log-in (RFC 4954) and enhanced codes (RFC 3463).

    python -m crmgate.testing.smtp --port 2525

It stores mails and sends none. Faults strike at the log-in (`READ`), or after the content of a mail (`WRITE`).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import email
import email.policy
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Any, Self

from crmgate.testing.transport import Failed, Failure, FakeDestination

__all__ = ["PASSWORD", "USER", "FakeMailServer", "part"]

USER, PASSWORD = "crmgate@example.com", "smtp-password-4711"
SILENCE = 60.0
"""Seconds without a command after which the server closes a connection."""
AT_LOG_IN: Mapping[Failure, str] = {
    Failure.CREDENTIALS: "535 5.7.8 Authentication credentials invalid",
    Failure.RIGHT: "534 5.7.9 Authentication mechanism is too weak",
    Failure.RATE: "421 4.7.0 Too many connections",
    Failure.MAINTENANCE: "421 4.3.2 System not accepting network messages",
    Failure.VALUE: "501 5.5.2 Cannot decode response",
    Failure.CONFLICT: "503 5.5.1 Already authenticated",
}
"""Replies to the log-in."""
AFTER_CONTENT: Mapping[Failure, str] = {
    Failure.CREDENTIALS: "530 5.7.0 Authentication required",
    Failure.RIGHT: "550 5.7.60 Client does not have permissions to send as this sender",
    Failure.ADDRESS: "550 5.1.1 User unknown",
    Failure.RATE: "451 4.7.1 Try again later",
    Failure.MAINTENANCE: "451 4.3.2 System not accepting network messages",
    Failure.VALUE: "554 5.6.0 Message content rejected",
    Failure.CONFLICT: "554 5.6.0 Message content rejected",
}
"""Replies to the content of a mail. Any other failure is no reply of SMTP at all."""
NO_REPLY = "HTTP/1.1 400 Bad Request"


class FakeMailServer(FakeDestination):
    """Stores mails. With `tls` it offers STARTTLS, or with `implicit` it starts with TLS."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None, implicit: bool = False
    ) -> None:
        super().__init__()
        self.host, self.port, self.tls, self.implicit = host, port, tls, implicit
        self.mails: list[dict[str, Any]] = []
        self.replies: dict[str, str] = {}
        """Replies by the first word of a command, instead of the usual ones: `{"RCPT": "550 5.1.1 unknown"}`.

        An empty word is the greeting, and a dot the end of a mail."""
        self.slowness = 0.0
        """Seconds before each byte of a reply; 0: a reply is sent at once."""
        self.mechanisms = "PLAIN LOGIN"
        """Mechanisms of the log-in that the server offers."""
        self.commands: list[str] = []
        self._server: _Server | None = None

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The mails: `from`, `to`, `headers`, `text` and `html`."""
        with self.lock:
            return {"mails": [*self.mails]}

    def start(self) -> Self:
        """Start to listen. Later starts use the same port."""
        super().start()
        self._server = _Server((self.host, self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop to listen and break every open connection, like a machine that fails."""
        super().stop()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_connections()
            self._server = None

    def pause(self, seconds: float) -> None:
        """Wait, or until the fake stops."""
        self._stopping.wait(seconds)

    def store(self, sender: str, to: list[str], content: bytes) -> None:
        """Store a mail."""
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        mail = {"from": sender, "to": to, "headers": dict(message.items()), "raw": content.decode("ascii")}
        with self.lock:
            self.mails.append(mail | {"text": part(message, "plain"), "html": part(message, "html")})


def part(message: EmailMessage, kind: str) -> str:
    """The plain or the HTML text of a mail; empty if it has none."""
    found = message.get_body((kind,))
    return str(found.get_content()).replace("\r\n", "\n") if found else ""


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, address: tuple[str, int], fake: FakeMailServer) -> None:
        self.fake = fake
        self._open, self._lock = set[socket.socket](), threading.Lock()
        super().__init__(address, _Session)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Session(socketserver.BaseRequestHandler):
    """One connection."""

    server: _Server

    def handle(self) -> None:
        """Greet the client, and answer its commands until one side closes."""
        fake = self.server.fake
        self.secure, self.logged_in = False, False
        self.sender, self.to = "", list[str]()
        self.connection: socket.socket = self.request
        self.connection.settimeout(SILENCE)
        answers: dict[str, Callable[[str], bool]] = {
            "EHLO": self._ehlo, "HELO": self._ehlo, "STARTTLS": self._starttls, "AUTH": self._auth, "MAIL": self._mail,
            "RCPT": self._rcpt, "DATA": self._data, "RSET": self._rset, "NOOP": self._done, "QUIT": self._quit,
        }  # fmt: skip
        try:
            if fake.implicit:
                self._wrap()
            else:
                self.lines = self.connection.makefile("rb")
            goes_on = self._reply(fake.replies.get("", "220 mail.example.com ESMTP"))
            while goes_on and (line := self.lines.readline(1000)):
                goes_on = self._answer(line.decode("utf-8", "replace").strip(), answers)
        except OSError:  # also from `exchange`: the connection is cut
            return
        finally:
            self.connection.close()

    def _answer(self, command: str, answers: Mapping[str, Callable[[str], bool]]) -> bool:
        fake, word = self.server.fake, command.partition(" ")[0].upper()
        with fake.lock:
            fake.commands.append("AUTH" if word == "AUTH" else word + command[len(word) :])
        if word in fake.replies:
            return self._reply(fake.replies[word])
        return answers[word](command) if word in answers else self._reply("502 5.5.1 Command not implemented")

    def _reply(self, text: str) -> bool:
        """Send a reply. False if the server closes the connection after it."""
        fake, line = self.server.fake, text.encode() + b"\r\n"
        for part in [line[i : i + 1] for i in range(len(line))] if fake.slowness else [line]:
            fake.pause(fake.slowness)
            self.connection.sendall(part)
        return not text.startswith(("421", "554 ", NO_REPLY))

    def _failed(self, failed: Failed, replies: Mapping[Failure, str]) -> bool:
        """The reply to a failure, which repeats what was sent, as servers do; for `ERROR` the connection is cut."""
        if failed.failure is Failure.ERROR:
            return False
        text = " ".join(failed.text.split())[:400]
        return self._reply(f"{replies.get(failed.failure, NO_REPLY)} {text}".strip())

    def _wrap(self) -> None:
        assert self.server.fake.tls is not None
        self.connection = self.server.fake.tls.wrap_socket(self.connection, server_side=True)
        self.lines, self.secure = self.connection.makefile("rb"), True

    def _ehlo(self, _: str) -> bool:
        offers = ["mail.example.com", "8BITMIME", "ENHANCEDSTATUSCODES", f"AUTH {self.server.fake.mechanisms}"]
        if self.server.fake.tls and not self.secure:
            offers.append("STARTTLS")
        marked = [f"250{' ' if offer is offers[-1] else '-'}{offer}" for offer in offers]
        return self._reply("\r\n".join(marked))

    def _starttls(self, _: str) -> bool:
        if not self.server.fake.tls or self.secure:
            return self._reply("502 5.5.1 Command not implemented")
        self._reply("220 2.0.0 Ready to start TLS")
        self._wrap()
        return True

    def _auth(self, command: str) -> bool:
        _, mechanism, *given = f"{command} ".split(" ")
        try:
            self.server.fake.exchange("AUTH", "", lambda: None, reads=True)
            said = base64.b64decode(given[0])
            if mechanism == "LOGIN":
                self._reply("334 UGFzc3dvcmQ6")
                said = b"\0" + said + b"\0" + base64.b64decode(self.lines.readline())
        except Failed as failed:
            return self._failed(failed, AT_LOG_IN)
        except binascii.Error:
            return self._reply(AT_LOG_IN[Failure.VALUE])
        self.logged_in = said == f"\0{USER}\0{PASSWORD}".encode()
        return self._reply("235 2.7.0 Authentication successful" if self.logged_in else AT_LOG_IN[Failure.CREDENTIALS])

    def _mail(self, command: str) -> bool:
        if not self.logged_in:
            return self._reply("530 5.7.0 Authentication required")
        self.sender, self.to = command.partition(":")[2].strip("<> "), []
        return self._done(command)

    def _rcpt(self, command: str) -> bool:
        if not self.sender:
            return self._reply("503 5.5.1 Need MAIL command")
        self.to.append(command.partition(":")[2].strip("<> "))
        return self._done(command)

    def _data(self, _: str) -> bool:
        if not self.to:
            return self._reply("503 5.5.1 Need RCPT command")
        self._reply("354 End data with <CR><LF>.<CR><LF>")
        content = bytearray()
        while (line := self.lines.readline()) != b".\r\n":
            if not line:
                return False  # the client is gone: an unfinished mail is none
            content += line.removeprefix(b".")
        fake, sender, to, mail = self.server.fake, self.sender, self.to, bytes(content)
        self.sender, self.to = "", []
        try:
            fake.exchange("DATA", mail, lambda: fake.store(sender, to, mail))
        except Failed as failed:
            return self._failed(failed, AFTER_CONTENT)
        return self._reply(fake.replies.get(".", "250 2.0.0 Queued"))

    def _rset(self, command: str) -> bool:
        self.sender, self.to = "", []
        return self._done(command)

    def _done(self, _: str) -> bool:
        return self._reply("250 2.0.0 OK")

    def _quit(self, _: str) -> bool:
        self._reply("221 2.0.0 Bye")
        return False


def main() -> None:
    """Run a fake mail server in the foreground until interrupted."""
    parser = argparse.ArgumentParser(description=FakeMailServer.__doc__)
    parser.add_argument("--port", type=int, default=2525)
    with FakeMailServer(port=parser.parse_args().port) as server:
        print(f"FakeMailServer on {server.host}:{server.port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()

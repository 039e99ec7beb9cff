"""Slow senders: many connections of one address, each of which sends one byte now and then."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.processes import DEADLINE

ATTACKER = "127.0.0.9"
ROUTE = b"POST /api/v1/applications HTTP/1.1\r\n"
BODY = ROUTE + b"Host: app.localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{"
ELSEWHERE = BODY.replace(b"/api/v1/applications", b"/nowhere")
HEADERS = ROUTE + b"Host: app.localhost\r\nX-Slow: "
SILENT_CLOSE = b"GET /healthz HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n"
"""A request whose sender never closes the connection."""

_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_TLS.check_hostname, _TLS.verify_mode = False, ssl.CERT_NONE

Wrap = Callable[[socket.socket], socket.socket]


def with_tls(connection: socket.socket) -> socket.socket:
    """Speak TLS to Caddy, whatever its certificate."""
    return _TLS.wrap_socket(connection, server_hostname="app.localhost")


@contextmanager
def slow_senders(port: int, begin: bytes, number: int, wrap: Wrap = lambda plain: plain) -> Iterator[None]:
    """Keep `number` connections to `port` that send `begin`, and then a byte again and again; dead ones are renewed."""
    ended = threading.Event()

    def connect() -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", port), DEADLINE, source_address=(ATTACKER, 0))
        connection = wrap(plain)
        connection.sendall(begin)
        return connection

    def send() -> None:
        while not ended.wait(0.2):
            for place, sender in enumerate(senders):
                try:
                    sender.send(b" ")
                except OSError:
                    sender.close()
                    if not ended.is_set():
                        with contextlib.suppress(OSError):
                            senders[place] = connect()

    with ExitStack() as held:
        senders = [connect() for _ in range(number)]
        held.callback(lambda: [sender.close() for sender in senders])
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        held.callback(thread.join)
        held.callback(ended.set)
        yield

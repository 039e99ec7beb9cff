"""gunicorn's threaded worker with three additions: a time limit for requests, bodies are read before the answer, and a
stop resets no connection.

gunicorn's `timeout` applies to workers, not to requests: a sender that sends a byte a second occupies a thread without
limit, and one such sender per thread stops the service.

An application may answer before it has read the body (too large, too many requests, not found). gunicorn then sends
"Connection: keep-alive", reads 64 KB more and closes the connection. A proxy that is still sending the body, or sends
the next request on that connection, gets no answer and returns a 502.

At a stop gunicorn accepts no further connections but keeps its listening socket until the last request is answered. The
system still completes connections on that socket, and resets them when it is closed: a proxy that has sent a request on
one returns a 502, because it may not send a POST again. A refused connection can be tried again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

READ_SECONDS = 15.0
"""Seconds within which a request must arrive: enough for 64 KB at 35 kbit/s, a slow mobile network."""

DISCARD_BYTES = 2 * 1024 * 1024
"""Number of bytes of an unread body that are read and discarded before the answer is sent.

More than a proxy accepts: Caddy with the Caddyfile 100 KB, nginx by default 1 MB.
"""
PIECE_BYTES = 64 * 1024

wsgi.SERVER = "crmgate"  # the header `Server` of answers

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Worker(ThreadWorker):  # type: ignore[misc]
    """Handles `threads` requests at a time and cuts off a request that has not arrived within `READ_SECONDS`."""

    sockets: list[Any]
    wsgi: App

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._begun: dict[Any, float] = {}

    def load_wsgi(self) -> None:
        """Called once, at the start of the process."""
        super().load_wsgi()
        self.wsgi = read_to_the_end(self.wsgi)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Called by the main thread when it begins or stops to accept connections."""
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            self._close_listeners()

    def _close_listeners(self) -> None:
        """Accept the connections that wait, then close the listening sockets of this process.

        During a reload the first process keeps them open for the next worker process. During a stop it has closed its
        own, so further connections are refused.
        """
        for listener in self.sockets:
            accepted = -1
            while accepted != self.nr_conns:
                accepted = self.nr_conns
                self.accept(listener)
            listener.close()
        self.sockets = []

    def handle(self, conn: Any) -> Any:
        """Handle one request, in a thread."""
        self._begun[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._begun.pop(conn, None)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer one request whose headers have arrived."""
        if _length(req.headers) > DISCARD_BYTES:
            req.force_close()  # the rest of the body stays unread, so the answer announces the end of the connection
        return super().handle_request(req, conn)

    def notify(self) -> None:
        """Called by the main thread about once a second."""
        super().notify()
        late = time.monotonic() - READ_SECONDS
        for conn, begun in list(self._begun.items()):
            if begun < late:
                # The reader sees the end of the stream. A request that has arrived and is still being handled is not
                # affected: its response can be sent.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)


def read_to_the_end(app: App) -> App:
    """Wrap an application so that the unread rest of a body is read before the answer is sent (RFC 9112, 9.6)."""

    def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer = app(environ, start_response)
        if int(environ.get("CONTENT_LENGTH") or 0) <= DISCARD_BYTES:
            _discard(environ["wsgi.input"])
        return answer

    return wrapped


def _discard(body: Any) -> None:
    with suppress(OSError, ParseException):  # the sender is gone, or its chunks are malformed: still send the answer
        for _ in range(DISCARD_BYTES // PIECE_BYTES):
            if not body.read(PIECE_BYTES):
                return


def _length(headers: list[tuple[str, str]]) -> int:
    """The announced length of the body in bytes; 0 for a chunked body."""
    return int(dict(headers).get("CONTENT-LENGTH", 0))

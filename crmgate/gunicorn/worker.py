"""gunicorn's threaded worker, protected against senders that are slow to send, to read or to close, and against resets
at a stop.

gunicorn's `timeout` applies to workers, not to requests. Without these additions one address can stop the service:

- A request that takes too long to arrive is cut off (`READ_SECONDS`).
- One address occupies at most three quarters of the threads (`SHARE`); its further connections wait.
- A connection that the client does not close is closed without a thread, and without blocking the others.

An application may answer before it has read the body (too large, too many requests, not found). gunicorn then sends
"Connection: keep-alive", reads 64 KB more and closes the connection. A proxy that is still sending the body, or sends
the next request on that connection, gets no answer and returns a 502. Therefore the rest of the body is read first,
for at most `DISCARD_SECONDS`.

At a stop gunicorn accepts no further connections but keeps its listening socket until the last request is answered. The
system still completes connections on that socket, and resets them when it is closed: a proxy that has sent a request on
one returns a 502, because it may not send a POST again. A refused connection can be tried again.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from crmgate import logs
from crmgate.store.limits import network

READ_SECONDS = 15.0
"""Seconds within which a request must arrive: enough for 64 KB at 35 kbit/s, a slow mobile network."""
DISCARD_SECONDS = 2.0
"""Seconds for which the unread rest of a body is read before the answer is sent and the connection closed."""
LINGER_SECONDS = 2.0
"""Seconds for which a client may take to close its end of a connection."""
SHARE = 0.75
"""Part of the threads that one address may occupy."""
WAITING = 128
"""Number of connections of one address that may wait for a thread; further ones are closed."""

DISCARD_BYTES = 2 * 1024 * 1024
"""Number of bytes of an unread body that are read and discarded before the answer is sent.

More than a proxy accepts: Caddy with the Caddyfile 100 KB, nginx by default 1 MB.
"""
PIECE_BYTES = 64 * 1024

wsgi.SERVER = "crmgate"  # the header `Server` of answers

App = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Here(threading.local):
    """The connection and the request that this thread handles."""

    conn: Any = None
    req: Any = None


class Worker(ThreadWorker):  # type: ignore[misc]
    """Handles `threads` requests at a time. All methods run in the main thread, except `handle` and what it calls."""

    sockets: list[Any]
    wsgi: App

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._until: dict[Any, float] = {}
        """Time at which reading from a connection is cut off, by the monotonic clock."""
        self._here = _Here()
        self._share = 0  # no limit
        self._busy: Counter[str] = Counter()
        self._waiting: defaultdict[str, deque[Any]] = defaultdict(deque)
        self._lingering: deque[Any] = deque()

    def load_wsgi(self) -> None:
        """Called once, at the start of the process."""
        super().load_wsgi()
        settings = self.app.wsgi().extensions["crmgate"].settings
        if settings.trusted_proxies == 0:  # else all connections come from the proxy's address
            self._share = max(int(self.cfg.threads * SHARE), 1)
        self.wsgi = self._read_to_the_end(self.wsgi)

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection with a request to a thread, or let it wait while its address occupies its share."""
        peer = _peer(conn)
        if not self._share or self._busy[peer] < self._share:
            self._busy[peer] += 1
            super().enqueue_req(conn)
        elif len(self._waiting[peer]) < WAITING:
            self._waiting[peer].append(conn)
        else:
            self._close(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Keep a connection after its request, or close it; its thread is free again."""
        if fs.cancelled() or fs.exception() or fs.result():
            super().finish_request(conn, fs)
        else:
            self._linger(conn)
        self._next_of(_peer(conn))

    def _next_of(self, peer: str) -> None:
        self._busy[peer] -= 1
        if not self._busy[peer]:
            del self._busy[peer]
        waiting = self._waiting[peer]
        if waiting:
            self.enqueue_req(waiting.popleft())
        if not waiting:
            del self._waiting[peer]

    def _linger(self, conn: Any) -> None:
        """Close a connection when the client has closed its end (RFC 9112, 9.6). gunicorn waits for that in this
        thread, up to two seconds for each connection, while no other request begins."""
        conn.timeout, conn.drained = time.monotonic() + LINGER_SECONDS, 0
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError):  # the client is gone, or the socket is closed
            self._close(conn)
        else:
            self._lingering.append(conn)

    def _drain(self, conn: Any, _client: Any) -> None:
        with suppress(BlockingIOError):
            if self._has_ended(conn):
                self.poller.unregister(conn.sock)
                self._lingering.remove(conn)
                self._close(conn)

    def _has_ended(self, conn: Any) -> bool:
        """Whether the client has closed its end, or sends without end."""
        try:
            received = len(conn.sock.recv(PIECE_BYTES))
        except ConnectionError:
            return True
        conn.drained += received
        return not received or conn.drained > DISCARD_BYTES

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """Called by the main loop at least once a second: close connections that have lingered for too long."""
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout < time.monotonic():
            conn = self._lingering.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)

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
        logs.begin()  # without it, gunicorn's lines about this request have the ids of an earlier one
        self._here.conn = conn
        self._until[conn] = time.monotonic() + READ_SECONDS
        try:
            return super().handle(conn)
        finally:
            self._until.pop(conn, None)
            logs.begin()

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer one request whose headers have arrived."""
        self._here.req = req
        if _length(req.headers) > DISCARD_BYTES:
            req.force_close()  # the rest of the body stays unread, so the answer announces the end of the connection
        return super().handle_request(req, conn)

    def notify(self) -> None:
        """Called by the main loop at least once a second."""
        super().notify()
        now = time.monotonic()
        for conn, until in list(self._until.items()):
            if until < now:
                # The reader sees the end of the stream. A request that has arrived and is still being handled is not
                # affected: its response can be sent.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)

    def _read_to_the_end(self, app: App) -> App:
        """Wrap an application so that the unread rest of a body is read before the answer is sent (RFC 9112, 9.6)."""

        def wrapped(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            answer = app(environ, start_response)
            if int(environ.get("CONTENT_LENGTH") or 0) <= DISCARD_BYTES:
                self._discard(environ["wsgi.input"])
            return answer

        return wrapped

    def _discard(self, body: Any) -> None:
        """Read the rest of a body. If it does not arrive in time, the answer announces the end of the connection."""
        conn, until = self._here.conn, time.monotonic() + DISCARD_SECONDS
        self._until[conn] = min(self._until[conn], until)
        with suppress(
            OSError, ParseException
        ):  # the sender is gone, or its chunks are malformed: still send the answer
            for _ in range(DISCARD_BYTES // PIECE_BYTES):
                if not body.read(PIECE_BYTES):
                    break
        if time.monotonic() >= until:
            self._here.req.force_close()


def _peer(conn: Any) -> str:
    """What counts as one address; empty for a Unix socket."""
    return network(conn.client[0]) if isinstance(conn.client, tuple) else ""


def _length(headers: list[tuple[str, str]]) -> int:
    """The announced length of the body in bytes; 0 for a chunked body."""
    return int(dict(headers).get("CONTENT-LENGTH", 0))

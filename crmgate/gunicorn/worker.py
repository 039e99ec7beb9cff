"""gunicorn's threaded worker with a time limit for the arrival of a request.

gunicorn's own `timeout` applies to workers, not to requests. Without this limit a client that sends one byte a second
occupies a thread indefinitely, and one such client for each thread stops the service.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

READ_SECONDS = 15.0
"""Seconds within which a request must arrive: enough for 64 KB at 35 kbit/s, a slow mobile network."""

wsgi.SERVER = "crmgate"  # the `Server` header of responses


class Worker(ThreadWorker):  # type: ignore[misc]
    """A worker that handles `threads` requests at a time and closes the input of those older than `READ_SECONDS`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._begun: dict[Any, float] = {}

    def handle(self, conn: Any) -> Any:
        """Handle one request. Called in a thread of its own."""
        self._begun[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._begun.pop(conn, None)

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

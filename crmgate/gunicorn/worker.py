"""gunicorn's threaded worker, with an end to requests that arrive too slowly.

gunicorn's `timeout` is about workers, not about requests: a sender that drips a byte a second holds a thread for as
long as it likes, and as many of them as there are threads stop the service.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

READ_SECONDS = 15.0
"""How long a request may take to arrive: 64 KB at 35 kbit/s, so that a bad mobile network suffices."""

wsgi.SERVER = "crmgate"  # what answers call the server


class Worker(ThreadWorker):  # type: ignore[misc]
    """`threads` requests at a time. What has not arrived within `READ_SECONDS` never does."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._begun: dict[Any, float] = {}

    def handle(self, conn: Any) -> Any:
        """One request, in a thread."""
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
                # Its reader sees the end of the stream. To a request that has arrived and is still being worked on,
                # this does nothing: the answer can be sent.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)

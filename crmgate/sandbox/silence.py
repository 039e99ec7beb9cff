"""Requests that end without any answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from typing import Any

from flask import Response

CHECK_EVERY = 0.1


class NoAnswer(Response):
    """Closes the connection instead of sending an answer."""

    def __call__(self, environ: dict[str, Any], _start: Any) -> Iterable[bytes]:
        """Shut the connection down; werkzeug's server handles the error like a disconnected client."""
        connection: socket.socket | None = environ.get("werkzeug.socket")
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError("set to send no answer")


def wait_for_hangup(connection: socket.socket | None) -> None:
    """Wait until the client disconnects. Read the request's body first: unread bytes hide the end of the stream."""
    while connection is not None and not _hung_up(connection):
        time.sleep(CHECK_EVERY)


def _hung_up(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True

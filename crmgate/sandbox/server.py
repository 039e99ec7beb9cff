"""Serves the sandbox with threads, without a request log, and stops quickly."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server


class _Handler(WSGIRequestHandler):
    """Writes no request log, because the page shows the requests' results."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Log nothing. Flask still logs errors of the application."""


def listen(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """A listening server; port 0 selects a free port."""
    return make_server(host, port, app, threaded=True, request_handler=_Handler)


def address(server: BaseWSGIServer) -> str:
    """The URL of the server without a trailing slash."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{server.port}"


@contextlib.contextmanager
def running(app: Flask, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread of this process inside a `with` block; yields the URL."""
    server = listen(app, host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield address(server)
    finally:
        server.shutdown()
        thread.join()

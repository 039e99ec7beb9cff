"""Serving the sandbox: threaded, silent, and closing the door quickly."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server


class _Handler(WSGIRequestHandler):
    """Keeps quiet; the page shows what arrives."""

    def log(self, type: str, message: str, *args: object) -> None:
        """No line for each request. Errors of the application are still logged, by Flask."""


def listen(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """A server that listens; port 0 takes any free one."""
    return make_server(host, port, app, threaded=True, request_handler=_Handler)


def address(server: BaseWSGIServer) -> str:
    """Where the server can be reached, without a slash at the end."""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{server.port}"


@contextlib.contextmanager
def running(app: Flask, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve on a thread of this process meanwhile; gives the address."""
    server = listen(app, host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield address(server)
    finally:
        server.shutdown()
        thread.join()

"""Base class of fake CRMs: a real HTTP server with sockets, threads, keep-alive and faults on request.

`FakeCRM` implements HTTP and faults; a subclass implements the answers of one vendor. Tests run a fake on a thread of
the test process. `python -m crmgate.testing.espocrm --port 8090` runs it as a separate process; requests to
`/__fake__/...` control it.
"""

from __future__ import annotations

import abc
import argparse
import contextlib
import json
import socket
import socketserver
import sys
import threading
import traceback
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from crmgate.testing.transport import Dropped, FakeDestination, Fault, Request, Response

__all__ = ["FakeCRM", "Fault", "Request", "Response", "serve"]

CONTROL_PREFIX = "/__fake__/"


class FakeCRM(FakeDestination):
    """Base class of fake CRMs: a `FakeDestination` with an HTTP server. Subclasses implement `answer` and `records`."""

    server_header = "nginx/1.22.1"

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__()
        self.host, self.port = host, port
        self._httpd: _Server | None = None

    @abc.abstractmethod
    def answer(self, request: Request) -> Response:
        """The vendor's answer to a request. The caller does not hold the lock."""

    @property
    def url(self) -> str:
        """`http://host:port` of the started server."""
        return f"http://{self.host}:{self.port}"

    def start(self) -> Self:
        """Start to listen. Later starts use the same port."""
        super().start()
        self._httpd = _Server((self.host, self.port), self)
        self.port = self._httpd.server_address[1]
        threading.Thread(target=self._httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop to listen and break every open connection, like a machine that fails."""
        super().stop()
        if self._httpd is not None:
            self._httpd.shutdown()
            self._httpd.server_close()
            self._httpd.cut_connections()
            self._httpd = None

    def handle(self, request: Request) -> Response:
        """Answer one request and apply the faults. Raises `Dropped` to break the connection."""
        if request.path.startswith(CONTROL_PREFIX):
            return self._controlled(request)
        return self.under_faults(request, lambda: self._answered(request), lambda faulty: faulty)

    def _answered(self, request: Request) -> Response:
        try:
            return self.answer(request)
        except Exception as error:
            if not isinstance(error, Dropped | OSError):
                self.mistakes.append(_shown(self, request, error))
            raise

    def _controlled(self, request: Request) -> Response:
        """The answer to a control, or 400 with the reason why it cannot be carried out."""
        try:
            return self._control(request)
        except (TypeError, ValueError) as error:
            return Response(400, json.dumps({"error": str(error)}))

    def _control(self, request: Request) -> Response:
        """`GET records|requests|faults`, `POST faults|configure`, `DELETE faults`."""
        what = request.path.removeprefix(CONTROL_PREFIX)
        data = json.loads(request.body) if request.body else {}
        match request.method, what:
            case "GET", "records":
                return Response(body=json.dumps(self.records()))
            case "GET", "requests":
                with self.lock:
                    seen = [{"method": r.method, "path": r.path, "query": r.query, "at": r.at} for r in self.requests]
                return Response(body=json.dumps(seen))
            case "GET", "faults":
                with self.lock:
                    return Response(body=json.dumps([asdict(fault) for fault in self.faults]))
            case "POST", "faults":
                return Response(201, json.dumps(asdict(self.fail(**data))))
            case "POST", "configure":
                self.configure(data)
                return Response(body="{}")
            case "DELETE", "faults":
                self.heal()
                return Response(body="{}")
        return Response(404, json.dumps({"error": f"no control {request.method} {what}"}))


def _shown(crm: FakeCRM, request: Request, error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"{type(crm).__name__}.answer raised {error!r} at {place} for {request.method} {request.path}."


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], crm: FakeCRM) -> None:
        self.crm = crm
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without a look-up of the name of this host, which HTTPServer makes for CGI programs."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore disconnected clients; report errors of the fake."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def cut_connections(self) -> None:
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: two writes would meet Nagle and delayed ACKs (40 ms)
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if self.parse_request():
                self._answer()
                self.wfile.flush()
        except (Dropped, OSError):
            self.close_connection = True

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = dict(self.headers.items())
        request = Request(self.command, path, query, headers, body, client=self.client_address[0])
        response = self.server.crm.handle(request)
        payload = response.body.encode() if isinstance(response.body, str) else response.body
        self.send_response(response.status)
        if response.content_type:
            self.send_header("Content-Type", response.content_type)
        for name, value in response.headers.items():
            self.send_header(name, value.encode().decode("latin-1"))
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def version_string(self) -> str:
        return self.server.crm.server_header

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def serve(crm: FakeCRM, argv: list[str] | None = None) -> None:
    """Run a fake CRM in the foreground until interrupted (`--host`, `--port`)."""
    parser = argparse.ArgumentParser(description=type(crm).__doc__)
    parser.add_argument("--host", default=crm.host)
    parser.add_argument("--port", type=int, default=crm.port)
    options = parser.parse_args(argv)
    crm.host, crm.port = options.host, options.port
    with crm:
        print(f"{type(crm).__name__} on {crm.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()

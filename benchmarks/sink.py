"""A CRM that takes every lead after a fixed time, as a process of its own: `python -m benchmarks.sink`.

It parses as little as possible: with 640 requests a second, a complete server would be a part of the result. The first
request after `POST /__reset__` starts the clock; `GET /__seen__` says what came in since.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
OPERATION = re.compile(rb'"operation": ?"([^"]+)"')
HEADERS_END = b"\r\n\r\n"


@dataclass
class Seen:
    """Requests since the last reset. Times are monotonic, in seconds."""

    operations: set[bytes] = field(default_factory=set)
    requests: int = 0
    answered: int = 0
    first: float = 0.0
    last: float = 0.0
    in_hand: int = 0
    peak: int = 0

    def begin(self, body: bytes) -> None:
        """Note the arrival of a lead."""
        now = time.monotonic()
        self.first = self.first or now
        self.in_hand += 1
        self.peak = max(self.peak, self.in_hand)
        self.requests += 1
        if found := OPERATION.search(body):
            self.operations.add(found[1])

    def end(self) -> None:
        """Note an answer."""
        self.in_hand -= 1
        self.answered += 1
        self.last = time.monotonic()

    def to_dict(self) -> dict[str, Any]:
        """Numbers of requests and of different operations, seconds from the first request to the last answer."""
        return {
            "requests": self.requests, "answered": self.answered, "operations": len(self.operations),
            "peak": self.peak, "seconds": self.last - self.first,
        }  # fmt: skip


class Sink:
    """State of the server."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.hang_until = seconds, 0.0
        self.seen = Seen()

    def control(self, path: bytes, body: bytes) -> Any:
        """Answer a request that controls the sink."""
        match path:
            case b"/__reset__":
                self.seen = Seen()
            case b"/__hang__":
                self.hang_until = time.monotonic() + json.loads(body)["seconds"]
            case b"/__seen__":
                return self.seen.to_dict()
        return {}

    def delay(self) -> float:
        """Seconds until a request that arrives now is answered."""
        return max(self.hang_until - time.monotonic(), 0.0) + self.seconds


class Connection(asyncio.Protocol):
    """One connection; it answers one request after the other."""

    transport: asyncio.Transport

    def __init__(self, sink: Sink) -> None:
        self.sink, self.buffer = sink, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (request := self._next()) is not None:
            self._handle(*request)

    def _next(self) -> tuple[bytes, bytes] | None:
        """Path and body of the next complete request."""
        end = self.buffer.find(HEADERS_END)
        if end < 0:
            return None
        head, start = self.buffer[:end], end + len(HEADERS_END)
        length = LENGTH.search(head)
        stop = start + (int(length[1]) if length else 0)
        if len(self.buffer) < stop:
            return None
        body, self.buffer = self.buffer[start:stop], self.buffer[stop:]
        return head.split(b" ", 2)[1], body

    def _handle(self, path: bytes, body: bytes) -> None:
        if path.startswith(b"/__"):
            self._answer(json.dumps(self.sink.control(path, body)).encode())
            return
        later = asyncio.get_running_loop().call_later
        if path == b"/leads":
            self.sink.seen.begin(body)
            later(self.sink.delay(), self._answer_lead, self.sink.seen)
        else:
            later(self.sink.delay(), self._answer_question, path.partition(b"operation=")[2])

    def _answer_lead(self, seen: Seen) -> None:
        seen.end()
        self._answer(b'{"id": "abc"}')

    def _answer_question(self, operation: bytes) -> None:
        """Whether the lead of an operation exists; for any other path only that the sink works."""
        self._answer(b'{"id": "abc"}' if operation in self.sink.seen.operations else b'{"id": null}')

    def _answer(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def _serve(port: int, seconds: float) -> None:
    sink = Sink(seconds)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(sink), "127.0.0.1", port, backlog=512)
    await server.serve_forever()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=0.05, help="time that a request takes")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.seconds))


if __name__ == "__main__":
    main()

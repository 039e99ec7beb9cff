"""Requests at a fixed rate that do not wait for each other's answers, as visitors do not.

A latency counts from the time at which a request was due, so a server that is late cannot slow its load down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT = 90.0
"""Seconds after which a request counts as failed."""


@dataclass(frozen=True)
class Sent:
    """A request and its answer. `due` is in seconds after the start; status 0: no answer."""

    what: str
    due: float
    latency: float
    status: int


@dataclass(frozen=True)
class Stream:
    """Requests of one kind: `rate` in each second. `request` builds the bytes of the request of a number."""

    what: str
    rate: float
    request: Callable[[int], bytes]


def send(url: str, streams: Sequence[Stream], seconds: float, begun: float) -> list[Sent]:
    """Send all streams for `seconds` from `begun` (`time.monotonic`) on, and wait for the answers."""
    return asyncio.run(_send(url, streams, seconds, begun))


async def _send(url: str, streams: Sequence[Stream], seconds: float, begun: float) -> list[Sent]:
    planned = [
        (number / stream.rate, stream.what, stream.request(number))
        for stream in streams for number in range(int(stream.rate * seconds))
    ]  # fmt: skip
    return await asyncio.gather(*(_one(url, due, what, request, begun) for due, what, request in planned))


async def _one(url: str, due: float, what: str, request: bytes, begun: float) -> Sent:
    await asyncio.sleep(max(begun + due - time.monotonic(), 0))
    try:
        status = await asyncio.wait_for(_status(url, request), TIMEOUT)
    except (OSError, ValueError, IndexError, TimeoutError):
        status = 0
    return Sent(what, due, time.monotonic() - begun - due, status)


async def _status(url: str, request: bytes) -> int:
    """Send a request over a connection of its own; the status of the answer."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        writer.write(request)
        answer = await reader.read()
        return int(answer.split(b" ", 2)[1])
    finally:
        writer.close()


def post(path: str, body: str, client: str) -> bytes:
    """A POST of JSON from the address `client`, as a proxy passes it on."""
    data = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: {client}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def get(path: str, client: str) -> bytes:
    """A GET from the address `client`, as a proxy passes it on."""
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-For: {client}\r\n\r\n"
    return head.encode()

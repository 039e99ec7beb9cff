"""Base class of fake destinations of any transport: requests, faults and records. No HTTP.

`crmgate.testing.FakeCRM` is the subclass for HTTP. For another transport, such as SMTP, gRPC or a vendor's SDK,
subclass `FakeDestination` and send each request that the plugin makes through `exchange`:

    class FakeSheet(FakeDestination):
        rows: list[dict[str, str]]

        def append(self, row, timeout):  # what the vendor's SDK does
            try:
                return self.exchange("append", row, lambda: self._store(row), timeout=timeout)
            except Failed as failed:
                raise SheetError(CODES[failed.failure]) from None

The faults of the contract kit then reach the plugin as errors of the transport:

| the kit | `exchange` raises |
|---|---|
| stops the fake | `ConnectionRefusedError`, before anything is recorded |
| cuts the connection, before or after the work | `ConnectionResetError` |
| lets a request hang | `TimeoutError` after `timeout` seconds, or `ConnectionResetError` when the fault ends before |
| answers with a status, a page or half an answer | `Failed`, which the fake translates into its own error |
"""

from __future__ import annotations

import abc
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NoReturn, Self, TypeVar, get_args

from requests.structures import CaseInsensitiveDict

from crmgate.plugin_kit.transport import Answer

T = TypeVar("T")

READ, WRITE = "READ", "WRITE"
"""`Request.method` of a request that changes nothing, and of one that changes something, without HTTP."""


@dataclass(frozen=True)
class Request:
    """A received request. `path` is percent-encoded and has no query string; `at` is in seconds since the epoch."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.time)
    client: str = ""
    """IP address of the client."""

    def header(self, name: str, default: str = "") -> str:
        """Value of a header; its name in any case."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), default)


@dataclass(frozen=True)
class Response:
    """An answer. A `str` body is sent in UTF-8; values of headers may contain any UTF-8."""

    status: int = 200
    body: bytes | str = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


FaultKind = Literal["latency", "hang", "drop", "answer"]
Moment = Literal["before", "after"]


@dataclass
class Fault:
    """A failure on every `every`-th matching request, `times` times (None: until it is removed).

    `when` says whether the CRM does its work before the failure: after a connection is dropped "after" the work, the
    record exists although the client got no answer. Raises `ValueError` for a `kind` or a moment that does not exist.
    """

    kind: FaultKind
    when: Moment = "before"
    seconds: float = 0.0
    """`latency`: the delay; `hang`: the time without an answer (0: until the server stops)."""
    status: int = 503
    body: str = ""
    content_type: str = "text/html; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)
    method: str | None = None
    path: str | None = None
    """A regular expression searched for in path and query."""
    times: int | None = None
    every: int = 1
    seen: int = 0

    def __post_init__(self) -> None:
        kinds, moments = get_args(FaultKind), get_args(Moment)
        if self.kind not in kinds:
            raise ValueError(f"{self.kind!r} is no kind of fault. Write one of {', '.join(kinds)}.")
        if self.when not in moments:
            raise ValueError(f"{self.when!r} is no moment of a fault. Write {' or '.join(moments)}.")

    def strikes(self, request: Request) -> bool:
        """Whether this fault applies to `request`. Counts matching requests. The caller holds the server's lock."""
        if self.times == 0 or (self.method and self.method != request.method):
            return False
        if self.path and not re.search(self.path, f"{request.path}?{request.query}"):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Dropped(Exception):
    """The connection is cut without an answer."""


class Failure(StrEnum):
    """What an answer of the contract kit says. A fake of another transport gives its own error for each."""

    CREDENTIALS = "credentials"
    """The credentials are refused (HTTP 401)."""
    RIGHT = "right"
    """The account lacks a right (403)."""
    ADDRESS = "address"
    """There is nothing at this address (404)."""
    CONFLICT = "conflict"
    """The record exists already (409)."""
    VALUE = "value"
    """A value is refused (400, 422)."""
    RATE = "rate"
    """Too many requests; nothing was done (429)."""
    MAINTENANCE = "maintenance"
    """Closed for now; nothing was done (503)."""
    ERROR = "error"
    """The work failed half-way: it may have been done (500, 502)."""
    UNREADABLE = "unreadable"
    """An answer that confirms nothing: another page, half an answer, none of the expected data."""


_OF_STATUS: Mapping[int, Failure] = {
    400: Failure.VALUE, 401: Failure.CREDENTIALS, 403: Failure.RIGHT, 404: Failure.ADDRESS, 409: Failure.CONFLICT,
    422: Failure.VALUE, 429: Failure.RATE, 500: Failure.ERROR, 502: Failure.ERROR, 503: Failure.MAINTENANCE,
}  # fmt: skip


class Failed(Exception):
    """`exchange` ends with a failure that the destination reports.

    `text` is the destination's own text. It can repeat what was sent, as error messages of vendors do: put it into the
    error of the fake. `retry_after` is in seconds; None: the answer names no time.
    """

    def __init__(self, failure: Failure, text: str = "", retry_after: float | None = None) -> None:
        self.failure, self.text, self.retry_after = failure, text, retry_after
        super().__init__(failure)


class FakeDestination(abc.ABC):
    """A fake destination. Use it as a context manager, or `start()` and `stop()`; both keep the records."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.mistakes: list[str] = []
        """A sentence for each exception of `FakeCRM.answer`, after which the client sees only a cut connection."""
        self.in_hand = self.peak = 0
        """Number of requests in progress, and its maximum so far."""
        self._stopping = threading.Event()
        self._stopping.set()

    @abc.abstractmethod
    def records(self) -> dict[str, list[dict[str, Any]]]:
        """All stored records, by name of the entity."""

    def start(self) -> Self:
        """Start to answer. A fake with a server of its own starts to listen here too, each time on the same port."""
        self._stopping.clear()
        return self

    def stop(self) -> None:
        """Stop to answer, like a machine that fails. Requests that hang are cut.

        A fake with a server of its own stops to listen here too, and cuts its connections.
        """
        self._stopping.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def configure(self, options: Mapping[str, Any]) -> None:
        """Set attributes of the fake: the options of `POST /__fake__/configure`."""
        with self.lock:
            for name, value in options.items():
                if not hasattr(self, name):
                    raise ValueError(f"{type(self).__name__} has no option {name!r}")
                setattr(self, name, value)

    def fail(self, kind: FaultKind, **options: Any) -> Fault:
        """Add a fault (see `Fault`) and return it. Raises `ValueError` and `TypeError` for wrong options."""
        fault = Fault(kind, **options)
        with self.lock:
            self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Remove every fault."""
        with self.lock:
            self.faults.clear()

    def exchange(
        self, name: str, content: Any, work: Callable[[], T], *, reads: bool = False, timeout: float | None = None
    ) -> T:
        """One request of a transport without HTTP: record it, apply the faults, and return the result of `work`.

        `content` is everything that the plugin sent: a text, bytes, or values that JSON can hold. `reads` states that
        the request changes nothing. `timeout` is the time limit of the client in seconds, if the fake runs in the
        client's process; a fake with a server of its own leaves it None, and cuts the connection after an `OSError`.

        Raises `ConnectionRefusedError` if the fake is stopped, `ConnectionResetError` if the connection is cut,
        `TimeoutError` after `timeout` seconds, and `Failed` for a failure that the destination reports.
        """
        if self._stopping.is_set():
            raise ConnectionRefusedError("the fake is stopped")
        request = Request(READ if reads else WRITE, name, "", {}, _body(content))
        try:
            return self.under_faults(request, work, _failed, timeout)
        except Dropped:
            raise ConnectionResetError("the connection was cut") from None

    def under_faults(
        self, request: Request, work: Callable[[], T], faulty: Callable[[Response], T], timeout: float | None = None
    ) -> T:
        """Record a request, and return the result of `work`, or of `faulty` for the answer of a fault.

        Raises `Dropped` if the connection is cut, and `TimeoutError` if a fault lasts longer than `timeout` seconds.
        """
        with self.lock:
            self.in_hand += 1
            self.peak = max(self.peak, self.in_hand)
        try:
            return self._under_faults(request, work, faulty, timeout)
        finally:
            with self.lock:
                self.in_hand -= 1

    def _under_faults(
        self, request: Request, work: Callable[[], T], faulty: Callable[[Response], T], timeout: float | None
    ) -> T:
        with self.lock:
            self.requests.append(request)
            struck = [fault for fault in self.faults if fault.strikes(request)]
        for fault in (f for f in struck if f.when == "before"):
            if (response := self._suffer(fault, timeout)) is not None:
                return faulty(response)
        result = work()
        for fault in (f for f in struck if f.when == "after"):
            if (response := self._suffer(fault, timeout)) is not None:
                result = faulty(response)
        return result

    def _suffer(self, fault: Fault, timeout: float | None) -> Response | None:
        match fault.kind:
            case "latency":
                self._wait(fault.seconds, timeout)
                return None
            case "hang":
                self._wait(fault.seconds or None, timeout)
                raise Dropped
            case "drop":
                raise Dropped
            case "answer":
                return Response(fault.status, fault.body, fault.headers, fault.content_type)

    def _wait(self, seconds: float | None, timeout: float | None) -> None:
        """Wait for `seconds`, or until the fake stops. Raises `TimeoutError` after `timeout` seconds."""
        if timeout is None or (seconds is not None and seconds <= timeout):
            self._stopping.wait(seconds)
        elif not self._stopping.wait(timeout):
            raise TimeoutError("no answer within the time limit")


def _body(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content, default=str)).encode()


def _failed(response: Response) -> NoReturn:
    """Raise the failure that an answer in HTTP means."""
    text = response.body if isinstance(response.body, str) else response.body.decode("utf-8", "replace")
    answer = Answer(response.status, CaseInsensitiveDict(response.headers), b"")
    raise Failed(_OF_STATUS.get(response.status, Failure.UNREADABLE), text, answer.retry_after)

"""HTTP client for plugins, with one deadline for a request and its answer. It knows whether anything was sent.

`requests` alone does not do that. Its timeout restarts with every byte that arrives, and its exceptions do not
distinguish a request that was never sent from one whose answer was lost. Only the former may be repeated without a
look-up. Therefore this module watches the connections.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json as jsonlib
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.connection
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from crmgate.errors import Code, OutcomeUnknown, OutOfTime, ProviderError, Rejected, Unavailable
from crmgate.plugin_kit.bodies import LeanRequest, request_arguments

MAX_BODY = 1024 * 1024
"""Maximum size of an answer in bytes, if a plugin sets no other. A longer answer is an error."""

MAX_PACKET = 16 * 1024
"""Size in bytes up to which the head and the body of a request are sent together."""

Observer = Callable[[requests.PreparedRequest, "Answer | None"], None]
"""Receives a request as it was sent, with its answer; None: there was no answer."""

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)
_HTTP_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? ", re.ASCII)
_NO_TIME = "no time was left for another request"


@contextlib.contextmanager
def time_budget(seconds: float) -> Iterator[None]:
    """Limit the total time of all requests inside, in seconds. An outer budget with less time left takes precedence."""
    token = _deadline.set(min(time.monotonic() + seconds, _deadline.get()))
    try:
        yield
    finally:
        _deadline.reset(token)


@contextlib.contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Pass each request inside to `observer`, with its answer, to record it. The observer raises nothing."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def time_left() -> float:
    """Seconds that are left for requests in the hook that runs now; infinite outside a hook.

    After that time another process may send the operation. A plugin with its own transport sends nothing then, raises
    `OutOfTime`, and gives its client no longer timeout than this. `CRMProvider.request` does that by itself, and
    `CRMProvider.begin_request` does it for other transports.
    """
    return max(_deadline.get() - time.monotonic(), 0.0)


def wait(seconds: float) -> None:
    """Wait in a hook that an operator runs, such as `provision`. The hooks that deliver never wait.

    Raises `OutOfTime` if the hook has less time left.
    """
    if time_left() <= seconds:
        raise OutOfTime("the time of the hook ends before what it waits for")
    time.sleep(seconds)


@dataclass(frozen=True)
class Answer:
    """Complete answer of a CRM. `body` has at most `CRMProvider.MAX_BODY` bytes."""

    status: int
    headers: CaseInsensitiveDict[str]
    body: bytes

    @property
    def content_type(self) -> str:
        """Media type without parameters, in lower case."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """Seconds until the time in the header Retry-After (RFC 9110, 10.2.3), rounded up.

        A date is compared with the header Date, or with the clock if there is none. None without the header, and for a
        value that is invalid, negative or in the past.
        """
        value = self.headers.get("Retry-After", "").strip()
        if _SECONDS.fullmatch(value):
            return float(math.ceil(float(value)))
        until = _http_date(value)
        if until is None:
            return None
        now = _http_date(self.headers.get("Date", ""))
        wait = until - (time.time() if now is None else now)
        return float(math.ceil(wait)) if wait >= 0 else None

    @property
    def parsed(self) -> Any:
        """Body as JSON; None if it is not JSON, such as the HTML page of a proxy."""
        try:
            return self.json()
        except ValueError:
            return None

    def json(self) -> Any:
        """Body as JSON. Raises `ValueError` if it is not JSON."""
        try:
            return jsonlib.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


class Transport:
    """Sends requests, each within `timeout` seconds and within its time budget. Threads may share an instance.

    An answer has at most `max_body` bytes.
    """

    def __init__(self, timeout: float, max_body: int = MAX_BODY) -> None:
        self.timeout, self.max_body = timeout, max_body
        self._local = threading.local()

    def send(self, method: str, url: str, *, read: bool, **content: Any) -> Answer:
        """Send one request and return the complete answer; see `CRMProvider.request`. `read`: it changes nothing."""
        exchange = _Exchange(deadline=self.begin())
        token = _exchange.set(exchange)
        try:
            sent = request_arguments(**content)
            with self._session().request(method, url, **sent, timeout=exchange.left()) as response:
                answer = Answer(response.status_code, response.headers, _body(response, read, self.max_body))
                _observe(response.request, answer)
                return answer
        except (requests.RequestException, HTTPError, ValueError) as error:
            _observe(getattr(error, "request", None), None)
            failure = _failure(error, exchange, read)
        finally:
            _exchange.reset(token)
        raise failure  # not inside `except`: its context would be `error`, whose text contains addresses with secrets

    def used(self) -> int:
        """Number of requests that this thread sent since its previous call of `used`."""
        used: int = getattr(self._local, "used", 0)
        self._local.used = 0
        return used

    def begin(self) -> float:
        """Count a request, and return its deadline, a time of `time.monotonic`. Raises `OutOfTime`."""
        now = time.monotonic()
        if _deadline.get() - now <= 0.05:
            raise OutOfTime(_NO_TIME)
        self._local.used = getattr(self._local, "used", 0) + 1
        return min(now + self.timeout, _deadline.get())

    def _session(self) -> requests.Session:
        """The session of this thread: sessions of `requests` are not documented as thread-safe."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _Session()
        return session


class _Session(requests.Session):
    """A session without proxies and .netrc from the environment, and without redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["User-Agent"] = "crmgate"
        self._own_headers = dict(self.headers)  # reading a case-insensitive dictionary takes six calls for each header
        self.mount("http://", _Adapter())
        self.mount("https://", _Adapter())

    def request(  # type: ignore[override]
        self, method: str, url: str, *, timeout: float, headers: Mapping[str, str] | None = None, **content: Any
    ) -> requests.Response:
        """Send one request; the body of the answer is read later.

        `requests` would merge settings, hooks, proxies and cookies that this session does not have, for each request.
        """
        request = LeanRequest()
        request.prepare(method, url, headers={**self._own_headers, **(headers or {})}, cookies=self.cookies, **content)
        return self.send(request, timeout=timeout, stream=True, proxies=self.proxies, allow_redirects=False)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send one request. Hooks are removed: an `auth` such as HTTPDigestAuth would send a second one."""
        request.hooks = requests.hooks.default_hooks()
        return super().send(request, **options)

    def get_redirect_target(self, _resp: requests.Response) -> None:
        """None. Otherwise `requests` reads the whole body of a redirect, of any size, to prepare the next request."""


@dataclass
class _Exchange:
    """State of one request. `sent`: whether bytes may have been sent; None before a connection is used."""

    deadline: float
    sent: bool | None = None

    def left(self) -> float:
        """Seconds until the deadline. Never 0, which would mean no limit."""
        return max(self.deadline - time.monotonic(), 0.001)


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _TimedReader(io.RawIOBase):
    """Reads a socket until the deadline. The timeout of the socket itself restarts with every byte that arrives."""

    def __init__(self, connection: socket.socket, raw: io.RawIOBase) -> None:
        self._connection, self._raw, self._exchange = connection, raw, _exchange.get()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() >= self._exchange.deadline:
            raise TimeoutError("the deadline has passed")
        self._connection.settimeout(self._exchange.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_TimedReader(sock, self.fp.detach()))


class _Timed:
    """Mixin of connections: applies the deadline, and records whether anything was sent.

    The head and the body of a small request are sent together: one packet and one system call.
    """

    response_class: ClassVar[type[http.client.HTTPResponse]] = _TimedResponse
    sock: socket.socket | None
    _unsent: bytes | None = None  # of a request that is being written; else None

    def request(self, *args: Any, **options: Any) -> None:
        self._unsent = b""
        try:
            super().request(*args, **options)  # type: ignore[misc]
            self._flush()
        finally:
            self._unsent = None

    def connect(self) -> None:
        _exchange.get().sent = False
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        made.settimeout(_exchange.get().left())  # the remaining time is for TLS
        return made

    def send(self, data: Any) -> None:
        if self._unsent is not None and isinstance(data, bytes) and len(self._unsent) + len(data) <= MAX_PACKET:
            self._unsent += data
            return
        self._flush()
        self._send(data)

    def _flush(self) -> None:
        """Send what was written so far."""
        if self._unsent:
            data, self._unsent = self._unsent, b""
            self._send(data)

    def _send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        assert self.sock is not None
        exchange = _exchange.get()
        if not exchange.sent and time.monotonic() >= exchange.deadline:
            exchange.sent = False
            raise TimeoutError(_NO_TIME)
        self.sock.settimeout(exchange.left())
        exchange.sent = True
        super().send(data)  # type: ignore[misc]


class _Connection(_Timed, urllib3.connection.HTTPConnection):
    pass


class _TlsConnection(_Timed, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _observe(request: object, answer: Answer | None) -> None:
    observer = _observer.get()
    if observer and isinstance(request, requests.PreparedRequest):
        observer(request, answer)


def _http_date(value: str) -> float | None:
    """Seconds since the epoch of a date in one of the three formats of RFC 9110, 5.6.7; None for anything else."""
    parts = parsedate_tz(value) if _HTTP_DATE.match(value) else None
    try:
        return float(mktime_tz(parts)) if parts else None
    except (ValueError, OverflowError):
        return None


def _body(response: requests.Response, read: bool, longest: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > longest:
            detail = f"the answer is longer than {longest / MAX_BODY:g} MB"
            raise lost(read, Code.INVALID_RESPONSE, detail, response.status_code)
    return bytes(body)


def _failure(error: Exception, exchange: _Exchange, read: bool) -> ProviderError:
    """The `ProviderError` that `error` means, without addresses in its text."""
    late = isinstance(error, requests.Timeout) or time.monotonic() >= exchange.deadline
    tls = isinstance(error, requests.exceptions.SSLError)
    if not exchange.sent and isinstance(error, ValueError | requests.exceptions.InvalidJSONError):
        return Rejected(f"the request cannot be written: {type(error).__name__}", code=Code.INVALID_REQUEST)
    if exchange.sent is False or (exchange.sent is None and (tls or isinstance(error, requests.ConnectTimeout))):
        words = "no connection: the host is unknown, unreachable or not listening"
        if tls:
            words = "the TLS connection could not be made: check the certificate"
        elif late:
            words = "no connection within the time limit"
        return Unavailable(words, code=Code.CONNECTION_FAILED)
    if late:
        return lost(read, Code.TIMEOUT, "no answer within the time limit")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return lost(read, Code.INVALID_RESPONSE, "the answer cannot be decompressed")
    return lost(read, Code.CONNECTION_DROPPED, "the connection was cut before the answer was complete")


def lost(read: bool, code: Code, detail: str, status: int | None = None) -> ProviderError:
    """The error for a missing or unreadable answer: `Unavailable` if the request only `read`, else `OutcomeUnknown`."""
    kind = Unavailable if read else OutcomeUnknown
    return kind(detail, code=code, status=status)


def redirected(url: str, location: str, renamed: Callable[[str, str], bool]) -> str:
    """Target of a redirect; empty if the secret in `url` must not be sent there.

    The path must be equal. The target is the same host, by https on its default port or by the same port and a scheme
    that is not weaker. By https on the default port it can also be another host, if `renamed(old, new)` returns True.
    """
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        usual = there.scheme == "https" and there.port in (None, 443)
        unchanged = there.scheme in ("https", here.scheme) and there.port == here.port
    except ValueError:
        return ""
    same = there.hostname == here.hostname and (usual or unchanged)
    known = same or (usual and renamed(here.hostname or "", there.hostname or ""))
    # Built from the parsed parts, so that no second parser reads the address differently.
    target = f"{there.scheme}://{there.netloc}{here.path}"
    return target if known and there.path == here.path and "@" not in there.netloc and target != url else ""

"""HTTP for CRM plugins: one deadline for a whole exchange, and the knowledge whether anything was sent.

`requests` with its timeouts is not enough: a timeout of its own begins anew with every byte that drips in, and its
exceptions do not tell a request that never left from one whose answer got lost. Only the first may be sent again
without looking; so the connections are watched here.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json as jsonlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.connection
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from crmgate.errors import Code, OutcomeUnknown, OutOfTime, ProviderError, Rejected, Unavailable

MAX_BODY = 1024 * 1024
"""Bytes of a CRM's answer that are read; a longer one is refused."""

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


@contextlib.contextmanager
def time_budget(seconds: float) -> Iterator[None]:
    """Every request made inside shares this many seconds, or what is left of an outer budget if that is less."""
    token = _deadline.set(min(time.monotonic() + seconds, _deadline.get()))
    try:
        yield
    finally:
        _deadline.reset(token)


def time_left() -> float:
    """The seconds that are left for requests in the hook that runs now; infinite outside of one.

    When they are over, the operation may be in other hands: a plugin with a transport of its own must not send then.
    """
    return max(_deadline.get() - time.monotonic(), 0.0)


@dataclass(frozen=True)
class Answer:
    """What a CRM answered: `body` is whole, at most `MAX_BODY` bytes."""

    status: int
    headers: CaseInsensitiveDict[str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def retry_after(self) -> float | None:
        """The seconds that the header Retry-After asks for; None without one."""
        value = self.headers.get("Retry-After", "")
        return float(value) if value.isdigit() else None

    @property
    def parsed(self) -> Any:
        """The body as JSON, or None when it is none: a proxy in between may answer HTML."""
        try:
            return self.json()
        except ValueError:
            return None

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` when it is none."""
        try:
            return jsonlib.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deeply") from None


class Transport:
    """Sends requests, each within `timeout` seconds and within the time budget around it. Threads may share it."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._local = threading.local()

    def send(self, method: str, url: str, *, read: bool, **content: Any) -> Answer:
        """One request, and the whole answer to it; see `CRMProvider.request`. `read` says that it changes nothing."""
        exchange = _Exchange(deadline=self._deadline())
        self._local.used = getattr(self._local, "used", 0) + 1
        token = _exchange.set(exchange)
        try:
            with self._session().request(
                method, url, **content,
                timeout=exchange.left(), allow_redirects=False, stream=True,
            ) as response:  # fmt: skip
                return Answer(response.status_code, response.headers, _body(response, read))
        except (requests.RequestException, HTTPError, ValueError) as error:
            failure = _failure(error, exchange, read)
        finally:
            _exchange.reset(token)
        raise failure  # out here: raised above, it would carry `error` along, whose text holds addresses with secrets

    def used(self) -> int:
        """The requests that this thread sent since it asked last."""
        used: int = getattr(self._local, "used", 0)
        self._local.used = 0
        return used

    def _deadline(self) -> float:
        now = time.monotonic()
        if _deadline.get() - now <= 0.05:
            raise OutOfTime("no time was left for another request")
        return min(now + self.timeout, _deadline.get())

    def _session(self) -> requests.Session:
        """One session a thread: `requests` promises nothing about sharing one."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = _Session()
        return session


class _Session(requests.Session):
    """No proxy and no .netrc, only what the configuration says; and no look at where a redirect would lead."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.headers["User-Agent"] = "crmgate"
        self.mount("http://", _Adapter())
        self.mount("https://", _Adapter())

    def get_redirect_target(self, _resp: requests.Response) -> None:
        """None: else `requests` would read the whole body of a redirect, however long, only to prepare the next one."""


@dataclass
class _Exchange:
    """One request on the wire. `sent`: whether bytes may have left; None while no connection was needed or made."""

    deadline: float
    sent: bool | None = None

    def left(self) -> float:
        """Seconds until the deadline, never 0, which would mean no time limit at all."""
        return max(self.deadline - time.monotonic(), 0.001)


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _TimedReader(io.RawIOBase):
    """A socket that is read until the deadline. Its own timeout begins anew with every byte that drips in."""

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
    """For a connection: it keeps to the deadline, and says whether anything was sent."""

    response_class: ClassVar[type[http.client.HTTPResponse]] = _TimedResponse
    sock: socket.socket | None

    def connect(self) -> None:
        _exchange.get().sent = False
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        made.settimeout(_exchange.get().left())  # what connecting left of the time is for TLS
        return made

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        assert self.sock is not None
        self.sock.settimeout(_exchange.get().left())
        _exchange.get().sent = True
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


def _body(response: requests.Response, read: bool) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(65536):
        body += chunk
        if len(body) > MAX_BODY:
            raise lost(read, Code.INVALID_RESPONSE, "the answer is longer than 1 MB", response.status_code)
    return bytes(body)


def _failure(error: Exception, exchange: _Exchange, read: bool) -> ProviderError:
    """What `error` means, in words that hold no address. With a mocked transport its class alone has to tell."""
    late = isinstance(error, requests.Timeout) or time.monotonic() >= exchange.deadline
    tls = isinstance(error, requests.exceptions.SSLError)
    if not exchange.sent and isinstance(error, ValueError | requests.exceptions.InvalidJSONError):
        return Rejected(f"the request cannot be written: {type(error).__name__}", code=Code.INVALID_REQUEST)
    if exchange.sent is False or (exchange.sent is None and (tls or isinstance(error, requests.ConnectTimeout))):
        words = (
            "the TLS connection could not be made: check the certificate" if tls
            else "no connection within the time limit" if late
            else "no connection: the host is unknown, unreachable or not listening"
        )  # fmt: skip
        return Unavailable(words, code=Code.CONNECTION_FAILED)
    if late:
        return lost(read, Code.TIMEOUT, "no answer within the time limit")
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return lost(read, Code.INVALID_RESPONSE, "the answer cannot be decompressed")
    return lost(read, Code.CONNECTION_DROPPED, "the connection was cut before the answer was complete")


def lost(read: bool, code: Code, detail: str, status: int | None = None) -> ProviderError:
    """The error for an answer that never came: ambiguous, unless the request only read."""
    kind = Unavailable if read else OutcomeUnknown
    return kind(detail, code=code, status=status)


def redirected(url: str, location: str, renamed: Callable[[str, str], bool]) -> str:
    """The address that a redirect leads to; empty when a secret in `url` must not go there.

    The path has to be the same, and so has the place: this host by https on its usual port, or by the scheme and port
    in use. By https it may also be another host, if `renamed(old, new)` says that it is the same one by a new name.
    """
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        usual = there.scheme == "https" and there.port in (None, 443)
        unchanged = there.scheme in ("https", here.scheme) and there.port == here.port
    except ValueError:
        return ""
    same = there.hostname == here.hostname and (usual or unchanged)
    known = same or (usual and renamed(here.hostname or "", there.hostname or ""))
    # Put together here, so that no two parsers read one address differently.
    target = f"{there.scheme}://{there.netloc}{here.path}"
    return target if known and there.path == here.path and "@" not in there.netloc and target != url else ""

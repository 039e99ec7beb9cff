"""OAuth 2 (RFC 6749) for plugins: client credentials and refresh tokens, with a token that all processes share.

The token is in a `TokenStore`: in Redis, where one process gets a new token while the others use the old one or wait.
No token and no secret is in a log, an error, a traceback or a `repr`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol
from urllib.parse import quote_plus

from crmgate.errors import (
    AuthFailed,
    Code,
    LedgerUnavailable,
    OutOfTime,
    ProviderError,
    RateLimited,
    Unavailable,
)
from crmgate.plugin_kit.transport import Answer, time_left

log = logging.getLogger(__name__)

REFRESH_SECONDS = 400 * 24 * 3600
"""Seconds for which an unused refresh token is kept that the server issued in the place of an earlier one."""
USUAL_SECONDS = 3600.0
"""Lifetime of a token in seconds, if the server does not name it (`expires_in`)."""
MARGIN = 60.0
"""Largest number of seconds before its end from which a token is renewed; at most a tenth of its lifetime."""
LOCK_SECONDS = 60.0
"""Seconds for which one process has the right to renew a token, if it does not give it back."""
RETRY_SECONDS = 10.0
"""Seconds until the next try, if a token that is still valid could not be renewed."""
_POLL = 0.1  # seconds
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")  # no blanks: it is part of a header
_REFUSALS = frozenset({
    "access_denied", "invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client",
    "unsupported_grant_type",
})  # fmt: skip
_OUTAGES = frozenset({"server_error", "temporarily_unavailable", "slow_down"})
_CLIENT = {"grant_type": "client_credentials"}


class TokenStore(Protocol):
    """Where access tokens are kept, by the name of the credentials. Its methods raise `LedgerUnavailable`."""

    def read(self, name: str) -> str | None:
        """The text that was written last; None if there is none, or no longer."""

    def write(self, name: str, text: str, seconds: float) -> None:
        """Keep a text for `seconds`."""

    def locked(self, name: str, seconds: float) -> AbstractContextManager[bool]:
        """Whether the caller alone has the right to renew this token, in a `with` block, for at most `seconds`."""


class MemoryTokens:
    """A token store of one process: for tests, and for a provider that no gateway has started."""

    def __init__(self) -> None:
        self._texts, self._locked, self._guard = dict[str, str](), set[str](), threading.Lock()

    def __repr__(self) -> str:
        return "<MemoryTokens>"

    def read(self, name: str) -> str | None:
        """See `TokenStore`."""
        return self._texts.get(name)

    def write(self, name: str, text: str, seconds: float) -> None:  # noqa: ARG002 - the process ends first
        """See `TokenStore`."""
        self._texts[name] = text

    @contextmanager
    def locked(self, name: str, seconds: float) -> Iterator[bool]:  # noqa: ARG002 - the block always ends
        """See `TokenStore`."""
        with self._guard:
            taken = name not in self._locked
            self._locked.add(name)
        try:
            yield taken
        finally:
            if taken:
                self._locked.discard(name)


class Client(Protocol):
    """The part of a provider that `OAuth2` uses."""

    name: ClassVar[str]
    tokens: TokenStore
    request: Callable[..., Answer]
    conceal: Callable[[str], None]


@dataclass(frozen=True)
class _Grant:
    """A token that the server issued. Times are in seconds since the epoch."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    renew_at: float
    ends_at: float

    @property
    def due(self) -> bool:
        """Whether the token is to be renewed."""
        return time.time() >= self.renew_at

    def valid(self, refused: str) -> bool:
        """Whether a request can be sent with it. `refused` is a token that the CRM no longer accepts."""
        return time.time() < self.ends_at and self.access != refused


class OAuth2:
    """Sends requests with an access token, and renews it. Make it in `__init__` of the provider, and keep it there.

    With `refresh_token` the grant is `refresh_token`, and a refresh token that the server issues in its place is kept
    in the token store. Without it the grant is `client_credentials`. The secret goes into the header Authorization (RFC
    6749, 2.3.1), or into the body with `secret_in_body`; without a secret only the id is sent, in the body. `extra` has
    further fields of the token request, such as `audience`.
    """

    def __init__(
        self, provider: Client, token_url: str, client_id: str, client_secret: str = "", *, refresh_token: str = "",
        scope: str = "", secret_in_body: bool = False, extra: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._provider, self._url, self._refresh = provider, token_url, refresh_token
        self._form = {"scope": scope} if scope else {}
        self._form |= extra
        self._auth = None
        if secret_in_body or not client_secret:
            self._form |= {"client_id": client_id} | ({"client_secret": client_secret} if client_secret else {})
        else:
            self._auth = quote_plus(client_id), quote_plus(client_secret)
        credentials = json.dumps([provider.name, token_url, client_id, refresh_token, scope, dict(extra)])
        self._name = hashlib.sha256(f"crmgate oauth {credentials}".encode()).hexdigest()[:32]
        self._held: _Grant | None = None

    def __repr__(self) -> str:
        return f"<OAuth2 of {self._provider.name}>"

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, **content: Any
    ) -> Answer:  # fmt: skip
        """Send one request with a valid token; arguments, result and errors are those of `CRMProvider.request`.

        The answer 401 is a refusal before any work: the token is renewed, and the request is sent once more. A second
        401 is returned. Give `files` as bytes: an open file could not be sent again. Raises also `AuthFailed` if the
        server issues no token, and `OutOfTime` if another process renews the token for longer than the hook has time.
        """
        grant = self._held
        if grant is None or grant.due:
            grant = self._renewed("")
        answer = self._send(grant, method, url, headers, content)
        if answer.status != 401:
            return answer
        return self._send(self._renewed(grant.access), method, url, headers, content)

    def _send(
        self, grant: _Grant, method: str, url: str, headers: Mapping[str, str] | None, content: Mapping[str, Any]
    ) -> Answer:  # fmt: skip
        authorized = {**(headers or {}), "Authorization": f"Bearer {grant.access}"}
        return self._provider.request(method, url, headers=authorized, **content)

    def _renewed(self, refused: str) -> _Grant:
        """A valid token that is not `refused`. One process renews it; the others use the old one, or wait."""
        while True:
            known = self._latest()
            if known and known.valid(refused) and not known.due:
                return self._hold(known)
            with self._locked() as mine:
                if mine:
                    return self._hold(self._issued(refused))
            if known and known.valid(refused):
                return known
            if time_left() <= _POLL:
                raise OutOfTime("another process renews the access token")
            time.sleep(_POLL)

    def _issued(self, refused: str) -> _Grant:
        """A new token. The caller alone has the right to renew it."""
        known = self._latest()
        if known and known.valid(refused) and not known.due:
            return known  # another process was faster
        try:
            grant = self._asked(known)
        except AuthFailed:
            newer = self._latest()
            if newer is None or newer == known:
                raise
            return newer  # another process used the refresh token first
        except (Unavailable, RateLimited):
            if known is None or not known.valid(refused):
                raise
            return replace(known, renew_at=time.time() + RETRY_SECONDS)
        self._write(grant)
        return grant

    def _asked(self, known: _Grant | None) -> _Grant:
        """The token that the server issues now. Raises `ProviderError`."""
        refresh = (known.refresh if known else "") or self._refresh
        kind = {"grant_type": "refresh_token", "refresh_token": refresh} if refresh else _CLIENT
        answer = self._provider.request(
            "POST",
            self._url,
            data=self._form | kind,
            auth=self._auth,
            headers={"Accept": "application/json"},
            safe=True,
        )
        match answer.status, answer.parsed:
            case 200 | 201, {"access_token": str(access), **more} if _TOKEN.fullmatch(access) and _is_bearer(more):
                issued = more.get("refresh_token") if self._refresh else ""
                return _grant(access, issued if isinstance(issued, str) and issued else refresh, more.get("expires_in"))
        raise _refusal(answer)

    def _hold(self, grant: _Grant) -> _Grant:
        """Keep a token in this process."""
        self._provider.conceal(grant.access)
        self._provider.conceal(grant.refresh)
        self._held = grant
        return grant

    def _latest(self) -> _Grant | None:
        """The token of the store, or that of this process if it is newer: it could not be stored."""
        with _translated():
            stored = _read(self._provider.tokens.read(self._name))
        held = self._held
        return held if held and (stored is None or held.ends_at > stored.ends_at) else stored

    def _write(self, grant: _Grant) -> None:
        """Store a token. If that fails, this process uses it alone."""
        seconds = REFRESH_SECONDS if grant.refresh else max(grant.ends_at - time.time(), 1.0)
        try:
            self._provider.tokens.write(self._name, json.dumps(asdict(grant)), seconds)
        except LedgerUnavailable as error:
            log.warning("a new access token of %s is not stored (%s)", self._provider.name, error)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        with _translated(), self._provider.tokens.locked(self._name, LOCK_SECONDS) as mine:
            yield mine


def _grant(access: str, refresh: str, lifetime: Any) -> _Grant:
    """A token with its times. `lifetime` in seconds, as a number or as text."""
    try:
        seconds = min(max(float(lifetime), 0.0), float(REFRESH_SECONDS))
    except (TypeError, ValueError):
        seconds = USUAL_SECONDS
    now = time.time()
    return _Grant(access, refresh, now + seconds - min(MARGIN, seconds / 10), now + seconds)


def _read(text: str | None) -> _Grant | None:
    """The token in a text of the store; None if there is none, or if another version wrote it."""
    try:
        return _Grant(**json.loads(text)) if text else None
    except (TypeError, ValueError):
        return None


def _is_bearer(answer: Mapping[Any, Any]) -> bool:
    return str(answer.get("token_type", "bearer")).lower() == "bearer"


def _refusal(answer: Answer) -> ProviderError:
    """The error for an answer of the token endpoint without a token (RFC 6749, 5.2)."""
    status, body = answer.status, answer.parsed
    reason = str(body.get("error", "")) if isinstance(body, Mapping) else ""
    if status == 429:
        return RateLimited("the authorization server limits the rate", status=429, retry_after=answer.retry_after)
    if status == 401 or (status in (200, 400, 403) and reason and reason not in _OUTAGES):
        detail = "the authorization server issues no access token: correct the credentials"
        return AuthFailed(detail, status=status, vendor_code=reason if reason in _REFUSALS else "")
    detail = "no access token: the answer is not that of a working OAuth 2 token endpoint"
    return Unavailable(detail, code=Code.INVALID_RESPONSE, status=status)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn a failure of the token store into `Unavailable`: nothing was sent."""
    try:
        yield
    except LedgerUnavailable:
        raise Unavailable("the store of access tokens does not answer", code=Code.CONNECTION_FAILED) from None

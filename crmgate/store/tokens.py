"""API tokens: `cg_<id>_<secret>`, kept as SHA-256 and compared in constant time.

The secret has 256 random bits and is generated, never chosen by a person. It cannot be guessed, so one round of SHA-256
is enough: bcrypt and similar functions slow down guesses of chosen passwords, and would slow down every request too. A
text of any other form is not a token, so a weak one cannot be set up, not even by its hash.

Tokens are kept in Redis (`crmgate tokens new`), or as hashes in `API_TOKENS`; the latter also work while Redis is
unavailable.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial

import redis

from crmgate.errors import LedgerUnavailable
from crmgate.model import rfc3339
from crmgate.store import keys
from crmgate.store.audit import Action, Audit
from crmgate.store.clock import redis_time
from crmgate.store.keys import translated

FORM = re.compile(r"cg_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
FRESH = 5.0
"""Seconds for which a process trusts the tokens that it read: a revoked token works no longer than that."""
AGAIN = 1.0
"""Seconds between two reads because of unknown tokens: a flood of made-up tokens costs one read in that time."""
NOTED = 60.0
"""Seconds between two records of the last use of a token."""


IN_SETTINGS, IN_REDIS = "API_TOKENS", "Redis"
"""Where a token is kept."""


class Scope(StrEnum):
    """What a token may do; `operate` includes `read`."""

    READ = "read"
    """Read operations, metrics and the connection test."""
    OPERATE = "operate"
    """Change operations: retry, edit, discard."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. Times are seconds since the epoch; `id` is empty for one of `API_TOKENS`."""

    id: str
    name: str
    scope: str
    sha256: str = field(repr=False)
    created_at: float = 0.0
    last_used: float = 0.0

    def allows(self, scope: str) -> bool:
        """Whether the token may be used for an action of this scope."""
        return self.scope in (scope, Scope.OPERATE)

    def to_json(self) -> dict[str, str | None]:
        """The token for JSON, without its hash; null for what is unknown."""
        return {
            "id": self.id or None,
            "name": self.name,
            "scope": self.scope,
            "created_at": rfc3339(self.created_at) if self.created_at else None,
            "last_used": rfc3339(self.last_used) if self.last_used else None,
            "kept_in": IN_REDIS if self.id else IN_SETTINGS,
        }


def digest(text: str) -> str:
    """The hash that is kept of the token `text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def generate() -> tuple[str, str]:
    """A new token: its id and its text."""
    token_id = secrets.token_hex(4)
    return token_id, f"cg_{token_id}_{secrets.token_urlsafe(32)}"


def configured(entry: str) -> Token:
    """The token of an entry of `API_TOKENS`, `name:scope:sha256`. Raises `ValueError`, whose text repeats no secret."""
    name, _, rest = entry.partition(":")
    scope, _, kept = rest.partition(":")
    if not NAME.fullmatch(name) or scope not in tuple(Scope):
        raise ValueError("It is not name:scope:hash with the scope read or operate.")
    if not re.fullmatch(r"[0-9a-f]{64}", kept):
        raise ValueError(
            "Its hash is no SHA-256 in hexadecimal; a token itself does not belong here."
            " `crmgate tokens new --env` makes both."
        )
    return Token("", name, scope, kept)


class Tokens:
    """Verifies tokens and keeps those that the command line creates. Methods raise `LedgerUnavailable`."""

    def __init__(
        self, client: redis.Redis, fixed: tuple[Token, ...], audit: Audit, clock: Callable[[], float] | None = None
    ) -> None:
        """`clock` dates tokens and their use; None: Redis's clock."""
        self._redis, self._fixed, self._audit = client, fixed, audit
        self._clock = clock or partial(redis_time, client)
        self._lock = threading.Lock()
        self._known: Mapping[str, Token] = {}
        self._read_at = self._failed_at = float("-inf")
        self._noted: dict[str, float] = {}

    def verify(self, text: str) -> Token | None:
        """The token with this text, or None. Tokens of `API_TOKENS` never need Redis."""
        form = FORM.fullmatch(text)
        if not form:
            return None
        given, found = digest(text), None
        for token in self._fixed:
            if hmac.compare_digest(token.sha256, given):
                found = token
        if found:
            return found
        stored = self._lookup(form[1])
        if stored is None or not hmac.compare_digest(stored.sha256, given):
            return None
        self._note(stored)
        return stored

    def current(self, token_id: str, sha256: str) -> Token | None:
        """The token with this id and hash; None if it was revoked. The id is empty for a token of `API_TOKENS`."""
        known = self._fixed if not token_id else filter(None, [self._lookup(token_id)])
        return next((token for token in known if hmac.compare_digest(token.sha256, sha256)), None)

    def new(self, name: str, scope: str, who: str) -> tuple[Token, str]:
        """Create a token and keep its hash; the token and its text, which cannot be read again."""
        token_id, text = generate()
        token = Token(token_id, name, scope, digest(text), self._clock())
        record = {name: value for name, value in asdict(token).items() if name not in ("id", "last_used")}
        with self._audit.change(who, Action.TOKEN_NEW, token_id, f"{name}, {scope}") as pipe:
            pipe.hset(keys.TOKENS, token_id, json.dumps(record))
        return token, text

    def revoke(self, token_id: str, who: str) -> Token | None:
        """Delete a token; None if no token has this id."""
        token = self._read().get(token_id)
        if token is None:
            return None
        with self._audit.change(who, Action.TOKEN_REVOKE, token_id, f"{token.name}, {token.scope}") as pipe:
            pipe.hdel(keys.TOKENS, token_id)
            pipe.hdel(keys.TOKENS_USED, token_id)
        return token

    def all(self) -> list[Token]:
        """All tokens: those of `API_TOKENS`, then those in Redis by their age."""
        return [*self._fixed, *sorted(self._read().values(), key=lambda token: (token.created_at, token.name))]

    @property
    def fixed(self) -> tuple[Token, ...]:
        """The tokens of `API_TOKENS`."""
        return self._fixed

    def _lookup(self, token_id: str) -> Token | None:
        with self._lock:
            now = time.monotonic()
            age = now - self._read_at
            if age > FRESH or (age > AGAIN and token_id not in self._known):
                self._refresh(now)
            return self._known.get(token_id)

    def _refresh(self, now: float) -> None:
        if now - self._failed_at < AGAIN:
            raise LedgerUnavailable("a moment ago")
        try:
            self._known, self._read_at = self._read(), now
        except LedgerUnavailable:
            self._failed_at = time.monotonic()
            raise

    def _read(self) -> dict[str, Token]:
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.hgetall(keys.TOKENS)
            pipe.hgetall(keys.TOKENS_USED)
            records, used = pipe.execute()
        return {
            i.decode(): Token(id=i.decode(), last_used=float(used.get(i, 0)), **json.loads(record))
            for i, record in records.items()
        }

    def _note(self, token: Token) -> None:
        """Record the last use of a token, so that an operator sees which tokens are unused."""
        now = time.monotonic()
        if now - self._noted.get(token.id, float("-inf")) > NOTED:
            self._noted[token.id] = now
            try:
                at = str(round(self._clock(), 3))
                with translated():
                    self._redis.hset(keys.TOKENS_USED, token.id, at)
            except LedgerUnavailable:
                pass  # nothing depends on it

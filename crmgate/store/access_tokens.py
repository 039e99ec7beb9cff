"""Access tokens for the CRM in Redis, which all processes share (`crmgate.plugin_kit.oauth.TokenStore`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from crmgate.store import keys
from crmgate.store.keys import translated
from crmgate.store.vault import Undecryptable, Vault


class AccessTokens:
    """Reads and writes access tokens. Every method raises `LedgerUnavailable`.

    `vault` encrypts them. A token that it does not decrypt counts as absent: a new one is asked for.
    """

    def __init__(self, client: redis.Redis, vault: Vault | None = None) -> None:
        self._redis, self._vault = client, vault or Vault()

    def read(self, name: str) -> str | None:
        """The text that was written last under this name; None if there is none, or no longer."""
        with translated():
            stored: bytes | None = self._redis.get(keys.access_token(name))  # type: ignore[assignment]
        if stored is None:
            return None
        try:
            return self._vault.unseal(stored)
        except Undecryptable:
            return None

    def write(self, name: str, text: str, seconds: float) -> None:
        """Keep a text for `seconds`, at most `ACCESS_TOKEN_SECONDS`."""
        expiry = max(1, round(min(seconds, keys.ACCESS_TOKEN_SECONDS)))
        with translated():
            self._redis.set(keys.access_token(name), self._vault.seal(text), ex=expiry)

    @contextmanager
    def locked(self, name: str, seconds: float) -> Iterator[bool]:
        """Whether this process alone may renew the token, in a `with` block, for at most `seconds`.

        Redis removes the lock after that time. It is removed here only if another process cannot have it yet.
        """
        begun, key = time.monotonic(), keys.access_token_lock(name)
        with translated():
            mine = bool(self._redis.set(key, "1", nx=True, ex=max(1, round(seconds))))
        try:
            yield mine
        finally:
            if mine and time.monotonic() - begun < seconds / 2:
                with translated():
                    self._redis.delete(key)

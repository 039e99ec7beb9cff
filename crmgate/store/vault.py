"""Encrypts payloads at rest with the keys of `PAYLOAD_KEYS` (Fernet, https://github.com/fernet/spec).

An encrypted text is `sealed:<id of the key>:<Fernet token>`. The id is a part of the SHA-256 of the key: it says which
key is needed, also to a script in Redis, and discloses nothing. Everything else, such as JSON, is plain text.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_SEALED = "sealed:"
_KEY_BYTES = 32


class Undecryptable(Exception):
    """A text that no key decrypts. The message names the key that is missing, and contains nothing of the text."""


class Vault:
    """Encrypts with the first of its keys, and decrypts with all of them. Without a key it writes plain text."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        """`keys` are valid Fernet keys (`is_key`)."""
        self._ciphers: Mapping[str, Fernet] = _ciphers(keys) if keys else {}
        self.current = key_id(keys[0]) if keys else ""
        """Id of the key that encrypts; empty: nothing is encrypted."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys."""
        return tuple(self._ciphers)

    def seal(self, text: str | bytes) -> str:
        """The text, encrypted with the first key; unchanged without a key."""
        plain = text.encode() if isinstance(text, str) else text
        if not self.current:
            return plain.decode()
        return f"{_SEALED}{self.current}:{self._ciphers[self.current].encrypt(plain).decode()}"

    def unseal(self, stored: str | bytes) -> str:
        """The text that `seal` got; a plain text is returned unchanged. Raises `Undecryptable`."""
        text = stored if isinstance(stored, str) else stored.decode()
        if not text.startswith(_SEALED):
            return text
        identifier, _, token = text.removeprefix(_SEALED).partition(":")
        if identifier not in self._ciphers:
            raise Undecryptable(missing(identifier))
        return _decrypted(self._ciphers[identifier], token, identifier)

    def is_current(self, stored: str | bytes) -> bool:
        """Whether `seal` would encrypt with the key with which this text is encrypted."""
        text = stored if isinstance(stored, str) else stored.decode()
        return bool(self.current) and text.startswith(f"{_SEALED}{self.current}:")


def new_key() -> str:
    """A new key, for `PAYLOAD_KEYS`."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def is_key(text: str) -> bool:
    """Whether the text is a Fernet key: 32 bytes in the URL-safe Base64 of RFC 4648."""
    return bool(re.fullmatch(r"[A-Za-z0-9_-]{43}=", text))


def key_id(key: str) -> str:
    """The id of a key: eight hexadecimal digits. It is no secret."""
    return hashlib.sha256(base64.urlsafe_b64decode(key)).hexdigest()[:8]


def missing(identifier: str) -> str:
    """The sentence for a text that is encrypted with a key which `PAYLOAD_KEYS` lacks."""
    return f"the payload is encrypted with the key {identifier}, which PAYLOAD_KEYS lacks: add that key and restart"


def _ciphers(keys: Sequence[str]) -> dict[str, Fernet]:
    # Imported here because the import is slow, and a gateway without keys does not need it.
    from cryptography.fernet import Fernet

    return {key_id(key): Fernet(key) for key in keys}


def _decrypted(cipher: Fernet, token: str, identifier: str) -> str:
    from cryptography.fernet import InvalidToken

    try:
        return cipher.decrypt(token.encode()).decode()
    except InvalidToken:
        pass
    raise Undecryptable(f"the payload is damaged: the key {identifier} does not decrypt it")

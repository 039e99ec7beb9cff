"""The file of a backup: JSON Lines, with its format in the first line, and counts and a digest in the last one.

With a key each line except the first one is encrypted (a Fernet token, https://github.com/fernet/spec). The digest
finds a file that is truncated or damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

from crmgate import __version__
from crmgate.errors import UnusableBackup
from crmgate.model import rfc3339

FORMAT = 1
"""Format of the backups that this version writes. It restores this format and older ones."""
NEW_KEY = "openssl rand -base64 32 | tr '+/' '-_'"
"""Shell command that prints a new key."""
_TRUNCATED = "is not complete: its end is missing"
_DAMAGED = "is damaged"


class Cipher(Protocol):
    """Encrypts and decrypts a line: `cryptography.fernet.Fernet`."""

    def encrypt(self, data: bytes) -> bytes: ...
    def decrypt(self, token: bytes) -> bytes: ...


def cipher(key_file: Path) -> Cipher:
    """The cipher with the key in a file. Raises `ValueError` if it has no key, and `OSError`."""
    from cryptography.fernet import Fernet

    try:
        return Fernet(key_file.read_bytes().strip())
    except ValueError:
        raise ValueError(f"{key_file} has no key of 32 bytes in URL-safe Base64. A new one: {NEW_KEY}") from None


@dataclass(frozen=True, slots=True)
class Contents:
    """Numbers of operations by state, and of lines with other keys."""

    operations: dict[str, int] = field(default_factory=dict)
    entries: int = 0

    @property
    def total(self) -> int:
        """Number of operations and receipts."""
        return sum(self.operations.values())


class Manifest:
    """Counts and digests the lines of a backup, the first one included."""

    def __init__(self) -> None:
        self._states: Counter[str] = Counter()
        self._entries, self._digest = 0, hashlib.sha256()

    def add(self, line: bytes, record: dict[str, Any]) -> None:
        """Count a line, given without its line feed."""
        self._digest.update(line + b"\n")
        if "operation" in record:
            self._states[record["fields"]["state"]] += 1
        elif "key" in record:
            self._entries += 1

    @property
    def contents(self) -> Contents:
        """What was counted."""
        return Contents(dict(sorted(self._states.items())), self._entries)

    def end(self) -> dict[str, Any]:
        """The last line of the file."""
        return {"end": asdict(self.contents) | {"sha256": self._digest.hexdigest()}}


class Writer:
    """Writes a backup that is made at the time `at`, in seconds since the epoch. Raises `OSError`."""

    def __init__(self, file: BinaryIO, at: float, cipher: Cipher | None) -> None:
        self._file, self._cipher, self._manifest = file, cipher, Manifest()
        first = {
            "crmgate_backup": FORMAT, "made_by": __version__, "made_at": rfc3339(at), "encrypted": cipher is not None,
        }  # fmt: skip
        line = _json(first)
        self._manifest.add(line, first)
        file.write(line + b"\n")

    def add(self, record: dict[str, Any]) -> None:
        """Write a line."""
        line = _json(record)
        self._manifest.add(line, record)
        self._write(line)

    def end(self) -> Contents:
        """Write the last line. Returns what the file has."""
        self._write(_json(self._manifest.end()))
        return self._manifest.contents

    def _write(self, line: bytes) -> None:
        self._file.write((self._cipher.encrypt(line) if self._cipher else line) + b"\n")


@dataclass(frozen=True, slots=True)
class Archive:
    """A complete backup in a file that can be read several times."""

    made_at: str
    contents: Contents
    _file: BinaryIO
    _cipher: Cipher | None

    @classmethod
    def open(cls, file: BinaryIO, cipher: Cipher | None) -> Self:
        """Read the whole file and check it. Raises `UnusableBackup`."""
        file.seek(0)
        line = file.readline().rstrip(b"\n")
        first, manifest = _header(line, cipher), Manifest()
        manifest.add(line, first)
        end: dict[str, Any] | None = None
        for line, record in _lines(file, cipher):
            if end:
                raise UnusableBackup(_DAMAGED)
            if "end" in record:
                end = record
            else:
                manifest.add(line, record)
        if end is None:
            raise UnusableBackup(_TRUNCATED)
        if end != manifest.end():
            raise UnusableBackup(_DAMAGED)
        return cls(first["made_at"], manifest.contents, file, cipher)

    def records(self, kind: str) -> Iterator[dict[str, Any]]:
        """The lines with an `operation` or with a `key`, in their order."""
        self._file.seek(0)
        self._file.readline()
        for _, record in _lines(self._file, self._cipher):
            if kind in record:
                yield record


def _header(line: bytes, cipher: Cipher | None) -> dict[str, Any]:
    """The first line. Raises `UnusableBackup` if it is none, or does not go with the version or the key."""
    try:
        first = json.loads(line)
        number = int(first["crmgate_backup"])
    except (ValueError, KeyError, TypeError):
        raise UnusableBackup("is not a backup of crmgate") from None
    if number > FORMAT:
        by = first.get("made_by")
        raise UnusableBackup(f"was made by a newer version of crmgate ({by}): update crmgate, then restore it")
    if first["encrypted"] and not cipher:
        raise UnusableBackup("is encrypted: name the file with its key (--key-file)")
    if cipher and not first["encrypted"]:
        raise UnusableBackup("is not encrypted: leave --key-file out")
    return dict(first)


def _lines(file: BinaryIO, cipher: Cipher | None) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The lines after the first one, decrypted, each with its record."""
    for stored in file:
        if not stored.endswith(b"\n"):
            raise UnusableBackup(_TRUNCATED)
        line = _decrypted(stored.rstrip(b"\n"), cipher)
        try:
            yield line, json.loads(line)
        except ValueError:
            raise UnusableBackup(_DAMAGED) from None


def _decrypted(line: bytes, cipher: Cipher | None) -> bytes:
    if cipher is None:
        return line
    from cryptography.fernet import InvalidToken

    try:
        return cipher.decrypt(line)
    except InvalidToken:
        raise UnusableBackup("has another key, or is damaged") from None


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()

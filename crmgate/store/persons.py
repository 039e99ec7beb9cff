"""The index of persons: finds and erases what Redis keeps about an email or a phone (`lua/person.lua`).

The scripts of the ledger write the index in the step that accepts, changes or ends an operation. A person is known by
keyed digests, here called references. A reference is no personal data to somebody without the secret key in Redis, so
it may be in a URL.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from crmgate.store import keys
from crmgate.store.audit import Entry, for_scripts, report
from crmgate.store.keys import translated
from crmgate.store.ledger import Ledger

REFERENCE = re.compile(r"p[0-9a-f]{31}")
"""The form of a reference."""
RENEWED = 100
"""Number of operations that one call of `renew` looks at."""
_BLOCK = 64
_SESSION = "s:"


@dataclass(frozen=True, slots=True)
class VisitorSession:
    """A session of a person: its digest, and the record in the CRM that its operations are about; empty: none."""

    digest: str
    provider: str
    record_id: str


@dataclass(frozen=True, slots=True)
class Traces:
    """Operations (ids) and sessions in the index. `more`: the index has more than were asked for."""

    operations: tuple[str, ...]
    sessions: tuple[VisitorSession, ...]
    more: bool


class PersonIndex:
    """Reads the index, and erases from it. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, ledger: Ledger) -> None:
        self._redis, self._ledger = client, ledger
        self._place = 0

    def references(self, digests: Sequence[str]) -> tuple[str, ...]:
        """The references for plain digests of an email or phone; none while Redis has no key, and so no index."""
        with translated():
            secret: bytes | None = self._redis.get(keys.PERSON_KEY)  # type: ignore[assignment]
        return tuple(reference(secret, digest) for digest in digests) if secret else ()

    def traces(self, references: Sequence[str], limit: int) -> Traces:
        """At most `limit` members of each index; those that are kept longest."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for each in references:
                pipe.zrange(keys.person(each), 0, limit, desc=True)
            rows = pipe.execute()
        members = [member.decode() for row in rows for member in row[:limit]]
        unique = list(dict.fromkeys(members))
        sessions = [member.removeprefix(_SESSION) for member in unique if member.startswith(_SESSION)]
        operations = tuple(member for member in unique if not member.startswith(_SESSION))
        return Traces(operations, self._sessions(sessions), any(len(row) > limit for row in rows))

    def erase(self, found: Traces, references: Sequence[str], audit: Entry) -> int:
        """Remove ended operations from the index, and delete the sessions; `audit` is written in the same step.

        Returns the number of operations that were left because they have not ended.
        """
        arguments = {
            "ids": list(found.operations), "sessions": [one.digest for one in found.sessions],
            "persons": list(references), **for_scripts(audit),
        }  # fmt: skip
        left = self._ledger.on_many("erase", arguments)
        report(audit)
        return left

    def renew(self) -> int:
        """Bring the next `RENEWED` operations into the index that the previous version accepted or ended.

        Each call continues after the last one, and begins again at the oldest operation after the newest. Returns the
        number of operations that were changed.
        """
        with translated():
            rows: list[bytes] = self._redis.zrange(keys.OPS, self._place, self._place + RENEWED - 1)  # type: ignore[assignment]
        self._place = self._place + len(rows) if len(rows) == RENEWED else 0
        ids = [row.decode() for row in rows]
        return self._ledger.on_many("reindex", {"ids": ids}) if ids else 0

    def _sessions(self, digests: Sequence[str]) -> tuple[VisitorSession, ...]:
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for digest in digests:
                pipe.exists(keys.session(digest))
                pipe.hmget(keys.session(digest), ["provider", "record"])
            answers: list[Any] = pipe.execute()
        found = zip(digests, answers[::2], answers[1::2], strict=True)
        return tuple(
            VisitorSession(digest, (provider or b"").decode(), (record or b"").decode())
            for digest, there, (provider, record) in found if there
        )  # fmt: skip

    def forget_meters(self, contacts: Sequence[str]) -> None:
        """Delete the meters of the rate limit of persons for emails and phones in lower case."""
        with translated():
            for contact in contacts:
                self._redis.delete(keys.limit("person", keys.digest(f"person {contact}")))


def reference(secret: bytes, digest: str) -> str:
    """The keyed digest of a plain digest, as `keyed` in `lua/person.lua` computes it."""
    inner = _sha1(secret[:_BLOCK] + digest.encode())
    return f"p{_sha1(secret[_BLOCK:] + inner.encode())[:31]}"


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()  # noqa: S324 - the only hash of Redis's Lua; the digest is keyed

"""Recognises a repeated submission, its session and its person by digests: Redis's keys hold no personal data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from crmgate.model import Kind, Operation
from crmgate.store.entries import Once, Session
from crmgate.store.keys import IDEMPOTENCY_SECONDS, digest


def once(operation: Operation, content: Any, key: str, repeats: float, scope: str = "") -> Once | None:
    """The identity of a submission: its idempotency key for a day, else its content for `repeats` seconds.

    The same `key` in another `scope` is another key. `content` is what the sender sent; None: the payload.
    """
    text = _canonical([operation.kind, operation.payload if content is None else content])
    if key:
        # The previous version had no scopes, and its processes may still run during an upgrade.
        former = _key_digest(key, "") if scope else ""
        return Once(_key_digest(key, scope), digest(text), IDEMPOTENCY_SECONDS, keyed=True, former=former)
    return Once(digest(f"content {text}"), digest(text), round(repeats)) if repeats else None


_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def session(operation: Operation, follow: Kind | None, persons: Sequence[str]) -> Session | None:
    """The session of a submission about `persons` (`people`).

    `follow`: kind of the operation if the session has a lead, None if unsupported.
    """
    name = operation.payload.get("session")
    if not name:
        return None
    own = digest(" ".join((f"session {name} of", *persons[:1])))
    return Session(visit(name), follow or "", own)


def visit(session: str) -> str:
    """Digest of the session that a site named; empty for none."""
    return digest(f"session {session}") if session else ""


def people(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Digests of the email, in lower case, and the phone of a submission. Operations that share one go in order."""
    words = [str(payload.get(fact) or "").lower() for fact in ("email", "phone")]
    return tuple([digest(f"who {word}") for word in words if word])


def of_suspect(digest: str) -> str:
    """The mark of a suspect in the spool for the digest of a person: nothing waits for a suspect."""
    return f"suspect {digest}"


def _key_digest(key: str, scope: str) -> str:
    return digest(f"scope {json.dumps([scope, key])}" if scope else f"key {key}")

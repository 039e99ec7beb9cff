"""Recognises a repeated submission and its session by digests, so that Redis's keys hold no personal data."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from crmgate.model import Kind, Operation
from crmgate.store.entries import Once, Session
from crmgate.store.keys import IDEMPOTENCY_SECONDS, idem


def once(operation: Operation, said: Any, key: str, repeats: float, scope: str = "") -> Once | None:
    """The identity of a submission: its idempotency key for a day, else its content for `repeats` seconds.

    The same `key` in another `scope` is another key.
    """
    said = operation.payload if said is None else said
    content = json.dumps([operation.kind, said], sort_keys=True, ensure_ascii=False)
    digest = _digest(content)
    if key:
        # The previous version had no scopes, and its processes may still run during an upgrade.
        former = _key_digest(key, "") if scope else ""
        return Once(_key_digest(key, scope), digest, IDEMPOTENCY_SECONDS, keyed=True, former=former)
    return Once(_digest(f"content {content}"), digest, round(repeats)) if repeats else None


def session(operation: Operation, follow: Kind | None) -> Session | None:
    """The session of a submission. `follow`: kind of the operation if the session has a lead, None if unsupported."""
    name = operation.payload.get("session")
    if not name:
        return None
    words = (str(operation.payload.get(fact) or "").lower() for fact in ("email", "phone"))
    who = tuple(_digest(f"who {word}") for word in words if word)
    own = _digest(" ".join((f"session {name} of", *who[:1])))
    return Session(_digest(f"session {name}"), who, follow or "", own)


def known_by(key: str, scope: str = "") -> str:
    """Name of the Redis key for an idempotency key of a scope."""
    return idem(_key_digest(key, scope))


def _key_digest(key: str, scope: str) -> str:
    return _digest(f"scope {json.dumps([scope, key])}" if scope else f"key {key}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

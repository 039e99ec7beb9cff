"""Recognises a repeated submission and its session by digests, so that Redis's keys hold no personal data."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from crmgate.model import Kind, Operation
from crmgate.store.entries import Once, Session
from crmgate.store.keys import IDEMPOTENCY_SECONDS, idem


def once(operation: Operation, said: Any, key: str, repeats: float) -> Once | None:
    """The identity of a submission: its idempotency key for a day, else its content for `repeats` seconds."""
    said = operation.payload if said is None else said
    content = json.dumps([operation.kind, said], sort_keys=True, ensure_ascii=False)
    digest = _digest(content)
    if key:
        return Once(_key_digest(key), digest, IDEMPOTENCY_SECONDS)
    return Once(_digest(f"content {content}"), digest, round(repeats)) if repeats else None


def session(operation: Operation, follow: Kind | None) -> Session | None:
    """The session of a submission. `follow`: kind of the operation if the session has a lead, None if unsupported."""
    name = operation.payload.get("session")
    if not name:
        return None
    who = (str(operation.payload.get(fact) or "").lower() for fact in ("email", "phone"))
    return Session(_digest(f"session {name}"), tuple(_digest(f"who {word}") for word in who if word), follow or "")


def known_by(key: str) -> str:
    """Name of the Redis key for an idempotency key."""
    return idem(_key_digest(key))


def _key_digest(key: str) -> str:
    return _digest(f"key {key}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

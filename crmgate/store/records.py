"""Reads the hash of an operation in Redis.

The previous version has other names for some fields: `tries` (version), `attempt:N` (event:N), `after` (behind) and
`next` (ahead_of). The scripts rename them when they touch a record (`renew` in `lua/common.lua`); both are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from crmgate.model import Delivered, Event, Kind, Operation, State, Suspicion
from crmgate.store.entries import Claim
from crmgate.store.vault import Undecryptable, Vault


def to_operation(operation_id: str, fields: Mapping[bytes, bytes], vault: Vault) -> Operation | None:
    """The operation that a hash of the ledger holds; None for an empty one."""
    if not fields:
        return None
    return from_fields(operation_id, {name.decode(): value for name, value in fields.items()}, vault)


def to_claim(answer: list[Any], lease: str, vault: Vault) -> Claim:
    """The claim that a script answered (`lua/take.lua`): of one operation, or of several that are sent together."""
    if answer[0] != b"batch":
        return _one_claim(answer, lease, vault)
    first, *others = answer[1:]
    leased = (_one_claim(other, f"{lease}-{number}", vault) for number, other in enumerate(others, 2))
    return replace(_one_claim(first, lease, vault), others=tuple(leased))


def _one_claim(answer: list[bytes], lease: str, vault: Vault) -> Claim:
    _, operation_id, at, look, settles_at, *fields = answer
    operation, used_up, sent_as = from_pairs(operation_id.decode(), fields, vault)
    return Claim(operation, lease, look == b"1", used_up, float(at), float(settles_at), sent_as)


def from_pairs(operation_id: str, flat: list[bytes], vault: Vault) -> tuple[Operation, int, Kind | None]:
    """The operation in a list of field, value, field, value ...

    Also the number of its retries that are used up, and another kind in which it may have been sent.
    """
    fields = {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
    sent_as = _text(fields, "sent_as")
    used_up = int(fields.get("counted", 0))
    return from_fields(operation_id, fields, vault), used_up, Kind.read(sent_as) if sent_as else None


def from_fields(operation_id: str, fields: Mapping[str, bytes], vault: Vault) -> Operation:
    """The operation that the fields of a record hold. A payload that `vault` cannot decrypt is empty."""
    payload, unreadable = read_payload(vault, fields.get("payload", b"{}"))
    delivered, suspicion = fields.get("delivered"), _text(fields, "suspicion")
    return Operation(
        id=operation_id,
        kind=Kind.read(fields["kind"].decode()),
        payload=payload,
        accepted_at=float(fields["accepted_at"]),
        state=State.read(fields["state"].decode()),
        due_at=float(fields.get("due_at", 0)),
        events=(*_events(fields, "event:"), *_events(fields, "attempt:")),
        delivered=Delivered.from_dict(json.loads(delivered)) if delivered else None,
        lead_id=_text(fields, "lead_id"),
        provider=_text(fields, "provider"),
        behind=_text(fields, "behind") or _text(fields, "after"),
        ahead_of=_text(fields, "ahead_of") or _text(fields, "next"),
        returns=int(fields.get("returns", 0)),
        dead_at=float(fields.get("dead_at", 0)),
        version=int(fields.get("version", 0)) + int(fields.get("tries", 0)),
        suspicion=Suspicion.read(suspicion) if suspicion else None,
        repairs=int(fields.get("repairs", 0)),
        unreadable=unreadable,
    )


def read_payload(vault: Vault, stored: bytes) -> tuple[Mapping[str, Any], str]:
    """The payload of its stored text, and the reason why it cannot be read; one of the two is empty."""
    try:
        return json.loads(vault.unseal(stored)), ""
    except Undecryptable as error:
        return {}, str(error)


def _text(fields: Mapping[str, bytes], name: str) -> str:
    return fields.get(name, b"").decode()


def _events(fields: Mapping[str, bytes], prefix: str) -> Iterator[Event]:
    numbers = sorted(int(name.removeprefix(prefix)) for name in fields if name.startswith(prefix))
    return (Event.from_dict(json.loads(fields[f"{prefix}{number}"])) for number in numbers)

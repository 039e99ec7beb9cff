"""Steps of a ledger with a provider in tests of the ledger, at the time `NOW` unless another one is given."""

from __future__ import annotations

from dataclasses import replace

import redis

from crmgate.model import Delivered, Event, Kind, Operation, new_id
from crmgate.store.entries import Claim, GateEvent, NotClaimed, Recorded, Result, Swept
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from tests import world

NOW = 1_800_000_000.0
FAILED = Result(Event(NOW, 0.5, "espocrm", "failed", "timeout"))
AWAY = replace(FAILED, event=GateEvent("unavailable"), outage=True)
REFUSED = Result(
    Event(NOW, 0.5, "espocrm", "failed", "bad_credentials", counted=False),
    event=GateEvent("login_refused", "bad_credentials"),
)
INVALID = Result(
    Event(NOW, 0.5, "espocrm", "failed", "invalid_value"), event=GateEvent("refusal", "invalid_value city")
)
LIMITED = Result(Event(NOW, 0.5, "espocrm", "failed", "rate_limited", counted=False), event=GateEvent("limited"))
WELL = Result(Event(NOW, 0.5, "espocrm", "delivered"), event=GateEvent("delivered"))
ESPO, BITRIX = Recipient("espocrm", "c1"), Recipient("bitrix", "c1")
RECORD = Delivered("espocrm", "6b03", "https://crm.example.com/#Lead/view/6b03")


def operation(**changes: object) -> Operation:
    payload = {"first_name": "Ayşe", "email": "canary@example.com"}
    return replace(Operation(new_id(), Kind.CREATE_LEAD, payload, NOW), **changes)  # type: ignore[arg-type]


def accept(ledger: Ledger, *, at: float = NOW, **options: object) -> Operation:
    accepted = operation(accepted_at=at)
    with world.at(ledger, at):
        assert ledger.accept(accepted, ESPO, **({"alarm": 0} | options)).what != "exists"  # type: ignore[arg-type]
    return accepted


def claim(ledger: Ledger, operation_id: str, lease: str = "L1", now: float = NOW) -> Claim | NotClaimed:
    with world.at(ledger, now):
        return ledger.claim(operation_id, ESPO, lease, seconds=20)


def stored(ledger: Ledger, operation_id: str) -> Operation:
    found = ledger.get(operation_id)
    assert found is not None
    return found


def sweep(ledger: Ledger, now: float, again: float = 8, **options: int) -> Swept:
    with world.at(ledger, now):
        return ledger.sweep(ESPO, again=again, lease=20, wait=900, **options)


def probe(ledger: Ledger, began: float, *, ok: bool) -> Recorded:
    """Record a connection test that took a second."""
    with world.at(ledger, began + 1):
        return ledger.record_probe(ESPO, began=began, ok=ok, refused=not ok, used=1)


def lease(operation: Operation, token: str) -> Claim:
    """The lease that an earlier claim got."""
    return Claim(operation, token, look_first=False, counted=0, at=NOW)


def verify(ledger: Ledger) -> None:
    """Let the credentials in use prove themselves: those that never worked are tried by one operation at a time."""
    for to in (ESPO, BITRIX):
        first = operation()
        ledger.accept(first, to, alarm=0, lease="V", seconds=8)
        ledger.record_delivered(lease(first, "V"), to, WELL, RECORD)


def alarm(client: redis.Redis, operation_id: str) -> float | None:
    return client.zscore("{crmgate}:due", operation_id)  # type: ignore[return-value]


def held(client: redis.Redis) -> list[str]:
    return [member.decode() for member in client.zrange("{crmgate}:held:espocrm", 0, -1)]  # type: ignore[union-attr]


def tried(client: redis.Redis) -> list[str]:
    return [member.decode() for member in client.zrange("{crmgate}:tried:espocrm", 0, -1)]  # type: ignore[union-attr]

"""Makes many dead letters with the methods of the ledger."""

from __future__ import annotations

from typing import Any

from crmgate.delivery import identity
from crmgate.kinds import traits
from crmgate.model import Activity, Event, EventType, Kind, Operation, new_id
from crmgate.store import keys
from crmgate.store.entries import Claim, Result
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from tests import world
from tests.world import START

LONG = 1e6
"""Seconds."""


def add_dead_letters(
    ledger: Ledger, count: int = 1, *, provider: str = "acme", code: str = "invalid_value", field: str = "",
    at: float = START, step: float = 1.0, kind: Kind = Kind.CREATE_LEAD, **payload: Any,
) -> list[str]:  # fmt: skip
    """Make `count` dead letters, one every `step` seconds from `at` on. Their ids, the oldest first.

    The gate of the provider does not learn of their refusals.
    """
    return [
        _add_dead_letter(ledger, (provider, code, field), at + number * step, kind, number, payload)
        for number in range(count)
    ]


def _credentials(ledger: Ledger, provider: str) -> str:
    return (ledger._redis.hget(keys.gate(provider), "verified") or b"").decode()


def _sent(kind: Kind, number: int) -> dict[str, Any]:
    if traits(kind).payload is Activity:
        return {"channel": "telegram", "referral_code": f"REF{number}", "occurred_at": "2027-01-15T08:00:00.000Z"}
    return {"first_name": f"Test{number}", "email": f"test{number}@example.com"}


def _add_dead_letter(
    ledger: Ledger, cause: tuple[str, str, str], at: float, kind: Kind, number: int, more: dict[str, Any]
) -> str:  # fmt: skip
    provider, code, field = cause
    to = Recipient(provider)
    # With the credentials in use: with others, `accept` holds it while another attempt is under way.
    known = Recipient(provider, credentials=_credentials(ledger, provider))
    operation = Operation(new_id(), kind, _sent(kind, number) | more, at)
    attempt = Event(at, 0.1, provider, EventType.FAILED, code, 400, "E42", "The CRM refuses it.", field=field)
    with world.at(ledger, at):
        people = identity.people(operation.payload)
        # `at` may be long ago: a worker that runs must not take it before it is dead.
        ledger.accept(operation, known, alarm=LONG, lease="L", seconds=LONG, people=people)
        claim = Claim(operation, "L", look_first=False, counted=0, at=at)
        ledger.record_dead(claim, to, Result(attempt, used=1), look=False)
        ledger.make_dead_letter(operation.id)  # a worker that sweeps may have been quicker
    return operation.id

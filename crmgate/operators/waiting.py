"""Explains why operations wait, and the state of a provider's gate, with the same texts in web, CLI and metrics.

`crmgate.store.gate.explain` has the texts for each cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from crmgate.model import Operation, State, rfc3339
from crmgate.store.gate import Gate, Recipient, explain
from crmgate.store.ledger import Ledger


class WaitsFor(StrEnum):
    """Kinds of waits."""

    OPERATION = "operation"
    """An earlier operation about the same person: the same session, email or phone."""
    CRM = "crm"
    """Its CRM: nothing is sent there now."""
    KEY = "key"
    """The key of its payload, which is encrypted."""
    TIME = "time"
    """The time of its next attempt."""
    TURN = "turn"
    """A worker, within the limits of its CRM."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The `reason` why an operation waits, and `why` as text for people.

    `operation` is the id of the operation that has to end first. `until` is the time of the next attempt, in seconds
    since the epoch, 0 if none is set. `gate` is the gate of the CRM, if nothing is sent there.
    """

    reason: WaitsFor
    why: str
    operation: str = ""
    until: float = 0.0
    gate: Gate | None = None

    def to_json(self) -> dict[str, Any]:
        """The wait for JSON; members that do not apply are null."""
        return {
            "reason": str(self.reason),
            "why": self.why,
            "operation": self.operation or None,
            "until": _time(self.until),
        } | _cause(self.gate or Gate())


class Waiting:
    """Explains why operations wait. Every method raises `LedgerUnavailable`."""

    def __init__(self, ledger: Ledger, active: Recipient) -> None:
        self._ledger, self._active = ledger, active

    def gate(self) -> Gate:
        """The gate of the active CRM."""
        return self._ledger.gate(self._active)

    def of(self, operations: Sequence[Operation]) -> list[Wait | None]:
        """The wait of each operation, None for one that does not wait. Reads each gate once."""
        waiting = [operation for operation in operations if _waits(operation)]
        names = {operation.provider or self._active.provider for operation in waiting}
        gates = {name: self._ledger.gate(replace(self._active, provider=name)) for name in names}
        now = self._ledger.now() if any(operation.due_at for operation in waiting) else 0.0
        return [self._wait(operation, gates, now) if _waits(operation) else None for operation in operations]

    def _wait(self, operation: Operation, gates: dict[str, Gate], now: float) -> Wait:
        if operation.behind:
            why = f"the operation {operation.behind} about the same person goes first"
            return Wait(WaitsFor.OPERATION, why, operation=operation.behind)
        if operation.unreadable:
            return Wait(WaitsFor.KEY, operation.unreadable)
        until = operation.due_at if operation.due_at > now else 0.0
        gate = gates[operation.provider or self._active.provider]
        if reason := stopped(gate):
            return Wait(WaitsFor.CRM, reason, until=until, gate=gate)
        if until:
            return Wait(WaitsFor.TIME, f"the next attempt is made at {rfc3339(until)}", until=until)
        return Wait(WaitsFor.TURN, "a worker sends it as soon as the limits of the CRM allow it")


def stopped(gate: Gate, *, detail: bool = True) -> str:
    """A text with the time since when, and the cause for which, nothing is sent; empty if the gate is open.

    With `detail` it contains fields and codes of the CRM, which are not for the public.
    """
    shut = explain(gate)
    if shut is None:
        return ""
    since = f" since {rfc3339(gate.since)}" if gate.since else ""
    more = f" ({shut.detail})" if detail and shut.detail else ""
    return f"nothing is sent to the CRM{since}, because {shut.what}{more}"


def advice(gate: Gate, *, detail: bool = True) -> str:
    """`stopped` as a sentence, with the number of waiting operations and the remedy; empty if the gate is open."""
    shut = explain(gate)
    if shut is None:
        return ""
    reason = stopped(gate, detail=detail)
    return f"{reason[0].upper()}{reason[1:]}; {gate.held} operations wait. What to do: {shut.remedy}."


def gate_json(gate: Gate) -> dict[str, Any]:
    """The state of a gate for JSON; members that do not apply are null. `cause` is null while the gate is open."""
    return {"since": _time(gate.since), "until": _time(gate.until), "held": gate.held} | _cause(gate)


def _cause(gate: Gate) -> dict[str, Any]:
    shut = explain(gate)
    if shut is None:
        return {"cause": None, "what": None, "remedy": None, "detail": None}
    return {"cause": str(gate.cause), "what": shut.what, "remedy": shut.remedy, "detail": shut.detail or None}


def _time(timestamp: float) -> str | None:
    return rfc3339(timestamp) if timestamp else None


def _waits(operation: Operation) -> bool:
    return operation.state in (State.WAITING, State.ACCEPTED)

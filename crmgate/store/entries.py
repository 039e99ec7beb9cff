"""The arguments and answers of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from crmgate.model import Event, Kind, Operation


class Acceptance(StrEnum):
    """What became of a submission. All but the last four record a new operation."""

    LEASED = "leased"
    """Recorded; the caller has the lease."""
    ACCEPTED = "accepted"
    """Recorded; a worker is woken."""
    HELD = "held"
    """Recorded; its provider takes nothing now."""
    BEHIND = "behind"
    """Recorded; an earlier operation of its session goes first."""
    SUSPECT = "suspect"
    """Recorded and kept aside."""
    EXISTS = "exists"
    """An operation with this id was there."""
    REPLAY = "replay"
    """The idempotency key was used before, with the same content."""
    RUNNING = "running"
    """The same, and its first request is still under way."""
    CONFLICT = "conflict"
    """The idempotency key was used before, with other content."""


class NoClaim(StrEnum):
    """Why an operation is not to be tried now. The last four are its state."""

    LEASED = "leased"
    """Another caller has the lease."""
    EARLY = "early"
    """It is not due yet."""
    HELD = "held"
    """Its provider takes nothing now."""
    BEHIND = "behind"
    """An earlier operation of its session goes first."""
    ELSEWHERE = "elsewhere"
    """Another CRM holds its record."""
    EXHAUSTED = "exhausted"
    """No retry is left; its dead letter is not recorded yet."""
    UNKNOWN = "unknown"
    """There is no such operation."""
    DELIVERED = "delivered"
    DISCARDED = "discarded"
    DEAD = "dead"
    SUSPECT = "suspect"


class Recorded(StrEnum):
    """What recording an attempt, or a probe, changed."""

    RECORDED = "recorded"
    """It is recorded, and the state of the provider is as before."""
    PAUSED = "paused"
    """The same, and its credentials are refused from now on."""
    OPENED = "opened"
    """The same, and the circuit breaker is open from now on."""
    RECOVERED = "recovered"
    """The same, and the provider works again."""
    LOST = "lost"
    """Not recorded: another caller has the lease by now."""
    ENDED = "ended"
    """Not recorded: the operation has ended already."""


@dataclass(frozen=True, slots=True)
class Once:
    """Digests of an idempotency key and of the submission that came with it, kept for `seconds`."""

    key: str
    digest: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a submission: a digest of it, and digests of the email and phone of the submission (`who`).

    `follow` is the kind of an operation on the session's lead, empty if the CRM has no such kind.
    """

    key: str
    who: tuple[str, ...] = ()
    follow: Kind | Literal[""] = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of `Ledger.accept`, and the operation that stands for the submission."""

    what: Acceptance
    id: str
    kind: Kind
    lead_id: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """The lease on an operation. `look_first` says that an earlier attempt may have reached the CRM.

    `counted` is the number of retries that are used up. Until `settles_at` (seconds since the epoch) the CRM may still
    be at work on an earlier request: a record that is not found may yet appear.
    """

    operation: Operation
    lease: str
    look_first: bool
    counted: int
    settles_at: float = 0.0


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why an operation is not tried now: `leased`, `early`, `held`, `behind`, `elsewhere`, `exhausted`,
    `unknown`, or its end. `more` names the operation that goes first, or the CRM that holds its record."""

    reason: NoClaim
    more: str = ""


@dataclass(frozen=True, slots=True)
class Swept:
    """Numbers of operations woken and of dead letters returned; `probe` asks the caller to probe the provider."""

    woken: int
    returned: int
    probe: bool


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an attempt, for the ledger.

    `used`: number of requests sent. `outage`: the failure says that the CRM is away. `floor`: the next attempt is not
    made before its time, even if an outage ends. `limited`: the CRM reports too many requests. `settles_at`: see
    `Claim`, 0 if nothing is under way.
    """

    attempt: Event
    used: int = 0
    outage: bool = False
    floor: bool = False
    limited: bool = False
    settles_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of a job that retries dead letters: the `ids` to release, of `seen` dead letters that were looked at.

    The job stands at `start` before the batch and at `upto` after it. After the `last` one the job has ended.
    """

    job: str
    start: str
    upto: str
    seen: int
    ids: tuple[str, ...]
    last: bool

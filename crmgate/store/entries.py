"""The arguments and answers of the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from crmgate.model import Event, Operation


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
    follow: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of `Ledger.accept`, and the operation that stands for the submission."""

    what: str
    id: str
    kind: str = ""
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

    reason: str
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

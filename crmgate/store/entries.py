"""What the ledger takes and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from crmgate.model import Event, Operation


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key (a digest of it), a digest of what came with it, and the seconds that both are remembered."""

    key: str
    digest: str
    seconds: int


@dataclass(frozen=True, slots=True)
class Session:
    """The session that a submission belongs to: a digest of it, and of the email and phone that came with it.

    `follow` is the kind of an operation on the session's lead, empty where the CRM has none.
    """

    key: str
    who: tuple[str, ...] = ()
    follow: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a submission (see `Ledger.accept`), and the operation that stands for it."""

    what: str
    id: str
    kind: str = ""
    lead_id: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """The lease on an operation. `look_first` says that an earlier attempt may have reached the CRM.

    Until `settles_at` the CRM may still be at work on it: what is not found there may yet come into being.
    """

    operation: Operation
    lease: str
    look_first: bool
    counted: int
    settles_at: float = 0.0


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why an operation is not to be tried now: `leased`, `early`, `held`, `behind`, `elsewhere`, `exhausted`,
    `unknown`, or its end. `more` names the operation that goes first, or the CRM that holds its record."""

    reason: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: operations woken, dead letters returned; `probe` asks the caller to probe the provider."""

    woken: int
    returned: int
    probe: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an attempt, for the ledger.

    `used`: requests sent. `outage`: the failure says that the CRM is away. `floor`: `due` is not to be hurried.
    `limited`: the CRM said that there were too many requests. `settles_at`: see `Claim`, 0 if nothing is under way.
    """

    attempt: Event
    used: int = 0
    outage: bool = False
    floor: bool = False
    limited: bool = False
    settles_at: float = 0.0

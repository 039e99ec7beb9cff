"""The arguments and answers of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from crmgate.model import Event, EventType, Kind, Operation
from crmgate.record import Word
from crmgate.store.gate import Cause
from crmgate.store.keys import SESSION_SECONDS


class JobState(Word):
    """The state of a job that retries dead letters (`crmgate.operators.retries`)."""

    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class Acceptance(StrEnum):
    """The ledger's answer to a submission. All but the last five mean that a new operation was recorded."""

    LEASED = "leased"
    """Recorded; the caller has the lease."""
    ACCEPTED = "accepted"
    """Recorded; a worker is woken."""
    HELD = "held"
    """Recorded; nothing is sent to its provider now."""
    BEHIND = "behind"
    """Recorded; it waits for an earlier operation about the same person."""
    SUSPECT = "suspect"
    """Recorded as a suspect; a person has to release it."""
    EXISTS = "exists"
    """An operation with this id was recorded before."""
    REPLAY = "replay"
    """The idempotency key was used before, with the same content."""
    RUNNING = "running"
    """The idempotency key was used before, with the same content, and that request is still under way."""
    CONFLICT = "conflict"
    """The idempotency key was used before, with other content."""
    LIMITED = "limited"
    """Not recorded: a rate limit was exceeded."""


class NoClaim(StrEnum):
    """Why an operation must not be attempted now. The last four are its state."""

    LEASED = "leased"
    """Another caller has the lease."""
    EARLY = "early"
    """It is not due yet."""
    HELD = "held"
    """Nothing is sent to its provider now."""
    BEHIND = "behind"
    """It waits for an earlier operation about the same person."""
    LOCKED = "locked"
    """Its payload is encrypted with a key that this process does not have."""
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


class Written(StrEnum):
    """What follows a recorded attempt, or why an attempt was not recorded."""

    DELIVERED = "delivered"
    WAITING = "waiting"
    """It waits for the time of its next attempt."""
    HELD = "held"
    """It waits for the gate of its provider."""
    DEAD = "dead"
    """No retry follows; `Ledger.make_dead_letter` follows."""
    AGAIN = "again"
    """The CRM no longer has its lead, or refuses to change it: it creates another lead and is tried again at once."""
    LOST = "lost"
    """Not recorded: another caller has the lease by now."""
    ENDED = "ended"
    """Not recorded: the operation has ended already."""


Remake = Literal["", "once", "always"]
"""Whether an operation on a session's lead creates another lead after a refusal (`remake` in `lua/record.lua`)."""


class Announcement(StrEnum):
    """Change of a provider that listeners are notified of."""

    PAUSED = "paused"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of recording an attempt, or a connection test.

    `cause` is that of the provider's gate, None if it is open. `written` is None for a connection test. `following` is
    the operation that was taken in the same step, None if there is none.
    """

    announcement: Announcement | None
    cause: Cause | None
    written: Written | None = None
    following: Claim | None = None


@dataclass(frozen=True, slots=True)
class Once:
    """Digests of an idempotency key and of the submission that came with it, kept for `seconds`.

    Without an idempotency key (`keyed`) the content of the submission takes its place. `former` is the digest of the
    key as the previous version computed it, empty if it is the same.
    """

    key: str
    digest: str
    seconds: int
    keyed: bool = False
    former: str = ""

    def for_scripts(self) -> dict[str, object]:
        """The identity as the Lua scripts read it."""
        return {
            "key": self.key, "digest": self.digest, "seconds": self.seconds, "keyed": self.keyed, "former": self.former,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a submission: a digest of it (`key`).

    `follow` is the kind of an operation on the session's lead, empty if the CRM has no such kind. If the lead of the
    session is another person's, `own` is the session of the submission.
    """

    key: str
    follow: Kind | Literal[""]
    own: str

    def for_scripts(self) -> dict[str, object]:
        """The session as the Lua scripts read it (`a.session`)."""
        return {"key": self.key, "follow": self.follow, "own": self.own, "seconds": SESSION_SECONDS}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of `Ledger.accept`, and the operation that represents the submission.

    `at`: time of acceptance of a new operation, in seconds since the epoch. `wait`: seconds to wait after `LIMITED`.
    """

    what: Acceptance
    id: str
    kind: Kind
    lead_id: str = ""
    at: float = 0.0
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """The lease on an operation, taken at the time `at`. `look_first`: an earlier attempt may have reached the CRM.

    `counted` is the number of retries that are used up. `sent_as` is another kind in which an earlier attempt may have
    sent it, None if there is no other one. Until `settles_at` the CRM may still be processing an earlier request: a
    record that is not found may yet appear. Times are seconds since the epoch, by the clock of the ledger.

    `others` are further operations that the caller sends together with this one. Each has a lease of its own.
    """

    operation: Operation
    lease: str
    look_first: bool
    counted: int
    at: float
    settles_at: float = 0.0
    sent_as: Kind | None = None
    others: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lease that a caller wants on an operation: its token, and its duration in seconds.

    `supported` are the kinds of operations that the CRM supports. `batch` is the largest number of operations that the
    caller wants in addition, to send them together (`Claim.others`).
    """

    lease: str
    seconds: float
    supported: tuple[Kind, ...] = ()
    batch: int = 0

    def for_scripts(self, patience: float, settle: float, keys: Sequence[str]) -> dict[str, object]:
        """The lease as the scripts read it (`a.claim` in `lua/common.lua`). `keys`: ids of keys for payloads."""
        wanted = {
            "lease": self.lease, "seconds": self.seconds, "supported": dict.fromkeys(self.supported, True),
            "patience": patience, "settle": settle, "keys": dict.fromkeys(keys, True),
        }  # fmt: skip
        return wanted | ({"batch": self.batch} if self.batch > 0 else {})


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Why an operation is not attempted now.

    `more` names the operation that it waits for (`behind`), the CRM that holds its record (`elsewhere`), or the key of
    its payload (`locked`).
    """

    reason: NoClaim
    more: str = ""


@dataclass(frozen=True, slots=True)
class Swept:
    """Numbers of operations woken and of dead letters returned.

    `probe`: the caller has to test the connection. `recovered`: listeners are notified that the provider works again.
    """

    woken: int
    returned: int
    probe: bool
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class GateEvent:
    """An event of the provider's gate after an attempt. `what`: its name in `lua/gate.lua`.

    `refusal`: code and field of a refusal, equal for operations that are refused for the same reason; empty for a
    refusal that can only concern one record. `answered`: a response came from the CRM. `wait`: seconds until a rate
    limit ends, None if the CRM did not say.
    """

    what: Literal["delivered", "unavailable", "refusal", "login_refused", "limited"]
    refusal: str = ""
    answered: bool = False
    wait: float | None = None

    def for_scripts(self) -> dict[str, object]:
        """The event as `lua/gate.lua` reads it."""
        event: dict[str, object] = {"what": self.what, "refusal": self.refusal, "answered": self.answered}
        return event if self.wait is None else event | {"wait": self.wait}


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an attempt, for the ledger.

    `used`: number of requests sent. `event`: what the attempt says about the provider, None for nothing. `outage`: the
    failure says that the CRM is unavailable. `floor`: the next attempt is not made before its time, even if an outage
    ends. `settle`: seconds for which the CRM may be processing the request, 0 if it is not. `final`: the operation may
    have arrived and only an operator may send it again, so it is dead even while the gate is shut. `reserved`: requests
    were set aside for this attempt; false for a part of a batch, whose end counts the requests of all (`end_batch`).
    """

    attempt: Event
    used: int = 0
    event: GateEvent | None = None
    outage: bool = False
    floor: bool = False
    settle: float = 0.0
    final: bool = False
    reserved: bool = True


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Whether requests for a comparison with the CRM may be sent now.

    `wait`: seconds until the vendor allows them, 0 if they were taken. `cause`: why nothing is sent, None if the gate
    is open.
    """

    wait: float
    cause: Cause | None


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


def announcement_of(text: str) -> Announcement | None:
    """The announcement that a script answered; empty: None."""
    return Announcement(text) if text else None


def discarded(now: float, reason: str) -> dict[str, Any]:
    """The event of a discard at the time `now`, for the history of the operation."""
    return Event(now, 0.0, "", EventType.DISCARDED, detail=reason, counted=False).to_dict()


def flag(value: bool) -> str:
    """A truth value as the records hold it."""
    return "1" if value else "0"

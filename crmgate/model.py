"""Data classes of crmgate, independent of the CRM: frozen, without I/O.

The ledger stores records in the form of `to_dict`. Plugins import from here, too, what a CRM answers about itself
(`crmgate.crm_answers`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, assert_never

from crmgate import tracking
from crmgate.crm_answers import Check, Connection, CrmField, FieldState, Preview, Provision, Step
from crmgate.record import Record, Word

__all__ = [
    "Activity",
    "Check",
    "Connection",
    "Consent",
    "CrmField",
    "Delivered",
    "Event",
    "FieldState",
    "Kind",
    "Lead",
    "Operation",
    "Preview",
    "Provision",
    "Rate",
    "State",
    "Step",
    "Utm",
    "new_id",
    "rfc3339",
]
"""The names that plugins import; the others are internal to crmgate."""


class Kind(Word):
    """What an operation does in the CRM. The provider hook that does it has the same name."""

    CREATE_LEAD = "create_lead"
    UPDATE_LEAD = "update_lead"
    LOG_ACTIVITY = "log_activity"
    CREATE_MINIMAL_LEAD = "create_minimal_lead"


class State(Word):
    """State of an operation.

    A `SUSPECT` waits until a person releases or discards it; `Suspicion` is its cause.
    """

    ACCEPTED = "accepted"
    DELIVERING = "delivering"
    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"
    SUSPECT = "suspect"

    @property
    def ended(self) -> bool:
        """Whether the state is final; false for one that only a newer version knows."""
        if not self.known:
            return False
        match self:
            case State.DELIVERED | State.DISCARDED:
                return True
            case State.ACCEPTED | State.DELIVERING | State.WAITING | State.DEAD | State.SUSPECT:
                return False
            case _:
                assert_never(self)


class Suspicion(Word):
    """Cause of a suspect: a filled honeypot, a form sent too fast, too many submissions, or no usable contact."""

    HONEYPOT = "honeypot"
    FAST = "fast"
    OVER_LIMIT = "over_limit"
    INCOMPLETE = "incomplete"


class EventType(Word):
    """What happened to an operation. Only the first two are attempts at the CRM."""

    DELIVERED = "delivered"
    FAILED = "failed"
    EDITED = "edited"
    RELEASED = "released"
    RETURNED = "returned"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Utm(Record):
    """Campaign parameters of the visit."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""


@dataclass(frozen=True, slots=True)
class Consent(Record):
    """Consent of the visitor: the text that was shown, and the time (RFC 3339)."""

    given: bool = False
    text: str = ""
    at: str = ""


@dataclass(frozen=True)
class Lead(Record):
    """An application of a person. Strings are trimmed and in Unicode NFC; an absent value is the empty string.

    `phone` is in E.164 format (ITU-T E.164). `custom` has the fields of the form that crmgate does not know.
    """

    NESTED = MappingProxyType({"utm": Utm, "consent": Consent})

    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""
    country: str = ""
    city: str = ""
    birth_date: str = ""
    education_level: str = ""
    field_of_study: str = ""
    institution: str = ""
    graduation_year: int | None = None
    gpa: str = ""
    universities: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    budget: str = ""
    start_date: str = ""
    scholarship_needed: str = ""
    language_preference: str = ""
    user_type: str = ""
    language: str = ""
    scholarship: str = ""
    university_chosen: str = ""
    referral_code: str = "DIRECT"
    source: str = "website"
    source_description: str = ""
    utm: Utm = field(default_factory=Utm)
    session: str = ""
    consent: Consent | None = None
    additional_info: str = ""
    custom: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Activity(Record):
    """An activity of a visitor: a click on a messenger link. `occurred_at` is in RFC 3339 format, in UTC."""

    NESTED = MappingProxyType({"utm": Utm})

    channel: str = ""
    referral_code: str = "DIRECT"
    occurred_at: str = ""
    session: str = ""
    utm: Utm = field(default_factory=Utm)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivered(Record):
    """A record that the CRM confirmed.

    `record_id` is the id of the lead, also after an activity on it. `adopted`: the lead existed before this attempt.
    `dropped` names CRM fields that were sent but that the CRM did not store. `moved` names CRM fields whose value,
    or lack of a value, the CRM refused: the value is in the description instead, and a required field has a stand-in.
    `unnamed`: a refusal named no field, so all optional values are in the description.
    """

    provider: str
    record_id: str
    url: str = ""
    adopted: bool = False
    dropped: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    unnamed: bool = False


@dataclass(frozen=True, slots=True)
class Event(Record):
    """An attempt at the CRM, or a change by an operator. `at` is in seconds since the epoch.

    `duration` is in seconds. `counted` is false for a failure that is not about the operation (refused credentials):
    it uses no retry. `field`: names of the CRM fields that were refused, separated by commas.
    """

    WORDS = MappingProxyType({"outcome": EventType})

    at: float
    duration: float
    provider: str
    outcome: EventType
    code: str = ""
    status: int | None = None
    vendor_code: str = ""
    detail: str = ""
    counted: bool = True
    field: str = ""


@dataclass(frozen=True)
class Operation(Record):
    """A change to make in the CRM, with its payload and its history. Times are in seconds since the epoch.

    `due_at` is the time of the next attempt. `lead_id` is the record of an `update_lead` or a `log_activity`, and
    `provider` is the CRM that has this record. Operations about the same person are sent one after another: this one
    waits for `behind`, and `ahead_of` waits for this one. `returns` is the number of automatic redrives of a dead
    letter; `dead_at` is the time at which it became one. `version` increases with each change. `suspicion` is the cause
    of a suspect, also after its release. `repairs` is the number of times that it was sent again because the CRM no
    longer had its record. `unreadable` says why the payload cannot be decrypted; it is empty then.
    """

    NESTED = MappingProxyType({"events": Event, "delivered": Delivered})
    WORDS = MappingProxyType({"kind": Kind, "state": State, "suspicion": Suspicion})

    id: str
    kind: Kind
    payload: Mapping[str, Any]
    accepted_at: float
    state: State = State.ACCEPTED
    due_at: float = 0.0
    events: tuple[Event, ...] = ()
    delivered: Delivered | None = None
    lead_id: str = ""
    provider: str = ""
    behind: str = ""
    ahead_of: str = ""
    returns: int = 0
    dead_at: float = 0.0
    version: int = 0
    suspicion: Suspicion | None = None
    repairs: int = 0
    unreadable: str = ""

    @property
    def tracking_code(self) -> str:
        """Short code for people, derived from the id, such as `CG-7KX9-2MPQ`. The id cannot be derived from it."""
        return tracking.code(self.id)

    @property
    def lead(self) -> Lead:
        """The payload of a create or update as a `Lead`."""
        return Lead.from_dict(self.payload)

    @property
    def activity(self) -> Activity:
        """The payload of a click as an `Activity`."""
        return Activity.from_dict(self.payload)


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate that a CRM's vendor allows: requests per second, and the size of a burst.

    An attempt reserves `reserve` requests before it begins, and returns the unused ones.
    """

    per_second: float
    burst: int
    reserve: int

    def __str__(self) -> str:
        return f"{self.per_second:g}/{self.burst}"


def new_id() -> str:
    """A new operation id: 122 random bits in hexadecimal. It is the credential for reading the operation's status."""
    return uuid.uuid4().hex


def rfc3339(timestamp: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(timestamp, UTC).isoformat(timespec='milliseconds')[:-6]}Z"

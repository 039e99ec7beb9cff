"""The CRM-neutral data that travels through crmgate: frozen dataclasses, no I/O.

Everything here turns into plain JSON types with `to_dict` and back with `from_dict`: that is how the ledger
keeps it. Unknown keys are ignored on the way back, so that an older process can read what a newer one wrote.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Self

__all__ = [
    "Activity",
    "Check",
    "Connection",
    "Consent",
    "CrmField",
    "Delivered",
    "Event",
    "Kind",
    "Lead",
    "Operation",
    "Provision",
    "Rate",
    "State",
    "Step",
    "Utm",
    "new_id",
    "rfc3339",
]
"""The names that plugins import; the others are internal to crmgate."""


class Kind(StrEnum):
    """What an operation does in the CRM."""

    CREATE_LEAD = "create_lead"
    UPDATE_LEAD = "update_lead"
    LOG_ACTIVITY = "log_activity"
    CREATE_MINIMAL_LEAD = "create_minimal_lead"


class State(StrEnum):
    """Where an operation stands. Only `DELIVERED` and `DISCARDED` end it.

    A `SUSPECT` looks like the work of a bot: it waits for a person, who releases or discards it.
    """

    ACCEPTED = "accepted"
    DELIVERING = "delivering"
    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"
    SUSPECT = "suspect"


class _Record:
    """Conversion to and from plain dictionaries."""

    NESTED: ClassVar[Mapping[str, type[_Record]]] = {}
    """The records inside this one, by field name."""

    def to_dict(self) -> dict[str, Any]:
        """This record as JSON types. What is empty is left out, where `from_dict` makes it empty again."""
        pairs = ((f, _plain(getattr(self, f.name))) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return {f.name: value for f, value in pairs if value not in _EMPTY or not _empty_by_default(f)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record that `to_dict` wrote. Null is the same as absent."""
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        present = {name: value for name, value in data.items() if name in known and value is not None}
        return cls(**{name: _rich(value, cls.NESTED.get(name)) for name, value in present.items()})


_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _empty_by_default(declared: dataclasses.Field[Any]) -> bool:
    if declared.default_factory is not dataclasses.MISSING:
        return _plain(declared.default_factory()) in _EMPTY
    return declared.default is not dataclasses.MISSING and _plain(declared.default) in _EMPTY


def _plain(value: Any) -> Any:
    if isinstance(value, _Record):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _rich(value: Any, record: type[_Record] | None) -> Any:
    if isinstance(value, list):
        return tuple(_rich(item, record) for item in value)
    return record.from_dict(value) if record is not None and isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Utm(_Record):
    """The campaign parameters of the visit."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""


@dataclass(frozen=True, slots=True)
class Consent(_Record):
    """What the visitor agreed to: the text shown, and when (RFC 3339)."""

    given: bool = False
    text: str = ""
    at: str = ""


@dataclass(frozen=True)
class Lead(_Record):
    """A person who wants something. Strings are trimmed and NFC; an absent value is the empty string.

    `phone` is E.164 (ITU-T E.164). `custom` holds whatever the form sent that crmgate does not know.
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
class Activity(_Record):
    """Something a visitor did: today, a click on a messenger link. `occurred_at` is RFC 3339 UTC."""

    NESTED = MappingProxyType({"utm": Utm})

    channel: str = ""
    referral_code: str = "DIRECT"
    occurred_at: str = ""
    session: str = ""
    utm: Utm = field(default_factory=Utm)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivered(_Record):
    """A record that the CRM confirmed.

    `record_id` is the lead's, also where an activity was logged on it. `adopted` says that it was found rather than
    made by this attempt; `dropped` names CRM fields that were sent but did not come back; `moved` those whose value
    the CRM refused, so that it stands in the description instead.
    """

    provider: str
    record_id: str
    url: str = ""
    adopted: bool = False
    dropped: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event(_Record):
    """One time that a request went out. `at` is seconds since the epoch, `duration` seconds.

    `counted` is false where the failure says nothing about the operation (refused credentials): such an
    attempt does not use up the retries.
    """

    at: float
    duration: float
    provider: str
    outcome: str
    code: str = ""
    status: int | None = None
    vendor_code: str = ""
    detail: str = ""
    counted: bool = True


@dataclass(frozen=True)
class Operation(_Record):
    """One thing to do in the CRM, its payload and its history. Times are seconds since the epoch.

    `due_at` says when a waiting operation is next tried. `lead_id` is the record that an `update_lead` or a
    `log_activity` is about, and `provider` the CRM that holds it. `behind` and `ahead_of` are the ids of the operations
    before and after it in its session: it waits for the one, the other for it. `returns` counts how often a dead letter
    came back by itself; `dead_at` is when it became one. `version` grows with everything that happens to it.
    """

    NESTED = MappingProxyType({"events": Event, "delivered": Delivered})

    id: str
    kind: str
    payload: Mapping[str, Any]
    accepted_at: float
    state: str = State.ACCEPTED
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

    @property
    def tracking_code(self) -> str:
        """A short code for people, made from the id: `CG-7KX9-2MPQ`. It does not give the id away."""
        return tracking_code(self.id)

    @property
    def lead(self) -> Lead:
        """The payload of a create or update as a `Lead`."""
        return Lead.from_dict(self.payload)

    @property
    def activity(self) -> Activity:
        """The payload of a click as an `Activity`."""
        return Activity.from_dict(self.payload)


@dataclass(frozen=True, slots=True)
class Check(_Record):
    """One line of a connection test: what was looked at, whether it is well, and what to do if not."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Connection(_Record):
    """The result of a connection test. `latency_ms` is the time of the first request, in milliseconds.

    `refused` says that the CRM answered, and refused the credentials.
    """

    NESTED = MappingProxyType({"checks": Check})

    provider: str
    connected: bool
    latency_ms: float
    checks: tuple[Check, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class CrmField(_Record):
    """A line of the mapping beside what the CRM has.

    `problem` is empty when the field is there and takes what is sent; else it says what is wrong and what to do.
    """

    fact: str
    name: str
    type: str = ""
    options: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Step(_Record):
    """One thing that setting a CRM up takes. `done`: it is so already, or was just done."""

    what: str
    done: bool


@dataclass(frozen=True)
class Provision(_Record):
    """What it takes to set a CRM up. `settings` are lines for `.env`; they may hold secrets and are shown once."""

    NESTED = MappingProxyType({"steps": Step})

    steps: tuple[Step, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rate:
    """What a CRM's vendor allows: requests a second in the long run, and at once after a rest.

    `reserve` requests are set aside for an attempt before it begins; those that it did not need are given back.
    """

    per_second: float
    burst: int
    reserve: int

    def __str__(self) -> str:
        return f"{self.per_second:g}/{self.burst}"


def new_id() -> str:
    """An operation id: 122 random bits in hexadecimal, so that holding it is the right to ask for its status."""
    return uuid.uuid4().hex


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans("OIL", "011")
"""Letters that are no digits of Crockford's Base32, but are read as some."""


def tracking_code(operation_id: str) -> str:
    """`CG-XXXX-XXXX` from the first 40 bits of the id, in Crockford's Base32 (no I, L, O, U)."""
    number = int(operation_id[:10], 16)
    code = "".join(_CROCKFORD[number >> shift & 31] for shift in range(35, -1, -5))
    return f"CG-{code[:4]}-{code[4:]}"


def id_prefix(code: str) -> str:
    """The first ten digits of the ids that have this tracking code, as people write it; empty if it is none."""
    letters = code.upper().replace("-", "").replace(" ", "").translate(_READ_AS)
    text = letters.removeprefix("CG")
    if len(text) != 8 or text == letters or any(letter not in _CROCKFORD for letter in text):
        return ""
    number = 0
    for letter in text:
        number = number << 5 | _CROCKFORD.index(letter)
    return f"{number:010x}"


def rfc3339(timestamp: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Data classes of crmgate, independent of the CRM: frozen, without I/O.

`to_dict` converts a record to JSON types, `from_dict` converts it back. The ledger stores records in this form.
`from_dict` ignores unknown keys, so that an older process can read what a newer process wrote.
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

from crmgate import tracking

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


class Word(StrEnum):
    """A word of a fixed list, as it is kept in Redis. `read` also takes a word that only a newer version has."""

    @classmethod
    def read(cls, text: str) -> Self:
        """The member `text`, else a value of this type that keeps the text, equals no member and is not `known`.

        So an older process can list, show and export what a newer one wrote.
        """
        try:
            return cls(text)
        except ValueError:
            unknown = str.__new__(cls, text)
        unknown._name_, unknown._value_ = "UNKNOWN", text
        return unknown

    @property
    def known(self) -> bool:
        """Whether this version has the word. A `match` over the members comes after a check of this."""
        return self.name in type(self).__members__


class Kind(Word):
    """What an operation does in the CRM. The provider hook that does it has the same name."""

    CREATE_LEAD = "create_lead"
    UPDATE_LEAD = "update_lead"
    LOG_ACTIVITY = "log_activity"
    CREATE_MINIMAL_LEAD = "create_minimal_lead"


class State(Word):
    """State of an operation. `DELIVERED` and `DISCARDED` are final.

    A `SUSPECT` waits until a person releases or discards it; `Suspicion` is its cause.
    """

    ACCEPTED = "accepted"
    DELIVERING = "delivering"
    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"
    SUSPECT = "suspect"


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


class _Record:
    """Base class of the records: conversion to and from plain dictionaries."""

    NESTED: ClassVar[Mapping[str, type[_Record]]] = {}
    """Classes of nested records by field name."""
    WORDS: ClassVar[Mapping[str, type[Word]]] = {}
    """The type of each field that holds a word, by field name."""

    def to_dict(self) -> dict[str, Any]:
        """This record as JSON types. Leaves out empty values that are the defaults of `from_dict`."""
        pairs = ((f, _plain(getattr(self, f.name))) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return {f.name: value for f, value in pairs if value not in _EMPTY or not _empty_by_default(f)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The record from the result of `to_dict`. A null value counts as absent."""
        known = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        present = {name: value for name, value in data.items() if name in known and value is not None}
        return cls(**{name: cls._read(name, value) for name, value in present.items()})

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name in cls.WORDS:
            return cls.WORDS[name].read(value)
        return _rich(value, cls.NESTED.get(name))


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
    """Campaign parameters of the visit."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""


@dataclass(frozen=True, slots=True)
class Consent(_Record):
    """Consent of the visitor: the text that was shown, and the time (RFC 3339)."""

    given: bool = False
    text: str = ""
    at: str = ""


@dataclass(frozen=True)
class Lead(_Record):
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
class Activity(_Record):
    """An activity of a visitor: a click on a messenger link. `occurred_at` is in RFC 3339 format, in UTC."""

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

    `record_id` is the id of the lead, also after an activity on it. `adopted`: the lead existed before this attempt.
    `dropped` names CRM fields that were sent but that the CRM did not store. `moved` names CRM fields whose value,
    or lack of a value, the CRM refused: the value is in the description instead, and a required field has a stand-in.
    """

    provider: str
    record_id: str
    url: str = ""
    adopted: bool = False
    dropped: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Event(_Record):
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
class Operation(_Record):
    """A change to make in the CRM, with its payload and its history. Times are in seconds since the epoch.

    `due_at` is the time of the next attempt. `lead_id` is the record of an `update_lead` or a `log_activity`, and
    `provider` is the CRM that has this record. Operations about the same person are sent one after another: this one
    waits for `behind`, and `ahead_of` waits for this one. `returns` is the number of automatic redrives of a dead
    letter; `dead_at` is the time at which it became one. `version` increases with each change. `suspicion` is the cause
    of a suspect, also after its release. `unreadable` says why the payload cannot be decrypted; it is empty then.
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
class Check(_Record):
    """One result of a connection test: what was checked, whether it passed, and the remedy if it did not."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Connection(_Record):
    """Result of a connection test. `latency_ms` is the time of the first request in milliseconds.

    `refused`: the CRM answered, and refused the credentials.
    """

    NESTED = MappingProxyType({"checks": Check})

    provider: str
    connected: bool
    latency_ms: float
    checks: tuple[Check, ...] = ()
    refused: bool = False


class FieldState(Word):
    """State of a field in the CRM, compared with the mapping."""

    OK = "ok"
    MISSING = "missing"
    """The CRM has no such field."""
    OPTION_MISSING = "option_missing"
    """The list of the field has no option for a value that crmgate sends."""
    READ_ONLY = "read_only"
    """The field, or the role of the API user, allows no change."""
    REQUIRED = "required"
    """The CRM requires a value, but no fact is mapped to the field, or the fact can be empty."""
    PROBLEM = "problem"
    """Another problem, such as a type that does not take the value."""


@dataclass(frozen=True, slots=True)
class CrmField(_Record):
    """A mapped fact with its field in the CRM, or a field that the CRM requires and that no `fact` fills (empty).

    `problem` is empty if the field exists and takes the values of the fact. Otherwise it has the reason and the remedy,
    and `state` the kind of problem; None: another one.
    """

    WORDS = MappingProxyType({"state": FieldState})

    fact: str
    name: str
    type: str = ""
    options: tuple[str, ...] = ()
    problem: str = ""
    state: FieldState | None = None

    @property
    def found(self) -> FieldState:
        """The state of the field."""
        if not self.problem:
            return FieldState.OK
        return self.state or (FieldState.PROBLEM if self.fact else FieldState.REQUIRED)


@dataclass(frozen=True)
class Preview(_Record):
    """The request that would be sent for an operation on the current mapping, for people to read.

    `path` is relative to the CRM, without a secret. `facts` names the fact of each mapped field in `body`, `described`
    has the label and the text of each fact that goes into the description. `note` says what the request leaves out,
    such as values that depend on the record in the CRM.
    """

    method: str
    path: str
    body: Mapping[str, Any]
    facts: Mapping[str, str] = field(default_factory=dict)
    described: tuple[tuple[str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Step(_Record):
    """One step of the setup of a CRM. `done`: it was done before, or was done now."""

    what: str
    done: bool


@dataclass(frozen=True)
class Provision(_Record):
    """Steps of the setup of a CRM. `settings` are lines for `.env`: they can contain secrets and are shown once."""

    NESTED = MappingProxyType({"steps": Step})

    steps: tuple[Step, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


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
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

"""Data classes for what a CRM answers about itself: connection, fields, set-up, and the preview of a request.

`crmgate.model` has these names, too; plugins import them from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from crmgate.record import Record, Word


@dataclass(frozen=True, slots=True)
class Check(Record):
    """One result of a connection test: what was checked, whether it passed, and the remedy if it did not."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Connection(Record):
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
class CrmField(Record):
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
class Preview(Record):
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
class Step(Record):
    """One step of the setup of a CRM. `done`: it was done before, or was done now."""

    what: str
    done: bool


@dataclass(frozen=True)
class Provision(Record):
    """Steps of the setup of a CRM. `settings` are lines for `.env`: they can contain secrets and are shown once."""

    NESTED = MappingProxyType({"steps": Step})

    steps: tuple[Step, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

"""The behaviour of the sandbox: works like a CRM, or fails on purpose."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from marshmallow import Schema, fields, post_load, validate


class Mode(StrEnum):
    """The treatment of a request."""

    WORK = "work"
    SLOW = "slow"
    FAIL = "fail"
    UNAUTHORIZED = "unauthorized"
    REFUSE = "refuse"
    HANG = "hang"
    FORGET = "forget"


WRITES_ONLY = frozenset({Mode.REFUSE, Mode.FORGET})
"""Modes that do not apply to a request that only reads."""
NEVER_REFUSED = ("operation_id", "description")


@dataclass(frozen=True)
class Behaviour:
    """A mode and the requests that it applies to.

    `times` is the number of writes that fail; everything else works. None is an outage: every request fails, also
    look-ups and pings, until the behaviour is changed. `seconds` is the delay of `slow`. `field` belongs to `refuse`:
    only leads with this field are refused; if it is empty, every lead is refused because of its first field.
    """

    mode: Mode = Mode.WORK
    times: int | None = None
    seconds: float = 5.0
    field: str = ""

    def strikes(self, write: bool, names: Collection[str]) -> bool:
        """Whether the behaviour applies to a request that sends the fields `names`."""
        if self.mode is Mode.WORK or (not write and (self.mode in WRITES_ONLY or self.times is not None)):
            return False
        return self.mode is not Mode.REFUSE or bool(self.refused_field(names))

    def refused_field(self, names: Collection[str]) -> str:
        """The field that `refuse` refuses; empty if the lead is accepted."""
        if self.field:
            return self.field if self.field in names else ""
        return next((name for name in names if name not in NEVER_REFUSED), "description")

    def to_dict(self) -> dict[str, Any]:
        """The behaviour for JSON."""
        return asdict(self)


class BehaviourSchema(Schema):
    """The body of `PUT /api/behaviour` and of the page's form."""

    mode = fields.Enum(Mode, by_value=True, required=True)
    times = fields.Integer(allow_none=True, validate=validate.Range(1, 1_000_000))
    seconds = fields.Float(validate=validate.Range(0, 600))
    field = fields.String(validate=validate.Length(max=64))

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Behaviour:
        """The requested behaviour."""
        return Behaviour(**data)


class Control:
    """The behaviour in force, shared by all requests. Not stored: after a restart the sandbox works."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._behaviour = Behaviour()
        self._struck = 0

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour in force."""
        with self._lock:
            return self._behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        with self._lock:
            self._behaviour = behaviour

    @property
    def struck(self) -> int:
        """Number of requests that failed on purpose."""
        with self._lock:
            return self._struck

    def strike(self, write: bool, names: Collection[str]) -> Behaviour:
        """The behaviour for this request; counts the request if it is affected."""
        with self._lock:
            current = self._behaviour
            if not current.strikes(write, names):
                return Behaviour()
            self._struck += 1
            if current.times is not None:
                self._behaviour = replace(current, times=current.times - 1) if current.times > 1 else Behaviour()
            return current

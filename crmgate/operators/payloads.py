"""Shows the payload of an operation, which is personal data: masked, or whole with an entry in the audit log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from crmgate.model import Operation
from crmgate.store.audit import Action, Audit
from crmgate.store.tallies import may_be_personal
from crmgate.store.tokens import Scope

PLAIN = frozenset({
    "channel", "education_level", "graduation_year", "language", "language_preference", "occurred_at", "programs",
    "referral_code", "scholarship", "scholarship_needed", "source", "start_date", "universities", "university_chosen",
    "user_type", "utm",
})  # fmt: skip
"""Fields that are shown to everybody: they describe the visit and the choice, not the person.

A value that may be an email or a phone number is masked, because a link can have any text in its parameters.
"""
AGAIN = 600.0
"""Seconds for which a further view of the same operation by the same operator is no new entry: pages poll."""
_REMEMBERED = 1000
"""Number of views that a process remembers."""


class Payloads:
    """Shows payloads. `clock` measures durations in seconds."""

    def __init__(self, audit: Audit, clock: Callable[[], float] = time.monotonic) -> None:
        self._audit, self._clock = audit, clock
        self._lock = threading.Lock()
        self._viewed: dict[tuple[str, str], float] = {}

    def shown(self, operation: Operation, scope: str, who: str) -> dict[str, Any]:
        """The payload for an operator with this scope: whole for `operate`, else masked. Empty after the end.

        A whole payload is an entry in the audit log, once in `AGAIN` seconds. Raises `LedgerUnavailable`.
        """
        if scope != Scope.OPERATE:
            return masked(operation.payload)
        if operation.payload and self._is_new(operation.id, who):
            self._audit.record(who, Action.VIEW, operation.id)
            self._remember(operation.id, who)
        return dict(operation.payload)

    def _is_new(self, operation_id: str, who: str) -> bool:
        """Whether this operator has not seen the operation for a while."""
        now = self._clock()
        with self._lock:
            self._viewed = {seen: at for seen, at in self._viewed.items() if now - at < AGAIN}
            return (who, operation_id) not in self._viewed

    def _remember(self, operation_id: str, who: str) -> None:
        with self._lock:
            if len(self._viewed) >= _REMEMBERED:
                del self._viewed[next(iter(self._viewed))]
            self._viewed[who, operation_id] = self._clock()


def masked(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with all personal values masked, and in the fields in `PLAIN` only emails and phone numbers."""
    return {name: mask_contacts(value) if name in PLAIN else mask(value) for name, value in payload.items()}


def mask_contacts(value: Any) -> Any:
    """A value in which only a text that may be an email or a phone number is masked."""
    if isinstance(value, Mapping):
        return {name: mask_contacts(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask_contacts(inner) for inner in value]
    return _mask_text(value) if isinstance(value, str) and may_be_personal(value) else value


def mask(value: Any) -> Any:
    """A value that shows that there is one, and little of it: `a***@e***.com`, `+90***67`, `A***`.

    The names in a group stay, unless a name may be an email or a phone number.
    """
    if isinstance(value, Mapping):
        return {mask_contacts(name): mask(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask(inner) for inner in value]
    if isinstance(value, bool) or value in (None, ""):
        return value
    return _mask_text(str(value))


def _mask_text(text: str) -> str:
    name, at, domain = text.rpartition("@")
    if at and " " not in text:
        _, dot, top = domain.rpartition(".")
        return f"{name[:1]}***@{domain[:1]}***{dot}{top if dot else ''}"
    if text.startswith("+") and text[1:].isdecimal():
        return f"{text[:3]}***{text[-2:]}"
    return f"{text[:1]}***"

"""Compares the fields of the CRM with the mapping, and sets the CRM up, for the web and the command line."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from crmgate.errors import LedgerUnavailable
from crmgate.model import CrmField, FieldState, Provision
from crmgate.plugin_host.caller import HookCaller
from crmgate.store.audit import Action, Audit

BUDGET = 30.0
"""Seconds for all requests of a comparison, of a plan, or of a set-up."""
KEPT = 5.0
"""Seconds for which a process reuses the last comparison and the last plan, so that polling does not load the CRM."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The fields of the CRM beside the mapping; required fields that no fact fills come last, with an empty fact."""

    fields: tuple[CrmField, ...]

    @property
    def complete(self) -> bool:
        """Whether no field has a problem."""
        return not any(line.problem for line in self.fields)

    @property
    def states(self) -> Mapping[FieldState, int]:
        """Number of fields by their state."""
        return Counter(line.found for line in self.fields)

    def to_json(self) -> dict[str, Any]:
        """The comparison for JSON."""
        return {"complete": self.complete, "fields": [field_json(line) for line in self.fields]}


def field_json(line: CrmField) -> dict[str, Any]:
    """A field for JSON; `fact` is empty for a required field that no fact fills."""
    return {
        "fact": line.fact, "field": line.name, "type": line.type, "options": [*line.options],
        "state": line.found, "problem": line.problem,
    }  # fmt: skip


def is_done(provision: Provision) -> bool:
    """Whether every step is done."""
    return all(step.done for step in provision.steps)


def steps_json(provision: Provision) -> list[dict[str, Any]]:
    """The steps for JSON."""
    return [{"what": step.what, "done": step.done} for step in provision.steps]


class CrmSetup:
    """Compares and sets up one CRM. Every method raises `ProviderError`, and `ConfigError` for missing settings.

    `known` has the settings of the process by name. `clock` measures durations in seconds.
    """

    def __init__(
        self, crm: HookCaller, audit: Audit, known: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._crm, self._audit, self._known = crm, audit, known
        self._fields, self._plan = _Kept[Comparison](clock), _Kept[Provision](clock)

    def fields(self, budget: float = BUDGET) -> Comparison:
        """Compare the fields of the CRM with the mapping. A result may be `KEPT` seconds old."""
        return self._fields.get(lambda: Comparison(self._crm.describe_fields(budget)))

    def plan(self, budget: float = BUDGET) -> Provision:
        """The steps of the set-up without any change in the CRM. A result may be `KEPT` seconds old."""
        return self._plan.get(lambda: self._crm.provision(budget, apply=False))

    def apply(self, who: str, budget: float = BUDGET) -> Provision:
        """Carry out the steps that are not done, and record it in the audit log; also if a step fails.

        Finished steps are kept after an error: a further call does the rest.
        """
        self._plan.forget()
        self._fields.forget()
        detail = "failed"
        try:
            provision = self._crm.provision(budget, apply=True)
            detail = f"{len(provision.steps)} steps"
        finally:
            self._record(who, detail)
        return provision

    def new_settings(self, provision: Provision) -> dict[str, str]:
        """The settings that are missing in the configuration or have another value there. They contain secrets."""
        return {name: value for name, value in provision.settings.items() if self._known.get(name) != value}

    def _record(self, who: str, detail: str) -> None:
        """Write the audit entry. A CRM can be set up before Redis runs: then only the log has the entry."""
        try:
            self._audit.record(who, Action.CRM_SETUP, self._crm.name, detail)
        except LedgerUnavailable:
            self._audit.log(who, Action.CRM_SETUP, self._crm.name, detail)


class _Kept(Generic[T]):
    """The last result of a question to the CRM. One thread at a time asks; an error is not kept."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._last: tuple[float, T] | None = None

    def get(self, ask: Callable[[], T]) -> T:
        with self._lock:
            if self._last is None or self._clock() - self._last[0] > KEPT:
                self._last = self._clock(), ask()
            return self._last[1]

    def forget(self) -> None:
        with self._lock:
            self._last = None

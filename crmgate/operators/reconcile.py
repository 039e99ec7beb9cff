"""Compares receipts with the CRM: reports which delivered operations it has lost, and sends them again.

A record can be gone because the CRM lost it, as after the restore of an old backup. Staff can also have deleted it or
merged it into another one. Only a person can know which it is, so nothing is repaired without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from crmgate.delivery import identity
from crmgate.model import Operation, rfc3339
from crmgate.operators.comparison import ComparedCrm, Done, ReceiptComparison
from crmgate.operators.inventory import CHUNK, Filter, Inventory
from crmgate.plugin_host.caller import HookCaller
from crmgate.store.audit import Action, made
from crmgate.store.gate import Recipient
from crmgate.store.ledger import Ledger
from crmgate.store.reconciled import KeptPayloads, ReconcileBook

DAY = 24 * 3600.0
"""Seconds between two daily runs."""
CHECK_SECONDS = 60.0
"""Seconds between two checks whether a daily run is due."""
PERIOD = 7 * DAY
"""Seconds before a daily run in which its operations were accepted: receipts are not kept longer."""
CLOCK_SKEW = 60.0
"""Seconds by which the clock of a host may differ from that of Redis."""
REMEMBERED = 1000
"""Largest number of gaps that a result names."""
NAMED = 5
"""Number of operations that an alert names."""
_NUMBERS = (
    "in_crm", "missing", "unsettled", "other_crm", "not_comparable", "waiting", "dead_letters", "suspects", "discarded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """A delivered operation that the CRM no longer has. `repairable`: its payload is kept, so it can be sent again."""

    operation: Operation
    repairable: bool

    def to_json(self) -> dict[str, Any]:
        """The gap for JSON, without personal data. `lead_id` and `url` are those of the receipt."""
        one, receipt = self.operation, self.operation.delivered
        assert receipt is not None
        return {
            "id": one.id, "tracking_code": one.tracking_code, "kind": str(one.kind),
            "submitted_at": rfc3339(one.accepted_at), "provider": receipt.provider, "lead_id": receipt.record_id,
            "url": receipt.url, "repairable": self.repairable,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a comparison: numbers of the operations accepted from `since` until `at` (seconds since the epoch).

    `other_crm`: delivered to a CRM that is not configured, or by a newer version. `not_comparable`: delivered to a
    destination that cannot be searched, such as a webhook. `unsettled`: not found, but delivered
    so recently that the search of the CRM may not show it yet. `gaps` has the `missing` ones, the oldest first.
    """

    since: float
    at: float
    in_crm: int = 0
    missing: int = 0
    unsettled: int = 0
    other_crm: int = 0
    not_comparable: int = 0
    waiting: int = 0
    dead_letters: int = 0
    suspects: int = 0
    discarded: int = 0
    gaps: tuple[Gap, ...] = ()

    @property
    def accepted(self) -> int:
        """Number of operations that crmgate knows: the sum of the others."""
        return sum(self.counts().values())

    @property
    def checked(self) -> int:
        """Number of operations that were looked for in a CRM."""
        return self.in_crm + self.missing + self.unsettled

    def counts(self) -> dict[str, int]:
        """The numbers by their names."""
        return {name: getattr(self, name) for name in _NUMBERS}

    def to_json(self) -> dict[str, Any]:
        """The result for JSON, with at most `REMEMBERED` gaps."""
        times = {"since": rfc3339(self.since), "at": rfc3339(self.at)}
        gaps = [gap.to_json() for gap in self.gaps[:REMEMBERED]]
        return {**times, "accepted": self.accepted, "checked": self.checked, **self.counts(), "gaps": gaps}


class Reconcile:
    """Compares the ledger with the CRM, and repairs. Every method raises `LedgerUnavailable`.

    `to` is the active CRM `crm`. `others` finds another CRM by its name, None if its settings are missing. `budget` is
    the limit of one batch in seconds. `notify` calls a listener hook.
    """

    def __init__(
        self, ledger: Ledger, inventory: Inventory, book: ReconcileBook, kept: KeptPayloads, crm: HookCaller,
        to: Recipient, *, others: Callable[[str], HookCaller | None] = lambda _name: None, budget: float = 30.0,
        notify: Callable[..., None] = lambda *_, **__: None, sleep: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self._ledger, self._inventory, self._book, self._kept = ledger, inventory, book, kept
        self._crm, self._to, self._others, self._notify = crm, to, others, notify
        self._budget, self._sleep = budget, sleep
        self._next_check = 0.0

    def total(self, since: float) -> int:
        """Number of operations accepted since then that a comparison looks at: an upper limit."""
        return self._inventory.accepted_since(since)

    def compare(self, since: float, done: Done = lambda _: None) -> Report:
        """Look up every delivered operation that was accepted since then (seconds since the epoch).

        `done` is called with the number of operations so far. The result of a comparison of at least `PERIOD` is kept
        as the last one. Raises `CrmShut` and `ProviderError`.
        """
        now = self._ledger.now()
        comparison = ReceiptComparison(
            self._ledger, self._inventory, self._book, self._reach, budget=self._budget, sleep=self._sleep
        )
        comparison.run(Filter(accepted_from=since, accepted_to=now), done)
        gaps = self._gaps(sorted(comparison.lost, key=lambda one: (one.accepted_at, one.id)))
        report = Report(since, now, missing=len(gaps), gaps=gaps, **comparison.numbers)
        self._keep(report)
        return report

    def repair(self, report: Report, ids: Collection[str], who: str, done: Done = lambda _: None) -> Report:
        """Send the repairable gaps with these ids again, the oldest first; each one is an entry in the audit log.

        Returns the report with the gaps that are left. An operation that changed since is one of them.
        """
        wanted = [gap.operation for gap in report.gaps if gap.repairable and gap.operation.id in ids]
        repaired = set[str]()
        for number, operation in enumerate(wanted, 1):
            if self._repaired(operation, who):
                repaired.add(operation.id)
            done(number)
        gaps = tuple(gap for gap in report.gaps if gap.operation.id not in repaired)
        left = replace(report, missing=len(gaps), gaps=gaps, waiting=report.waiting + len(repaired))
        self._keep(left)
        return left

    def is_due(self) -> bool:
        """Whether the last comparison is a day old. Asks Redis only once in `CHECK_SECONDS`."""
        if time.monotonic() < self._next_check:
            return False
        self._next_check = time.monotonic() + CHECK_SECONDS
        last = self.last()
        return last is None or self._ledger.now() - moment_of(last) >= DAY

    def daily(self, process: str) -> Report | None:
        """Compare the operations of `PERIOD`; None if another process does so.

        Calls the listeners for gaps that the last comparison did not name. Raises `CrmShut` and `ProviderError`: then
        the next attempt follows in `RECONCILING_SECONDS`.
        """
        if not self._book.begin(process):
            return None
        last = self.last()
        report = self.compare(self._ledger.now() - PERIOD, self._proceed)
        known = {gap["id"] for gap in last["gaps"]} if last else set[str]()
        new = [gap.operation.id for gap in report.gaps if gap.operation.id not in known]
        if new:
            self._notify("records_missing", missing=report.missing, checked=report.checked, operations=new[:NAMED])
        self._book.end()
        return report

    def last(self) -> dict[str, Any] | None:
        """The last result, as `Report.to_json` wrote it; None before the first comparison."""
        return self._book.last()

    def _proceed(self, number: int) -> None:
        if number % CHUNK == 0:
            self._book.proceed()

    def _keep(self, report: Report) -> None:
        if report.at - report.since >= PERIOD - CLOCK_SKEW:
            self._book.save(report.to_json())

    def _reach(self, name: str) -> ComparedCrm | None:
        if name == self._to.provider:
            return ComparedCrm(self._crm, self._to)
        other = self._others(name)
        if other is None:
            return None
        to = Recipient(name, other.credentials, rate=other.rate, active=False, settle=other.settle_seconds)
        return ComparedCrm(other, to)

    def _gaps(self, lost: list[Operation]) -> tuple[Gap, ...]:
        kept = set[str]()
        for start in range(0, len(lost), CHUNK):
            kept |= self._kept.which([one.id for one in lost[start : start + CHUNK]])
        return tuple(Gap(one, one.id in kept) for one in lost)

    def _repaired(self, operation: Operation, who: str) -> bool:
        payload = self._kept.read([operation.id]).get(operation.id)
        if payload is None:
            return False
        receipt = operation.delivered
        detail = f"{receipt.provider} no longer has the record {receipt.record_id}" if receipt else ""
        entry = made(self._ledger.now(), who, Action.REPAIR, operation.id, detail)
        return self._book.repair(operation, self._to, entry, people=identity.people(payload))


def moment_of(result: dict[str, Any]) -> float:
    """Time of a kept result in seconds since the epoch."""
    return datetime.fromisoformat(str(result["at"])).timestamp()

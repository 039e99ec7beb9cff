"""One comparison with the CRM: which of the delivered operations it still has.

Operations are read page by page and looked up in batches, with the requests that the CRM's vendor allows and that no
delivery needs. Nothing is sent while the gate of the CRM is shut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from crmgate.errors import OutOfTime, RateLimited, Unavailable
from crmgate.model import EventType, Operation, State
from crmgate.operators.inventory import Filter, Inventory
from crmgate.plugin_host.caller import HookCaller
from crmgate.store.gate import Cause, Recipient
from crmgate.store.ledger import Ledger
from crmgate.store.reconciled import ReconcileBook

BATCH = 50
"""Number of operations that are looked up together."""
SINGLE_BATCH = 5
"""The same for a CRM whose plugin looks up one operation at a time."""
RETRIES = (1.0, 5.0, 25.0)
"""Seconds before a look-up is repeated that the CRM did not answer."""
LONGEST_WAIT = 60.0
"""Longest wait before a look-up is repeated, in seconds, whatever the CRM asks for."""
TAKEN = 2
"""Requests that are taken from the vendor's limit before a batch; the difference is settled after it."""

Done = Callable[[int], object]

_COUNTED: Mapping[State, str] = {
    State.DEAD: "dead_letters", State.SUSPECT: "suspects", State.DISCARDED: "discarded",
}  # fmt: skip


class CrmShut(Exception):
    """Nothing may be sent to the CRM now: its gate is shut."""

    def __init__(self, provider: str, cause: Cause) -> None:
        self.provider, self.cause = provider, cause
        super().__init__(f"nothing is sent to {provider} now ({cause})")


@dataclass
class ComparedCrm:
    """A CRM during a comparison, with the operations that are not looked up yet.

    `owed`: requests that were sent, less those that were taken from the vendor's limit.
    """

    caller: HookCaller
    to: Recipient
    pending: list[Operation] = field(default_factory=list)
    owed: int = 0

    @property
    def batch(self) -> int:
        """Number of operations that are looked up together."""
        return BATCH if self.caller.finds_many else SINGLE_BATCH


class ReceiptComparison:
    """Compares the operations of a time with the CRMs that have their records.

    `reach` finds a CRM by its name, None if it is not configured. `budget` is the limit of one batch in seconds. After
    `run`, `numbers` has the number of operations by result (the fields of `Report`), and `lost` the operations that
    their CRM does not have.
    """

    def __init__(
        self, ledger: Ledger, inventory: Inventory, book: ReconcileBook,
        reach: Callable[[str], ComparedCrm | None], *, budget: float, sleep: Callable[[float], object],
    ) -> None:  # fmt: skip
        self.numbers, self.lost = Counter[str](), list[Operation]()
        self._ledger, self._inventory, self._book = ledger, inventory, book
        self._reach, self._budget, self._sleep = reach, budget, sleep
        self._crms: dict[str, ComparedCrm | None] = {}

    def run(self, accepted: Filter, done: Done) -> None:
        """Compare the operations that match the filter. `done` is called with the number of operations so far.

        Raises `CrmShut`, `ProviderError` and `LedgerUnavailable`.
        """
        try:
            for number, operation in enumerate(self._inventory.all(accepted), 1):
                self._sort(operation)
                done(number)
            for crm in filter(None, self._crms.values()):
                self._look_up(crm)
        finally:
            for crm in filter(None, self._crms.values()):
                self._book.inquire(crm.to, used=crm.owed, wanted=0)

    def _sort(self, operation: Operation) -> None:
        """Count the operation, or look it up with others of its CRM."""
        if operation.state != State.DELIVERED or operation.delivered is None:
            self.numbers[_COUNTED.get(operation.state, "waiting")] += 1
            return
        crm = self._crm(operation.delivered.provider)
        if crm is None or not operation.kind.known:
            self.numbers["other_crm"] += 1
            return
        if not crm.caller.delivery.searched:
            self.numbers["not_comparable"] += 1
            return
        crm.pending.append(operation)
        if len(crm.pending) >= crm.batch:
            self._look_up(crm)

    def _crm(self, name: str) -> ComparedCrm | None:
        if name not in self._crms:
            self._crms[name] = self._reach(name)
        return self._crms[name]

    def _look_up(self, crm: ComparedCrm) -> None:
        operations, crm.pending = crm.pending, []
        found = self._found(crm, operations) if operations else {}
        self.numbers["in_crm"] += len(found)
        now = self._ledger.now()
        for operation in operations:
            if operation.id in found:
                continue
            if now - _delivered_at(operation) < crm.to.settle:  # the search of the CRM may not show it yet
                self.numbers["unsettled"] += 1
            else:
                self.lost.append(operation)

    def _found(self, crm: ComparedCrm, operations: list[Operation]) -> Mapping[str, str]:
        """The operations that the CRM has. Repeats the look-up if the CRM does not answer."""
        for wait in RETRIES:
            try:
                return self._ask(crm, operations)
            except (RateLimited, Unavailable, OutOfTime) as error:
                self._sleep(min(error.retry_after or wait, LONGEST_WAIT))
        return self._ask(crm, operations)

    def _ask(self, crm: ComparedCrm, operations: list[Operation]) -> Mapping[str, str]:
        """Look the operations up once. Raises `CrmShut` and `ProviderError`."""
        self._take(crm)
        crm.caller.used()
        try:
            return crm.caller.find_many(operations, self._budget)
        finally:
            crm.owed += crm.caller.used()

    def _take(self, crm: ComparedCrm) -> None:
        """Take requests from the vendor's limit; wait until it allows them."""
        while True:
            inquiry = self._book.inquire(crm.to, used=crm.owed, wanted=TAKEN)
            crm.owed = 0
            if inquiry.cause:
                raise CrmShut(crm.to.provider, inquiry.cause)
            if not inquiry.wait:
                crm.owed = -TAKEN
                return
            self._sleep(inquiry.wait)


def _delivered_at(operation: Operation) -> float:
    """Time of the delivery in seconds since the epoch; that of the acceptance if the history was erased."""
    times = (event.at for event in reversed(operation.events) if event.outcome is EventType.DELIVERED)
    return next(times, operation.accepted_at)

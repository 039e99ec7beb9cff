"""Checks: an operation that sends several writes, such as a person and then a lead. Each of them fails alone.

Of a plugin whose operations send one write each they require only that each kind of operation is delivered: the other
checks let that write fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from crmgate.errors import ProviderError
from crmgate.model import Kind, Operation
from crmgate.policy import DeliveryMode
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import needs_mode
from crmgate.testing.contract.base import Contract, delivered, expect, made
from crmgate.testing.contract.outcomes import ends_with

CONFIRM = "Read the answer to each write and raise its error: otherwise what this write says is lost."
SEARCH = (
    "Before a write, search for what an earlier attempt stored: by the operation id, or by the email of the person."
)


@dataclass(frozen=True)
class Write:
    """One of several writes of an operation. `number` counts from 1."""

    prepare: Callable[[], Operation]
    number: int
    name: str
    records: int
    """Number of records in the CRM after the operation without a failure."""


class StepChecks(Contract):
    """Each write of an operation fails alone."""

    def test_each_of_several_writes_is_confirmed(self) -> None:
        """For a hook that sends several writes: one is answered with 500 or with a page, and the others succeed."""
        for write in self._each_write():
            for bad in (samples.SERVER_ERRORS[0], samples.HTML_PAGES[0]):
                operation = self._failing(write, "answer", **bad.options())
                ends_with(self.deliver(operation), ProviderError, f"{bad.when} to {write.name}", CONFIRM)

    @needs_mode(DeliveryMode.EXACTLY_ONCE, DeliveryMode.IDEMPOTENT)
    def test_lost_answer_to_each_of_several_writes_makes_no_second_record(self) -> None:
        """For a hook that sends several writes: the answer to one is lost, and crmgate sends the operation again."""
        for write in self._each_write():
            operation = self._failing(write, "drop", when="after")
            delivered(self.retried(operation, self.deliver))
            count = self._total()
            shown = f"{count} records instead of {write.records} after the answer to {write.name} was lost"
            expect(count == write.records, f"{operation.kind} makes {shown}. {SEARCH}")

    def _failing(self, write: Write, kind: str, **options: object) -> Operation:
        """The operation, to be sent to a new CRM in which only this write fails."""
        operation = write.prepare()
        self.fail_writes(self.crm, kind, every=write.number, times=1, **options)
        return operation

    def _each_write(self) -> Iterator[Write]:
        for prepare in self._preparations():
            sent = self.deliver(prepare())
            delivered(sent)
            writes = self.writes(sent.requests)
            records, of = self._total(), len(writes)
            for number, one in enumerate(writes if of > 1 else (), 1):
                yield Write(prepare, number, f"write {number} of {of} ({one.method} {one.path})", records)

    def _preparations(self) -> Iterator[Callable[[], Operation]]:
        """A new person, a known person, a click, an update and an activity, each with a CRM of its own."""
        yield partial(self._of_new_person, Kind.CREATE_LEAD)
        yield partial(self._of_new_person, Kind.CREATE_MINIMAL_LEAD)
        for policy in ("note", "update"):
            yield partial(self._of_known_person, Kind.CREATE_LEAD, policy)
        for kind in (Kind.UPDATE_LEAD, Kind.LOG_ACTIVITY):
            if self.implements(kind):
                yield partial(self._of_known_person, kind)

    def _of_new_person(self, kind: Kind) -> Operation:
        self.restart()
        return made(kind, samples.CLICK if kind is Kind.CREATE_MINIMAL_LEAD else self.full_lead())

    def _of_known_person(self, kind: Kind, policy: str = "note") -> Operation:
        """An operation of a person with a lead that has few values."""
        self.restart(on_duplicate=policy)
        lead_id = self.created_id(self.adapted(samples.SPARSE))
        if kind is Kind.CREATE_LEAD:
            return made(kind, self.full_lead())
        data = samples.NEWS if kind is Kind.LOG_ACTIVITY else self.full_lead()
        return made(kind, data, lead_id, self.provider.name)

    def _total(self) -> int:
        return sum(map(len, self.crm.records().values()))

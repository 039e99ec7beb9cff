"""Plugins with one fault in `create_leads` or `find_leads`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from crmgate import hookimpl
from crmgate.errors import Code, OutcomeUnknown, ProviderError, Rejected, Unavailable
from crmgate.model import Delivered, Lead, Operation
from crmgate.provider import time_left
from tests.testing.contract.acme import Acme
from tests.testing.contract.broken import fails

Leads = Sequence[tuple[Lead, Operation]]
Outcomes = Mapping[str, Delivered | ProviderError | None]


@fails("known_person_is_handled_as_configured", alone=True)
class MergesWithoutSayingSo(Acme):
    capabilities = Acme.capabilities - {"detects_duplicates"}


@fails("leads_at_once_is_as_described", alone=True)
class OneLeadAtATime(Acme):
    leads_at_once = 1


@fails("a_batch_creates_each_lead", alone=True)
class MixesOutcomesUp(Acme):
    def _batch(self, operations: list[Operation], records: list[dict[str, Any]]) -> dict[str, Delivered | None]:
        made = super()._batch(operations, records)
        return dict(zip(made, [*made.values()][::-1], strict=True))


@fails("a_batch_creates_each_lead", alone=True)
class ForgetsTheLastLead(Acme):
    @hookimpl
    def create_leads(self, leads: Leads) -> Outcomes:
        made = dict(super().create_leads(leads))
        made.popitem()
        return made


@fails("a_batch_leaves_a_known_person_alone", alone=True)
class BatchWithoutASearch(Acme):
    @hookimpl
    def create_leads(self, leads: Leads) -> Outcomes:
        return self._batch([operation for _, operation in leads], [self._record(*pair) for pair in leads])


@fails("a_refused_lead_fails_no_other_one", alone=True)
class OneRefusalFailsAll(Acme):
    @hookimpl
    def create_leads(self, leads: Leads) -> Outcomes:
        made = super().create_leads(leads)
        if None in made.values():
            raise Rejected("one of them is refused")
        return made


@fails("a_refused_lead_fails_no_other_one", alone=True)
class ShiftsOutcomesAfterARefusal(Acme):
    """The leads that were created are taken one after the other."""

    @hookimpl
    def create_leads(self, leads: Leads) -> Outcomes:
        made = super().create_leads(leads)
        ids = [one for one in made.values() if one is not None]
        return dict(zip(made, [*ids, None], strict=False)) if len(ids) < len(made) else made


@fails("a_batch_without_an_answer_is_outcome_unknown", alone=True)
class LostBatchIsUnavailable(Acme):
    @hookimpl
    def create_leads(self, leads: Leads) -> Outcomes:
        try:
            return super().create_leads(leads)
        except OutcomeUnknown:
            raise Unavailable("no answer", code=Code.CONNECTION_FAILED) from None


@fails("a_batch_without_an_answer_is_outcome_unknown", alone=True)
class LostBatchGoesAlone(Acme):
    @hookimpl
    def create_leads(self, leads: Leads) -> Outcomes:
        try:
            return super().create_leads(leads)
        except OutcomeUnknown:
            return {operation.id: None for _, operation in leads}


@fails("a_batch_keeps_to_its_time", alone=True)
class BatchIgnoresItsTime(Acme):
    @hookimpl
    def create_leads(self, leads: Leads) -> Outcomes:
        try:
            return super().create_leads(leads)
        finally:
            time.sleep(0 if time_left() else 1.5)


@fails("only_leads_that_exist_are_found_together", alone=True)
class FindsLeadsThatDoNotExist(Acme):
    @hookimpl
    def find_leads(self, operations: Sequence[Operation]) -> Mapping[str, Delivered]:
        unknown = {one.id: Delivered(self.name, "A1", adopted=True) for one in operations}
        return unknown | super().find_leads(operations)


@fails("leads_of_a_crm_that_is_unavailable_are_an_error", alone=True)
class FindsNothingWhileUnavailable(Acme):
    @hookimpl
    def find_leads(self, operations: Sequence[Operation]) -> Mapping[str, Delivered]:
        try:
            return super().find_leads(operations)
        except Unavailable:
            return {}

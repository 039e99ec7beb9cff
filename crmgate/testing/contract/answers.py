"""Checks: answers with 403, 404, 409, 429 and 503, as text and as JSON, to every hook."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from functools import partial

from crmgate.errors import AuthFailed, NotFound, OutcomeUnknown, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import Subject, applies_if
from crmgate.testing.contract.base import CallResult, Contract, expect, fail, reason
from crmgate.testing.contract.outcomes import ends_with

OUTAGES = (Unavailable, OutcomeUnknown, RateLimited)
NOT_OF_THE_LEAD = "Raise AuthFailed or Unavailable: the lead is good, and would become a dead letter."
WAITS = (
    ("7", 7.0, 7.0),
    ("1.5", 1.5, 2.0),
    ("a date in 90 s", 80.0, 95.0),
)
"""Values of Retry-After, with the least and the largest number of seconds that `retry_after` may have."""


@applies_if
def needs_429(plugin: Subject) -> str:
    """The decorated check applies to a CRM that limits the rate with the status 429."""
    usual = plugin.contract.rate_limit is Contract.rate_limit
    return "" if usual else "the CRM limits the rate in its own way"


class AnswerChecks(Contract):
    """Statuses that say nothing about the lead itself."""

    def test_missing_right_is_no_refusal_of_the_lead(self) -> None:
        """403, as text and as JSON, on every hook: an operator corrects a right, and the lead waits."""
        for bad, outcome in self._answered(samples.NO_RIGHT):
            ends_with(outcome, ProviderError, bad.when, NOT_OF_THE_LEAD)
            expect(not isinstance(outcome.error, Rejected | NotFound), f"{outcome} {bad.when}. {NOT_OF_THE_LEAD}")

    def test_wrong_address_is_no_refusal_of_the_lead(self) -> None:
        """The 404 page of a web server on every hook, and a 404 in JSON for a create: the address is wrong."""
        for bad, outcome in self._answered((samples.NO_PAGE,)):
            self._is_one_of((Unavailable, OutcomeUnknown, AuthFailed), outcome, bad.when, NOT_OF_THE_LEAD)
        self._fail_all(samples.NO_PATH)
        for outcome in self.creates():
            ends_with(outcome, ProviderError, samples.NO_PATH.when, NOT_OF_THE_LEAD)
            wrong = isinstance(outcome.error, Rejected | NotFound)
            expect(not wrong, f"{outcome} {samples.NO_PATH.when}. {NOT_OF_THE_LEAD}")

    def test_maintenance_is_an_outage(self) -> None:
        """503, as text and as JSON, on every hook: the lead waits until the CRM is back."""
        for bad, outcome in self._answered(samples.MAINTENANCE):
            self._is_one_of(OUTAGES, outcome, bad.when, "Raise Unavailable, or OutcomeUnknown after a write.")

    def test_conflict_is_never_delivered(self) -> None:
        """409 for every write: nothing was stored, also if the answer has an id."""
        lead_id = self._lead_id()
        for bad in samples.CONFLICTS:
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            remedy = "Nothing was stored: raise an error, unless a note or an update on the known record was stored."
            for outcome in self._deliveries(lead_id):
                ends_with(outcome, ProviderError, bad.when, remedy)

    @needs_429
    def test_retry_after_is_read_in_each_form(self) -> None:
        """Seconds, a fraction, a date, or no header: `Answer.retry_after` reads them. For a CRM that answers 429."""
        for value, least, most in WAITS:
            header = formatdate(time.time() + 90, usegmt=True) if "date" in value else value
            for error in self._limited({"Retry-After": header}):
                good = error.retry_after is not None and least <= error.retry_after <= most
                shown = f"retry_after={error.retry_after} for Retry-After: {value}"
                expect(good, f"RateLimited with {shown}. Write retry_after=answer.retry_after.")
        for error in self._limited({}):
            expect(error.retry_after is None, f"retry_after={error.retry_after} without a header. Leave it None.")

    def _limited(self, headers: dict[str, str]) -> Iterator[ProviderError]:
        self.crm.heal()
        self.crm.fail("answer", status=429, headers=headers)
        for outcome in (*self.creates(), *self.finds()):
            yield ends_with(outcome, RateLimited, "when the CRM limits the rate", "Raise RateLimited.")

    def _answered(self, answers: Iterable[samples.Bad]) -> Iterator[tuple[samples.Bad, CallResult]]:
        """Calls of every hook while the CRM gives these answers, first to writes only, then to all requests."""
        lead_id = self._lead_id()
        for bad in answers:
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            yield from ((bad, outcome) for outcome in self._deliveries(lead_id))
            self._fail_all(bad)
            yield from ((bad, outcome) for outcome in (*self._deliveries(lead_id), *self._reads()))

    def _fail_all(self, bad: samples.Bad) -> None:
        self.crm.heal()
        self.crm.fail("answer", **bad.options())

    def _lead_id(self) -> str:
        return self.created_id() if self.implements("update_lead") or self.implements("log_activity") else ""

    def _deliveries(self, lead_id: str) -> Iterator[CallResult]:
        yield from self.creates()
        if self.implements("update_lead"):
            yield self.update(lead_id, self.full_lead())
        if self.implements("log_activity"):
            yield self.log(lead_id, samples.NEWS)

    def _reads(self) -> Iterator[CallResult]:
        yield from self.finds()
        for hook, ask in (
            ("describe_fields", partial(self.ask, "describe_fields")),
            ("provision", partial(self.ask, "provision", apply=False)),
        ):
            outcome = ask() if self.implements(hook) else None
            if outcome is not None and outcome.requests:  # a hook that asks the CRM nothing cannot fail
                yield outcome

    def _is_one_of(
        self, kinds: tuple[type[ProviderError], ...], outcome: CallResult, when: str, remedy: str
    ) -> None:  # fmt: skip
        if not isinstance(outcome.error, kinds):
            fail(f"{outcome} {when}{reason(outcome)}. {remedy}")

"""Checks: each way in which a CRM fails ends in the error that tells crmgate what to do next."""

from __future__ import annotations

from collections.abc import Iterable

from crmgate.errors import AuthFailed, OutcomeUnknown, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Delivered
from crmgate.testing.contract import samples
from crmgate.testing.contract.base import GRACE, CallResult, Contract, expect, fail, reason
from crmgate.testing.contract.text import texts

LOOK_FIRST = "Raise OutcomeUnknown (`lost(False, ...)`): crmgate then looks in the CRM before it sends it again."


class OutcomeChecks(Contract):
    """Creates and look-ups while the CRM fails."""

    def test_create_without_connection_is_unavailable(self) -> None:
        """Nothing was sent, so it is safe to send it again."""
        self.crm.stop()
        for outcome in self.creates():
            ends_with(outcome, Unavailable, "while nobody listens", "Nothing was sent: raise Unavailable.")

    def test_create_without_answer_is_outcome_unknown(self) -> None:
        """The CRM got the request and says nothing."""
        self.fail_writes(self.crm, "hang", seconds=self.silence)
        for outcome in self.creates(self.patience):
            ends_with(outcome, OutcomeUnknown, "when the CRM does not answer", LOOK_FIRST)

    def test_create_keeps_to_its_time(self) -> None:
        """A visitor waits; crmgate gives a call its seconds with `time_budget`."""
        self.fail_writes(self.crm, "hang", seconds=self.silence)
        in_time(self.create(budget=self.patience), self.patience)

    def test_create_cut_before_it_was_stored_is_outcome_unknown(self) -> None:
        """The connection breaks; nobody can tell at which moment."""
        self.fail_writes(self.crm, "drop")
        for outcome in self.creates():
            ends_with(outcome, OutcomeUnknown, "when the connection breaks", LOOK_FIRST)

    def test_create_cut_after_it_was_stored_is_outcome_unknown(self) -> None:
        """The record is there, the answer is not."""
        self.fail_writes(self.crm, "drop", when="after")
        for outcome in self.creates():
            self._unknown_or_adopted(outcome, "when the connection breaks")

    def test_create_answered_with_a_server_error_is_outcome_unknown(self) -> None:
        """A 500 may come from after the record was stored."""
        self._unknown_after(samples.SERVER_ERRORS)

    def test_create_answered_with_html_is_outcome_unknown(self) -> None:
        """A login page or a proxy's page with status 200."""
        self._unknown_after(samples.HTML_PAGES)

    def test_create_answered_with_half_a_json_is_outcome_unknown(self) -> None:
        """An answer that was cut."""
        self._unknown_after(samples.TRUNCATED)

    def test_create_answered_with_nothing_is_outcome_unknown(self) -> None:
        """Success without an id confirms nothing."""
        self._unknown_after(samples.EMPTY)

    def test_create_answered_with_other_json_is_outcome_unknown(self) -> None:
        """JSON, but not what the CRM answers to a create."""
        self._unknown_after(samples.OTHER_JSON)

    def test_rate_limit_is_rate_limited(self) -> None:
        """The CRM wants fewer requests, and may say when to come again."""
        wait = self.rate_limit(self.crm)
        for outcome in self.creates():
            error = ends_with(outcome, RateLimited, "when the CRM limits the rate", "Raise RateLimited.")
            expect(
                wait is None or error.retry_after == wait,
                f"{outcome}, retry_after is {error.retry_after}, but the CRM wants to be asked again after {wait} s. "
                f"Give RateLimited what its answer says.",
            )

    def test_refused_credentials_are_auth_failed(self) -> None:
        """Every other request would fail as well, so crmgate stops sending."""
        self.bad_credentials(self.crm)
        for outcome in (*self.creates(), self.find()):
            ends_with(outcome, AuthFailed, "when the CRM refuses the credentials", "Raise AuthFailed.")

    def test_refused_value_is_rejected_or_moved(self) -> None:
        """No retry mends it: a person decides, unless `send_describing` puts the value into the description."""
        self.refusal(self.crm)
        outcome = self.create()
        if not isinstance(outcome.result, Delivered):
            ends_with(outcome, Rejected, "when the CRM refuses a value", "Raise Rejected.")
            return
        there, writes = self.stored(self.crm, outcome.operation.id), self.writes(outcome.requests)
        expect(there, f"{outcome} when the CRM refuses a value, but the lead is not there. Raise Rejected.")
        named = outcome.result.moved or len(writes) == 1  # a plugin may know beforehand what the CRM would refuse
        expect(named, f"{outcome} for a record without the refused value, but `moved` is empty. Name the field there.")
        told = self.sent_text(writes[-1])
        lost = [value for value in texts(self.full_lead().to_dict()) if not self.arrived(value, told)]
        expect(
            not lost, f"{outcome} after the CRM refused a value, and {lost} is lost. Move it with `send_describing`."
        )

    def test_failed_look_up_is_no_answer(self) -> None:
        """None says that nothing is there: crmgate would create the lead a second time."""
        for bad in (*samples.UNREADABLE, *samples.OTHER_JSON):
            self.crm.heal()
            self.crm.fail("answer", **bad.options())
            told = "Raise Unavailable (`lost(True, ...)`): else a lead is made twice, or taken for delivered."
            ends_with(self.find(), ProviderError, f"when the CRM answered with {bad.told}", told)

    def test_failed_look_up_is_never_outcome_unknown(self) -> None:
        """What only reads changes nothing, so its outcome is no question."""
        remedy = "Raise Unavailable (`lost(True, ...)`, `request(..., safe=True)`)."
        for bad in (samples.SERVER_ERRORS[0], samples.HTML_PAGES[0]):
            self.crm.heal()
            self.crm.fail("answer", **bad.options())
            self._safe_failure(self.find(), f"when the CRM answered with {bad.told}", remedy)
        self.crm.heal()
        self.crm.fail("drop")
        self._safe_failure(self.find(), "when the connection breaks", remedy)
        self.crm.stop()
        self._safe_failure(self.find(), "while nobody listens", remedy)

    def test_look_up_keeps_to_its_time(self) -> None:
        """The look-up comes out of the same seconds as the create that follows."""
        self.crm.fail("hang", seconds=self.silence)
        outcome = self.find(budget=self.patience)
        in_time(outcome, self.patience)
        self._safe_failure(outcome, "when the CRM does not answer", "Raise Unavailable (`lost(True, ...)`).")

    def _unknown_after(self, answers: Iterable[samples.Bad]) -> None:
        for bad in answers:
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            for outcome in self.creates():
                ends_with(outcome, OutcomeUnknown, f"when the CRM answered with {bad.told}", LOOK_FIRST)

    def _unknown_or_adopted(self, outcome: CallResult, when: str) -> None:
        """A plugin may look by itself and adopt what it finds."""
        if not (isinstance(outcome.result, Delivered) and outcome.result.adopted):
            ends_with(outcome, OutcomeUnknown, when, LOOK_FIRST)

    def _safe_failure(self, outcome: CallResult, when: str, remedy: str) -> None:
        ends_with(outcome, ProviderError, when, remedy)
        expect(not isinstance(outcome.error, OutcomeUnknown), f"{outcome} {when}. {remedy}")


def ends_with(outcome: CallResult, kind: type[ProviderError], when: str, remedy: str) -> ProviderError:
    """The error of a call that has to end with one of this kind."""
    __tracebackhide__ = True
    if not isinstance(outcome.error, kind):
        fail(f"{outcome} {when}{reason(outcome)}. {remedy}")
    return outcome.error


def in_time(outcome: CallResult, seconds: float) -> None:
    """A call with a short time limit has to keep to it."""
    expect(
        outcome.seconds <= seconds + GRACE,
        f"{outcome} after {outcome.seconds:.1f} s; it had {seconds} s. Send every request with self.request.",
    )

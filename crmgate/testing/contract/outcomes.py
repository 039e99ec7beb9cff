"""Checks: each failure of a CRM becomes the error on which crmgate bases its next step."""

from __future__ import annotations

from collections.abc import Iterable

from crmgate.errors import AuthFailed, OutcomeUnknown, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Delivered
from crmgate.policy import DeliveryMode
from crmgate.testing.contract import samples
from crmgate.testing.contract.applies import applies_if, needs_mode
from crmgate.testing.contract.base import GRACE, CallResult, Contract, expect, fail, reason
from crmgate.testing.contract.text import texts

PATIENT = 5
"""Factor of the second time limit, if no create reached the CRM within the first."""
NEXT = {
    DeliveryMode.EXACTLY_ONCE: "crmgate then calls find_lead before it retries.",
    DeliveryMode.IDEMPOTENT: "crmgate then sends it again with the same key.",
    DeliveryMode.AT_MOST_ONCE: "it is a dead letter then, and a person looks whether it arrived.",
}
STATUS_CONFIRMS = "If a successful status alone confirms, set `body_confirms = False` in the contract."
needs_body = applies_if(lambda plugin: "" if plugin.contract.body_confirms else "a successful status alone confirms")
"""The decorated check applies to a CRM whose confirmation needs data in the answer."""


class OutcomeChecks(Contract):
    """Creates and look-ups while the CRM fails."""

    def test_create_without_connection_is_unavailable(self) -> None:
        """Nothing was sent, so a retry is safe."""
        self.crm.stop()
        for outcome in self.creates():
            ends_with(outcome, Unavailable, "without a connection", "Nothing was sent: raise Unavailable.")

    def test_create_without_answer_is_outcome_unknown(self) -> None:
        """The CRM received the request and does not answer."""
        for create in (self.create, self.click):
            self.fail_writes(self.crm, "hang", seconds=self.silence)
            outcome = create(budget=self.patience)
            if not self.writes(outcome.requests):  # a busy machine spent the time limit before the create
                self.crm.heal()
                self.fail_writes(self.crm, "hang", seconds=PATIENT * self.silence)
                outcome = create(budget=PATIENT * self.patience)
            self.crm.heal()
            ends_with(outcome, OutcomeUnknown, "when the CRM does not answer", unknown(self.mode))

    def test_create_keeps_to_its_time(self) -> None:
        """A visitor waits: crmgate limits the time of a call with `time_budget`."""
        self.fail_writes(self.crm, "hang", seconds=self.silence)
        in_time(self.create(budget=self.patience), self.patience)

    def test_create_cut_before_it_was_stored_is_outcome_unknown(self) -> None:
        """The connection breaks. The plugin cannot know at which moment."""
        self.fail_writes(self.crm, "drop")
        for outcome in self.creates():
            ends_with(outcome, OutcomeUnknown, "when the connection breaks", unknown(self.mode))

    def test_create_cut_after_it_was_stored_is_outcome_unknown(self) -> None:
        """The CRM stored the record, but its answer was lost."""
        self.fail_writes(self.crm, "drop", when="after")
        for outcome in self.creates():
            self._unknown_or_adopted(outcome, "when the connection breaks")

    def test_create_answered_with_a_server_error_is_outcome_unknown(self) -> None:
        """The CRM may have stored the record before the error."""
        self._unknown_after(samples.SERVER_ERRORS)

    def test_create_answered_with_html_is_outcome_unknown(self) -> None:
        """A login page, or the page of a proxy, with status 200."""
        self._unknown_after(samples.HTML_PAGES)

    @needs_body
    def test_create_answered_with_half_a_json_is_outcome_unknown(self) -> None:
        """The answer was truncated."""
        self._unknown_after(samples.TRUNCATED)

    @needs_body
    def test_create_answered_with_nothing_is_outcome_unknown(self) -> None:
        """Success without an id confirms nothing."""
        self._unknown_after(samples.EMPTY)

    @needs_body
    def test_create_answered_with_other_json_is_outcome_unknown(self) -> None:
        """The answer is JSON, but not that of a create."""
        self._unknown_after(samples.OTHER_JSON)

    def test_rate_limit_is_rate_limited(self) -> None:
        """The CRM limits the rate, and its answer may have the seconds to wait."""
        wait = self.rate_limit(self.crm)
        for outcome in self.creates():
            error = ends_with(outcome, RateLimited, "when the CRM limits the rate", "Raise RateLimited.")
            expect(
                wait is None or error.retry_after == wait,
                f"{outcome} with retry_after={error.retry_after} instead of {wait} s. "
                f"Set retry_after to the seconds in the CRM's answer.",
            )

    def test_refused_credentials_are_auth_failed(self) -> None:
        """Every other request would fail too, so crmgate pauses the provider."""
        self.bad_credentials(self.crm)
        for outcome in (*self.creates(), *self.finds()):
            ends_with(outcome, AuthFailed, "when the CRM refuses the credentials", "Raise AuthFailed.")

    def test_refused_value_is_rejected_or_moved(self) -> None:
        """No retry helps: a person decides, unless `send_describing` moves the value into the description."""
        self.refusal(self.crm)
        outcome = self.create()
        if not isinstance(outcome.result, Delivered):
            ends_with(outcome, Rejected, "when the CRM refuses a value", "Raise Rejected.")
            names_field = type(self).refusal is not Contract.refusal
            claimed = names_field and "moves_refused_fields" in self.provider.capabilities
            remedy = "Move it (`send_describing`), or remove `moves_refused_fields` from `capabilities`."
            expect(not claimed, f"{outcome} when the CRM refuses a value. {remedy}")
            return
        there, writes = self.stored(self.crm, outcome.operation.id), self.writes(outcome.requests)
        expect(there, f"{outcome} when the CRM refuses a value, but the lead does not exist. Raise Rejected.")
        named = outcome.result.moved or len(writes) == 1  # a plugin may know in advance what the CRM refuses
        expect(
            named, f"{outcome} for a record without the refused value, but `moved` is empty. Add the name of the field."
        )
        sent = "\n".join(map(self.sent_text, self.final_writes(outcome.requests)))
        lost = [value for value in texts(self.full_lead().to_dict()) if not self.arrived(value, sent)]
        expect(
            not lost, f"{outcome} after the CRM refused a value, but {lost} is missing. Move it with `send_describing`."
        )

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    def test_failed_look_up_is_no_answer(self) -> None:
        """None means that there is no record: crmgate would create a second lead."""
        for bad in (*samples.UNREADABLE, *samples.OTHER_JSON):
            self.crm.heal()
            self.crm.fail("answer", **bad.options())
            remedy = "Raise Unavailable (`lost(True, ...)`): otherwise a lead is created twice, or is never delivered."
            ends_with(self.find(), ProviderError, bad.when, remedy)

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    def test_failed_look_up_is_never_outcome_unknown(self) -> None:
        """A look-up changes nothing, so a retry is always safe."""
        remedy = "Raise Unavailable (`lost(True, ...)`, `request(..., safe=True)`)."
        for bad in (samples.SERVER_ERRORS[0], samples.HTML_PAGES[0]):
            self.crm.heal()
            self.crm.fail("answer", **bad.options())
            self._safe_failure(self.find(), bad.when, remedy)
        self.crm.heal()
        self.crm.fail("drop")
        self._safe_failure(self.find(), "when the connection breaks", remedy)
        self.crm.stop()
        self._safe_failure(self.find(), "without a connection", remedy)

    @needs_mode(DeliveryMode.EXACTLY_ONCE)
    def test_look_up_keeps_to_its_time(self) -> None:
        """The look-up and the create after it share one time budget."""
        self.crm.fail("hang", seconds=self.silence)
        outcome = self.find(budget=self.patience)
        in_time(outcome, self.patience)
        self._safe_failure(outcome, "when the CRM does not answer", "Raise Unavailable (`lost(True, ...)`).")

    def _unknown_after(self, answers: Iterable[samples.Bad]) -> None:
        for bad in answers:
            hint = bad in samples.WITHOUT_DATA and not self.mode.searched
            remedy = f"{unknown(self.mode)} {STATUS_CONFIRMS}" if hint else unknown(self.mode)
            self.crm.heal()
            self.fail_writes(self.crm, "answer", **bad.options())
            for outcome in self.creates():
                ends_with(outcome, OutcomeUnknown, bad.when, remedy)

    def _unknown_or_adopted(self, outcome: CallResult, when: str) -> None:
        """A plugin may call its own look-up and adopt the record."""
        if not (isinstance(outcome.result, Delivered) and outcome.result.adopted):
            ends_with(outcome, OutcomeUnknown, when, unknown(self.mode))

    def _safe_failure(self, outcome: CallResult, when: str, remedy: str) -> None:
        ends_with(outcome, ProviderError, when, remedy)
        expect(not isinstance(outcome.error, OutcomeUnknown), f"{outcome} {when}. {remedy}")


def unknown(mode: DeliveryMode) -> str:
    """What to write for an answer that does not show whether the work was done."""
    return f"Raise OutcomeUnknown (`lost(False, ...)`): {NEXT[mode]}"


def ends_with(outcome: CallResult, kind: type[ProviderError], when: str, remedy: str) -> ProviderError:
    """The error of a call that must raise this class."""
    __tracebackhide__ = True
    if not isinstance(outcome.error, kind):
        fail(f"{outcome} {when}{reason(outcome)}. {remedy}")
    return outcome.error


def in_time(outcome: CallResult, seconds: float) -> None:
    """Fail the check if a call exceeded its time limit."""
    expect(
        outcome.seconds <= seconds + GRACE,
        f"{outcome} after {outcome.seconds:.1f} s; its limit was {seconds} s. Send every request with self.request.",
    )

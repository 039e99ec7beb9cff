"""Checks: no retries, no redirects, no secrets or personal data in errors and logs, and many threads at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from crmgate.errors import OutOfTime, ProviderError
from crmgate.model import Delivered, Kind, Lead, Operation
from crmgate.plugin_kit.settings import secret_names
from crmgate.provider import time_budget
from crmgate.testing.contract import samples
from crmgate.testing.contract.base import BUDGET, CallResult, Contract, expect, fail, made
from crmgate.testing.contract.counts import usual
from crmgate.testing.contract.outcomes import ends_with

THREADS = 8
REDIRECTS = (301, 302, 303, 307, 308)


class ConductChecks(Contract):
    """Behaviour that no plugin may have, however the CRM behaves."""

    def test_create_is_not_retried_by_the_plugin(self) -> None:
        """crmgate retries after a look-up. A retry of the plugin could create a second lead."""
        for what, kind, options in (
            ("answers 500", "answer", {"status": 500}), ("breaks the connection", "drop", {}),
            ("answers 429", "answer", {"status": 429}),
        ):  # fmt: skip
            self.crm.heal()
            self.fail_writes(self.crm, kind, **options)
            for outcome in self.creates():
                count = len(self.writes(outcome.requests))
                expect(
                    count <= 1,
                    f"{outcome.hook} sent {count} writes when the CRM {what}. Send one, then raise: crmgate retries.",
                )

    def test_nothing_is_sent_when_no_time_is_left(self) -> None:
        """Another process may send the operation then: a request after that time makes leads twice."""
        for outcome in (*self.creates(budget=0.0), *self.finds(budget=0.0)):
            count = len(outcome.requests)
            expect(
                count == 0,
                f"{outcome.hook} sent {count} requests with no time left. Use self.request, or check time_left().",
            )
            ends_with(outcome, OutOfTime, "with no time left", "Raise OutOfTime: this is no failure of the CRM.")

    def test_redirects_are_not_followed_to_another_host(self) -> None:
        """Credentials and personal data must not be sent to the target of a redirect."""
        with samples.Stranger() as stranger:
            for status in REDIRECTS:
                self.crm.heal()
                self.crm.faults.append(samples.Redirect("answer", status=status, target=stranger.address))
                outcomes = [*self.creates(), *self.finds()]
                self.ask("test_connection")
                expect(
                    not stranger.requests,
                    f"a redirect ({status}) to another host was followed. Send every request with self.request.",
                )
                for outcome in outcomes:
                    ends_with(outcome, ProviderError, f"when redirected ({status})", "Raise Unavailable.")

    def test_errors_hold_no_secret_and_nothing_that_a_visitor_typed(self) -> None:
        """Errors are stored, logged and shown, and CRMs repeat in them what was sent."""
        for status, outcome in self._quoted():
            if outcome.error is not None:
                self._is_discreet(_said(outcome.error), f"the error of {outcome.hook} for an answer {status}")

    def test_log_and_output_hold_no_secret_and_nothing_that_a_visitor_typed(self) -> None:
        """This holds for every log level."""
        for outcome in (*self.creates(), *self.finds()):
            self._is_discreet(outcome.output, f"the log of {outcome.hook}")
        for status, outcome in self._quoted():
            self._is_discreet(outcome.output, f"the log of {outcome.hook} for an answer {status}")
        self.crm.stop()
        for outcome in (*self.creates(), *self.finds()):
            self._is_discreet(outcome.output, f"the log of {outcome.hook} without a connection")

    def test_threads_share_a_provider(self) -> None:
        """The web process calls one provider from many threads."""
        expected = usual(self, self.adapted(samples.MINIMAL))
        leads = [_numbered(self.adapted(samples.MINIMAL), number) for number in range(THREADS)]
        operations = [made(Kind.CREATE_LEAD, lead) for lead in leads]
        with ThreadPoolExecutor(THREADS) as pool:
            results = list(pool.map(self._deliver, leads, operations))
        made_ids = {result.record_id for result in results}
        expect(
            len(made_ids) == THREADS,
            f"{THREADS} threads created {len(made_ids)} leads. Do not store data of a call in self.",
        )
        for operation in operations:
            count = self.stored(self.crm, operation.id)
            shown = f"with {THREADS} threads, {count} records have one operation id instead of {expected}"
            expect(count == expected, f"{shown}. Do not store data of a call in self.")

    def _deliver(self, lead: Lead, operation: Operation) -> Delivered:
        with time_budget(BUDGET):
            try:
                result = self.hooks.create_lead(lead=lead, operation=operation)
            except Exception as error:
                fail(
                    f"create_lead raised {type(error).__name__} with {THREADS} threads. "
                    f"Do not store data of a call in self."
                )
        if not isinstance(result, Delivered):
            fail(f"create_lead returned {type(result).__name__} with {THREADS} threads instead of Delivered.")
        return result

    def _quoted(self) -> Iterator[tuple[int, CallResult]]:
        """Calls with answers that repeat the secrets and the visitor's words."""
        secrets = [str(self.provider.settings.get(name) or "") for name in secret_names(type(self.provider).Settings)]
        body, page = samples.quoting(" ".join(secrets)), samples.quoting_page(" ".join(secrets))
        answers = [(status, body, samples.JSON) for status in samples.QUOTING_STATUSES]
        answers += [(status, page, samples.HTML) for status in (200, 404, 502)]
        for status, quoted, content_type in answers:
            self.crm.heal()
            self.crm.fail("answer", status=status, body=quoted, content_type=content_type)
            yield from ((status, outcome) for outcome in (*self.creates(), *self.finds()))
        self.crm.heal()

    def _is_discreet(self, text: str, where: str) -> None:
        expect(self.provider.redact(text) == text, f"{where} contains a secret. Quote no requests and no answers.")
        shown = [word for word in samples.PRIVATE if word.lower() in text.lower()]
        expect(not shown, f"{where} contains what a visitor typed ({', '.join(shown)}). Write a text of your own.")


def _said(error: Exception) -> str:
    """All texts of an error, except the reasons in `Rejected.fields`, which crmgate neither stores nor logs."""
    more = [getattr(error, name, "") for name in ("detail", "vendor_code")]
    return " ".join(map(str, (error, repr(error), error.args, *more)))


def _numbered(lead: Lead, number: int) -> Lead:
    """Another person, so that no CRM finds a duplicate."""
    return replace(lead, first_name=f"Ottilie{number}", email=f"ottilie{number}@example.org")

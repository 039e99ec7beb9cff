"""Checks: the connection test reports failures, raises nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from crmgate.model import Connection
from crmgate.plugin_kit.settings import secret_names
from crmgate.testing.contract import samples
from crmgate.testing.contract.base import CallResult, Contract, expect, fail, reason
from crmgate.testing.contract.outcomes import in_time


class ConnectionChecks(Contract):
    """`test_connection`, which operators and probes call."""

    def test_connection_is_reported_good(self) -> None:
        """The unchanged fake is a working CRM."""
        connection = self._connection(self._probe(), "with a CRM that works")
        failed = "; ".join(f"{check.name}: {check.detail}" for check in connection.checks if not check.ok)
        expect(connection.connected, f"test_connection reports no connection to a working CRM ({failed}).")
        named = connection.provider == self.provider.name
        expect(named, f"Connection.provider is {connection.provider!r}. Set it to self.name.")

    def test_connection_down_is_reported(self) -> None:
        """The CRM is not reachable."""
        self.crm.stop()
        self._is_reported(self._probe(), "without a connection")

    def test_connection_silent_is_reported_in_time(self) -> None:
        """The CRM takes the request and does not answer."""
        self.crm.fail("hang", seconds=self.silence)
        outcome = self._probe(self.patience)
        in_time(outcome, self.patience)
        self._is_reported(outcome, "when the CRM does not answer")

    def test_connection_with_refused_credentials_is_reported(self) -> None:
        """With a wrong key, the test must not report a connection."""
        self.bad_credentials(self.crm)
        self._is_reported(self._probe(), "when the CRM refuses the credentials")

    def test_connection_to_something_else_is_reported(self) -> None:
        """The address leads to another server, or to the page of a proxy."""
        other = (*samples.UNREADABLE, *samples.OTHER_JSON, *samples.NO_RIGHT, samples.NO_PAGE, *samples.MAINTENANCE)
        for bad in other:
            if bad in samples.WITHOUT_DATA and not self.body_confirms:
                continue
            self.crm.heal()
            self.crm.fail("answer", **bad.options())
            self._is_reported(self._probe(), bad.when)

    def test_connection_test_writes_nothing(self) -> None:
        """crmgate runs it every few seconds while the CRM is unavailable."""
        writes = [request for outcome in self._states() for request in self.writes(outcome.requests)]
        sent = ", ".join(sorted({f"{request.method} {request.path}" for request in writes}))
        expect(not writes, f"test_connection sends writes ({sent}). Send only requests that read.")

    def test_connection_details_hold_no_secret(self) -> None:
        """Operators see the details, and CRMs repeat in them what was sent."""
        secrets = [str(self.provider.settings.get(name) or "") for name in secret_names(type(self.provider).Settings)]
        body = samples.quoting(" ".join(secrets))
        for status in samples.QUOTING_STATUSES:
            self.crm.heal()
            self.crm.fail("answer", status=status, body=body, content_type=samples.JSON)
            outcome = self._probe()
            text = f"{outcome.result} {outcome.output}"
            discreet = self.provider.redact(text) == text
            expect(discreet, f"test_connection shows a secret (answer {status}). Write a text of your own.")

    def _states(self) -> Iterator[CallResult]:
        """Connection tests with a working CRM and with a failing one."""
        yield self._probe()
        self.bad_credentials(self.crm)
        yield self._probe()
        self.crm.heal()
        self.crm.fail("answer", status=500)
        yield self._probe()

    def _probe(self, budget: float = 10.0) -> CallResult:
        return self.ask("test_connection", budget)

    def _connection(self, outcome: CallResult, when: str) -> Connection:
        """The result, which must be a Connection."""
        if not isinstance(outcome.result, Connection):
            remedy = "Return a Connection with a failed Check; raise nothing."
            fail(f"{outcome}{reason(outcome)} {when}. {remedy}")
        return outcome.result

    def _is_reported(self, outcome: CallResult, when: str) -> None:
        connection = self._connection(outcome, when)
        expect(not connection.connected, f"test_connection reports a connection {when}. Set connected=False.")
        explained = any(not check.ok and check.detail.strip() for check in connection.checks)
        expect(explained, f"test_connection does not report the problem {when}. Add a detail to the failed Check.")

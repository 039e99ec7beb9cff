"""Checks: the connection test tells what is wrong, raises nothing and changes nothing."""

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
        """With the fake as it comes."""
        connection = self._connection(self._probe(), "with a CRM that works")
        failed = "; ".join(f"{check.name}: {check.detail}" for check in connection.checks if not check.ok)
        expect(connection.connected, f"test_connection is not connected to a CRM that works ({failed}).")
        named = connection.provider == self.provider.name
        expect(named, f"Connection.provider is {connection.provider!r}. Give it self.name.")

    def test_connection_down_is_reported(self) -> None:
        """Nobody listens."""
        self.crm.stop()
        self._is_reported(self._probe(), "while nobody listens")

    def test_connection_silent_is_reported_in_time(self) -> None:
        """The CRM takes the request and does not answer."""
        self.crm.fail("hang", seconds=self.silence)
        outcome = self._probe(self.patience)
        in_time(outcome, self.patience)
        self._is_reported(outcome, "when the CRM does not answer")

    def test_connection_with_refused_credentials_is_reported(self) -> None:
        """A wrong key must not look like a good connection."""
        self.bad_credentials(self.crm)
        self._is_reported(self._probe(), "when the CRM refuses the credentials")

    def test_connection_to_something_else_is_reported(self) -> None:
        """A server that is no such CRM, or a proxy's page."""
        for bad in (*samples.UNREADABLE, *samples.OTHER_JSON):
            self.crm.heal()
            self.crm.fail("answer", **bad.options())
            self._is_reported(self._probe(), f"when the CRM answered with {bad.told}")

    def test_connection_test_writes_nothing(self) -> None:
        """It runs every few seconds while the CRM is away."""
        writes = [request for outcome in self._states() for request in self.writes(outcome.requests)]
        told = ", ".join(sorted({f"{request.method} {request.path}" for request in writes}))
        expect(not writes, f"test_connection writes ({told}). Use requests that only read.")

    def test_connection_details_hold_no_secret(self) -> None:
        """They are shown to whoever runs the check, also when the CRM repeats the secrets."""
        secrets = [str(self.provider.settings.get(name) or "") for name in secret_names(type(self.provider).Settings)]
        body = samples.quoting(" ".join(secrets))
        for status in samples.QUOTING_STATUSES:
            self.crm.heal()
            self.crm.fail("answer", status=status, body=body, content_type=samples.JSON)
            outcome = self._probe()
            told = f"{outcome.result} {outcome.told}"
            discreet = self.provider.redact(told) == told
            expect(discreet, f"test_connection shows a secret (answer {status}). Use words of your own.")

    def _states(self) -> Iterator[CallResult]:
        """Connection tests while all is well and while it is not."""
        yield self._probe()
        self.bad_credentials(self.crm)
        yield self._probe()
        self.crm.heal()
        self.crm.fail("answer", status=500)
        yield self._probe()

    def _probe(self, budget: float = 10.0) -> CallResult:
        return self.ask("test_connection", budget)

    def _connection(self, outcome: CallResult, when: str) -> Connection:
        """The result; anything else breaks the contract."""
        if not isinstance(outcome.result, Connection):
            told = "Return a Connection whose Check is not ok; raise nothing."
            fail(f"{outcome}{reason(outcome)} {when}. {told}")
        return outcome.result

    def _is_reported(self, outcome: CallResult, when: str) -> None:
        connection = self._connection(outcome, when)
        expect(not connection.connected, f"test_connection says connected {when}. Set connected=False.")
        explained = any(not check.ok and check.detail.strip() for check in connection.checks)
        expect(explained, f"test_connection does not say what is wrong {when}. Give a Check that is not ok its detail.")

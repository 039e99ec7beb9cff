"""A plugin with OAuth 2 passes the checks that an access token can change."""

from __future__ import annotations

from collections.abc import Mapping

from crmgate.testing import FakeCRM, Request
from crmgate.testing.contract.answers import AnswerChecks
from crmgate.testing.contract.conduct import ConductChecks
from crmgate.testing.contract.connection import ConnectionChecks
from crmgate.testing.contract.outcomes import OutcomeChecks
from tests.testing.contract.acme_oauth import KEY, AcmeOAuth, FakeAcmeOAuth


class TestAcmeOAuth(OutcomeChecks, AnswerChecks, ConductChecks, ConnectionChecks):
    """The checks, each as a test."""

    plugin = AcmeOAuth

    def fake(self) -> FakeAcmeOAuth:
        return FakeAcmeOAuth()

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"ACME_URL": fake.url, "ACME_KEY": KEY}

    def is_write(self, request: Request) -> bool:
        return super().is_write(request) and request.path != "/token"

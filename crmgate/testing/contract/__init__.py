"""The contract kit: tests of the behaviour that crmgate requires of every CRM plugin.

    from pathlib import Path

    from crmgate.testing import ProviderContract
    from fake_acme import FakeAcme  # a subclass of crmgate.testing.FakeCRM

    class TestAcme(ProviderContract):
        plugin = Path(__file__).parent / "acme.py"

        def fake(self):
            return FakeAcme()

        def settings(self, fake):
            return {"ACME_URL": fake.url, "ACME_KEY": fake.key}

pytest runs each check as a separate test. The message of a failed check says what the plugin has to do. To describe
differences of a CRM, override methods of `Contract`. A check that does not fit a CRM can be overridden, too. The checks
of hooks that a plugin does not have are no tests of it.
"""

from __future__ import annotations

from crmgate.testing.contract.answers import AnswerChecks
from crmgate.testing.contract.base import Contract
from crmgate.testing.contract.batches import BatchChecks
from crmgate.testing.contract.capabilities import CapabilityChecks
from crmgate.testing.contract.conduct import ConductChecks
from crmgate.testing.contract.connection import ConnectionChecks
from crmgate.testing.contract.identity import IdentityChecks
from crmgate.testing.contract.mapping import MappingChecks
from crmgate.testing.contract.modes import ModeChecks
from crmgate.testing.contract.once import OnceChecks
from crmgate.testing.contract.outcomes import OutcomeChecks
from crmgate.testing.contract.persons import PersonChecks
from crmgate.testing.contract.steps import StepChecks

__all__ = ["Contract", "ProviderContract"]


class ProviderContract(
    IdentityChecks, MappingChecks, OutcomeChecks, AnswerChecks, OnceChecks, StepChecks, ModeChecks, PersonChecks,
    ConductChecks, ConnectionChecks, CapabilityChecks, BatchChecks,
):  # fmt: skip
    """All checks of a provider. Subclass it as `Test...`, set `plugin`, and implement `fake` and `settings`."""

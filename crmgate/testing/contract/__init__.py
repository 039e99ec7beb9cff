"""The contract kit: what every CRM plugin has to do, as tests that its author imports.

    from pathlib import Path

    from crmgate.testing import ProviderContract
    from fake_acme import FakeAcme  # a subclass of crmgate.testing.FakeCRM

    class TestAcme(ProviderContract):
        plugin = Path(__file__).parent / "acme.py"

        def fake(self):
            return FakeAcme()

        def settings(self, fake):
            return {"ACME_URL": fake.url, "ACME_KEY": fake.key}

pytest finds each check as a test of its own; one that fails says what the plugin has to do. What a CRM does in a way
of its own is told by overriding a method of `Contract`; a check that does not fit can be overridden like any other.
"""

from __future__ import annotations

from crmgate.testing.contract.base import Contract
from crmgate.testing.contract.capabilities import CapabilityChecks
from crmgate.testing.contract.conduct import ConductChecks
from crmgate.testing.contract.connection import ConnectionChecks
from crmgate.testing.contract.identity import IdentityChecks
from crmgate.testing.contract.mapping import MappingChecks
from crmgate.testing.contract.once import OnceChecks
from crmgate.testing.contract.outcomes import OutcomeChecks

__all__ = ["Contract", "ProviderContract"]


class ProviderContract(
    IdentityChecks, MappingChecks, OutcomeChecks, OnceChecks, ConductChecks, ConnectionChecks, CapabilityChecks
):
    """What every provider has to do. Subclass it as `Test...`, say which `plugin`, and give `fake` and `settings`."""

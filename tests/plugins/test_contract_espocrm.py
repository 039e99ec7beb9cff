"""The EspoCRM plugin keeps the contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crmgate.testing import FakeCRM, ProviderContract
from crmgate.testing.espocrm import FakeEspoCRM


class TestEspoCRM(ProviderContract):
    plugin = Path(__file__).parents[2] / "plugins" / "espocrm"

    def fake(self) -> FakeEspoCRM:
        return FakeEspoCRM(api_key="KEY-OF-THE-GATEWAY")

    def fake_before_setup(self) -> FakeEspoCRM:
        return FakeEspoCRM(custom_fields=False, api_key=None)

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        key, admin = {"ESPOCRM_API_KEY": "KEY-OF-THE-GATEWAY"}, {"ESPOCRM_ADMIN_USERNAME": "admin"}
        return {"ESPOCRM_URL": fake.url, "ESPOCRM_ADMIN_PASSWORD": "Admin-Fake-1"} | key | admin

    def refusal(self, fake: FakeCRM) -> None:
        assert isinstance(fake, FakeEspoCRM)
        fake.set_options("userTypeC", ["", "parent"])

"""The webhook plugin keeps the contract, whichever tool receives its events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crmgate.testing import FakeCRM, ProviderContract
from crmgate.testing.webhook import SECRET, FakeReceiver


class TestWebhook(ProviderContract):
    plugin = Path(__file__).parents[2] / "plugins" / "webhook.py"
    body_confirms = False

    def fake(self) -> FakeReceiver:
        return FakeReceiver()

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"WEBHOOK_URL": f"{fake.url}/hook", "WEBHOOK_SECRET": SECRET}

"""The HubSpot plugin keeps the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from crmgate.testing import FakeCRM, ProviderContract, Request
from crmgate.testing.hubspot import FakeHubSpot


class TestHubSpot(ProviderContract):
    plugin = Path(__file__).parents[2] / "plugins" / "hubspot"

    def fake(self) -> FakeHubSpot:
        return FakeHubSpot()

    def fake_before_setup(self) -> FakeHubSpot:
        return FakeHubSpot(ready=False)

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"HUBSPOT_URL": fake.url, "HUBSPOT_TOKEN": cast(FakeHubSpot, fake).token}

    def is_write(self, request: Request) -> bool:
        """HubSpot reads batches, and the scopes of a token, with POST."""
        return request.method != "GET" and not re.search(r"/(batch/read|access-token-info)$", request.path)

    def bad_credentials(self, fake: FakeCRM) -> None:
        cast(FakeHubSpot, fake).token = "pat-eu1-another"

    def refusal(self, fake: FakeCRM) -> None:
        cast(FakeHubSpot, fake).add_property("field_of_study", options=["Law"])

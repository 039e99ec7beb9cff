"""The Bitrix24 plugin keeps the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from crmgate.testing import FakeCRM, ProviderContract, Request
from crmgate.testing.bitrix24 import FakeBitrix24


class TestBitrix(ProviderContract):
    plugin = Path(__file__).parents[2] / "plugins" / "bitrix"

    def fake(self) -> FakeBitrix24:
        return FakeBitrix24()

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"BITRIX_WEBHOOK_URL": cast(FakeBitrix24, fake).webhook_url}

    def is_write(self, request: Request) -> bool:
        """Bitrix24 reads with POST too."""
        return bool(re.search(r"\.(add|update|delete|set)\.json", request.path))

    def bad_credentials(self, fake: FakeCRM) -> None:
        cast(FakeBitrix24, fake).secret = "anothersecret456"

    def rate_limit(self, fake: FakeCRM) -> None:
        cast(FakeBitrix24, fake).fail_with("QUERY_LIMIT_EXCEEDED")

    def refusal(self, fake: FakeCRM) -> None:
        cast(FakeBitrix24, fake).add_user_field("UF_CRM_1234567896", "integer")

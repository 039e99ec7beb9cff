"""The Bitrix24 plugin keeps the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from crmgate.model import Lead
from crmgate.testing import FakeCRM, ProviderContract, Request
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.bitrix24.fields import PRESET


class TestBitrix(ProviderContract):
    plugin = Path(__file__).parents[2] / "plugins" / "bitrix"

    def fake(self) -> FakeBitrix24:
        return FakeBitrix24()

    def fake_before_setup(self) -> FakeBitrix24:
        return FakeBitrix24(preset=False)

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"BITRIX_WEBHOOK_URL": cast(FakeBitrix24, fake).webhook_url}

    def is_write(self, request: Request) -> bool:
        """Bitrix24 reads with POST too, and a batch writes if one of its commands does."""
        changes = r"\.(add|update|delete|set)"
        if request.path.endswith("/batch.json"):
            return bool(re.search(rf"{changes}\?".encode(), request.body))
        return bool(re.search(rf"{changes}\.json", request.path))

    def html_texts(self, request: Request) -> list[str]:
        """The portal reads the comments of a record as HTML."""
        fields = json.loads(request.body or b"{}").get("fields")
        return [str(fields["comments"])] if isinstance(fields, dict) and "comments" in fields else []

    def bad_credentials(self, fake: FakeCRM) -> None:
        cast(FakeBitrix24, fake).secret = "anothersecret456"

    def rate_limit(self, fake: FakeCRM) -> None:
        cast(FakeBitrix24, fake).fail_with("QUERY_LIMIT_EXCEEDED")

    def refusal(self, fake: FakeCRM) -> None:
        cast(FakeBitrix24, fake).add_user_field("UF_CRM_1234567896", "integer")

    def refused_lead(self, fake: FakeCRM) -> Lead:
        """A field changes after the plugin has read it."""
        self.create()
        self.refusal(fake)
        return Lead(first_name="Refused", email="refused@example.com", field_of_study="Law")


class TestBitrixDeals(TestBitrix):
    """The same with BITRIX_TARGET=deal, in a portal without leads."""

    unknown_lead_id = "D_999999999"
    batches = False

    def fake(self) -> FakeBitrix24:
        fake = self.fake_before_setup()
        for name, label in PRESET.items():
            fake.add_deal_field(name, label=label)
        return fake

    def fake_before_setup(self) -> FakeBitrix24:
        fake = FakeBitrix24(preset=False)
        fake.simple_mode = True
        fake.categories = {0: "General", 3: "Students"}
        return fake

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        deals = {"BITRIX_TARGET": "deal", "BITRIX_DEAL_CATEGORY": "3", "BITRIX_DEAL_STAGE": "C3:PREPARATION"}
        return {**super().settings(fake), **deals}

    def is_write(self, request: Request) -> bool:
        """The contact that is written before its deal is not the record of the submission: see test_deals."""
        return super().is_write(request) and not self._is_contact(request)

    def final_writes(self, requests: tuple[Request, ...]) -> list[Request]:
        """The contact, and the last attempt for the deal."""
        contacts = [one for one in requests if super(TestBitrixDeals, self).is_write(one) and self._is_contact(one)]
        return [*contacts, *super().final_writes(requests)]

    def _is_contact(self, request: Request) -> bool:
        return bool(re.search(rb'"entityTypeId": ?3\b', request.body))

    def refusal(self, fake: FakeCRM) -> None:
        cast(FakeBitrix24, fake).add_deal_field("UF_CRM_1234567896", "integer")

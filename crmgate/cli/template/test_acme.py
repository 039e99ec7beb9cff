"""Contract test of the plugin for Acme CRM. `pytest` and `crmgate plugins check` run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from crmgate.testing import FakeCRM, ProviderContract, Request, Response


class FakeAcme(FakeCRM):
    """The part of Acme that the plugin uses. Make it answer like the vendor's reference."""

    key = "key-of-the-fake-acme"

    def __init__(self) -> None:
        super().__init__()
        self.leads: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Response:
        """Acme's answer to a request."""
        if request.header("Authorization") != f"Bearer {self.key}":
            return Response(401, "{}")
        match request.method, request.path:
            case "GET", "/api/v1/account":
                return Response(200, '{"account": "Fake"}')
            case "GET", "/api/v1/leads":
                wanted = dict(parse_qsl(request.query)).items()
                return Response(200, json.dumps({"leads": [lead for lead in self.leads if wanted <= lead.items()]}))
            case "POST", "/api/v1/leads":
                return Response(201, json.dumps({"id": self._store(json.loads(request.body))}))
        return Response(404, "{}")

    def _store(self, lead: dict[str, Any]) -> str:
        with self.lock:  # requests come on many threads
            self.leads.append(lead | {"id": str(len(self.leads) + 1)})
            return str(self.leads[-1]["id"])

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The stored records."""
        return {"leads": list(self.leads)}


class TestAcme(ProviderContract):
    """Override a check of `ProviderContract` here if it does not fit your CRM."""

    plugin = Path(__file__).parents[2] / "plugins/acme.py"

    def fake(self) -> FakeAcme:
        """The fake for one check."""
        return FakeAcme()

    def settings(self, fake: FakeCRM) -> dict[str, str]:
        """Settings with which the plugin reaches the fake."""
        return {
            "ACME_URL": fake.url,
            "ACME_KEY": FakeAcme.key,
        }

    def refusal(self, fake: FakeCRM) -> None:
        """Acme names the fields that it refuses."""
        refused = '{"fields": {"city": "is not in the list"}}'
        self.fail_writes(fake, "answer", status=422, body=refused, content_type="application/json", times=1)

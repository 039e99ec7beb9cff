"""The sandbox plugin keeps the contract."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crmgate.sandbox import create_app
from crmgate.testing import FakeCRM, ProviderContract, Request, Response

KEY = "a-long-sandbox-key"


class SandboxBehindFaults(FakeCRM):
    """The sandbox CRM itself, with the faults of a fake in front of it."""

    def start(self) -> SandboxBehindFaults:
        self.folder = tempfile.TemporaryDirectory()
        self.app = create_app(Path(self.folder.name) / "leads.db", key=KEY)
        super().start()
        return self

    def stop(self) -> None:
        super().stop()
        self.folder.cleanup()

    def answer(self, request: Request) -> Response:
        answer = self.app.test_client().open(
            f"{request.path}?{request.query}", method=request.method, data=request.body, headers=dict(request.headers)
        )
        return Response(answer.status_code, answer.data, content_type=answer.content_type)

    def records(self) -> dict[str, list[dict[str, Any]]]:
        leads = self.app.extensions["sandbox"].store.newest(1000)
        activities = [vars(activity) for lead in leads for activity in lead.activities]
        return {"leads": [vars(lead) | {"activities": []} for lead in leads], "activities": activities}


class TestSandbox(ProviderContract):
    plugin = Path(__file__).parents[2] / "plugins" / "sandbox.py"

    def fake(self) -> SandboxBehindFaults:
        return SandboxBehindFaults()

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"SANDBOX_URL": fake.url, "SANDBOX_KEY": KEY}

    def refusal(self, fake: FakeCRM) -> None:
        """The sandbox names the field that it refuses."""
        refused = '{"fields": {"field_of_study": "refused"}}'
        self.fail_writes(fake, "answer", status=422, body=refused, content_type="application/json", times=1)

"""The plugin of `benchmarks.sink`: one request for each lead, so that the figures are those of crmgate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crmgate import hookimpl
from crmgate.errors import Code
from crmgate.model import Activity, Check, Connection, Delivered, Lead, Operation
from crmgate.provider import CRMProvider, Look, Mapped, ProviderSettings, lost, web_address


class Sink(CRMProvider):
    """Takes every lead."""

    name = "sink"
    label = "Sink"
    lead_fields = {  # noqa: RUF012
        "first_name": "first_name", "last_name": "last_name", "email": "email", "source": "source",
        "operation_id": "operation",
    }  # fmt: skip

    class Settings(ProviderSettings):
        """Address of the sink."""

        SINK_URL = web_address(required=True)

    def _call(self, method: str, path: str, *, safe: bool, **options: Any) -> Any:
        answer = self.request(method, self.settings["SINK_URL"] + path, safe=safe, **options)
        if answer.status != 200:
            raise lost(safe, Code.SERVER_ERROR, "the sink failed", answer.status)
        return answer.parsed

    def _create(self, mapped: Mapped, operation: Operation) -> Delivered:
        record = mapped.fields | {"description": self.describe(mapped, operation), "operation": operation.id}
        return self.delivered(self._call("POST", "/leads", safe=False, json=record)["id"])

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead."""
        return self._create(self.map_lead(lead, operation), operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead for a click."""
        return self._create(self.map_activity(activity, operation), operation)

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """Search the lead of an operation."""
        found = self._call("GET", f"/leads?operation={operation.id}", safe=True)["id"]
        return self.delivered(found, adopted=True) if found else None

    @hookimpl
    def test_connection(self) -> Connection:
        """Ask whether the sink answers."""
        return self.test(Look("ping", self._ping, gate=True))

    def _ping(self) -> Iterator[Check]:
        self._call("GET", "/ping", safe=True)
        yield Check("ping", True, "The sink answers.")

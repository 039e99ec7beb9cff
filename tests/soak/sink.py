"""A minimal CRM plugin with one request for each lead, so that the figures are those of crmgate."""

from crmgate import hookimpl
from crmgate.errors import OutcomeUnknown
from crmgate.model import Connection, Delivered
from crmgate.provider import CRMProvider, ProviderSettings, web_address


class Sink(CRMProvider):
    """Takes everything."""

    name = "sink"
    label = "Sink"
    lead_fields = {"first_name": "first", "last_name": "last", "email": "email", "operation_id": "operation"}  # noqa: RUF012

    class Settings(ProviderSettings):
        """Address of the sink."""

        SINK_URL = web_address(required=True)

    def _send(self, what, operation):
        answer = self.request("POST", f"{self.settings['SINK_URL']}/{what}", json={"operation": operation.id})
        if answer.status != 200:
            raise OutcomeUnknown(status=answer.status)
        return Delivered(self.name, answer.json()["id"])

    @hookimpl
    def create_lead(self, lead, operation):
        mapped = self.map_lead(lead, operation)
        assert mapped.fields["email"]
        assert self.describe(mapped, operation)
        return self._send("leads", operation)

    @hookimpl
    def create_minimal_lead(self, activity, operation):
        return self._send("leads", operation)

    @hookimpl
    def find_lead(self, operation):
        return None

    @hookimpl
    def test_connection(self):
        return Connection(self.name, connected=True, latency_ms=1.0)

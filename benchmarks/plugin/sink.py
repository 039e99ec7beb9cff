"""The plugin of `benchmarks.sink`: one request for each lead, so that the figures are those of crmgate."""

from crmgate import hookimpl
from crmgate.errors import Code
from crmgate.model import Check
from crmgate.provider import CRMProvider, Look, ProviderSettings, lost, web_address


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

    def _call(self, method, path, safe, **options):
        answer = self.request(method, self.settings["SINK_URL"] + path, safe=safe, **options)
        if answer.status != 200:
            raise lost(safe, Code.SERVER_ERROR, "the sink failed", answer.status)
        return answer.parsed

    def _create(self, mapped, operation):
        record = mapped.fields | {"description": self.describe(mapped, operation), "operation": operation.id}
        return self.delivered(self._call("POST", "/leads", False, json=record)["id"])

    @hookimpl
    def create_lead(self, lead, operation):
        return self._create(self.map_lead(lead, operation), operation)

    @hookimpl
    def create_minimal_lead(self, activity, operation):
        return self._create(self.map_activity(activity, operation), operation)

    @hookimpl
    def find_lead(self, operation):
        found = self._call("GET", f"/leads?operation={operation.id}", True)["id"]
        return self.delivered(found, adopted=True) if found else None

    @hookimpl
    def test_connection(self):
        return self.test(Look("ping", self._ping, gate=True))

    def _ping(self):
        self._call("GET", "/ping", True)
        yield Check("ping", True, "The sink answers.")

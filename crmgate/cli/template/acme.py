"""Acme CRM 1.0, REST API v1 (https://developers.acme.example/v1/leads).

This API is an example. Write the version of the CRM's API and the address of the vendor's reference here, and change
this file to follow that reference. A lead holds the operation id in the field `reference`, which the API can search:
`find_lead` finds a lead by it after a lost answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Activity, Check, Connection, Delivered, Lead, Operation
from crmgate.provider import Answer, CRMProvider, Look, ProviderSettings, lost, secret, web_address

ERRORS: dict[int, tuple[type[ProviderError], Code]] = {
    400: (Rejected, Code.INVALID_REQUEST),
    401: (AuthFailed, Code.BAD_CREDENTIALS),
    403: (AuthFailed, Code.NO_PERMISSION),
    422: (Rejected, Code.INVALID_VALUE),
    429: (RateLimited, Code.RATE_LIMITED),
    503: (Unavailable, Code.MAINTENANCE),
}
"""Errors by the status of the answer. Use a table of the vendor's error codes if there are any."""


class AcmeProvider(CRMProvider):
    """Leads in Acme CRM."""

    name = "acme"
    label = "Acme CRM"
    lead_fields: ClassVar[Mapping[str, str]] = {
        "first_name": "first_name",
        "last_name": "last_name",
        "email": "email",
        "phone": "mobile",
        "city": "city",
        "operation_id": "reference",
    }

    class Settings(ProviderSettings):
        """The address of Acme, and the key of its API."""

        ACME_URL = web_address(required=True, metadata={"help": "Address of the CRM"})
        ACME_KEY = secret(required=True, metadata={"help": "Key of the API"})

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead. Facts without a field go into the description."""
        mapped = self.map_lead(lead, operation)
        return self._create(mapped.fields, self.describe(mapped, operation, lead.additional_info))

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        names = {"first_name": "Messenger", "last_name": "Lead"}
        return self._create(names | mapped.fields, self.describe(mapped, operation))

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The lead with the operation id."""
        answer = self._send("GET", "/leads", params={"reference": operation.id})
        match answer.status, answer.parsed:
            case 200, {"leads": []}:
                return None
            case 200, {"leads": [{"id": str(found), "reference": operation.id}, *_]}:
                return self.delivered(found, adopted=True)
        raise self._error(answer, read=True)

    @hookimpl
    def test_connection(self) -> Connection:
        """Check that Acme answers and accepts the key."""
        return self.test(Look("account", self._check_account, "(check ACME_URL)", gate=True))

    def lead_url(self, lead_id: str) -> str:
        """Address of the lead in Acme."""
        return f"{self._address}/leads/{lead_id}"

    def _check_account(self) -> Iterator[Check]:
        answer = self._send("GET", "/account")
        match answer.status, answer.parsed:
            case 200, {"account": str()}:
                yield Check("account", True)
            case 401, _:
                yield Check("account", False, "the key is refused: check ACME_KEY")
            case _:
                raise self._error(answer, read=True)

    def _create(self, fields: Mapping[str, Any], description: str) -> Delivered:
        record = {**fields, "description": description}
        return self.send_describing(self._post, record, text_field="description", keep=("reference",))

    def _post(self, record: Mapping[str, Any]) -> Delivered:
        answer = self._send("POST", "/leads", json=record)
        match answer.status, answer.parsed:
            case 201, {"id": str(made)}:
                return self.delivered(made)
        raise self._error(answer, read=False)

    def _error(self, answer: Answer, read: bool) -> ProviderError:
        """The error that an unexpected answer means, without its texts: they may quote the visitor."""
        status = answer.status
        match status, answer.parsed:
            case 422, {"fields": dict(refused)}:
                return Rejected("values are refused", fields=dict.fromkeys(refused, "refused"), status=status)
        if status in ERRORS:
            kind, code = ERRORS[status]
            return kind(code=code, status=status, retry_after=answer.retry_after)
        if status < 300 or status >= 500:  # Acme may have carried the request out
            code = Code.SERVER_ERROR if status >= 500 else Code.INVALID_RESPONSE
            return lost(read, code, "the answer is not Acme's", status)
        detail = "another server answers at ACME_URL"
        return Unavailable(detail, code=Code.INVALID_RESPONSE, status=status)

    def _send(self, method: str, path: str, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.settings['ACME_KEY']}"}
        return self.request(method, f"{self._address}/api/v1{path}", headers=headers, **options)

    @property
    def _address(self) -> str:
        return str(self.settings["ACME_URL"]).rstrip("/")

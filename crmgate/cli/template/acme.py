"""Acme CRM 1.0, REST API v1 (https://developers.acme.example/v1/leads).

Acme is made up; write the CRM's real name, version of the API and address of the vendor's reference here, and make
this file say what that reference says. A lead carries the operation id in the field `reference`, which Acme can search:
that is how a lead is found whose answer was lost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Activity, Check, Connection, Delivered, Lead, Operation
from crmgate.provider import Answer, CRMProvider, ProviderSettings, lost, secret, web_address

ERRORS: dict[int, tuple[type[ProviderError], Code]] = {
    400: (Rejected, Code.INVALID_REQUEST),
    401: (AuthFailed, Code.BAD_CREDENTIALS),
    403: (AuthFailed, Code.NO_PERMISSION),
    422: (Rejected, Code.INVALID_VALUE),
    429: (RateLimited, Code.RATE_LIMITED),
    503: (Unavailable, Code.MAINTENANCE),
}
"""What Acme's answers mean, by their status. A vendor with codes of its own gets a table of those."""


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
        """Where Acme is, and its key."""

        ACME_URL = web_address(required=True, metadata={"help": "Where Acme CRM is"})
        ACME_KEY = secret(required=True, metadata={"help": "The key of its API"})

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead; what has no field of its own stands in the description."""
        mapped = self.map_lead(lead, operation)
        return self._create(mapped.fields, self.describe(mapped, operation, lead.additional_info))

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead that stands for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        names = {"first_name": "Messenger", "last_name": "Lead"}
        return self._create(names | mapped.fields, self.describe(mapped, operation))

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The lead with this operation id."""
        answer = self._send("GET", "/leads", params={"reference": operation.id})
        match answer.status, _json(answer):
            case 200, {"leads": []}:
                return None
            case 200, {"leads": [{"id": str(found), "reference": operation.id}, *_]}:
                return self._delivered(found, adopted=True)
        raise self._error(answer, read=True)

    @hookimpl
    def test_connection(self) -> Connection:
        """Whether Acme is there and takes the key."""
        begun = time.monotonic()
        check = self._check_account()
        return Connection(self.name, check.ok, round((time.monotonic() - begun) * 1000, 1), (check,))

    def _check_account(self) -> Check:
        try:
            answer = self._send("GET", "/account")
        except ProviderError as error:
            return Check("account", False, f"{error} (check ACME_URL)")
        match answer.status, _json(answer):
            case 200, {"account": str()}:
                return Check("account", True)
            case 401, _:
                return Check("account", False, "the key is refused: check ACME_KEY")
        return Check("account", False, f"{self._error(answer, read=True)} (check ACME_URL)")

    def _create(self, fields: Mapping[str, Any], description: str) -> Delivered:
        record = {**fields, "description": description}
        return self.send_describing(self._post, record, text_field="description", keep=("reference",))

    def _post(self, record: Mapping[str, Any]) -> Delivered:
        answer = self._send("POST", "/leads", json=record)
        match answer.status, _json(answer):
            case 201, {"id": str(made)}:
                return self._delivered(made)
        raise self._error(answer, read=False)

    def _error(self, answer: Answer, read: bool) -> ProviderError:
        """The error for an answer that is not the one hoped for, in no words of Acme's: they may quote the visitor."""
        status = answer.status
        match status, _json(answer):
            case 422, {"fields": dict(refused)}:
                return Rejected("values are refused", fields=dict.fromkeys(refused, "refused"), status=status)
        if status in ERRORS:
            kind, code = ERRORS[status]
            return kind(code=code, status=status, retry_after=answer.retry_after)
        if status < 300 or status >= 500:  # it may have been done all the same
            code = Code.SERVER_ERROR if status >= 500 else Code.INVALID_RESPONSE
            return lost(read, code, "the answer is not Acme's", status)
        return Unavailable("no Acme answers at ACME_URL", code=Code.INVALID_RESPONSE, status=status)

    def _delivered(self, lead_id: str, adopted: bool = False) -> Delivered:
        return Delivered(self.name, lead_id, f"{self._address}/leads/{lead_id}", adopted)

    def _send(self, method: str, path: str, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.settings['ACME_KEY']}"}
        return self.request(method, f"{self._address}/api/v1{path}", headers=headers, **options)

    @property
    def _address(self) -> str:
        return str(self.settings["ACME_URL"]).rstrip("/")


def _json(answer: Answer) -> Any:
    """The body, or None when it is no JSON: a proxy in between may answer HTML."""
    try:
        return answer.json()
    except ValueError:
        return None

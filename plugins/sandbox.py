"""Sandbox CRM, the local CRM that comes with crmgate (`python -m crmgate.sandbox`).

A create is idempotent: the operation id is unique in the sandbox, and a second create answers 409 with the lead of the
first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, assert_never
from urllib.parse import quote

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, Duplicate, NotFound, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import (
    Activity,
    Check,
    Connection,
    CrmField,
    Delivered,
    Kind,
    Lead,
    Operation,
    Preview,
    Provision,
    Step,
)
from crmgate.provider import Answer, CRMProvider, Look, ProviderSettings, lost, secret, web_address

FIELDS = (
    "first_name", "last_name", "email", "phone", "referral_code", "source", "user_type", "language", "field_of_study",
    "university", "channel", "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term",
)  # fmt: skip
"""Facts with a field of the same name. The other facts go into the description."""
MINIMAL = {"first_name": "Messenger", "last_name": "Lead"}
"""Name of a lead without a person: only a click is known."""

ERRORS: dict[int, tuple[type[ProviderError], Code]] = {
    400: (Rejected, Code.INVALID_REQUEST),
    401: (AuthFailed, Code.BAD_CREDENTIALS),
    403: (AuthFailed, Code.NO_PERMISSION),
    409: (Duplicate, Code.DUPLICATE),
    413: (Rejected, Code.INVALID_REQUEST),
    422: (Rejected, Code.INVALID_VALUE),
    429: (RateLimited, Code.RATE_LIMITED),
    503: (Unavailable, Code.MAINTENANCE),
}


class Sandbox(CRMProvider):
    """Leads in the sandbox CRM."""

    name = "sandbox"
    label = "Sandbox CRM"
    capabilities = frozenset({
        "create_lead", "create_minimal_lead", "update_lead", "log_activity", "find_lead", "find_many",
        "test_connection", "describe_fields", "preview", "provision", "moves_refused_fields", "unique_key",
    })  # fmt: skip
    lead_fields: ClassVar[Mapping[str, str]] = {fact: fact for fact in FIELDS}

    class Settings(ProviderSettings):
        """The address of the sandbox, and its key."""

        SANDBOX_URL = web_address(required=True, metadata={"help": "Address of the sandbox"})
        SANDBOX_KEY = secret(load_default="sandbox", metadata={"help": "Key with which the sandbox was started"})

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead, or adopt the lead that an earlier attempt created."""
        mapped = self.map_lead(lead, operation)
        return self._create(mapped.fields, self.describe(mapped, operation, lead.additional_info), operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        return self._create(MINIMAL | mapped.fields, self.describe(mapped, operation), operation)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        """Fill empty fields, and append all other values to the description once."""
        current = self._lead(lead_id)
        before = str(current.get("description", ""))
        if operation.tracking_code in before:
            return self.delivered(lead_id, adopted=True)
        plan = self.plan_update(lead, operation, current, minimal=MINIMAL)
        record = plan.fields | {"description": self.describe(plan, operation, lead.additional_info)}
        heading = self.update_heading(operation)

        def send(record: dict[str, Any]) -> Delivered:
            whole = "\n\n".join(filter(None, (before, heading, record["description"])))
            changed = record | {"description": whole}
            return self._confirmed(self._send("PUT", f"/leads/{quote(lead_id, safe='')}", json=changed))

        return self.send_describing(send, record)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        """Log a click on the lead. The sandbox accepts one activity for each operation."""
        mapped = self.map_activity(activity, operation)
        record = mapped.fields | {"operation_id": operation.id, "description": self.describe(mapped, operation)}
        answer = self._send("POST", f"/leads/{quote(lead_id, safe='')}/activities", json=record)
        match answer.status, answer.parsed:
            case 201, {"id": int()}:
                return self.delivered(lead_id)
            case 409, {"operation_id": operation.id}:
                return self.delivered(lead_id, adopted=True)
        raise self._error(answer, read=False)

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """Each mapped fact. The sandbox has every field."""
        if (answer := self._send("GET", "/ping")).status != 200:
            raise self._error(answer, read=True)
        return tuple(CrmField(fact, name, "text") for fact, name in self.field_map.names.items() if name)

    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        """The request of the current mapping."""
        mapped = self.map_again(operation, self.field_map)
        body = mapped.fields | {"description": self.text_of(mapped, operation)}
        lead = f"/leads/{quote(operation.lead_id, safe='')}"
        match operation.kind:
            case Kind.UPDATE_LEAD:
                return self.previewed("PUT", lead, body, mapped, operation)
            case Kind.LOG_ACTIVITY:
                return self.previewed("POST", f"{lead}/activities", body, mapped, operation)
            case Kind.CREATE_LEAD | Kind.CREATE_MINIMAL_LEAD:
                names = MINIMAL if operation.kind is Kind.CREATE_MINIMAL_LEAD else {}
                body = names | body | {"operation_id": operation.id}
                return self.previewed("POST", "/leads", body, mapped, operation)
            case _:
                assert_never(operation.kind)

    @hookimpl
    def provision(self, apply: bool) -> Provision:  # noqa: ARG002
        """The sandbox needs no setup."""
        return Provision((Step("the sandbox needs no setup", True),))

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The lead with the operation id."""
        answer = self._send("GET", "/leads", params={"operation_id": operation.id})
        match answer.status, answer.parsed:
            case 200, {"leads": []}:
                return None
            case 200, {"leads": [{"id": int(found), "operation_id": operation.id}]}:
                return self.delivered(str(found), adopted=True)
        raise self._error(answer, read=True)

    @hookimpl
    def find_many(self, operations: Sequence[Operation]) -> Mapping[str, str]:
        """Operations with their id on the lead or an activity, or with their tracking code in the description."""
        records = {one.id: one.delivered.record_id for one in operations if one.delivered}
        numbers = ",".join(sorted({record for record in records.values() if record.isdecimal()}))
        answer = self._send("GET", "/leads", params={"ids": numbers or "0"})
        match answer.status, answer.parsed:
            case 200, {"leads": list(leads)}:
                kept = {str(lead["id"]): lead for lead in leads}
            case _:
                raise self._error(answer, read=True)
        pairs = ((one, records.get(one.id, "")) for one in operations)
        return {one.id: record for one, record in pairs if record in kept and _left(one, kept[record])}

    @hookimpl
    def test_connection(self) -> Connection:
        """Check that the sandbox answers and accepts the key."""
        return self.test(Look("ping", self._ping, "(SANDBOX_URL)", gate=True))

    def _ping(self) -> Iterator[Check]:
        answer = self._send("GET", "/ping")
        match answer.status, answer.parsed:
            case 200, {"name": "Sandbox CRM"}:
                yield Check("ping", True)
            case 401, _:
                yield Check("ping", False, "the key is refused: compare SANDBOX_KEY with the sandbox's own")
            case _:
                raise self._error(answer, read=True)

    def _create(self, fields: dict[str, Any], description: str, operation: Operation) -> Delivered:
        def send(record: dict[str, Any]) -> Delivered:
            answer = self._send("POST", "/leads", json=record | {"operation_id": operation.id})
            match answer.status, answer.parsed:
                case 409, {"id": int(found), "operation_id": operation.id}:
                    return self.delivered(str(found), adopted=True)
            return self._confirmed(answer)

        return self.send_describing(send, fields | {"description": description})

    def _confirmed(self, answer: Answer) -> Delivered:
        match answer.status, answer.parsed:
            case 200 | 201, {"id": int(record)}:
                return self.delivered(str(record))
        raise self._error(answer, read=False)

    def _lead(self, lead_id: str) -> dict[str, Any]:
        answer = self._send("GET", f"/leads/{quote(lead_id, safe='')}")
        match answer.status, answer.parsed:
            case 200, dict(lead):
                return lead
        raise self._error(answer, read=True)

    def _error(self, answer: Answer, read: bool) -> ProviderError:
        """The error that an unexpected answer means."""
        status = answer.status
        match status, answer.parsed:
            case 404, {"error": "not_found"}:
                return NotFound("the sandbox has no such lead", status=status)
            case 409, {"id": int(existing)}:
                return Duplicate("the sandbox has a record of another operation", existing=str(existing), status=status)
            case 422, {"fields": dict(fields)}:
                reasons = {str(name): self.redact(str(reason)[:200]) for name, reason in fields.items()}
                return Rejected("values are refused", fields=reasons, status=status)
        if status in ERRORS:
            kind, code = ERRORS[status]
            return kind(code=code, status=status, retry_after=answer.retry_after)
        if status >= 500:
            return lost(read, Code.SERVER_ERROR, "an error inside the sandbox or in front of it", status)
        if status < 300:
            return lost(read, Code.INVALID_RESPONSE, "the answer is not the sandbox's", status)
        # A redirect, a 404: nothing was stored, and a wrong address must not make a dead letter.
        return Unavailable("no sandbox CRM answers at SANDBOX_URL", code=Code.INVALID_RESPONSE, status=status)

    def lead_url(self, lead_id: str) -> str:
        """Address of the lead on the sandbox's page."""
        return f"{self._address}/#lead-{lead_id}"

    def _send(self, method: str, path: str, **options: Any) -> Answer:
        # `requests` encodes headers as Latin-1; the sandbox reads UTF-8.
        headers = {"X-Sandbox-Key": self.settings["SANDBOX_KEY"].encode().decode("latin-1")}
        return self.request(method, f"{self._address}/api{path}", headers=headers, **options)

    @property
    def _address(self) -> str:
        return str(self.settings["SANDBOX_URL"]).rstrip("/")


def _left(operation: Operation, lead: Mapping[str, Any]) -> bool:
    """Whether the operation made the lead, updated it or logged an activity on it."""
    made = {lead.get("operation_id"), *(activity.get("operation_id") for activity in lead.get("activities", ()))}
    return operation.id in made or operation.tracking_code in str(lead.get("description", ""))

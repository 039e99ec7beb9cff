"""A correct plugin without HTTP: it sends rows with a vendor's SDK."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, Duplicate, NotFound, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Activity, Check, Connection, Delivered, Kind, Lead, Operation
from crmgate.provider import CRMProvider, Known, Look, ProviderSettings, fields, lost, secret
from tests.testing.contract.fake_sheet import SheetClient, SheetError

ERRORS: dict[str, type[ProviderError]] = {
    "credentials": AuthFailed, "right": AuthFailed, "address": Unavailable, "conflict": Duplicate, "value": Rejected,
    "maintenance": Unavailable,
}  # fmt: skip


def sheet_error(error: Exception, *, read: bool) -> ProviderError | None:
    """The error of crmgate for one of the SDK, without its text."""
    if not isinstance(error, SheetError):
        return None
    if error.code == "rate":
        return RateLimited(retry_after=error.retry_after)
    if error.code in ERRORS:
        return ERRORS[error.code](vendor_code=error.code)
    return lost(read, Code.INVALID_RESPONSE, "the sheet gave no usable answer")


class Sheet(CRMProvider):
    """A correct plugin with a transport of its own. The name and the address of a person have one column each."""

    name = "sheet"
    label = "Sheet"
    capabilities = frozenset({"update_lead", "log_activity", "detects_duplicates"})
    lead_fields: ClassVar[Mapping[str, str]] = {
        "full_name": "name", "address": "address", "email": "email", "phone": "phone", "operation_id": "operation",
    }  # fmt: skip

    class Settings(ProviderSettings):
        SHEET_ADDRESS = fields.String(required=True)
        SHEET_TOKEN: fields.String = secret(required=True)

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._client = SheetClient(self.settings["SHEET_ADDRESS"], self.settings["SHEET_TOKEN"])

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        known = self._find(email=lead.email) if self.merges_duplicates and lead.email else []
        found = self.resolve_duplicate(
            [Known(row["id"], row.get("operation") == operation.id) for row in known], lead, operation,
            update=self.update_lead, log=self._note,
        )  # fmt: skip
        if found:
            return found
        mapped = self.map_lead(lead, operation)
        return self._append(mapped.fields | {"text": self.describe(mapped, operation, lead.additional_info)})

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        mapped = self.map_activity(activity, operation)
        return self._append(mapped.fields | {"name": "Messenger", "text": self.describe(mapped, operation)})

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        for row in self._find(operation=operation.id):
            return self.delivered(row.get("lead", row["id"]), adopted=True)
        wanted = {"id": operation.lead_id} if operation.kind is Kind.UPDATE_LEAD else {"email": operation.lead.email}
        rows = self._find(**wanted) if operation.kind in (Kind.UPDATE_LEAD, Kind.CREATE_LEAD) else []
        changed = (row for row in rows if f"update {operation.id}" in row)
        return next((self.delivered(row["id"], adopted=True) for row in changed), None)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        plan = self.plan_update(lead, operation, self._row(lead_id), minimal={"name": "Messenger"})
        text = self.describe(plan, operation, lead.additional_info)
        self._send("update", **plan.fields, **{"id": lead_id, f"update {operation.id}": text})
        return self.delivered(lead_id)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        self._row(lead_id)
        return self._write_note(lead_id, self.describe(self.map_activity(activity, operation), operation), operation)

    @hookimpl
    def test_connection(self) -> Connection:
        return self.test(Look("connection", self._checks, "SHEET_ADDRESS", gate=True))

    def _checks(self) -> list[Check]:
        self._find(id="none")
        return [Check("connection", True)]

    def _row(self, lead_id: str) -> dict[str, Any]:
        for row in self._find(id=lead_id):
            return row
        raise NotFound("there is no such row")

    def _note(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._write_note(lead_id, self.describe_all(lead, operation), operation)

    def _write_note(self, lead_id: str, text: str, operation: Operation) -> Delivered:
        self._send("append", lead=lead_id, operation=operation.id, text=text)
        return self.delivered(lead_id)

    def _append(self, row: dict[str, Any]) -> Delivered:
        return self.delivered(self._send("append", **row))

    def _find(self, **wanted: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._send("find", **wanted)
        return rows

    def _send(self, name: str, /, **values: Any) -> Any:
        read = name == "find"
        return self.exchange(
            lambda seconds: self._client.call(name, seconds, **values),
            safe=read,
            errors=partial(sheet_error, read=read),
        )

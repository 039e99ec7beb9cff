"""A correct plugin with its fake CRM: the example of the documentation, and the base of the broken plugins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import parse_qs

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, NotFound, ProviderError, RateLimited, Rejected, Unavailable
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
from crmgate.provider import Answer, CRMProvider, Known, ProviderSettings, fields, lost, secret, web_address
from crmgate.testing import FakeCRM, ProviderContract, Request, Response


# What stands between the lines `# docs:` and `# docs: end` is shown in docs/plugins/testing.md.
# docs:
class FakeAcme(FakeCRM):
    """The part of Acme's API that the plugin uses."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[dict[str, Any]]] = {"leads": [], "notes": [], "fields": []}

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return self.tables

    def answer(self, request: Request) -> Response:
        if request.header("X-Acme-Key") != "acme-key-4711":
            return Response(401, '{"error": "wrong key"}')
        rows = self.tables.get(request.path.strip("/"))
        if rows is None:
            return self.answer_about_one(request)
        with self.lock:
            if request.method == "POST":
                rows.append({"id": f"A{len(rows) + 1}"} | json.loads(request.body))
                return Response(201, json.dumps({"id": rows[-1]["id"]}))
            wanted = {name: values[0] for name, values in parse_qs(request.query).items()}
            return Response(200, json.dumps({"rows": [row for row in rows if wanted.items() <= row.items()]}))

    # docs: end

    def answer_about_one(self, request: Request) -> Response:
        """`PUT /leads/<id>`, and `POST /batch` and `POST /search` for many leads."""
        if request.path in ("/batch", "/search"):
            return self.answer_about_many(request.path, json.loads(request.body))
        with self.lock:
            found = next((row for row in self.tables["leads"] if request.path == f"/leads/{row['id']}"), None)
            if found is None:
                return Response(404, '{"error": "no such record"}')
            found |= json.loads(request.body)
            return Response(200, json.dumps({"id": found["id"]}))

    def answer_about_many(self, path: str, values: list[Any]) -> Response:
        """The id of each new lead, or null for one that is refused; or the leads with these operation ids."""
        with self.lock:
            leads = self.tables["leads"]
            if path == "/search":
                return Response(200, json.dumps({"rows": [row for row in leads if row.get("operation") in values]}))
            made = list[str | None]()
            for row in values:
                refused = row.get("first") == REFUSED.first_name
                made.append(None if refused else f"A{len(leads) + 1}")
                leads += [] if refused else [{"id": made[-1]} | row]
            return Response(201, json.dumps({"ids": made}))


REFUSED = Lead(first_name="Refused", email="refused@example.com")
"""A lead that the fake refuses in a batch."""
ERRORS: dict[int, type[ProviderError]] = {401: AuthFailed, 422: Rejected, 429: RateLimited}


class Acme(CRMProvider):
    """A correct plugin for Acme, with everything that a plugin may have."""

    name = "acme"
    label = "Acme CRM"
    capabilities = frozenset({
        "update_lead", "log_activity", "find_many", "describe_fields", "preview", "provision", "detects_duplicates",
        "create_leads", "find_leads",
    })  # fmt: skip
    lead_fields: ClassVar[Mapping[str, str]] = {
        "first_name": "first", "last_name": "last", "email": "email", "phone": "phone", "operation_id": "operation",
    }  # fmt: skip

    class Settings(ProviderSettings):
        ACME_URL = web_address(required=True)
        ACME_KEY: fields.String = secret(required=True)

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        found = self.resolve_duplicate(
            self._known(lead, operation), lead, operation, update=self.update_lead, log=self._note
        )
        if found:
            return found
        return self._create(self._record(lead, operation))

    @hookimpl
    def create_leads(self, leads: Sequence[tuple[Lead, Operation]]) -> Mapping[str, Delivered | ProviderError | None]:
        alone = {operation.id: None for lead, operation in leads if self._known(lead, operation)}
        fresh = [(lead, operation) for lead, operation in leads if operation.id not in alone]
        return alone | self._batch([operation for _, operation in fresh], [self._record(*pair) for pair in fresh])

    def _batch(self, operations: list[Operation], records: list[dict[str, Any]]) -> dict[str, Delivered | None]:
        answer = self._send("POST", "batch", json=records)
        match answer.status, parsed(answer):
            case 201, {"ids": list(ids)} if len(ids) == len(operations):
                made = (Delivered(self.name, str(one)) if one else None for one in ids)
                return {operation.id: one for operation, one in zip(operations, made, strict=True)}
        raise self._error(answer, read=False)

    def _record(self, lead: Lead, operation: Operation) -> dict[str, Any]:
        mapped = self.map_lead(lead, operation)
        return mapped.fields | {"text": self.describe(mapped, operation, lead.additional_info)}

    @hookimpl
    def find_leads(self, operations: Sequence[Operation]) -> Mapping[str, Delivered]:
        answer = self._send("POST", "search", json=[one.id for one in operations], safe=True)
        match answer.status, parsed(answer):
            case 200, {"rows": list(rows)}:
                return {row["operation"]: Delivered(self.name, row["id"], adopted=True) for row in rows}
        raise self._error(answer, read=True)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        mapped = self.map_activity(activity, operation)
        return self._create({"last": "Messenger"} | mapped.fields | {"text": self.describe(mapped, operation)})

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        if operation.kind == Kind.LOG_ACTIVITY:
            return self._adopted(self._rows("notes", operation=operation.id), "lead")
        found = self._adopted(self._rows("leads", operation=operation.id), "id")
        if found or operation.kind != Kind.CREATE_LEAD or not self.merges_duplicates:
            return found
        return self._adopted(self._rows("notes", operation=operation.id), "lead") or self._adopted(
            [row for row in self._rows("leads", email=operation.lead.email) if "update " + operation.id in row], "id"
        )

    @hookimpl
    def find_many(self, operations: Sequence[Operation]) -> Mapping[str, str]:
        records = {one.id: one.delivered.record_id for one in operations if one.delivered}
        return {one: record for one, record in records.items() if self._left(one, record)}

    def _left(self, operation: str, record: str) -> bool:
        leads, notes = self._rows("leads", id=record), self._rows("notes", lead=record)
        return bool(leads) and operation in str(leads + notes)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        known = self._rows("leads", id=lead_id)
        plan = self.plan_update(lead, operation, known[0] if known else {}, minimal={"last": "Messenger"})
        changed = plan.fields | {"update " + operation.id: self.describe(plan, operation, lead.additional_info)}
        self._id(self._send("PUT", f"leads/{lead_id}", json=changed), 200)
        return Delivered(self.name, lead_id)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        if not self._rows("leads", id=lead_id):
            raise NotFound("there is no such lead")
        mapped = self.map_activity(activity, operation)
        return self._write_note(lead_id, self.describe(mapped, operation), operation)

    @hookimpl
    def test_connection(self) -> Connection:
        try:
            self._rows("leads", id="none")
        except ProviderError as error:
            return Connection(self.name, False, 0.0, (Check("connection", False, str(error)),))
        return Connection(self.name, True, 0.0, (Check("connection", True),))

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        known = {row["name"] for row in self._rows("fields")}
        return tuple(
            CrmField(fact, name, problem="" if name in known else "run `crmgate crm setup`")
            for fact, name in self.field_map.names.items()
        )

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        known = {row["name"] for row in self._rows("fields")}
        for name in set(self.field_map.names.values()) - known if apply else ():
            self._id(self._send("POST", "fields", json={"name": name}), 201)
        return Provision(tuple(Step(name, apply or name in known) for name in self.field_map.names.values()))

    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        mapped = self.map_again(operation, self.field_map)
        body = mapped.fields | {"text": self.text_of(mapped, operation)}
        return self.previewed("POST", "leads", body, mapped, operation)

    def _known(self, lead: Lead, operation: Operation) -> list[Known]:
        """The person's leads: no search, if each submission becomes a lead."""
        rows = self._rows("leads", email=lead.email) if self.merges_duplicates and lead.email else []
        return [Known(str(row["id"]), row.get("operation") == operation.id) for row in rows]

    def _note(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._write_note(lead_id, self.describe_all(lead, operation), operation)

    def _write_note(self, lead_id: str, text: str, operation: Operation) -> Delivered:
        note = {"lead": lead_id, "operation": operation.id, "text": text}
        self._id(self._send("POST", "notes", json=note), 201)
        return Delivered(self.name, lead_id)

    def _adopted(self, rows: list[dict[str, Any]], key: str) -> Delivered | None:
        return Delivered(self.name, str(rows[0][key]), adopted=True) if rows else None

    def _create(self, record: dict[str, Any]) -> Delivered:
        return Delivered(self.name, self._id(self._send("POST", "leads", json=record), 201))

    def _rows(self, table: str, **wanted: str) -> list[dict[str, Any]]:
        answer = self._send("GET", table, params=wanted)
        match answer.status, parsed(answer):
            case 200, {"rows": list(rows)}:
                return rows
        raise self._error(answer, read=True)

    def _id(self, answer: Answer, status: int) -> str:
        """The id that the CRM confirms."""
        match answer.status, parsed(answer):
            case (done, {"id": str(made)}) if done == status and made:
                return made
        raise self._error(answer, read=False)

    def _error(self, answer: Answer, read: bool) -> ProviderError:
        if answer.status == 404 and parsed(answer) == {"error": "no such record"}:
            return NotFound(status=404)
        if kind := ERRORS.get(answer.status):
            return kind(status=answer.status, retry_after=answer.retry_after)
        if 300 <= answer.status < 500:
            return Unavailable("no Acme answers at ACME_URL", status=answer.status)
        return lost(read, Code.INVALID_RESPONSE, "the answer is not Acme's", answer.status)

    def _send(self, method: str, path: str, **content: Any) -> Answer:
        headers = {"X-Acme-Key": self.settings["ACME_KEY"]}
        return self.request(method, f"{self.settings['ACME_URL']}/{path}", headers=headers, **content)


def parsed(answer: Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


# docs:
class TestAcme(ProviderContract):
    plugin = Acme  # or the file or folder: Path(__file__).parent / "acme.py"

    def fake(self) -> FakeAcme:
        return FakeAcme()

    def settings(self, fake: FakeCRM) -> Mapping[str, str]:
        return {"ACME_URL": fake.url, "ACME_KEY": "acme-key-4711"}

    # docs: end

    def is_write(self, request: Request) -> bool:
        return super().is_write(request) and request.path != "/search"

    def refused_lead(self, fake: FakeCRM) -> Lead:
        return REFUSED

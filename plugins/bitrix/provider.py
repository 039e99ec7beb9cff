"""The hooks of Bitrix24, and the requests that write leads or deals."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, assert_never

from crmgate import hookimpl
from crmgate.errors import ProviderError
from crmgate.model import Activity, Connection, CrmField, Delivered, Kind, Lead, Operation, Preview, Provision
from crmgate.provider import CRMProvider, Rate

from .api import BitrixApi, BitrixSettings
from .batch import COMMANDS, BitrixBatch, rescuing
from .checks import BitrixChecks
from .compare import BitrixComparison
from .contacts import BitrixContacts, beside, person
from .fields import BitrixFields
from .lookup import BitrixLookup
from .pipeline import BitrixPipeline
from .preview import preview_of
from .records import BitrixRecords, after_write
from .setup import BitrixSetup
from .text import described, plain, repeated, wide
from .values import (
    CONTACTS,
    DEALS,
    KEPT,
    MINIMAL,
    MINIMAL_NAME,
    MULTIFIELDS,
    ORIGIN,
    PERSON,
    PIPELINE,
    RecordType,
    Row,
    contacts,
    dropped,
    title,
    truths,
)  # fmt: skip


class Bitrix(CRMProvider):
    """Leads in Bitrix24, or deals with contacts (BITRIX_TARGET)."""

    name = "bitrix"
    label = "Bitrix24"
    capabilities = frozenset((
        "create_lead", "create_leads", "create_minimal_lead", "find_lead", "find_leads", "find_many",
        "update_lead", "log_activity",
        "test_connection", "describe_fields", "preview", "provision", "detects_duplicates", "moves_refused_fields",
    ))  # fmt: skip
    Settings = BitrixSettings
    lead_fields = {  # noqa: RUF012 - read only
        "first_name": "name", "last_name": "lastName", "email": "EMAIL", "phone": "PHONE",
        "referral_code": "UF_CRM_REFERRAL_CODE", "user_type": "UF_CRM_1234567893", "language": "UF_CRM_1234567894",
        "field_of_study": "UF_CRM_1234567896", "university": "UF_CRM_1234567897", "source": "UF_CRM_1234567892",
        "source_id": "sourceId", "source_description": "sourceDescription", "operation_id": "originId",
        "utm_source": "utmSource", "utm_medium": "utmMedium", "utm_campaign": "utmCampaign",
        "utm_content": "utmContent", "utm_term": "utmTerm",
    }  # fmt: skip
    lead_values = {  # noqa: RUF012 - read only
        "source_id": dict.fromkeys(("website", "web", "landing", "university_detail", "home_questionnaire"), "WEB")
        | dict.fromkeys(("referral", "partner"), "PARTNER")
    }

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        wanted = self.field_map  # as configured; `field_map` becomes the part that the portal takes
        moves_refused = self.on_rejected_field == "describe"
        self._api = BitrixApi(self.settings, self.request, wanted)
        self._fields = BitrixFields(self._api, wanted, sends_stand_ins=moves_refused)

        def records(kind: RecordType) -> BitrixRecords:
            return BitrixRecords(self._api, kind, self._fields, wanted, moves_refused=moves_refused)

        self._records = records(self._api.target)
        self._lookup = BitrixLookup(self._api, self._records, merges_duplicates=self.merges_duplicates)
        self._comparison = BitrixComparison(self._api, self._records, self._lookup)
        assignee = self.settings["BITRIX_ASSIGNED_BY_ID"]
        self._contacts: BitrixContacts | None = None
        self._pipeline: BitrixPipeline | None = None
        if self._api.target is DEALS:
            self._contacts = BitrixContacts(records(CONTACTS), self.send_describing, self.move, assignee=assignee)
            self._pipeline = BitrixPipeline(self._api, self.settings)
        self._batch = BitrixBatch(self, self._api, self._records, self._lookup, self._new)
        self._checks = BitrixChecks(self._api, self._fields, self._lookup, self._pipeline, assignee=assignee)
        self._setup = BitrixSetup(self._api, self._fields, wanted)

    @property
    def rate(self) -> Rate | None:
        """The leaky bucket of each portal and address (https://apidocs.bitrix24.com/limits.html)."""
        limit: Rate | None = self.settings["BITRIX_RATE"]
        return limit

    @property
    def leads_at_once(self) -> int:  # type: ignore[override]
        """The commands of a batch. A deal needs its contact first, and the old API does not return what it stored."""
        return 1 if self._contacts or self._api.old else COMMANDS

    def lead_url(self, lead_id: str) -> str:
        """Address of the page of a lead or deal."""
        return self._api.record_url(lead_id)

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead or deal, or follow CRM_ON_DUPLICATE if the portal has open ones of this person."""
        people = self._lookup.people(lead)
        known = self._lookup.known(people, operation)
        found = self.resolve_duplicate(known, lead, operation, update=self.update_lead, log=self._comment_submission)
        if found:
            return found
        self.field_map = self._fields.usable_map()
        mapped = self.map_lead(lead, operation)
        contact = self._contacts.oldest(people) if self._contacts else None
        if contact:
            mapped = beside(self, contact, mapped, lead, operation)
        text = self.describe(mapped, operation, lead.additional_info)
        return self._create({"title": title(lead), **mapped.fields}, text, operation, contact)

    @hookimpl
    def create_leads(self, leads: Sequence[tuple[Lead, Operation]]) -> Mapping[str, Delivered | ProviderError | None]:
        """Create leads of people whom the portal does not know. `create_lead` does the rest, and what is refused."""
        self.field_map = self._fields.usable_map()
        return self._batch.create(leads)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead or deal for a visitor without a name. Such a deal has no contact yet."""
        self.field_map = self._fields.usable_map()
        mapped = self.map_activity(activity, operation)
        minimal = {name: value for name, value in MINIMAL.items() if name not in PERSON or not self._contacts}
        return self._create(minimal | mapped.fields, self.describe(mapped, operation), operation)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        """Fill empty fields, add phones and emails as rows, and append all other values to the comments once."""
        item = self._records.get(lead_id)
        before, heading = str(item.get("comments") or ""), self.update_heading(operation)
        if operation.tracking_code in before:
            return self.delivered(lead_id, adopted=True)

        def send(record: dict[str, Any]) -> Delivered:
            comments = "\n\n".join(filter(None, (repeated(before), heading, plain(record["comments"]))))
            # The same contact again would be the only one of a deal with several.
            new = {name: value for name, value in record.items() if name != "contactId" or value != item.get(name)}
            return self._write(new | {"comments": comments}, operation, lead_id)

        contact = None
        if self._contacts:
            contact = self._contacts.of_deal(item) or self._contacts.oldest(self._lookup.people(lead))
        return self._send(send, self._update(item, contact, lead, operation), contact)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        """Log the activity as a comment on the timeline. An administrator may comment on a deleted record."""
        self._records.get(lead_id)
        self._records.comment(lead_id, f"Messenger click\n\n{self.describe_all(activity, operation)}")
        return self.delivered(lead_id)

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The oldest record with the operation id, in any stage, or a record with the operation's tracking code.

        If the earlier attempt could not complete its text, completes it.
        """
        match operation.kind:
            case Kind.UPDATE_LEAD:
                found = self._lookup.updated(operation)
            case Kind.LOG_ACTIVITY:
                found = self._lookup.commented([operation.lead_id], operation)
                return self.delivered(found, adopted=True) if found else None
            case Kind.CREATE_LEAD:
                found = next(iter(self._lookup.created(operation.id)), None) or self._lookup.written_on_known(operation)
            case Kind.CREATE_MINIMAL_LEAD:
                found = next(iter(self._lookup.created(operation.id)), None)
            case _:
                assert_never(operation.kind)
        if not found:
            return None
        if item := self._records.readable(found):
            self._complete(found, item, operation)
        return self.delivered(found, adopted=True)

    @hookimpl
    def find_leads(self, operations: Sequence[Operation]) -> Mapping[str, Delivered]:
        """The oldest lead with the id of each operation, if it is complete. `find_lead` completes the others."""
        return self._batch.find(operations)

    @hookimpl
    def find_many(self, operations: Sequence[Operation]) -> Mapping[str, str]:
        """Operations with their id or tracking code on a record, or in a comment on it, in any stage."""
        return self._comparison.existing(operations)

    @hookimpl
    def test_connection(self) -> Connection:
        """Check the webhook, its permission, the search, the pipeline, the mapped and the mandatory fields."""
        return self.test(*self._checks.looks(), needs=("scope",))

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """Each mapped fact with its field of the portal, and the mandatory fields that no fact fills."""
        return self._fields.describe()

    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        """The request of the current mapping, before a look at the portal. A deal's contact is a request of its own."""
        return preview_of(self, self._records, self._fields.cached_map(), operation)

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        """List the user fields that the portal lacks; with `apply`, create them as text."""
        return self._setup.provision(apply)

    def explain(self, error: ProviderError, hint: str) -> str:
        """Leave the hint out if the error names a setting."""
        return str(error) if "BITRIX_" in error.detail else f"{error}; {hint}"

    def _create(
        self, values: Mapping[str, Any], text: str, operation: Operation, contact: Row | None = None
    ) -> Delivered:  # fmt: skip
        record = self._new(values, text, operation)

        def send(record: dict[str, Any]) -> Delivered:
            return self._write(record | {"comments": plain(record["comments"])}, operation)

        return self._send(send, record, contact)

    def _new(self, values: Mapping[str, Any], text: str, operation: Operation) -> dict[str, Any]:
        """The record of a new lead or deal."""
        record = {**values, **ORIGIN, "originId": operation.id, "comments": text}
        if self._pipeline:
            record |= self._pipeline.usable()
        if assignee := self.settings["BITRIX_ASSIGNED_BY_ID"]:
            record["assignedById"] = assignee
        return record

    def _send(
        self, send: Callable[[dict[str, Any]], Delivered], record: Mapping[str, Any], contact: Row | None
    ) -> Delivered:  # fmt: skip
        """Send a record. Refused values move into the comments, and demanded fields get a stand-in.

        The person of a deal goes into its `contact` before, so that another attempt finds this contact.
        """
        record, moved = self._contacts.place(record, contact) if self._contacts else (record, ())
        made = self.send_describing(
            send, record, text_field="comments", keep=KEPT, silent=PIPELINE, stand_ins=self._fields.stand_ins
        )
        return replace(made, moved=(*moved, *made.moved))

    def _update(self, item: Row, contact: Row | None, lead: Lead, operation: Operation) -> dict[str, Any]:
        """Record of an update of the lead or deal `item`. A phone or an email is a further row."""
        self.field_map = self._fields.usable_map()
        known = item | truths(item, self.field_map.types)
        if self._contacts:  # a contact can have other deals: its name is never overwritten
            plan = self.plan_update(lead, operation, known | person(contact), rows=MULTIFIELDS, keep=PERSON)
        else:
            plan = self.plan_update(lead, operation, known | contacts(item), rows=MULTIFIELDS, minimal=MINIMAL_NAME)
        named = item.get("title") == MINIMAL["title"] and (self._contacts or MINIMAL_NAME.keys() & plan.fields.keys())
        record: dict[str, Any] = {"title": title(lead)} if named else {}
        record |= plan.fields | plan.rows
        return record | {"comments": self.describe(plan, operation, lead.additional_info)}

    def _write(self, record: dict[str, Any], operation: Operation, lead_id: str = "") -> Delivered:
        """Write a lead or deal. Values that the portal silently ignored are added to the comments, if possible."""
        made, echo = self._records.save(record, lead_id)
        stored = echo
        with after_write():
            if echo is None or wide(str(record)):  # the answer shows a text as it was before the database cut it
                stored = self._records.readable(made) or echo
            if stored:
                self._complete(made, stored, operation)
        shown = echo or stored
        gone = tuple(dropped(record, shown)) if shown else ()
        if rescued := [name for name in gone if name not in (*KEPT, "comments")]:
            with suppress(ProviderError):
                self._records.save({"comments": rescuing(self, record, rescued)}, made)
        return self.delivered(made, dropped=gone)

    def _complete(self, lead_id: str, item: Row, operation: Operation) -> None:
        """Add the whole submission to the timeline if the record `item` has lost a part of it, once.

        The tracking code is the end of the comments. A cut character above U+FFFF is nowhere in the record. Raises
        `ProviderError`.
        """
        submission = operation.activity if operation.kind is Kind.CREATE_MINIMAL_LEAD else operation.lead
        text = self.describe_all(submission, operation)
        uncut = wide(text) <= wide(json.dumps(item, ensure_ascii=False))
        if uncut and operation.tracking_code in str(item.get("comments")):
            return
        if not self._lookup.commented([lead_id], operation):
            self._records.comment(lead_id, f"The whole submission\n\n{described(text)}")

    def _comment_submission(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        self._records.comment(lead_id, f"New submission\n\n{self.describe_all(lead, operation)}")
        return self.delivered(lead_id)

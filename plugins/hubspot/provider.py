"""The hooks of HubSpot, and the requests that write contacts and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, assert_never

from crmgate import hookimpl
from crmgate.errors import Code, OutcomeUnknown, Rejected
from crmgate.model import Activity, Connection, CrmField, Delivered, Kind, Lead, Operation, Preview, Provision, Rate
from crmgate.provider import CRMProvider, Mapped

from .answers import error_for, existing_id, is_conflict, made_id
from .api import CONTACTS, NOTES, HubSpotApi, HubSpotSettings, confirmed
from .lookup import HubSpotLookup, left_on
from .properties import WRITE, HubSpotProperties
from .records import (
    KEY,
    MAX_TEXT,
    MINIMAL,
    OWN,
    PHONE,
    TEXT,
    Record,
    contact_of,
    joined,
    note_on,
    phone_of,
    value,
    written,
)

UNSEEN = "another contact has the email, the phone or the operation id, but HubSpot does not show it yet"


class HubSpot(CRMProvider):
    """Contacts and notes in HubSpot."""

    name = "hubspot"
    label = "HubSpot"
    capabilities = frozenset((
        "create_lead", "create_minimal_lead", "find_lead", "find_many", "update_lead", "log_activity",
        "test_connection", "describe_fields", "preview", "provision", "detects_duplicates", "moves_refused_fields",
        "unique_key",
    ))  # fmt: skip
    Settings = HubSpotSettings
    settle_seconds = 30.0
    """No page of HubSpot says how soon a note appears in the associations of its contact, and notes have no key."""
    lead_fields: ClassVar[Mapping[str, str]] = {
        "first_name": "firstname",
        "last_name": "lastname",
        "email": "email",
        "phone": "phone",
        "country": "country",
        "city": "city",
        "birth_date": "date_of_birth",
        "education_level": "degree",
        "field_of_study": "field_of_study",
        "institution": "school",
    }

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._api = HubSpotApi(self.settings, self.request)
        self._lookup = HubSpotLookup(self._api)
        self._properties = HubSpotProperties(self._api, self.field_map)

    @property
    def rate(self) -> Rate:
        """Less than 100 requests in 10 s, the smallest limit of an account (usage-guidelines)."""
        return Rate(8, 20, 5)

    def lead_url(self, lead_id: str) -> str:
        """Address of the contact's page; empty without HUBSPOT_APP_URL."""
        address = self.settings.get("HUBSPOT_APP_URL")
        return f"{address.rstrip('/')}/record/0-1/{lead_id}" if address else ""

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the contact. If HubSpot has one of this operation or this person, adopt it or add to it."""
        mapped = self.map_lead(lead, operation)
        record = contact_of(mapped, self.describe(mapped, operation, lead.additional_info), operation, {})
        phone = {PHONE: phone_of(lead)} if lead.phone and self.merges_duplicates else {}
        return self._create(record | phone, lead, operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a contact for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        return self._create(contact_of(mapped, self.describe(mapped, operation), operation, MINIMAL), Lead(), operation)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        """Fill empty properties, and append all other values to the text, once and in one request."""
        names = {name for name in self.field_map.names.values() if name}
        known = self._lookup.contact(lead_id, sorted({*names, *MINIMAL, *OWN}))
        if left_on(known, operation):
            return self.delivered(lead_id, adopted=True)
        current = {name: value(known, name) for name in (*names, *MINIMAL)}
        plan = self.plan_update(lead, operation, current, minimal=MINIMAL)
        text = self.describe(plan, operation, lead.additional_info)
        above = joined(value(known, TEXT), self.update_heading(operation))
        if len(above) + len(self.describe_all(lead, operation)) > MAX_TEXT:
            return self._note_submission(lead_id, lead, operation)
        record = written(plan.fields) | {TEXT: text}
        if "phone" in plan.fields and not value(known, PHONE) and self.merges_duplicates:
            record[PHONE] = phone_of(lead)
        return self._send(lambda record: self._patch(lead_id, record | {TEXT: joined(above, record[TEXT])}), record)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        """Log a click as a note on the contact."""
        self._lookup.contact(lead_id)  # the answer for a note on a contact that is gone is not documented
        return self._note(lead_id, f"Messenger click\n\n{self.describe_all(activity, operation)}", operation)

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The contact with the operation id, or the contact on which the operation left its tracking code."""
        match operation.kind:
            case Kind.LOG_ACTIVITY | Kind.UPDATE_LEAD:
                contacts = self._api.read(CONTACTS, filter(str.isdecimal, [operation.lead_id]), (KEY, TEXT))
                found = self._lookup.written_on(contacts, operation)
            case Kind.CREATE_LEAD | Kind.CREATE_MINIMAL_LEAD:
                created = self._lookup.created([operation])
                found = str(created[0]["id"]) if created else self._written_on_known(operation)
            case _:
                assert_never(operation.kind)
        return self.delivered(found, adopted=True) if found else None

    @hookimpl
    def find_many(self, operations: Sequence[Operation]) -> Mapping[str, str]:
        """Operations with their id or tracking code on a contact, or with a note on it."""
        return self._lookup.existing(operations)

    @hookimpl
    def test_connection(self) -> Connection:
        """Check the token, its scopes, the properties of crmgate and the mapped properties."""
        return self.test(*self._properties.looks(), needs=(WRITE, *OWN))

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """Each mapped fact with its contact property."""
        return tuple(self._properties.described())

    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        """The request of the current mapping, before a look at the contacts in HubSpot."""
        mapped = self.map_again(operation, self.field_map)
        text = self.text_of(mapped, operation)
        match operation.kind:
            case Kind.LOG_ACTIVITY:
                note = note_on(operation.lead_id, self.describe_all(operation.activity, operation), operation)
                return self.previewed("POST", NOTES, note, Mapped({}, []), operation)
            case Kind.UPDATE_LEAD:
                changes = {"properties": written(mapped.fields) | {TEXT: text}}
                return self.previewed("PATCH", f"{CONTACTS}/{operation.lead_id}", changes, mapped, operation)
            case Kind.CREATE_LEAD | Kind.CREATE_MINIMAL_LEAD:
                names = MINIMAL if operation.kind is Kind.CREATE_MINIMAL_LEAD else {}
                body = {"properties": contact_of(mapped, text, operation, names), "associations": []}
                return self.previewed("POST", CONTACTS, body, mapped, operation)
            case _:
                assert_never(operation.kind)

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        """List the properties that crmgate needs; with `apply`, create the missing ones."""
        return self._properties.provision(apply)

    def _create(self, record: Record, lead: Lead, operation: Operation) -> Delivered:
        return self._send(lambda current: self._post(current, lead, operation), record)

    def _send(self, send: Any, record: Record) -> Delivered:
        """Send a record. Refused values move into the text, and a property that is gone moves at once next time."""
        return self.send_describing(
            send, record, text_field=TEXT, keep=(KEY,), silent=(PHONE,), stand_ins=self._stand_ins
        )

    def _stand_ins(self, error: Rejected) -> dict[str, str]:
        self.remember_dropped(name for name, flaw in error.fields.items() if flaw == "PROPERTY_DOESNT_EXIST")
        return {}

    def _post(self, record: Record, lead: Lead, operation: Operation, *, apart: bool = False) -> Delivered:
        """Create a contact. `apart`: without the values that make it a contact of a known person."""
        answer = self._api.send("POST", CONTACTS, json={"properties": record, "associations": []})
        if made := made_id(answer):
            return self.delivered(made)
        if not is_conflict(answer) or apart:
            raise error_for(answer, read=False)
        known = self._lookup.holders(lead, operation, existing_id(answer))
        if not known and not self._lookup.people(lead, archived=True):
            raise OutcomeUnknown(UNSEEN, code=Code.DUPLICATE, status=answer.status)
        own = [one for one in known if one.own]
        found = self.resolve_duplicate(
            known if self.merges_duplicates else own, lead, operation,
            update=self.update_lead, log=self._note_submission,
        )  # fmt: skip
        return found or self._post(self._apart(record), lead, operation, apart=True)

    def _apart(self, record: Record) -> Record:
        """The record with the email in its text. HubSpot allows an email, and crmgate a phone, for one contact only."""
        email = self.field_map.names.get("email", "")
        moved = self.move(record, [email], TEXT) if email in record else record
        return {name: one for name, one in moved.items() if name != PHONE}

    def _patch(self, lead_id: str, record: Record) -> Delivered:
        """Change a contact. An email of another contact counts as refused, so it moves into the text."""
        answer = self._api.send("PATCH", f"{CONTACTS}/{lead_id}", json={"properties": record})
        if confirmed(answer, lead_id):
            return self.delivered(lead_id)
        if is_conflict(answer):
            if PHONE in record:
                return self._patch(lead_id, {name: one for name, one in record.items() if name != PHONE})
            email = self.field_map.names.get("email", "")
            detail = "another contact has this email"
            raise Rejected(detail, fields={email: "conflict"}, code=Code.DUPLICATE, status=answer.status)
        raise error_for(answer, read=False)

    def _written_on_known(self, operation: Operation) -> str:
        """Id of the contact of the same person on which the operation left its tracking code; empty: none."""
        if operation.kind is not Kind.CREATE_LEAD or not self.merges_duplicates:
            return ""
        return self._lookup.written_on(self._lookup.people(operation.lead), operation)

    def _note_submission(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._note(lead_id, f"New submission\n\n{self.describe_all(lead, operation)}", operation)

    def _note(self, lead_id: str, text: str, operation: Operation) -> Delivered:
        self._api.create(NOTES, note_on(lead_id, text, operation))
        return self.delivered(lead_id)

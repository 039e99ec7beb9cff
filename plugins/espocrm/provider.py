"""The hooks of EspoCRM, and the requests that write leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, assert_never

from crmgate import hookimpl
from crmgate.errors import Forbidden, NotFound, ProviderError, Rejected, Unsupported
from crmgate.model import Activity, Connection, CrmField, Delivered, Kind, Lead, Operation, Preview, Provision
from crmgate.provider import Answer, CRMProvider, Known, Mapped, lost

from .activities import EspoActivities
from .answers import error_for, rows_with_id
from .api import EspoApi, EspoSettings, lead_path
from .checks import EspoChecks
from .lookup import EspoLookup, by_age, keyed
from .metadata import EspoMetadata
from .names import MINIMAL, names_to_fill
from .preview import preview_of
from .required import DASH, EspoRequired
from .rows import ROWS, adding_rows, with_rows
from .setup import EspoSetup
from .texts import bare, below, dropped, joined, record_of

DUPLICATES_SHOWN = 5
"""Maximum number of leads that a 409 lists as duplicates."""


class EspoCRM(CRMProvider):
    """Leads in EspoCRM."""

    name = "espocrm"
    label = "EspoCRM"
    capabilities = frozenset({
        "create_lead", "create_minimal_lead", "update_lead", "log_activity", "find_lead", "find_many",
        "test_connection", "describe_fields", "preview", "provision", "detects_duplicates", "moves_refused_fields",
        "unique_key",
    })  # fmt: skip
    Settings = EspoSettings
    lead_fields: ClassVar[Mapping[str, str]] = {
        "first_name": "firstName",
        "last_name": "lastName",
        "email": "emailAddress",
        "phone": "phoneNumber",
        "referral_code": "referralCodeC",
        "user_type": "userTypeC",
        "language": "languageC",
        "field_of_study": "fieldOfStudyC",
        "university": "universityC",
        "source": "source",
        "operation_id": "crmgateOperationIdC",
    }
    lead_values: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "source": dict.fromkeys(("website", "web", "landing", "university_detail", "home_questionnaire"), "Web Site")
        | dict.fromkeys(("referral", "partner"), "Partner"),
        # Equal on both sides; listed because `describe_fields` compares them with the options of an enum.
        "user_type": {name: name for name in ("student", "parent")},
        "language": {name: name for name in ("turkish", "english", "both")},
    }

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._id_field = self.field_map.names.get("operation_id", "")
        self._api = EspoApi(self.settings, self.request)
        self._metadata = EspoMetadata(self._api, self.field_map)
        self._lookup = EspoLookup(self._api, self._id_field)
        self._activities = EspoActivities(self._api)
        stands_in = self.on_rejected_field == "describe"
        self._required = EspoRequired(self._api, self._metadata, self.field_map, sends_stand_ins=stands_in)
        self._checks = EspoChecks(self._api, self._required, self._id_field)
        self._setup = EspoSetup(self._api, self.field_map)

    def lead_url(self, lead_id: str) -> str:
        """Address of a lead's page."""
        return self._api.lead_url(lead_id)

    def map_lead(self, lead: Lead, operation: Operation) -> Mapped:
        """The lead by names of fields, in the form that each field takes. Reads the metadata if they are not cached."""
        self.field_map = self._metadata.typed_map()
        return keyed(super().map_lead(lead, operation), operation, self._id_field)

    def map_activity(self, activity: Activity, operation: Operation) -> Mapped:
        """A messenger click by names of fields, as `map_lead` maps a lead."""
        self.field_map = self._metadata.typed_map()
        return keyed(super().map_activity(activity, operation), operation, self._id_field)

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead, adopt the one that this operation created, or follow CRM_ON_DUPLICATE for a known person.

        EspoCRM's own check ignores phones and is slow with many leads, so the plugin searches for the person itself.
        """
        mapped = self.map_lead(lead, operation)
        description = self.describe(mapped, operation, lead.additional_info)
        record = record_of({"lastName": DASH}, mapped.fields, description) | self._assigned()
        if not self.merges_duplicates:
            return self._create(record, operation, None)
        known = self._lookup.leads_like(lead)
        found = self._resolve(known.leads, lead, operation)
        # EspoCRM's check is left out if it could find nothing more, and if the unique index stops a second attempt.
        unchecked = known.complete and self._metadata.recent().is_unique(self._id_field)
        return found or self._create(record, operation, None if unchecked else lead)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        record = record_of(MINIMAL, mapped.fields, self.describe(mapped, operation)) | self._assigned()
        # All these leads have the same name: EspoCRM would call each one a duplicate of the first.
        return self._create(record, operation, None)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        """Fill empty fields, add phones and emails as rows, and append all other values to the description once."""
        known = self._api.read(lead_path(lead_id))
        before = str(known.get("description") or "")
        if operation.tracking_code in before:
            return self.delivered(lead_id, adopted=True)
        plan = self.plan_update(lead, operation, with_rows(known), rows=ROWS, minimal=MINIMAL)
        names = names_to_fill(plan, known)
        text = self.describe(plan, operation, lead.additional_info)
        record = record_of(names, plan.fields | plan.rows, text)
        above = joined(before, self.update_heading(operation))
        return self._send(lambda record: self._put(known, record, plan.rows, above), record, names)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        """Log a click as a held call, or as a note if the role allows no calls."""
        text = self.describe_all(activity, operation)
        self._activities.log(lead_id, activity.channel or "Activity", text, activity.occurred_at, operation)
        return self.delivered(lead_id)

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The oldest lead with the operation id, or a lead on which the operation left its tracking code.

        None also if EspoCRM has no field for the id or hides it. A lead whose answer was lost is then sent again, and
        may exist twice: that is better than a lost lead. `test_connection` reports it.
        """
        match operation.kind:
            case Kind.LOG_ACTIVITY:
                found = operation.lead_id if self._lookup.logged(operation.lead_id, operation) else ""
            case Kind.UPDATE_LEAD:
                found = operation.lead_id if self._lookup.updated(operation.lead_id, operation) else ""
            case Kind.CREATE_LEAD:
                found = self._lookup.created(operation)
                if not found and self.merges_duplicates:
                    found = self._lookup.written_on_known(operation)
            case Kind.CREATE_MINIMAL_LEAD:
                found = self._lookup.created(operation)
            case _:
                assert_never(operation.kind)
        return self.delivered(found, adopted=True) if found else None

    @hookimpl
    def find_many(self, operations: Sequence[Operation]) -> Mapping[str, str]:
        """Operations with their id or tracking code on a lead, or with a call or a note on it.

        At most 50 operations are one request, and another one for those that are not found by the ids of their leads.
        """
        return self._lookup.existing(operations)

    @hookimpl
    def test_connection(self) -> Connection:
        """Check address, key, rights, assigned user, mapped and required fields, and the search for an operation id."""
        # Only the right to create leads is required: leads arrive without a field, and if the rights cannot be read.
        return self.test(*self._checks.looks(), needs=("create leads",))

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """Each mapped fact with its field in EspoCRM's metadata, and the required fields that no fact fills."""
        return tuple(self._required.compared())

    @hookimpl
    def preview(self, operation: Operation) -> Preview:
        """The request of the current mapping, before a look at the leads in EspoCRM."""
        return preview_of(self, self._activities, self._metadata.cached_map(), self._assigned(), operation)

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        """List the missing fields and options, the role and the API user; with `apply`, create them."""
        return self._setup.provision(apply)

    def _assigned(self) -> dict[str, str]:
        assignee = self.settings.get("ESPOCRM_ASSIGNED_USER_ID")
        return {"assignedUserId": assignee} if assignee else {}

    def _create(self, record: dict[str, Any], operation: Operation, lead: Lead | None) -> Delivered:
        """Create a lead. EspoCRM checks for duplicates of `lead`; None: it skips the check."""
        return self._send(lambda current: self._post(current, operation, lead), record, {"lastName": DASH})

    def _send(
        self, send: Callable[[dict[str, Any]], Delivered], record: Mapping[str, Any], names: Mapping[str, str]
    ) -> Delivered:  # fmt: skip
        """Send a record, with stand-ins for what EspoCRM requires. `names` replaces a refused name of a person."""

        def stand_ins(error: Rejected) -> dict[str, str]:
            replaced = {name: value for name, value in names.items() if name in error.fields}
            return self._required.stand_ins(error) | replaced

        return self.send_describing(send, record, silent=("assignedUserId",), stand_ins=stand_ins)

    def _post(self, record: dict[str, Any], operation: Operation, lead: Lead | None) -> Delivered:
        headers = {} if lead else {"X-Skip-Duplicate-Check": "true"}
        answer = self._api.send("POST", "Lead", json=record, headers=headers)
        match answer.status, answer.content_type, (body := answer.parsed):
            case 200, _, {"id": str(made)} if made:
                return self._stored(made, record, body)
            case 409, _, _ if lead:
                return self._on_409(body, lead, operation) or self._post(record, operation, None)
            case (409, _, _) | (500, "application/json", _):
                return self._lost_race(answer, operation)
        raise error_for(answer, read=False)

    def _put(
        self, known: Mapping[str, Any], record: dict[str, Any], rows: Iterable[str], above: str
    ) -> Delivered:  # fmt: skip
        """Update the lead `known`. The values of `rows` become further rows; the description goes below `above`."""
        changes = adding_rows(below(above, record), rows, known, primary=self.on_update == "overwrite")
        answer = self._api.send("PUT", lead_path(str(known["id"])), json=changes)
        match answer.status, (body := answer.parsed):
            case 200, {"id": str(changed)} if changed:
                return self._stored(changed, record, body | self._stored_rows(changed, record, rows), above)
        raise error_for(answer, read=False)

    def _stored_rows(self, lead_id: str, record: Mapping[str, Any], rows: Iterable[str]) -> dict[str, Any]:
        """The values of `rows` that the lead has now. The answer to an update shows the rows before it."""
        added = [name for name in rows if name in record]
        if not added:
            return {}
        try:
            found = with_rows(self._api.read(lead_path(lead_id)))
        except ProviderError:  # then they are described
            return {}
        return {name: record[name] for name in added if bare(record[name]) in map(bare, found[name])}

    def _stored(self, lead_id: str, record: dict[str, Any], echo: Mapping[str, Any], before: str = "") -> Delivered:
        """Result for a written lead. Values of the visitor that EspoCRM dropped are added to the description."""
        gone = dropped(below(before, record), echo)
        mapped = {*self.field_map.names.values()} - {self._id_field, "description"}
        missing = [name for name in gone if name in mapped and record[name] != DASH]
        self.remember_dropped(name for name in missing if echo.get(name) in (None, ""))
        if missing or "description" in gone:
            supplemented = self.move(record, missing)
            self._supplement(lead_id, supplemented, before, editable="description" not in gone)
        return self.delivered(lead_id, dropped=gone)

    def _supplement(self, lead_id: str, record: dict[str, Any], before: str, *, editable: bool) -> None:
        """Write the description of a lead, or a note if it is not editable. Errors are ignored: the lead is stored."""
        text = {"description": below(before, record)["description"]}
        with suppress(ProviderError):
            if editable and self._api.send("PUT", lead_path(lead_id), json=text).status == 200:
                return
        with suppress(ProviderError):
            self._activities.note(lead_id, record["description"])

    def _on_409(self, shown: Any, lead: Lead, operation: Operation) -> Delivered | None:
        """Resolve a conflict: EspoCRM has leads with this email or name. None: they belong to other people."""
        leads = rows_with_id(shown)
        if not 0 < len(leads) < DUPLICATES_SHOWN:  # a full or an empty list may lack the lead that counts
            leads += self._lookup.with_id(operation) + self._lookup.leads_like(lead).leads
        return self._resolve(leads, lead, operation)

    def _resolve(self, leads: list[dict[str, Any]], lead: Lead, operation: Operation) -> Delivered | None:
        """Adopt the lead of this operation, or add to the oldest lead of this person. None: create a new lead."""
        known = [Known(str(one["id"]), own=True) for one in by_age(leads) if self._lookup.is_own(one, operation)]
        if not known and (oldest := self._lookup.oldest_of(lead, leads)):
            known = [Known(oldest)]
        refused = (Rejected, Forbidden, Unsupported, NotFound)
        return self.resolve_duplicate(
            known, lead, operation, update=self.update_lead, log=self._log_application, unless=refused
        )

    def _log_application(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        self._activities.log(lead_id, "Application", self.describe_all(lead, operation), "", operation)
        return self.delivered(lead_id)

    def _lost_race(self, answer: Answer, operation: Operation) -> Delivered:
        """Adopt the lead of a parallel attempt: the unique index on the operation id answers a 409 or an empty 500.

        If there is no such lead, the outcome of the 500 is unknown: it can be a deadlock or text that is not UTF-8.
        """
        try:
            if found := self.find_lead(operation):
                return found
        except ProviderError as error:
            detail = f"EspoCRM failed, then the look-up: {error.detail}"
            raise lost(False, error.code, detail, answer.status) from None
        raise error_for(answer, read=False)

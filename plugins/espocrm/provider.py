"""The hooks of EspoCRM, and the requests that write leads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, assert_never

from crmgate import hookimpl
from crmgate.errors import Forbidden, NotFound, ProviderError, Rejected, Unsupported
from crmgate.model import Activity, Connection, CrmField, Delivered, Kind, Lead, Operation, Provision
from crmgate.provider import Answer, CRMProvider, Known, Mapped, lost

from .activities import EspoActivities, espo_time
from .answers import error_for, rows_with_id
from .api import EspoApi, EspoSettings, lead_path
from .checks import EspoChecks
from .lookup import EspoLookup, by_age
from .metadata import EspoMetadata
from .required import DASH, EspoRequired
from .setup import EspoSetup

DUPLICATES_SHOWN = 5
"""Maximum number of leads that a 409 lists as duplicates."""
MINIMAL = {"firstName": "Messenger", "lastName": "Lead"}
"""Name of a lead without a person: only a click is known."""


class EspoCRM(CRMProvider):
    """Leads in EspoCRM."""

    name = "espocrm"
    label = "EspoCRM"
    capabilities = frozenset({
        "create_lead", "create_minimal_lead", "update_lead", "log_activity", "find_lead", "test_connection",
        "describe_fields", "provision", "detects_duplicates", "moves_refused_fields", "unique_key",
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
        return super().map_lead(lead, operation)

    def map_activity(self, activity: Activity, operation: Operation) -> Mapped:
        """A messenger click by names of fields, as `map_lead` maps a lead."""
        self.field_map = self._metadata.typed_map()
        return super().map_activity(activity, operation)

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead, adopt the one that this operation created, or follow CRM_ON_DUPLICATE for a known person.

        EspoCRM's own check ignores phones and is slow with many leads, so the plugin searches for the person itself.
        """
        mapped = self.map_lead(lead, operation)
        description = self.describe(mapped, operation, lead.additional_info)
        record = self._record({"lastName": DASH}, mapped.fields, description) | self._assigned()
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
        record = self._record(MINIMAL, mapped.fields, self.describe(mapped, operation)) | self._assigned()
        # All these leads have the same name: EspoCRM would call each one a duplicate of the first.
        return self._create(record, operation, None)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        """Write the changed fields, and append the other facts to the description once."""
        current = self._api.read(lead_path(lead_id))
        before = str(current.get("description") or "")
        if operation.tracking_code in before:
            return self.delivered(lead_id, adopted=True)
        mapped = self.map_lead(lead, operation)
        changed = self.changed_fields(mapped, current, operation)
        names = _names_to_replace(changed, current)
        when = f"Update of {espo_time(operation.accepted_at)} UTC"
        description = f"{when}\n{self.describe(mapped, operation, lead.additional_info)}"
        record = self._record(names, changed, description)
        return self._send(lambda current: self._put(lead_id, current, before), record, names)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        """Log a click as a held call, or as a note if the role allows no calls."""
        title, text = activity.channel or "Activity", self.describe_all(activity, operation)
        self._activities.log(lead_id, title, text, activity.occurred_at, operation)
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
    def test_connection(self) -> Connection:
        """Check address, key, rights, assigned user, mapped and required fields, and the search for an operation id."""
        # Only the right to create leads is required: leads arrive without a field, and if the rights cannot be read.
        return self.test(*self._checks.looks(), needs=("create leads",))

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """Each mapped fact with its field in EspoCRM's metadata, and the required fields that no fact fills."""
        return tuple(self._required.compared())

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        """List the missing fields and options, the role and the API user; with `apply`, create them."""
        return self._setup.provision(apply)

    def _record(self, base: Mapping[str, str], mapped: Mapping[str, Any], description: str) -> dict[str, Any]:
        """Body of a create or an update. Blank values are left out, because EspoCRM accepts blank names silently."""
        record = {**base, **{name: value for name, value in mapped.items() if str(value).strip()}}
        return record | {"description": _joined(record.get("description"), description)}

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

    def _put(self, lead_id: str, record: dict[str, Any], before: str) -> Delivered:
        """Update a lead. The new description goes below `before`, the existing one."""
        answer = self._api.send("PUT", lead_path(lead_id), json=_below(before, record))
        match answer.status, (body := answer.parsed):
            case 200, {"id": str(changed)} if changed:
                return self._stored(changed, record, body, before)
        raise error_for(answer, read=False)

    def _stored(self, lead_id: str, record: dict[str, Any], echo: Mapping[str, Any], before: str = "") -> Delivered:
        """Result for a written lead. Values of the visitor that EspoCRM dropped are added to the description."""
        dropped = _dropped(_below(before, record), echo)
        mapped = {*self.field_map.names.values()} - {self._id_field, "description"}
        missing = [name for name in dropped if name in mapped and record[name] != DASH]
        self.remember_dropped(name for name in missing if echo.get(name) in (None, ""))
        if missing or "description" in dropped:
            supplemented = self.move(record, missing)
            self._supplement(lead_id, supplemented, before, editable="description" not in dropped)
        return self.delivered(lead_id, dropped=dropped)

    def _supplement(self, lead_id: str, record: dict[str, Any], before: str, *, editable: bool) -> None:
        """Write the description of a lead, or a note if it is not editable. Errors are ignored: the lead is stored."""
        text = {"description": _below(before, record)["description"]}
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


def _names_to_replace(changed: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, str]:
    """Names that replace those of a lead without a person, if the update names one; else empty."""
    minimal = all(current.get(name) == value for name, value in MINIMAL.items())
    named = any(str(changed.get(name, "")).strip() for name in MINIMAL)
    return {"firstName": "", "lastName": DASH} if minimal and named else {}


def _below(before: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its description below `before`."""
    return {**record, "description": _joined(before, record["description"])}


def _joined(*parts: Any) -> str:
    return "\n\n".join(str(part) for part in parts if part)


def _dropped(sent: Mapping[str, Any], echo: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields whose value is not in the answer; blanks, case and punctuation do not count."""
    filled = {name: value for name, value in sent.items() if value != ""}
    return tuple(
        name for name, value in filled.items() if echo.get(name) in (None, "") or not _equal(value, echo[name])
    )


def _equal(value: Any, echo: Any) -> bool:
    return bool(value == echo) or _bare(value) == _bare(echo)


def _bare(value: Any) -> str:
    return "".join(character for character in str(value).casefold() if character.isalnum())

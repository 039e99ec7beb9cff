"""The hooks of EspoCRM, and how a lead is written so that it is there once, and whole."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, assert_never

from crmgate import hookimpl
from crmgate.errors import NotFound, ProviderError, Rejected, Unsupported
from crmgate.model import Activity, Delivered, Kind, Lead, Operation
from crmgate.provider import Answer, Known, lost

from .answers import rows_with_id
from .api import lead_path
from .earlier import Earlier, by_age, espo_time, same_person

DUPLICATES_SHOWN = 5
"""A 409 shows at most so many of the leads that it takes for the same person."""
NO_LAST_NAME = "-"
MINIMAL = {"firstName": "Messenger", "lastName": "Lead"}
"""What a visitor is called of whom only a click is known."""


class EspoCRM(Earlier):
    """Leads in EspoCRM."""

    name = "espocrm"
    label = "EspoCRM"
    capabilities = frozenset({
        "create_lead", "create_minimal_lead", "update_lead", "log_activity", "find_lead", "test_connection",
        "describe_fields", "provision", "detects_duplicates", "moves_refused_fields", "unique_key",
    })  # fmt: skip
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
        # The same there as here. Named all the same: `describe_fields` compares them with the options of an enum.
        "user_type": {name: name for name in ("student", "parent")},
        "language": {name: name for name in ("turkish", "english", "both")},
    }

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead, adopt the one that this operation made, or do with a known person as CRM_ON_DUPLICATE says.

        EspoCRM's own check knows no phones: a lead with one is looked up before.
        """
        mapped = self.map_lead(lead, operation)
        description = self.describe(mapped, operation, lead.additional_info)
        record = self._record({"lastName": NO_LAST_NAME}, mapped.fields, description) | self._assigned()
        known = self._known(lead) if lead.phone and self.spares_duplicates else []
        found = self._resolve(known, lead, operation)
        return found or self._create(record, operation, lead if self.spares_duplicates else None)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead that stands for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        record = self._record(MINIMAL, mapped.fields, self.describe(mapped, operation)) | self._assigned()
        # All of them have the same name: EspoCRM would call every one a duplicate of the first.
        return self._create(record, operation, None)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        """Write what is known now into the fields, and add the rest to the description, once."""
        current = self._read(lead_path(lead_id))
        before = str(current.get("description") or "")
        if operation.tracking_code in before:
            return self.delivered(lead_id, adopted=True)
        mapped = self.map_lead(lead, operation)
        news = self.news(mapped, current, operation)
        names = _names_to_replace(news, current)
        when = f"Update of {espo_time(operation.accepted_at)} UTC"
        description = f"{when}\n{self.describe(mapped, operation, lead.additional_info)}"
        record = self._record(names, news, description)
        return self.send_describing(lambda current: self._put(lead_id, current, before), record, fallbacks=names)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        """Log a click as a call that was held, or as a note where the role allows no calls."""
        title, text = activity.channel or "Activity", self.tell(activity, operation)
        return self._log(lead_id, title, text, activity.occurred_at, operation)

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """What this operation made: the oldest lead with its id, or what carries its tracking code on another lead.

        None as well where EspoCRM has no field for the id or does not show it: a lead whose answer was lost is then
        sent again and may be there twice, which is better than not at all. `test_connection` warns of it.
        """
        match operation.kind:
            case Kind.LOG_ACTIVITY:
                left = self._logged(operation.lead_id, operation)
            case Kind.UPDATE_LEAD:
                left = self._updated(operation.lead_id, operation)
            case Kind.CREATE_LEAD:
                return self._made(operation) or self._kept(operation)
            case Kind.CREATE_MINIMAL_LEAD:
                return self._made(operation)
            case _:
                assert_never(operation.kind)
        return self.delivered(operation.lead_id, adopted=True) if left else None

    def _made(self, operation: Operation) -> Delivered | None:
        """The oldest lead that this operation made."""
        own = (one for one in by_age(self._with_id(operation)) if self._is_own(one, operation))
        return next((self.delivered(str(one["id"]), adopted=True) for one in own), None)

    def _record(self, base: Mapping[str, str], mapped: Mapping[str, Any], description: str) -> dict[str, Any]:
        """The body of a create or an update. EspoCRM takes blank names without a word: they are never sent."""
        record = {**base, **{name: value for name, value in mapped.items() if str(value).strip()}}
        return record | {"description": _joined(record.get("description"), description)}

    def _assigned(self) -> dict[str, str]:
        assignee = self.settings.get("ESPOCRM_ASSIGNED_USER_ID")
        return {"assignedUserId": assignee} if assignee else {}

    def _create(self, record: dict[str, Any], operation: Operation, lead: Lead | None) -> Delivered:
        """`lead` is who may be known already; without it EspoCRM is told not to check that."""
        fallbacks = {"lastName": NO_LAST_NAME}
        return self.send_describing(lambda current: self._post(current, operation, lead), record, fallbacks=fallbacks)

    def _post(self, record: dict[str, Any], operation: Operation, lead: Lead | None) -> Delivered:
        headers = {} if lead else {"X-Skip-Duplicate-Check": "true"}
        answer = self._send("POST", "Lead", json=record, headers=headers)
        match answer.status, answer.content_type, (body := answer.parsed):
            case 200, _, {"id": str(made)} if made:
                return self._stored(made, record, body)
            case 409, _, _ if lead:
                return self._on_409(body, lead, operation) or self._post(record, operation, None)
            case (409, _, _) | (500, "application/json", _):
                return self._lost_race(answer, operation)
        raise self._error(answer, read=False)

    def _put(self, lead_id: str, record: dict[str, Any], before: str) -> Delivered:
        """Change a lead; its description `before` keeps its place above the new one."""
        answer = self._send("PUT", lead_path(lead_id), json=_below(before, record))
        match answer.status, (body := answer.parsed):
            case 200, {"id": str(changed)} if changed:
                return self._stored(changed, record, body, before)
        raise self._error(answer, read=False)

    def _stored(self, lead_id: str, record: dict[str, Any], echo: Mapping[str, Any], before: str = "") -> Delivered:
        """A lead that was written. What a visitor said and EspoCRM dropped is added to the description."""
        dropped = _dropped(_below(before, record), echo)
        said = {*self.field_map.names.values()} - {self._id_field, "description"}
        lost = [name for name in dropped if name in said and record[name] != NO_LAST_NAME]
        self.remember_dropped(name for name in lost if echo.get(name) in (None, ""))
        if lost or "description" in dropped:
            described = self.move(record, lost)
            self._supplement(lead_id, described, before, editable="description" not in dropped)
        return self.delivered(lead_id, dropped=dropped)

    def _supplement(self, lead_id: str, record: dict[str, Any], before: str, *, editable: bool) -> None:
        """Give a lead a description, or a note where that cannot be edited. The lead is safe: no failure counts."""
        text = {"description": _below(before, record)["description"]}
        with suppress(ProviderError):
            if editable and self._send("PUT", lead_path(lead_id), json=text).status == 200:
                return
        with suppress(ProviderError):
            self._note(lead_id, record["description"])

    def _on_409(self, shown: Any, lead: Lead, operation: Operation) -> Delivered | None:
        """EspoCRM knows the email or the name: what becomes of that; None: they are other people."""
        leads = rows_with_id(shown)
        if not 0 < len(leads) < DUPLICATES_SHOWN:  # a full list, or none, may have left out whom we look for
            leads += self._with_id(operation) + self._known(lead)
        return self._resolve(leads, lead, operation)

    def _resolve(self, leads: list[dict[str, Any]], lead: Lead, operation: Operation) -> Delivered | None:
        """Adopt what this operation made, or else add to the oldest lead of this person; None if there is neither."""
        rows = [(one, self._is_own(one, operation)) for one in by_age(leads)]
        known = [Known(str(one["id"]), own) for one, own in rows if own or same_person(one, lead)]
        refused = (Rejected, Unsupported, NotFound)
        return self.meet(known, lead, operation, update=self.update_lead, log=self._apply, unless=refused)

    def _apply(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._log(lead_id, "Application", self.tell(lead, operation), "", operation)

    def _lost_race(self, answer: Answer, operation: Operation) -> Delivered:
        """The unique index on the operation id refused a twin, with an empty 500 or a 409: adopt the one that won.

        If there is none, nobody knows what a 500 was: a deadlock of the database passes, text without UTF-8 stays.
        """
        try:
            if found := self.find_lead(operation):
                return found
        except ProviderError as error:
            told = f"EspoCRM failed, then the look-up: {error.detail}"
            raise lost(False, error.code, told, answer.status) from None
        raise self._error(answer, read=False)


def _names_to_replace(news: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, str]:
    """The names that stood for a visitor without one, as they are to be once a person has one."""
    minimal = all(current.get(name) == value for name, value in MINIMAL.items())
    named = any(str(news.get(name, "")).strip() for name in MINIMAL)
    return {"firstName": "", "lastName": NO_LAST_NAME} if minimal and named else {}


def _below(before: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its description below the one that was there before."""
    return {**record, "description": _joined(before, record["description"])}


def _joined(*parts: Any) -> str:
    return "\n\n".join(str(part) for part in parts if part)


def _dropped(sent: Mapping[str, Any], echo: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that did not come back, whatever EspoCRM does to blanks and to the punctuation of phones."""
    said = {name: value for name, value in sent.items() if value != ""}
    return tuple(
        name for name, value in said.items() if echo.get(name) in (None, "") or _bare(value) != _bare(echo[name])
    )


def _bare(value: Any) -> str:
    return "".join(character for character in str(value).casefold() if character.isalnum())

"""EspoCRM 9.2, REST API v1 (https://docs.espocrm.com/development/api/).

EspoCRM keeps no idempotency key of its own: a lead carries the operation id in a field, and whoever is not sure whether
a lead arrived looks that id up. A unique index on the field closes the gap between the look and the next create. What
is added to a lead that exists (a call, a note, a part of its description) carries the tracking code and is found by it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote

from marshmallow import ValidationError, validates_schema

from crmgate import hookimpl
from crmgate.errors import (
    AuthFailed,
    Code,
    ConfigError,
    Duplicate,
    NotFound,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)  # fmt: skip
from crmgate.model import (
    Activity,
    Check,
    Connection,
    CrmField,
    Delivered,
    Kind,
    Lead,
    Operation,
    Provision,
    Step,
)  # fmt: skip
from crmgate.provider import (
    Answer,
    CRMProvider,
    Known,
    Look,
    ProviderSettings,
    fields,
    lost,
    secret,
    validate,
    web_address,
)  # fmt: skip

API = "/api/v1"
DUPLICATES_SHOWN = 5
"""A 409 shows at most so many of the leads that it takes for the same person."""
LOCKOUT_SECONDS = 60.0
NO_LAST_NAME = "-"
MINIMAL = {"firstName": "Messenger", "lastName": "Lead"}
"""What a visitor is called of whom only a click is known."""
GATEWAY = "crmgate"
"""The role and the API user that `provision` makes."""
_RECORDS = {"create": "yes", "read": "all", "edit": "all", "delete": "no"}
RIGHTS: dict[str, Any] = {
    "Lead": {**_RECORDS, "stream": "all"},
    "Call": _RECORDS,
    "Activities": True,
    "User": {"read": "all", "edit": "no"},
}
CHECKED_RIGHTS = {
    "create leads": ("Lead: create",),
    "update leads": ("Lead: edit",),
    "log activities": ("Call: create", "Lead: stream"),
}
"""The checks of a connection test, each with the rights one of which it takes."""
NEW_FIELDS: dict[str, dict[str, Any]] = {
    "referral_code": {"type": "varchar", "maxLength": 64},
    "user_type": {"type": "enum", "default": ""},
    "language": {"type": "varchar", "maxLength": 16},
    "operation_id": {"type": "varchar", "maxLength": 64},
}
"""The fields that `provision` makes; any other fact gets a text of 150 characters."""
LENGTHS = {"first_name": 100, "last_name": 100, "referral_code": 64, "operation_id": 32}
"""The characters that a fact may have; what does not fit is moved into the description."""
ADMIN_SETTINGS = ("ESPOCRM_ADMIN_USERNAME", "ESPOCRM_ADMIN_PASSWORD")
TEXT_TYPES = ("varchar", "text", "wysiwyg", "enum")
OWN_TYPES = {"email": "email", "phone": "phone", "graduation_year": "int", "birth_date": "date"}
"""Types of fields that take the value of one fact only."""
VALIDATION = re.compile(r"Field validation failure; entityType: \w+, field: (\w+), type: (\w+)\.", re.ASCII)
LINK = re.compile(r"(?:Can't relate .* link: |No foreign record access .*\(Lead:)(\w+)", re.ASCII)

_NO_LOOKUP = "an earlier attempt cannot be found: a lead whose answer was lost may be created twice"
_NO_LOG = "the role of the API user allows neither calls (Call: create: yes) nor notes (Lead: stream: all)"
_NO_ADMIN = "EspoCRM refuses the administrator: check ESPOCRM_ADMIN_USERNAME and ESPOCRM_ADMIN_PASSWORD"
_UNIQUE = "REST cannot make a unique index on it: contrib/espocrm holds the metadata that do"
_ASSIGNEE = "the user in ESPOCRM_ASSIGNED_USER_ID does not exist, or the role lacks assignmentPermission or User: read"

# An answer is written as "STATUS MEDIA-TYPE empty|filled: REASON" and meets the first pattern that fits its beginning.
# REASON is EspoCRM's header X-Status-Reason, "none" without one. It can repeat what the visitor typed, so it only
# chooses the row: no word of an answer gets into an error, but names of fields. No class: nobody knows whether the
# record was made. That holds for the 500 of a stopped database and the 502 of a stopped PHP too: both refuse before
# they store anything, but a PHP or a database that dies at work, after it stored the lead, answers with the same.
RULES: tuple[tuple[str, type[ProviderError] | None, Code, str], ...] = (
    (r"400 .*Field validation failure", Rejected, Code.INVALID_VALUE, "EspoCRM refuses the value of a field"),
    (r"401", AuthFailed, Code.BAD_CREDENTIALS,
     "EspoCRM refuses the key: check ESPOCRM_API_KEY, ESPOCRM_SECRET_KEY (HMAC) and that the API user is active"),
    (r"403 .*No edit access", Rejected, Code.NO_PERMISSION, "the role of the API user lacks Lead: edit: all"),
    (r"403 .*link: parent", NotFound, Code.NOT_FOUND, "EspoCRM has no such lead (any more)"),
    (r"403 .*(Assignment failure|assignedUser)", Rejected, Code.INVALID_VALUE, _ASSIGNEE),
    (r"403 .*(Can't relate|No foreign record access)", Rejected, Code.INVALID_VALUE,
     "a record that the lead is to be linked with does not exist or may not be read"),
    (r"403 text/html empty: none", AuthFailed, Code.LOCKED_OUT,
     "too many refused logins from this address: EspoCRM locks every key out for a minute. Check ESPOCRM_API_KEY"),
    (r"403 (application/json|.*: (?!none))", AuthFailed, Code.NO_PERMISSION,
     "the role of the API user forbids it: it needs Lead with create: yes and read: all"),
    (r"403", Unavailable, Code.INVALID_RESPONSE, "something in front of EspoCRM refuses the request"),
    (r"404 .*: Controller ", Unsupported, Code.UNSUPPORTED, "this EspoCRM has no such kind of record"),
    (r"404 .*: (?!none)", NotFound, Code.NOT_FOUND, "EspoCRM has no such record"),
    (r"(3..|404|405)", Unavailable, Code.INVALID_RESPONSE,
     "no EspoCRM answers at this address: check ESPOCRM_URL (redirects are not followed)"),
    (r"409", Duplicate, Code.DUPLICATE, "EspoCRM reports a conflict with a lead that it does not show"),
    (r"429", RateLimited, Code.RATE_LIMITED, "too many requests for something in front of EspoCRM"),
    (r"4..", Rejected, Code.INVALID_REQUEST, "EspoCRM refuses the request"),
    (r"503 .*maintenance mode", Unavailable, Code.MAINTENANCE, "EspoCRM is in maintenance mode"),
    (r"500 application/json", None, Code.SERVER_ERROR, "EspoCRM failed at this request"),
    (r"500 text/html empty", None, Code.SERVER_ERROR, "the database of EspoCRM is down, or PHP failed"),
    (r"502", None, Code.SERVER_ERROR, "PHP does not run behind the web server of EspoCRM, or failed"),
    (r"5..", None, Code.SERVER_ERROR, "an error inside EspoCRM or in front of it"),
    (r"", None, Code.INVALID_RESPONSE, "the answer is not EspoCRM's: check ESPOCRM_URL"),
)  # fmt: skip


class EspoCRM(CRMProvider):
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

    class Settings(ProviderSettings):
        """Where EspoCRM is, and as whom to talk to it."""

        _printable = validate.Regexp(r"[!-~]+\Z", error="It holds a space, a line break or a letter that no key has.")
        ESPOCRM_URL = web_address(required=True, metadata={"help": "Where EspoCRM is"})
        ESPOCRM_PUBLIC_URL = web_address(
            metadata={"help": "Where people open EspoCRM, for links to leads; default: ESPOCRM_URL"}
        )
        ESPOCRM_API_KEY = secret(
            validate=_printable,
            metadata={"help": "The key of the API user; required, but for the setup that makes one"},
        )
        ESPOCRM_SECRET_KEY = secret(
            validate=_printable, metadata={"help": "The secret key, if the API user has HMAC authentication"}
        )
        ESPOCRM_ASSIGNED_USER_ID = fields.String(
            validate=validate.Regexp(r"[\w-]+\Z"),
            metadata={"help": "Who gets the leads", "takes": "the id at the end of the address of a user's page"},
        )
        ESPOCRM_ADMIN_USERNAME = fields.String(
            metadata={"help": "An administrator, only to set EspoCRM up", "takes": "a user name"}
        )
        ESPOCRM_ADMIN_PASSWORD = secret(metadata={"help": "The administrator's password, only to set EspoCRM up"})

        @validates_schema(skip_on_field_errors=False)
        def _has_a_key(self, data: Mapping[str, Any], **_: Any) -> None:
            if not data.get("ESPOCRM_API_KEY") and not data.get("ESPOCRM_ADMIN_USERNAME"):
                raise ValidationError("Missing data for required field.", "ESPOCRM_API_KEY")

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._user_id = ""

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
        current = self._read(_path(lead_id))
        before = str(current.get("description") or "")
        if operation.tracking_code in before:
            return self.delivered(lead_id, adopted=True)
        mapped = self.map_lead(lead, operation)
        news = self.news(mapped, current, operation)
        names = _names_to_replace(news, current)
        when = f"Update of {_moment(operation.accepted_at)} UTC"
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
        if operation.kind in (Kind.LOG_ACTIVITY, Kind.UPDATE_LEAD):
            left = self._logged if operation.kind == Kind.LOG_ACTIVITY else self._updated
            return self.delivered(operation.lead_id, adopted=True) if left(operation.lead_id, operation) else None
        for own in _by_age(self._with_id(operation)):
            if self._is_own(own, operation):
                return self.delivered(str(own["id"]), adopted=True)
        return self._kept(operation) if operation.kind == Kind.CREATE_LEAD else None

    @hookimpl
    def test_connection(self) -> Connection:
        """Address, key, rights, fields with their options, and whether an operation id can be looked up."""
        return self.test(
            Look("connection", self._check_connection, "(ESPOCRM_URL)", gate=True),
            Look("rights", self._check_rights, "(ESPOCRM_URL)"),
            Look("fields", self._check_fields, "(ESPOCRM_URL)"),
            Look("operation id", self._check_lookup, "(ESPOCRM_URL)"),
            # Leads can be delivered without a field, or where nobody may ask for the rights.
            needs=("create leads",),
        )

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """Each fact that has a field, with what EspoCRM's metadata say of that field."""
        return tuple(self._described(self._read("Metadata", key="entityDefs.Lead.fields")))

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        """Fields with their options, a role and an API user. What is there stays as it is; nothing is ever removed."""
        if missing := [name for name in ADMIN_SETTINGS if not self.settings.get(name)]:
            raise ConfigError([f"{name}: setting EspoCRM up takes an administrator." for name in missing])
        plan = self._plan()
        if apply and any(todo.do for todo in plan.todos):
            self._carry_out(plan)
            plan = self._plan()
        return Provision(tuple(Step(todo.what, todo.done) for todo in plan.todos), plan.keys())

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
        answer = self._send("PUT", _path(lead_id), json=_below(before, record))
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
            if editable and self._send("PUT", _path(lead_id), json=text).status == 200:
                return
        with suppress(ProviderError):
            self._note(lead_id, record["description"])

    # Persons who are known already

    def _on_409(self, shown: Any, lead: Lead, operation: Operation) -> Delivered | None:
        """EspoCRM knows the email or the name: what becomes of that; None: they are other people."""
        leads = _records(shown)
        if not 0 < len(leads) < DUPLICATES_SHOWN:  # a full list, or none, may have left out whom we look for
            leads += self._with_id(operation) + self._known(lead)
        return self._resolve(leads, lead, operation)

    def _resolve(self, leads: list[dict[str, Any]], lead: Lead, operation: Operation) -> Delivered | None:
        """Adopt what this operation made, or else add to the oldest lead of this person; None if there is neither."""
        rows = [(one, self._is_own(one, operation)) for one in _by_age(leads)]
        known = [Known(str(one["id"]), own) for one, own in rows if own or _same_person(one, lead)]
        refused = (Rejected, Unsupported, NotFound)
        return self.meet(known, lead, operation, update=self.update_lead, log=self._apply, unless=refused)

    def _apply(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._log(lead_id, "Application", self.tell(lead, operation), "", operation)

    def _known(self, lead: Lead) -> list[dict[str, Any]]:
        """The leads with this email or phone, oldest first, as far as the role shows those."""
        asked = {"emailAddress": lead.email.strip(), "phoneNumber": _e164(lead.phone)}
        where = {"where[0][type]": "or"}
        for number, (attribute, value) in enumerate((name, value) for name, value in asked.items() if value):
            where |= _equals(f"where[0][value][{number}]", attribute, value)
        if len(where) == 1:
            return []
        select = ",".join(filter(None, ("id", *asked, self._id_field)))
        answer = self._list("Lead", **where, select=select, maxSize="20", orderBy="createdAt", order="asc")
        return [] if _unsearchable(answer) else _records(self._rows(answer))

    def _is_own(self, lead: Mapping[str, Any], operation: Operation) -> bool:
        # Compared here: EspoCRM's `equals` ignores case.
        by_id = bool(self._id_field) and lead.get(self._id_field) == operation.id
        return by_id or operation.tracking_code in str(lead.get("description"))

    def _with_id(self, operation: Operation) -> list[dict[str, Any]]:
        answer = self._search(self._id_field, operation.id) if self._id_field else None
        return [] if answer is None or _unsearchable(answer) else _records(self._rows(answer))

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

    def lead_url(self, lead_id: str) -> str:
        """The page of a lead."""
        public = self.settings.get("ESPOCRM_PUBLIC_URL") or self.settings["ESPOCRM_URL"]
        return f"{_address(public)}/#Lead/view/{lead_id}"

    # Calls and notes

    def _log(self, lead_id: str, title: str, text: str, at: str, operation: Operation) -> Delivered:
        """Log on a lead as a call that was held, or as a note where calls are refused."""
        name, when = f"{title} {operation.tracking_code}"[-255:], _moment(at or operation.accepted_at)
        call = {
            "name": name, "status": "Held", "direction": "Inbound", "dateStart": when, "dateEnd": when,
            "parentType": "Lead", "parentId": lead_id, "assignedUserId": self._assignee(), "description": text,
        }  # fmt: skip
        answer = self._send("POST", "Call", json=call)
        if _made(answer):
            return self.delivered(lead_id)
        error = self._error(answer, read=False)
        if isinstance(error, Rejected | Unsupported) or error.code is Code.NO_PERMISSION:
            return self._note(lead_id, f"{name}\n\n{text}")
        raise error

    def _note(self, lead_id: str, text: str) -> Delivered:
        note = {"type": "Post", "post": text, "parentType": "Lead", "parentId": lead_id}
        answer = self._send("POST", "Note", json=note)
        if _made(answer):
            return self.delivered(lead_id)
        error = self._error(answer, read=False)
        if error.code is not Code.NO_PERMISSION:
            raise error
        self._read(_path(lead_id))  # a lead that does not exist is refused in the same words
        raise Unsupported(_NO_LOG, code=Code.NO_PERMISSION, status=answer.status)

    def _assignee(self) -> str:
        """Whose call it is: EspoCRM takes none that is nobody's. Asked once who the API user is."""
        if not self._user_id:
            self._user_id = self.settings.get("ESPOCRM_ASSIGNED_USER_ID") or self._whoami()
        return self._user_id

    def _whoami(self) -> str:
        match self._read("App/user"):
            case {"user": {"id": str(own)}}:
                return own
        raise Unavailable("EspoCRM does not tell who the API user is", code=Code.INVALID_RESPONSE)

    def _kept(self, operation: Operation) -> Delivered | None:
        """The lead of a person who was known, if this create left something on it, or made it without an id."""
        lead = operation.lead
        leads = self._known(lead) if self.spares_duplicates else []
        known = next((str(one["id"]) for one in _by_age(leads) if _same_person(one, lead)), "")
        left = known and (self._updated(known, operation) or self._logged(known, operation))
        return self.delivered(known, adopted=True) if left else None

    def _updated(self, lead_id: str, operation: Operation) -> bool:
        try:
            return operation.tracking_code in str(self._read(_path(lead_id)).get("description"))
        except NotFound:
            return False

    def _logged(self, lead_id: str, operation: Operation) -> bool:
        """Whether a call or a note on the lead carries the tracking code."""
        where = _equals("where[0]", "parentId", lead_id)
        calls = self._allowed("Call", **where, select="id,name", maxSize="200")
        if any(operation.tracking_code in str(call.get("name")) for call in calls):
            return True
        notes = self._allowed(f"{_path(lead_id)}/posts", maxSize="200")
        return any(operation.tracking_code in str(note.get("post")) for note in notes)

    def _allowed(self, path: str, **params: str) -> list[dict[str, Any]]:
        """A list, empty where the role does not show it: what may not be read was not written either."""
        try:
            return _records(self._rows(self._list(path, **params)))
        except (AuthFailed, NotFound, Unsupported) as error:
            if error.code in (Code.BAD_CREDENTIALS, Code.LOCKED_OUT):
                raise
            return []

    # Checks

    def _check_connection(self) -> Iterator[Check]:
        self._rows(self._list("Lead", maxSize="1", select="id"))
        yield Check("connection", True)

    def _check_rights(self) -> Iterator[Check]:
        """Only what EspoCRM says outright is a failure: of an administrator's key it may tell no rights."""
        match self._read("App/user"):
            case {"acl": {"table": dict(table)}}:
                denied = {f"{scope}: {action}" for scope in ("Lead", "Call") for action in _denied(table.get(scope))}
            case _:
                denied = set()
        for name, rights in CHECKED_RIGHTS.items():
            lacks = denied.issuperset(rights)
            yield Check(name, not lacks, f"the role of the API user lacks {' and '.join(rights)}" if lacks else "")

    def _check_fields(self) -> Iterator[Check]:
        for field in self.describe_fields():
            if field.fact != "operation_id" or (field.type and field.problem):  # whether it is there: `_check_lookup`
                yield Check(f"field {field.name}", not field.problem, field.problem)

    def _described(self, known: Mapping[str, Any]) -> Iterator[CrmField]:
        for fact, name in self.field_map.names.items():
            definition = found if isinstance(found := known.get(name), dict) else {}
            options = definition.get("options")
            listed = tuple(map(str, options)) if isinstance(options, list) else ()
            problem = self._problem(fact, definition) if definition else _missing(fact, name, known)
            if name:
                yield CrmField(fact, name, str(definition.get("type") or ""), listed, problem)

    def _problem(self, fact: str, definition: Mapping[str, Any]) -> str:
        """What is wrong with a field for a fact, and what to do about it."""
        type_, values = definition.get("type"), self.field_map.values.get(fact, {})
        if not (type_ in TEXT_TYPES or OWN_TYPES.get(fact) == type_ or fact.startswith("custom_")):
            return f"it is of the type {type_}, which does not take this. See ESPOCRM_MAP_{fact.upper()}"
        if lacking := _lacking_options(str(type_), definition.get("options"), values):
            named = ", ".join(map(repr, lacking))
            return f"it has no option {named}: add it, or see ESPOCRM_VALUES_{fact.upper()}"
        needed, length = max(map(len, values.values()), default=LENGTHS.get(fact, 0)), definition.get("maxLength")
        if isinstance(length, int) and 0 < length < needed:
            return f"it takes {length} characters, but needs {needed}: raise its maximum length"
        return ""

    def _check_lookup(self) -> Iterator[Check]:
        field, hint = self._id_field, ""
        if not field:
            hint = f"ESPOCRM_MAP_OPERATION_ID is empty: {_NO_LOOKUP}"
        elif _unsearchable(answer := self._search(field, "crmgate")):
            hint = f"Lead has no field {field}, or the role hides it: {_NO_LOOKUP}. See ESPOCRM_MAP_OPERATION_ID"
        else:
            self._rows(answer)
        yield Check("operation id", not hint, hint)

    # Setting EspoCRM up

    def _plan(self) -> _Plan:
        known = self._admin("GET", "Metadata", key="entityDefs.Lead.fields")
        if not known:
            raise Unavailable("EspoCRM does not tell which fields it has", code=Code.INVALID_RESPONSE)
        fields = [self._field_todo(field) for field in self._described(known)]
        user = self._gateway_user()
        return _Plan(fields, self._access_todos(user), user)

    def _carry_out(self, plan: _Plan) -> None:
        """The fields under their literal names, then the rest."""
        if changes := [todo.do for todo in plan.fields if todo.do]:
            with self._literal_names():
                for change in changes:
                    change()
            self._admin("POST", "Admin/rebuild", json={})
        for todo in plan.access:
            if todo.do:
                todo.do()

    def _field_todo(self, field: CrmField) -> _Todo:
        """A missing field is made, a missing option added; anything else is for a person to decide."""
        what = f"field {field.name} of Lead" + (f": {field.problem}" if field.problem and field.type else "")
        if field.fact == "operation_id":
            what += f" ({_UNIQUE})"
        lacking = _lacking_options(field.type, field.options, self.field_map.values.get(field.fact, {}))
        if not field.problem:
            return _Todo(what, True)
        if not field.type and field.name.isalnum():
            return _Todo(what, False, lambda: self._make_field(field))
        return _Todo(what, False, (lambda: self._add_options(field, lacking)) if lacking else None)

    def _make_field(self, field: CrmField) -> None:
        definition = NEW_FIELDS.get(field.fact, {"type": "varchar", "maxLength": 150})
        label = field.fact.removeprefix("custom_").replace("_", " ").capitalize()
        made = {"name": field.name, "label": label, **definition}
        if made["type"] == "enum":
            made["options"] = ["", *dict.fromkeys(self.field_map.values.get(field.fact, {}).values())]
        self._admin("POST", "Admin/fieldManager/Lead", json=made)

    def _add_options(self, field: CrmField, lacking: list[str]) -> None:
        changed = {"type": field.type, "options": [*field.options, *lacking]}
        self._admin("PUT", f"Admin/fieldManager/Lead/{field.name}", json=changed)

    @contextmanager
    def _literal_names(self) -> Iterator[None]:
        """Fields get the names that they are given, without the prefix `c`; afterwards it is as it was before."""
        before = bool(self._admin("GET", "Settings").get("customPrefixDisabled"))
        try:
            if not before:
                self._admin("PUT", "Settings", json={"customPrefixDisabled": True})
            yield
        finally:
            if not before:
                self._admin("PUT", "Settings", json={"customPrefixDisabled": False})

    def _gateway_user(self) -> dict[str, Any]:
        """The API user behind the key, else the one that an earlier setup made; empty: there is none."""
        found = ""
        with suppress(AuthFailed):
            found = self._whoami()
        found = found or next((str(one["id"]) for one in self._named("User", "userName")), "")
        return self._admin("GET", f"User/{quote(found, safe='')}") if found else {}

    def _named(self, entity: str, attribute: str) -> list[dict[str, Any]]:
        found = self._admin("GET", entity, **_equals("where[0]", attribute, GATEWAY), select=f"id,{attribute}")
        return _records(found.get("list"))

    def _access_todos(self, user: Mapping[str, Any]) -> list[_Todo]:
        if not user:
            role = bool(self._named("Role", "name"))
            made = _Todo(f"role {GATEWAY}", role, None if role else self._make_role)
            return [made, _Todo(f"API user {GATEWAY} with that role", False, self._make_user)]
        roles = [self._admin("GET", f"Role/{quote(str(role))}") for role in user.get("rolesIds") or ()]
        lacking = _lacking_rights(roles) if user.get("type") == "api" else []
        what = f"rights of the API user {user.get('userName')}"
        told = f"{what}: its role lacks {', '.join(lacking)}" if lacking else what
        active = _Todo(f"API user {user.get('userName')} is active", bool(user.get("isActive")))
        return [_Todo(told, not lacking), active]

    def _make_role(self) -> None:
        role = {"name": GATEWAY, "assignmentPermission": "all", "data": RIGHTS, "fieldData": {}}
        self._admin("POST", "Role", json=role)

    def _make_user(self) -> None:
        roles = [str(role["id"]) for role in self._named("Role", "name")[:1]]
        user = {"type": "api", "userName": GATEWAY, "authMethod": "ApiKey", "isActive": True, "rolesIds": roles}
        self._admin("POST", "User", json=user)

    def _admin(self, method: str, path: str, *, json: Any = None, **params: str) -> dict[str, Any]:
        """The body of an answer to an administrator; empty where it is no object."""
        name, password = (self.settings[setting] for setting in ADMIN_SETTINGS)
        login = {"Espo-Authorization": base64.b64encode(f"{name}:{password}".encode()).decode()}
        answer = self._send(method, path, login=login, json=json, params=params)
        if answer.status == 200:
            body = answer.parsed
            return body if isinstance(body, dict) else {}
        error = self._error(answer, read=method == "GET")
        if isinstance(error, AuthFailed) and error.code is not Code.LOCKED_OUT:
            raise AuthFailed(_NO_ADMIN, code=error.code, status=error.status)
        raise error

    # Requests

    def _search(self, field: str, value: str) -> Answer:
        return self._list("Lead", **_equals("where[0]", field, value), select=f"id,{field}", maxSize="20")

    def _list(self, path: str, **params: str) -> Answer:
        # Without the header EspoCRM counts all records for every list.
        return self._send("GET", path, params=params, headers={"X-No-Total": "true"})

    def _rows(self, answer: Answer) -> list[Any]:
        match answer.status, answer.parsed:
            case 200, {"list": list(rows)}:
                return rows
        raise self._error(answer, read=True)

    def _read(self, path: str, **params: str) -> dict[str, Any]:
        answer = self._send("GET", path, params=params)
        match answer.status, answer.parsed:
            case 200, dict(body):
                return body
        raise self._error(answer, read=True)

    def _error(self, answer: Answer, *, read: bool) -> ProviderError:
        """What an answer means that is not the one hoped for."""
        reason, filled = _reason(answer), "filled" if answer.body else "empty"
        told = f"{answer.status} {answer.content_type} {filled}: {reason}"
        kind, code, detail = next(rule[1:] for rule in RULES if re.match(rule[0], told))
        if kind is None:
            return lost(read, code, detail, answer.status)
        if kind is Rejected:
            flaws = _flaws(reason)
            named = ", ".join(f"{field} ({flaw})" for field, flaw in flaws.items())
            return Rejected(f"{detail}: {named}" if named else detail, fields=flaws, code=code, status=answer.status)
        wait = LOCKOUT_SECONDS if code is Code.LOCKED_OUT else answer.retry_after
        return kind(detail, code=code, status=answer.status, retry_after=wait)

    def _send(
        self, method: str, path: str, *, login: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None, **options: Any,
    ) -> Answer:  # fmt: skip
        headers = {**(login or self._login(method, path)), **(headers or {})}
        return self.request(method, f"{self._address}{API}/{path}", headers=headers, **options)

    def _login(self, method: str, path: str) -> dict[str, str]:
        key, secret_key = self.settings.get("ESPOCRM_API_KEY"), self.settings.get("ESPOCRM_SECRET_KEY")
        if not key:
            raise AuthFailed("ESPOCRM_API_KEY is empty: set EspoCRM up first, which makes one")
        if not secret_key:
            return {"X-Api-Key": key}
        signature = hmac.new(secret_key.encode(), f"{method} /{path}".encode(), hashlib.sha256).hexdigest()
        return {"X-Hmac-Authorization": base64.b64encode(f"{key}:{signature}".encode()).decode()}

    @property
    def _address(self) -> str:
        return _address(self.settings["ESPOCRM_URL"])

    @property
    def _id_field(self) -> str:
        return self.field_map.names.get("operation_id", "")


@dataclass(frozen=True)
class _Todo:
    """A step of the setup; without `do` there is nothing to do, or nothing that the gateway can do."""

    what: str
    done: bool
    do: Callable[[], None] | None = None


@dataclass(frozen=True)
class _Plan:
    """What the setup takes, and the API user as an administrator sees it."""

    fields: list[_Todo]
    access: list[_Todo]
    user: Mapping[str, Any]

    @property
    def todos(self) -> list[_Todo]:
        return self.fields + self.access

    def keys(self) -> dict[str, str]:
        """The user's keys as settings."""
        held = {"ESPOCRM_API_KEY": self.user.get("apiKey"), "ESPOCRM_SECRET_KEY": self.user.get("secretKey")}
        return {name: str(key) for name, key in held.items() if key}


def _address(url: str) -> str:
    """Without what people copy along: a slash, the API's path, the page that the browser showed."""
    return url.partition("#")[0].rstrip("/").removesuffix(API).rstrip("/")


def _missing(fact: str, name: str, known: Mapping[str, Any]) -> str:
    # Since 8.2 a field that is made as `referralCode` gets the name `cReferralCode`.
    prefixed = f"c{name[:1].upper()}{name[1:]}"
    similar = next((other for other in (prefixed, prefixed.removesuffix("C")) if other in known), None)
    hint = f"There is {similar}." if similar else "Create it."
    return f"Lead has no field {name}: EspoCRM drops what is sent there. {hint} See ESPOCRM_MAP_{fact.upper()}"


def _lacking_options(type_: str, options: Any, values: Mapping[str, str]) -> list[str]:
    """The values that an enum does not offer; one whose options are kept elsewhere is not judged."""
    if type_ != "enum" or not isinstance(options, list | tuple) or not options:
        return []
    return [value for value in dict.fromkeys(values.values()) if value not in options]


def _denied(rule: Any) -> list[str]:
    return [action for action, level in rule.items() if level == "no"] if isinstance(rule, dict) else []


def _lacking_rights(roles: list[dict[str, Any]]) -> list[str]:
    """What none of the roles allows of that which the gateway needs."""
    granted = [role["data"] for role in roles if isinstance(role.get("data"), dict)]
    return [
        f"{scope}: {action}: {level}"
        for scope, wanted in RIGHTS.items()
        for action, level in (wanted.items() if isinstance(wanted, dict) else ())
        if level != "no" and not any(_grants(data.get(scope), action, level) for data in granted)
    ]


def _grants(rule: Any, action: str, level: str) -> bool:
    return rule is True or (isinstance(rule, dict) and rule.get(action) == level)


def _names_to_replace(news: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, str]:
    """The names that stood for a visitor without one, as they are to be once a person has one."""
    minimal = all(current.get(name) == value for name, value in MINIMAL.items())
    named = any(str(news.get(name, "")).strip() for name in MINIMAL)
    return {"firstName": "", "lastName": NO_LAST_NAME} if minimal and named else {}


def _records(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict) and row.get("id")] if isinstance(rows, list) else []


def _by_age(leads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Oldest first."""
    return sorted(leads, key=lambda lead: (str(lead.get("createdAt")), str(lead["id"])))


def _same_person(known: Mapping[str, Any], lead: Lead) -> bool:
    """Whether email or phone are the same: EspoCRM compares without accents, and names alone prove nothing."""
    emails = [str(email or "").strip().casefold() for email in (known.get("emailAddress"), lead.email)]
    phones = [_e164(str(phone or "")) for phone in (known.get("phoneNumber"), lead.phone)]
    return any(one and one == other for one, other in (emails, phones))


def _e164(phone: str) -> str:
    """A phone without its punctuation."""
    return "".join(character for character in phone if character.isdecimal() or character == "+")


def _equals(prefix: str, attribute: str, value: str) -> dict[str, str]:
    return {f"{prefix}[type]": "equals", f"{prefix}[attribute]": attribute, f"{prefix}[value]": value}


def _path(lead_id: str) -> str:
    return f"Lead/{quote(lead_id, safe='')}"


def _below(before: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its description below the one that was there before."""
    return {**record, "description": _joined(before, record["description"])}


def _joined(*parts: Any) -> str:
    return "\n\n".join(str(part) for part in parts if part)


def _moment(at: str | float) -> str:
    """RFC 3339, or seconds since the epoch, as EspoCRM writes a time. What is neither is now."""
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.now(UTC)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _made(answer: Answer) -> bool:
    match answer.status, answer.parsed:
        case 200, {"id": str(made)} if made:
            return True
    return False


def _flaws(reason: str) -> dict[str, str]:
    """The field that EspoCRM refuses, by the name that it was sent under. It names no more than one."""
    if flaw := VALIDATION.match(reason):
        return {flaw[1]: flaw[2]}
    if link := LINK.match(reason):
        return {f"{link[1]}Id": "link"}
    return {"assignedUserId": "assignment"} if reason.startswith("Assignment failure") else {}


def _dropped(sent: Mapping[str, Any], echo: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that did not come back, whatever EspoCRM does to blanks and to the punctuation of phones."""
    said = {name: value for name, value in sent.items() if value != ""}
    return tuple(
        name for name, value in said.items() if echo.get(name) in (None, "") or _bare(value) != _bare(echo[name])
    )


def _bare(value: Any) -> str:
    return "".join(character for character in str(value).casefold() if character.isalnum())


def _unsearchable(answer: Answer) -> bool:
    """Whether a filter named a field that does not exist or that the role hides."""
    return answer.status == 400 and "attribute" in _reason(answer)


def _reason(answer: Answer) -> str:
    return answer.headers.get("X-Status-Reason", "none")

"""EspoCRM 9.2, REST API v1 (https://docs.espocrm.com/development/api/).

EspoCRM keeps no idempotency key of its own: a lead carries the operation id in a field, and whoever is not sure whether
a lead arrived looks that id up. A unique index on the field closes the gap between the look and the next create.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from crmgate import hookimpl
from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    NotFound,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)  # fmt: skip
from crmgate.model import Activity, Check, Connection, Delivered, Lead, Operation
from crmgate.provider import Answer, CRMProvider, ProviderSettings, fields, lost, secret, validate, web_address

API = "/api/v1"
DUPLICATES_SHOWN = 5
"""A 409 shows at most so many of the leads that it takes for the same person."""
LOCKOUT_SECONDS = 60.0
NO_LAST_NAME = "-"
VALIDATION = re.compile(r"Field validation failure; entityType: \w+, field: (\w+), type: (\w+)\.", re.ASCII)
LINK = re.compile(r"(?:Can't relate .* link: |No foreign record access .*\(Lead:)(\w+)", re.ASCII)

_NO_LOOKUP = "an earlier attempt cannot be found: a lead whose answer was lost may be created twice"
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
        # The same there as here. Named all the same: `test_connection` compares them with the options of an enum.
        "user_type": {name: name for name in ("student", "parent")},
        "language": {name: name for name in ("turkish", "english", "both")},
    }

    class Settings(ProviderSettings):
        """Where EspoCRM is, and as whom to talk to it."""

        _printable = validate.Regexp(r"[!-~]+\Z", error="It holds a space, a line break or a letter that no key has.")
        ESPOCRM_URL = web_address(required=True, metadata={"help": "Where EspoCRM is"})
        ESPOCRM_API_KEY = secret(required=True, validate=_printable, metadata={"help": "The key of the API user"})
        ESPOCRM_SECRET_KEY = secret(
            validate=_printable, metadata={"help": "The secret key, if the API user has HMAC authentication"}
        )
        ESPOCRM_ASSIGNED_USER_ID = fields.String(
            validate=validate.Regexp(r"[\w-]+\Z"),
            metadata={"help": "Who gets the leads", "takes": "the id at the end of the address of a user's page"},
        )

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead, or adopt the one that this operation made before."""
        mapped = self.map_lead(lead, operation)
        description = self.describe(mapped, operation, lead.additional_info)
        return self._create(self._record(mapped.fields, description), operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead that stands for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        names = {"firstName": "Messenger", "lastName": "Lead"}
        record = self._record(names | mapped.fields, self.describe(mapped, operation))
        # All of them have the same name: EspoCRM would call every one a duplicate of the first.
        return self._create(record, operation, skip_check=True)

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The oldest lead with this operation id.

        None as well where EspoCRM has no field for the id or does not show it: a lead whose answer was lost is then
        sent again and may be there twice, which is better than not at all. `test_connection` warns of it.
        """
        field = self._id_field
        answer = self._search(field, operation.id) if field else None
        return None if answer is None or _unsearchable(answer) else self._own(self._rows(answer), operation)

    @hookimpl
    def test_connection(self) -> Connection:
        """Address, key, rights, fields with their options, and whether an operation id can be looked up."""
        begun = time.monotonic()
        checks = self._guarded("connection", self._check_connection)
        latency = round((time.monotonic() - begun) * 1000, 1)
        if checks[0].ok:
            checks += self._guarded("rights", self._check_rights)
            checks += self._guarded("fields", self._check_fields)
            checks += self._guarded("operation id", self._check_lookup)
        # Leads can be delivered without a field, or where nobody may ask for the rights.
        connected = all(check.ok for check in checks if check.name in ("connection", "create leads"))
        return Connection(self.name, connected, latency, tuple(checks))

    def _record(self, mapped: dict[str, Any], description: str) -> dict[str, Any]:
        """The body of a create. EspoCRM takes blank names without a word: they are never sent."""
        record = {"lastName": NO_LAST_NAME} | {name: value for name, value in mapped.items() if str(value).strip()}
        record["description"] = "\n\n".join(filter(None, (record.get("description"), description)))
        assignee = self.settings.get("ESPOCRM_ASSIGNED_USER_ID")
        return record | ({"assignedUserId": assignee} if assignee else {})

    def _create(self, record: dict[str, Any], operation: Operation, *, skip_check: bool = False) -> Delivered:
        headers = {"X-Skip-Duplicate-Check": "true"} if skip_check else {}
        answer = self._send("POST", "Lead", json=record, headers=headers)
        match answer.status, answer.content_type, (body := _json(answer)):
            case 200, _, {"id": str(made)} if made:
                return self._delivered(made, dropped=_dropped(record, body))
            case 409, _, _ if not skip_check:
                return self._on_duplicate(record, operation, body)
            case (409, _, _) | (500, "application/json", _):
                return self._lost_race(answer, operation)
        raise self._error(answer, read=False)

    def _on_duplicate(self, record: dict[str, Any], operation: Operation, shown: Any) -> Delivered:
        """EspoCRM knows the email or the name: adopt what this operation made, else create the lead all the same."""
        leads = shown if isinstance(shown, list) else []
        found = self._own(leads, operation)
        if not found and not 0 < len(leads) < DUPLICATES_SHOWN:  # a full list, or none, may have left ours out
            found = self.find_lead(operation)
        return found or self._create(record, operation, skip_check=True)

    def _own(self, leads: list[Any], operation: Operation) -> Delivered | None:
        """The oldest of `leads` with this operation id, compared here: EspoCRM's `equals` ignores case."""
        records = [lead for lead in leads if isinstance(lead, dict) and lead.get("id")]
        own = [lead for lead in records if self._id_field and lead.get(self._id_field) == operation.id]
        oldest = min(own, key=lambda lead: (str(lead.get("createdAt")), str(lead["id"])), default=None)
        return self._delivered(str(oldest["id"]), adopted=True) if oldest else None

    def _lost_race(self, answer: Answer, operation: Operation) -> Delivered:
        """The unique index on the operation id refused a twin, with an empty 500 or a 409: adopt the one that won.

        If there is none, EspoCRM cannot store this record: text that is no UTF-8 or too long fails the same way.
        """
        status = answer.status
        try:
            found = self.find_lead(operation)
        except ProviderError as error:
            raise lost(False, error.code, f"EspoCRM failed, then the look-up: {error.detail}", status) from None
        if found:
            return found
        if status == 409:
            raise self._error(answer, read=False)
        raise Rejected("EspoCRM failed at this record: its log tells why", code=Code.INVALID_REQUEST, status=status)

    def _delivered(self, record_id: str, *, adopted: bool = False, dropped: tuple[str, ...] = ()) -> Delivered:
        return Delivered(self.name, record_id, f"{self._address}/#Lead/view/{record_id}", adopted, dropped)

    def _guarded(self, name: str, check: Callable[[], Iterable[Check]]) -> list[Check]:
        try:
            return list(check())
        except ProviderError as error:
            return [Check(name, False, f"{error}{'' if error.status else ' (ESPOCRM_URL)'}")]

    def _check_connection(self) -> Iterator[Check]:
        self._rows(self._list(maxSize="1", select="id"))
        yield Check("connection", True)

    def _check_rights(self) -> Iterator[Check]:
        match self._read("App/user"):
            case {"acl": {"table": {"Lead": {"create": "no"}}}}:
                yield Check("create leads", False, "the role of the API user lacks Lead: create")
            case _:
                yield Check("create leads", True)

    def _check_fields(self) -> Iterator[Check]:
        known = self._read("Metadata", key="entityDefs.Lead.fields")
        for fact, name in self.field_map.names.items():
            if name and fact != "operation_id":
                yield _field_check(fact, name, known)
                yield from _option_checks(fact, name, known.get(name), self.field_map.values.get(fact, {}))

    def _check_lookup(self) -> Iterator[Check]:
        field, hint = self._id_field, ""
        if not field:
            hint = f"ESPOCRM_MAP_OPERATION_ID is empty: {_NO_LOOKUP}"
        elif _unsearchable(answer := self._search(field, "crmgate")):
            hint = f"Lead has no field {field}, or the role hides it: {_NO_LOOKUP}. See ESPOCRM_MAP_OPERATION_ID"
        else:
            self._rows(answer)
        yield Check("operation id", not hint, hint)

    def _search(self, field: str, value: str) -> Answer:
        where = {"where[0][type]": "equals", "where[0][attribute]": field, "where[0][value]": value}
        return self._list(**where, select=f"id,{field}", maxSize="20")

    def _list(self, **params: str) -> Answer:
        # Without the header EspoCRM counts all leads for every list.
        return self._send("GET", "Lead", params=params, headers={"X-No-Total": "true"})

    def _rows(self, answer: Answer) -> list[Any]:
        match answer.status, _json(answer):
            case 200, {"list": list(rows)}:
                return rows
        raise self._error(answer, read=True)

    def _read(self, path: str, **params: str) -> dict[str, Any]:
        answer = self._send("GET", path, params=params)
        match answer.status, _json(answer):
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
        wait = LOCKOUT_SECONDS if code is Code.LOCKED_OUT else _retry_after(answer)
        return kind(detail, code=code, status=answer.status, retry_after=wait)

    def _send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        headers = {**self._login(method, path), **(headers or {})}
        return self.request(method, f"{self._address}{API}/{path}", headers=headers, **options)

    def _login(self, method: str, path: str) -> dict[str, str]:
        key, secret_key = self.settings["ESPOCRM_API_KEY"], self.settings.get("ESPOCRM_SECRET_KEY")
        if not secret_key:
            return {"X-Api-Key": key}
        signature = hmac.new(secret_key.encode(), f"{method} /{path}".encode(), hashlib.sha256).hexdigest()
        return {"X-Hmac-Authorization": base64.b64encode(f"{key}:{signature}".encode()).decode()}

    @property
    def _address(self) -> str:
        """Without what people copy along: a slash, the API's path, the page that the browser showed."""
        return str(self.settings["ESPOCRM_URL"]).partition("#")[0].rstrip("/").removesuffix(API).rstrip("/")

    @property
    def _id_field(self) -> str:
        return self.field_map.names.get("operation_id", "")


def _field_check(fact: str, name: str, known: Mapping[str, Any]) -> Check:
    if name in known:
        return Check(f"field {name}", True)
    # Since 8.2 a field that is made as `referralCode` gets the name `cReferralCode`.
    prefixed = f"c{name[:1].upper()}{name[1:]}"
    similar = next((other for other in (prefixed, prefixed.removesuffix("C")) if other in known), None)
    hint = f"There is {similar}." if similar else "Create it."
    detail = f"Lead has no field {name}: EspoCRM drops what is sent there. {hint} See ESPOCRM_MAP_{fact.upper()}"
    return Check(f"field {name}", False, detail)


def _option_checks(fact: str, name: str, definition: Any, values: Mapping[str, str]) -> Iterator[Check]:
    match definition:
        case {"type": "enum", "options": list(options)}:
            for value in dict.fromkeys(values.values()):
                if value not in options:
                    detail = f"{name} has no option {value!r}: add it, or see ESPOCRM_VALUES_{fact.upper()}"
                    yield Check(f"field {name}: {value}", False, detail)


def _flaws(reason: str) -> dict[str, str]:
    """The field that EspoCRM refuses, by the name that it was sent under. It names no more than one."""
    if flaw := VALIDATION.match(reason):
        return {flaw[1]: flaw[2]}
    if link := LINK.match(reason):
        return {f"{link[1]}Id": "link"}
    return {"assignedUserId": "assignment"} if reason.startswith("Assignment failure") else {}


def _dropped(sent: Mapping[str, Any], echo: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that did not come back, whatever EspoCRM does to blanks and to the punctuation of phones."""
    return tuple(
        name for name, value in sent.items() if echo.get(name) in (None, "") or _bare(value) != _bare(echo[name])
    )


def _bare(value: Any) -> str:
    return "".join(character for character in str(value).casefold() if character.isalnum())


def _unsearchable(answer: Answer) -> bool:
    """Whether a filter named a field that does not exist or that the role hides."""
    return answer.status == 400 and "attribute" in _reason(answer)


def _reason(answer: Answer) -> str:
    return answer.headers.get("X-Status-Reason", "none")


def _retry_after(answer: Answer) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def _json(answer: Answer) -> Any:
    """The body, or None when it is no JSON."""
    try:
        return answer.json()
    except ValueError:
        return None

"""Bitrix24, by its REST API over an inbound webhook (CRM 25.0.0 or later).

Vendor's pages, under https://apidocs.bitrix24.com/: limits.html, api-reference/crm/universal/crm-item-add.html and
crm-item-list.html there, and those of crm.lead.userfield.list, crm.status.list and crm.duplicate.findbycomm.

A webhook's address is its credential. The operation id is the `originId`, with the `originatorId` "crmgate"; nothing is
unique in Bitrix24, so whether an earlier attempt made the lead is looked up there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

from crmgate import hookimpl
from crmgate.errors import (
    AuthFailed,
    Code,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Activity, Check, Connection, Delivered, Lead, Operation
from crmgate.provider import Answer, CRMProvider, ProviderSettings, fields, lost, validate, web_address

LEAD = {"entityTypeId": 1}
ORIGIN = {"originatorId": "crmgate"}
MULTIFIELDS = ("PHONE", "EMAIL")
"""Targets that are written as rows of `fm`."""
REDIRECTS = (301, 302, 307, 308)
PLAIN_TYPES = ("string", "integer", "double", "date", "datetime", "money", "url", "address")
"""Types of user fields that take a value as it is written."""
WEBHOOK = r"https?://[^/?#@\s]+/rest/[0-9]+/[A-Za-z0-9_-]+/?\Z"
CLOUD = re.compile(r"[a-z0-9-]+\.(bitrix24\.[a-z]+(?:\.[a-z]{2})?)")

RENEW = "put the address of a working inbound webhook into BITRIX_WEBHOOK_URL"
RIGHTS = "give the webhook of BITRIX_WEBHOOK_URL the permission CRM, and its user the right to read and add leads"
BROKEN = (OutcomeUnknown, Code.SERVER_ERROR, "the portal failed while it worked on the request")

ERRORS: Mapping[str, tuple[type[ProviderError], Code, str]] = {
    "query_limit_exceeded": (RateLimited, Code.RATE_LIMITED, "too many requests"),
    "operation_time_limit": (RateLimited, Code.RATE_LIMITED, "the method has used up its operating time"),
    # A block of everything by hand: like refused credentials it fails each request until a person has it lifted.
    "overload_limit": (AuthFailed, Code.LOCKED_OUT, "Bitrix24 has blocked REST for this portal: ask its support"),
    "internal_server_error": BROKEN,
    "error_unexpected_answer": BROKEN,
    "no_auth_found": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "invalid_credentials": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "expired_token": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "portal_deleted": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "insufficient_scope": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "user_access_error": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "access_denied": (AuthFailed, Code.NO_PERMISSION, f"{RIGHTS}; REST needs a commercial plan"),
    "access denied": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "invalid_request": (Unsupported, Code.INVALID_REQUEST, "the portal takes https only: change BITRIX_WEBHOOK_URL"),
    "error_method_not_found": (Unsupported, Code.UNSUPPORTED, "the portal lacks this method: CRM 25.0.0 is needed"),
    "error_batch_method_not_allowed": (Unsupported, Code.UNSUPPORTED, "the method is not allowed in a batch"),
    "error_batch_length_exceeded": (Unsupported, Code.UNSUPPORTED, "the batch is too long"),
    "crm_field_error_value_not_valid": (Rejected, Code.INVALID_VALUE, "the portal refuses a value"),
    "crm_field_error_required": (Rejected, Code.INVALID_VALUE, "the portal misses a value that it requires"),
    "invalid_arg_value": (Rejected, Code.INVALID_REQUEST, "the portal refuses an argument"),
    "100": (Rejected, Code.INVALID_REQUEST, "the portal refuses the form of the request"),
    "not_found": (NotFound, Code.NOT_FOUND, "the portal has no such record, or no leads at all"),
    "owner_not_found": (NotFound, Code.NOT_FOUND, "the lead does not exist (any more)"),
}
"""Vendor code in lower case -> what to do next, crmgate's code, words. `OutcomeUnknown` holds for writes only."""


class Bitrix(CRMProvider):
    """Leads in Bitrix24."""

    name = "bitrix"
    label = "Bitrix24"
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
    _moved = ""

    class Settings(ProviderSettings):
        """The webhook, and the id of the user who gets the leads (default: the webhook's own)."""

        BITRIX_WEBHOOK_URL = web_address(
            secret=True,
            required=True,
            validate=validate.Regexp(WEBHOOK, error="Not the address of an inbound webhook."),
            metadata={"takes": "https://<portal>/rest/<user id>/<secret>/, without a method at its end"},
        )
        BITRIX_ASSIGNED_BY_ID = fields.Integer(
            load_default=None, validate=validate.Range(min=1), metadata={"takes": "the id of a Bitrix24 user"}
        )

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead."""
        mapped = self.map_lead(lead, operation)
        given = {"title": " ".join(filter(None, ("Lead -", lead.first_name, lead.last_name)))}
        return self._create(given | mapped.fields, self.describe(mapped, operation, lead.additional_info), operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead that stands for a visitor without a name."""
        mapped = self.map_activity(activity, operation)
        given = {"title": "Lead - Messenger Lead", "name": "Messenger", "lastName": "Lead"}
        return self._create(given | mapped.fields, self.describe(mapped, operation), operation)

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """The lead with this operation id, whatever its stage; of several the oldest."""
        found = self._leads_of(operation.id)
        return self._delivered(found[0], adopted=True) if found else None

    @hookimpl
    def test_connection(self) -> Connection:
        """Whether the webhook works, and whether what is configured is there.

        `connected` asks for the webhook and its permission only: what else is found does not stop a lead.
        """
        begun = time.monotonic()
        checks = self._look("webhook", self._check_webhook, RENEW)
        latency = round((time.monotonic() - begun) * 1000, 1)
        if checks[0].ok:
            checks += self._look("scope", self._check_scope, RIGHTS)
        connected = all(check.ok for check in checks)
        if connected:
            checks += self._look("crm mode", self._check_mode, RIGHTS)
            checks += self._look("lookup", self._check_lookup, f"leads could be made twice: {RIGHTS}")
            checks += self._look("sources", self._check_sources, "see BITRIX_VALUES_SOURCE_ID")
            checks += self._look("fields", self._check_fields, "see BITRIX_MAP_<FACT>")
        return Connection(self.name, connected, latency, tuple(checks))

    def _create(self, values: Mapping[str, Any], text: str, operation: Operation) -> Delivered:
        record = self._record(values) | ORIGIN | {"comments": unmarked(text), "originId": operation.id}
        params = {**LEAD, "useOriginalUfNames": "Y", "fields": record}
        match self._call("crm.item.add", params, safe=False)["result"]:
            case {"item": dict(item)} if str(item.get("id")).isdecimal():
                return self._delivered(str(item["id"]), dropped=tuple(dropped(record, item)))
        raise lost(False, Code.INVALID_RESPONSE, "the answer names no lead")

    def _record(self, values: Mapping[str, Any]) -> dict[str, Any]:
        rows = [{"typeId": kind, "valueType": "WORK", "value": values[kind]} for kind in MULTIFIELDS if kind in values]
        more = {"fm": rows, "assignedById": self.settings["BITRIX_ASSIGNED_BY_ID"]}
        plain = {name: value for name, value in values.items() if name not in MULTIFIELDS}
        return plain | {name: value for name, value in more.items() if value}

    def _leads_of(self, origin: str) -> list[str]:
        """The ids of the leads that an operation left, oldest first."""
        origin_filter = {"=originatorId": ORIGIN["originatorId"], "=originId": origin}
        params = {**LEAD, "select": ["id", "originId"], "filter": origin_filter, "order": {"id": "ASC"}, "start": -1}
        match self._call("crm.item.list", params, safe=True)["result"]:
            case {"items": list(items)}:
                found = [str(item["id"]) for item in items if isinstance(item, dict) and item.get("originId") == origin]
                if items and not found:  # an ignored filter: then what is not on this page may still be there
                    raise Unsupported("the portal does not filter leads by originId: earlier attempts cannot be found")
                return found
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no list of leads")

    def _delivered(self, record: str, adopted: bool = False, dropped: tuple[str, ...] = ()) -> Delivered:
        portal = self._webhook.partition("/rest/")[0]
        return Delivered(self.name, record, f"{portal}/crm/lead/details/{record}/", adopted, dropped)

    @property
    def _webhook(self) -> str:
        return str(self.settings["BITRIX_WEBHOOK_URL"]).rstrip("/")

    def _call(self, method: str, params: Mapping[str, Any], *, safe: bool) -> dict[str, Any]:
        """Call a REST method; the answer, which has a `result`. Raises `ProviderError`."""
        url = f"{self._webhook}/{method}.json"
        answer = self.request("POST", url, json=params, safe=safe)
        if answer.status in REDIRECTS:
            answer = self.request("POST", self._new_address(url, answer), json=params, safe=safe)
        body = parsed(answer)
        if "error" in body:
            raise self._error(body, params, answer.status, safe)
        if "result" not in body:
            code = Code.SERVER_ERROR if answer.status >= 500 else Code.INVALID_RESPONSE
            raise lost(safe, code, "the answer is not Bitrix24's", answer.status)
        return body

    def _new_address(self, url: str, answer: Answer) -> str:
        """Where a renamed portal takes the request. A redirect has carried nothing out, so this outcome is known."""
        target = redirected(url, answer.headers.get("Location", ""))
        if not target:
            words = "the portal redirects to where the secret must not go: correct BITRIX_WEBHOOK_URL"
            raise AuthFailed(words, status=answer.status)
        self._moved = urlsplit(target).netloc
        return target

    def _error(self, body: dict[str, Any], params: Mapping[str, Any], status: int, safe: bool) -> ProviderError:
        code = "" if body["error"] in (0, "0", None) else str(body["error"])
        kind, ours, words = ERRORS.get(code.lower()) or unlisted(status)
        # A code that is not listed may be any text, even one that the visitor typed.
        shown = code if code.lower() in ERRORS or re.fullmatch(r"[A-Z0-9_]{1,64}", code) else ""
        if kind is Rejected:
            named = dict.fromkeys(named_fields(body, params), words)
            detail = "; ".join((words, *map(self._field_hint, named)))
            return Rejected(detail, fields=named, code=ours, vendor_code=shown, status=status)
        kind = Unavailable if safe and kind is OutcomeUnknown else kind
        wait = patience(body) if code.lower() == "operation_time_limit" else None
        return kind(words, code=ours, vendor_code=shown, status=status, retry_after=wait)

    def _field_hint(self, field: str) -> str:
        """A field with the settings that decide what goes into it."""
        facts = (fact.upper() for fact, name in self.field_map.names.items() if name == field)
        return field + "".join(f" (BITRIX_MAP_{fact}, BITRIX_VALUES_{fact})" for fact in facts)

    def _look(self, name: str, look: Callable[[], Iterator[Check]], hint: str) -> list[Check]:
        """The checks of `look`; when a request of it fails, one check that says so."""
        try:
            return list(look())
        except ProviderError as error:
            return [Check(name, False, str(error) if "BITRIX_" in error.detail else f"{error}; {hint}")]

    def _check_webhook(self) -> Iterator[Check]:
        self._moved = ""
        self._call("profile", {}, safe=True)
        yield Check("webhook", True, self._moved and f"it answers at {self._moved} now: correct BITRIX_WEBHOOK_URL")

    def _check_scope(self) -> Iterator[Check]:
        scopes = self._call("scope", {}, safe=True)["result"]
        ok = isinstance(scopes, list) and "crm" in scopes
        yield Check("scope", ok, "" if ok else f"the webhook lacks the permission CRM: {RIGHTS}")

    def _check_mode(self) -> Iterator[Check]:
        simple = str(self._call("crm.settings.mode.get", {}, safe=True)["result"]) == "2"
        yield Check("crm mode", True, "simple CRM: the portal turns each lead into a deal at once" if simple else "")

    def _check_lookup(self) -> Iterator[Check]:
        # To a user without the right to read, lists come empty; only the search for duplicates refuses him.
        self._leads_of("crmgate-connection-test")
        nobody = {"entity_type": "LEAD", "type": "EMAIL", "values": ["crmgate-connection-test@example.invalid"]}
        self._call("crm.duplicate.findbycomm", nobody, safe=True)
        yield Check("lookup", True)

    def _check_sources(self) -> Iterator[Check]:
        present = {
            str(row.get("STATUS_ID")) for row in self._rows("crm.status.list", {"filter": {"ENTITY_ID": "SOURCE"}})
        }
        wanted = self.field_map.values.get("source_id", {}) if self.field_map.names.get("source_id") else {}
        missing = ", ".join(sorted({*wanted.values()} - present))
        hint = f"the portal has no source {missing}: add it there, or change BITRIX_VALUES_SOURCE_ID"
        yield Check("sources", not missing, hint if missing else "")

    def _check_fields(self) -> Iterator[Check]:
        portal = {str(row.get("FIELD_NAME")): row for row in self._rows("crm.lead.userfield.list", {})}
        for fact, name in self.field_map.names.items():
            if name.startswith("UF_"):
                problem = self._field_problem(fact, portal.get(name))
                yield Check(f"field {name}", not problem, problem)
        for name, row in portal.items():
            if row.get("MANDATORY") == "Y" and name not in self.field_map.names.values():
                yield Check(f"field {name}", False, f"mandatory, but empty: relax it, or set BITRIX_MAP_<FACT>={name}")

    def _field_problem(self, fact: str, row: Mapping[str, Any] | None) -> str:
        """What is wrong with the user field that a fact goes to."""
        change, table = f"change BITRIX_MAP_{fact.upper()}", self.field_map.values.get(fact, {})
        if row is None:
            return f"not on the portal, so values are dropped: create it, or {change} (empty: into the comments)"
        kind = row.get("USER_TYPE_ID")
        if row.get("MULTIPLE") == "Y":
            return f"takes several values: make it single, or {change}"
        if kind == "enumeration":
            items = {str(item.get("ID")): item.get("VALUE") for item in row.get("LIST") or ()}
            listed = ", ".join(f"{number} is {text}" for number, text in items.items())
            hint = f"a list, takes ids of its items: set BITRIX_VALUES_{fact.upper()}=<value>=<id>,... ({listed})"
            return "" if table and {*table.values()} <= items.keys() else hint
        return "" if table or kind in PLAIN_TYPES else f"of the type {kind}, takes no text: {change}"

    def _rows(self, method: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Every row of a list method, page by page."""
        start: int | None = 0
        while start is not None:
            body = self._call(method, {**params, "start": start}, safe=True)
            if not isinstance(body["result"], list):
                raise lost(True, Code.INVALID_RESPONSE, "the answer is no list")
            yield from (row for row in body["result"] if isinstance(row, dict))
            following = body.get("next")
            start = following if isinstance(following, int) and following > start else None


def unmarked(text: str) -> str:
    """`text` for the comments, where BBCode comes alive: no link, image or mention of a visitor's making.

    A word joiner (invisible) goes behind the bracket of whatever looks like a tag; all other text stays as typed.
    """
    return re.sub(r"\[(?=/?\w|\*)", "[\u2060", text)


def dropped(record: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
    """The fields that did not come back whole: Bitrix24 silently ignores what it does not know.

    It may add to a value (a time to a date), and rewrite the markup of the comments.
    """
    for name, value in record.items():
        echo = item.get(name)
        if name == "fm":
            values = [row.get("value") for row in echo or ()]
            yield from (row["typeId"] for row in value if row["value"] not in values)
        elif echo in (None, "") or (name != "comments" and not str(echo).startswith(str(value))):
            yield name


def parsed(answer: Answer) -> dict[str, Any]:
    """The body as an object; empty when it is none."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def unlisted(status: int) -> tuple[type[ProviderError], Code, str]:
    """What an error without a known code means; only here does the status count."""
    if status >= 500:
        return BROKEN
    if status in (401, 403):
        return AuthFailed, Code.NO_PERMISSION, RIGHTS
    return Rejected, Code.INVALID_REQUEST, "the portal refuses the request"


def named_fields(body: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """The fields that an error names. Its text goes no further than this: it may repeat what a visitor typed."""
    text = re.sub(r"<[^<>]*>", "", unescape(str(body.get("error_description"))[:1000]))
    quoted = re.findall(r"""["'«{\[(](\w+)["'»}\])]""", text)
    sent = {*params.get("fields", {}), *MULTIFIELDS}
    return [name for name in quoted if name in sent or re.fullmatch(r"UF_CRM_[A-Z0-9_]+", name)]


def patience(body: Mapping[str, Any]) -> float:
    """Seconds until a method has operating time again, by the portal's clock if it tells the time.

    Operating time is counted over ten minutes, so a block is never longer.
    """
    match body.get("time"):
        case {"operating_reset_at": int() | float() as reset, **rest}:
            now = rest.get("finish")
            return min(max(reset - (now if isinstance(now, int | float) else time.time()), 0.0), 600.0)
    return 600.0


def redirected(url: str, location: str) -> str:
    """The address that a redirect leads to; empty when the secret must not go there.

    The path has to be the same, the scheme https (or the one in use). The host may be the one in use or, by https,
    another portal of the same Bitrix24 cloud domain: a rename changes the first label only.
    """
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        port = there.port
    except ValueError:
        return ""
    old, new = CLOUD.fullmatch(here.hostname or ""), CLOUD.fullmatch(there.hostname or "")
    renamed = bool(old and new and old[1] == new[1]) and there.scheme == "https" and port in (None, 443)
    same = there.hostname == here.hostname and there.scheme in ("https", here.scheme)
    fits = (renamed or same) and there.path == here.path and "@" not in there.netloc
    # Put together here, so that no two parsers read one address differently.
    target = f"{there.scheme}://{there.netloc}{here.path}"
    return target if fits and target != url else ""

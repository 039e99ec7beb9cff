"""Bitrix24, by its REST API over an inbound webhook (CRM 25.0.0 or later; older ones with BITRIX_API=lead).

Vendor's pages, under https://apidocs.bitrix24.com/: limits.html, api-reference/crm/universal/crm-item-add.html and
those beside it, and those of crm.lead.userfield.list, crm.status.list, crm.duplicate.findbycomm and
crm.timeline.comment.add.

A webhook's address is its credential. The operation id is the `originId`, with the `originatorId` "crmgate"; nothing is
unique in Bitrix24, so whether an earlier attempt made the lead is looked up there. What a lead is told afterwards
(timeline comments, updates) carries the tracking code and is found by that.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from html import unescape
from typing import Any
from urllib.parse import urlencode, urlsplit

from marshmallow import ValidationError

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
)  # fmt: skip
from crmgate.model import Activity, Check, Connection, CrmField, Delivered, Lead, Operation, Provision, Step
from crmgate.provider import (
    MAX_MOVED,
    Answer,
    CRMProvider,
    Known,
    Look,
    ProviderSettings,
    Rate,
    fields,
    lost,
    redirected,
    validate,
    web_address,
)  # fmt: skip

LEAD = {"entityTypeId": 1}
ORIGIN = {"originatorId": "crmgate"}
MINIMAL = {"title": "Lead - Messenger Lead", "name": "Messenger", "lastName": "Lead"}
MULTIFIELDS = ("PHONE", "EMAIL")
"""Targets that are written as rows of `fm`."""
KEPT = ("title", "originId", "originatorId")
"""Fields of a lead that are never left out, whatever the portal says."""
OLD_NAMES = {"stageId": "STATUS_ID", "stageSemanticId": "STATUS_SEMANTIC_ID"}
"""Names in `crm.lead.*` that are not those of `crm.item.*` in capitals."""
REDIRECTS = (301, 302, 307, 308)
PLAIN_TYPES = ("string", "integer", "double", "date", "datetime", "money", "url", "address")
"""Types of user fields that take a value as it is written."""
CHOICES = {"user_type": ("student", "parent"), "language": ("turkish", "english", "both")}
"""What the values of a fact are, where crmgate lets no others in."""
FRESH = 300.0
"""Seconds that the portal's user fields are remembered."""
CANDIDATES = 50
"""Leads with the same phone or email that are looked at: a page of the list, a batch."""
LANGUAGES = ("en", "tr", "ru", "de", "fr", "es", "it", "pl", "ua", "br")
"""In which the labels of fields are asked for when an error names one."""
WEBHOOK = r"https?://[^/?#@\s]+/rest/[0-9]+/[A-Za-z0-9_-]+/?\Z"
CLOUD = re.compile(r"[a-z0-9-]+\.(bitrix24\.[a-z]+(?:\.[a-z]{2})?)")

RENEW = "put the address of a working inbound webhook into BITRIX_WEBHOOK_URL"
RIGHTS = (
    "give the webhook of BITRIX_WEBHOOK_URL the permission CRM, and its user the right to read, add and change leads"
)
ADMIN = "only a CRM administrator may add user fields: let one make a webhook and put it into BITRIX_WEBHOOK_URL"
BROKEN = (OutcomeUnknown, Code.SERVER_ERROR, "the portal failed while it worked on the request")

Row = dict[str, Any]

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
    "not found": (NotFound, Code.NOT_FOUND, "the portal has no such record"),
    "owner_not_found": (NotFound, Code.NOT_FOUND, "the lead does not exist (any more)"),
}
"""Vendor code in lower case -> what to do next, crmgate's code, words. `OutcomeUnknown` holds for writes only.

The old methods send no code: then their text is looked up here.
"""


REQUESTS = 10
"""The most that one operation needs, with values that are refused and moved."""


class RateField(fields.Field[Rate | None]):
    """`2/50`: so many requests a second, and so many at once after a rest."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Rate | None:
        if str(value).strip() == "0":
            return None
        found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)/([0-9]{1,4})", str(value).strip())
        if not found or float(found[1]) == 0 or int(found[2]) < REQUESTS:
            raise ValidationError("Not a rate.")
        return Rate(float(found[1]), int(found[2]), REQUESTS)


class Bitrix(CRMProvider):
    """Leads in Bitrix24."""

    name = "bitrix"
    label = "Bitrix24"
    capabilities = frozenset((
        "create_lead", "create_minimal_lead", "find_lead", "update_lead", "log_activity", "test_connection",
        "describe_fields", "provision", "detects_duplicates", "moves_refused_fields",
    ))  # fmt: skip
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

    class Settings(ProviderSettings):
        """The webhook, the id of the user who gets the leads (default: the webhook's own), and the API to use."""

        BITRIX_WEBHOOK_URL = web_address(
            secret=True, required=True,
            validate=validate.Regexp(WEBHOOK, error="Not the address of an inbound webhook."),
            metadata={"help": "The inbound webhook, which is a credential",
                      "takes": "https://<portal>/rest/<user id>/<secret>/, without a method at its end"},
        )  # fmt: skip
        BITRIX_ASSIGNED_BY_ID = fields.Integer(
            load_default=None, validate=validate.Range(min=1),
            metadata={"help": "Who gets the leads; default: the webhook's own user",
                      "takes": "the id of a Bitrix24 user"},
        )  # fmt: skip
        BITRIX_API = fields.String(
            load_default="item", validate=validate.OneOf(("item", "lead")),
            metadata={"help": "The methods for leads: crm.item.* or, for old self-hosted portals, crm.lead.*",
                      "takes": "item or lead"},
        )  # fmt: skip
        BITRIX_RATE = RateField(
            load_default=Rate(2, 50, REQUESTS),
            metadata={"help": "How many requests the portal allows; Enterprise: 5/250; your own server: 0",
                      "takes": "requests a second and at once, such as 2/50, or 0 for no limit"},
        )  # fmt: skip

    @property
    def rate(self) -> Rate | None:
        """https://apidocs.bitrix24.com/limits.html: a leaky bucket for each portal and address."""
        limit: Rate | None = self.settings["BITRIX_RATE"]
        return limit

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        self._old = self.settings["BITRIX_API"] == "lead"
        self._wanted = self.field_map
        """The mapping as configured; `field_map` is what of it the portal can take."""
        self._remembered: tuple[float, dict[str, Row] | None] = (float("-inf"), None)
        self._labels: dict[str, str] | None = None
        self._moved = ""

    @hookimpl
    def create_lead(self, lead: Lead, operation: Operation) -> Delivered:
        """Create the lead, unless the portal knows the person and CRM_ON_DUPLICATE wants no second one."""
        known = self._known(lead, operation)
        if met := self.meet(known, lead, operation, update=self.update_lead, log=self._apply):
            return met
        self._user_fields()
        mapped = self.map_lead(lead, operation)
        text = self.describe(mapped, operation, lead.additional_info)
        return self._create({"title": title(lead), **mapped.fields}, text, operation)

    @hookimpl
    def create_minimal_lead(self, activity: Activity, operation: Operation) -> Delivered:
        """Create a lead that stands for a visitor without a name."""
        self._user_fields()
        mapped = self.map_activity(activity, operation)
        return self._create(MINIMAL | mapped.fields, self.describe(mapped, operation), operation)

    @hookimpl
    def update_lead(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        """Bring the lead up to date; what has no field is appended to its comments, once."""
        item = self._get(lead_id)
        before = str(item.get("comments") or "")

        def send(record: dict[str, Any]) -> Delivered:
            added = "" if operation.tracking_code in before else unmarked(record["comments"])
            return self._write(record | {"comments": "\n\n".join(filter(None, (before, added)))}, lead_id)

        return self.send_describing(send, self._news(item, lead, operation), text_field="comments", keep=KEPT)

    @hookimpl
    def log_activity(self, activity: Activity, lead_id: str, operation: Operation) -> Delivered:
        """Log the activity as a comment on the lead's timeline."""
        return self._comment(lead_id, f"Messenger click\n\n{self.tell(activity, operation)}")

    @hookimpl
    def find_lead(self, operation: Operation) -> Delivered | None:
        """What the operation left: its lead, whatever the stage (of several the oldest), or what it told another."""
        match operation.kind:
            case "update_lead":
                found = self._updated(operation)
            case "log_activity":
                found = self._commented([operation.lead_id], operation)
            case _:
                found = next(iter(self._leads_of(operation.id)), None) or self._told(operation)
        return self.delivered(found, adopted=True) if found else None

    @hookimpl
    def test_connection(self) -> Connection:
        """Whether the webhook works, and whether what is configured is there.

        `connected` asks for the webhook and its permission only: what else is found does not stop a lead.
        """
        return self.test(
            Look("webhook", self._check_webhook, RENEW, gate=True),
            Look("scope", self._check_scope, RIGHTS, gate=True),
            Look("crm mode", self._check_mode, RIGHTS),
            Look("lookup", self._check_lookup, f"leads could be made twice: {RIGHTS}"),
            Look("sources", self._check_sources, "see BITRIX_VALUES_SOURCE_ID"),
            Look("standard fields", self._check_standard_fields, "see BITRIX_MAP_<FACT>"),
            Look("fields", self._check_user_fields, "see BITRIX_MAP_<FACT>"),
        )

    def explain(self, error: ProviderError, hint: str) -> str:
        """An error that names a setting says already what to do."""
        return str(error) if "BITRIX_" in error.detail else f"{error}; {hint}"

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """The mapping beside the fields of the portal."""
        lines = (*self._source_lines(), *self._standard_lines(), *self._user_lines(self._read_user_fields()))
        return tuple(sorted(lines, key=lambda line: list(self._wanted.names).index(line.fact)))

    @hookimpl
    def provision(self, apply: bool) -> Provision:
        """Create the user fields that the mapping names and the portal lacks, as text."""
        wanted = {name: fact for fact, name in self._targets("UF_")}
        missing = wanted.keys() - self._read_user_fields().keys()
        if apply and missing:
            for name in filter(re.compile(r"UF_CRM_[A-Z0-9_]{1,43}").fullmatch, sorted(missing)):
                self._add_user_field(name, wanted[name])
            self._remembered = (float("-inf"), None)
            missing = wanted.keys() - self._read_user_fields().keys()
        steps = [Step(f"lead field {name} ({fact})", name not in missing) for name, fact in wanted.items()]
        return Provision((*steps, *self._admin_step()) if missing else tuple(steps))

    def _admin_step(self) -> Iterator[Step]:
        profile = self._call("profile", {}, safe=True)["result"]
        yield Step(ADMIN, isinstance(profile, dict) and profile.get("ADMIN") is True)

    def _add_user_field(self, name: str, fact: str) -> None:
        """Add a text field. One that the portal refuses is still missing afterwards."""
        told = {"FIELD_NAME": name.removeprefix("UF_CRM_"), "LABEL": fact.replace("_", " ").capitalize()}
        kind = {"USER_TYPE_ID": "string", "MULTIPLE": "N", "MANDATORY": "N", "SHOW_FILTER": "Y"}
        params = {"fields": told | kind | {"XML_ID": f"CRMGATE_{fact.upper()}"}}
        try:
            with suppress(Rejected):
                self._call("crm.lead.userfield.add", params, safe=False)
        except AuthFailed as error:
            raise AuthFailed(ADMIN, code=error.code, vendor_code=error.vendor_code, status=error.status) from None

    # Leads

    def _create(self, values: Mapping[str, Any], text: str, operation: Operation) -> Delivered:
        record = {**values, **ORIGIN, "originId": operation.id, "comments": text}
        if assignee := self.settings["BITRIX_ASSIGNED_BY_ID"]:
            record["assignedById"] = assignee
        mandatory = {name: stand_in(row) for name, row in self._mandatory()}

        def send(record: dict[str, Any]) -> Delivered:
            return self._write(record | {"comments": unmarked(record["comments"])})

        return self.send_describing(send, mandatory | record, text_field="comments", keep=KEPT, fallbacks=mandatory)

    def _mandatory(self) -> list[tuple[str, Row]]:
        """The fields that a lead cannot do without, where something can stand in for a value."""
        known = self._remembered[1] or {}
        return [(name, row) for name, row in known.items() if row.get("MANDATORY") == "Y" and stand_in(row)]

    def _news(self, item: Row, lead: Lead, operation: Operation) -> dict[str, Any]:
        """What an update writes: neither what is known, nor a form's defaults over what the lead says already."""
        self._user_fields()
        mapped = self.map_lead(lead, operation)
        news = self.news(mapped, item, operation)
        record: dict[str, Any] = {"title": title(lead)} if item.get("title") == MINIMAL["title"] else {}
        record |= {n: value for n, value in news.items() if n not in MULTIFIELDS or not holds(item, n, value)}
        return record | {"comments": self.describe(mapped, operation, lead.additional_info)}

    def _write(self, record: dict[str, Any], lead_id: str = "") -> Delivered:
        """Write a lead; what the portal silently left out is added to the comments, as well as that can be done."""
        made, echo = self._save(record, lead_id)
        if echo is None and self._remembered[1] is None:
            with suppress(ProviderError):
                echo = self._get(made)
        gone = tuple(dropped(record, echo)) if echo is not None else ()
        if rescued := [name for name in gone if name not in (*KEPT, "comments")]:
            lines = self.move({name: record[name] for name in rescued}, rescued, "comments")["comments"]
            with suppress(ProviderError):
                self._save({"comments": f"{record['comments']}\n\n{unmarked(lines)}"}, made)
        return self.delivered(made, dropped=gone)

    def lead_url(self, lead_id: str) -> str:
        """The page of a lead."""
        return f"{self._webhook.partition('/rest/')[0]}/crm/lead/details/{lead_id}/"

    # People who are known already

    def _known(self, lead: Lead, operation: Operation) -> list[Known]:
        """The leads that this one would be the second of: the operation's own, and those that are not closed."""
        rows = [(row, own(row, operation)) for row in self._namesakes(lead)]
        return [Known(str(row["id"]), is_own) for row, is_own in rows if is_own or not closed(row)]

    def _apply(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._comment(lead_id, f"New submission\n\n{self.tell(lead, operation)}")

    def _told(self, operation: Operation) -> str | None:
        """The lead of the same person that an earlier attempt told of this submission."""
        rows = self._namesakes(operation.lead) if operation.kind == "create_lead" else []
        for row in rows:
            if operation.tracking_code in str(row.get("comments")):
                return str(row["id"])
        return self._commented([str(row["id"]) for row in rows], operation)

    def _namesakes(self, lead: Lead) -> list[Row]:
        """The leads with this phone or email, oldest first. A portal that refuses the look-up has none."""
        method, entity = "crm.duplicate.findbycomm", {"entity_type": "LEAD"}
        known = {"PHONE": [lead.phone, lead.phone.removeprefix("+")], "EMAIL": [lead.email, lead.email.lower()]}
        commands = {
            kind: (method, entity | {"type": kind, "values": [*dict.fromkeys(values)]})
            for kind, values in known.items() if values[0]
        }  # fmt: skip
        if not self.spares_duplicates or not commands:
            return []
        results, refused = self._batch(commands)
        for error in refused.values():
            if isinstance(error, Unavailable | RateLimited):
                raise error
        found = (one for result in results.values() if isinstance(result, dict) for one in result.get("LEAD") or ())
        ids, half = sorted({int(one) for one in found if str(one).isdecimal()}), CANDIDATES // 2
        ids = ids if len(ids) <= CANDIDATES else [*ids[:half], *ids[-half:]]
        names = ("id", "stageId", "stageSemanticId", "originatorId", "originId", "comments")
        return self._list(names, {"@id": ids}) if ids else []

    # Timeline

    def _comment(self, lead_id: str, text: str) -> Delivered:
        params = {"fields": {"ENTITY_ID": number(lead_id), "ENTITY_TYPE": "lead", "COMMENT": unmarked(text)}}
        if not str(self._call("crm.timeline.comment.add", params, safe=False)["result"]).isdecimal():
            raise lost(False, Code.INVALID_RESPONSE, "the answer names no comment")
        return self.delivered(lead_id)

    def _commented(self, ids: Iterable[str], operation: Operation) -> str | None:
        """The first of the leads with the operation's comment among its 50 newest."""
        order = {"select": ["ID", "COMMENT"], "order": {"ID": "DESC"}}
        commands = {
            f"of{one}": ("crm.timeline.comment.list", {"filter": {"ENTITY_ID": one, "ENTITY_TYPE": "lead"}, **order})
            for one in ids if one.isdecimal()
        }  # fmt: skip
        results, refused = self._batch(commands) if commands else ({}, {})
        for error in refused.values():
            if not isinstance(error, NotFound):
                raise error
        return next((key[2:] for key, rows in results.items() if operation.tracking_code in str(rows)), None)

    def _updated(self, operation: Operation) -> str | None:
        try:
            item = self._get(operation.lead_id)
        except NotFound:
            return None
        return operation.lead_id if operation.tracking_code in str(item.get("comments")) else None

    # Fields

    def _targets(self, prefix: str = "") -> list[tuple[str, str]]:
        """Facts and their fields, as configured."""
        return [(fact, name) for fact, name in self._wanted.names.items() if name and name.startswith(prefix)]

    def _user_fields(self) -> dict[str, Row] | None:
        """The portal's user fields by name; None when they are not known. Brings `field_map` up to date.

        A portal that cannot be reached raises: nothing was sent yet. One that refuses the list does not stop a lead.
        """
        read_at, known = self._remembered
        if time.monotonic() - read_at > FRESH:
            try:
                known = self._read_user_fields()
            except ProviderError as error:
                if error.status is None:
                    raise
            self.field_map = self._fitted(known) if known is not None else self._wanted
            self._remembered = (time.monotonic(), known)
        return known

    def _read_user_fields(self) -> dict[str, Row]:
        return {str(row.get("FIELD_NAME")): row for row in self._rows("crm.lead.userfield.list", {})}

    def _fitted(self, known: Mapping[str, Row]) -> Any:
        """The mapping without what the portal has no room for: that goes into the comments."""
        names, values = dict(self._wanted.names), dict(self._wanted.values)
        for fact, name in self._targets("UF_"):
            row, table = known.get(name, {}), self._wanted.values.get(fact, {})
            if not takes_text(row, table):
                names[fact] = ""
            elif row["USER_TYPE_ID"] == "enumeration":
                ids = {str(item["ID"]) for item in items_of(row)}
                values[fact] = {ours: item for ours, item in table.items() if item in ids} if table else Items(row)
        return replace(self._wanted, names=names, values=values)

    def _suspects(self, record: Mapping[str, Any]) -> list[str]:
        """What a refusal may be about that names no field: hardly ever text."""
        known = self._remembered[1] or {}
        names = [name for name in record if name == "sourceId" or name.startswith("UF_")]
        typed = [name for name in names if known.get(name, {}).get("USER_TYPE_ID") != "string"]
        return (typed or names)[:MAX_MOVED]

    def _labelled(self) -> dict[str, str]:
        """The user fields by their labels in every language; asked for once."""
        if self._labels is None:
            commands = {language: ("crm.lead.userfield.list", {"filter": {"LANG": language}}) for language in LANGUAGES}
            results, _ = self._batch(commands)
            rows = [row for page in results.values() if isinstance(page, list) for row in page if isinstance(row, dict)]
            names = ("EDIT_FORM_LABEL", "LIST_COLUMN_LABEL", "LIST_FILTER_LABEL")
            self._labels = {
                str(row[name]): str(row.get("FIELD_NAME")) for row in rows for name in names if row.get(name)
            }
        return self._labels

    def _user_lines(self, portal: Mapping[str, Row]) -> Iterator[CrmField]:
        for fact, name in self._targets("UF_"):
            row = portal.get(name, {})
            options = tuple(str(item.get("VALUE")) for item in items_of(row))
            yield CrmField(fact, name, str(row.get("USER_TYPE_ID", "")), options, self._field_problem(fact, row))

    def _source_lines(self) -> Iterator[CrmField]:
        facts = [fact for fact, name in self._targets() if name == "sourceId"]
        rows = self._rows("crm.status.list", {"filter": {"ENTITY_ID": "SOURCE"}}) if facts else ()
        present = [str(row.get("STATUS_ID")) for row in rows]
        for fact in facts:
            missing = ", ".join(sorted({*self._wanted.values.get(fact, {}).values()}.difference(present)))
            hint = f"the portal has no source {missing}: add it there, or change BITRIX_VALUES_{fact.upper()}"
            yield CrmField(fact, "sourceId", "crm_status", tuple(present), hint if missing else "")

    def _standard_lines(self) -> Iterator[CrmField]:
        match self._call(f"crm.{self._api}.fields", self._entity, safe=True)["result"]:
            case {"fields": dict(portal)} | dict(portal):
                for fact, name in self._targets():
                    if not name.startswith("UF_") and name != "sourceId":
                        spelt = "fm" if name in MULTIFIELDS and not self._old else self._spelt(name)
                        row = portal.get(spelt)
                        kind = str(row.get("type", "")) if isinstance(row, dict) else ""
                        hint = f"a lead has no such field: change BITRIX_MAP_{fact.upper()} (empty: into the comments)"
                        yield CrmField(fact, name, kind, (), "" if kind else hint)
                return
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no list of fields")

    def _field_problem(self, fact: str, row: Mapping[str, Any]) -> str:
        """What is wrong with the user field that a fact goes to."""
        change, table = f"change BITRIX_MAP_{fact.upper()}", self._wanted.values.get(fact, {})
        if not row:
            return f"not on the portal, so values go into the comments: create it, or {change}"
        if not takes_text(row, table):
            several = row.get("MULTIPLE") == "Y"
            what = "takes several values: make it single" if several else f"of the type {row.get('USER_TYPE_ID')}"
            return f"{what}, or {change}; until then values go into the comments"
        if row.get("USER_TYPE_ID") != "enumeration":
            return ""
        ids, found = {str(item["ID"]): item.get("VALUE") for item in items_of(row)}, Items(row)
        absent = {*table.values()} - ids.keys() if table else {one for one in CHOICES.get(fact, ()) if one not in found}
        listed = ", ".join(f"{number} is {text}" for number, text in ids.items())
        setting = f"BITRIX_VALUES_{fact.upper()}=<value>=<id>,..."
        hint = (
            f"the list has no item for {', '.join(sorted(absent)) or 'anything'}: add it, or set {setting} ({listed})"
        )
        return hint if absent or not ids else ""

    # Requests

    @property
    def _webhook(self) -> str:
        return str(self.settings["BITRIX_WEBHOOK_URL"]).rstrip("/")

    @property
    def _api(self) -> str:
        return str(self.settings["BITRIX_API"])

    @property
    def _entity(self) -> Row:
        """What tells `crm.item.*` that it is about leads."""
        return {} if self._old else {**LEAD, "useOriginalUfNames": "Y"}

    def _spelt(self, name: str) -> str:
        """The name of a field in the API that is used."""
        return spelt_old(name) if self._old else name

    def _save(self, record: Mapping[str, Any], lead_id: str = "") -> tuple[str, Row | None]:
        """Create or change a lead; its id, and the lead as it is now if the portal says."""
        params = self._written(record) | ({"id": number(lead_id)} if lead_id else {})
        try:
            result = self._call(f"crm.{self._api}.{'update' if lead_id else 'add'}", params, safe=False)["result"]
        except Rejected as error:
            error.fields = self._refused(error, record)
            raise
        match result:
            case {"item": {"id": str() | int() as made} as item} if str(made).isdecimal():
                return str(made), item
            case True if lead_id:
                return lead_id, None
            case int() | str() if self._old and str(result).isdecimal():
                return str(result), None
        raise lost(False, Code.INVALID_RESPONSE, "the answer names no lead")

    def _written(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that write a lead."""
        plain = {self._spelt(name): value for name, value in record.items() if name not in MULTIFIELDS}
        rows = {kind: record[kind] for kind in MULTIFIELDS if kind in record}
        if self._old:
            return {"fields": plain | {kind: [{"VALUE": one, "VALUE_TYPE": "WORK"}] for kind, one in rows.items()}}
        fm = [{"typeId": kind, "valueType": "WORK", "value": one} for kind, one in rows.items()]
        return {**self._entity, "fields": plain | ({"fm": fm} if fm else {})}

    def _refused(self, error: Rejected, record: Mapping[str, Any]) -> dict[str, str]:
        """The refused fields by their names in `record`."""
        names = {self._spelt(name): name for name in record}
        found = {names.get(name, name): told for name, told in error.fields.items()}
        vague = error.vendor_code.lower() == "crm_field_error_value_not_valid" and not found.keys() & record.keys()
        if vague and self.on_rejected_field == "describe":
            return found | dict.fromkeys(self._suspects(record), "it may be this one that the portal refuses")
        return found

    def _get(self, lead_id: str) -> Row:
        match self._call(f"crm.{self._api}.get", {"id": number(lead_id), **self._entity}, safe=True)["result"]:
            case {"item": dict(item)}:
                return item
            case dict(row) if self._old:
                always = ("id", "title", "comments", "assignedById", *ORIGIN, "originId")
                names = (*always, *dict(self._targets()).values())
                sent = ((kind, one) for kind in MULTIFIELDS for one in row.get(kind) or ())
                fm = [{"typeId": kind, "value": one.get("VALUE")} for kind, one in sent]
                return {name: row.get(self._spelt(name)) for name in names} | {"fm": fm}
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no lead")

    def _list(self, names: Iterable[str], wanted: Mapping[str, Any]) -> list[Row]:
        """Some fields of the leads that meet a filter, oldest first."""
        names = {name: self._spelt(name) for name in names}
        conditions = {key[0] + self._spelt(key[1:]): value for key, value in wanted.items()}
        params = {"select": [*names.values()], "filter": conditions, "order": {self._spelt("id"): "ASC"}, "start": -1}
        match self._call(f"crm.{self._api}.list", params if self._old else LEAD | params, safe=True)["result"]:
            case {"items": list(rows)} | list(rows):
                return [{n: row.get(spelt) for n, spelt in names.items()} for row in rows if isinstance(row, dict)]
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no list of leads")

    def _leads_of(self, origin: str) -> list[str]:
        """The ids of the leads that an operation left, oldest first."""
        rows = self._list(("id", "originId"), {"=originatorId": ORIGIN["originatorId"], "=originId": origin})
        found = [str(row["id"]) for row in rows if row["originId"] == origin]
        if rows and not found:  # an ignored filter: then what is not on this page may still be there
            raise Unsupported("the portal does not filter leads by originId: earlier attempts cannot be found")
        return found

    def _batch(self, commands: Mapping[str, tuple[str, Any]]) -> tuple[Row, dict[str, ProviderError]]:
        """Several reads in one request: the results, and what was refused."""
        cmd = {key: f"{method}?{urlencode([*php(params)])}" for key, (method, params) in commands.items()}
        match self._call("batch", {"halt": 0, "cmd": cmd}, safe=True)["result"]:
            case {"result": dict() | [] as results, "result_error": dict() | [] as refused}:  # empty ones are lists
                bodies = {key: body for key, body in dict(refused).items() if isinstance(body, dict)}
                errors = {key: self._error({"error": "", **body}, {}, 200, True) for key, body in bodies.items()}
                if commands.keys() <= {*results, *errors}:
                    return dict(results), errors
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no batch")

    def _call(self, method: str, params: Mapping[str, Any], *, safe: bool) -> dict[str, Any]:
        """Call a REST method; the answer, which has a `result`. Raises `ProviderError`."""
        url = f"{self._webhook}/{method}.json"
        answer = self.request("POST", url, json=params, safe=safe)
        if answer.status in REDIRECTS:
            answer = self.request("POST", self._new_address(url, answer), json=params, safe=safe)
        parsed = answer.parsed
        body = parsed if isinstance(parsed, dict) else {}
        if "error" in body:
            raise self._error(body, params, answer.status, safe)
        if "result" not in body:
            code = Code.SERVER_ERROR if answer.status >= 500 else Code.INVALID_RESPONSE
            raise lost(safe, code, "the answer is not Bitrix24's", answer.status)
        return body

    def _new_address(self, url: str, answer: Answer) -> str:
        """Where a renamed portal takes the request. A redirect has carried nothing out, so this outcome is known."""
        target = redirected(url, answer.headers.get("Location", ""), renamed)
        if not target:
            words = "the portal redirects to where the secret must not go: correct BITRIX_WEBHOOK_URL"
            raise AuthFailed(words, status=answer.status)
        self._moved = urlsplit(target).netloc
        return target

    def _error(self, body: dict[str, Any], params: Mapping[str, Any], status: int, safe: bool) -> ProviderError:
        code = "" if body["error"] in (0, "0", None) else str(body["error"])
        key = code.lower() or description(body).strip(" .\n").lower()
        kind, ours, words = ERRORS.get(key) or unlisted(status)
        # A code that is not listed may be any text, even one that the visitor typed.
        shown = code if code.lower() in ERRORS or re.fullmatch(r"[A-Z0-9_]{1,64}", code) else ""
        if kind is Rejected:
            named = dict.fromkeys(self._named(body, params), words)
            detail = "; ".join((words, *map(self._field_hint, named)))
            return Rejected(detail, fields=named, code=ours, vendor_code=shown, status=status)
        kind = Unavailable if safe and kind is OutcomeUnknown else kind
        wait = patience(body) if code.lower() == "operation_time_limit" else None
        return kind(words, code=ours, vendor_code=shown, status=status, retry_after=wait)

    def _named(self, body: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
        """The fields that an error names, by their labels if need be. `fm` is what of it was sent."""
        named = named_fields(body, params)
        if not named and "fields" in params and quoted(body):
            with suppress(ProviderError):
                named = [self._labelled()[label] for label in quoted(body) if label in self._labelled()]
        return [*MULTIFIELDS] if "fm" in named else named

    def _field_hint(self, field: str) -> str:
        """A field with the settings that decide what goes into it."""
        facts = (fact.upper() for fact, name in self._targets() if self._spelt(name) == field)
        return field + "".join(f" (BITRIX_MAP_{fact}, BITRIX_VALUES_{fact})" for fact in facts)

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

    # Checks

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
        problem = "; ".join(filter(None, (line.problem for line in self._source_lines())))
        yield Check("sources", not problem, problem)

    def _check_standard_fields(self) -> Iterator[Check]:
        yield from (Check(f"field {line.name}", False, line.problem) for line in self._standard_lines() if line.problem)

    def _check_user_fields(self) -> Iterator[Check]:
        portal = self._read_user_fields()
        yield from (Check(f"field {line.name}", not line.problem, line.problem) for line in self._user_lines(portal))
        for name, row in portal.items():
            if row.get("MANDATORY") == "Y" and name not in self._wanted.names.values():
                told = f"filled with {stand_in(row)}" if stand_in(row) else "leads are refused"
                hint = f"mandatory, but nothing goes there ({told}): relax it, or set BITRIX_MAP_<FACT>={name}"
                yield Check(f"field {name}", False, hint)


def unmarked(text: str) -> str:
    """`text` for the comments, where BBCode comes alive: no link, image or mention of a visitor's making.

    A word joiner (invisible) goes behind the bracket of whatever looks like a tag; all other text stays as typed.
    """
    return re.sub(r"\[(?=/?\w|\*)", "[\u2060", text)


def dropped(record: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
    """The fields that did not come back whole: Bitrix24 silently ignores what it does not know.

    It may add to a value (a time to a date), rewrite the markup of the comments, and leave the rows out of its answer.
    """
    for name, value in record.items():
        echo = item.get(name)
        if name in MULTIFIELDS:
            if isinstance(item.get("fm"), list) and not holds(item, name, value):
                yield name
        elif echo in (None, "") or (name != "comments" and not str(echo).startswith(str(value))):
            yield name


def holds(item: Mapping[str, Any], kind: str, value: str) -> bool:
    """Whether a lead has this phone or email, however it is written."""
    fm = item.get("fm") or ()
    rows = [row for row in (fm.values() if isinstance(fm, dict) else fm) if isinstance(row, dict)]
    return bare(value) in [bare(row.get("value")) for row in rows if row.get("typeId") == kind]


def bare(value: Any) -> str:
    """A phone or an email without what makes no difference."""
    return re.sub(r"[^\w@.]", "", str(value)).casefold()


def spelt_old(name: str) -> str:
    """The name in `crm.lead.*` of a field of `crm.item.*`: `lastName` is `LAST_NAME` there."""
    return OLD_NAMES.get(name) or (re.sub(r"(?<!^)([A-Z])", r"_\1", name).upper() if name != name.upper() else name)


def php(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested parameters as PHP reads them from a query: `a[b][0]`."""
    if isinstance(value, Mapping | list | tuple):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in pairs:
            yield from php(inner, f"{name}[{key}]" if name else str(key))
    else:
        yield name, value


def items_of(field: Mapping[str, Any]) -> list[Row]:
    """The items of a list field."""
    return [item for item in field.get("LIST") or () if isinstance(item, dict) and item.get("ID")]


class Items(dict[str, str]):
    """Text or XML_ID of a list's items -> id. Case makes no difference."""

    def __init__(self, field: Mapping[str, Any]) -> None:
        super().__init__()
        for key, item in itertools.product(("XML_ID", "VALUE"), items_of(field)):
            if item.get(key):
                self[str(item[key]).casefold()] = str(item["ID"])

    def __contains__(self, word: object) -> bool:
        return super().__contains__(str(word).casefold())

    def __getitem__(self, word: str) -> str:
        return super().__getitem__(word.casefold())


def stand_in(field: Mapping[str, Any]) -> str:
    """What goes into a mandatory field for want of a value: a dash, or a list's default, else its first item."""
    if field.get("USER_TYPE_ID") != "enumeration":
        return "-" if field.get("USER_TYPE_ID") == "string" else ""
    listed = sorted(items_of(field), key=lambda item: item.get("DEF") != "Y")
    return str(listed[0]["ID"]) if listed else ""


def takes_text(field: Mapping[str, Any], table: Mapping[str, str]) -> bool:
    """Whether a user field can take what a fact says, as it is or by its table of values."""
    return field.get("MULTIPLE") != "Y" and (bool(table) or field.get("USER_TYPE_ID") in (*PLAIN_TYPES, "enumeration"))


def number(lead_id: str) -> int:
    """The id of a lead. Raises `NotFound` for what is none of Bitrix24's."""
    if not re.fullmatch(r"[0-9]{1,18}", lead_id):
        raise NotFound("this is no id of a Bitrix24 lead")
    return int(lead_id)


def own(row: Mapping[str, Any], operation: Operation) -> bool:
    """Whether the operation made this lead."""
    return (row.get("originatorId"), row.get("originId")) == (ORIGIN["originatorId"], operation.id)


def closed(row: Mapping[str, Any]) -> bool:
    """Whether a lead was converted: nobody looks at it any more."""
    return row.get("stageId") == "CONVERTED" or row.get("stageSemanticId") == "S"


def title(lead: Lead) -> str:
    """What a person's lead is called."""
    return " ".join(filter(None, ("Lead -", lead.first_name, lead.last_name)))


def unlisted(status: int) -> tuple[type[ProviderError], Code, str]:
    """What an error without a known code means; only here does the status count."""
    if status >= 500:
        return BROKEN
    if status in (401, 403):
        return AuthFailed, Code.NO_PERMISSION, RIGHTS
    return Rejected, Code.INVALID_REQUEST, "the portal refuses the request"


def description(body: Mapping[str, Any]) -> str:
    """The text of an error, without markup. It may repeat what a visitor typed: it goes no further than this file."""
    return re.sub(r"<[^<>]*>", "", unescape(str(body.get("error_description"))[:1000]))


def quoted(body: Mapping[str, Any]) -> list[str]:
    """What the text of an error quotes."""
    return re.findall(r"""["'«{\[(]([^"'«»{}\[\]()]+)["'»}\])]""", description(body))


def named_fields(body: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """The fields that an error names, in the spelling of either API, as they were sent."""
    sent = {spelt_old(name): name for name in (*params.get("fields", {}), *MULTIFIELDS)}
    named = (sent.get(spelt_old(name), name) for name in quoted(body))
    return [name for name in named if name in sent.values() or re.fullmatch(r"UF_CRM_[A-Z0-9_]+", name)]


def patience(body: Mapping[str, Any]) -> float:
    """Seconds until a method has operating time again, by the portal's clock if it tells the time.

    Operating time is counted over ten minutes, so a block is never longer.
    """
    match body.get("time"):
        case {"operating_reset_at": int() | float() as reset, **rest}:
            now = rest.get("finish")
            return min(max(reset - (now if isinstance(now, int | float) else time.time()), 0.0), 600.0)
    return 600.0


def renamed(old: str, new: str) -> bool:
    """Whether both are portals of the same cloud domain: a rename changes the first label only."""
    domains = [CLOUD.fullmatch(host) for host in (old, new)]
    return all(domains) and len({domain[1] for domain in domains if domain}) == 1

"""The hooks of Bitrix24, and how a lead is written so that nothing of it is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, assert_never

from crmgate import hookimpl
from crmgate.errors import ProviderError
from crmgate.model import Activity, Check, Connection, Delivered, Kind, Lead, Operation
from crmgate.provider import Look

from .answers import RENEW, RIGHTS
from .earlier import Earlier
from .values import KEPT, MINIMAL, MULTIFIELDS, ORIGIN, Row, dropped, holds, stand_in, title, unmarked


class Bitrix(Earlier):
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
            case Kind.UPDATE_LEAD:
                found = self._updated(operation)
            case Kind.LOG_ACTIVITY:
                found = self._commented([operation.lead_id], operation)
            case Kind.CREATE_LEAD:
                found = next(iter(self._leads_of(operation.id)), None) or self._told(operation)
            case Kind.CREATE_MINIMAL_LEAD:
                found = next(iter(self._leads_of(operation.id)), None)
            case _:
                assert_never(operation.kind)
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

    def _create(self, values: Mapping[str, Any], text: str, operation: Operation) -> Delivered:
        record = {**values, **ORIGIN, "originId": operation.id, "comments": text}
        if assignee := self.settings["BITRIX_ASSIGNED_BY_ID"]:
            record["assignedById"] = assignee
        mandatory = {name: stand_in(row) for name, row in self._mandatory()}

        def send(record: dict[str, Any]) -> Delivered:
            return self._write(record | {"comments": unmarked(record["comments"])})

        return self.send_describing(send, mandatory | record, text_field="comments", keep=KEPT, fallbacks=mandatory)

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

    def _apply(self, lead_id: str, lead: Lead, operation: Operation) -> Delivered:
        return self._comment(lead_id, f"New submission\n\n{self.tell(lead, operation)}")

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

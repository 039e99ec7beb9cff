"""The connection test."""

from __future__ import annotations

from collections.abc import Iterator

from crmgate.errors import AuthFailed, Code
from crmgate.model import Check
from crmgate.provider import Look

from .answers import RENEW, RIGHTS
from .api import BitrixApi
from .fields import BitrixFields
from .lookup import BitrixLookup
from .pipeline import BitrixPipeline
from .values import LEADS

NARROW = (
    "the user of the webhook is no administrator: its role must let it read and change the {} of everybody, or a"
    " person whose {} it cannot read gets a second one"
)
SIMPLE = "simple CRM: the portal turns each lead into a deal at once, so no lead stays open: set BITRIX_TARGET=deal"
UNREADABLE = "not checked: the webhook lacks the permission Users (user_brief)"


class BitrixChecks:
    """Steps of the connection test. Only the webhook and its permission are required.

    `assignee` is the id of the user to whom records are assigned; None: the user of the webhook. `pipeline` is None if
    submissions become leads.
    """

    def __init__(
        self, api: BitrixApi, fields: BitrixFields, lookup: BitrixLookup, pipeline: BitrixPipeline | None,
        *, assignee: int | None,
    ) -> None:  # fmt: skip
        self._api, self._fields, self._lookup, self._pipeline = api, fields, lookup, pipeline
        self._assignee = assignee

    def looks(self) -> tuple[Look, ...]:
        """Webhook, permission, mode, search, pipeline, assigned user, sources, mapped and mandatory fields."""
        return (
            Look("webhook", self._webhook, RENEW, gate=True),
            Look("scope", self._scope, RIGHTS, gate=True),
            Look("crm mode", self._mode, RIGHTS),
            Look("lookup", self._search, f"records could be created twice: {RIGHTS}"),
            Look("pipeline", self._deal_pipeline, "see BITRIX_DEAL_CATEGORY and BITRIX_DEAL_STAGE"),
            Look("assigned user", self._assigned_user, "see BITRIX_ASSIGNED_BY_ID"),
            Look("sources", self._sources, "see BITRIX_VALUES_SOURCE_ID"),
            Look("standard fields", self._standard_fields, "see BITRIX_MAP_<FACT>"),
            Look("fields", self._user_fields, "see BITRIX_MAP_<FACT>"),
        )

    def _webhook(self) -> Iterator[Check]:
        self._api.moved_to = ""
        profile = self._api.call("profile", {}, safe=True)["result"]
        moved = self._api.moved_to
        yield Check("webhook", True, moved and f"it answers at {moved} now: correct BITRIX_WEBHOOK_URL")
        if isinstance(profile, dict) and profile.get("ADMIN") is False:
            names = {f"{kind.name}s": kind.name for kind in (self._api.target, self._api.people)}
            yield Check("rights", True, NARROW.format(" and ".join(names), " or ".join(names.values())))

    def _scope(self) -> Iterator[Check]:
        scopes = self._api.call("scope", {}, safe=True)["result"]
        ok = isinstance(scopes, list) and "crm" in scopes
        yield Check("scope", ok, "" if ok else f"the webhook lacks the permission CRM: {RIGHTS}")

    def _mode(self) -> Iterator[Check]:
        simple = str(self._api.call("crm.settings.mode.get", {}, safe=True)["result"]) == "2"
        yield Check("crm mode", True, SIMPLE if simple and self._api.target is LEADS else "")

    def _search(self) -> Iterator[Check]:
        # A user without the right to read gets empty lists; only the search for duplicates refuses such a user.
        self._lookup.created("crmgate-connection-test")
        entity = self._api.people.name.upper()
        nobody = {"entity_type": entity, "type": "EMAIL", "values": ["crmgate-connection-test@example.invalid"]}
        self._api.call("crm.duplicate.findbycomm", nobody, safe=True)
        yield Check("lookup", True)

    def _deal_pipeline(self) -> Iterator[Check]:
        if self._pipeline:
            problem = "; ".join(dict.fromkeys(self._pipeline.problems().values()))
            yield Check("pipeline", not problem, problem)

    def _assigned_user(self) -> Iterator[Check]:
        if self._assignee is None:
            return
        try:
            rows = list(self._api.rows("user.get", {"filter": {"ID": self._assignee}}))
        except AuthFailed as error:
            if error.code is not Code.NO_PERMISSION:
                raise
            yield Check("assigned user", True, UNREADABLE)
            return
        ok = any(str(row.get("ID")) == str(self._assignee) and row.get("ACTIVE") is True for row in rows)
        hint = f"the portal has no active user {self._assignee}: change BITRIX_ASSIGNED_BY_ID, or nobody gets the leads"
        yield Check("assigned user", ok, "" if ok else hint)

    def _sources(self) -> Iterator[Check]:
        problem = "; ".join(filter(None, (line.problem for line in self._fields.source_lines())))
        yield Check("sources", not problem, problem)

    def _standard_fields(self) -> Iterator[Check]:
        for line in self._fields.standard_lines():
            if line.problem:
                yield Check(f"field {line.name}", False, line.problem)

    def _user_fields(self) -> Iterator[Check]:
        portal = self._fields.read()
        for line in (*self._fields.user_lines(portal), *self._fields.unmapped_lines(portal)):
            yield Check(f"field {line.name}", not line.problem, line.problem)

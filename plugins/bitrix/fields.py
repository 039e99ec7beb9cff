"""The fields of the portal: which there are, what they take, and those that crmgate adds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from crmgate import hookimpl
from crmgate.errors import AuthFailed, Code, ProviderError, Rejected
from crmgate.model import CrmField, Provision, Step
from crmgate.provider import MAX_MOVED, lost

from .answers import ADMIN
from .portal import Portal
from .values import MULTIFIELDS, Items, Row, items_of, stand_in, takes_text

CHOICES = {"user_type": ("student", "parent"), "language": ("turkish", "english", "both")}
"""What the values of a fact are, where crmgate lets no others in."""
FRESH = 300.0
"""Seconds that the portal's user fields are remembered."""


class Fields(Portal):
    """The mapping beside the fields of the portal."""

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

    def _mandatory(self) -> list[tuple[str, Row]]:
        """The fields that a lead cannot do without, where something can stand in for a value."""
        known = self._remembered[1] or {}
        return [(name, row) for name, row in known.items() if row.get("MANDATORY") == "Y" and stand_in(row)]

    def _suspects(self, record: Mapping[str, Any]) -> list[str]:
        """What a refusal may be about that names no field: hardly ever text."""
        known = self._remembered[1] or {}
        names = [name for name in record if name == "sourceId" or name.startswith("UF_")]
        typed = [name for name in names if known.get(name, {}).get("USER_TYPE_ID") != "string"]
        return (typed or names)[:MAX_MOVED]

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

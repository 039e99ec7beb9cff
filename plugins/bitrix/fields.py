"""The fields of the portal, compared with the mapping."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from crmgate.errors import Code, ProviderError, Rejected
from crmgate.model import CrmField, FieldState
from crmgate.provider import MAX_MOVED, FieldMap, FieldType, lost

from .api import BitrixApi
from .values import MULTIFIELDS, PERSON, Items, RecordType, Row, field_type, items_of, stand_in, targets

CHOICES = {"user_type": ("student", "parent"), "language": ("turkish", "english", "both")}
"""Values of facts for which crmgate accepts no other values."""
ALWAYS = ("first_name", "referral_code", "operation_id")
"""Facts that every lead has."""
REQUIRED = "crm_field_error_required"
"""Vendor code of a refusal that demands a value, in lower case."""
FRESH = 300.0
"""Seconds for which the user fields and the sources of the portal are cached."""


@contextmanager
def unless_away() -> Iterator[None]:
    """Ignore a `ProviderError` of the body if the portal answered."""
    try:
        yield
    except ProviderError as error:
        if error.status is None:
            raise


class BitrixFields:
    """The user fields and the sources of the portal, cached for `FRESH` seconds. `wanted` is the configured mapping.

    `sends_stand_ins` is false if `CRM_ON_REJECTED_FIELD` forbids corrections.
    """

    def __init__(self, api: BitrixApi, wanted: FieldMap, *, sends_stand_ins: bool) -> None:
        self._api, self._wanted, self._sends_stand_ins = api, wanted, sends_stand_ins
        self._read_at = float("-inf")
        self._sources: list[str] | None = None
        self.known: dict[str, Row] | None = None
        """The cached user fields by name; None: unknown."""

    def describe(self) -> tuple[CrmField, ...]:
        """Each mapped fact with its field, in the order of the mapping, then the mandatory fields without a fact.

        Raises `ProviderError`.
        """
        portal = self.read()
        lines = (*self.source_lines(), *self.standard_lines(), *self.user_lines(portal))
        mapped = sorted(lines, key=lambda line: list(self._wanted.names).index(line.fact))
        return (*mapped, *self.unmapped_lines(portal))

    def forget(self) -> None:
        """Empty the cache."""
        self._read_at, self.known = float("-inf"), None

    def usable_map(self) -> FieldMap:
        """The mapping without fields and sources that the portal lacks; facts without a field go into the comments.

        The portal would store an unknown source and show it as blank. Raises `ProviderError` if the portal is not
        reachable: nothing was sent yet. A refused list stops no lead.
        """
        if time.monotonic() - self._read_at > FRESH:
            self._refresh()
        return self.cached_map()

    def cached_map(self) -> FieldMap:
        """The mapping without what the portal lacked when it was read last. Sends no request."""
        fitted = self._fitted(self.known) if self.known is not None else self._wanted
        return self._with_sources(fitted, self._sources) if self._sources is not None else fitted

    def _refresh(self) -> None:
        """Fill the cache; a refused list leaves it as it is. Raises `ProviderError` without an answer."""
        with unless_away():
            self.known = self.read()
        with unless_away():
            self._sources = self._read_sources()
        self._read_at = time.monotonic()

    def _read_sources(self) -> list[str]:
        """Sources of the portal; not read if no fact is mapped to the source. Raises `ProviderError`."""
        if "sourceId" not in self._wanted.names.values():
            return []
        rows = self._api.rows("crm.status.list", {"filter": {"ENTITY_ID": "SOURCE"}})
        return [str(row.get("STATUS_ID")) for row in rows]

    def _with_sources(self, fitted: FieldMap, sources: Sequence[str]) -> FieldMap:
        values = dict(fitted.values)
        for fact in (fact for fact, name in targets(fitted) if name == "sourceId"):
            table = fitted.values.get(fact) or {source: source for source in sources}
            values[fact] = {ours: source for ours, source in table.items() if source in sources}
        return replace(fitted, values=values)

    def read(self) -> dict[str, Row]:
        """User fields of the portal by name. Raises `ProviderError`."""
        return {
            str(row.get("FIELD_NAME")): row for row in self._api.rows(f"crm.{self._api.target.name}.userfield.list", {})
        }

    def _fitted(self, known: Mapping[str, Row]) -> FieldMap:
        names, values, types = dict(self._wanted.names), dict(self._wanted.values), dict[str, FieldType]()
        for fact, name in targets(self._wanted, "UF_"):
            row, table = known.get(name, {}), self._wanted.values.get(fact, {})
            found = field_type(row, table)
            if found is None:
                names[fact] = ""
                continue
            types[name] = found
            if row["USER_TYPE_ID"] == "enumeration" and not found.several:
                ids = {str(item["ID"]) for item in items_of(row)}
                values[fact] = {ours: item for ours, item in table.items() if item in ids} if table else Items(row)
        return replace(self._wanted, names=names, values=values, types=types)

    def stand_ins(self, error: Rejected) -> dict[str, str]:
        """Values for the user fields that a refusal demands, by field; none for a field that takes no stand-in.

        Reads the user fields if it names one that is not in the cache. Raises `ProviderError` without an answer.
        """
        if error.vendor_code.lower() != REQUIRED:
            return {}
        demanded = [name for name in error.fields if name.startswith("UF_")]
        if any(name not in (self.known or {}) for name in demanded):
            self._refresh()
        values = {name: stand_in((self.known or {}).get(name, {})) for name in demanded}
        return {name: value for name, value in values.items() if value}

    def suspects(self, record: Mapping[str, Any]) -> list[str]:
        """Fields that a refusal without a field name can be about: fields that are no text, if there are any."""
        known = self.known or {}
        names = [name for name in record if name == "sourceId" or name.startswith("UF_")]
        typed = [name for name in names if known.get(name, {}).get("USER_TYPE_ID") != "string"]
        return (typed or names)[:MAX_MOVED]

    def user_lines(self, portal: Mapping[str, Row]) -> Iterator[CrmField]:
        """Facts that are mapped to user fields. `portal` is the result of `read`."""
        for fact, name in targets(self._wanted, "UF_"):
            row = portal.get(name, {})
            options = tuple(str(item.get("VALUE")) for item in items_of(row))
            state, problem = self._field_problem(fact, row)
            if not problem:
                state, problem = FieldState.REQUIRED, self._demand(name, row, fact)
            yield CrmField(fact, name, str(row.get("USER_TYPE_ID", "")), options, problem, state)

    def unmapped_lines(self, portal: Mapping[str, Row]) -> Iterator[CrmField]:
        """Mandatory user fields to which no fact is mapped. `portal` is the result of `read`."""
        mapped = {*self._wanted.names.values()}
        for name, row in portal.items():
            options = tuple(str(item.get("VALUE")) for item in items_of(row))
            if name not in mapped and (problem := self._demand(name, row)):
                type_ = str(row.get("USER_TYPE_ID", ""))
                yield CrmField("", name, type_, options, problem, FieldState.REQUIRED)

    def _demand(self, name: str, row: Row, fact: str = "") -> str:
        """The effect of a mandatory field that can be empty in a lead, and the remedy; empty: there is none.

        A mapped field with a stand-in has no problem.
        """
        value = stand_in(row) if self._sends_stand_ins else ""
        if row.get("MANDATORY") != "Y" or fact in ALWAYS or (fact and value):
            return ""
        effect = f"{value!r} is sent instead" if value else "the portal refuses such leads"
        cause = "not every lead has a value for it" if fact else "no fact is mapped to it"
        remedy = "make it optional" if fact else f"make it optional, or set BITRIX_MAP_<FACT>={name}"
        return f"it is mandatory, but {cause}: if the portal enforces this over REST, {effect}; {remedy}"

    def source_lines(self) -> Iterator[CrmField]:
        """Facts that are mapped to the source. Raises `ProviderError`."""
        facts = [fact for fact, name in targets(self._wanted) if name == "sourceId"]
        present = self._read_sources()
        for fact in facts:
            missing = ", ".join(sorted({*self._wanted.values.get(fact, {}).values()}.difference(present)))
            hint = (
                f"the portal has no source {missing}, so the lead gets its default source: add it there,"
                f" or change BITRIX_VALUES_{fact.upper()}"
            )
            problem = hint if missing else ""
            yield CrmField(fact, "sourceId", "crm_status", tuple(present), problem, FieldState.OPTION_MISSING)

    def standard_lines(self) -> Iterator[CrmField]:
        """Facts that are mapped to other standard fields. Raises `ProviderError`."""
        portals = {kind: self._standard(kind) for kind in {self._api.target, self._api.people}}
        for fact, name in targets(self._wanted):
            if name.startswith("UF_") or name == "sourceId":
                continue
            records = self._api.people if name in PERSON else self._api.target
            spelt = "fm" if name in MULTIFIELDS and not self._api.old else self._api.spelt(name)
            row = portals[records].get(spelt)
            kind = str(row.get("type", "")) if isinstance(row, dict) else ""
            hint = f"a {records.name} has no such field: change BITRIX_MAP_{fact.upper()} (empty: into the comments)"
            yield CrmField(fact, name, kind, (), "" if kind else hint, FieldState.MISSING)

    def _standard(self, records: RecordType) -> Row:
        """The fields of a type of records, by name. Raises `ProviderError`."""
        match self._api.call(f"crm.{self._api.kind}.fields", self._api.entity(records), safe=True)["result"]:
            case {"fields": dict(portal)} | dict(portal):
                return portal
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no list of fields")

    def _field_problem(self, fact: str, row: Mapping[str, Any]) -> tuple[FieldState | None, str]:
        """Why a user field does not take a fact: kind of problem, and reason with the remedy (empty if it does)."""
        change, table = f"change BITRIX_MAP_{fact.upper()}", self._wanted.values.get(fact, {})
        if not row:
            return FieldState.MISSING, f"not on the portal, so values go into the comments: create it, or {change}"
        form = field_type(row, table)
        if form is None or not (table or form.suits(fact)):
            what = f"its type {row.get('USER_TYPE_ID')} does not take this value"
            return FieldState.PROBLEM, f"{what}: {change}; until then values go into the comments"
        if row.get("USER_TYPE_ID") != "enumeration":
            return None, ""
        ids, found = {str(item["ID"]): item.get("VALUE") for item in items_of(row)}, Items(row)
        absent = {*table.values()} - ids.keys() if table else {one for one in CHOICES.get(fact, ()) if one not in found}
        listed = ", ".join(f"{number} is {text}" for number, text in ids.items())
        setting = f"BITRIX_VALUES_{fact.upper()}=<value>=<id>,..."
        hint = (
            f"the list has no item for {', '.join(sorted(absent)) or 'anything'}: add it, or set {setting} ({listed})"
        )
        return FieldState.OPTION_MISSING, hint if absent or not ids else ""

"""Leads read, listed and written, and comments on their timeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crmgate.errors import Code, Rejected
from crmgate.model import Delivered
from crmgate.provider import lost

from .fields import Fields
from .values import LEAD, MULTIFIELDS, ORIGIN, Row, number, unmarked


class Leads(Fields):
    """Leads of the portal by the names that `crm.item.*` gives their fields."""

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

    def _comment(self, lead_id: str, text: str) -> Delivered:
        params = {"fields": {"ENTITY_ID": number(lead_id), "ENTITY_TYPE": "lead", "COMMENT": unmarked(text)}}
        if not str(self._call("crm.timeline.comment.add", params, safe=False)["result"]).isdecimal():
            raise lost(False, Code.INVALID_RESPONSE, "the answer names no comment")
        return self.delivered(lead_id)

    def lead_url(self, lead_id: str) -> str:
        """The page of a lead."""
        return f"{self._webhook.partition('/rest/')[0]}/crm/lead/details/{lead_id}/"

"""Reads, lists and writes leads, and writes comments on their timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crmgate.errors import Code, OutcomeUnknown, ProviderError, Rejected
from crmgate.provider import FieldMap, lost

from .api import BitrixApi
from .fields import BitrixFields
from .text import described, unmarked, wide
from .values import LEAD, MULTIFIELDS, ORIGIN, Row, number, targets


@contextmanager
def after_write() -> Iterator[None]:
    """Raise each `ProviderError` of the body as `OutcomeUnknown`: a record was written, and must be looked for."""
    try:
        yield
    except ProviderError as error:
        words = f"written, but not completed: {error.detail}"
        raise OutcomeUnknown(words, code=error.code, vendor_code=error.vendor_code, status=error.status) from error


class BitrixLeads:
    """Leads of the portal. Fields have their names in `crm.item.*`, with either API.

    `moves_refused`: a refusal that names no field is reported for the fields that it is probably about.
    """

    def __init__(self, api: BitrixApi, fields: BitrixFields, wanted: FieldMap, *, moves_refused: bool) -> None:
        self._api, self._fields, self._wanted = api, fields, wanted
        self._moves_refused = moves_refused

    def save(self, record: Mapping[str, Any], lead_id: str = "") -> tuple[str, Row | None]:
        """Create a lead, or update the lead `lead_id`. Raises `ProviderError`.

        Returns the id, and the lead as stored; None if the portal does not return it.
        """
        method = "update" if lead_id else "add"
        params = self._written(record) | ({"id": number(lead_id)} if lead_id else {})
        try:
            result = self._api.call(f"crm.{self._api.kind}.{method}", params, safe=False)["result"]
        except Rejected as error:
            error.fields = self._refused(error, record)
            raise
        match result:
            case {"item": {"id": str() | int() as made} as item} if str(made).isdecimal():
                return str(made), item
            case True if lead_id:
                return lead_id, None
            case int() | str() if self._api.old and str(result).isdecimal():
                return str(result), None
        raise lost(False, Code.INVALID_RESPONSE, "the answer names no lead")

    def _written(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters that write a lead."""
        plain = {self._api.spelt(name): _wire(value) for name, value in record.items() if name not in MULTIFIELDS}
        rows = {kind: record[kind] for kind in MULTIFIELDS if kind in record}
        if self._api.old:
            return {"fields": plain | {kind: [{"VALUE": one, "VALUE_TYPE": "WORK"}] for kind, one in rows.items()}}
        # An object: the numeric keys of a list would be taken as ids of rows, and an update could overwrite one.
        fm = {
            f"n{n}": {"typeId": kind, "valueType": "WORK", "value": one} for n, (kind, one) in enumerate(rows.items())
        }
        return {**self._api.entity, "fields": plain | ({"fm": fm} if fm else {})}

    def _refused(self, error: Rejected, record: Mapping[str, Any]) -> dict[str, str]:
        """Refused fields by their names in `record`."""
        names = {self._api.spelt(name): name for name in record}
        found = {names.get(name, name): words for name, words in error.fields.items()}
        vague = error.vendor_code.lower() == "crm_field_error_value_not_valid" and not found.keys() & record.keys()
        if vague and self._moves_refused:
            return found | dict.fromkeys(self._fields.suspects(record), "the portal may refuse this one")
        return found

    def get(self, lead_id: str) -> Row:
        """A lead by its id. Raises `ProviderError`."""
        match self._api.call(f"crm.{self._api.kind}.get", {"id": number(lead_id), **self._api.entity}, safe=True)[
            "result"
        ]:
            case {"item": dict(item)}:
                return item
            case dict(row) if self._api.old:
                always = ("id", "title", "comments", "assignedById", *ORIGIN, "originId")
                own = (name for name in row if name.startswith("UF_"))
                names = (*always, *dict(targets(self._wanted)).values(), *own)
                sent = ((kind, one) for kind in MULTIFIELDS for one in row.get(kind) or ())
                fm = [{"typeId": kind, "value": one.get("VALUE")} for kind, one in sent]
                return {name: row.get(self._api.spelt(name)) for name in names} | {"fm": fm}
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no lead")

    def list_leads(self, names: Iterable[str], wanted: Mapping[str, Any]) -> list[Row]:
        """The fields `names` of the leads that match a filter, oldest first. Raises `ProviderError`."""
        names = {name: self._api.spelt(name) for name in names}
        conditions = {key[0] + self._api.spelt(key[1:]): value for key, value in wanted.items()}
        entity = {} if self._api.old else LEAD
        params = {
            "select": [*names.values()],
            "filter": conditions,
            "order": {self._api.spelt("id"): "ASC"},
            "start": -1,
        }
        match self._api.call(f"crm.{self._api.kind}.list", {**entity, **params}, safe=True)["result"]:
            case {"items": list(rows)} | list(rows):
                return [{n: row.get(spelt) for n, spelt in names.items()} for row in rows if isinstance(row, dict)]
        raise lost(True, Code.INVALID_RESPONSE, "the answer is no list of leads")

    def comment(self, lead_id: str, text: str) -> None:
        """Add a comment to the timeline of a lead. Raises `ProviderError`.

        If the database of the portal cuts the text at a character above U+FFFF, adds it again with these described.
        """
        made = self._add_comment(lead_id, text)
        if not wide(text):
            return
        with after_write():
            stored = self._api.call("crm.timeline.comment.get", {"id": made}, safe=True)["result"]
            if not wide(text) <= wide(str(stored["COMMENT"] if isinstance(stored, dict) else "")):
                self._add_comment(lead_id, described(text))

    def _add_comment(self, lead_id: str, text: str) -> int:
        params = {"fields": {"ENTITY_ID": number(lead_id), "ENTITY_TYPE": "lead", "COMMENT": unmarked(text)}}
        made = str(self._api.call("crm.timeline.comment.add", params, safe=False)["result"])
        if not made.isdecimal():
            raise lost(False, Code.INVALID_RESPONSE, "the answer names no comment")
        return int(made)


def _wire(value: Any) -> Any:
    """A value as it is sent. A boolean user field takes 1 or 0: the text "N" would be true for it."""
    return int(value) if isinstance(value, bool) else value

"""Reads, lists and writes records of a type, and writes comments on their timeline."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crmgate.errors import Code, Forbidden, NotFound, OutcomeUnknown, ProviderError, Rejected
from crmgate.provider import FieldMap, lost

from .api import BitrixApi
from .fields import BitrixFields
from .text import described, unmarked, wide
from .values import MULTIFIELDS, ORIGIN, RecordType, Row, targets


@contextmanager
def after_write() -> Iterator[None]:
    """Raise each `ProviderError` of the body as `OutcomeUnknown`: a record was written, and must be looked for."""
    try:
        yield
    except ProviderError as error:
        words = f"written, but not completed: {error.detail}"
        raise OutcomeUnknown(words, code=error.code, vendor_code=error.vendor_code, status=error.status) from error


class BitrixRecords:
    """Records of the type `type`. Fields have their names in `crm.item.*`, with either API.

    `moves_refused`: a refusal that names no field is reported for the fields that it is probably about.
    """

    def __init__(
        self, api: BitrixApi, records: RecordType, fields: BitrixFields, wanted: FieldMap, *, moves_refused: bool
    ) -> None:
        self._api, self.type, self._fields, self._wanted = api, records, fields, wanted
        self._moves_refused = moves_refused

    def request(self, record: Mapping[str, Any], ref: str = "") -> tuple[str, Row]:
        """REST method and parameters with which `save` writes a record."""
        method = f"crm.{self._api.kind}.{'update' if ref else 'add'}"
        return method, self._written(record) | ({"id": self.type.number(ref)} if ref else {})

    def save(self, record: Mapping[str, Any], ref: str = "") -> tuple[str, Row | None]:
        """Create a record, or update the record `ref`. Raises `ProviderError`.

        Returns the id that crmgate stores, and the record as stored; None if the portal does not return it.
        """
        method, params = self.request(record, ref)
        try:
            result = self._api.call(method, params, safe=False)["result"]
        except Rejected as error:
            error.fields = self._refused(error, record)
            raise
        return self.saved(result, ref)

    def saved(self, result: Any, ref: str = "") -> tuple[str, Row | None]:
        """What the result of a write says; see `save`. Raises `OutcomeUnknown` if it names no record."""
        match result:
            case {"item": {"id": str() | int() as made} as item} if str(made).isdecimal():
                return self.type.ref(made), item
            case True if ref:
                return ref, None
            case int() | str() if self._api.old and str(result).isdecimal():
                return self.type.ref(result), None
        raise lost(False, Code.INVALID_RESPONSE, f"the answer names no {self.type.name}")

    def _written(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters that write a record."""
        plain = {self._api.spelt(name): _wire(value) for name, value in record.items() if name not in MULTIFIELDS}
        rows = {kind: record[kind] for kind in MULTIFIELDS if kind in record}
        if self._api.old:
            return {"fields": plain | {kind: [{"VALUE": one, "VALUE_TYPE": "WORK"}] for kind, one in rows.items()}}
        # An object: the numeric keys of a list would be taken as ids of rows, and an update could overwrite one.
        fm = {
            f"n{n}": {"typeId": kind, "valueType": "WORK", "value": one} for n, (kind, one) in enumerate(rows.items())
        }
        return {**self._api.entity(self.type), "fields": plain | ({"fm": fm} if fm else {})}

    def _refused(self, error: Rejected, record: Mapping[str, Any]) -> dict[str, str]:
        """Refused fields by their names in `record`."""
        names = {self._api.spelt(name): name for name in record}
        found = {names.get(name, name): words for name, words in error.fields.items()}
        vague = error.vendor_code.lower() == "crm_field_error_value_not_valid" and not found.keys() & record.keys()
        if vague and self._moves_refused:
            return found | dict.fromkeys(self._fields.suspects(record), "the portal may refuse this one")
        return found

    def get(self, ref: str) -> Row:
        """A record by its stored id. Raises `ProviderError`."""
        method, params = self.get_request(ref)
        match self._api.call(method, params, safe=True)["result"]:
            case {"item": dict(item)}:
                return item
            case dict(row) if self._api.old:
                always = ("id", "title", "comments", "assignedById", *ORIGIN, "originId")
                own = (name for name in row if name.startswith("UF_"))
                names = (*always, *dict(targets(self._wanted)).values(), *own)
                sent = ((kind, one) for kind in MULTIFIELDS for one in row.get(kind) or ())
                fm = [{"typeId": kind, "value": one.get("VALUE")} for kind, one in sent]
                return {name: row.get(self._api.spelt(name)) for name in names} | {"fm": fm}
        raise lost(True, Code.INVALID_RESPONSE, f"the answer is no {self.type.name}")

    def get_request(self, ref: str) -> tuple[str, Row]:
        """REST method and parameters with which `get` reads a record."""
        return f"crm.{self._api.kind}.get", {"id": self.type.number(ref), **self._api.entity(self.type)}

    def readable(self, ref: str) -> Row | None:
        """A record; None if it is gone, or the user of the webhook may not read it. Raises `ProviderError`."""
        try:
            return self.get(ref)
        except (NotFound, Forbidden):
            return None

    def matching(self, names: Collection[str], wanted: Mapping[str, Any], order: str = "ASC") -> list[Row]:
        """The fields `names` of the first 50 records that match a filter, in the `order` of their ids.

        Raises `ProviderError`.
        """
        method, params = self.list_request(names, wanted, order)
        return self.listed(names, self._api.call(method, params, safe=True)["result"])

    def list_request(self, names: Collection[str], wanted: Mapping[str, Any], order: str = "ASC") -> tuple[str, Row]:
        """REST method and parameters with which `matching` lists records."""
        conditions = {key[0] + self._api.spelt(key[1:]): value for key, value in wanted.items()}
        entity = {} if self._api.old else {"entityTypeId": self.type.type_id}
        params = {
            "select": [self._api.spelt(name) for name in names],
            "filter": conditions,
            "order": {self._api.spelt("id"): order},
            "start": -1,
        }
        return f"crm.{self._api.kind}.list", {**entity, **params}

    def listed(self, names: Collection[str], result: Any) -> list[Row]:
        """The fields `names` of the records in the result of `list_request`. Raises `ProviderError`."""
        match result:
            case {"items": list(rows)} | list(rows):
                spelt = {name: self._api.spelt(name) for name in names}
                return [{n: row.get(shown) for n, shown in spelt.items()} for row in rows if isinstance(row, dict)]
        raise lost(True, Code.INVALID_RESPONSE, f"the answer is no list of {self.type.name}s")

    def comment(self, ref: str, text: str) -> None:
        """Add a comment to the timeline of a record. Raises `ProviderError`.

        If the database of the portal cuts the text at a character above U+FFFF, adds it again with these described.
        """
        made = self._add_comment(ref, text)
        if not wide(text):
            return
        with after_write():
            stored = self._api.call("crm.timeline.comment.get", {"id": made}, safe=True)["result"]
            if not wide(text) <= wide(str(stored["COMMENT"] if isinstance(stored, dict) else "")):
                self._add_comment(ref, described(text))

    def _add_comment(self, ref: str, text: str) -> int:
        owner = {"ENTITY_ID": self.type.number(ref), "ENTITY_TYPE": self.type.name}
        params = {"fields": {**owner, "COMMENT": unmarked(text)}}
        made = str(self._api.call("crm.timeline.comment.add", params, safe=False)["result"])
        if not made.isdecimal():
            raise lost(False, Code.INVALID_RESPONSE, "the answer names no comment")
        return int(made)


def _wire(value: Any) -> Any:
    """A value as it is sent. A boolean user field takes 1 or 0: the text "N" would be true for it."""
    return int(value) if isinstance(value, bool) else value

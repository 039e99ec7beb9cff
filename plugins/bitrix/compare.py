"""Compares delivered operations with the portal: at most 50 with one request, and another one for what is not found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from crmgate.errors import Forbidden, NotFound, Unsupported
from crmgate.model import Kind, Operation

from .api import BitrixApi
from .lookup import BitrixLookup
from .records import BitrixRecords
from .values import ORIGIN, Row, own

SHOWN = ("id", "originatorId", "originId", "comments")
TIMELINES = 49
"""Largest number of timelines in one request: a batch has up to 50 commands."""
PAGE = 50
"""Number of comments in a list: a timeline with as many can have more."""

Timelines = dict[str, Any]
"""The newest comments of records, by the ids that crmgate stores."""


class BitrixComparison:
    """Reads records by their ids, and timelines of records, many with one request. Changes nothing."""

    def __init__(self, api: BitrixApi, records: BitrixRecords, lookup: BitrixLookup) -> None:
        self._api, self._records, self._lookup = api, records, lookup
        self._type = records.type

    def existing(self, operations: Sequence[Operation]) -> dict[str, str]:
        """Ids of the records that these operations left, by the ids of the operations. Raises `ProviderError`."""
        refs = [ref for ref in _refs(operations) if self._type.owns(ref)]
        clicks = {ref for ref in _refs(one for one in operations if one.kind is Kind.LOG_ACTIVITY) if ref in refs}
        rows, timelines = self._read(self._by_id(refs), sorted(clicks)[:TIMELINES])
        records = {self._type.ref(row["id"]): row for row in rows}
        if records.keys() - set(refs):
            raise Unsupported(f"the portal does not filter {self._type.name}s by id: they cannot be compared")
        found = _marked(operations, records, timelines)
        rest = [one for one in operations if one.id not in found]
        return found | self._second_look(rest, records, timelines)

    def _second_look(
        self, operations: Sequence[Operation], records: Mapping[str, Row], timelines: Timelines
    ) -> dict[str, str]:  # fmt: skip
        """Operations whose ids other records have, and those with a comment that was not read yet."""
        unread = [ref for ref in _refs(operations) if ref in records and ref not in timelines]
        origins = [one.id for one in operations]
        others = dict[str, str]()
        while origins or unread:
            rows, more = self._read(self._by_origin(origins), unread[:TIMELINES])
            others |= {str(row["originId"]): self._type.ref(row["id"]) for row in rows if row["originId"] in origins}
            timelines = timelines | more
            origins, unread = [], unread[TIMELINES:]
        others |= _marked(operations, records, timelines)
        rest = [one for one in operations if one.id not in others]
        return others | {one.id: record_of(one) for one in rest if self._deep_in(one, timelines)}

    def _deep_in(self, operation: Operation, timelines: Timelines) -> bool:
        """Whether a long timeline has the operation's comment below its newest ones."""
        ref = record_of(operation)
        if len(timelines.get(ref, ())) < PAGE:
            return False
        method, params = self._lookup.comments(ref)
        return any(operation.tracking_code in str(row) for row in self._api.rows(method, params))

    def _by_id(self, refs: Sequence[str]) -> dict[str, Any]:
        return {"@id": [self._type.number(ref) for ref in refs]} if refs else {}

    def _by_origin(self, operations: Sequence[str]) -> dict[str, Any]:
        return {"=originatorId": ORIGIN["originatorId"], "@originId": [*operations]} if operations else {}

    def _read(self, wanted: Mapping[str, Any], refs: Iterable[str]) -> tuple[list[Row], Timelines]:
        """The records that match a filter, and the newest comments of the records `refs`. Sends one request."""
        commands = {f"of{ref}": self._lookup.comments(ref) for ref in refs}
        if wanted:
            commands["records"] = self._records.list_request(SHOWN, wanted)
        if not commands:
            return [], {}
        results, refused = self._api.batch(commands)
        for key, error in refused.items():
            if key == "records" or not isinstance(error, NotFound | Forbidden):
                raise error
        rows = self._records.listed(SHOWN, results.pop("records")) if wanted else []
        return rows, {key.removeprefix("of"): comments for key, comments in results.items()}


def record_of(operation: Operation) -> str:
    """Id of the record that the receipt of an operation names; empty: none."""
    return operation.delivered.record_id if operation.delivered else ""


def _refs(operations: Iterable[Operation]) -> list[str]:
    return list(dict.fromkeys(map(record_of, operations)))


def _marked(
    operations: Iterable[Operation], records: Mapping[str, Row], timelines: Timelines
) -> dict[str, str]:  # fmt: skip
    """Operations whose id or tracking code is on their record, or in a comment on it."""
    pairs = ((one, record_of(one)) for one in operations)
    return {one.id: ref for one, ref in pairs if ref in records and any(_marks(one, records[ref], timelines.get(ref)))}


def _marks(operation: Operation, row: Row, timeline: Any) -> Iterator[bool]:
    yield own(row, operation)
    yield operation.tracking_code in str(row.get("comments"))
    yield operation.tracking_code in str(timeline)

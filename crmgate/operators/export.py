"""Exports operations as CSV (RFC 4180) or JSON Lines, line by line, so that millions of them need little memory.

A spreadsheet treats a cell that begins with one of `FORMULA` as a formula, and visitors can type these characters. An
apostrophe before such a cell prevents that (https://owasp.org/www-community/attacks/CSV_Injection): a phone number
`+90...` becomes `'+90...`. Where the semicolon separates cells (Turkish, German), Excel also begins a cell at a
semicolon, tab or line end inside a value: an apostrophe stands there, too. JSON Lines contains every value unchanged.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from crmgate.kinds import payload_types
from crmgate.model import Operation, rfc3339
from crmgate.operators.inventory import failure_of, provider_of

FORMULA = "-=+@＝＋－＠"
"""Some are full-width forms, which spreadsheets in East Asian languages treat in the same way."""
_BEGINS = re.compile(rf'\A(?=[{FORMULA}\t\r\n])|[;\t\r\n][ "]*(?=[{FORMULA}])')
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
ABOUT = ("id", "tracking_code", "kind", "state", "submitted_at", "dead_at", "provider", "code", "http_status", "detail",
         "field", "cause", "unreadable")  # fmt: skip
SPREAD = {
    "utm": ("source", "medium", "campaign", "content", "term"),
    "consent": ("given", "text", "at"),
}
"""Groups of a payload with one column for each of their fields."""


def _columns() -> Iterator[str]:
    yield from ABOUT
    names = dict.fromkeys(field.name for payload in payload_types() for field in fields(payload))
    for name in names:
        yield from (f"{name}_{part}" for part in SPREAD[name]) if name in SPREAD else (name,)


COLUMNS = tuple(_columns())


def lines(operations: Iterable[Operation], form: str) -> Iterator[str]:
    """Yield the lines of the export with their line ends; `form` is `csv` or `jsonl`. CSV begins with a header."""
    if form == "jsonl":
        yield from (json.dumps(described(o) | {"payload": o.payload}, ensure_ascii=False) + "\n" for o in operations)
        return
    yield _csv(COLUMNS)
    for operation in operations:
        cells = _flat(described(operation) | dict(operation.payload))
        yield _csv([harmless(cells.get(name, "")) for name in COLUMNS])


def described(operation: Operation) -> dict[str, Any]:
    """The summary of an operation for JSON, without payload and history. Contains no personal data."""
    failure = failure_of(operation)
    return {
        "id": operation.id,
        "tracking_code": operation.tracking_code,
        "kind": operation.kind,
        "state": str(operation.state),
        "submitted_at": rfc3339(operation.accepted_at),
        "dead_at": rfc3339(operation.dead_at) if operation.dead_at else None,
        "provider": provider_of(operation),
        "code": failure.code if failure else "",
        "http_status": failure.status if failure else None,
        "detail": failure.detail if failure else "",
        "field": failure.field if failure else "",
        "cause": operation.suspicion,
        "unreadable": operation.unreadable,
    }


def harmless(text: str) -> str:
    """`text` as a cell that no spreadsheet treats as a formula."""
    return _BEGINS.sub(r"\g<0>'", text)


def _flat(record: Mapping[str, Any]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for name, value in record.items():
        parts = {f"{name}_{part}": inner for part, inner in value.items()} if _spread(name, value) else {name: value}
        cells |= {column: _text(inner) for column, inner in parts.items()}
    return cells


def _spread(name: str, value: Any) -> bool:
    return name in SPREAD and isinstance(value, Mapping)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
        return "; ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | tuple) else str(value)


def _csv(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

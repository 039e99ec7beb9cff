"""The phones and email addresses of a record: rows of `fm`, each with an id."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from crmgate.testing.bitrix24.phones import comparable, valid_email
from crmgate.testing.bitrix24.wire import VendorError, integer, text

Row = dict[str, Any]
MULTIFIELDS = ("PHONE", "EMAIL", "WEB", "IM", "LINK")
INDEXED = ("PHONE", "EMAIL")
MULTIFIELD_LABELS = {"PHONE": "Phone", "EMAIL": "E-mail"}
BAD_EMAIL = 'Field "E-mail" is filled in incorrectly.'
"""Bitrix24 names the field by its label; the text itself is not documented."""


def rows_of(fm: Any) -> list[Row]:
    """The rows of `fm`, given as a list or as an object. A string is ignored, as is an unknown type.

    The key of a row is its id, unless it is no number ("n0"). PHP gives the rows of a list their positions for keys.
    """
    keyed = {str(position): row for position, row in enumerate(fm)} if isinstance(fm, list) else fm
    rows = keyed.items() if isinstance(keyed, dict) else ()
    return [{"id": key} | row for key, row in rows if isinstance(row, dict) and row.get("typeId") in MULTIFIELDS]


def check_emails(rows: Iterable[Row]) -> None:
    """Refuse the whole record for one bad address: the code is "0", and the text names the field by its label."""
    for row in rows:
        if row["typeId"] == "EMAIL" and text(row.get("value")) and not valid_email(row["value"]):
            raise VendorError("0", BAD_EMAIL)


def merged(current: Iterable[Row], incoming: Iterable[Row], new_id: Callable[[], int]) -> list[Row]:
    """The stored rows after a write. Rows not named stay; a row without a stored id is added if its value is new."""
    rows = {row["id"]: row for row in current}
    before = set(rows)
    for row in incoming:
        known = integer(row.get("id"))
        if not text(row.get("value")):
            # Open in the documentation: how a row is deleted. An empty value is the old API's way.
            rows.pop(known, None)
        elif known in before:
            rows[known] = rows[known] | {key: row[key] for key in ("valueType", "value") if key in row}
        elif not _has(rows.values(), row):
            added = new_id()
            kind = text(row.get("valueType")) or "WORK"
            rows[added] = {"id": added, "valueType": kind, "value": str(row["value"]), "typeId": row["typeId"]}
    return list(rows.values())


def _has(rows: Iterable[Row], wanted: Row) -> bool:
    return any((row["typeId"], row["value"]) == (wanted["typeId"], str(wanted["value"])) for row in rows)


def search_keys(rows: Iterable[Row]) -> set[tuple[str, str]]:
    """Search keys of a record: its phones and email addresses, as stored and in their comparable form."""
    indexed = [(row["typeId"], row["value"]) for row in rows if row["typeId"] in INDEXED]
    return {*indexed, *((f"{kind}=", comparable(kind, value)) for kind, value in indexed)}

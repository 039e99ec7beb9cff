"""The email addresses and phones of a lead: the primary one is in its own field, all of them are rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ROWS = {"emailAddress": "emailAddressData", "phoneNumber": "phoneNumberData"}
"""Attribute of the rows, by the field that has the primary value."""


def with_rows(lead: Mapping[str, Any]) -> dict[str, Any]:
    """The lead with a list of all values in each field that has rows."""
    return {**lead, **{name: [row[name] for row in _rows(lead, name)] for name in ROWS}}


def adding_rows(
    record: Mapping[str, Any], names: Iterable[str], lead: Mapping[str, Any], *, primary: bool
) -> dict[str, Any]:  # fmt: skip
    """The record with the values of `names` as further rows beside those of `lead`.

    EspoCRM replaces all rows with those that it gets. `primary`: the new rows become the primary ones.
    """
    changed = dict(record)
    for name in set(names) & changed.keys():
        kept = [row | {"primary": row["primary"] and not primary} for row in _rows(lead, name)]
        changed[ROWS[name]] = [*kept, {name: changed.pop(name), "primary": primary}]
    return changed


def _rows(lead: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = lead.get(ROWS[name])
    listed = [row for row in rows if isinstance(row, dict) and row.get(name)] if isinstance(rows, list) else []
    if not listed and lead.get(name):
        listed = [{name: lead[name]}]
    return [row | {"primary": row[name] == lead.get(name)} for row in listed]

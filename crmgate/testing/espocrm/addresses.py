"""The email addresses and phones of a record: one is the primary one, all of them find the record.

A client reads and writes them as `emailAddressData` and `phoneNumberData`, beside the primary one in `emailAddress` and
`phoneNumber`: https://docs.espocrm.com/development/api/crud/
"""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]
ADDRESSES = ("emailAddress", "phoneNumber")
_FLAGS = {"primary": False, "optOut": False, "invalid": False}


def row(name: str, value: str, *, primary: bool) -> Record:
    """One email address (`name` emailAddress) or phone (phoneNumber) as EspoCRM shows it."""
    more = {"lower": value.lower()} if name == "emailAddress" else {"type": "Mobile"}
    return {name: value, **more, **_FLAGS, "primary": primary}


def values(record: Record, name: str) -> list[str]:
    """All email addresses or phones of a record, the primary one first."""
    rows = record.get(f"{name}Data") or ()
    listed = [one[name] for one in sorted(rows, key=lambda one: not one["primary"])]
    return listed or ([record[name]] if record.get(name) else [])


def reconciled(sent: Record, before: Record) -> Record:
    """The attributes to store for those that were sent, so that the rows and the primary value agree.

    Rows that are sent replace all rows. A primary value that is sent alone takes the place of the primary one only.
    """
    written = dict(sent)
    for name in ADDRESSES:
        rows = sent.get(f"{name}Data")
        if isinstance(rows, list) and rows:
            written |= _from_rows(name, rows)
        elif name in sent and before.get(f"{name}Data"):
            kept = [one for one in before[f"{name}Data"] if not one["primary"] and one[name] != sent[name]]
            first = [row(name, sent[name], primary=True)] if sent[name] else []
            written[f"{name}Data"] = first + kept
    return written


def _from_rows(name: str, rows: list[Any]) -> Record:
    listed = [one for one in rows if isinstance(one, dict) and one.get(name)]
    primary = next((one for one in listed if one.get("primary")), listed[0]) if listed else None
    made = [row(name, str(one[name]), primary=one is primary) | _kept(one) for one in listed]
    return {f"{name}Data": made, name: primary[name] if primary else None}


def _kept(sent: Record) -> Record:
    return {key: sent[key] for key in ("type", "optOut", "invalid") if key in sent}


def joined(target: Record, sources: list[Record]) -> Record:
    """The rows of a record after a merge: its own stay first, the others' become secondary ones."""
    merged: Record = {}
    for name in ADDRESSES:
        listed = [value for record in (target, *sources) for value in values(record, name)]
        if listed:
            rows = [row(name, value, primary=value == listed[0]) for value in dict.fromkeys(listed)]
            merged |= {name: listed[0], f"{name}Data": rows}
    return merged

"""Formats of Bitrix24: names of fields, rows, list items."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any

from crmgate.errors import NotFound
from crmgate.model import Lead, Operation
from crmgate.provider import FieldMap

from .text import WIDE

Row = dict[str, Any]
LEAD = {"entityTypeId": 1}
ORIGIN = {"originatorId": "crmgate"}
MINIMAL = {"title": "Lead - Messenger Lead", "name": "Messenger", "lastName": "Lead"}
MULTIFIELDS = ("PHONE", "EMAIL")
"""Fields that are written as rows of `fm`."""
KEPT = ("title", "originId", "originatorId")
"""Fields of a lead that never move into the comments."""
OLD_NAMES = {"stageId": "STATUS_ID", "stageSemanticId": "STATUS_SEMANTIC_ID"}
"""Names of fields in `crm.lead.*` that differ from those in `crm.item.*` by more than capitals."""
PLAIN_TYPES = ("string", "integer", "double", "date", "datetime", "money", "url", "address")
"""Types of user fields that take any text."""


def dropped(record: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
    """Fields whose value is not in the answer: Bitrix24 silently ignores fields that it does not know.

    Bitrix24 can extend a value (a date by a time), show a text with entities, rewrite the markup of the comments, cut a
    text at a character above U+FFFF (see `text`), and leave the rows out.
    """
    for name, value in record.items():
        echo = item.get(name)
        if name in MULTIFIELDS:
            if isinstance(item.get("fm"), list) and not holds(item, name, value):
                yield name
        elif not (_same(echo, str(value)) if name != "comments" else echo):
            yield name


def _same(echo: Any, value: str) -> bool:
    uncut, *cut = WIDE.split(value, 1)
    shown = "" if echo is None else str(echo)
    return (shown.startswith(uncut) or unescape(shown).startswith(uncut)) and bool(shown or cut)


def holds(item: Mapping[str, Any], kind: str, value: str) -> bool:
    """Whether a lead has this phone or email. Case and punctuation do not count."""
    fm = item.get("fm") or ()
    rows = [row for row in (fm.values() if isinstance(fm, dict) else fm) if isinstance(row, dict)]
    return bare(value) in [bare(row.get("value")) for row in rows if row.get("typeId") == kind]


def bare(value: Any) -> str:
    """A phone or an email without punctuation, in lower case."""
    return re.sub(r"[^\w@.]", "", str(value)).casefold()


def spelt_old(name: str) -> str:
    """The name in `crm.lead.*` of a field of `crm.item.*`: `LAST_NAME` for `lastName`."""
    return OLD_NAMES.get(name) or (re.sub(r"(?<!^)([A-Z])", r"_\1", name).upper() if name != name.upper() else name)


def php(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested parameters as pairs in the notation of PHP: `a[b][0]`."""
    if isinstance(value, Mapping | list | tuple):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in pairs:
            yield from php(inner, f"{name}[{key}]" if name else str(key))
    else:
        yield name, value


def items_of(field: Mapping[str, Any]) -> list[Row]:
    """Items of a list field."""
    return [item for item in field.get("LIST") or () if isinstance(item, dict) and item.get("ID")]


class Items(dict[str, str]):
    """Ids of a list field's items by their text or XML_ID, in any case."""

    def __init__(self, field: Mapping[str, Any]) -> None:
        super().__init__()
        for key, item in itertools.product(("XML_ID", "VALUE"), items_of(field)):
            if item.get(key):
                self[str(item[key]).casefold()] = str(item["ID"])

    def __contains__(self, word: object) -> bool:
        return super().__contains__(str(word).casefold())

    def __getitem__(self, word: str) -> str:
        return super().__getitem__(word.casefold())


def stand_in(field: Mapping[str, Any]) -> str:
    """Value for a mandatory field without a value: a dash, or the default or first item of a list; empty: none."""
    if field.get("USER_TYPE_ID") != "enumeration":
        return "-" if field.get("USER_TYPE_ID") == "string" else ""
    listed = sorted(items_of(field), key=lambda item: item.get("DEF") != "Y")
    return str(listed[0]["ID"]) if listed else ""


def takes_text(field: Mapping[str, Any], table: Mapping[str, str]) -> bool:
    """Whether a user field takes the values of a fact, directly or by the table of values."""
    return field.get("MULTIPLE") != "Y" and (bool(table) or field.get("USER_TYPE_ID") in (*PLAIN_TYPES, "enumeration"))


def number(lead_id: str) -> int:
    """The id of a lead as a number. Raises `NotFound` for an id that Bitrix24 cannot have."""
    if not re.fullmatch(r"[0-9]{1,18}", lead_id):
        raise NotFound("this is no id of a Bitrix24 lead")
    return int(lead_id)


def own(row: Mapping[str, Any], operation: Operation) -> bool:
    """Whether the operation created this lead."""
    return (row.get("originatorId"), row.get("originId")) == (ORIGIN["originatorId"], operation.id)


def closed(row: Mapping[str, Any]) -> bool:
    """Whether a lead was converted, so that people no longer work with it."""
    return row.get("stageId") == "CONVERTED" or row.get("stageSemanticId") == "S"


def title(lead: Lead) -> str:
    """Title of a person's lead."""
    return " ".join(filter(None, ("Lead -", lead.first_name, lead.last_name)))


def targets(field_map: FieldMap, prefix: str = "") -> list[tuple[str, str]]:
    """Facts with the fields to which they are mapped, if the name of the field starts with `prefix`."""
    return [(fact, name) for fact, name in field_map.names.items() if name and name.startswith(prefix)]

"""Leads and fields as Bitrix24 writes them: names, rows, lists, markup."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.errors import NotFound
from crmgate.model import Lead, Operation

Row = dict[str, Any]
LEAD = {"entityTypeId": 1}
ORIGIN = {"originatorId": "crmgate"}
MINIMAL = {"title": "Lead - Messenger Lead", "name": "Messenger", "lastName": "Lead"}
MULTIFIELDS = ("PHONE", "EMAIL")
"""Targets that are written as rows of `fm`."""
KEPT = ("title", "originId", "originatorId")
"""Fields of a lead that are never left out, whatever the portal says."""
OLD_NAMES = {"stageId": "STATUS_ID", "stageSemanticId": "STATUS_SEMANTIC_ID"}
"""Names in `crm.lead.*` that are not those of `crm.item.*` in capitals."""
PLAIN_TYPES = ("string", "integer", "double", "date", "datetime", "money", "url", "address")
"""Types of user fields that take a value as it is written."""


def unmarked(text: str) -> str:
    """`text` for the comments, where BBCode comes alive: no link, image or mention of a visitor's making.

    A word joiner (invisible) goes behind the bracket of whatever looks like a tag; all other text stays as typed.
    """
    return re.sub(r"\[(?=/?\w|\*)", "[\u2060", text)


def dropped(record: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
    """The fields that did not come back whole: Bitrix24 silently ignores what it does not know.

    It may add to a value (a time to a date), rewrite the markup of the comments, and leave the rows out of its answer.
    """
    for name, value in record.items():
        echo = item.get(name)
        if name in MULTIFIELDS:
            if isinstance(item.get("fm"), list) and not holds(item, name, value):
                yield name
        elif echo in (None, "") or (name != "comments" and not str(echo).startswith(str(value))):
            yield name


def holds(item: Mapping[str, Any], kind: str, value: str) -> bool:
    """Whether a lead has this phone or email, however it is written."""
    fm = item.get("fm") or ()
    rows = [row for row in (fm.values() if isinstance(fm, dict) else fm) if isinstance(row, dict)]
    return bare(value) in [bare(row.get("value")) for row in rows if row.get("typeId") == kind]


def bare(value: Any) -> str:
    """A phone or an email without what makes no difference."""
    return re.sub(r"[^\w@.]", "", str(value)).casefold()


def spelt_old(name: str) -> str:
    """The name in `crm.lead.*` of a field of `crm.item.*`: `lastName` is `LAST_NAME` there."""
    return OLD_NAMES.get(name) or (re.sub(r"(?<!^)([A-Z])", r"_\1", name).upper() if name != name.upper() else name)


def php(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Nested parameters as PHP reads them from a query: `a[b][0]`."""
    if isinstance(value, Mapping | list | tuple):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in pairs:
            yield from php(inner, f"{name}[{key}]" if name else str(key))
    else:
        yield name, value


def items_of(field: Mapping[str, Any]) -> list[Row]:
    """The items of a list field."""
    return [item for item in field.get("LIST") or () if isinstance(item, dict) and item.get("ID")]


class Items(dict[str, str]):
    """Text or XML_ID of a list's items -> id. Case makes no difference."""

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
    """What goes into a mandatory field for want of a value: a dash, or a list's default, else its first item."""
    if field.get("USER_TYPE_ID") != "enumeration":
        return "-" if field.get("USER_TYPE_ID") == "string" else ""
    listed = sorted(items_of(field), key=lambda item: item.get("DEF") != "Y")
    return str(listed[0]["ID"]) if listed else ""


def takes_text(field: Mapping[str, Any], table: Mapping[str, str]) -> bool:
    """Whether a user field can take what a fact says, as it is or by its table of values."""
    return field.get("MULTIPLE") != "Y" and (bool(table) or field.get("USER_TYPE_ID") in (*PLAIN_TYPES, "enumeration"))


def number(lead_id: str) -> int:
    """The id of a lead. Raises `NotFound` for what is none of Bitrix24's."""
    if not re.fullmatch(r"[0-9]{1,18}", lead_id):
        raise NotFound("this is no id of a Bitrix24 lead")
    return int(lead_id)


def own(row: Mapping[str, Any], operation: Operation) -> bool:
    """Whether the operation made this lead."""
    return (row.get("originatorId"), row.get("originId")) == (ORIGIN["originatorId"], operation.id)


def closed(row: Mapping[str, Any]) -> bool:
    """Whether a lead was converted: nobody looks at it any more."""
    return row.get("stageId") == "CONVERTED" or row.get("stageSemanticId") == "S"


def title(lead: Lead) -> str:
    """What a person's lead is called."""
    return " ".join(filter(None, ("Lead -", lead.first_name, lead.last_name)))

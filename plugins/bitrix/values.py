"""Formats of Bitrix24: names of fields, rows, list items."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from typing import Any

from crmgate.errors import NotFound
from crmgate.model import Lead, Operation
from crmgate.provider import FieldMap, FieldType, ValueForm

from .text import WIDE

Row = dict[str, Any]


@dataclass(frozen=True)
class RecordType:
    """A type of records: its `entityTypeId`, its name in methods, and the prefix of the ids that crmgate stores.

    The prefix differs so that after a change of BITRIX_TARGET the id of a lead is never taken for that of a deal.
    """

    type_id: int
    name: str
    prefix: str = ""

    def ref(self, number: object) -> str:
        """The id that crmgate stores for the record `number`."""
        return f"{self.prefix}{number}"

    def owns(self, ref: str) -> bool:
        """Whether a stored id can be that of such a record."""
        return bool(re.fullmatch(rf"{self.prefix}[0-9]{{1,18}}", ref))

    def number(self, ref: str) -> int:
        """The number of a record by its stored id. Raises `NotFound` for an id that such a record cannot have."""
        if not self.owns(ref):
            raise NotFound(f"this is no id of a Bitrix24 {self.name}")
        return int(ref.removeprefix(self.prefix))


LEADS, DEALS, CONTACTS = RecordType(1, "lead"), RecordType(2, "deal", "D_"), RecordType(3, "contact")
PEOPLE = {LEADS: LEADS, DEALS: CONTACTS}
"""By the type of the records that submissions become: the type that has their phones and emails."""
PERSON = ("name", "lastName", "PHONE", "EMAIL")
"""Fields that a deal has not, and its contact has."""
PIPELINE = ("categoryId", "stageId")
ORIGIN = {"originatorId": "crmgate"}
MINIMAL_NAME = {"name": "Messenger", "lastName": "Lead"}
MINIMAL = {"title": "Lead - Messenger Lead", **MINIMAL_NAME}
MULTIFIELDS = ("PHONE", "EMAIL")
"""Fields that are written as rows of `fm`."""
KEPT = ("title", "contactId", "originId", "originatorId")
"""Fields that never move into the comments."""
OLD_NAMES = {"stageId": "STATUS_ID", "stageSemanticId": "STATUS_SEMANTIC_ID"}
"""Names of fields in `crm.lead.*` that differ from those in `crm.item.*` by more than capitals."""
FORMS = {
    **dict.fromkeys(("string", "money", "url", "address", "enumeration"), ValueForm.TEXT),
    "boolean": ValueForm.BOOLEAN, "integer": ValueForm.INTEGER, "double": ValueForm.NUMBER, "date": ValueForm.DATE,
    "datetime": ValueForm.MOMENT,
}  # fmt: skip
"""Types of user fields that take values of facts, and the form of the values."""


def dropped(record: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[str]:
    """Fields whose value is not in the answer: Bitrix24 silently ignores fields that it does not know.

    Bitrix24 can extend a value (a date by a time), show a text with entities, rewrite the markup of the comments, cut a
    text at a character above U+FFFF (see `text`), and leave the rows out.
    """
    for name, value in ((name, value) for name, value in record.items() if value != ""):
        echo = item.get(name)
        if name in MULTIFIELDS:
            if isinstance(item.get("fm"), list) and not holds(item, name, value):
                yield name
        elif not (_kept(value, echo) if name != "comments" else echo):
            yield name


def _kept(value: Any, echo: Any) -> bool:
    """Whether the answer has a value. Bitrix24 can extend it, and writes a boolean as Y or N, 1 or 0."""
    if isinstance(value, list):
        return isinstance(echo, list) and all(any(_kept(one, other) for other in echo) for one in value)
    if isinstance(value, bool):
        return truth(echo) is value
    return _same_text(str(value), echo) or _same_moment(value, echo)


def truth(shown: Any) -> bool:
    """A truth value that the portal shows as Y or N, 1 or 0."""
    return str(shown).lower() in ("y", "1", "true")


def truths(item: Mapping[str, Any], types: Mapping[str, FieldType]) -> Row:
    """The truth values of a lead that are not empty, by the names of their fields."""
    names = [name for name, known in types.items() if known.form is ValueForm.BOOLEAN and not known.several]
    return {name: truth(item[name]) for name in names if item.get(name) not in (None, "")}


def _same_text(value: str, echo: Any) -> bool:
    uncut, *cut = WIDE.split(value, 1)
    shown = "" if echo is None else str(echo)
    return (shown.startswith(uncut) or unescape(shown).startswith(uncut)) and bool(shown or cut)


def _same_moment(value: Any, echo: Any) -> bool:
    """Whether two texts are the same time, in any time zone."""
    try:
        one, other = datetime.fromisoformat(str(value)), datetime.fromisoformat(str(echo))
    except ValueError:
        return False
    return bool(one.tzinfo and other.tzinfo) and one == other


def holds(item: Mapping[str, Any], kind: str, value: str) -> bool:
    """Whether a record has this phone or email. Case and punctuation do not count."""
    return bare(value) in map(bare, contacts(item)[kind])


def contacts(item: Mapping[str, Any]) -> dict[str, list[str]]:
    """All phones and emails of a record, by kind."""
    fm = item.get("fm") or ()
    rows = [row for row in (fm.values() if isinstance(fm, dict) else fm) if isinstance(row, dict)]
    return {kind: [str(row.get("value")) for row in rows if row.get("typeId") == kind] for kind in MULTIFIELDS}


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


def field_type(field: Mapping[str, Any], table: Mapping[str, str]) -> FieldType | None:
    """Form of the values that a user field takes, directly or by the table of values; None: it takes none."""
    kind, several = str(field.get("USER_TYPE_ID")), field.get("MULTIPLE") == "Y"
    if kind not in FORMS:
        return FieldType(several=several) if table else None
    return FieldType(FORMS[kind], several=several, options=_options(field, table) if several else None)


def _options(field: Mapping[str, Any], table: Mapping[str, str]) -> Mapping[str, str] | None:
    """Ids of a list field's items by what is sent for them: the ids in the table of values, else their texts."""
    if field.get("USER_TYPE_ID") != "enumeration":
        return None
    return {str(item["ID"]): str(item["ID"]) for item in items_of(field)} if table else Items(field)


def own(row: Mapping[str, Any], operation: Operation) -> bool:
    """Whether the operation created this lead or deal."""
    return (row.get("originatorId"), row.get("originId")) == (ORIGIN["originatorId"], operation.id)


def closed(row: Mapping[str, Any]) -> bool:
    """Whether a lead was converted, or a deal won or lost, so that people no longer work with it."""
    return row.get("stageId") == "CONVERTED" or row.get("stageSemanticId") == "S" or row.get("closed") == "Y"


def title(lead: Lead) -> str:
    """Title of a person's lead or deal."""
    return " ".join(filter(None, ("Lead -", lead.first_name, lead.last_name)))


def targets(field_map: FieldMap, prefix: str = "") -> list[tuple[str, str]]:
    """Facts with the fields to which they are mapped, if the name of the field starts with `prefix`."""
    return [(fact, name) for fact, name in field_map.names.items() if name and name.startswith(prefix)]

"""Contacts and deals of a portal. This module does not depend on HTTP.

Vendor's pages, under https://apidocs.bitrix24.com/api-reference/crm/: universal/object-fields.html,
universal/category/crm-category-list.html, status/index.html (DEAL_STAGE for the first pipeline, DEAL_STAGE_<id> for
any other, whose stages are called C<id>:NEW and so on).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from crmgate.testing.bitrix24.fields import LENGTHS, STANDARD, Field, UserField, Values, typed
from crmgate.testing.bitrix24.markup import normalised
from crmgate.testing.bitrix24.multifields import Row, check_emails, merged, search_keys
from crmgate.testing.bitrix24.wire import VendorError, flatten, integer, iso, text

Record = dict[str, Any]
DEAL, CONTACT = 2, 3
DEAL_STAGES = {
    "NEW": "Initial contact",
    "PREPARATION": "Preparation",
    "PREPAYMENT_INVOICE": "Prepayment invoice",
    "EXECUTING": "In progress",
    "FINAL_INVOICE": "Final invoice",
    "WON": "Deal won",
    "LOSE": "Deal lost",
    "APOLOGY": "Analyse failure",
}
SEMANTICS = {"WON": "S", "LOSE": "F", "APOLOGY": "F"}
_SHARED = (
    *("id", "comments", "sourceId", "sourceDescription", "opened", "assignedById", "originatorId", "originId"),
    *("utmSource", "utmMedium", "utmCampaign", "utmContent", "utmTerm"),
    *("createdBy", "updatedBy", "createdTime", "updatedTime"),
)
_PERSON = ("honorific", "name", "secondName", "lastName", "birthdate", "post", "hasPhone", "hasEmail")
_DEAL_ONLY = (
    Field("categoryId", "integer"),
    Field("stageId", "crm_status"),
    Field("stageSemanticId", read_only=True),
    Field("closed", "boolean"),
    Field("contactId", "integer"),
    Field("contactIds", read_only=True),
    Field("isNew", "boolean", read_only=True),
)
_DEAL_STANDARD = (*_SHARED, "title", "opportunity", "currencyId", "isManualOpportunity")
FIELDS: dict[int, dict[str, Field]] = {
    DEAL: {name: STANDARD[name] for name in _DEAL_STANDARD} | {item.name: item for item in _DEAL_ONLY},
    CONTACT: {name: STANDARD[name] for name in (*_SHARED, *_PERSON)},
}
NAMES = {DEAL: "deal", CONTACT: "contact"}


def stages_of(category: int) -> dict[str, str]:
    """The stages of a pipeline of deals: code -> name."""
    prefix = f"C{category}:" if category else ""
    return {f"{prefix}{code}": name for code, name in DEAL_STAGES.items()}


def semantics_of(stage: str) -> str:
    """Meaning of a stage for a deal: P under way, S won, F lost."""
    return SEMANTICS.get(stage.rpartition(":")[2], "P")


@dataclass
class Rules:
    """Rules for a write, from the portal's switches."""

    user_id: int
    user_fields: Mapping[str, UserField]
    categories: Mapping[int, str]
    check: Values
    new_id: Callable[[str], int]
    cut: Callable[[str], str]
    """What the database stores of a text."""


class Shelf:
    """All records of one type, by id: standard fields by their `crm.item.*` names, user fields by `UF_CRM_...`."""

    def __init__(self, type_id: int) -> None:
        self.type_id, self.name, self.fields = type_id, NAMES[type_id], FIELDS[type_id]
        self.records: dict[int, Record] = {}
        self._index: dict[tuple[str, str], set[int]] = {}

    def save(self, values: Mapping[str, Any], rows: Iterable[Row], rules: Rules, record_id: int = 0) -> Record:
        """Create a record, or change the one with `record_id`. Returns the record as the answer shows it.

        Everything is checked before anything is stored.
        """
        rows = list(rows)
        rules.check.check({name: value for name, value in values.items() if name != "stageId"}, not record_id)
        check_emails(rows)
        record = self.records.get(record_id) or self._new(rules)
        changed = record | {name: self._stored(name, value, rules) for name, value in values.items()}
        if self.type_id == DEAL:
            changed |= _settled(changed, rules.categories)
        changed["fm"] = merged(record["fm"], rows, lambda: rules.new_id("fm"))
        record = self._put(changed | {"updatedBy": rules.user_id, "updatedTime": iso(time.time())})
        answered = dict(record)
        record.update({name: rules.cut(value) for name, value in record.items() if isinstance(value, str)})
        return answered

    def remove(self, record_id: int) -> None:
        """Delete a record, as a person at the portal does."""
        for key in _keys(self.records.pop(record_id)):
            self._index[key].discard(record_id)

    def found(self, kind: str, values: Iterable[Any]) -> list[int]:
        """The ids of records by `originId`, `PHONE` or `EMAIL`, oldest first."""
        return sorted({record_id for value in values for record_id in self._index.get((kind, text(value)), ())})

    def _new(self, rules: Rules) -> Record:
        number = rules.new_id(self.name)
        made: Record = {
            "id": number,
            "opened": "Y",
            "assignedById": rules.user_id,
            "createdBy": rules.user_id,
            "createdTime": iso(time.time()),
            "fm": [],
        }
        return made | ({"title": f"Deal #{number}", "isNew": "Y"} if self.type_id == DEAL else {})

    def _stored(self, name: str, value: Any, rules: Rules) -> Any:
        if name == "comments":
            return normalised(text(value)) or None
        item = rules.user_fields.get(name)
        kind = item.type if item else self.fields[name].type
        if item and item.multiple:
            return [typed(kind, single) for single in flatten(value) if text(single)]
        kept = typed(kind, value)
        return kept[: LENGTHS[name]] if kept and name in LENGTHS else kept

    def _put(self, record: Record) -> Record:
        types = {row["typeId"] for row in record["fm"]}
        if self.type_id == CONTACT:
            record["hasPhone"], record["hasEmail"] = ("Y" if kind in types else "N" for kind in ("PHONE", "EMAIL"))
        number = record["id"]
        for key in _keys(self.records[number]) if number in self.records else ():
            self._index[key].discard(number)
        for key in _keys(record):
            self._index.setdefault(key, set()).add(number)
        self.records[number] = record
        return record


def _keys(record: Record) -> set[tuple[str, str]]:
    return search_keys(record["fm"]) | {("originId", text(record.get("originId")))}


def _settled(deal: Record, categories: Mapping[int, str]) -> Record:
    """The pipeline and the stage of a deal, and the fields that depend on them."""
    category = integer(deal.get("categoryId") or 0)
    stage = text(deal.get("stageId")) or next(iter(stages_of(category)))
    if category not in categories or stage not in stages_of(category):
        raise VendorError("CRM_FIELD_ERROR_VALUE_NOT_VALID", 'Invalid value of the field "stageId"')
    semantics = semantics_of(stage)
    contact = integer(deal.get("contactId") or 0)
    return {
        "categoryId": category,
        "stageId": stage,
        "stageSemanticId": semantics,
        "closed": "N" if semantics == "P" else "Y",
        "contactId": contact,
        "contactIds": [contact] if contact else [],
    }

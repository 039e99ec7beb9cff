"""What a Bitrix24 portal holds and who may do what there. Knows no HTTP."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crmgate.testing.bitrix24.fields import PRESET, SOURCES, STANDARD, UserField, Values, full_name, typed
from crmgate.testing.bitrix24.wire import Params, Reply, VendorError, flatten, integer, iso, text

Lead = dict[str, Any]
Comment = dict[str, Any]
Row = dict[str, Any]

MULTIFIELDS = ("PHONE", "EMAIL", "WEB", "IM", "LINK")
INDEXED = ("PHONE", "EMAIL")


class Portal:
    """The records and settings of one portal; every plain attribute is an option for tests."""

    def __init__(self, preset: bool) -> None:
        self.leads: dict[int, Lead] = {}
        """By id: standard fields by their `crm.item.*` names, user fields by `UF_CRM_...`, `fm` as rows."""
        self.comments: dict[int, Comment] = {}
        """By id: `ID`, `ENTITY_ID`, `ENTITY_TYPE`, `COMMENT`, `CREATED`, `AUTHOR_ID`."""
        self.user_fields: dict[str, UserField] = {}
        self.sources: dict[str, str] = dict(SOURCES)
        self.user_id = 1
        self.admin = True
        """Whether the webhook's user is a CRM administrator, who alone may add user fields."""
        self.access_denied = False
        """Whether the user may neither write nor open a record; lists still answer."""
        self.can_read = True
        """Whether the user sees leads; without it lists come empty instead of failing."""
        self.locked_timelines: list[int] = []
        """Leads on whose timeline the user may not comment, for want of a right that concerns this lead only."""
        self.search_lag = 0.0
        """Seconds for which neither a list nor the search for duplicates shows a new lead; it can be read by its id."""
        self.simple_mode = False
        """Simple CRM: a lead is converted the moment it is created."""
        self.original_uf_names = True
        """Whether `useOriginalUfNames` is understood (CRM 25.0.0 and later)."""
        self.check_sources = True
        """Whether an unknown `sourceId` is refused."""
        self.name_fields_by_label = False
        """Whether the text of a refused value names the field by label instead of by code."""
        self.unfilterable: list[str] = []
        """Fields that `crm.item.list` refuses in a filter, say `["originId"]`."""
        self._ids = {kind: itertools.count(1) for kind in ("lead", "comment", "fm", "field", "option")}
        self._index: dict[tuple[str, str], dict[int, None]] = {}
        self._indexed: dict[int, set[tuple[str, str]]] = {}
        self._comments_of: dict[int, list[int]] = {}
        self._created: dict[int, float] = {}
        self._added: dict[str, dict[str, Any]] = {}
        for name, label in PRESET.items() if preset else ():
            self.add_user_field(name, label=label)

    # Fields

    def add_user_field(
        self, name: str, user_type: str = "string", options: Iterable[str] = (), **attributes: Any
    ) -> UserField:
        """Add a user field, or replace the one of that name; `options` are the texts of an enumeration.

        `attributes` are those of `UserField`: `label`, `multiple`, `mandatory`, `xml_id`, `sort`...
        """
        name = full_name(name)
        numbered = {next(self._ids["option"]): option for option in options}
        attributes.setdefault("label", name)
        item = UserField(next(self._ids["field"]), name, user_type, options=numbered, **attributes)
        self.user_fields[name] = item
        return item

    @property
    def added_fields(self) -> dict[str, dict[str, Any]]:
        """Further user fields by name, each with the options of `add_user_field`. Set: replaces all of them."""
        return self._added

    @added_fields.setter
    def added_fields(self, fields: dict[str, dict[str, Any]]) -> None:
        for name in self._added:
            self.remove_user_field(name)
        self._added = fields
        for name, options in fields.items():
            self.add_user_field(name, **options)

    def remove_user_field(self, name: str) -> None:
        """Remove a user field; what leads hold in it is lost, as on the portal."""
        name = full_name(name)
        del self.user_fields[name]
        for lead in self.leads.values():
            lead.pop(name, None)

    def make_enumeration(self, name: str, *options: str) -> dict[str, int]:
        """Turn a field into an enumeration; returns the id of each text."""
        item = self.user_fields[full_name(name)]
        item.type, item.options = "enumeration", {next(self._ids["option"]): option for option in options}
        return {option: number for number, option in item.options.items()}

    # Leads

    def save_lead(self, values: Mapping[str, Any], rows: Iterable[Row], lead_id: int | None = None) -> Lead:
        """Create a lead, or change the one with `lead_id`. Everything is checked before anything is stored."""
        self._values().check(values, complete=lead_id is None)
        lead = self._new_lead(next(self._ids["lead"])) if lead_id is None else self.leads[lead_id]
        lead.update({name: self._stored(name, value) for name, value in values.items()})
        lead["fm"] = self._merged(lead["fm"], rows)
        self._settle(lead, created=lead_id is None)
        return lead

    def delete_lead(self, lead_id: int) -> None:
        """Delete a lead with its comments, as a person at the portal does."""
        del self.leads[lead_id]
        self._created.pop(lead_id, None)
        self._reindex(lead_id, set())
        for comment in self._comments_of.pop(lead_id, []):
            del self.comments[comment]

    def leads_with(self, kind: str, values: Iterable[Any]) -> list[int]:
        """The ids of leads by `originId`, `PHONE` or `EMAIL`, each once, without looking at every lead."""
        found: dict[int, None] = {}
        for value in values:
            found.update(self._index.get((kind, text(value)), {}))
        return sorted(lead_id for lead_id in found if self.is_listed(lead_id))

    def is_listed(self, lead_id: int) -> bool:
        """Whether searches show a lead yet (see `search_lag`)."""
        return self._created.get(lead_id, 0.0) <= time.monotonic() - self.search_lag

    def _values(self) -> Values:
        return Values(self.sources, self.user_fields, self.check_sources, self.name_fields_by_label)

    def _new_lead(self, lead_id: int) -> Lead:
        self._created[lead_id] = time.monotonic()
        # The documented defaults of crm.item.add.
        return {
            "id": lead_id,
            "title": f"Lead #{lead_id}",
            "stageId": "NEW",
            "sourceId": next(iter(self.sources), None),
            "opened": "Y",
            "isManualOpportunity": "N",
            "assignedById": self.user_id,
            "createdBy": self.user_id,
            "createdTime": iso(time.time()),
            "fm": [],
        }

    def _stored(self, name: str, value: Any) -> Any:
        item = self.user_fields.get(name)
        kind = item.type if item else STANDARD[name].type
        if item and item.multiple:
            return [typed(kind, single) for single in flatten(value) if text(single)]
        return typed(kind, value)

    def _merged(self, current: Iterable[Row], incoming: Iterable[Row]) -> list[Row]:
        """Rows not named stay; a row without the id of a known one is added, so sending a phone again doubles it."""
        rows = {row["id"]: row for row in current}
        for row in incoming:
            known = integer(row.get("id"))
            if not text(row.get("value")):
                # Open in the documentation: how a row is deleted. An empty value is the old API's way.
                rows.pop(known, None)
            elif known in rows:
                rows[known] = rows[known] | {key: row[key] for key in ("valueType", "value") if key in row}
            else:
                added = next(self._ids["fm"])
                kind = text(row.get("valueType")) or "WORK"
                rows[added] = {"id": added, "valueType": kind, "value": str(row["value"]), "typeId": row["typeId"]}
        return list(rows.values())

    def _settle(self, lead: Lead, created: bool) -> None:
        lead["title"] = lead["title"] or f"Lead #{lead['id']}"
        if created and self.simple_mode:
            lead["stageId"] = "CONVERTED"
        lead["stageSemanticId"] = {"CONVERTED": "S", "JUNK": "F"}.get(lead["stageId"], "P")
        types = {row["typeId"] for row in lead["fm"]}
        lead["hasPhone"], lead["hasEmail"] = ("Y" if kind in types else "N" for kind in INDEXED)
        lead["updatedBy"], lead["updatedTime"] = self.user_id, iso(time.time())
        self.leads[lead["id"]] = lead
        keys = {(row["typeId"], row["value"]) for row in lead["fm"] if row["typeId"] in INDEXED}
        self._reindex(lead["id"], keys | {("originId", text(lead.get("originId")))})

    def _reindex(self, lead_id: int, keys: set[tuple[str, str]]) -> None:
        before = self._indexed.pop(lead_id, set())
        for key in before - keys:
            del self._index[key][lead_id]
        for key in keys - before:
            self._index.setdefault(key, {})[lead_id] = None
        if keys:
            self._indexed[lead_id] = keys

    # Comments

    def add_comment(self, lead_id: int, comment: str) -> Comment:
        """Put a comment on a lead's timeline."""
        number = next(self._ids["comment"])
        self.comments[number] = {
            "ID": str(number),
            "ENTITY_ID": str(lead_id),
            "ENTITY_TYPE": "lead",
            "CREATED": iso(time.time()),
            "COMMENT": comment,
            "AUTHOR_ID": str(self.user_id),
        }
        self._comments_of.setdefault(lead_id, []).append(number)
        return self.comments[number]

    def comments_of(self, lead_id: int) -> list[Comment]:
        """A lead's comments, oldest first."""
        return [self.comments[number] for number in self._comments_of.get(lead_id, [])]

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Copies of everything stored: `lead`, `comment`."""
        return {
            "lead": copy.deepcopy(list(self.leads.values())),
            "comment": copy.deepcopy(list(self.comments.values())),
        }

    # Rights

    def must_not_be_denied(self, code: str = "ACCESS_DENIED", description: str = "Access denied.") -> None:
        """Refuse what needs the right to write or to open a record."""
        if self.access_denied:
            raise VendorError(code, description)


Method = Callable[[Portal, Params], Reply]


class Methods(dict[str, Method]):
    """REST methods by name."""

    def named(self, name: str) -> Callable[[Method], Method]:
        """Register the decorated function as the method `name`."""

        def register(method: Method) -> Method:
            self[name] = method
            return method

        return register

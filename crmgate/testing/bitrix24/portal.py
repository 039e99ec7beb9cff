"""Records, settings and rights of a Bitrix24 portal. This module does not depend on HTTP."""

from __future__ import annotations

import copy
import itertools
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from crmgate.testing.bitrix24.fields import (
    LENGTHS,
    PRESET,
    SOURCES,
    STANDARD,
    UserField,
    Values,
    full_name,
    typed,
)
from crmgate.testing.bitrix24.markup import normalised
from crmgate.testing.bitrix24.multifields import INDEXED, MULTIFIELDS, Row, check_emails, merged, search_keys
from crmgate.testing.bitrix24.shelves import CONTACT, DEAL, Record, Rules, Shelf
from crmgate.testing.bitrix24.switches import Switches
from crmgate.testing.bitrix24.wire import Params, Reply, VendorError, flatten, iso, text

__all__ = ["INDEXED", "MULTIFIELDS", "Comment", "Lead", "Method", "Methods", "Portal", "Row"]

Lead = dict[str, Any]
Comment = dict[str, Any]
_COUNTED = ("lead", "deal", "contact", "comment", "fm", "field", "option")
_ABOVE_BMP = re.compile("[\U00010000-\U0010ffff].*", re.DOTALL)
"""What a database with utf8mb3 cuts: the first character of 4 bytes, and the rest of the text."""


class Portal(Switches):
    """The records and settings of one portal; every plain attribute is an option for tests."""

    def __init__(self, preset: bool) -> None:
        Switches.__init__(self)
        self.shelves = {type_id: Shelf(type_id) for type_id in (DEAL, CONTACT)}
        self.categories: dict[int, str] = {0: "General"}
        """The pipelines of deals: id -> name."""
        self.deal_fields: dict[str, UserField] = {}
        """The user fields of deals."""
        self.leads: dict[int, Lead] = {}
        """By id: standard fields by their `crm.item.*` names, user fields by `UF_CRM_...`, `fm` as rows."""
        self.comments: dict[int, Comment] = {}
        """By id: `ID`, `ENTITY_ID`, `ENTITY_TYPE`, `COMMENT`, `CREATED`, `AUTHOR_ID`."""
        self.user_fields: dict[str, UserField] = {}
        self.sources: dict[str, str] = dict(SOURCES)
        self.user_id = 1
        self.users: dict[int, bool] = {1: True, 7: True, 8: False}
        """The users by id, each with whether it is active."""
        self.admin = True
        """Whether the webhook's user is a CRM administrator, who alone may add user fields."""
        self.access_denied = False
        """Whether the user may neither write nor open a record; lists still answer."""
        self.can_read = True
        """Whether the user sees leads; without it lists come empty instead of failing."""
        self.locked_timelines: list[int] = []
        """Leads on which the user may not comment, because a right for this lead is missing."""
        self.search_lag = 0.0
        """Seconds for which neither a list nor the search for duplicates shows a new lead; it can be read by its id."""
        self.simple_mode = False
        """Simple CRM: a lead with a first name becomes a deal and a contact when it is created."""
        self.original_uf_names = True
        """Whether `useOriginalUfNames` is understood (CRM 25.0.0 and later)."""
        self.name_fields_by_label = False
        """Whether the text of a refused value names the field by label instead of by code."""
        self.unfilterable: list[str] = []
        """Fields that `crm.item.list` refuses in a filter, say `["originId"]`."""
        self._ids = {kind: itertools.count(1) for kind in _COUNTED}
        self._index: dict[tuple[str, str], dict[int, None]] = {}
        self._indexed: dict[int, set[tuple[str, str]]] = {}
        self._comments_of: dict[tuple[str, int], list[int]] = {}
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
        item = self._made_field(name, user_type, options, attributes)
        self.user_fields[item.name] = item
        return item

    def add_deal_field(
        self, name: str, user_type: str = "string", options: Iterable[str] = (), **attributes: Any
    ) -> UserField:
        """Add a user field of deals (see `add_user_field`)."""
        item = self._made_field(name, user_type, options, attributes)
        self.deal_fields[item.name] = item
        return item

    def _made_field(self, name: str, user_type: str, options: Iterable[str], attributes: dict[str, Any]) -> UserField:
        name = full_name(name)
        numbered = {next(self._ids["option"]): option for option in options}
        attributes.setdefault("label", name)
        return UserField(next(self._ids["field"]), name, user_type, options=numbered, **attributes)

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
        """Remove a user field and its values in all leads, as on the portal."""
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
        """Create a lead, or change the one with `lead_id`. Returns the lead as the answer shows it.

        Everything is checked before anything is stored.
        """
        rows = list(rows)
        self._values().check(values, complete=lead_id is None)
        check_emails(rows)
        if lead_id is None:
            self.must_have_room()
        lead = self._new_lead(next(self._ids["lead"])) if lead_id is None else self.leads[lead_id]
        lead.update({name: self._stored(name, value) for name, value in values.items()})
        lead["fm"] = merged(lead["fm"], rows, lambda: next(self._ids["fm"]))
        self._settle(lead, created=lead_id is None)
        return self._kept(lead)

    def _kept(self, lead: Lead) -> Lead:
        """The lead as the database stores it: some texts are cut. The answer still shows the complete texts."""
        answered = dict(lead)
        lead.update({name: self._cut(value) for name, value in lead.items() if isinstance(value, str)})
        return answered

    def _cut(self, value: str) -> str:
        return _ABOVE_BMP.sub("", value) if self.utf8mb3 else value

    def delete_lead(self, lead_id: int) -> None:
        """Delete a lead with its comments, as a person at the portal does."""
        del self.leads[lead_id]
        self._created.pop(lead_id, None)
        self._reindex(lead_id, set())
        for comment in self._comments_of.pop(("lead", lead_id), []):
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
        return self._checks(self.user_fields)

    def _checks(self, user_fields: Mapping[str, UserField]) -> Values:
        sources = self.sources if self.check_sources else None
        return Values(sources, user_fields, self.name_fields_by_label, self.enforce_required)

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
        if name == "comments":
            return normalised(text(value)) or None
        item = self.user_fields.get(name)
        kind = item.type if item else STANDARD[name].type
        if item and item.multiple:
            return [typed(kind, single) for single in flatten(value) if text(single)]
        kept = typed(kind, value)
        return kept[: LENGTHS[name]] if kept and name in LENGTHS else kept

    def _settle(self, lead: Lead, created: bool) -> None:
        lead["title"] = lead["title"] or f"Lead #{lead['id']}"
        if created and self.simple_mode and lead.get("name"):
            self._convert(lead)
        lead["stageSemanticId"] = {"CONVERTED": "S", "JUNK": "F"}.get(lead["stageId"], "P")
        types = {row["typeId"] for row in lead["fm"]}
        lead["hasPhone"], lead["hasEmail"] = ("Y" if kind in types else "N" for kind in INDEXED)
        lead["updatedBy"], lead["updatedTime"] = self.user_id, iso(time.time())
        self.leads[lead["id"]] = lead
        self._reindex(lead["id"], search_keys(lead["fm"]) | {("originId", text(lead.get("originId")))})

    def _convert(self, lead: Lead) -> None:
        """Make a contact and a deal of a lead, inside the call that creates it."""
        lead["stageId"] = "CONVERTED"
        contacts, deals = self.shelves[CONTACT], self.shelves[DEAL]
        person = {name: lead[name] for name in ("name", "lastName") if lead.get(name)}
        rows = [{**row, "id": ""} for row in lead["fm"]]
        contact = contacts.save(person, rows, self.rules(contacts))
        deals.save({"title": lead["title"], "contactId": contact["id"]}, [], self.rules(deals))

    def _reindex(self, lead_id: int, keys: set[tuple[str, str]]) -> None:
        before = self._indexed.pop(lead_id, set())
        for key in before - keys:
            del self._index[key][lead_id]
        for key in keys - before:
            self._index.setdefault(key, {})[lead_id] = None
        if keys:
            self._indexed[lead_id] = keys

    # Contacts and deals

    @property
    def contacts(self) -> dict[int, Record]:
        """By id, as `leads`."""
        return self.shelves[CONTACT].records

    @property
    def deals(self) -> dict[int, Record]:
        """By id, as `leads`."""
        return self.shelves[DEAL].records

    def fields_of(self, shelf: Shelf) -> dict[str, UserField]:
        """The user fields of a type of records."""
        return self.deal_fields if shelf.type_id == DEAL else {}

    def rules(self, shelf: Shelf) -> Rules:
        """Rules for a write to contacts or deals."""
        own = self.fields_of(shelf)
        return Rules(
            user_id=self.user_id,
            user_fields=own,
            categories=self.categories,
            check=self._checks(own),
            new_id=lambda kind: next(self._ids[kind]),
            cut=self._cut,
        )

    def holds(self, entity: str, record_id: int) -> bool:
        """Whether a lead, deal or contact with this id exists."""
        return record_id in {"lead": self.leads, "deal": self.deals, "contact": self.contacts}[entity]

    # Comments

    def add_comment(self, lead_id: int, comment: str, entity: str = "lead") -> Comment:
        """Put a comment on the timeline of a lead, a deal or a contact."""
        number = next(self._ids["comment"])
        self.comments[number] = {
            "ID": str(number),
            "ENTITY_ID": str(lead_id),
            "ENTITY_TYPE": entity,
            "CREATED": iso(time.time()),
            "COMMENT": self._cut(comment),
            "AUTHOR_ID": str(self.user_id),
        }
        self._comments_of.setdefault((entity, lead_id), []).append(number)
        return self.comments[number]

    def comments_of(self, lead_id: int, entity: str = "lead") -> list[Comment]:
        """The comments on a timeline, oldest first."""
        return [self.comments[number] for number in self._comments_of.get((entity, lead_id), [])]

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Copies of everything stored: `lead`, `comment`, and `contact` and `deal` once there are any."""
        tables = {"lead": self.leads, "comment": self.comments}
        tables |= {shelf.name: shelf.records for shelf in self.shelves.values() if shelf.records}
        return {name: copy.deepcopy(list(table.values())) for name, table in tables.items()}

    # Rights

    def must_not_be_denied(self, code: str = "ACCESS_DENIED", description: str = "Access denied.") -> None:
        """Refuse a request if the user may neither write nor open records."""
        if self.access_denied:
            raise VendorError(code, description)

    def must_write(self, action: str) -> None:
        """Refuse `crm.item.add` (`action` ADD) or `crm.item.update` (UPDATE) if a right is missing."""
        self.must_not_be_denied(f"CRM_ITEM_{action}_ACCESS_DENIED")

    def must_read(self) -> None:
        """Refuse to open a record if a right is missing."""
        if self.access_denied or not self.can_read:
            raise VendorError("ACCESS_DENIED", "Access denied.")


Method = Callable[[Portal, Params], Reply]


class Methods(dict[str, Method]):
    """REST methods by name."""

    def named(self, name: str) -> Callable[[Method], Method]:
        """Register the decorated function as the method `name`."""

        def register(method: Method) -> Method:
            self[name] = method
            return method

        return register

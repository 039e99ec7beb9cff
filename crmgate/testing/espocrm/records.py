"""Creates, changes, finds and reads records, with the checks of a real EspoCRM in their order."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from crmgate.testing.espocrm.access import Caller
from crmgate.testing.espocrm.addresses import ADDRESSES, reconciled
from crmgate.testing.espocrm.addresses import values as values_of
from crmgate.testing.espocrm.answers import EspoError, crashed, invalid, success, translated
from crmgate.testing.espocrm.fields import MEDIUMTEXT_BYTES, clean, flaw, fold
from crmgate.testing.espocrm.hooks import Hooks
from crmgate.testing.espocrm.metadata import EntityType, FieldDef, Record, attributes_of
from crmgate.testing.espocrm.search import Search, check_where, matches, parse_search, values_in
from crmgate.testing.espocrm.store import Database, Table, created_at, index_key
from crmgate.testing.espocrm.views import FROM_OTHER_TABLES, Views
from crmgate.testing.server import Request, Response

DUPLICATES_SHOWN = 5
_NAME_PARTS = ("firstName", "lastName")


@dataclass
class Draft:
    """A record that passed all checks except those of the database, which run when it is stored."""

    kind: EntityType
    caller: Caller
    record: Record
    headers: dict[str, str] = field(default_factory=dict)


def body_of(request: Request) -> dict[str, Any]:
    """The attributes that were sent; none if the content type is neither JSON nor a form."""
    content_type = request.header("Content-Type").partition(";")[0].strip()
    if content_type == "application/x-www-form-urlencoded":
        return dict(urllib.parse.parse_qsl(request.body.decode("latin-1")))
    if content_type != "application/json" or not request.body:
        return {}
    try:
        data = json.loads(request.body)
        json.dumps(data, ensure_ascii=False).encode()  # a lone surrogate is no text
    except (UnicodeError, ValueError):
        raise crashed() from None
    if not isinstance(data, dict | list):
        raise EspoError(400, "Body is not a JSON object.")
    return data if isinstance(data, dict) else {}


class RecordService:
    """The record service."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.views = Views(database)
        self.hooks = Hooks(database)
        self.search_lag = 0.0
        """Seconds for which lists do not show a record that was just created; it can be read by its id."""

    def prepare(self, kind: EntityType, caller: Caller, request: Request) -> Draft:
        """Run the checks of a create that EspoCRM makes before it uses the database."""
        data = body_of(request)
        if caller.level(kind.name, "create") == "no":
            raise EspoError(403, "No create access.")
        values = reconciled(self._accept(kind, caller, data), {})
        skip = request.header("X-Skip-Duplicate-Check") == "true" or data.get("_skipDuplicateCheck") is True
        return self.draft(kind, caller, values, skip_duplicate_check=skip)

    def draft(self, kind: EntityType, caller: Caller, values: Record, *, skip_duplicate_check: bool) -> Draft:
        """A record with cleaned values that passed the checks."""
        self._validate(kind, values, kind.fields, creating=True)
        self.hooks.before_create(kind, caller, values)
        self._check_links(kind, caller, values)
        if not skip_duplicate_check and (found := self.duplicates(kind, caller, values)):
            shown = [self.views.row(kind, record, caller) for record in found[:DUPLICATES_SHOWN]]
            raise EspoError(409, "duplicate", shown)
        self.hooks.before_save(kind, values)
        return self.trusted(kind, caller, values)

    def trusted(self, kind: EntityType, caller: Caller, values: Record) -> Draft:
        """A record that is built without checks."""
        return Draft(kind, caller, self._complete(kind, caller, values))

    def store(self, draft: Draft) -> Response:
        """Write a draft. The database may still refuse it, which EspoCRM reports as an empty 500."""
        self._check_database(draft.kind, {}, draft.record)
        self.database.table(draft.kind.name).insert(draft.record)
        self.hooks.after_create(draft.kind, draft.caller, draft.record)
        return success(self.views.created(draft.kind, draft.record, draft.caller), draft.headers)

    def update(self, kind: EntityType, caller: Caller, id_: str, request: Request) -> Response:
        """Change the attributes that were sent, with `PUT` as with `PATCH`, without a check for duplicates."""
        if caller.level(kind.name, "edit") == "no":
            raise EspoError(403, "No edit access.")
        record = self.database.table(kind.name).get(id_)
        if record is None:
            raise EspoError(404, f"Record {id_} not found.")
        if not caller.may(kind.name, "edit", record):
            raise EspoError(403, "No edit access.")
        values = reconciled(self._accept(kind, caller, body_of(request)), record)
        sent = {name: kind.fields[name] for name in kind.fields if _is_sent(name, kind.fields[name], values)}
        self._validate(kind, values, sent, creating=False)
        self._check_links(kind, caller, values)
        self.hooks.before_save(kind, {**record, **values})
        return success(self.apply(kind, caller, record, values))

    def apply(self, kind: EntityType, caller: Caller, record: Record, values: Record) -> Record:
        """Change a stored record and show it as the answer to that change."""
        before = self.views.one(kind, record, caller)
        changes = {name: value for name, value in values.items() if record.get(name) != value}
        if changes:
            self._check_database(kind, record, changes)
            stamp = {"modifiedAt": self.database.now(), "modifiedById": caller.id}
            self.hooks.before_update(kind, changes)
            self.database.table(kind.name).change(record, {**changes, **stamp})
            self.hooks.after_update(kind, caller, record, changes)
        after = self.views.one(kind, record, caller)
        return {**after, **{name: before[name] for name in FROM_OTHER_TABLES if name in before}}

    def read(self, kind: EntityType, caller: Caller, id_: str) -> Response:
        """One record; only an administrator sees a deleted one."""
        if caller.level(kind.name, "read") == "no":
            raise EspoError(403, "No read access.")
        record = self.database.table(kind.name).get(id_, deleted=caller.admin)
        if record is None:
            raise EspoError(404, f"Record {id_} does not exist.")
        if not caller.may(kind.name, "read", record):
            raise EspoError(403, "No 'read' access.")
        return success(self.views.one(kind, record, caller))

    def delete(self, kind: EntityType, caller: Caller, id_: str) -> Response:
        """Mark a record as deleted. It stays in the database, and its unique keys stay taken."""
        if caller.level(kind.name, "delete") == "no":
            raise EspoError(403, "No delete access.")
        table = self.database.table(kind.name)
        record = table.get(id_)
        if record is None:
            raise EspoError(404, f"Record {id_} not found.")
        if not caller.may(kind.name, "delete", record):
            raise EspoError(403, "No delete access.")
        table.change(record, {"deleted": True, "modifiedAt": self.database.now(), "modifiedById": caller.id})
        return success(True)

    def find(self, kind: EntityType, caller: Caller, request: Request) -> Response:
        """The records that match the query, as far as the caller may read them."""
        if caller.level(kind.name, "read") == "no":
            raise EspoError(403, "No read access.")
        search = parse_search(request.query)
        check_where(kind, search.where, caller.hidden(kind.name, "read"))
        found = [record for record in self._candidates(kind, search) if self._wanted(kind, caller, search, record)]
        return self.page(kind, caller, search, found, no_total=request.header("X-No-Total") == "true")

    def page(
        self, kind: EntityType, caller: Caller, search: Search, found: list[Record], *, no_total: bool = False
    ) -> Response:
        """The requested page of the found records, sorted."""
        by = search.order_by or kind.order_by
        if not kind.knows(by) and by not in ("id", "number"):
            raise EspoError(400, f"Order by non-existing field '{by}'.")
        descending = search.order == "desc" if search.order else kind.descending
        found.sort(key=lambda record: (_sort_key(record.get(by)), record["id"]), reverse=descending)
        end = search.offset + search.max_size
        rows = [self.views.row(kind, record, caller, search.select) for record in found[search.offset : end]]
        # Without a count, EspoCRM still reports whether there is another page (-1) or not (-2).
        total = (-1 if len(found) > end else -2) if no_total else len(found)
        return success({"total": total, "list": rows})

    def duplicates(self, kind: EntityType, caller: Caller, values: Record) -> list[Record]:
        """Records with equal values in the configured fields, oldest first, if the caller may read them."""
        table = self.database.table(kind.name)
        found: dict[str, Record] = {}
        for attribute in kind.duplicate_check:
            key = index_key(values, attribute)
            found |= {record["id"]: record for record in (table.find(attribute, key) if key else ())}
        return [found[id_] for id_ in sorted(found) if caller.may(kind.name, "read", found[id_])]

    def _accept(self, kind: EntityType, caller: Caller, data: dict[str, Any]) -> Record:
        """Clean the attributes that the caller may write; drop all others silently."""
        hidden = caller.hidden(kind.name, "edit")
        international = self.database.settings["phoneNumberInternational"]
        return {
            attribute: clean(
                _definition(kind.fields[name], name, attribute), data[attribute], international_phones=international
            )
            for attribute, name in kind.input_attributes().items()
            if attribute in data and name not in hidden
        }

    def _validate(self, kind: EntityType, values: Record, fields: dict[str, FieldDef], *, creating: bool) -> None:
        international = self.database.settings["phoneNumberInternational"]
        for name, definition in fields.items():
            if definition.get("required") and self._missing(name, definition, values, creating):
                raise invalid(kind.name, name, "required")
            if definition["type"] == "linkParent" and not self._parent_type_known(definition, values, name):
                raise invalid(kind.name, name, "valid")
            for value in _checked(name, values):
                if rule := flaw(definition, value, international_phones=international):
                    raise invalid(kind.name, name, rule)

    @staticmethod
    def _missing(name: str, definition: FieldDef, values: Record, creating: bool) -> bool:
        """A required name must have been sent, but may be empty: a lead with `lastName: ""` passes."""
        if definition["type"] == "personName":
            parts = (*_NAME_PARTS, *definition.get("dependeeAttributeList", ()))
            return creating and not any(part in values for part in parts)
        return values.get(attributes_of(name, definition["type"])[0]) is None

    def _parent_type_known(self, definition: FieldDef, values: Record, name: str) -> bool:
        type_ = values.get(f"{name}Type")
        return type_ is None or type_ in definition.get("entityList", self.database.types)

    def _check_links(self, kind: EntityType, caller: Caller, values: Record) -> None:
        assigned = values.get("assignedUserId")
        if assigned and assigned != caller.id and not caller.may_assign():
            raise EspoError(403, "Assignment failure: assigned user or team not allowed.")
        for name, definition in kind.fields.items():
            if definition["type"] in ("link", "linkParent") and (id_ := values.get(f"{name}Id")):
                entity = definition.get("entity") or values.get(f"{name}Type")
                self._check_link(kind, caller, name, str(entity), id_)

    def _check_link(self, kind: EntityType, caller: Caller, link: str, entity: str, id_: str) -> None:
        record = self.database.table(entity).get(id_)
        if record is None:
            raise EspoError(
                403,
                f"Can't relate with non-existing record. entity type: {kind.name}, link: {link}.",
                translated("cannotRelateNonExisting", {"foreignEntityType": entity}),
            )
        if id_ != caller.id and not caller.may(entity, "read", record):
            raise EspoError(
                403,
                f"No foreign record access for link operation ({kind.name}:{link}).",
                translated("cannotRelateForbidden", {"foreignEntityType": entity, "action": "read"}),
            )

    def _complete(self, kind: EntityType, caller: Caller, values: Record) -> Record:
        """Add the id, the defaults and the stamps."""
        defaults: Record = {}
        for name, definition in kind.fields.items():
            if definition["type"] == "bool" and not definition.get("readOnly"):
                defaults[name] = bool(definition.get("default", False))
            elif "default" in definition:
                defaults[name] = definition["default"] or None
        now = self.database.now()
        stamps = {"createdAt": now, "modifiedAt": now}
        record: Record = {"id": self.database.new_id(), "deleted": False, **defaults, **values, **stamps}
        if "createdBy" in kind.fields:
            record.setdefault("createdById", caller.id)
        if kind.stream:
            assigned = record.get("assignedUserId")
            record |= {"streamUpdatedAt": now, "followersIds": [assigned] if assigned else []}
        self.hooks.complete(kind, record)
        return record

    def _check_database(self, kind: EntityType, record: Record, changes: Record) -> None:
        too_long = any(isinstance(text, str) and len(text.encode()) > MEDIUMTEXT_BYTES for text in changes.values())
        if too_long or self.database.unique_clash(kind.name, record, changes):
            raise crashed()

    def _candidates(self, kind: EntityType, search: Search) -> Iterable[Record]:
        """A superset of the matches: found by an index if a condition allows that, else the whole table."""
        table: Table = self.database.table(kind.name)
        for item in search.where:
            attribute = item.get("attribute", "")
            if attribute != "id" and kind.fields.get(attribute, {}).get("type") not in ("varchar", "email"):
                continue
            if item["type"] in ("equals", "in"):
                keys = dict.fromkeys(fold(value) for value in values_in(item.get("value", "")))
                return [record for key in keys for record in table.find(attribute, key)]
        return table

    def _is_listed(self, record: Record) -> bool:
        return not self.search_lag or created_at(record) <= self.database.clock() - self.search_lag

    def _wanted(self, kind: EntityType, caller: Caller, search: Search, record: Record) -> bool:
        def get(one: Record, attribute: str) -> Any:
            if attribute in ADDRESSES and one.get(f"{attribute}Data"):
                return values_of(one, attribute)
            return self.views.value(kind, one, attribute, caller)

        return (
            caller.may(kind.name, "read", record)
            and self._is_listed(record)
            and matches(record, search.where, get, self.database.clock())
            and (search.text is None or _has_text(record, search.text))
            and (search.primary_filter != "activeApi" or (record["isActive"] and record["type"] == "api"))
        )


def _definition(definition: FieldDef, name: str, attribute: str) -> FieldDef:
    """Field definition by which an attribute is cleaned; ids, types and currencies beside a value stay unchanged."""
    return definition if attribute == name else {"type": "reference"}


def _checked(name: str, values: Record) -> list[Any]:
    """The values of a field that were sent, with each row of an email or a phone."""
    rows = values.get(f"{name}Data") if name in ADDRESSES else ()
    listed = [row.get(name) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return ([values[name]] if name in values else []) + listed


def _is_sent(name: str, definition: FieldDef, values: Record) -> bool:
    return any(attribute in values for attribute in attributes_of(name, definition["type"]))


def _sort_key(value: Any) -> tuple[int, Any]:
    """Sort key: null first, then numbers, then text as the database compares it."""
    if value is None:
        return 0, ""
    return (1, value) if isinstance(value, int | float) else (2, fold(value))


def _has_text(record: Record, text: str) -> bool:
    searched = (record.get(name) for name in (*_NAME_PARTS, "name", "accountName", "emailAddress"))
    return any(fold(value).startswith(fold(text)) for value in searched if value)

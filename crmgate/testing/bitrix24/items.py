"""`crm.item.*`: dispatches requests by type (lead, contact, deal), and answers those for contacts and deals.

Vendor's pages: https://apidocs.bitrix24.com/api-reference/crm/universal/
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from crmgate.testing.bitrix24 import leads, query
from crmgate.testing.bitrix24.fields import FM_FIELD, describe_standard, describe_user_field
from crmgate.testing.bitrix24.multifields import MULTIFIELD_LABELS, MULTIFIELDS, rows_of
from crmgate.testing.bitrix24.portal import Method, Methods, Portal
from crmgate.testing.bitrix24.shelves import CONTACT, DEAL, FIELDS, Record, Shelf
from crmgate.testing.bitrix24.wire import Params, Reply, VendorError, flatten, integer, mapping, required, yes

METHODS = Methods()


def _add(portal: Portal, shelf: Shelf, params: Params) -> Reply:
    fields, names = required(params, "fields"), _names(portal, shelf, params)
    portal.must_write("ADD")
    portal.must_have_room()
    return _saved(portal, shelf, fields, names)


def _update(portal: Portal, shelf: Shelf, params: Params) -> Reply:
    fields, names = required(params, "fields"), _names(portal, shelf, params)
    number = _existing(shelf, params)
    portal.must_write("UPDATE")
    return _saved(portal, shelf, fields, names, number)


def _saved(portal: Portal, shelf: Shelf, fields: Params, names: Mapping[str, str], number: int = 0) -> Reply:
    known = {names[name]: value for name, value in fields.items() if name in names}
    written = {n: v for n, v in known.items() if n not in shelf.fields or not shelf.fields[n].read_only}
    record = shelf.save(written, rows_of(fields.get("fm")), portal.rules(shelf), number)
    return Reply({"item": _item(record, names, shelf)})


def _get(portal: Portal, shelf: Shelf, params: Params) -> Reply:
    number = _existing(shelf, params)
    portal.must_read()
    return Reply({"item": _item(shelf.records[number], _names(portal, shelf, params), shelf)})


def _list(portal: Portal, shelf: Shelf, params: Params) -> Reply:
    names = _names(portal, shelf, params)
    getters = {name: query.getter(stored) for name, stored in names.items() if name not in portal.unfilterable}
    records = query.select(_candidates(portal, shelf, params), params, getters, strict=True)
    wanted = list(flatten(params.get("select")))
    view = partial(_chosen, names=names, shelf=shelf, wanted=wanted, bare=query.bare_rows(params))
    reply = query.page(records, params, view)
    return Reply({"items": reply.result}, reply.total, reply.next)


def _candidates(portal: Portal, shelf: Shelf, params: Params) -> list[Record]:
    if not portal.can_read:
        return []
    conditions = mapping(params, "filter")
    if "=originId" in conditions and "logic" not in conditions:
        wanted = conditions["=originId"]
        return [shelf.records[number] for number in shelf.found("originId", flatten(wanted) or [wanted])]
    return list(shelf.records.values())


def _fields(portal: Portal, shelf: Shelf, params: Params) -> Reply:
    own = portal.fields_of(shelf)
    described = {
        name: describe_user_field(own[stored]) if stored in own else describe_standard(shelf.fields[stored])
        for name, stored in _names(portal, shelf, params).items()
    }
    return Reply({"fields": described | {"fm": FM_FIELD}})


def _names(portal: Portal, shelf: Shelf, params: Params) -> dict[str, str]:
    original = yes(params.get("useOriginalUfNames")) and portal.original_uf_names
    own = {item.name if original else item.camel: item.name for item in portal.fields_of(shelf).values()}
    return {name: name for name in shelf.fields} | own


def _existing(shelf: Shelf, params: Params) -> int:
    number = integer(params.get("id"))
    if number not in shelf.records:
        raise VendorError("NOT_FOUND", "Element not found")
    return number


def _item(record: Record, names: Mapping[str, str], shelf: Shelf) -> Params:
    shown = {name: record.get(stored) for name, stored in names.items()} | {"entityTypeId": shelf.type_id}
    return shown | ({"fm": record["fm"]} if shelf.type_id == CONTACT else {})


def _chosen(record: Record, names: Mapping[str, str], shelf: Shelf, wanted: list[Any], bare: bool) -> Any:
    if bare:
        return []
    if not wanted or "*" in wanted:
        return _item(record, names, shelf)
    return {name: record.get(stored) for name, stored in names.items() if name in wanted}


_SHELF_METHODS = {"add": _add, "update": _update, "get": _get, "list": _list, "fields": _fields}


def _for_any_type(name: str, of_leads: Method) -> Method:
    """The method for the type that `entityTypeId` names."""

    def answer(portal: Portal, params: Params) -> Reply:
        type_id = integer(params.get("entityTypeId"))
        if type_id in portal.shelves:
            return _SHELF_METHODS[name](portal, portal.shelves[type_id], params)
        return of_leads(portal, params)

    return answer


METHODS |= {f"crm.item.{name}": _for_any_type(name, method) for name, method in leads.ITEM_METHODS.items()}


# crm.contact.*: the old API, which alone filters by phone and email.


@METHODS.named("crm.contact.fields")
def contact_fields(portal: Portal, params: Params) -> Reply:
    del portal, params
    multifields = {kind: FM_FIELD | {"title": MULTIFIELD_LABELS.get(kind, kind)} for kind in MULTIFIELDS}
    return Reply({item.upper: describe_standard(item) for item in FIELDS[CONTACT].values()} | multifields)


@METHODS.named("crm.contact.list")
def contact_list(portal: Portal, params: Params) -> Reply:
    """Ids, phones and emails, by ids and by exact phones and emails. Other filters are not simulated."""
    getters: dict[str, query.Getter] = {"ID": query.getter("id")}
    getters |= {kind: partial(leads.multifield_values, kind) for kind in MULTIFIELDS}
    contacts = query.select(portal.contacts.values() if portal.can_read else (), params, getters, strict=False)
    kinds = [kind for kind in MULTIFIELDS if kind in flatten(params.get("select"))]
    return query.page(contacts, params, partial(leads.old_item, names={"ID": "id"}, kinds=kinds))


@METHODS.named("crm.category.list")
def categories(portal: Portal, params: Params) -> Reply:
    if integer(params.get("entityTypeId")) != DEAL:
        raise VendorError("ENTITY_TYPE_NOT_SUPPORTED", "Entity type is not supported")
    rows = [
        {"id": number, "name": name, "sort": 100 * (number + 1), "entityTypeId": DEAL, "isDefault": _flag(number == 0)}
        for number, name in portal.categories.items()
    ]
    return Reply({"categories": rows}, total=len(rows))


def _flag(value: bool) -> str:
    return "Y" if value else "N"

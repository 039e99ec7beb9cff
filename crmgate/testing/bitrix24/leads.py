"""The REST methods of Bitrix24 for leads: `crm.item.*`, and the older `crm.lead.*`.

Vendor's pages: https://apidocs.bitrix24.com/api-reference/crm/universal/ and .../crm/leads/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from crmgate.testing.bitrix24 import query
from crmgate.testing.bitrix24.fields import BY_OLD_NAME, FM_FIELD, STANDARD, describe_standard, describe_user_field
from crmgate.testing.bitrix24.multifields import MULTIFIELD_LABELS, MULTIFIELDS, Row, rows_of
from crmgate.testing.bitrix24.portal import Lead, Method, Methods, Portal
from crmgate.testing.bitrix24.wire import Params, Reply, VendorError, flatten, integer, mapping, required, yes

METHODS = Methods()
ITEM_METHODS: dict[str, Method] = {}
"""Functions of `crm.item.*` for leads, by the last part of the method's name."""

# crm.item.*: the universal API


def _of_leads(name: str) -> Callable[[Method], Method]:
    def register(method: Method) -> Method:
        ITEM_METHODS[name] = method
        return method

    return register


def _item_names(portal: Portal, params: Params) -> dict[str, str]:
    """The names of a lead's fields in this request -> the names they are stored under."""
    original = yes(params.get("useOriginalUfNames")) and portal.original_uf_names
    own = {item.name if original else item.camel: item.name for item in portal.user_fields.values()}
    return {name: name for name in STANDARD} | own


def _leads_only(params: Params) -> None:
    if integer(params.get("entityTypeId")) != 1:
        raise VendorError("NOT_FOUND", "SPA not found")


def _written(fields: Params, names: Mapping[str, str]) -> dict[str, Any]:
    """The fields that a write changes, without unknown ones and those that only the portal may write."""
    known = {names[name]: value for name, value in fields.items() if name in names}
    return {name: value for name, value in known.items() if name not in STANDARD or not STANDARD[name].read_only}


def _item(lead: Lead, names: Mapping[str, str]) -> Params:
    return {name: lead.get(stored) for name, stored in names.items()} | {"fm": lead["fm"], "entityTypeId": 1}


def _existing(portal: Portal, params: Params) -> int:
    """The id of the lead in a request. An id that is not a number is treated like that of a deleted lead."""
    lead_id = integer(params.get("id"))
    if lead_id not in portal.leads:
        raise VendorError("NOT_FOUND", "Element not found")
    return lead_id


@_of_leads("add")
def item_add(portal: Portal, params: Params) -> Reply:
    _leads_only(params)
    fields, names = required(params, "fields"), _item_names(portal, params)
    portal.must_write("ADD")
    lead = portal.save_lead(_written(fields, names), rows_of(fields.get("fm")))
    return Reply({"item": _item(lead, names)})


@_of_leads("update")
def item_update(portal: Portal, params: Params) -> Reply:
    _leads_only(params)
    fields, names = required(params, "fields"), _item_names(portal, params)
    lead_id = _existing(portal, params)
    portal.must_write("UPDATE")
    lead = portal.save_lead(_written(fields, names), rows_of(fields.get("fm")), lead_id)
    return Reply({"item": _item(lead, names)})


@_of_leads("get")
def item_get(portal: Portal, params: Params) -> Reply:
    _leads_only(params)
    lead_id = _existing(portal, params)
    portal.must_read()
    return Reply({"item": _item(portal.leads[lead_id], _item_names(portal, params))})


@_of_leads("list")
def item_list(portal: Portal, params: Params) -> Reply:
    _leads_only(params)
    names = _item_names(portal, params)
    getters = {name: query.getter(stored) for name, stored in names.items() if name not in portal.unfilterable}
    leads = query.select(_candidates(portal, params, "originId"), params, getters, strict=True)
    wanted = list(flatten(params.get("select")))
    view = partial(_chosen_item, names=names, wanted=wanted, bare=query.bare_rows(params))
    reply = query.page(leads, params, view)
    return Reply({"items": reply.result}, reply.total, reply.next)


def _chosen_item(lead: Lead, names: Mapping[str, str], wanted: list[Any], bare: bool) -> Any:
    if bare:
        return []
    # `fm` cannot be selected by name: the documentation asks for "*".
    if not wanted or "*" in wanted:
        return _item(lead, names)
    return {name: lead.get(stored) for name, stored in names.items() if name in wanted}


def _candidates(portal: Portal, params: Params, *indexed: str) -> list[Lead]:
    """Candidates for a filter: found by an index if it names an indexed field, else all leads."""
    if not portal.can_read:
        return []
    conditions = mapping(params, "filter")
    for key, wanted in conditions.items():
        operator, name = query.split_key(key)
        usable = operator in {"=", "@"} and "logic" not in conditions
        kind = {"ORIGIN_ID": "originId"}.get(name, name)
        if usable and name in indexed:
            return [portal.leads[lead_id] for lead_id in portal.leads_with(kind, flatten(wanted) or [wanted])]
    return [lead for lead_id, lead in portal.leads.items() if portal.is_listed(lead_id)]


@_of_leads("fields")
def item_fields(portal: Portal, params: Params) -> Reply:
    _leads_only(params)
    described = _described(portal, _item_names(portal, params))
    return Reply({"fields": described | {"fm": FM_FIELD}})


def _described(portal: Portal, names: Mapping[str, str]) -> dict[str, Params]:
    own = portal.user_fields
    return {
        name: describe_user_field(own[stored]) if stored in own else describe_standard(STANDARD[stored])
        for name, stored in names.items()
    }


# crm.lead.*: the old API, deprecated and still working. Names in capitals, ids as text, empty error codes.


def _old_names(portal: Portal) -> dict[str, str]:
    return {name: item.name for name, item in BY_OLD_NAME.items()} | {name: name for name in portal.user_fields}


def _old_lead(portal: Portal, params: Params, missing: str = "Not found") -> int:
    lead_id = integer(params.get("id", params.get("ID")))
    if lead_id <= 0:
        raise VendorError("", "ID is not defined or invalid.")
    if lead_id not in portal.leads:
        raise VendorError("", missing)
    return lead_id


def _old_rows(fields: Params) -> list[Row]:
    return [
        {"id": row.get("ID"), "typeId": kind, "valueType": row.get("VALUE_TYPE"), "value": row.get("VALUE")}
        for kind in MULTIFIELDS
        for row in flatten(fields.get(kind))
        if isinstance(row, dict)
    ]


def _old_value(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _old_multifield(lead: Lead, kind: str) -> list[Params]:
    return [
        {"ID": str(row["id"]), "VALUE_TYPE": row["valueType"], "VALUE": row["value"], "TYPE_ID": kind}
        for row in lead["fm"]
        if row["typeId"] == kind
    ]


def old_item(lead: Lead, names: Mapping[str, str], kinds: Iterable[str]) -> Params:
    """A lead or contact in the methods `crm.lead.*` and `crm.contact.*`, with its values of `kinds` (PHONE, EMAIL)."""
    values = {name: _old_value(lead.get(stored)) for name, stored in names.items()}
    return values | {kind: rows for kind in kinds if (rows := _old_multifield(lead, kind))}


@METHODS.named("crm.lead.add")
def lead_add(portal: Portal, params: Params) -> Reply:
    portal.must_not_be_denied("")
    fields = mapping(params, "fields")
    return Reply(portal.save_lead(_written(fields, _old_names(portal)), _old_rows(fields))["id"])


@METHODS.named("crm.lead.update")
def lead_update(portal: Portal, params: Params) -> Reply:
    lead_id = _old_lead(portal, params, "Lead is not found")
    portal.must_not_be_denied("")
    fields = mapping(params, "fields")
    portal.save_lead(_written(fields, _old_names(portal)), _old_rows(fields), lead_id)
    return Reply(True)


@METHODS.named("crm.lead.get")
def lead_get(portal: Portal, params: Params) -> Reply:
    lead_id = _old_lead(portal, params)
    if portal.access_denied or not portal.can_read:
        raise VendorError("", "Access denied.")
    return Reply(old_item(portal.leads[lead_id], _old_names(portal), MULTIFIELDS))


@METHODS.named("crm.lead.list")
def lead_list(portal: Portal, params: Params) -> Reply:
    names = _old_names(portal)
    getters: dict[str, query.Getter] = {name: query.getter(stored) for name, stored in names.items()}
    getters |= {kind: partial(multifield_values, kind) for kind in MULTIFIELDS}
    # Open in the documentation: an unknown filter field. The fake ignores it, the worst case: it returns all leads.
    leads = query.select(_candidates(portal, params, "ORIGIN_ID", "PHONE", "EMAIL"), params, getters, strict=False)
    return query.page(leads, params, partial(_old_chosen, names=names, wanted=list(flatten(params.get("select")))))


def multifield_values(kind: str, lead: Lead) -> list[str]:
    """The phones or emails of a lead or contact."""
    return [row["value"] for row in lead["fm"] if row["typeId"] == kind]


def _old_chosen(lead: Lead, names: Mapping[str, str], wanted: list[Any]) -> Params:
    """`*` stands for the standard fields, `UF_*` for the user fields; multifields only by name."""
    masks = {"*": STANDARD.keys(), "UF_*": names.keys() - BY_OLD_NAME.keys()}
    stored = set().union(*(masks.get(name, ()) for name in wanted or ["*"]))
    shown = {name: inner for name, inner in names.items() if name in wanted or inner in stored}
    return old_item(lead, shown, [kind for kind in MULTIFIELDS if kind in wanted])


@METHODS.named("crm.lead.fields")
def lead_fields(portal: Portal, params: Params) -> Reply:
    multifields = {kind: FM_FIELD | {"title": MULTIFIELD_LABELS.get(kind, kind)} for kind in MULTIFIELDS}
    return Reply(_described(portal, _old_names(portal)) | multifields)

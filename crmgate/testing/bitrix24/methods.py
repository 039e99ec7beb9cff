"""The REST methods of Bitrix24 beside those for records: portal, user fields, duplicates, timeline.

Vendor's pages: https://apidocs.bitrix24.com/api-reference/crm/ under leads/userfield, duplicates, timeline/comments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from crmgate.testing.bitrix24 import query
from crmgate.testing.bitrix24.fields import STAGES, USER_TYPES, UserField, full_name, user_field_row
from crmgate.testing.bitrix24.phones import comparable
from crmgate.testing.bitrix24.portal import Comment, Methods, Portal
from crmgate.testing.bitrix24.shelves import CONTACT, semantics_of, stages_of
from crmgate.testing.bitrix24.wire import Params, Reply, VendorError, flatten, integer, mapping, required, text, yes

METHODS = Methods()
MOST_FOUND = 20
"""Maximum number of values in a search for duplicates, and of records that it shows for each."""
_OWNERS = ("lead", "deal", "contact")
AddField = Callable[..., UserField]

# The portal itself


@METHODS.named("profile")
def profile(portal: Portal, params: Params) -> Reply:
    return Reply({"ID": str(portal.user_id), "ADMIN": portal.admin, "NAME": "Anna", "LAST_NAME": "Portal"})


@METHODS.named("user.get")
def users(portal: Portal, params: Params) -> Reply:
    rows: list[Params] = [{"ID": str(number), "ACTIVE": active} for number, active in portal.users.items()]
    return query.page(_chosen(rows, params), params, dict)


@METHODS.named("crm.settings.mode.get")
def mode(portal: Portal, params: Params) -> Reply:
    return Reply(2 if portal.simple_mode else 1)


@METHODS.named("crm.status.list")
def statuses(portal: Portal, params: Params) -> Reply:
    rows = [*_status_rows("STATUS", STAGES, 1), *_status_rows("SOURCE", portal.sources, 101)]
    for category in portal.categories:
        entity = f"DEAL_STAGE_{category}" if category else "DEAL_STAGE"
        rows += _status_rows(entity, stages_of(category), 301 + 100 * category)
    return query.page(_chosen(rows, params), params, dict)


_SEMANTICS = {"S": "S", "F": "F"}


def _status_rows(entity: str, names: Mapping[str, str], first_id: int) -> Iterable[Params]:
    for position, (code, name) in enumerate(names.items()):
        yield {
            "ID": str(first_id + 2 * position),
            "ENTITY_ID": entity,
            "STATUS_ID": code,
            "NAME": name,
            "NAME_INIT": name,
            "SORT": str(10 * (position + 1)),
            "SYSTEM": "Y",
            "CATEGORY_ID": None,
            "SEMANTICS": _SEMANTICS.get(semantics_of(code)) if entity.startswith("DEAL_STAGE") else None,
        }


def _chosen(rows: Iterable[Params], params: Params) -> list[Params]:
    """Filter and order for lists whose rows are their own fields; unknown names are ignored there."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return query.select(rows, params, {name: query.getter(name) for name in names}, strict=False)


# User fields


@METHODS.named("crm.lead.userfield.list")
def user_fields(portal: Portal, params: Params) -> Reply:
    return _field_list(portal.user_fields, params, "CRM_LEAD")


@METHODS.named("crm.deal.userfield.list")
def deal_fields(portal: Portal, params: Params) -> Reply:
    return _field_list(portal.deal_fields, params, "CRM_DEAL")


def _field_list(fields: Mapping[str, UserField], params: Params, entity: str) -> Reply:
    conditions = mapping(params, "filter")
    rows = [user_field_row(item, "LANG" in conditions) | {"ENTITY_ID": entity} for item in fields.values()]
    order = mapping(params, "order") or {"SORT": "ASC", "ID": "ASC"}
    return query.page(_chosen(rows, params | {"order": order}), params, dict)


@METHODS.named("crm.lead.userfield.add")
def user_field_add(portal: Portal, params: Params) -> Reply:
    return _add_field(portal, params, portal.user_fields, "CRM_LEAD", portal.add_user_field)


@METHODS.named("crm.deal.userfield.add")
def deal_field_add(portal: Portal, params: Params) -> Reply:
    return _add_field(portal, params, portal.deal_fields, "CRM_DEAL", portal.add_deal_field)


def _add_field(portal: Portal, params: Params, known: Mapping[str, UserField], entity: str, add: AddField) -> Reply:
    if not portal.admin:
        raise VendorError("", "Access denied.")
    fields = required(params, "fields")
    for name in ("USER_TYPE_ID", "FIELD_NAME"):
        if not text(fields.get(name)):
            raise VendorError("", f"The '{name}' field is not found.")
    if fields["USER_TYPE_ID"] not in USER_TYPES:
        raise VendorError("ERROR_CORE", "An invalid user type is specified.<br>")
    name = full_name(str(fields["FIELD_NAME"]))
    if name in known:
        # The result of adding an existing field is not documented. A client must be prepared for an error.
        raise VendorError("ERROR_CORE", f"The field {name} for the object {entity} already exists.<br>")
    return Reply(_new_user_field(add, name, fields).id)


def _new_user_field(add: AddField, name: str, fields: Params) -> UserField:
    options = [row for row in flatten(fields.get("LIST")) if isinstance(row, dict) and text(row.get("VALUE"))]
    codes = [text(row.get("XML_ID")) for row in options]
    if twice := next((code for code in codes if code and codes.count(code) > 1), ""):
        raise VendorError("ERROR_CORE", f"The list item with the value XML_ID={twice} already exists.<br>")
    item = add(
        name,
        fields["USER_TYPE_ID"],
        [str(row["VALUE"]) for row in options],
        label=text(fields.get("LABEL")) or name,
        xml_id=fields.get("XML_ID"),
        sort=integer(fields.get("SORT")) or 100,
        multiple=yes(fields.get("MULTIPLE")),
        mandatory=yes(fields.get("MANDATORY")),
        show_filter=yes(fields.get("SHOW_FILTER")),
    )
    item.option_xml_ids = dict(zip(item.options, codes, strict=True))
    return item


# Duplicates and the timeline


@METHODS.named("crm.duplicate.findbycomm")
def find_by_comm(portal: Portal, params: Params) -> Reply:
    kind, values = text(params.get("type")), list(flatten(params.get("values")))
    if not kind:
        raise VendorError("Communication type is not defined", "Parameter 'type' is required.")
    if kind not in {"PHONE", "EMAIL"}:
        raise VendorError(f"Communication type '{kind}' is not supported in current context", "")
    if not values:
        raise VendorError("Communication values is not defined", "Parameter 'values' is required.")
    if not portal.can_read:
        raise VendorError("", "Access denied.")
    asked = text(params.get("entity_type")).upper()
    found = {entity: _oldest(search, kind, values) for entity, search in _searches(portal).items()}
    shown = {entity: ids for entity, ids in found.items() if ids and asked in ("", entity)}
    return Reply(shown or [])


def _searches(portal: Portal) -> dict[str, Callable[[str, list[str]], list[int]]]:
    return {"LEAD": portal.leads_with, "CONTACT": portal.shelves[CONTACT].found}


def _oldest(search: Callable[[str, list[str]], list[int]], kind: str, values: list[Any]) -> list[int]:
    """The 20 oldest records for each of the first 20 values. The answer does not mention that there are more."""
    forms = [comparable(kind, value) for value in values[:MOST_FOUND]]
    found = (search(f"{kind}=", [form])[:MOST_FOUND] for form in forms if form)
    return sorted({number for numbers in found for number in numbers})


@METHODS.named("crm.timeline.comment.add")
def comment_add(portal: Portal, params: Params) -> Reply:
    fields = required(params, "fields")
    if missing := [name for name in ("ENTITY_ID", "ENTITY_TYPE", "COMMENT") if name not in fields]:
        raise VendorError("100", f"Required fields: {', '.join(missing)}")
    entity, lead_id = text(fields["ENTITY_TYPE"]).lower(), integer(fields["ENTITY_ID"])
    if entity not in _OWNERS or lead_id <= 0:
        raise VendorError("OWNER_NOT_FOUND", "Owner was not found")
    if not portal.holds(entity, lead_id):
        _comment_on_nothing(portal)
    portal.must_not_be_denied()
    if lead_id in portal.locked_timelines:
        raise VendorError("ACCESS_DENIED", "Access denied.")
    if not re.search(r"\S", text(fields["COMMENT"])):
        raise VendorError("INVALID_ARG_VALUE", "Empty comment")
    return Reply(integer(portal.add_comment(lead_id, str(fields["COMMENT"]), entity)["ID"]))


def _comment_on_nothing(portal: Portal) -> None:
    """Comment on a deleted record: the portal checks only rights, so an administrator's comment succeeds."""
    if not portal.admin:
        raise VendorError("ACCESS_DENIED", "Access denied.")


def _comment_row(comment: Comment, wanted: list[Any]) -> Params:
    return {name: value for name, value in (comment | {"FILES": {}}).items() if not wanted or name in wanted}


@METHODS.named("crm.timeline.comment.list")
def comment_list(portal: Portal, params: Params) -> Reply:
    if not portal.can_read:
        raise VendorError("", "Access denied.")
    conditions = mapping(params, "filter")
    if not {"ENTITY_ID", "ENTITY_TYPE"} <= conditions.keys():
        # Both are documented as required, the error is not.
        raise VendorError("100", "Required filter fields: ENTITY_ID, ENTITY_TYPE")
    comments = portal.comments_of(integer(conditions["ENTITY_ID"]), text(conditions["ENTITY_TYPE"]).lower())
    getters = {name: query.getter(name) for name in ("ID", "CREATED", "AUTHOR_ID")}
    ordered = query.select(comments, {"order": mapping(params, "order")}, getters, strict=False)
    return query.page(ordered, params, partial(_comment_row, wanted=list(flatten(params.get("select")))))


@METHODS.named("crm.timeline.comment.get")
def comment_get(portal: Portal, params: Params) -> Reply:
    comment = portal.comments.get(integer(params.get("id")))
    if comment is None:
        raise VendorError("NOT_FOUND", "Not found.")
    return Reply(_comment_row(comment, []))

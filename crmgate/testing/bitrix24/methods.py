"""The REST methods of Bitrix24 that are not about leads themselves: portal, user fields, duplicates, timeline.

Vendor's pages: https://apidocs.bitrix24.com/api-reference/crm/ under leads/userfield, duplicates, timeline/comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from crmgate.testing.bitrix24 import query
from crmgate.testing.bitrix24.fields import STAGES, USER_TYPES, UserField, full_name, user_field_row
from crmgate.testing.bitrix24.portal import Comment, Methods, Portal
from crmgate.testing.bitrix24.wire import Params, Reply, VendorError, flatten, integer, mapping, required, text, yes

METHODS = Methods()

# The portal itself


@METHODS.named("profile")
def profile(portal: Portal, params: Params) -> Reply:
    return Reply({"ID": str(portal.user_id), "ADMIN": portal.admin, "NAME": "Anna", "LAST_NAME": "Portal"})


@METHODS.named("crm.settings.mode.get")
def mode(portal: Portal, params: Params) -> Reply:
    return Reply(2 if portal.simple_mode else 1)


@METHODS.named("crm.status.list")
def statuses(portal: Portal, params: Params) -> Reply:
    rows = [*_status_rows("STATUS", STAGES, 1), *_status_rows("SOURCE", portal.sources, 101)]
    return query.page(_chosen(rows, params), params, dict)


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
            "SEMANTICS": None,
        }


def _chosen(rows: Iterable[Params], params: Params) -> list[Params]:
    """Filter and order for lists whose rows are their own fields; unknown names are ignored there."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return query.select(rows, params, {name: query.getter(name) for name in names}, strict=False)


# User fields


@METHODS.named("crm.lead.userfield.list")
def user_fields(portal: Portal, params: Params) -> Reply:
    conditions = mapping(params, "filter")
    rows = [user_field_row(item, labelled="LANG" in conditions) for item in portal.user_fields.values()]
    order = mapping(params, "order") or {"SORT": "ASC", "ID": "ASC"}
    return query.page(_chosen(rows, params | {"order": order}), params, dict)


@METHODS.named("crm.lead.userfield.add")
def user_field_add(portal: Portal, params: Params) -> Reply:
    if not portal.admin:
        raise VendorError("", "Access denied.")
    fields = required(params, "fields")
    for name in ("USER_TYPE_ID", "FIELD_NAME"):
        if not text(fields.get(name)):
            raise VendorError("", f"The '{name}' field is not found.")
    if fields["USER_TYPE_ID"] not in USER_TYPES:
        raise VendorError("ERROR_CORE", "An invalid user type is specified.<br>")
    name = full_name(str(fields["FIELD_NAME"]))
    if name in portal.user_fields:
        # Adding one that exists is not documented; an error is what a client must be ready for.
        raise VendorError("ERROR_CORE", f"The field {name} for the object CRM_LEAD already exists.<br>")
    return Reply(_new_user_field(portal, name, fields).id)


def _new_user_field(portal: Portal, name: str, fields: Params) -> UserField:
    options = [row for row in flatten(fields.get("LIST")) if isinstance(row, dict) and text(row.get("VALUE"))]
    codes = [text(row.get("XML_ID")) for row in options]
    if twice := next((code for code in codes if code and codes.count(code) > 1), ""):
        raise VendorError("ERROR_CORE", f"The list item with the value XML_ID={twice} already exists.<br>")
    item = portal.add_user_field(
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
    if len(values) > 20:
        # 20 is the documented maximum; what happens beyond it is open. An error cannot be overlooked.
        raise VendorError("", "At most 20 values are allowed.")
    if not portal.can_read:
        raise VendorError("Access denied", "Access denied.", 403)
    # Only leads live here. Values match letter by letter: the number must be written as it was stored.
    wanted = params.get("entity_type") in (None, "", "LEAD")
    found = list(portal.leads_with(kind, values)) if wanted else []
    return Reply({"LEAD": found} if found else [])


@METHODS.named("crm.timeline.comment.add")
def comment_add(portal: Portal, params: Params) -> Reply:
    fields = required(params, "fields")
    if missing := [name for name in ("ENTITY_ID", "ENTITY_TYPE", "COMMENT") if name not in fields]:
        raise VendorError("100", f"Required fields: {', '.join(missing)}")
    # Of the two documented codes, a missing lead is taken for OWNER_NOT_FOUND, a type the portal lacks for NOT_FOUND.
    if text(fields["ENTITY_TYPE"]).lower() != "lead":
        raise VendorError("NOT_FOUND", "Not found.")
    lead_id = integer(fields["ENTITY_ID"])
    if lead_id not in portal.leads:
        raise VendorError("OWNER_NOT_FOUND", "Owner was not found")
    portal.must_not_be_denied()
    if lead_id in portal.locked_timelines:
        raise VendorError("ACCESS_DENIED", "Access denied.")
    if not re.search(r"\S", text(fields["COMMENT"])):
        raise VendorError("INVALID_ARG_VALUE", "Empty comment")
    return Reply(integer(portal.add_comment(lead_id, str(fields["COMMENT"]))["ID"]))


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
    ours = text(conditions["ENTITY_TYPE"]).lower() == "lead"
    comments = portal.comments_of(integer(conditions["ENTITY_ID"])) if ours else []
    getters = {name: query.getter(name) for name in ("ID", "CREATED", "AUTHOR_ID")}
    ordered = query.select(comments, {"order": mapping(params, "order")}, getters, strict=False)
    return query.page(ordered, params, partial(_comment_row, wanted=list(flatten(params.get("select")))))


@METHODS.named("crm.timeline.comment.get")
def comment_get(portal: Portal, params: Params) -> Reply:
    comment = portal.comments.get(integer(params.get("id")))
    if comment is None:
        raise VendorError("NOT_FOUND", "Not found.")
    return Reply(_comment_row(comment, []))

"""Definitions of the activity entity types of a stock EspoCRM: calls, meetings, tasks and notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmgate.testing.espocrm.metadata import EntityType, FieldDef, words
from crmgate.testing.espocrm.parts import ASSIGNMENT, READ_ONLY, TEAMS, enum, link, many, varchar

_PARENT: FieldDef = {"type": "linkParent", "entityList": ["Account", "Lead", "Contact", "Opportunity", "Case"]}


def _event(name: str, statuses: str, extra: Mapping[str, FieldDef], **created: Any) -> EntityType:
    """The entity type Call or Meeting. EspoCRM requires the user that it is assigned to (`assignedUser`)."""
    fields: dict[str, FieldDef] = {
        "name": varchar(255) | {"required": True},
        "status": enum(statuses.split(","), "Planned"),
        "dateStart": {"type": "datetime", "required": True},
        "dateEnd": {"type": "datetime"},
        **extra,
        "description": {"type": "text"},
        "parent": _PARENT,
        **ASSIGNMENT,
        "assignedUser": link("User", required=True),
        "users": many("User") | {"readOnly": True},
        "contacts": many("Contact"),
        "leads": many("Lead"),
        **READ_ONLY,
    }
    return EntityType(
        name,
        fields,
        created={
            **created,
            **TEAMS,
            **dict.fromkeys(("parentName", "accountName", "modifiedByName", "assignedUserName")),
            "reminders": [],
        },
        columns=(
            *words("id name deleted status dateStart dateEnd duration description createdAt modifiedAt"),
            *words("parentId parentType parentName createdById createdByName modifiedById modifiedByName"),
            *("assignedUserId", "assignedUserName", *extra),
        ),
        single=("usersIds", "usersNames", "contactsIds", "contactsNames", "leadsIds", "leadsNames", *TEAMS),
        selected=("dateStart", "dateEnd", "parentName", "createdById", "assignedUserId"),
        order_by="dateStart",
    )


def call() -> EntityType:
    """The entity type Call."""
    direction = {"direction": enum(("Outbound", "Inbound"), "Outbound")}
    return _event("Call", "Planned,Held,Not Held", direction, duration=300, phoneNumbersMap={})


def meeting() -> EntityType:
    """The entity type Meeting. Unlike a call, a meeting has a stream of notes."""
    meeting = _event("Meeting", "Planned,Held,Not Held", {}, duration=3600, isAllDay=False, joinUrl=None)
    meeting.stream = True
    return meeting


def task() -> EntityType:
    """The entity type Task."""
    fields: dict[str, FieldDef] = {
        "name": varchar(255) | {"required": True},
        "status": enum(("Not Started", "Started", "Completed", "Canceled", "Deferred"), "Not Started"),
        "priority": enum(("Low", "Normal", "High", "Urgent"), "Normal"),
        "dateStart": {"type": "datetime"},
        "dateEnd": {"type": "datetime"},
        "description": {"type": "text"},
        "parent": _PARENT,
        "account": link("Account", readOnly=True),
        "contact": link("Contact", readOnly=True),
        **ASSIGNMENT,
        "assignedUser": link("User", required=True),
        **READ_ONLY,
    }
    nothing = ("dateCompleted", "parentName", "accountName", "contactName", "modifiedByName", "assignedUserName")
    return EntityType(
        "Task",
        fields,
        created={
            **dict.fromkeys(nothing),
            **TEAMS,
            "isOverdue": False,
            "reminders": [],
            "attachmentsIds": [],
            "attachmentsNames": {},
            "attachmentsTypes": {},
            "versionNumber": 1,
        },
        columns=(
            *words("id name deleted status priority dateStart dateEnd dateCompleted createdAt modifiedAt"),
            *words("parentId parentType parentName createdById createdByName assignedUserId assignedUserName"),
        ),
        stream=True,
    )


def note() -> EntityType:
    """The entity type Note: an entry in the stream of a record."""
    fields: dict[str, FieldDef] = {
        "post": {"type": "text"},
        "type": {"type": "varchar"},
        "isInternal": {"type": "bool"},
        "isGlobal": {"type": "bool", "readOnly": True},
        "isPinned": {"type": "bool", "readOnly": True},
        "parent": {"type": "linkParent"},
        "related": {"type": "linkParent", "readOnly": True},
        "data": {"type": "json", "readOnly": True},
        **READ_ONLY,
    }
    nothing = ("reactionCounts", "parentName", "relatedName", "modifiedByName")
    return EntityType(
        "Note",
        fields,
        created={
            **dict.fromkeys(nothing),
            "type": "Post",
            "data": {},
            "myReactions": [],
            "attachmentsIds": [],
            "attachmentsNames": {},
            "attachmentsTypes": {},
        },
        columns=(
            *words("id deleted post data type targetType number isGlobal createdByGender isInternal isPinned"),
            *words("createdAt modifiedAt parentId parentType parentName relatedId relatedType relatedName"),
            *words("createdById createdByName modifiedById modifiedByName superParentId superParentType"),
        ),
        order_by="number",
    )

"""The entity types of a stock EspoCRM 9.2.7, as far as a gateway meets them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from crmgate.testing.espocrm_metadata import EntityType, FieldDef, words

INDUSTRIES = words(
    "Advertising,Aerospace,Agriculture,Apparel & Accessories,Architecture,Automotive,Banking,Biotechnology,"
    "Building Materials & Equipment,Chemical,Construction,Consulting,Computer,Culture,Creative,Defense,Education,"
    "Electronics,Electric Power,Energy,Entertainment & Leisure,Finance,Food & Beverage,Grocery,Healthcare,"
    "Hospitality,Insurance,Legal,Manufacturing,Mass Media,Marketing,Mining,Music,Publishing,Petroleum,Real Estate,"
    "Retail,Service,Sports,Software,Support,Shipping,Travel,Technology,Telecommunications,Television,"
    "Transportation,Venture Capital,Wholesale,Water",
    ",",
)


def _varchar(length: int, *, plain: bool = False) -> FieldDef:
    """A text of one line; `plain`: markup characters are refused."""
    return {"type": "varchar", "maxLength": length} | ({"pattern": "$noBadCharacters"} if plain else {})


def _link(entity: str, **options: Any) -> FieldDef:
    return {"type": "link", "entity": entity, **options}


def _many(entity: str) -> FieldDef:
    return {"type": "linkMultiple", "entity": entity}


def _enum(options: Iterable[str], default: str | None = None) -> FieldDef:
    return {"type": "enum", "options": list(options)} | ({} if default is None else {"default": default})


def _person_part(length: int) -> FieldDef:
    return _varchar(length, plain=True) | {"detailLayoutIncompatibleFieldList": ["name"]}


_NAME_PARTS: dict[str, FieldDef] = {
    "salutationName": {
        "type": "enum",
        "customizationOptionsReferenceDisabled": True,
        "detailLayoutIncompatibleFieldList": ["name"],
        "options": ["", "Mr.", "Ms.", "Mrs.", "Dr."],
    },
    "firstName": _person_part(100),
    "lastName": _person_part(100),
    "middleName": _person_part(100),
}
_PERSON_NAME: FieldDef = {"type": "personName", "isPersonalData": True}
_READ_ONLY: dict[str, FieldDef] = {
    "createdAt": {"type": "datetime", "readOnly": True},
    "modifiedAt": {"type": "datetime", "readOnly": True},
    "createdBy": _link("User", readOnly=True),
    "modifiedBy": _link("User", readOnly=True),
}
_ASSIGNMENT: dict[str, FieldDef] = {"assignedUser": _link("User"), "teams": _many("Team")}
_FLAGS = ("emailAddressIsOptedOut", "emailAddressIsInvalid", "phoneNumberIsOptedOut", "phoneNumberIsInvalid")
_REACHABLE: dict[str, Any] = {"targetListIsOptedOut": False, **dict.fromkeys(_FLAGS, False)}
_TEAMS: dict[str, Any] = {"teamsIds": [], "teamsNames": {}}

LEAD_STATUS: FieldDef = {
    "type": "enum",
    "options": ["New", "Assigned", "In Process", "Converted", "Recycled", "Dead"],
    "default": "New",
    "style": {"In Process": "primary", "Converted": "success", "Recycled": "info", "Dead": "info"},
    "displayAsLabel": True,
    "labelType": "state",
    "audited": True,
    "fieldManagerAdditionalParamList": [
        {"name": "notActualOptions", "view": "views/admin/field-manager/fields/not-actual-options"}
    ],
    "notActualOptions": ["Converted", "Recycled", "Dead"],
    "customizationOptionsReferenceDisabled": True,
}
LEAD_SOURCE: FieldDef = {
    "type": "enum",
    "options": [
        "", "Call", "Email", "Existing Customer", "Partner", "Public Relations", "Web Site", "Campaign", "Other",
    ],
    "customizationOptionsReferenceDisabled": True,
}  # fmt: skip


def _lead() -> EntityType:
    fields: dict[str, FieldDef] = {
        "name": _PERSON_NAME
        | {"required": True, "dependeeAttributeList": ["emailAddress", "phoneNumber", "accountName"]},
        **_NAME_PARTS,
        "title": _varchar(100, plain=True),
        "status": LEAD_STATUS,
        "source": LEAD_SOURCE,
        "industry": _enum(["", *INDUSTRIES]),
        "opportunityAmount": {"type": "currency", "min": 0},
        "website": {"type": "url", "maxLength": 255},
        "addressStreet": {"type": "text", "maxLength": 255},
        "addressCity": _varchar(100, plain=True),
        "addressState": _varchar(100, plain=True),
        "addressCountry": _varchar(100, plain=True),
        "addressPostalCode": _varchar(40, plain=True),
        "emailAddress": {"type": "email"},
        "phoneNumber": {"type": "phone"},
        "doNotCall": {"type": "bool"},
        "description": {"type": "text"},
        "convertedAt": {"type": "datetime", "readOnly": True},
        "accountName": _varchar(255, plain=True),
        **_ASSIGNMENT,
        "campaign": _link("Campaign"),
        "createdAccount": _link("Account", readOnly=True),
        "createdContact": _link("Contact", readOnly=True),
        "createdOpportunity": _link("Opportunity", readOnly=True),
        **_READ_ONLY,
    }
    links = ("assignedUser", "campaign", "createdAccount", "createdContact", "createdOpportunity")
    return EntityType(
        "Lead",
        fields,
        created={**_REACHABLE, **_TEAMS, "modifiedByName": None, **{f"{link}Name": None for link in links}},
        columns=(
            *words("id name deleted salutationName firstName lastName title status source industry opportunityAmount"),
            *words("website addressStreet addressCity addressState addressCountry addressPostalCode emailAddress"),
            *words("phoneNumber doNotCall description convertedAt createdAt modifiedAt accountName middleName"),
            *("opportunityAmountCurrency", *_FLAGS, "streamUpdatedAt", "opportunityAmountConverted"),
            *words("createdById createdByName modifiedById modifiedByName"),
            *(f"{link}{part}" for link in links for part in ("Id", "Name")),
        ),
        single=("emailAddressData", "phoneNumberData", *_TEAMS, "isFollowed", "followersIds", "followersNames"),
        stream=True,
        duplicate_check=["name", "emailAddress"],
    )


def _contact() -> EntityType:
    fields: dict[str, FieldDef] = {
        "name": _PERSON_NAME | {"required": True},
        **_NAME_PARTS,
        "emailAddress": {"type": "email"},
        "phoneNumber": {"type": "phone"},
        "doNotCall": {"type": "bool"},
        "description": {"type": "text"},
        **_ASSIGNMENT,
        "account": _link("Account"),
        "campaign": _link("Campaign"),
        **_READ_ONLY,
    }
    nothing = ("accountName", "campaignName", "modifiedByName", "assignedUserName")
    return EntityType(
        "Contact",
        fields,
        created={
            **_REACHABLE,
            **_TEAMS,
            **dict.fromkeys(nothing),
            "accountIsInactive": False,
            "hasPortalUser": False,
            "accountsIds": [],
            "accountsNames": {},
            "accountsColumns": {},
        },
        columns=(
            *words("id name deleted salutationName firstName lastName middleName emailAddress phoneNumber doNotCall"),
            *words("description accountId accountName createdAt modifiedAt createdById createdByName"),
            *words("modifiedById modifiedByName assignedUserId assignedUserName"),
        ),
        stream=True,
        duplicate_check=["name", "emailAddress"],
    )


_PARENT: FieldDef = {"type": "linkParent", "entityList": ["Account", "Lead", "Contact", "Opportunity", "Case"]}


def _event(name: str, statuses: str, extra: Mapping[str, FieldDef], **created: Any) -> EntityType:
    """A Call or a Meeting. Nobody but a user can be without one: `assignedUser` is required."""
    fields: dict[str, FieldDef] = {
        "name": _varchar(255) | {"required": True},
        "status": _enum(statuses.split(","), "Planned"),
        "dateStart": {"type": "datetime", "required": True},
        "dateEnd": {"type": "datetime"},
        **extra,
        "description": {"type": "text"},
        "parent": _PARENT,
        **_ASSIGNMENT,
        "assignedUser": _link("User", required=True),
        "users": _many("User") | {"readOnly": True},
        "contacts": _many("Contact"),
        "leads": _many("Lead"),
        **_READ_ONLY,
    }
    return EntityType(
        name,
        fields,
        created={
            **created,
            **_TEAMS,
            **dict.fromkeys(("parentName", "accountName", "modifiedByName", "assignedUserName")),
            "reminders": [],
        },
        columns=(
            *words("id name deleted status dateStart dateEnd duration description createdAt modifiedAt"),
            *words("parentId parentType parentName createdById createdByName modifiedById modifiedByName"),
            *("assignedUserId", "assignedUserName", *extra),
        ),
        single=("usersIds", "usersNames", "contactsIds", "contactsNames", "leadsIds", "leadsNames", *_TEAMS),
        selected=("dateStart", "dateEnd", "parentName", "createdById", "assignedUserId"),
        order_by="dateStart",
    )


def _call() -> EntityType:
    direction = {"direction": _enum(("Outbound", "Inbound"), "Outbound")}
    return _event("Call", "Planned,Held,Not Held", direction, duration=300, phoneNumbersMap={})


def _meeting() -> EntityType:
    meeting = _event("Meeting", "Planned,Held,Not Held", {}, duration=3600, isAllDay=False, joinUrl=None)
    meeting.stream = True
    return meeting


def _task() -> EntityType:
    fields: dict[str, FieldDef] = {
        "name": _varchar(255) | {"required": True},
        "status": _enum(("Not Started", "Started", "Completed", "Canceled", "Deferred"), "Not Started"),
        "priority": _enum(("Low", "Normal", "High", "Urgent"), "Normal"),
        "dateStart": {"type": "datetime"},
        "dateEnd": {"type": "datetime"},
        "description": {"type": "text"},
        "parent": _PARENT,
        "account": _link("Account", readOnly=True),
        "contact": _link("Contact", readOnly=True),
        **_ASSIGNMENT,
        "assignedUser": _link("User", required=True),
        **_READ_ONLY,
    }
    nothing = ("dateCompleted", "parentName", "accountName", "contactName", "modifiedByName", "assignedUserName")
    return EntityType(
        "Task",
        fields,
        created={
            **dict.fromkeys(nothing),
            **_TEAMS,
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


def _note() -> EntityType:
    fields: dict[str, FieldDef] = {
        "post": {"type": "text"},
        "type": {"type": "varchar"},
        "isInternal": {"type": "bool"},
        "isGlobal": {"type": "bool", "readOnly": True},
        "isPinned": {"type": "bool", "readOnly": True},
        "parent": {"type": "linkParent"},
        "related": {"type": "linkParent", "readOnly": True},
        "data": {"type": "json", "readOnly": True},
        **_READ_ONLY,
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


def _user() -> EntityType:
    fields: dict[str, FieldDef] = {
        "name": _PERSON_NAME,
        "userName": _varchar(50) | {"required": True},
        "type": _enum(("regular", "admin", "portal", "system", "super-admin", "api"), "regular"),
        "authMethod": _enum(("ApiKey", "Hmac")),
        "apiKey": {"type": "varchar", "readOnly": True},
        "secretKey": {"type": "varchar", "readOnly": True},
        **_NAME_PARTS,
        "isActive": {"type": "bool", "default": True},
        "title": _varchar(100),
        "emailAddress": {"type": "email"},
        "phoneNumber": {"type": "phone"},
        "roles": _many("Role"),
        "teams": _many("Team"),
        **_READ_ONLY,
    }
    hidden = ("defaultTeam", "contact", "avatar", "dashboardTemplate", "workingTimeCalendar", "layoutSet")
    nothing = ("lastAccess", "avatarId", *(f"{link}Name" for link in hidden))
    lists: dict[str, Any] = {
        **_TEAMS,
        "teamsColumns": {},
        "rolesIds": [],
        "portalsIds": [],
        "portalsNames": {},
        "portalRolesIds": [],
        "portalRolesNames": {},
        "accountsIds": [],
        "accountsNames": {},
    }
    return EntityType(
        "User",
        fields,
        created={**_REACHABLE, **dict.fromkeys(nothing), **lists},
        columns=(
            *words("id name deleted userName type authMethod apiKey secretKey salutationName firstName lastName"),
            *("isActive", "title"),
            *words("emailAddress phoneNumber avatarColor gender createdAt modifiedAt auth2FA middleName"),
            *_FLAGS,
            *words("createdById createdByName defaultTeamId defaultTeamName contactId contactName avatarId"),
            *words("avatarName dashboardTemplateId dashboardTemplateName workingTimeCalendarId layoutSetId"),
        ),
        single=(
            *("lastAccess", "emailAddressData", "phoneNumberData", *lists, "rolesNames"),
            *("workingTimeCalendarName", "layoutSetName"),
        ),
        selected=("name", "userName", "isActive", "createdById"),
        if_set=("apiKey", "secretKey"),
        order_by="userName",
        descending=False,
    )


PERMISSIONS = (
    *words("assignmentPermission userPermission messagePermission portalPermission groupEmailAccountPermission"),
    *words("exportPermission massUpdatePermission dataPrivacyPermission followerManagementPermission"),
    *words("auditPermission mentionPermission userCalendarPermission"),
)


def _role() -> EntityType:
    fields: dict[str, FieldDef] = {
        "name": _varchar(150) | {"required": True},
        **{name: _enum(("not-set", "all", "team", "no"), "not-set") for name in PERMISSIONS},
        "data": {"type": "json"},
        "fieldData": {"type": "json"},
        "createdAt": _READ_ONLY["createdAt"],
        "modifiedAt": _READ_ONLY["modifiedAt"],
    }
    columns = ("id", "name", "deleted", *PERMISSIONS, "data", "fieldData", "createdAt", "modifiedAt")
    return EntityType("Role", fields, columns=columns, selected=())


def _lead_capture() -> EntityType:
    fields: dict[str, FieldDef] = {
        "name": _varchar(150) | {"required": True},
        "isActive": {"type": "bool", "default": True},
        "subscribeToTargetList": {"type": "bool", "default": True},
        "subscribeContactToTargetList": {"type": "bool", "default": True},
        "fieldList": {"type": "json"},
        "leadSource": LEAD_SOURCE,
        "duplicateCheck": {"type": "bool", "default": True},
        "optInConfirmation": {"type": "bool"},
        "createLeadBeforeOptInConfirmation": {"type": "bool"},
        "skipOptInConfirmationIfSubscribed": {"type": "bool"},
        "formEnabled": {"type": "bool"},
        "formCaptcha": {"type": "bool"},
        **_READ_ONLY,
    }
    nothing = "formUrl campaignName targetListName optInConfirmationEmailTemplateName targetTeamName inboundEmailName"
    return EntityType(
        "LeadCapture",
        fields,
        created={
            **dict.fromkeys((*nothing.split(), "modifiedByName")),
            "optInConfirmationLifetime": 48,
            "exampleRequestMethod": "POST",
            "exampleRequestHeaders": ["Content-Type: application/json"],
        },
        columns=("id", "name", "deleted", "isActive", "fieldList", "leadSource", "duplicateCheck", "apiKey"),
    )


def base_plus(name: str, *, stream: bool = True) -> EntityType:
    """An entity type as the entity manager makes it."""
    fields: dict[str, FieldDef] = {
        "name": _varchar(100) | {"required": True},
        "description": {"type": "text"},
        **_ASSIGNMENT,
        **_READ_ONLY,
    }
    return EntityType(
        name,
        fields,
        created={"modifiedByName": None, "assignedUserName": None, **_TEAMS},
        columns=(
            *words("id name deleted description createdAt modifiedAt createdById createdByName"),
            *words("modifiedById modifiedByName assignedUserId assignedUserName"),
        ),
        single=("teamsIds", "teamsNames"),
        stream=stream,
    )


def stock_entity_types() -> dict[str, EntityType]:
    """Fresh definitions, as after an installation; the caller may change them."""
    made = [
        *(_lead(), _contact(), _call(), _meeting(), _task(), _note(), _user(), _role(), _lead_capture()),
        *(base_plus(name) for name in ("Account", "Campaign", "Opportunity", "Case", "Team")),
    ]
    return {entity.name: copy.deepcopy(entity) for entity in made}

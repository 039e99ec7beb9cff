"""Definitions of the entity types that an administrator manages: users, roles and lead capture forms."""

from __future__ import annotations

from typing import Any

from crmgate.testing.espocrm.metadata import EntityType, FieldDef, words
from crmgate.testing.espocrm.parts import (
    FLAGS,
    LEAD_SOURCE,
    NAME_PARTS,
    PERSON_NAME,
    REACHABLE,
    READ_ONLY,
    TEAMS,
    enum,
    many,
    varchar,
)


def user() -> EntityType:
    """The entity type User: a person, or a program with an API key."""
    fields: dict[str, FieldDef] = {
        "name": PERSON_NAME,
        "userName": varchar(50) | {"required": True},
        "type": enum(("regular", "admin", "portal", "system", "super-admin", "api"), "regular"),
        "authMethod": enum(("ApiKey", "Hmac")),
        "apiKey": {"type": "varchar", "readOnly": True},
        "secretKey": {"type": "varchar", "readOnly": True},
        **NAME_PARTS,
        "isActive": {"type": "bool", "default": True},
        "title": varchar(100),
        "emailAddress": {"type": "email"},
        "phoneNumber": {"type": "phone"},
        "roles": many("Role"),
        "teams": many("Team"),
        **READ_ONLY,
    }
    hidden = ("defaultTeam", "contact", "avatar", "dashboardTemplate", "workingTimeCalendar", "layoutSet")
    nothing = ("lastAccess", "avatarId", *(f"{link}Name" for link in hidden))
    lists: dict[str, Any] = {
        **TEAMS,
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
        created={**REACHABLE, **dict.fromkeys(nothing), **lists},
        columns=(
            *words("id name deleted userName type authMethod apiKey secretKey salutationName firstName lastName"),
            *("isActive", "title"),
            *words("emailAddress phoneNumber avatarColor gender createdAt modifiedAt auth2FA middleName"),
            *FLAGS,
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


def role() -> EntityType:
    """The entity type Role: rights of users."""
    fields: dict[str, FieldDef] = {
        "name": varchar(150) | {"required": True},
        **{name: enum(("not-set", "all", "team", "no"), "not-set") for name in PERMISSIONS},
        "data": {"type": "json"},
        "fieldData": {"type": "json"},
        "createdAt": READ_ONLY["createdAt"],
        "modifiedAt": READ_ONLY["modifiedAt"],
    }
    columns = ("id", "name", "deleted", *PERMISSIONS, "data", "fieldData", "createdAt", "modifiedAt")
    return EntityType("Role", fields, columns=columns, selected=())


def lead_capture() -> EntityType:
    """The entity type LeadCapture: a form on a website that creates leads without a login."""
    fields: dict[str, FieldDef] = {
        "name": varchar(150) | {"required": True},
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
        **READ_ONLY,
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

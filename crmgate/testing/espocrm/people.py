"""Definitions of the entity types Lead and Contact of a stock EspoCRM."""

from __future__ import annotations

from crmgate.testing.espocrm.metadata import EntityType, FieldDef, words
from crmgate.testing.espocrm.parts import (
    ASSIGNMENT,
    FLAGS,
    LEAD_SOURCE,
    NAME_PARTS,
    PERSON_NAME,
    REACHABLE,
    READ_ONLY,
    TEAMS,
    enum,
    link,
    varchar,
)

INDUSTRIES = words(
    "Advertising,Aerospace,Agriculture,Apparel & Accessories,Architecture,Automotive,Banking,Biotechnology,"
    "Building Materials & Equipment,Chemical,Construction,Consulting,Computer,Culture,Creative,Defense,Education,"
    "Electronics,Electric Power,Energy,Entertainment & Leisure,Finance,Food & Beverage,Grocery,Healthcare,"
    "Hospitality,Insurance,Legal,Manufacturing,Mass Media,Marketing,Mining,Music,Publishing,Petroleum,Real Estate,"
    "Retail,Service,Sports,Software,Support,Shipping,Travel,Technology,Telecommunications,Television,"
    "Transportation,Venture Capital,Wholesale,Water",
    ",",
)
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


def lead() -> EntityType:
    """The entity type Lead: a person who has shown interest."""
    fields: dict[str, FieldDef] = {
        "name": PERSON_NAME
        | {"required": True, "dependeeAttributeList": ["emailAddress", "phoneNumber", "accountName"]},
        **NAME_PARTS,
        "title": varchar(100, plain=True),
        "status": LEAD_STATUS,
        "source": LEAD_SOURCE,
        "industry": enum(["", *INDUSTRIES]),
        "opportunityAmount": {"type": "currency", "min": 0},
        "website": {"type": "url", "maxLength": 255},
        "addressStreet": {"type": "text", "maxLength": 255},
        "addressCity": varchar(100, plain=True),
        "addressState": varchar(100, plain=True),
        "addressCountry": varchar(100, plain=True),
        "addressPostalCode": varchar(40, plain=True),
        "emailAddress": {"type": "email"},
        "phoneNumber": {"type": "phone"},
        "doNotCall": {"type": "bool"},
        "description": {"type": "text"},
        "convertedAt": {"type": "datetime", "readOnly": True},
        "accountName": varchar(255, plain=True),
        **ASSIGNMENT,
        "campaign": link("Campaign"),
        "createdAccount": link("Account", readOnly=True),
        "createdContact": link("Contact", readOnly=True),
        "createdOpportunity": link("Opportunity", readOnly=True),
        **READ_ONLY,
    }
    links = ("assignedUser", "campaign", "createdAccount", "createdContact", "createdOpportunity")
    return EntityType(
        "Lead",
        fields,
        created={**REACHABLE, **TEAMS, "modifiedByName": None, **{f"{link}Name": None for link in links}},
        columns=(
            *words("id name deleted salutationName firstName lastName title status source industry opportunityAmount"),
            *words("website addressStreet addressCity addressState addressCountry addressPostalCode emailAddress"),
            *words("phoneNumber doNotCall description convertedAt createdAt modifiedAt accountName middleName"),
            *("opportunityAmountCurrency", *FLAGS, "streamUpdatedAt", "opportunityAmountConverted"),
            *words("createdById createdByName modifiedById modifiedByName"),
            *(f"{link}{part}" for link in links for part in ("Id", "Name")),
        ),
        single=("emailAddressData", "phoneNumberData", *TEAMS, "isFollowed", "followersIds", "followersNames"),
        stream=True,
        duplicate_check=["name", "emailAddress"],
    )


def contact() -> EntityType:
    """The entity type Contact, such as a person of a converted lead."""
    fields: dict[str, FieldDef] = {
        "name": PERSON_NAME | {"required": True},
        **NAME_PARTS,
        "emailAddress": {"type": "email"},
        "phoneNumber": {"type": "phone"},
        "doNotCall": {"type": "bool"},
        "description": {"type": "text"},
        **ASSIGNMENT,
        "account": link("Account"),
        "campaign": link("Campaign"),
        **READ_ONLY,
    }
    nothing = ("accountName", "campaignName", "modifiedByName", "assignedUserName")
    return EntityType(
        "Contact",
        fields,
        created={
            **REACHABLE,
            **TEAMS,
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

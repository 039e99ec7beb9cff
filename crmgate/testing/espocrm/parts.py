"""Field definitions and groups of fields that several entity types of a stock EspoCRM share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from crmgate.testing.espocrm.metadata import FieldDef


def varchar(length: int, *, plain: bool = False) -> FieldDef:
    """A field for one line of text; `plain`: it refuses markup characters."""
    return {"type": "varchar", "maxLength": length} | ({"pattern": "$noBadCharacters"} if plain else {})


def link(entity: str, **options: Any) -> FieldDef:
    """A field that links to one record of an entity type."""
    return {"type": "link", "entity": entity, **options}


def many(entity: str) -> FieldDef:
    """A field that links to any number of records of an entity type."""
    return {"type": "linkMultiple", "entity": entity}


def enum(options: Iterable[str], default: str | None = None) -> FieldDef:
    """A field that accepts one of the given options."""
    return {"type": "enum", "options": list(options)} | ({} if default is None else {"default": default})


def _person_part(length: int) -> FieldDef:
    return varchar(length, plain=True) | {"detailLayoutIncompatibleFieldList": ["name"]}


NAME_PARTS: dict[str, FieldDef] = {
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
PERSON_NAME: FieldDef = {"type": "personName", "isPersonalData": True}
READ_ONLY: dict[str, FieldDef] = {
    "createdAt": {"type": "datetime", "readOnly": True},
    "modifiedAt": {"type": "datetime", "readOnly": True},
    "createdBy": link("User", readOnly=True),
    "modifiedBy": link("User", readOnly=True),
}
ASSIGNMENT: dict[str, FieldDef] = {"assignedUser": link("User"), "teams": many("Team")}
FLAGS = ("emailAddressIsOptedOut", "emailAddressIsInvalid", "phoneNumberIsOptedOut", "phoneNumberIsInvalid")
REACHABLE: dict[str, Any] = {"targetListIsOptedOut": False, **dict.fromkeys(FLAGS, False)}
TEAMS: dict[str, Any] = {"teamsIds": [], "teamsNames": {}}
LEAD_SOURCE: FieldDef = {
    "type": "enum",
    "options": [
        "", "Call", "Email", "Existing Customer", "Partner", "Public Relations", "Web Site", "Campaign", "Other",
    ],
    "customizationOptionsReferenceDisabled": True,
}  # fmt: skip

"""Definition of an entity type in the fake EspoCRM: its fields, and the attributes that answers show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = "9.2.7"

Record = dict[str, Any]
FieldDef = dict[str, Any]

TYPE_DEFAULTS: dict[str, FieldDef] = {
    "enum": {"maxLength": 100},
    "bool": {"notNull": True},
    "datetime": {"notNull": False},
    "multiEnum": {"storeArrayValues": True},
}
"""Options that the field manager adds to a new field, by the type of the field."""


@dataclass
class EntityType:
    """One entity type. The order of `fields` is the order of validation; the first failure is reported."""

    name: str
    fields: dict[str, FieldDef]
    created: Mapping[str, Any] = field(default_factory=dict)
    """Attributes that the answer to a create always holds, with their values (besides fields with a default)."""
    columns: tuple[str, ...] = ()
    """Attributes of a record in a list that selects nothing; custom fields come on top."""
    single: tuple[str, ...] = ()
    """Attributes that only a single record shows."""
    selected: tuple[str, ...] = ("createdAt", "createdById", "assignedUserId")
    """Attributes that a list shows whatever it selects; empty: it ignores `select`."""
    if_set: tuple[str, ...] = ()
    """Attributes that a record without them does not show as null."""
    order_by: str = "createdAt"
    descending: bool = True
    stream: bool = False
    duplicate_check: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def custom(self) -> list[str]:
        """Attributes of the fields that an administrator added."""
        return [name for name, definition in self.fields.items() if definition.get("isCustom")]

    @property
    def list_attributes(self) -> list[str]:
        return [*self.columns, *self.custom]

    @property
    def attributes(self) -> list[str]:
        """All attributes that a single record shows."""
        return [*self.list_attributes, *self.single]

    def knows(self, attribute: str) -> bool:
        """Whether a search may name this attribute."""
        return attribute in self.columns or attribute in self.fields or attribute in self.input_attributes()

    def input_attributes(self) -> dict[str, str]:
        """The attributes a client may write, each with the field it belongs to."""
        return {
            attribute: name
            for name, definition in self.fields.items()
            if not definition.get("readOnly")
            for attribute in attributes_of(name, definition["type"])
        }


def attributes_of(name: str, type_: str) -> tuple[str, ...]:
    """The attributes in which a field of a type keeps its value."""
    match type_:
        case "personName":
            return ()
        case "link":
            return (f"{name}Id",)
        case "linkParent":
            return (f"{name}Id", f"{name}Type")
        case "linkMultiple":
            return (f"{name}Ids",)
        case "currency":
            return (name, f"{name}Currency")
        case "email" | "phone":
            return (name, f"{name}Data")
    return (name,)


def words(text: str, separator: str = " ") -> tuple[str, ...]:
    """Names written one after the other."""
    return tuple(text.split(separator))


def stock_settings() -> dict[str, Any]:
    """The part of `GET /Settings` that clients of the REST API use."""
    return {
        "systemUserAttributes": {"lastName": "System"},
        "useCache": True,
        "recordsPerPage": 20,
        "applicationName": "EspoCRM",
        "version": VERSION,
        "timeZone": "UTC",
        "dateFormat": "YYYY-MM-DD",
        "timeFormat": "HH:mm",
        "weekStart": 1,
        "language": "en_US",
        "defaultCurrency": "USD",
        "baseCurrency": "USD",
        "currencyList": ["USD"],
        "recordListMaxSizeLimit": 200,
        "personNameFormat": "firstLast",
        "phoneNumberInternational": True,
        "phoneNumberExtensions": False,
        "maintenanceMode": False,
        "customPrefixDisabled": False,
    }

"""Builds the answers that show records: after a create, single records, and lists."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from crmgate.testing.espocrm.access import Caller
from crmgate.testing.espocrm.addresses import row
from crmgate.testing.espocrm.metadata import EntityType, Record
from crmgate.testing.espocrm.store import Database

FROM_OTHER_TABLES = (
    *("emailAddressData", "phoneNumberData"),
    *("emailAddressIsOptedOut", "emailAddressIsInvalid", "phoneNumberIsOptedOut", "phoneNumberIsInvalid"),
)
"""Attributes that EspoCRM does not read again after an update: the answer shows their old values."""


class Views:
    """Converts stored records, which hold only attributes that were set, to the form that clients see."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def created(self, kind: EntityType, record: Record, caller: Caller) -> Record:
        """The answer to a create: what was set and the defaults, not every attribute as in a read."""
        constants = {name: value for name, value in kind.created.items() if name not in record}
        shown = {**copy.deepcopy(constants), **record}
        shown.pop("number", None)
        for attribute in self._computed_on_create(kind, record):
            shown[attribute] = self.value(kind, record, attribute, caller)
        shown |= _name_on_create(kind, record)
        return self._filtered(kind, shown, caller)

    def one(self, kind: EntityType, record: Record, caller: Caller) -> Record:
        """Everything about one record."""
        return self._filtered(kind, self._pick(kind, record, kind.attributes, caller), caller)

    def row(self, kind: EntityType, record: Record, caller: Caller, select: list[str] | None = None) -> Record:
        """A record in a list. Unknown selected attributes are left out."""
        if select is None or not kind.selected:
            return self._filtered(kind, self._pick(kind, record, kind.list_attributes, caller), caller)
        fallbacks = kind.fields["name"].get("dependeeAttributeList", ())
        wanted = ["id", *kind.selected, *select, *(fallbacks if "name" in select else ())]
        known = [name for name in dict.fromkeys(wanted) if name in kind.list_attributes]
        shown = self._pick(kind, record, known, caller)
        if "parentName" in shown:
            shown["parentName"] = None  # EspoCRM does not look it up for a list that selects
        if "name" not in select and any(name in select for name in fallbacks):
            shown["name"] = next((record[name] for name in fallbacks if name in select and record.get(name)), None)
        return self._filtered(kind, shown, caller)

    def value(self, kind: EntityType, record: Record, attribute: str, caller: Caller) -> Any:
        """One attribute, looked up or computed."""
        if attribute in record:
            return record[attribute]
        if compute := _COMPUTED.get(attribute):
            return compute(record, caller)
        if attribute == "name":
            return person_name(kind, record)
        link = attribute.removesuffix("s").removesuffix("Name")
        if link != attribute and (link in kind.fields or link == "followers"):
            return (self._linked_names if attribute.endswith("s") else self._linked_name)(kind, record, link)
        if attribute in kind.created:
            return kind.created[attribute]
        return False if kind.fields.get(attribute, {}).get("type") == "bool" else None

    def _pick(self, kind: EntityType, record: Record, attributes: Iterable[str], caller: Caller) -> Record:
        shown = (name for name in attributes if name in record or name not in kind.if_set)
        return {attribute: self.value(kind, record, attribute, caller) for attribute in shown}

    @staticmethod
    def _filtered(kind: EntityType, shown: Record, caller: Caller) -> Record:
        hidden = caller.hidden(kind.name, "read")
        if caller.level(kind.name, "read") != "all":
            hidden = hidden | {"followersIds", "followersNames"}
        return {name: value for name, value in shown.items() if name not in hidden} if hidden else shown

    @staticmethod
    def _computed_on_create(kind: EntityType, record: Record) -> list[str]:
        computed = []
        for name, definition in kind.fields.items():
            match definition["type"]:
                case "link" | "linkParent" if record.get(f"{name}Id"):
                    computed.append(f"{name}Name")
                case "linkMultiple" if f"{name}Ids" in record or f"{name}Ids" in kind.created:
                    computed.append(f"{name}Names")
                case "email" | "phone":
                    computed.append(f"{name}Data")
        followers = ["isFollowed", "followersIds", "followersNames"] if "followersIds" in record else []
        return computed + followers

    def _linked_name(self, kind: EntityType, record: Record, link: str) -> str | None:
        definition = kind.fields.get(link, {})
        entity = definition.get("entity") or record.get(f"{link}Type")
        return self._name_of(entity, record.get(f"{link}Id")) if entity else None

    def _linked_names(self, kind: EntityType, record: Record, link: str) -> dict[str, str | None]:
        entity = "User" if link == "followers" else kind.fields[link]["entity"]
        return {id_: self._name_of(entity, id_) for id_ in record.get(f"{link}Ids", ())}

    def _name_of(self, entity: str, id_: str | None) -> str | None:
        linked = self.database.table(entity).get(id_, deleted=True)
        if linked is None:
            return None
        name: str | None = linked.get("name") or person_name(self.database.types[entity], linked)
        return name


def person_name(kind: EntityType, record: Record) -> str | None:
    """First and last name, or a replacement if both are empty."""
    return " ".join(record[part] for part in ("firstName", "lastName") if record.get(part)) or _stand_in(kind, record)


def _stand_in(kind: EntityType, record: Record) -> str | None:
    """Display name of a record without a name; None if it has none."""
    fallbacks = kind.fields["name"].get("dependeeAttributeList", ())
    return next((record[name] for name in ("accountName", *fallbacks) if name in fallbacks and record.get(name)), None)


def _name_on_create(kind: EntityType, record: Record) -> Record:
    """The name in the answer to a create: the person's name if both parts were sent, else a replacement."""
    definition = kind.fields.get("name", {})
    if kind.name == "User":
        return {"name": record["userName"]}
    if definition.get("type") != "personName" or "name" in record:
        return {}
    if record.get("firstName") and record.get("lastName"):
        return {"name": person_name(kind, record)}
    replaceable = any(name in record for name in definition.get("dependeeAttributeList", ()))
    return {"name": _stand_in(kind, record)} if replaceable else {}


def _email_data(record: Record, _: Caller) -> list[Record]:
    return [row("emailAddress", str(record["emailAddress"]), primary=True)] if record.get("emailAddress") else []


def _phone_data(record: Record, _: Caller) -> list[Record]:
    return [row("phoneNumber", str(record["phoneNumber"]), primary=True)] if record.get("phoneNumber") else []


def _email_flag(record: Record, _: Caller) -> bool | None:
    return False if record.get("emailAddress") else None


def _phone_flag(record: Record, _: Caller) -> bool | None:
    return False if record.get("phoneNumber") else None


_COMPUTED: dict[str, Callable[[Record, Caller], Any]] = {
    "emailAddressData": _email_data,
    "phoneNumberData": _phone_data,
    "emailAddressIsOptedOut": _email_flag,
    "emailAddressIsInvalid": _email_flag,
    "phoneNumberIsOptedOut": _phone_flag,
    "phoneNumberIsInvalid": _phone_flag,
    "isFollowed": lambda record, caller: caller.id in record.get("followersIds", ()),
}

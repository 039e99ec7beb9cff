"""Administration over REST: fields, settings, entity types, and the metadata with these changes."""

from __future__ import annotations

import copy
import secrets
from typing import Any

from crmgate.testing.espocrm.access import Caller
from crmgate.testing.espocrm.answers import EspoError, crashed, success, translated
from crmgate.testing.espocrm.entities import base_plus
from crmgate.testing.espocrm.metadata import TYPE_DEFAULTS, EntityType, FieldDef, Record
from crmgate.testing.espocrm.records import RecordService
from crmgate.testing.espocrm.store import Database
from crmgate.testing.server import Response

_FOR_ADMINISTRATORS = {"customPrefixDisabled"}
_NOT_METADATA = {"name", "label", "translatedOptions", "tooltipText"}


class Administration:
    """The administration of the fake. The router lets administrators through only."""

    def __init__(self, database: Database, records: RecordService) -> None:
        self.database = database
        self.records = records

    def create_field(self, scope: str, data: dict[str, Any]) -> Response:
        """A field made over REST gets the prefix `c`, unless the setting `customPrefixDisabled` is on."""
        if "type" not in data:
            raise EspoError(400, "No type.")
        kind = self._customizable(scope)
        given = str(data.get("name", ""))
        if not given.isalnum():
            raise EspoError(500, "Field name should contain only letters and numbers.")
        name = given if self.database.settings["customPrefixDisabled"] else f"c{given[:1].upper()}{given[1:]}"
        if name in kind.fields:
            raise EspoError(
                409,
                f"Field '{name}' already exists in '{scope}'.",
                translated("fieldAlreadyExists", {"field": name, "entityType": scope}, "FieldManager"),
            )
        definition = {**TYPE_DEFAULTS.get(data["type"], {}), **_metadata_part(data), "isCustom": True}
        kind.fields[name] = definition
        kind.labels[name] = str(data.get("label") or name)
        return success({**definition, "label": kind.labels[name]})

    def read_field(self, scope: str, name: str) -> Response:
        kind = self._customizable(scope)
        if name not in kind.fields:
            raise EspoError(500, f"Can't read field defs {scope}.{name}.")
        return success({**kind.fields[name], "label": self._label(kind, name)})

    def change_field(self, scope: str, name: str, data: dict[str, Any]) -> Response:
        """Change a field; without its type EspoCRM crashes."""
        kind = self._customizable(scope)
        if "type" not in data:
            raise crashed()
        kind.fields[name] = {**kind.fields.get(name, {}), **_metadata_part(data)}
        return success({**kind.fields[name], "label": self._label(kind, name)})

    def delete_field(self, scope: str, name: str) -> Response:
        """Delete a field. Deleting a field that does not exist succeeds."""
        kind = self._customizable(scope)
        if kind.fields.get(name, {}).get("isCustom"):
            del kind.fields[name]
        return success(True)

    def reset_field(self, data: dict[str, Any]) -> Response:
        """Bring a field back to its definition in the stock metadata."""
        scope, name = data["scope"], data["name"]
        self.database.types[scope].fields[name] = copy.deepcopy(self.database.stock[scope].fields[name])
        return success(True)

    def create_entity(self, data: dict[str, Any]) -> Response:
        """Entity types get the prefix `C`."""
        name = "C" + data["name"]
        self.database.types[name] = base_plus(name, stream=bool(data.get("stream")))
        return success({"name": name})

    def update_entity(self, data: dict[str, Any]) -> Response:
        if "duplicateCheckFieldList" in data:
            self.database.types[data["name"]].duplicate_check = list(data["duplicateCheckFieldList"])
        return success(True)

    def settings(self, caller: Caller) -> Response:
        hidden = set() if caller.admin else _FOR_ADMINISTRATORS
        return success({name: value for name, value in self.database.settings.items() if name not in hidden})

    def change_settings(self, caller: Caller, data: dict[str, Any]) -> Response:
        self.database.settings |= data
        return self.settings(caller)

    def metadata(self, key: str | None) -> Response:
        """All metadata, or the part at a dotted key; an unknown key: 200 without a body."""
        types = self.database.types.items()
        node: Any = {
            "entityDefs": {name: {"fields": kind.fields, "indexes": self._indexes(name)} for name, kind in types},
            "scopes": {
                name: {"entity": True, "stream": kind.stream, "duplicateCheckFieldList": kind.duplicate_check}
                for name, kind in types
            },
        }
        for part in key.split(".") if key else ():
            node = node.get(part) if isinstance(node, dict) else None
        return success(node)

    def _indexes(self, entity: str) -> dict[str, Any]:
        """The unique indexes of an entity type, as a metadata file defines them."""
        names = sorted(self.database.unique.get(entity, ()))
        return {name: {"type": "unique", "columns": [name]} for name in names}

    def generate_api_key(self, caller: Caller, data: dict[str, Any]) -> Response:
        """Generate a key for an API user. The old key is refused from now on."""
        users = self.database.table("User")
        user = users.get(data.get("id"))
        if user is None:
            raise EspoError(404)
        users.change(user, {"apiKey": secrets.token_hex(16)})
        return success(self.records.views.one(self.database.types["User"], user, caller))

    def app_user(self, caller: Caller, client: str) -> Response:
        """Data for the start of a client: the user, their rights, the settings."""
        secret = {"authMethod", "apiKey", "secretKey", "gender", "auth2FA", "lastAccess"}
        shown = self.records.views.one(self.database.types["User"], caller.user, caller)
        user: Record = {name: value for name, value in shown.items() if name not in secret}
        table = {scope: rule for role in caller.roles for scope, rule in role["data"].items()}
        assignment = "all" if caller.may_assign() else "no"
        acl = {"table": table, "fieldTable": caller.field_table(), "assignmentPermission": assignment}
        settings = {name: self.database.settings[name] for name in ("version", "maintenanceMode", "timeZone")}
        return success({"user": {**user, "ipAddress": client}, "acl": acl, "settings": settings})

    def _customizable(self, scope: str) -> EntityType:
        if scope not in self.database.types:
            raise EspoError(500, f"Entity type {scope} is not customizable.")
        return self.database.types[scope]

    @staticmethod
    def _label(kind: EntityType, name: str) -> str:
        return kind.labels.get(name, name[:1].upper() + name[1:])


def _metadata_part(data: dict[str, Any]) -> FieldDef:
    return {name: value for name, value in data.items() if name not in _NOT_METADATA}

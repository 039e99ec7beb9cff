"""Side effects of storing a record, by entity type: keys of API users, stream notes, currencies."""

from __future__ import annotations

import secrets
from typing import Any

from crmgate.testing.espocrm.access import Caller
from crmgate.testing.espocrm.answers import EspoError
from crmgate.testing.espocrm.metadata import EntityType, Record
from crmgate.testing.espocrm.store import Database

_ALLOWED_LEVELS = {"create": ("yes", "no")}
_RECORD_LEVELS = ("all", "team", "own", "no")
_NAME_PLACEHOLDERS = ("salutationName", "firstName", "lastName", "middleName")


class Hooks:
    """The record service calls these methods where EspoCRM calls its own hooks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.forbidden: dict[str, str] = {}
        """Part of an email address -> reason with which a lead with such an address is refused."""

    def before_save(self, kind: EntityType, values: Record) -> None:
        """Run the administrator's script before a lead is saved; it may refuse the lead."""
        address = str(values.get("emailAddress") or "") if kind.name == "Lead" else ""
        for part, reason in self.forbidden.items():
            if part in address:
                raise EspoError(403, reason)

    def before_create(self, kind: EntityType, caller: Caller, values: Record) -> None:
        """Checks that belong to one entity type."""
        match kind.name:
            case "User" if self.database.table("User").find("userName", values["userName"].casefold()):
                raise EspoError(409, "userNameExists")
            case "Role":
                _check_levels(values.get("data") or {})
            case "Note":
                self._check_note(caller, values)

    def complete(self, kind: EntityType, record: Record) -> None:
        """Attributes that EspoCRM derives from others on a create."""
        match kind.name:
            case "Lead":
                self._complete_lead(record)
            case "User":
                _complete_user(record)
            case "Role":
                record |= {"data": record.get("data") or {}, "fieldData": record.get("fieldData") or {}}
            case "LeadCapture":
                _complete_lead_capture(record)
            case "Call" | "Meeting":
                self._complete_event(record)
            case "Task" if record.get("parentId"):
                record |= {"accountId": None, "contactId": None}
            case "Note":
                self._complete_note(record)

    def after_create(self, kind: EntityType, caller: Caller, record: Record) -> None:
        """Notes in the stream: of the record itself, and of the record it belongs to."""
        if kind.stream:
            shown = {"statusValue": record["status"], "statusField": "status"} if record.get("status") else {}
            self._note(caller, "Create", kind.name, record["id"], data=shown)
        parent = self.database.table(record.get("parentType") or "").get(record.get("parentId"))
        if parent is None:
            return
        if kind.name != "Note":
            related = {"relatedType": kind.name, "relatedId": record["id"], "relatedName": record.get("name")}
            self._note(caller, "CreateRelated", record["parentType"], parent["id"], **related)
        self.database.table(record["parentType"]).change(parent, {"streamUpdatedAt": self.database.now()})

    def before_update(self, kind: EntityType, changes: Record) -> None:
        if kind.name == "Lead":
            self._complete_lead(changes)

    def after_update(self, kind: EntityType, caller: Caller, record: Record, changes: Record) -> None:
        if kind.stream and changes.get("status"):
            self._note(caller, "Status", kind.name, record["id"], data={"field": "status", "value": changes["status"]})
            self.database.table(kind.name).change(record, {"streamUpdatedAt": self.database.now()})

    def _complete_lead(self, values: Record) -> None:
        if values.get("status") == "Converted":
            values["convertedAt"] = self.database.now()
        if (amount := values.get("opportunityAmount")) is not None:
            values.setdefault("opportunityAmountCurrency", self.database.settings["defaultCurrency"])
            values["opportunityAmountConverted"] = amount

    def _complete_event(self, record: Record) -> None:
        """Add the assigned user as a participant, with the status accepted if that user creates the record."""
        user = record["assignedUserId"]
        accepted = "Accepted" if user == record["createdById"] else "None"
        leads = record.get("leadsIds", [])
        record |= {
            "usersIds": [user],
            "usersColumns": {user: {"status": accepted}},
            "contactsIds": record.get("contactsIds", []),
            "contactsColumns": {id_: {"status": "None"} for id_ in record.get("contactsIds", [])},
            "leadsIds": leads,
            "leadsColumns": {id_: {"status": "None"} for id_ in leads},
        }

    def _complete_note(self, record: Record) -> None:
        record |= {"type": record.get("type") or "Post", "number": self.database.next_note()}
        if not record.get("parentId"):
            record |= {"teamsIds": [], "teamsNames": {}, "usersIds": [], "usersNames": {}}

    def _check_note(self, caller: Caller, values: Record) -> None:
        """Refuse a note if the caller has no right to the stream of its parent, or if the parent does not exist."""
        if parent_id := values.get("parentId"):
            entity = values.get("parentType") or ""
            parent = self.database.table(entity).get(parent_id)
            if parent is None or not caller.may(entity, "stream", parent):
                raise EspoError(403, "No create access.")

    def _note(self, caller: Caller, type_: str, entity: str, id_: str, **attributes: Any) -> None:
        now = self.database.now()
        note = {
            "id": self.database.new_id(),
            "deleted": False,
            "type": type_,
            "number": self.database.next_note(),
            "data": None,
            "isInternal": False,
            "parentType": entity,
            "parentId": id_,
            "createdById": caller.id,
            "createdAt": now,
            "modifiedAt": now,
            **attributes,
        }
        self.database.table("Note").insert(note)


def _check_levels(data: dict[str, Any]) -> None:
    for entity, rule in data.items():
        levels = rule if isinstance(rule, dict) else {}
        for action, level in levels.items():
            if level not in _ALLOWED_LEVELS.get(action, _RECORD_LEVELS):
                raise EspoError(400, f"Level `{level}` is not allowed for action *{action}* for *{entity}*.")


def _complete_user(record: Record) -> None:
    """Set the attributes that EspoCRM derives: a missing last name, and the keys of an API user."""
    record.setdefault("lastName", record["userName"])
    if record["type"] == "api":
        record.setdefault("apiKey", secrets.token_hex(16))
    else:
        record["authMethod"] = None
    if record.get("authMethod") == "Hmac":
        record["secretKey"] = secrets.token_hex(16)


def _complete_lead_capture(record: Record) -> None:
    """Give a lead capture form its own address, which accepts leads without a login."""
    key = secrets.token_hex(16)
    listed = record.get("fieldList") or []
    sent = [name for one in listed for name in (_NAME_PLACEHOLDERS if one == "name" else (one,))]
    payload = ",\n".join(f'    "{name}": "{_upper_snake(name)}"' for name in sent)
    record |= {
        "apiKey": key,
        "formId": secrets.token_hex(8),
        "exampleRequestUrl": f"/api/v1/LeadCapture/{key}",
        "exampleRequestPayload": f"```\n{{\n{payload}\n}}\n```",
    }


def _upper_snake(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in name).upper()

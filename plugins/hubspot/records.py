"""Formats of contacts and notes. Sends nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from crmgate.model import Lead, Operation, rfc3339
from crmgate.provider import Mapped

KEY, PHONE, TEXT = "crmgate_operation_id", "crmgate_phone", "crmgate_text"
OWN = {
    KEY: "crmgate: operation id",
    PHONE: "crmgate: phone",
    TEXT: "crmgate: submissions",
}
"""Properties of crmgate that the setup creates, with their labels. The first two have unique values."""
UNIQUE = (KEY, PHONE)
MINIMAL = {"firstname": "Messenger", "lastname": "Lead"}
NAMES = ("email", "firstname", "lastname")
"""HubSpot requires one of these."""
DASH = "-"
MAX_TEXT = 65_000
"""Characters of a text that a property takes, with a reserve (HubSpot: 65,536)."""
NOTE_OF_CONTACT = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202}
Record = dict[str, str]


def keys_of(operation: Operation) -> list[str]:
    """The ids that the contact of an operation may have in `KEY`, the present one last.

    A deleted contact can be restored, and may keep its unique values. So a repaired operation gets another id.
    """
    return [operation.id, *(f"{operation.id}-{number}" for number in range(1, operation.repairs + 1))]


def written(fields: Mapping[str, Any]) -> Record:
    """Values as HubSpot takes them: as texts."""
    return {name: _text(value) for name, value in fields.items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def contact_of(mapped: Mapped, text: str, operation: Operation, names: Mapping[str, str]) -> Record:
    """Properties of a new contact. `names` are those of a visitor without a name."""
    fields = {name: value for name, value in written(mapped.fields).items() if value.strip()}
    record = {**names, **fields, TEXT: text, KEY: keys_of(operation)[-1]}
    return record if any(name in record for name in NAMES) else {"lastname": DASH, **record}


def phone_of(lead: Lead) -> str:
    """The phone for `PHONE`: digits and a plus."""
    return "".join(one for one in lead.phone if one.isdecimal() or one == "+")


def note_on(contact_id: str, text: str, operation: Operation) -> dict[str, Any]:
    """Body of a new note on a contact. HubSpot shows the text of a note as HTML."""
    properties = {"hs_timestamp": rfc3339(operation.accepted_at), "hs_note_body": escape(text).replace("\n", "<br>")}
    return {"properties": properties, "associations": [{"to": {"id": contact_id}, "types": [NOTE_OF_CONTACT]}]}


def joined(*parts: str) -> str:
    """Paragraphs of a text: the parts that are not empty."""
    return "\n\n".join(filter(None, parts))


def value(contact: Mapping[str, Any], name: str) -> str:
    """Value of a property of a contact or a note; empty: none."""
    properties = contact.get("properties")
    return str(properties.get(name) or "") if isinstance(properties, dict) else ""

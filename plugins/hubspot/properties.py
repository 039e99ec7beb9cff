"""The properties of contacts: the mapping compared with them, the setup, and the connection test."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from crmgate.errors import Duplicate, Unavailable
from crmgate.model import Check, CrmField, FieldState, Provision, Step
from crmgate.provider import FieldMap, Look

from .answers import SETUP
from .api import CONTACTS, NOTES, PROPERTIES, HubSpotApi
from .records import OWN, TEXT, UNIQUE

NEEDED = ("crm.objects.contacts.read", "crm.objects.contacts.write")
WRITE = "scopes"
GROUP = "contactinformation"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_HINT = "(HUBSPOT_URL, HUBSPOT_TOKEN)"
_UNKNOWN = "not checked: HubSpot does not return the scopes of this token"
_NOT_UNIQUE = (
    "the property does not have unique values, which cannot be changed: delete it in HubSpot for good, then"
    " run `crmgate crm setup`"
)


class HubSpotProperties:
    """Reads and creates properties of contacts."""

    def __init__(self, api: HubSpotApi, field_map: FieldMap) -> None:
        self._api, self._field_map = api, field_map

    def described(self) -> Iterator[CrmField]:
        """Each mapped fact with its property. Raises `ProviderError`."""
        known = self._read()
        for fact, name in self._mapped():
            definition = known.get(name, {})
            state, problem = _problem(fact, name, definition)
            kind = str(definition.get("fieldType") or definition.get("type") or "")
            yield CrmField(fact, name, kind, _options(definition), problem, state)

    def provision(self, apply: bool) -> Provision:
        """List the properties that crmgate needs; with `apply`, create the missing ones. Raises `ProviderError`."""
        known = self._read()
        wanted = {**OWN, **{name: _label(fact) for fact, name in self._mapped()}}
        missing = [name for name in wanted if name not in known and _NAME.fullmatch(name)]
        if apply and missing:
            for name in missing:
                with suppress(Duplicate):  # another setup created it meanwhile
                    self._api.create(PROPERTIES, _definition(name, wanted[name]))
            known = self._read()
        return Provision(tuple(_step(name, known) for name in wanted))

    def looks(self) -> tuple[Look, ...]:
        """Steps of the connection test: contacts and notes, scopes, own properties, mapped properties."""
        return (
            Look("contacts", self._contacts, _HINT, gate=True),
            Look("notes", self._notes, _HINT),
            Look(WRITE, self._scopes, _HINT),
            Look("properties", self._own, _HINT),
            Look("mapped properties", self._fields, "see HUBSPOT_MAP_<FACT>"),
        )

    def _contacts(self) -> Iterator[Check]:
        self._api.listed(CONTACTS, limit="1")
        yield Check("contacts", True)

    def _notes(self) -> Iterator[Check]:
        self._api.listed(NOTES, limit="1")
        yield Check("notes", True)

    def _scopes(self) -> Iterator[Check]:
        scopes = self._api.scopes()
        lacking = [name for name in NEEDED if scopes is not None and name not in scopes]
        problem = f"the private app lacks {' and '.join(lacking)}" if lacking else ""
        yield Check(WRITE, not lacking, problem or (_UNKNOWN if scopes is None else ""))

    def _own(self) -> Iterator[Check]:
        known = self._read()
        for name in OWN:
            problem = own_problem(name, known)
            yield Check(name, not problem, problem)

    def _fields(self) -> Iterator[Check]:
        for line in self.described():
            yield Check(f"property {line.name}", not line.problem, line.problem)

    def _mapped(self) -> list[tuple[str, str]]:
        return [(fact, name) for fact, name in self._field_map.names.items() if name]

    def _read(self) -> dict[str, dict[str, Any]]:
        rows = self._api.listed(PROPERTIES)
        known = {str(row["name"]): row for row in rows if row.get("name")}
        if not known:
            raise Unavailable("HubSpot does not return its contact properties")
        return known


def own_problem(name: str, known: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a property of crmgate cannot be used; empty: it can."""
    if name not in known:
        return f"HubSpot has no contact property {name}: {SETUP}"
    return _NOT_UNIQUE if name in UNIQUE and known[name].get("hasUniqueValue") is not True else ""


def _step(name: str, known: Mapping[str, Mapping[str, Any]]) -> Step:
    if name in OWN:
        problem = own_problem(name, known) if name in known else ""
    else:
        problem = "" if name in known or _NAME.fullmatch(name) else "HubSpot allows no such name"
    return Step(f"contact property {name}{f': {problem}' if problem else ''}", name in known and not problem)


def _definition(name: str, label: str) -> dict[str, Any]:
    unique = {"hasUniqueValue": True} if name in UNIQUE else {}
    field_type = "textarea" if name == TEXT else "text"
    return {"name": name, "label": label, "type": "string", "fieldType": field_type, "groupName": GROUP, **unique}


def _label(fact: str) -> str:
    return fact.removeprefix("custom_").replace("_", " ").capitalize()


def _options(definition: Mapping[str, Any]) -> tuple[str, ...]:
    options = definition.get("options")
    rows = options if isinstance(options, list) else []
    return tuple(str(row.get("value")) for row in rows if isinstance(row, dict))


def _problem(fact: str, name: str, definition: Mapping[str, Any]) -> tuple[FieldState | None, str]:
    """Why a property does not take the values of a fact; empty: it takes them."""
    if not definition:
        effect = f"HubSpot has no contact property {name}: its value goes into the text"
        return FieldState.MISSING, f"{effect}. Run `crmgate crm setup`, or see HUBSPOT_MAP_{fact.upper()}"
    changes = definition.get("modificationMetadata")
    if isinstance(changes, dict) and changes.get("readOnlyValue") is True:
        return FieldState.READ_ONLY, f"it is read-only: its value goes into the text. See HUBSPOT_MAP_{fact.upper()}"
    return None, ""

"""Fields that EspoCRM requires: their stand-ins, and the ones that the mapping leaves empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from crmgate.errors import Forbidden, NotFound, Rejected, Unsupported
from crmgate.model import CrmField, FieldState
from crmgate.provider import FieldMap

from .api import EspoApi
from .fields import described, options_of
from .metadata import EspoMetadata, LeadDefinitions
from .rights import EspoRights

DASH = "-"
"""Stand-in for a text, also for the last name of a person without one."""
_ALWAYS = frozenset({"lastName", "description"})
"""Fields that have a value in every lead, with any mapping."""
NO_INDEX = (
    "it has no unique index: two attempts at one time can create the lead twice. REST cannot create the index: copy the"
    " files in contrib/espocrm into EspoCRM and rebuild it (docs/espocrm-setup.md)"
)
"""Problem of the field for the operation id."""
_ALWAYS_FACTS = ("first_name", "referral_code", "operation_id")
"""Facts that every lead has, in addition."""


class EspoRequired:
    """The required fields of Lead. `sends_stand_ins` is false if `CRM_ON_REJECTED_FIELD` forbids corrections."""

    def __init__(self, api: EspoApi, metadata: EspoMetadata, field_map: FieldMap, *, sends_stand_ins: bool) -> None:
        self._api, self._metadata, self._field_map = api, metadata, field_map
        self._sends_stand_ins = sends_stand_ins

    def stand_ins(self, error: Rejected) -> dict[str, str]:
        """Values for the fields that a refusal demands, by field; none for a field that takes no stand-in.

        Reads the metadata, unless the refusal demands nothing. Raises `ProviderError` if EspoCRM is not reachable.
        """
        demanded = [name for name, flaw in error.fields.items() if flaw == "required"]
        known = self._readable() if demanded else LeadDefinitions()
        values = {name: stand_in(known.field(name)) for name in demanded}
        return {name: value for name, value in values.items() if value}

    def compared(self) -> Iterator[CrmField]:
        """Each mapped fact with its field, then the required fields without a fact. Raises `ProviderError`."""
        known, rights = self._metadata.read(), EspoRights.listed(self._api)
        unfilled = {line.name: line for line in self._unfilled(known)}
        for line in described(known.fields, self._field_map):
            if not line.problem and (protected := rights.field_problem(line.name)):
                line = replace(line, problem=protected, state=FieldState.READ_ONLY)
            elif not line.problem and (unsafe := _index_problem(line, known)):
                line = replace(line, problem=unsafe, state=FieldState.PROBLEM)
            required = unfilled.pop(line.name, line)
            yield line if line.problem else replace(line, problem=required.problem, state=required.state)
        yield from unfilled.values()

    def _unfilled(self, known: LeadDefinitions) -> Iterator[CrmField]:
        """Required fields that can be empty in a lead. A mapped field with a stand-in is none of them."""
        mapped = {name for name in self._field_map.names.values() if name}
        always = self._filled()
        for name in (name for name in known.fields if name not in always):
            definition = known.field(name)
            value = stand_in(definition) if self._sends_stand_ins else ""
            # A person's name is checked as a whole, and a lead always has a last name.
            if not definition.get("required") or definition.get("type") == "personName" or (value and name in mapped):
                continue
            type_, problem = str(definition.get("type") or ""), _problem(name, value, mapped=name in mapped)
            yield CrmField("", name, type_, options_of(definition), problem, FieldState.REQUIRED)

    def _filled(self) -> set[str]:
        """Fields that have a value in every lead."""
        names, tables = self._field_map.names, self._field_map.values
        facts = (names.get(fact, "") for fact in _ALWAYS_FACTS if fact not in tables)
        assigned = {"assignedUser"} if self._api.settings.get("ESPOCRM_ASSIGNED_USER_ID") else set[str]()
        return {*_ALWAYS, *facts, *assigned}

    def _readable(self) -> LeadDefinitions:
        """The definitions of Lead; empty if EspoCRM does not show them."""
        try:
            return self._metadata.read()
        except (Forbidden, NotFound, Rejected, Unsupported):
            return LeadDefinitions()


def stand_in(definition: Mapping[str, Any]) -> str:
    """Value for a required field without a value: a dash for a text, the default for a list. Empty: none.

    The first option stands in for a default that is no option. Without a default nobody knows which option is right.
    """
    if definition.get("type") in ("varchar", "text"):
        return DASH
    default = str(definition.get("default") or "") if definition.get("type") == "enum" else ""
    options = [option for option in options_of(definition) if option]
    return options[0] if default and options and default not in options else default


def _index_problem(line: CrmField, known: LeadDefinitions) -> str:
    """The effect of a field for the operation id without a unique index, and the remedy; empty for other fields."""
    return NO_INDEX if line.fact == "operation_id" and not known.is_unique(line.name) else ""


def _problem(name: str, value: str, *, mapped: bool) -> str:
    effect = f"{value!r} is sent instead" if value else "EspoCRM refuses such leads"
    cause = "not every lead has a value for it" if mapped else "no fact is mapped to it"
    remedy = "Make it optional" if mapped else f"Make it optional, or set ESPOCRM_MAP_<FACT>={name}"
    return f"it is required, but {cause}: {effect}. {remedy}"

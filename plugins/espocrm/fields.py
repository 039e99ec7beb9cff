"""Compares the mapping with the fields in EspoCRM's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.model import CrmField, FieldState
from crmgate.provider import FieldMap

from .metadata import FORMS, LISTS, field_type

LENGTHS = {"first_name": 100, "last_name": 100, "referral_code": 64, "operation_id": 32}
"""Characters that the field of a fact should take. Longer values move into the description."""
TEXT_TYPES = ("varchar", "text", "wysiwyg", "enum")
OWN_TYPES = {"email": "email", "phone": "phone"}
"""Field types that take the values of one fact only."""
Flaw = tuple[FieldState | None, str]
"""Why a field does not take a fact: the kind of problem, and the reason with the remedy (empty: there is none)."""


def described(known: Mapping[str, Any], field_map: FieldMap) -> Iterator[CrmField]:
    """Each mapped fact with its field. `known` holds the field definitions in the metadata by name."""
    for fact, name in field_map.names.items():
        if not name:
            continue
        definition = found if isinstance(found := known.get(name), dict) else {}
        values = field_map.values.get(fact, {})
        state, problem = _problem(fact, definition, values) if definition else _missing(fact, name, known)
        yield CrmField(fact, name, str(definition.get("type") or ""), options_of(definition), problem, state)


def options_of(definition: Mapping[str, Any]) -> tuple[str, ...]:
    """Options of a list field; empty for other fields."""
    options = definition.get("options")
    return tuple(map(str, options)) if isinstance(options, list) else ()


def _problem(fact: str, definition: Mapping[str, Any], values: Mapping[str, str]) -> Flaw:
    type_ = definition.get("type")
    if definition.get("readOnly"):
        effect = "it is read-only: its value goes into the description"
        return FieldState.READ_ONLY, f"{effect}. See ESPOCRM_MAP_{fact.upper()}"
    if not takes(fact, definition):
        return FieldState.PROBLEM, f"its type {type_} does not take this value. See ESPOCRM_MAP_{fact.upper()}"
    if lacking := lacking_options(str(type_), definition.get("options"), values):
        named = ", ".join(map(repr, lacking))
        return FieldState.OPTION_MISSING, f"it has no option {named}: add it, or see ESPOCRM_VALUES_{fact.upper()}"
    needed, length = max(map(len, values.values()), default=LENGTHS.get(fact, 0)), definition.get("maxLength")
    if isinstance(length, int) and 0 < length < needed:
        remedy = "raise its maximum length"
        return FieldState.PROBLEM, f"it takes {length} characters, but needs {needed}: {remedy}"
    return None, ""


def takes(fact: str, definition: Mapping[str, Any]) -> bool:
    """Whether a field takes values of a fact, directly or in the form of its type. Nobody knows custom facts."""
    type_ = str(definition.get("type"))
    if type_ in TEXT_TYPES or OWN_TYPES.get(fact) == type_ or fact.startswith("custom_"):
        return True
    return (type_ in FORMS or type_ in LISTS) and field_type(definition).suits(fact)


def _missing(fact: str, name: str, known: Mapping[str, Any]) -> Flaw:
    # Since 8.2 EspoCRM names a new field `referralCode` `cReferralCode`.
    prefixed = f"c{name[:1].upper()}{name[1:]}"
    similar = next((other for other in (prefixed, prefixed.removesuffix("C")) if other in known), None)
    hint = f"There is {similar}." if similar else "Create it."
    effect = f"Lead has no field {name}: EspoCRM drops its value"
    return FieldState.MISSING, f"{effect}. {hint} See ESPOCRM_MAP_{fact.upper()}"


def lacking_options(type_: str, options: Any, values: Mapping[str, str]) -> list[str]:
    """Values that a list does not offer; none for a list without options of its own."""
    if type_ not in ("enum", *LISTS) or not isinstance(options, list | tuple) or not options:
        return []
    return [value for value in dict.fromkeys(values.values()) if value not in options]

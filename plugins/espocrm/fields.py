"""The mapping beside the fields of EspoCRM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crmgate import hookimpl
from crmgate.model import CrmField

from .api import Api

LENGTHS = {"first_name": 100, "last_name": 100, "referral_code": 64, "operation_id": 32}
"""The characters that a fact may have; what does not fit is moved into the description."""
TEXT_TYPES = ("varchar", "text", "wysiwyg", "enum")
OWN_TYPES = {"email": "email", "phone": "phone", "graduation_year": "int", "birth_date": "date"}
"""Types of fields that take the value of one fact only."""


class Fields(Api):
    """What the metadata say of the fields that facts go to."""

    @hookimpl
    def describe_fields(self) -> tuple[CrmField, ...]:
        """Each fact that has a field, with what EspoCRM's metadata say of that field."""
        return tuple(self._described(self._read("Metadata", key="entityDefs.Lead.fields")))

    def _described(self, known: Mapping[str, Any]) -> Iterator[CrmField]:
        for fact, name in self.field_map.names.items():
            definition = found if isinstance(found := known.get(name), dict) else {}
            options = definition.get("options")
            listed = tuple(map(str, options)) if isinstance(options, list) else ()
            problem = self._problem(fact, definition) if definition else _missing(fact, name, known)
            if name:
                yield CrmField(fact, name, str(definition.get("type") or ""), listed, problem)

    def _problem(self, fact: str, definition: Mapping[str, Any]) -> str:
        """What is wrong with a field for a fact, and what to do about it."""
        type_, values = definition.get("type"), self.field_map.values.get(fact, {})
        if not (type_ in TEXT_TYPES or OWN_TYPES.get(fact) == type_ or fact.startswith("custom_")):
            return f"it is of the type {type_}, which does not take this. See ESPOCRM_MAP_{fact.upper()}"
        if lacking := lacking_options(str(type_), definition.get("options"), values):
            named = ", ".join(map(repr, lacking))
            return f"it has no option {named}: add it, or see ESPOCRM_VALUES_{fact.upper()}"
        needed, length = max(map(len, values.values()), default=LENGTHS.get(fact, 0)), definition.get("maxLength")
        if isinstance(length, int) and 0 < length < needed:
            return f"it takes {length} characters, but needs {needed}: raise its maximum length"
        return ""


def _missing(fact: str, name: str, known: Mapping[str, Any]) -> str:
    # Since 8.2 a field that is made as `referralCode` gets the name `cReferralCode`.
    prefixed = f"c{name[:1].upper()}{name[1:]}"
    similar = next((other for other in (prefixed, prefixed.removesuffix("C")) if other in known), None)
    hint = f"There is {similar}." if similar else "Create it."
    return f"Lead has no field {name}: EspoCRM drops what is sent there. {hint} See ESPOCRM_MAP_{fact.upper()}"


def lacking_options(type_: str, options: Any, values: Mapping[str, str]) -> list[str]:
    """The values that an enum does not offer; one whose options are kept elsewhere is not judged."""
    if type_ != "enum" or not isinstance(options, list | tuple) or not options:
        return []
    return [value for value in dict.fromkeys(values.values()) if value not in options]

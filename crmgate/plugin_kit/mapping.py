"""Maps the facts of a submission to fields of a CRM, and all other facts to a readable description.

No value of the visitor is lost. A fact goes into the description, with a label, if it has no field or its field gets
a different value (`source` "landing" becomes "Web Site").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from crmgate.model import Activity, Lead, Operation, Utm
from crmgate.plugin_kit.values import CUSTOM_PREFIX, FieldType, listed, text

LABELS: Mapping[str, str] = {
    "full_name": "Full name",
    "address": "Address",
    "first_name": "First name",
    "last_name": "Last name",
    "email": "Email",
    "phone": "Phone",
    "country": "Country",
    "city": "City",
    "birth_date": "Birth date",
    "user_type": "User type",
    "language": "Language",
    "university": "University",
    "universities": "Universities",
    "university_chosen": "University chosen",
    "programs": "Programs",
    "field_of_study": "Field of study",
    "education_level": "Education level",
    "institution": "Institution",
    "graduation_year": "Graduation year",
    "gpa": "GPA",
    "budget": "Budget",
    "start_date": "Start date",
    "scholarship": "Scholarship",
    "scholarship_needed": "Scholarship needed",
    "language_preference": "Language preference",
    "channel": "Channel",
    "referral_code": "Referral code",
    "source": "Source",
    "source_description": "Source description",
    "utm_source": "UTM source",
    "utm_medium": "UTM medium",
    "utm_campaign": "UTM campaign",
    "utm_content": "UTM content",
    "utm_term": "UTM term",
    "consent": "Consent",
    "session": "Session",
    "occurred_at": "Time",
}
"""Labels of the facts that can be mapped to CRM fields, in the order of the description."""

COMPOSITES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "full_name": (" ", ("first_name", "last_name")),
    "address": (", ", ("city", "country")),
}
"""Facts that are made of other facts: the separator, and the parts in their order.

They are for CRMs with one field for all parts. A part is in the description only if its composite fact has no field.
"""

SILENT = ("operation_id", "source_id")
"""Facts that can be mapped but are not in the description: the operation id, and the source for CRMs with a list."""

_SAME = ("university", "universities")
"""Facts that can have the same value."""

TEXT = FieldType()
"""Type of a field that a provider does not describe."""


@dataclass(frozen=True)
class Mapped:
    """A mapped submission: values by names of CRM `fields`, and the `rest` as (label, text) for the description.

    `facts` names the fact of each field. `undescribed` has, for each field, the part of the value that `rest`
    does not have, as the visitor wrote it.
    """

    fields: dict[str, Any]
    rest: list[tuple[str, str]]
    facts: dict[str, str] = field(default_factory=dict)
    undescribed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FieldMap:
    """Mapping of facts to CRM fields (`names`), and of their values to the CRM's values (`values`).

    A fact with a table of values is sent only if the table has its value: the CRM would refuse other values. If two
    facts have one field, the first is sent: a composite fact before its parts. Names of custom facts are compared in
    the form that an environment variable can have. `types` has the types of fields that are no text, by the name of
    the field.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    types: Mapping[str, FieldType] = field(default_factory=dict)

    @classmethod
    def configured(
        cls, names: Mapping[str, str], values: Mapping[str, Mapping[str, str]], provider: str,
        environ: Mapping[str, str], problems: list[str],
    ) -> FieldMap:  # fmt: skip
        """A provider's own mapping with the overrides in `<NAME>_MAP_<FACT>` and `<NAME>_VALUES_<FACT>`.

        Appends one sentence to `problems` for each invalid setting.
        """
        fields = {setting_name(fact): target for fact, target in names.items()}
        fields |= _overrides(f"{provider.upper()}_MAP_", environ, problems)
        tables = {setting_name(fact): table for fact, table in values.items()}
        prefix = f"{provider.upper()}_VALUES_"
        for fact, pairs in _overrides(prefix, environ, problems).items():
            tables[fact] = _value_table(prefix + fact.upper(), pairs, problems)
        return cls(fields, {fact: table for fact, table in tables.items() if table})

    def apply(self, facts: Mapping[str, Any]) -> Mapped:
        """Split `facts` (see `lead_facts`) into CRM fields and the rest."""
        mapped = Mapped({}, [])
        left = {name: self._send(name, value, mapped) for name, value in facts.items()}
        sent = {part for name, (_, parts) in COMPOSITES.items() if left.get(name, "") is None for part in parts}
        for name, rest in left.items():
            if rest is None or name in SILENT or name in COMPOSITES or name in sent:
                continue
            if name not in _SAME or not self._repeated(name, facts):
                mapped.rest.append((label(name), text(rest)))
        return mapped

    def _send(self, name: str, value: Any, mapped: Mapped) -> Any:
        """Put the value into its field. Returns the part that is missing there; None: nothing is missing."""
        fact = setting_name(name) if name.startswith(CUSTOM_PREFIX) else name
        target = self.names.get(fact)
        if not target or target in mapped.fields:
            return value
        if type(value) is str and target not in self.types and fact not in self.values:  # sent as it is
            mapped.fields[target], mapped.facts[target], mapped.undescribed[target] = value, name, value
            return None
        sent, rest = self.types.get(target, TEXT).convert(value, self.values.get(fact))
        if sent is not None:
            mapped.fields[target] = sent
            mapped.facts[target] = name
            mapped.undescribed[target] = _without(value, rest)
        return rest

    def _repeated(self, name: str, facts: Mapping[str, Any]) -> bool:
        """Whether another fact has the same value: `university` is the first of the `universities`."""
        listed = len(facts.get("universities", ())) > 1 or bool(self.names.get("universities"))
        return name == ("university" if listed else "universities")


def lead_facts(lead: Lead, operation: Operation) -> dict[str, Any]:
    """Facts of a lead that are not empty, by name, with the composite facts first.

    `university` is the first of the `universities`.
    """
    facts: dict[str, Any] = {name: getattr(lead, name) for name in LABELS if hasattr(lead, name)}
    facts |= _utm(lead.utm) | {"consent": lead.consent}
    facts["university"] = lead.universities[0] if lead.universities else ""
    facts |= {name: _composite(name, facts) for name in COMPOSITES}
    return _known(facts) | {"operation_id": operation.id, "source_id": lead.source} | _custom(lead.custom)


def activity_facts(activity: Activity, operation: Operation) -> dict[str, Any]:
    """Facts of a messenger click that are not empty, by name."""
    facts: dict[str, Any] = {name: getattr(activity, name) for name in LABELS if hasattr(activity, name)}
    facts |= _utm(activity.utm)
    return _known(facts) | {"operation_id": operation.id} | _custom(activity.metadata)


def describe(rest: list[tuple[str, str]], operation: Operation, free_text: str = "") -> str:
    """A description: the visitor's free text, a labelled line for each fact, the time and the tracking code.

    The time is that of the submission (UTC): after an outage, the record in the CRM is much younger.
    """
    lines = [f"{name}: {value}" for name, value in rest]
    submitted = datetime.fromtimestamp(operation.accepted_at, UTC)
    end = f"Submitted: {submitted:%Y-%m-%d %H:%M} UTC\nTracking code: {operation.tracking_code}"
    return "\n\n".join(filter(None, (free_text, "\n".join(lines), end)))


def label(name: str) -> str:
    """Label of a fact. The label of a custom fact is its key as the form sent it."""
    return LABELS.get(name) or name.removeprefix(CUSTOM_PREFIX)


def mappable() -> Iterator[str]:
    """Facts for which a setting `<PROVIDER>_MAP_<FACT>` can exist, in lower case, without the `custom_...` facts."""
    yield from LABELS
    yield from SILENT


def setting_name(name: str) -> str:
    """Name of a fact in a setting, in lower case: `custom_visa_type` for `custom_Visa type`."""
    return re.sub(r"\W", "_", name).lower() if name.startswith(CUSTOM_PREFIX) else name


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that are not empty, in the order of the description."""
    return {name: facts[name] for name in LABELS if facts.get(name) not in (None, "", (), [])}


def _composite(name: str, facts: Mapping[str, Any]) -> str:
    separator, parts = COMPOSITES[name]
    return separator.join(str(facts[part]) for part in parts if facts[part])


def _custom(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{CUSTOM_PREFIX}{key}": value for key, value in values.items() if value not in (None, "")}


def _utm(utm: Utm) -> dict[str, str]:
    return {f"utm_{name}": value for name, value in utm.to_dict().items()}


def _without(value: Any, rest: Any) -> str:
    """Text of the entries of a value that are not in its `rest`."""
    described = listed(rest)
    return text([entry for entry in listed(value) if entry not in described])


def _overrides(prefix: str, environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """Values of the settings with this prefix, by fact. An unknown fact is a problem."""
    found = {}
    for name, value in environ.items():
        if not name.startswith(prefix):
            continue
        fact = name.removeprefix(prefix).lower()
        if fact in mappable() or fact.removeprefix(CUSTOM_PREFIX) not in ("", fact):
            found[fact] = value
        else:
            known = ", ".join(mappable())
            problems.append(f"{name}: there is no fact {fact!r}. It takes one of: {known}, {CUSTOM_PREFIX}<key>.")
    return found


def _value_table(name: str, pairs: str, problems: list[str]) -> dict[str, str]:
    """The table in `a=A,b=B`; empty for an empty text."""
    table: dict[str, str] = {}
    for pair in filter(None, pairs.split(",")):
        ours, _, theirs = (part.strip() for part in pair.partition("="))
        if not ours or not theirs or ours in table:
            problems.append(f"{name}, got {pairs!r}: {pair!r} is no new pair. It takes a=A,b=B: our value, the CRM's.")
        table[ours] = theirs
    return table

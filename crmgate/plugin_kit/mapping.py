"""From a lead to a CRM's field names: what has a field goes there, everything else into a readable description.

Nothing the visitor typed is lost: a value without a field of its own, or whose field holds something else in its
place (`source` "landing" becomes "Web Site"), stands labelled in the description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crmgate.model import Activity, Consent, Lead, Operation, Utm

LABELS: Mapping[str, str] = {
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
"""Every fact that can be mapped to a CRM field, in the order of the description."""

SILENT = ("operation_id", "source_id")
"""Facts that can be mapped but are not described: the operation id, and the source again for CRMs with a list."""

CUSTOM_PREFIX = "custom_"


@dataclass(frozen=True)
class Mapped:
    """`fields` for the CRM by its own names; `rest` as (label, text) for the description."""

    fields: dict[str, Any]
    rest: list[tuple[str, str]]


@dataclass(frozen=True)
class FieldMap:
    """Which fact goes to which CRM field, and which of its values are called what there.

    A fact with a value table is sent only when the table knows its value; the CRM would refuse any other. Of two facts
    for one field the first is sent. The name of a custom fact is compared as an environment variable can hold it.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def configured(
        cls, names: Mapping[str, str], values: Mapping[str, Mapping[str, str]], provider: str,
        environ: Mapping[str, str], problems: list[str],
    ) -> FieldMap:  # fmt: skip
        """A provider's own names and values, changed by `<NAME>_MAP_<FACT>` and `<NAME>_VALUES_<FACT>`.

        What is wrong with those settings is added to `problems`.
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
        for name, value in facts.items():
            told = self._send(name, value, mapped.fields) or name in SILENT
            told = told or (name == "university" and "universities" in facts)  # it is the first of those
            if not told:
                mapped.rest.append((label(name), text(value)))
        return mapped

    def _send(self, name: str, value: Any, fields: dict[str, Any]) -> bool:
        """Put the value into its field; whether the field now says all that the value did."""
        fact = setting_name(name)
        target = self.names.get(fact)
        if not target or target in fields:
            return False
        table = self.values.get(fact)
        if table is None:
            fields[target] = value if isinstance(value, str | int | float | bool) else text(value)
            return True
        words = text(value)
        if words in table:
            fields[target] = table[words]
        return table.get(words) == words


def lead_facts(lead: Lead, operation: Operation) -> dict[str, Any]:
    """The lead as flat facts, empty ones left out; `university` is the first of several `universities`."""
    facts: dict[str, Any] = {name: getattr(lead, name) for name in LABELS if hasattr(lead, name)}
    facts |= _utm(lead.utm) | {"consent": _consent(lead.consent)}
    facts["university"] = lead.universities[0] if lead.universities else ""
    if len(lead.universities) < 2:
        del facts["universities"]
    return _known(facts) | {"operation_id": operation.id, "source_id": lead.source} | _custom(lead.custom)


def activity_facts(activity: Activity, operation: Operation) -> dict[str, Any]:
    """A messenger click as flat facts, empty ones left out."""
    facts: dict[str, Any] = {name: getattr(activity, name) for name in LABELS if hasattr(activity, name)}
    facts |= _utm(activity.utm)
    return _known(facts) | {"operation_id": operation.id} | _custom(activity.metadata)


def describe(rest: list[tuple[str, str]], operation: Operation, free_text: str = "") -> str:
    """The description: the visitor's own words first, then a labelled line for each fact, then the tracking code."""
    lines = [f"{name}: {value}" for name, value in rest]
    parts = [free_text, "\n".join(lines), f"Tracking code: {operation.tracking_code}"]
    return "\n\n".join(part for part in parts if part)


def label(name: str) -> str:
    """The label of a fact; a custom key stands as the form sent it."""
    return LABELS.get(name) or name.removeprefix(CUSTOM_PREFIX)


def text(value: Any) -> str:
    """A fact as the text of the description."""
    return ", ".join(str(item) for item in value) if isinstance(value, tuple | list) else str(value)


def mappable() -> Iterator[str]:
    """The names that a `<PROVIDER>_MAP_<FIELD>` setting may have, in lower case; `custom_...` come on top."""
    yield from LABELS
    yield from SILENT


def setting_name(name: str) -> str:
    """The name of a fact as a setting can hold it: `custom_Visa type` becomes `custom_visa_type`."""
    return re.sub(r"\W", "_", name).lower() if name.startswith(CUSTOM_PREFIX) else name


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that say something, in the order of the description."""
    return {name: facts[name] for name in LABELS if facts.get(name) not in (None, "", (), [])}


def _custom(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{CUSTOM_PREFIX}{key}": value for key, value in values.items() if value not in (None, "")}


def _utm(utm: Utm) -> dict[str, str]:
    return {f"utm_{name}": value for name, value in utm.to_dict().items()}


def _consent(consent: Consent | None) -> str:
    if consent is None:
        return ""
    answer = "given" if consent.given else "not given"
    return answer + (f" at {consent.at}" if consent.at else "") + (f" ({consent.text})" if consent.text else "")


def _overrides(prefix: str, environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The facts that settings with this prefix change; an unknown fact is a problem, not a silence."""
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
    """`a=A,b=B` as a table; empty for an empty text."""
    table: dict[str, str] = {}
    for pair in filter(None, pairs.split(",")):
        ours, _, theirs = (part.strip() for part in pair.partition("="))
        if not ours or not theirs or ours in table:
            problems.append(f"{name}, got {pairs!r}: {pair!r} is no new pair. It takes a=A,b=B: our value, the CRM's.")
        table[ours] = theirs
    return table

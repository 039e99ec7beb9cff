"""Whole bodies of form tools, frameworks and sites: each typed value is found again in the lead of the sandbox CRM."""

from __future__ import annotations

from collections.abc import Iterator

from crmgate.schemas.text import as_text
from tests.schemas.bodies import Case, form, posted
from tests.schemas.bodies_of_frameworks import FRAMEWORKS
from tests.schemas.bodies_of_sites import SITES
from tests.schemas.bodies_of_tools import FORM_TOOLS
from tests.schemas.sandboxed import Setup, setup
from tests.schemas.test_intake_names import LABELS, TOOLS

__all__ = ["setup"]

VALUES = {
    "full_name": "Ada Lovelace", "first_name": "Ada", "last_name": "Lovelace", "email": "ada@x.co",
    "phone": "0532 123 45 67", "city": "Bursa", "country": "Türkiye", "birth_date": "2001-12-10",
}  # fmt: skip
LABELLED = [
    form(label, "", {"email": "b@x.co", "first_name": "Grace"} | {label: text})
    for field, text in VALUES.items()
    for label in LABELS[field].split("|")[::4]
]
CASES = [*FORM_TOOLS, *FRAMEWORKS, *SITES, *LABELLED, *(posted(str(body)[:60], "", body) for body, _lead in TOOLS)]


def missing(setup: Setup, case: Case) -> Iterator[str]:
    lead, _ = setup.lead(case.body, case.kind)
    text = "\n".join(map(as_text, lead.values())).casefold()
    numbers = "".join(filter(str.isdecimal, text))
    fields = " ".join(as_text(value) for name, value in lead.items() if name != "description").casefold()
    yield from (f"{word!r} is in no field" for word in case.person.casefold().split() if word not in fields)
    for value in case.typed:
        digits = "".join(filter(str.isdecimal, as_text(value)))
        is_number = len(digits) > 6 and digits[-7:] in numbers
        if not is_number and not all(word in text for word in as_text(value).casefold().split()):
            yield f"lacks {value!r}"


def test_each_typed_value_is_in_the_lead(setup: Setup) -> None:
    assert len(CASES) >= 150
    wrong = []
    for case in CASES:
        try:
            wrong += [f"{case.name}: {fault}" for fault in missing(setup, case)]
        except AssertionError as error:
            wrong.append(f"{case.name}: {str(error)[:300]}")
    assert not wrong, "\n".join(wrong)

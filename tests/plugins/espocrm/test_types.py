"""Lists, consents, numbers and dates in fields of their type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmgate.model import Consent, Lead
from crmgate.plugin_kit.mapping import label
from crmgate.testing.espocrm import FakeEspoCRM
from tests.plugins.espocrm.rig import FULL, create, failing, provider, sent, update


def made(crm: FakeEspoCRM, kind: str, fact: str, lead: Lead = FULL, **options: Any) -> dict[str, Any]:
    """The lead with a fact in the field `extraC` of a type."""
    crm.add_field("extraC", kind, **options)
    delivered = create(provider(crm.url, **{f"ESPOCRM_MAP_{fact}": "extraC"}), lead)
    assert (delivered.moved, delivered.dropped, sent(crm, "POST")) == ((), (), 1)
    (stored,) = crm.leads
    return stored


def test_a_list_takes_the_options_that_it_knows(crm: FakeEspoCRM) -> None:
    lead = made(crm, "multiEnum", "PROGRAMS", options=["MSc", "PhD"])
    assert lead["extraC"] == ["MSc"]
    assert "Programs: MBA" in lead["description"].splitlines()


def test_a_list_without_any_of_its_options_stays_empty(crm: FakeEspoCRM) -> None:
    lead = made(crm, "multiEnum", "PROGRAMS", options=["PhD"])
    assert lead.get("extraC") is None
    assert "Programs: MSc, MBA" in lead["description"].splitlines()


@pytest.mark.parametrize("universities", [("Koç",), ("Koç", "Ege")])
def test_one_university_is_a_list_too(crm: FakeEspoCRM, universities: tuple[str, ...]) -> None:
    lead = made(crm, "multiEnum", "UNIVERSITIES", replace(FULL, universities=universities), options=["Koç", "Ege"])
    assert lead["extraC"] == list(universities)


@pytest.mark.parametrize("given", [True, False])
def test_a_consent(crm: FakeEspoCRM, given: bool) -> None:
    lead = made(crm, "bool", "CONSENT", replace(FULL, consent=Consent(given, "You may call me")))
    assert lead["extraC"] is given
    assert "You may call me" in lead["description"]


@pytest.mark.parametrize(
    ("kind", "fact", "value", "stored"),
    [
        ("date", "START_DATE", "2026-09-01", "2026-09-01"),
        ("date", "START_DATE", "next autumn", None),
        ("float", "GPA", "3,4", 3.4),
        ("float", "GPA", "3.0", 3),
        ("float", "GPA", "very good", None),
        ("int", "BUDGET", "10000", 10000),
        ("int", "BUDGET", "10,000 EUR", None),
        ("bool", "SCHOLARSHIP_NEEDED", "yes", True),
        ("bool", "SCHOLARSHIP_NEEDED", "half", False),
        ("datetime", "CUSTOM_CALL", "2026-01-02T03:04:05+03:00", "2026-01-02 00:04:05"),
    ],
)
def test_a_value_has_the_form_of_its_field_or_is_described(
    crm: FakeEspoCRM, kind: str, fact: str, value: str, stored: Any
) -> None:
    changed = {"custom": {"call": value}} if fact == "CUSTOM_CALL" else {fact.lower(): value}
    lead = made(crm, kind, fact, Lead.from_dict(FULL.to_dict() | changed))
    assert lead.get("extraC") == stored
    line = f"{label(fact.lower())}: {value}"
    assert (line in lead["description"].splitlines()) == (stored in (None, False))


def test_an_update_sends_the_same_form(crm: FakeEspoCRM) -> None:
    crm.add_field("extraC", "bool")
    lead = crm.add_lead(lastName="Lovelace")["id"]
    update(provider(crm.url, ESPOCRM_MAP_CONSENT="extraC"), lead, FULL)
    assert crm.leads[0]["extraC"] is True


def test_a_refused_list_moves_into_the_description(crm: FakeEspoCRM) -> None:
    plugin = provider(crm.url, ESPOCRM_MAP_PROGRAMS="extraC")
    crm.add_field("extraC", "multiEnum", options=["MSc", "MBA"])
    assert create(plugin, FULL).moved == ()
    crm.set_options("extraC", ["PhD"])  # the cached options are old now
    assert create(plugin, Lead(first_name="B", email="b@example.org", programs=("MSc",))).moved == ("extraC",)
    assert "Programs: MSc" in crm.leads[1]["description"].splitlines()


@pytest.mark.parametrize(
    ("kind", "fact", "options", "problem"),
    [
        ("multiEnum", "PROGRAMS", {"options": ["MSc"]}, ""),
        ("array", "PROGRAMS", {}, ""),
        ("bool", "CONSENT", {}, ""),
        ("bool", "CUSTOM_X", {}, ""),
        ("datetime", "CUSTOM_X", {}, ""),
        ("bool", "CITY", {}, "its type bool"),
        ("int", "START_DATE", {}, "its type int"),
        ("currency", "CITY", {}, "its type currency"),
        ("multiEnum", "LANGUAGE", {"options": ["english", "both"]}, "'turkish'"),
    ],
)
def test_the_commands_know_the_types(
    crm: FakeEspoCRM, kind: str, fact: str, options: dict[str, Any], problem: str
) -> None:
    crm.add_field("extraC", kind, **options)
    failed = failing(provider(crm.url, **{f"ESPOCRM_MAP_{fact}": "extraC"}).test_connection())
    assert (failed.keys() == {"field extraC"}) == bool(problem)
    assert problem in failed.get("field extraC", "")

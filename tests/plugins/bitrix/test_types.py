"""Lists, consents, numbers and dates in user fields of their type."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from crmgate.model import Consent, Lead
from crmgate.plugin_kit.mapping import label
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    BOTH_APIS,
    FULL,
    Connect,
    checks,
    creation,
    deliver,
    existing,
    only_lead,
    update,
)

FIELD = "UF_CRM_EXTRA"
pytestmark = BOTH_APIS


def made(portal: FakeBitrix24, connect: Connect, fact: str, lead: Lead, **settings: str) -> dict[str, Any]:
    """The lead with a fact in the field `FIELD`."""
    delivered = deliver(connect(**{f"BITRIX_MAP_{fact}": FIELD}, **settings), creation(lead))
    assert (delivered.moved, delivered.dropped) == ((), ())
    return only_lead(portal)


def test_a_list_takes_the_items_that_it_knows(portal: FakeBitrix24, connect: Connect) -> None:
    portal.add_user_field(FIELD)
    ids = portal.make_enumeration(FIELD, "CS", "Law")
    portal.user_fields[FIELD].multiple = True
    lead = made(portal, connect, "PROGRAMS", FULL)
    assert [str(one) for one in lead[FIELD]] == [str(ids["CS"])]
    assert "Programs: Математика" in lead["comments"].splitlines()


def test_a_list_with_a_table_of_ids(portal: FakeBitrix24, connect: Connect) -> None:
    portal.add_user_field(FIELD)
    ids = portal.make_enumeration(FIELD, "Computers", "Law")
    portal.user_fields[FIELD].multiple = True
    lead = made(portal, connect, "PROGRAMS", FULL, BITRIX_VALUES_PROGRAMS=f"CS={ids['Computers']}")
    assert [str(one) for one in lead[FIELD]] == [str(ids["Computers"])]
    assert "Programs: CS, Математика" in lead["comments"].splitlines()


def test_several_texts(portal: FakeBitrix24, connect: Connect) -> None:
    portal.add_user_field(FIELD, "string", multiple=True)
    lead = made(portal, connect, "UNIVERSITIES", FULL)
    assert lead[FIELD] == ["Boğaziçi", "ODTÜ"]
    assert "Universities" not in lead["comments"]


@pytest.mark.parametrize("given", [True, False])
def test_a_consent(portal: FakeBitrix24, connect: Connect, given: bool) -> None:
    portal.add_user_field(FIELD, "boolean")
    lead = made(portal, connect, "CONSENT", replace(FULL, consent=Consent(given, "You may call")))
    assert lead[FIELD] == ("Y" if given else "N")
    assert "You may call" in lead["comments"]
    body = next(request.body for request in portal.requests if b"You may call" in request.body)
    assert b'"N"' not in body
    assert json.dumps(json.loads(body)["fields"][FIELD]) == ("1" if given else "0")


@pytest.mark.parametrize(
    ("kind", "fact", "value", "stored"),
    [
        ("date", "START_DATE", "2026-09-01", "2026-09-01T03:00:00+03:00"),
        ("date", "START_DATE", "next autumn", None),
        ("double", "GPA", "3,4", 3.4),
        ("double", "GPA", "very good", None),
        ("integer", "BUDGET", "10000", 10000),
        ("integer", "BUDGET", "10,000 EUR", None),
        ("boolean", "SCHOLARSHIP_NEEDED", "yes", "Y"),
        ("boolean", "SCHOLARSHIP_NEEDED", "half", None),
        ("datetime", "CUSTOM_CALL", "2026-01-02T03:04:05+03:00", "2026-01-02T00:04:05+00:00"),
    ],
)
def test_a_value_has_the_form_of_its_field_or_is_described(
    portal: FakeBitrix24, connect: Connect, kind: str, fact: str, value: str, stored: Any
) -> None:
    portal.add_user_field(FIELD, kind)
    changed = {"custom": {"call": value}} if fact == "CUSTOM_CALL" else {fact.lower(): value}
    lead = made(portal, connect, fact, Lead.from_dict(FULL.to_dict() | changed))
    assert lead.get(FIELD) == stored
    assert (f"{label(fact.lower())}: {value}" in lead["comments"].splitlines()) == (stored is None)


def test_an_update_sends_the_same_form(portal: FakeBitrix24, connect: Connect) -> None:
    portal.add_user_field(FIELD, "boolean")
    lead = existing(portal)
    assert deliver(connect(BITRIX_MAP_CONSENT=FIELD), update(lead, FULL)).dropped == ()
    assert only_lead(portal)[FIELD] == "Y"


@pytest.mark.parametrize(
    ("kind", "options", "fact", "good"),
    [
        ("string", {"multiple": True}, "PROGRAMS", True),
        ("boolean", {}, "CONSENT", True),
        ("boolean", {}, "CITY", False),
        ("date", {}, "START_DATE", True),
        ("double", {}, "GPA", True),
        ("double", {}, "CUSTOM_X", True),
        ("file", {}, "CITY", False),
    ],
)
def test_the_commands_know_the_types(
    portal: FakeBitrix24, connect: Connect, kind: str, options: dict[str, Any], fact: str, good: bool
) -> None:
    portal.add_user_field(FIELD, kind, **options)
    ok, detail = checks(connect(**{f"BITRIX_MAP_{fact}": FIELD}))[f"field {FIELD}"]
    assert ok is good
    assert good or (kind in detail and f"BITRIX_MAP_{fact}" in detail)

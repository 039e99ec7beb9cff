"""Values of facts in the form of a CRM field. What has no such form is described."""

from __future__ import annotations

from typing import Any

import pytest

from crmgate.model import Consent, Kind, Lead, Operation
from crmgate.plugin_kit.mapping import FieldMap, lead_facts
from crmgate.plugin_kit.values import FieldType, ValueForm, text
from tests.cases import all_cases

LIST = FieldType(several=True, options={"MSc": "MSc", "PhD": "7"})
TEXTS = FieldType(several=True)
YEARS = FieldType(ValueForm.INTEGER, several=True)
TABLE = {"MSc": "MSc", "master": "PhD"}
AGREED = Consent(True, "I agree", "2026-01-01T00:00:00Z")
OPERATION = Operation(id="1", kind=Kind.CREATE_LEAD, payload={}, accepted_at=0.0)
MOMENT = FieldType(ValueForm.MOMENT, moment_format="%Y-%m-%d %H:%M:%S")


@all_cases(
    ("kind", "value", "sent", "rest"),
    [
        (LIST, ("MSc", "MBA"), ["MSc"], ("MBA",)),
        (LIST, ("PhD", "MSc"), ["7", "MSc"], None),
        (LIST, ["MSc", "MSc"], ["MSc"], None),
        (LIST, "MSc", ["MSc"], None),
        (LIST, "MBA", None, ("MBA",)),
        (LIST, "msc", None, ("msc",)),
        (LIST, ("MBA", "Law"), None, ("MBA", "Law")),
        (FieldType(several=True, options={}), ("MSc",), None, ("MSc",)),
        (TEXTS, ("MBA", "Law, LLM"), ["MBA", "Law, LLM"], None),
        (YEARS, ("2024", "soon"), [2024], ("soon",)),
    ],
)
def test_a_list(kind: FieldType, value: Any, sent: Any, rest: Any) -> None:
    assert kind.convert(value) == (sent, rest)


@pytest.mark.parametrize(
    ("value", "sent", "rest"),
    [
        (("MSc", "master"), ["MSc", "7"], ("master",)),  # the CRM's word alone would lose ours
        (("PhD",), None, ("PhD",)),
    ],
)
def test_a_list_with_a_table_of_values(value: Any, sent: Any, rest: Any) -> None:
    assert LIST.convert(value, TABLE) == (sent, rest)


@all_cases(
    ("value", "sent", "rest"),
    [
        (True, True, None),
        (False, False, None),
        ("yes", True, None),
        (" YES ", True, None),
        ("no", False, None),
        ("on", True, None),
        ("0", False, None),
        ("given", True, None),
        ("not given", False, None),
        ("full", None, "full"),
        ("", None, ""),
        (Consent(True), True, None),
        (Consent(False), False, None),
        (AGREED, True, AGREED),
        (Consent(False, at="2026-01-01"), False, Consent(False, at="2026-01-01")),
    ],
)
def test_a_boolean(value: Any, sent: Any, rest: Any) -> None:
    assert FieldType(ValueForm.BOOLEAN).convert(value) == (sent, rest)


def test_a_boolean_with_a_table_of_values() -> None:
    table = {"full": "yes", "none": "no"}
    assert FieldType(ValueForm.BOOLEAN).convert("full", table) == (True, "full")
    assert FieldType(ValueForm.BOOLEAN).convert("half", table) == (None, "half")


@all_cases(
    ("form", "value", "sent"),
    [
        (ValueForm.INTEGER, 2024, 2024),
        (ValueForm.INTEGER, "2024", 2024),
        (ValueForm.INTEGER, "-3", -3),
        (ValueForm.INTEGER, "0", 0),
        (ValueForm.INTEGER, "3.5", None),
        (ValueForm.INTEGER, "2147483647", 2147483647),
        (ValueForm.INTEGER, "2147483648", None),
        (ValueForm.INTEGER, "05551234567", None),  # a phone number would lose its zero
        (ValueForm.INTEGER, "٣", None),
        (ValueForm.INTEGER, "1" * 5000, None),
        (ValueForm.NUMBER, "3.40", 3.4),
        (ValueForm.NUMBER, "3,4", 3.4),
        (ValueForm.NUMBER, "10,000", None),  # thousands, or a fraction?
        (ValueForm.NUMBER, "10000", 10000),
        (ValueForm.NUMBER, "3.0", 3),
        (ValueForm.NUMBER, 2.5, 2.5),
        (ValueForm.NUMBER, "10,000 EUR", None),
        (ValueForm.NUMBER, "1e9", None),
        (ValueForm.NUMBER, "nan", None),
        (ValueForm.NUMBER, "9" * 400, None),
        (ValueForm.DATE, "2026-09-01", "2026-09-01"),
        (ValueForm.DATE, "2026-02-30", None),
        (ValueForm.DATE, "2026-09", None),
        (ValueForm.DATE, "20260901", None),
        (ValueForm.DATE, "next autumn", None),
        (ValueForm.DATE, "2026-09-01T10:00:00Z", None),
    ],
)
def test_numbers_and_dates(form: ValueForm, value: Any, sent: Any) -> None:
    assert FieldType(form).convert(value) == (sent, value if sent is None else None)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05"),
        ("2026-01-02T03:04:05+03:00", "2026-01-02 00:04:05"),
        ("2026-01-02T03:04:05", None),
        ("2026-01-02", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
    ],
)
def test_a_moment(value: str, sent: str | None) -> None:
    assert MOMENT.convert(value) == (sent, value if sent is None else None)


@all_cases(
    ("fact", "form", "suits"),
    [
        ("city", ValueForm.TEXT, True),
        ("city", ValueForm.INTEGER, False),
        ("custom_shoe", ValueForm.INTEGER, True),
        ("consent", ValueForm.BOOLEAN, True),
        ("phone", ValueForm.BOOLEAN, False),
        ("gpa", ValueForm.NUMBER, True),
        ("start_date", ValueForm.DATE, True),
        ("graduation_year", ValueForm.DATE, False),
        ("occurred_at", ValueForm.MOMENT, True),
    ],
)
def test_facts_that_can_have_a_form(fact: str, form: ValueForm, suits: bool) -> None:
    assert FieldType(form).suits(fact) == suits


def test_what_a_field_does_not_take_is_described() -> None:
    lead = Lead(programs=("MSc", "MBA"), consent=AGREED, start_date="soon", gpa="3.4", source="", referral_code="")
    names = {"programs": "p", "consent": "c", "start_date": "d", "gpa": "g"}
    types = {
        "p": LIST,
        "c": FieldType(ValueForm.BOOLEAN),
        "d": FieldType(ValueForm.DATE),
        "g": FieldType(ValueForm.NUMBER),
    }
    mapped = FieldMap(names, types=types).apply(lead_facts(lead, OPERATION))
    assert mapped.fields == {"p": ["MSc"], "c": True, "g": 3.4}
    assert mapped.rest == [
        ("Programs", "MBA"), ("Start date", "soon"), ("Consent", "given at 2026-01-01T00:00:00Z (I agree)"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "yes"), (False, "no"), (5, "5"), (("a", "b"), "a, b"), ([], ""), (Consent(), "not given")],
)
def test_text(value: Any, shown: str) -> None:
    assert text(value) == shown

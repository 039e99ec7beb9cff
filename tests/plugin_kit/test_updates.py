"""What an update does with each value, given what the CRM has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from crmgate.model import Kind, Lead, Operation
from crmgate.plugin_kit.mapping import Mapped
from crmgate.plugin_kit.updates import UpdateAction, decide, has_value
from crmgate.provider import CRMProvider, Update
from tests.cases import all_cases

ADA = Lead(first_name="Ada", last_name="Lovelace", email="ada@example.org", phone="+905321234567")
OPERATION = Operation("8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.UPDATE_LEAD, ADA.to_dict(), 1_767_322_800.0)
KEEP, FILL, ADD, DESCRIBE, OVERWRITE = (
    UpdateAction.KEEP,
    UpdateAction.FILL,
    UpdateAction.ADD,
    UpdateAction.DESCRIBE,
    UpdateAction.OVERWRITE,
)


class TestDecision:
    @all_cases("overwrite", [False, True])
    @all_cases("known", [None, "", " ", "-", False, [], [None], [""]])
    def test_an_empty_field_is_filled(self, known: Any, overwrite: bool) -> None:
        assert decide("city", "Bonn", known, overwrite=overwrite) is FILL
        assert decide("phone", "+905321234567", known, has_rows=True, overwrite=overwrite) is FILL

    @pytest.mark.parametrize("value", [None, "", "  ", [], ()])
    def test_no_value_changes_nothing(self, value: Any) -> None:
        assert decide("city", value, None) is decide("city", value, "Bonn", overwrite=True) is KEEP

    @pytest.mark.parametrize("known", ["Köln", 0, True, 4711, ["a", "b"]])
    def test_another_value_is_described_or_overwritten(self, known: Any) -> None:
        assert decide("city", "Bonn", known) is DESCRIBE
        assert decide("city", "Bonn", known, overwrite=True) is OVERWRITE

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_another_phone_is_a_row(self, overwrite: bool) -> None:
        known = ["+905321234567"]
        assert decide("phone", "+905321234568", known, has_rows=True, overwrite=overwrite) is ADD
        assert decide("phone", "0532 123 45 67", "+49301234567") is DESCRIBE

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_the_first_referral_code_stays(self, overwrite: bool) -> None:
        assert decide("referral_code", "SECOND", "FIRST", overwrite=overwrite) is DESCRIBE
        assert decide("referral_code", "FIRST", "", overwrite=overwrite) is FILL

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_default_fills_and_replaces_nothing(self, overwrite: bool) -> None:
        assert decide("source", "website", "fair", default="website", overwrite=overwrite) is KEEP
        assert decide("source", "website", "", default="website", overwrite=overwrite) is FILL


@all_cases(
    ("fact", "value", "known", "equal"),
    [
        ("city", "Bonn", "Bonn", True),
        ("city", "Bonn", " Bonn\n", True),
        ("city", "Bonn", "bonn", False),
        ("city", "Bonn", "Bonner", False),
        ("city", "None", None, False),
        ("email", "Ada@Example.org", "ada@example.ORG ", True),
        ("email", "ada@example.org", ["a@example.org", "ADA@example.org"], True),
        ("email", "ada@example.org", ["a@example.org"], False),
        ("phone", "+905321234567", "+90 (532) 123-45-67", True),
        ("phone", "+905321234567", "905321234567", True),
        ("phone", "+905321234567", "00905321234567", True),
        ("phone", "+905321234567", "+905321234568", False),
        ("phone", "none", "unknown", False),
        ("graduation_year", 2024, "2024", True),
        ("graduation_year", "2024", 2024, True),
        ("gpa", "3.50", 3.5, True),
        ("gpa", "3.50", "3.5", False),
        ("gpa", "good", 3.5, False),
        ("gpa", "1", True, False),
        ("custom_card", "0012", "12", False),
        ("birth_date", "2001-02-03", "2001-02-03T03:00:00+03:00", True),
        ("birth_date", "2001-02-03", "2001-02-04T00:00:00+03:00", False),
        ("gpa", 3.4, "3.40", True),
        ("gpa", 3.4, "3.5", False),
        ("custom_call", "2026-01-02T00:04:05+00:00", "2026-01-02T03:04:05+03:00", True),
        ("custom_call", "2026-01-02T00:04:05+00:00", "2026-01-02T00:04:05+03:00", False),
        ("custom_call", "2026-01-02T00:04:05", "2026-01-02T00:04:05+00:00", False),
        ("consent", True, True, True),
        ("consent", False, True, False),
        ("programs", ["CS", "Law"], ["Law", "CS", "MBA"], True),
        ("programs", ["CS", "Law"], ["Law"], False),
        ("full_name", "Ada Lovelace", "Ada Lovelace", True),
        ("full_name", "Ada", "Ada Lovelace", True),
        ("full_name", "Ada Byron", "Ada Lovelace", False),
        ("full_name", "Ad", "Ada Lovelace", False),
        ("address", "Türkiye", "İzmir, Türkiye", True),
        ("address", "İzmir", "İzmir Köyü, Türkiye", False),
        ("city", "İzmir", "İzmir, Türkiye", False),
    ],
)
def test_equal_values(fact: str, value: Any, known: Any, equal: bool) -> None:
    assert has_value(fact, value, known) is equal


class Some(CRMProvider):
    """A CRM that gets no requests."""

    name = "some"
    lead_fields: ClassVar[Mapping[str, str]] = {
        "first_name": "firstName", "last_name": "lastName", "phone": "phone", "source": "origin",
        "referral_code": "code", "user_type": "type", "operation_id": "key",
    }  # fmt: skip
    lead_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"user_type": {"student": "S", "parent": "P"}}


class Whole(CRMProvider):
    """A CRM with one field for a name and one for an address."""

    name = "whole"
    lead_fields: ClassVar[Mapping[str, str]] = {"full_name": "name", "address": "place"}


class TestComposites:
    def plan(self, lead: Lead, current: Mapping[str, Any], **options: str) -> Update:
        return Whole({}, **options).plan_update(lead, OPERATION, current, minimal={"name": "Messenger"})

    def test_a_part_alone_changes_nothing(self) -> None:
        plan = self.plan(Lead(first_name="Ada"), {"name": "Ada Lovelace"}, on_update="overwrite")
        assert plan.fields == {}
        assert [name for name, _ in plan.rest if "name" in name.lower()] == []

    def test_another_name_is_described_as_a_whole(self) -> None:
        plan = self.plan(Lead(first_name="Ada", last_name="Byron", city="Bonn"), {"name": "Ada Lovelace"})
        assert (plan.fields, plan.rest[0]) == ({"place": "Bonn"}, ("Full name", "Ada Byron"))
        assert ("City", "Bonn") not in plan.rest

    def test_a_person_replaces_the_name_of_a_click(self) -> None:
        assert self.plan(Lead(first_name="Ada"), {"name": "Messenger"}).fields == {"name": "Ada"}


class TestPlan:
    MINIMAL: ClassVar[Mapping[str, str]] = {"firstName": "Messenger", "lastName": "Lead"}

    def plan(self, lead: Lead, current: Mapping[str, Any], rows: tuple[str, ...] = (), **options: str) -> Update:
        return Some({}, **options).plan_update(lead, OPERATION, current, rows=rows, minimal=self.MINIMAL)

    def test_a_value_that_differs_is_described_with_its_label(self) -> None:
        plan = self.plan(ADA, {"firstName": "A.", "lastName": "Lovelace", "code": "REF7", "origin": "fair"})
        assert plan.fields == {"phone": "+905321234567"}
        assert plan.rest == [("First name", "Ada"), ("Email", "ada@example.org")]

    def test_the_previous_value_is_described_if_it_is_overwritten(self) -> None:
        lead = replace(ADA, referral_code="REF8")
        plan = self.plan(lead, {"firstName": "A.", "lastName": "-", "code": "REF7"}, on_update="overwrite")
        assert plan.fields == {
            "firstName": "Ada", "lastName": "Lovelace", "phone": "+905321234567", "origin": "website",
        }  # fmt: skip
        assert plan.rest[:2] == [("First name", "was: A."), ("Referral code", "REF8")]

    def test_a_value_that_the_rest_has_is_not_described_twice(self) -> None:
        plan = self.plan(Lead(user_type="student"), {"type": "P"})
        assert (plan.fields.get("type"), plan.rest) == (None, [("User type", "student")])

    def test_a_further_phone(self) -> None:
        plan = self.plan(Lead(phone="+49301234567"), {"phone": ["+905321234567"]}, rows=("phone",))
        assert (plan.rows, plan.rest) == ({"phone": "+49301234567"}, [])

    def test_a_further_phone_becomes_the_newest(self) -> None:
        current = {"phone": ["+905321234567"]}
        plan = self.plan(Lead(phone="+49301234567"), current, rows=("phone",), on_update="overwrite")
        assert (plan.rows, plan.rest) == ({"phone": "+49301234567"}, [("Phone", "was: +905321234567")])

    def test_the_operation_id_stays(self) -> None:
        assert "key" not in self.plan(ADA, {}).fields
        assert "key" not in self.plan(ADA, {"key": "other"}, on_update="overwrite").fields

    @pytest.mark.parametrize(
        ("lead", "fields"),
        [
            (ADA, {"firstName": "Ada", "lastName": "Lovelace"}),
            (Lead(first_name="Ada"), {"firstName": "Ada", "lastName": ""}),
            (Lead(last_name="Lovelace"), {"firstName": "", "lastName": "Lovelace"}),
            (Lead(email="ada@example.org"), {}),
        ],
    )
    def test_a_person_replaces_the_name_of_a_click(self, lead: Lead, fields: dict[str, str]) -> None:
        plan = self.plan(lead, self.MINIMAL)
        assert {name: plan.fields[name] for name in self.MINIMAL if name in plan.fields} == fields
        assert "was:" not in str(plan.rest)

    @pytest.mark.parametrize(
        ("current", "fields", "described"),
        [
            (
                ("Messenger", "King"),
                {"firstName": "Ada"},
                [("First name", "was: Messenger"), ("Last name", "Lovelace")],
            ),
            (("Alan", "Lead"), {"lastName": "Lovelace"}, [("First name", "Ada"), ("Last name", "was: Lead")]),
        ],
    )
    def test_half_of_the_name_of_a_click(
        self, current: tuple[str, str], fields: dict[str, str], described: list[tuple[str, str]]
    ) -> None:
        plan = self.plan(ADA, {"firstName": current[0], "lastName": current[1], "phone": ADA.phone, "origin": "x"})
        assert plan.fields == fields | {"code": "DIRECT"}
        assert plan.rest == [*described, ("Email", "ada@example.org")]

    def test_it_can_be_described(self) -> None:
        crm = Some({})
        plan = self.plan(ADA, {"firstName": "A."})
        assert isinstance(plan, Mapped)
        assert crm.describe(plan, OPERATION, "Hello").splitlines()[:3] == ["Hello", "", "First name: Ada"]

    def test_the_heading_has_the_time_of_acceptance(self) -> None:
        assert Some({}).update_heading(OPERATION) == "Update of 2026-01-02 03:00:00 UTC:"

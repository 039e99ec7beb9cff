"""A submission of a machine becomes a lead whatever its values are; without a contact an operator can complete it."""

from __future__ import annotations

from typing import Any

import pytest

from crmgate.model import Kind, Operation, new_id
from crmgate.schemas.edit import edited
from crmgate.sources import Received
from crmgate.sources.leads import ReceivedLead, read
from tests.sources.payloads import EXAMPLES


def reading(**fields: Any) -> ReceivedLead:
    return read("acme", Received({name.replace("__", " "): value for name, value in fields.items()}), "TR")


def codes(found: ReceivedLead) -> set[tuple[str, str]]:
    return {(warning.field, warning.code) for warning in found.warnings}


def test_known_names_are_fields_and_all_others_are_custom() -> None:
    found = reading(Name="Ada Lovelace", Email="ada@example.com", tel="0532 123 45 67", shoe__size=38, likes=["a", "b"])
    assert found.complete
    assert found.payload == {
        "first_name": "Ada", "last_name": "Lovelace", "email": "ada@example.com", "phone": "+905321234567",
        "source": "acme", "referral_code": "DIRECT", "custom": {"shoe size": "38", "likes": "a, b"},
    }  # fmt: skip
    assert found.people == ("ada@example.com", "+905321234567")
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("fields", "first_name", "warned"),
    [
        ({"email": "ada.l@example.com"}, "ada.l", True),
        ({"phone": "+905321234567"}, "-", True),
        ({"phone": "+905321234567", "last_name": "Lovelace"}, "-", True),
        ({"phone": "+905321234567", "first_name": "A" * 101}, "A" * 100, False),
        ({"email": "x" * 60 + "@example.com"}, "x" * 60, True),
        ({"email": "ada@example.com", "first_name": "Ada"}, "Ada", False),
    ],
)
def test_a_stand_in_for_the_name(fields: dict[str, Any], first_name: str, warned: bool) -> None:
    found = reading(**fields)
    assert found.complete
    assert found.payload["first_name"] == first_name
    assert (("first_name", "stand_in") in codes(found)) == warned


def test_a_stand_in_is_of_the_email_and_not_of_the_text_around_it() -> None:
    found = reading(email="mail me: ada.l@example.com")
    assert (found.payload["email"], found.payload["first_name"]) == ("ada.l@example.com", "ada.l")


ADDRESS, NUMBER = "ada@example.com", "+905321234567"


@pytest.mark.parametrize(
    ("fields", "contacts", "warned", "custom"),
    [
        ({"email": "0532 123 45 67"}, (NUMBER,), {"email"}, {}),
        ({"phone": ADDRESS}, (ADDRESS,), {"phone"}, {}),
        ({"email": "0532 123 45 67", "phone": ADDRESS}, (ADDRESS, NUMBER), {"email", "phone"}, {}),
        ({"e-mail": "0532 123 45 67", "email": ADDRESS}, (ADDRESS, NUMBER), {"e-mail"}, {}),
        ({"email": "0533 123 45 67", "phone": NUMBER}, (NUMBER,), set(), {"email": "0533 123 45 67"}),
        ({"email": ADDRESS, "phone": f"0532 123 45 67 or {ADDRESS}"}, (ADDRESS, NUMBER), set(), None),
        ({"email": "no", "phone": NUMBER}, (NUMBER,), set(), {"email": "no"}),
    ],
)
def test_a_contact_in_the_field_of_the_other_one(
    fields: dict[str, str], contacts: tuple[str, ...], warned: set[str], custom: dict[str, str] | None
) -> None:
    found = reading(first_name="Ada", **fields)
    assert (found.complete, found.people) == (True, contacts)
    assert {name for name, code in codes(found) if code == "recognised"} == warned
    assert custom is None or found.payload.get("custom", {}) == custom


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"birth_date": "soon"}, {"birth_date": "soon"}),
        ({"graduation_year": "MMXX"}, {"graduation_year": "MMXX"}),
        ({"user_type": "robot", "city": "x" * 101}, {"user_type": "robot", "city": "x" * 101}),
        ({"birth_date": "2001-02-30"}, {"birth_date": "2001-02-30"}),
        ({"referral_code": "a b"}, {"referral_code": "a b"}),
        ({"phone": "call me"}, {"phone": "call me"}),
        ({"first_name": "A" * 101, "last_name": "B"}, {"first_name": "A" * 101}),
    ],
)
def test_a_value_that_does_not_fit_is_kept_and_the_lead_is_not_lost(
    fields: dict[str, Any], kept: dict[str, str]
) -> None:
    found = reading(email="ada@example.com", **fields)
    assert found.complete
    assert found.payload["email"] == "ada@example.com"
    assert kept.items() <= found.payload["custom"].items()
    assert {name for name, code in codes(found) if code in ("unusable_value", "cut")}


@pytest.mark.parametrize(
    ("value", "fact", "stored"),
    [("ada@example.com", "email", "ada@example.com"), ("+90 532 123 45 67", "phone", "+905321234567")],
)
def test_a_contact_is_recognised_by_its_value(value: str, fact: str, stored: str) -> None:
    found = reading(kontaktweg=value, comment__box="see ada@example.com, +90 532 123 45 68")
    assert (found.complete, found.payload[fact]) == (True, stored)
    assert ("kontaktweg", "recognised") in codes(found)
    assert "kontaktweg" not in found.payload["custom"]


@pytest.mark.parametrize(
    "value", ["2026-11-28 10:00", "12345", "ada at example.com", "10.000", "№ 1", 1732780800, "5321234567"]
)
def test_not_everything_is_a_contact(value: str | int) -> None:
    found = reading(kontaktweg=value)
    assert not found.complete
    assert found.payload["custom"] == {"kontaktweg": str(value)}


def test_more_than_custom_takes_is_in_the_notes() -> None:
    fields = {f"question {number}": f"answer {number}" for number in range(60)}
    title, essay = "Which of these is the one that you would like to do most, and why? " * 2, "word " * 1000
    found = reading(email="ada@example.com", message="Hello", **fields, **{title: "yes"}, essay=essay)
    assert found.complete
    assert len(found.payload["custom"]) == 50
    notes = found.payload["additional_info"]
    for text in ("Hello", "question 59: answer 59", f"{title.strip()}: yes", f"essay: {essay.strip()}"):
        assert text in notes


@pytest.mark.parametrize("contact", [{"email": ADDRESS}, {}])
def test_notes_that_are_too_long_are_cut_with_a_warning(contact: dict[str, str]) -> None:
    found = reading(essay="word " * 10_000, **contact)
    assert found.complete == bool(contact)
    assert len(found.payload["additional_info"]) == 20_000
    assert ("additional_info", "cut") in codes(found)


def test_no_contact_is_incomplete_and_can_be_completed() -> None:
    found = reading(first_name="Ada", city="Izmir", phone="none", likes=["a", "b"], **{"x" * 70: "long"})
    assert not found.complete
    assert found.people == ()
    assert found.payload["first_name"] == "Ada"
    assert found.payload["custom"] == {"likes": "a, b", "phone": "none", "city": "Izmir"}
    assert found.payload["additional_info"] == "x" * 70 + ": long"
    operation = Operation(new_id(), Kind.CREATE_LEAD, found.payload, 0.0)
    payload, _ = edited(operation, {"email": "ada@example.com"}, default_region="TR", channels=set())
    assert (payload["first_name"], payload["email"], payload["custom"]["city"]) == ("Ada", "ada@example.com", "Izmir")


def test_an_incomplete_one_has_no_stand_in() -> None:
    assert "first_name" not in reading(city="Izmir").payload


@pytest.mark.parametrize(
    "name", ["_hp", "_next", "custom", "utm", "personal_info", "preferences", "", "\u200b", "a.b[c]"]
)
def test_odd_names_are_kept(name: str) -> None:
    found = read("acme", Received({name: "kept", "email": "ada@example.com"}), "TR")
    assert found.complete
    assert "kept" in found.payload["custom"].values()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_leads(name: str) -> None:
    for sent in EXAMPLES[name]:
        found = read(name, Received(sent.fields, sent.delivery), "TR")
        assert found.delivery_id == sent.delivery
        assert found.complete == ("created_time" not in sent.fields), sent.fields


def test_aliases_of_the_operator_count() -> None:
    fields = {"Q5": "0532 123 45 67", "isim-alani": "Ada Lovelace", "Name": "Footer form"}
    aliases = {"q5": "phone", "isim-alani": "full_name", "name": "custom"}
    found = read("acme", Received(fields), "TR", aliases)
    assert (found.payload["first_name"], found.payload["last_name"]) == ("Ada", "Lovelace")
    assert (found.payload["phone"], found.payload["custom"]) == ("+905321234567", {"Name": "Footer form"})

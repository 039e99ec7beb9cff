"""Masked payloads, and the audit entries of views."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from crmgate.errors import LedgerUnavailable
from crmgate.kinds import payload_types
from crmgate.model import Kind, Operation
from crmgate.operators.payloads import AGAIN, PLAIN, Payloads, mask, masked


class Entries:
    def __init__(self) -> None:
        self.made: list[tuple[str, str]] = []
        self.down = False

    def record(self, who: str, _what: str, on: str, _detail: str = "") -> None:
        if self.down:
            raise LedgerUnavailable
        self.made.append((who, on))


ADA = Operation("1", Kind.CREATE_LEAD, {"first_name": "Ada"}, 0.0)


def payloads() -> tuple[Payloads, Entries, list[float]]:
    entries, now = Entries(), [0.0]
    return Payloads(entries, lambda: now[0]), entries, now  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ada@example.com", "a***@e***.com"), ("@", "***@***"), ("a@b", "a***@b***"), ("+905321234567", "+90***67"),
        ("write to ada@example.com", "w***"), ("Ada", "A***"), ("", ""), (None, None), (True, True), (2027, "2***"),
        ({"fax": "1234", "n": {"m": "x"}}, {"fax": "1***", "n": {"m": "x***"}}), (["Ada", ""], ["A***", ""]),
    ],
)  # fmt: skip
def test_a_masked_value_shows_little(value: Any, shown: Any) -> None:
    assert mask(value) == shown


def test_only_fields_of_the_visit_and_the_choice_are_shown() -> None:
    names = {field.name for payload in payload_types() for field in fields(payload)}
    assert names >= PLAIN
    assert names - PLAIN == {
        "additional_info", "birth_date", "budget", "city", "consent", "country", "custom", "email", "field_of_study",
        "first_name", "gpa", "institution", "last_name", "metadata", "phone", "session", "source_description",
    }  # fmt: skip
    assert masked({"source": "website", "email": "a@b.co", "new": "x y"}) == {
        "source": "website", "email": "a***@b***.co", "new": "x***",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ({"utm": {"source": "ads", "term": "ada@example.com"}}, {"utm": {"source": "ads", "term": "a***@e***.com"}}),
        ({"utm": {"term": "ada%40example.com"}}, {"utm": {"term": "a***"}}),
        ({"referral_code": "0532 123 45 67"}, {"referral_code": "0***"}),
        ({"programs": ["Law", "+905321234567"]}, {"programs": ["Law", "+90***67"]}),
        ({"start_date": "2026-09-01", "graduation_year": 2026}, {"start_date": "2026-09-01", "graduation_year": 2026}),
        ({"custom": {"ada@example.com": "x y", "shoe size": "38"}},
         {"custom": {"a***@e***.com": "x***", "shoe size": "3***"}}),
    ],
)  # fmt: skip
def test_a_contact_is_masked_wherever_a_link_can_put_it(payload: dict[str, Any], shown: dict[str, Any]) -> None:
    assert masked(payload) == shown


def test_a_payload_is_not_shown_without_its_entry() -> None:
    shown, entries, _ = payloads()
    entries.down = True
    with pytest.raises(LedgerUnavailable):
        shown.shown(ADA, "operate", "ops")
    assert shown.shown(ADA, "read", "ops") == {"first_name": "A***"}
    entries.down = False
    assert shown.shown(ADA, "operate", "ops") == {"first_name": "Ada"}
    assert entries.made == [("ops", "1")], "the failed view was none"


def test_a_view_is_one_entry_for_an_operator_and_a_while() -> None:
    shown, entries, now = payloads()
    for who in ("ops", "eve", "ops"):
        shown.shown(ADA, "operate", who)
    assert entries.made == [("ops", "1"), ("eve", "1")]
    now[0] = AGAIN
    shown.shown(ADA, "operate", "ops")
    assert entries.made[2:] == [("ops", "1")]


def test_what_has_no_payload_is_no_view() -> None:
    shown, entries, _ = payloads()
    assert shown.shown(Operation("1", Kind.CREATE_LEAD, {}, 0.0), "operate", "ops") == {}
    assert entries.made == []


def test_a_flood_of_views_needs_little_memory() -> None:
    shown, entries, _ = payloads()
    for number in range(1500):
        shown.shown(Operation(str(number), Kind.CREATE_LEAD, {"first_name": "Ada"}, 0.0), "operate", "ops")
    assert len(entries.made) == 1500
    assert len(shown._viewed) == 1000

"""No value of the visitor is lost, and none is in the record twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from crmgate.model import Activity, Consent, Kind, Lead, Operation, Utm
from crmgate.plugin_kit.mapping import (
    LABELS,
    SILENT,
    FieldMap,
    Mapped,
    activity_facts,
    describe,
    label,
    lead_facts,
    mappable,
    setting_name,
)
from tests.cases import all_cases

OPERATION = Operation("8b1c0f4e2d9a47f6b3c5d7e9f1a2b3c4", Kind.CREATE_LEAD, {}, 0.0)
CRM_FIELDS = FieldMap(
    {
        "first_name": "firstName", "last_name": "lastName", "email": "emailAddress", "phone": "phoneNumber",
        "referral_code": "referralCodeC", "university": "universityC", "source": "source", "user_type": "userTypeC",
        "operation_id": "crmgateOperationIdC", "custom_visa": "visaC",
    },
    {"source": {"website": "Web Site", "partner": "Partner"}, "user_type": {"student": "student", "parent": "Parent"}},
)  # fmt: skip
FULL = Lead(
    first_name="Ada", last_name="Byron", email="ada@example.com", phone="+905321234567", country="Germany",
    city="Köln", birth_date="2004-02-29", education_level="high school", field_of_study="Medicine",
    institution="Lycée Hugo", graduation_year=2022, gpa="3.9", universities=("Koç", "Sabancı", "Bilkent"),
    programs=("Surgery", "Law"), budget="5000 €", start_date="2026-09", scholarship_needed="maybe",
    language_preference="german", user_type="parent", language="both", scholarship="yes", university_chosen="no",
    referral_code="REF_77", source="landing", source_description="the footer",
    utm=Utm("g", "cpc", "may", "b3", "abroad"), session="s-123",
    consent=Consent(True, "I agree to be called", "2026-01-01T00:00:00Z"),
    additional_info="Call after six", custom={"visaType": "F-1", "visa": "pending", "Wie gefunden?": "Freunde"},
)  # fmt: skip
LEADS = {
    "empty": Lead(),
    "minimal": Lead(first_name="Ada", phone="+905321234567"),
    "full": FULL,
    "turkish": Lead(first_name="İpek", last_name="Çağlayan", city="Şırnak", universities=("Boğaziçi",)),
    "arabic": Lead(
        first_name="محمد", last_name="العربي", additional_info="مرحبا، أريد الدراسة", custom={"مدينة": "دبي"}
    ),
    "hebrew and marks": Lead(first_name="נועה\u200f", city="\u202bתל אביב\u202c"),
    "emoji": Lead(first_name="👩🏽‍🎓", additional_info="🎓➡️🇹🇷", custom={"😀": "👍🏿"}, programs=("🩺", "⚖️")),
    "chinese": Lead(first_name="伟", last_name="王", institution="北京大学", universities=("海峡大学", "Koç")),
    "markup": Lead(first_name="<b>A</b>", additional_info="[URL=x]y[/URL]\n: = , ;", custom={"a: b": "c=d,e"}),
    "digits": Lead(graduation_year=0, custom={"0": "0"}),
    "no consent": Lead(consent=Consent(False)),
    "one university": Lead(universities=("Koç",), source="partner"),
    "no source": Lead(source="", referral_code=""),
}


def values(lead: Lead) -> Iterator[str]:
    """Every single value of a lead, as text."""
    for each in fields(lead):
        value = getattr(lead, each.name)
        match value:
            case tuple():
                yield from value
            case Mapping():
                yield from value.values()
            case Utm():
                yield from value.to_dict().values()
            case Consent():
                yield from filter(None, ("given" if value.given else "not given", value.at, value.text))
            case None | "":
                continue
            case _:
                yield str(value)


def mapped_and_described(lead: Lead, field_map: FieldMap = CRM_FIELDS) -> tuple[Mapped, str]:
    mapped = field_map.apply(lead_facts(lead, OPERATION))
    return mapped, describe(mapped.rest, OPERATION, lead.additional_info)


@all_cases("field_map", [CRM_FIELDS, FieldMap()], ids=["mapped", "unmapped"])
@all_cases("lead", LEADS.values(), ids=LEADS)
def test_every_value_is_in_a_field_or_in_the_description(lead: Lead, field_map: FieldMap) -> None:
    mapped, description = mapped_and_described(lead, field_map)
    lost = [value for value in values(lead) if value not in mapped.fields.values() and value not in description]
    assert lost == []


def unmistakable() -> Lead:
    """A lead of which every value occurs once and in no other."""
    texts: dict[str, Any] = {each.name: f"«{each.name}»" for each in fields(Lead) if each.default == ""}
    return Lead(
        **texts, graduation_year=2019, universities=("«first»", "«second»"), programs=("«law»", "«art»"),
        utm=Utm(*(f"«{each.name}»" for each in fields(Utm))), consent=Consent(True, "«text»", "«at»"),
        custom={"a": "«custom a»", "visa": "«custom visa»"},
    )  # fmt: skip


@pytest.mark.parametrize("field_map", [CRM_FIELDS, FieldMap()], ids=["mapped", "unmapped"])
def test_nothing_is_described_twice_nor_both_sent_and_described(field_map: FieldMap) -> None:
    lead = unmistakable()
    mapped, description = mapped_and_described(lead, field_map)
    sent = list(mapped.fields.values())
    for value in set(values(lead)) - {"given", "«first»"}:
        assert description.count(value) + sent.count(value) == 1, value
    assert description.count("«first»") == 1  # it may be sent as well, but the list would be odd without it


def test_the_facts_of_a_click_are_reported_too() -> None:
    activity = Activity("telegram", "R7", "2026-01-01T00:00:00Z", "s-9", Utm("g"), {"page": "/de", "notes": ""})
    mapped = CRM_FIELDS.apply(activity_facts(activity, OPERATION))
    assert mapped.fields == {"referralCodeC": "R7", "crmgateOperationIdC": OPERATION.id}
    assert mapped.rest == [
        ("Channel", "telegram"), ("UTM source", "g"), ("Session", "s-9"), ("Time", "2026-01-01T00:00:00Z"),
        ("page", "/de"),
    ]  # fmt: skip


def test_a_full_lead_reads_like_this() -> None:
    mapped, description = mapped_and_described(FULL)
    assert mapped.fields == {
        "firstName": "Ada", "lastName": "Byron", "emailAddress": "ada@example.com", "phoneNumber": "+905321234567",
        "userTypeC": "Parent", "universityC": "Koç", "referralCodeC": "REF_77",
        "crmgateOperationIdC": OPERATION.id, "visaC": "pending",
    }  # fmt: skip
    assert description == (
        "Call after six\n\n"
        "Country: Germany\nCity: Köln\nBirth date: 2004-02-29\nUser type: parent\nLanguage: both\n"
        "Universities: Koç, Sabancı, Bilkent\nUniversity chosen: no\nPrograms: Surgery, Law\n"
        "Field of study: Medicine\nEducation level: high school\nInstitution: Lycée Hugo\nGraduation year: 2022\n"
        "GPA: 3.9\nBudget: 5000 €\nStart date: 2026-09\nScholarship: yes\nScholarship needed: maybe\n"
        "Language preference: german\nSource: landing\nSource description: the footer\nUTM source: g\n"
        "UTM medium: cpc\nUTM campaign: may\nUTM content: b3\nUTM term: abroad\n"
        "Consent: given at 2026-01-01T00:00:00Z (I agree to be called)\nSession: s-123\n"
        "visaType: F-1\nWie gefunden?: Freunde\n\n"
        "Submitted: 1970-01-01 00:00 UTC\nTracking code: CG-HCE0-YKHD"
    )


@pytest.mark.parametrize(
    ("source", "sent", "described"),
    [
        ("website", "Web Site", "Source: website"),  # translated: the CRM's word alone would lose ours
        ("partner", "Partner", "Source: partner"),
        ("landing", None, "Source: landing"),  # unknown to the table: the CRM would refuse it
        ("", None, None),
    ],
)
def test_a_translated_value_is_described_as_well(source: str, sent: str | None, described: str | None) -> None:
    mapped, description = mapped_and_described(Lead(source=source))
    assert mapped.fields.get("source") == sent
    assert ("Source: " in description) == bool(described)
    assert (described or "") in description


def test_a_value_that_the_table_leaves_as_it_is_is_not_described() -> None:
    mapped, description = mapped_and_described(Lead(user_type="student"))
    assert mapped.fields["userTypeC"] == "student"
    assert "User type" not in description


@pytest.mark.parametrize(
    ("universities", "names", "sent", "described"),
    [
        ((), {}, {}, []),
        (("A",), {}, {}, [("University", "A")]),
        (("A", "B"), {}, {}, [("Universities", "A, B")]),
        (("A",), {"university": "u"}, {"u": "A"}, []),
        (("A", "B"), {"university": "u"}, {"u": "A"}, [("Universities", "A, B")]),
        (("A", "B"), {"universities": "us"}, {"us": "A, B"}, []),
        (("A", "B"), {"university": "u", "universities": "us"}, {"u": "A", "us": "A, B"}, []),
        (("A",), {"universities": "us"}, {"us": "A"}, []),
    ],
)
def test_several_universities(
    universities: tuple[str, ...], names: dict[str, str], sent: dict[str, str], described: list[tuple[str, str]]
) -> None:
    facts = lead_facts(Lead(universities=universities, source="", referral_code=""), OPERATION)
    mapped = FieldMap(names).apply(facts)
    assert (mapped.fields, mapped.rest) == (sent, described)


def test_a_translated_university_of_several_is_described_once() -> None:
    field_map = FieldMap({"university": "u"}, {"university": {"A": "University of A"}})
    mapped, description = mapped_and_described(Lead(universities=("A", "B")), field_map)
    assert mapped.fields == {"u": "University of A"}
    assert description.count("A, B") == 1
    assert "University: " not in description


@pytest.mark.parametrize(
    ("consent", "described"),
    [
        (None, None),
        (Consent(False), "not given"),
        (Consent(True), "given"),
        (Consent(True, at="2026-01-01"), "given at 2026-01-01"),
        (Consent(True, "I agree"), "given (I agree)"),
        (Consent(False, "No thanks", "2026-01-01"), "not given at 2026-01-01 (No thanks)"),
    ],
)
def test_consent(consent: Consent | None, described: str | None) -> None:
    rest = dict(FieldMap().apply(lead_facts(Lead(consent=consent), OPERATION)).rest)
    assert rest.get("Consent") == described


@pytest.mark.parametrize(
    ("key", "setting", "reaches_the_field"),
    [
        ("visa", "custom_visa", True),
        ("visaType", "custom_visatype", True),
        ("Visa type", "custom_visa_type", True),
        ("wie-gefunden?", "custom_wie_gefunden_", True),
        ("şehir", "custom_şehir", True),
        ("visa", "custom_visas", False),
        ("source", "source", False),  # what a form calls `source` of its own is not the source
    ],
)
def test_a_custom_key_reaches_a_field_only_through_its_own_setting(
    key: str, setting: str, reaches_the_field: bool
) -> None:
    mapped = FieldMap({setting: "x"}).apply(lead_facts(Lead(custom={key: "typed"}, source=""), OPERATION))
    assert (mapped.fields == {"x": "typed"}) == reaches_the_field
    assert ((key, "typed") in mapped.rest) != reaches_the_field


def test_two_facts_for_one_field_do_not_overwrite_each_other() -> None:
    field_map = FieldMap({"city": "x", "country": "x", "custom_a_b": "y"})
    mapped, description = mapped_and_described(
        Lead(city="Bonn", country="Germany", custom={"A b": "1", "a-B": "2"}), field_map
    )
    assert mapped.fields == {"x": "Germany", "y": "1"}
    assert "City: Bonn" in description
    assert "a-B: 2" in description


@pytest.mark.parametrize(("value", "sent"), [(2024, "Y24"), (2023, None)])
def test_a_table_translates_numbers_too(value: int, sent: str | None) -> None:
    field_map = FieldMap({"graduation_year": "year"}, {"graduation_year": {"2024": "Y24"}})
    mapped, description = mapped_and_described(Lead(graduation_year=value), field_map)
    assert mapped.fields.get("year") == sent
    assert f"Graduation year: {value}" in description


def test_a_number_without_a_table_stays_a_number() -> None:
    assert mapped_and_described(FULL, FieldMap({"graduation_year": "year"}))[0].fields == {"year": 2022}


def test_lists_instead_of_tuples_do_no_harm() -> None:
    lists: dict[str, Any] = {"universities": [], "programs": ["Law"]}
    odd = replace(FULL, **lists)
    mapped, description = mapped_and_described(odd, FieldMap({"programs": "p"}, {"programs": {"Law": "LAW"}}))
    assert mapped.fields == {"p": "LAW"}
    assert "Universit" not in description.replace("University chosen", "")


def test_an_empty_custom_value_says_nothing() -> None:
    assert (
        mapped_and_described(Lead(custom={"empty": ""}, source="", referral_code=""), FieldMap())[1]
        == "Submitted: 1970-01-01 00:00 UTC\nTracking code: CG-HCE0-YKHD"
    )


def test_the_operation_id_and_the_second_source_are_never_described() -> None:
    description = mapped_and_described(FULL, FieldMap())[1]
    assert OPERATION.id not in description
    assert description.count("landing") == 1


PARTS = {"full_name": ("first_name", "last_name"), "address": ("city", "country")}
COMPOSITES = [
    ("full_name", Lead(first_name="Ayşe Gül", last_name="Çağlı"), "Ayşe Gül Çağlı"),
    ("full_name", Lead(last_name="Çağlı"), "Çağlı"),
    ("full_name", Lead(city="Bonn"), None),
    ("address", Lead(city="İzmir", country="Türkiye"), "İzmir, Türkiye"),
    ("address", Lead(country="Türkiye"), "Türkiye"),
    ("address", Lead(first_name="Ada"), None),
]


@all_cases(("fact", "lead", "whole"), COMPOSITES)
def test_a_composite_fact_has_all_its_parts(fact: str, lead: Lead, whole: str | None) -> None:
    mapped, description = mapped_and_described(lead, FieldMap({fact: "whole"}))
    assert mapped.fields.get("whole") == whole
    for part in PARTS[fact]:
        assert f"{label(part)}: " not in description
    parts, described = mapped_and_described(lead, FieldMap())
    assert (parts.fields, label(fact) in described) == ({}, False)
    for part in PARTS[fact]:
        assert (f"{label(part)}: {getattr(lead, part)}" in described) == bool(getattr(lead, part))


def test_a_part_with_a_field_of_its_own_is_sent_too() -> None:
    mapped, _ = mapped_and_described(FULL, FieldMap({"full_name": "whole", "first_name": "first"}))
    assert mapped.fields == {"whole": "Ada Byron", "first": "Ada"}


def test_a_composite_fact_comes_before_its_part_in_one_field() -> None:
    mapped, description = mapped_and_described(FULL, FieldMap({"last_name": "name", "full_name": "name"}))
    assert (mapped.fields, mapped.facts) == ({"name": "Ada Byron"}, {"name": "full_name"})
    assert "Last name: Byron" not in description


def test_the_parts_of_a_composite_fact_that_is_not_sent_are_described() -> None:
    field_map = FieldMap({"address": "place"}, {"address": {"Bonn, Germany": "B"}})
    mapped, description = mapped_and_described(FULL, field_map)
    assert mapped.fields == {}
    assert {"City: Köln", "Country: Germany"} <= set(description.splitlines())
    assert "Address" not in description


def test_a_setting_maps_a_composite_fact() -> None:
    problems: list[str] = []
    field_map = FieldMap.configured({"first_name": "f"}, {}, "acme", {"ACME_MAP_FULL_NAME": "n"}, problems)
    assert (problems, field_map.names) == ([], {"first_name": "f", "full_name": "n"})


def test_every_field_of_a_lead_and_a_click_is_a_fact() -> None:
    nested = {"utm", "custom", "metadata", "additional_info"}  # flattened, or the free text of the description
    names = {each.name for each in (*fields(Lead), *fields(Activity))} - nested
    missing = {*names, *(f"utm_{each.name}" for each in fields(Utm))} - {*LABELS, *SILENT}
    assert not missing, f"crmgate/plugin_kit/mapping.py: LABELS has no label for {missing}"
    assert set(mappable()) == {*LABELS, *SILENT}


@pytest.mark.parametrize(
    ("name", "shown"), [("city", "City"), ("custom_visaType", "visaType"), ("custom_city", "city"), ("other", "other")]
)
def test_labels(name: str, shown: str) -> None:
    assert label(name) == shown
    assert setting_name(name) == (name.lower() if name.startswith("custom_") else name)


def test_the_time_of_the_submission_is_there_however_late_the_lead_arrives() -> None:
    operation = replace(OPERATION, accepted_at=datetime(2026, 11, 28, 23, 59, 30, tzinfo=UTC).timestamp())
    assert "Submitted: 2026-11-28 23:59 UTC" in describe([], operation, "words").splitlines()

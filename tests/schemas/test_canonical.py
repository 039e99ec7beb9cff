"""Field names: nested, flat, camelCase, in form notation, aliases and unknown names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crmgate.schemas import Parsed
from crmgate.schemas.canonical import OTHERS, canonicalise
from tests.cases import all_cases

Parse = Callable[..., Parsed]

LEAVES = {
    "personal_info": ["first_name", "last_name", "email", "phone", "country", "city", "birth_date"],
    "education": ["level", "field", "institution", "graduation_year", "gpa"],
    "preferences": [
        "universities", "programs", "budget", "start_date", "scholarship_needed", "language_preference"
    ],
    "user_preferences": ["user_type", "language", "scholarship", "university_chosen"],
    "utm": ["source", "medium", "campaign", "content", "term"],
    "consent": ["given", "text", "at"],
}  # fmt: skip
TOP = ["referral_code", "source", "source_description", "session", "additional_info"]


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def spellings() -> list[tuple[dict[str, Any], str]]:
    found: list[tuple[dict[str, Any], str]] = [({name: "v"}, name) for name in TOP]
    found += [({camel(name): "v"}, name) for name in TOP]
    for group, leaves in LEAVES.items():
        for leaf in leaves:
            path = f"{group}.{leaf}"
            flat = f"{group}_{leaf}" if group in ("utm", "consent") else leaf
            bodies: list[dict[str, Any]] = [
                {group: {leaf: "v"}}, {camel(group): {camel(leaf): "v"}}, {path: "v"}, {f"{group}[{leaf}]": "v"},
                {f"{camel(group)}[{camel(leaf)}]": "v"}, {flat: "v"}, {camel(flat): "v"}, {flat.upper(): "v"},
                {flat.replace("_", "-"): "v"},
            ]  # fmt: skip
            found += [(body, path) for body in bodies]
    return found


ALIASES = [
    ({"ref": "v"}, "referral_code"),
    ({"sessionId": "v"}, "session"),
    ({"emailAddress": "v"}, "personal_info.email"),
    ({"phone_number": "v"}, "personal_info.phone"),
    ({"personalInfo": {"phoneNumber": "v"}}, "personal_info.phone"),
    ({"educationLevel": "v"}, "education.level"),
    ({"fieldOfStudy": "v"}, "education.field"),
    ({"education": {"field_of_study": "v"}}, "education.field"),
    ({"utm": {"utm_source": "v"}}, "utm.source"),
    ({"consent": "on"}, "consent.given"),
    ({"consent": True}, "consent.given"),
]


@all_cases(("body", "path"), [*spellings(), *ALIASES])
def test_every_spelling_leads_to_its_field(body: dict[str, Any], path: str) -> None:
    result = canonicalise(body)
    assert list(result.fields) == [path]
    assert (result.custom, result.warnings) == ({}, [])


@pytest.mark.parametrize(
    "body",
    [
        {"universities[]": ["A", "B"]},
        {"universities[0]": "A", "universities[1]": "B"},
        {"universities": "A", "universities[]": "B"},
        {"preferences[universities][]": ["A", "B"]},
        {"preferences.universities[]": ["A", "B"]},
        {"preferences": {"universities": ["A", "B"]}},
    ],
)
def test_lists_as_forms_write_them(parse: Parse, body: dict[str, Any]) -> None:
    assert parse(**body).lead.universities == ("A", "B")


def test_one_text_is_a_list_of_one(parse: Parse) -> None:
    assert parse(programs=" Tıp, gece ").lead.programs == ("Tıp, gece",)


@pytest.mark.parametrize(
    "body",
    [
        {"city": "Ankara", "personal_info": {"city": "İzmir"}},
        {"personal_info": {"city": "İzmir"}, "city": "Ankara"},
        {"city": "Ankara", "personal_info[city]": "İzmir"},
    ],
)
def test_the_nested_form_wins_and_the_flat_one_is_kept(parse: Parse, body: dict[str, Any]) -> None:
    parsed = parse(**body)
    assert parsed.lead.city == "İzmir"
    assert parsed.lead.custom == {"city": "Ankara"}
    assert [(w.field, w.code.value) for w in parsed.warnings] == [("city", "conflicting_values")]


def test_the_same_value_twice_is_no_conflict(parse: Parse) -> None:
    assert parse(city="İzmir", personal_info={"city": " İzmir "}).warnings == ()


def test_a_blank_nested_value_does_not_hide_the_flat_one(parse: Parse) -> None:
    assert parse(city="İzmir", personal_info={"city": " "}).lead.city == "İzmir"


@all_cases(
    ("body", "custom"),
    [
        ({"hobby": " satranç "}, {"hobby": "satranç"}),
        ({"firstname_typo": "x"}, {"firstname_typo": "x"}),
        ({"hobby": True}, {"hobby": "true"}),
        ({"hobby": 3.5}, {"hobby": "3.5"}),
        ({"hobby": {"a": [1, "ü"]}}, {"hobby": '{"a":[1,"ü"]}'}),
        ({"education": {"pets": "Lise"}}, {"education.pets": "Lise"}),
        ({"education": {"budget": "5"}}, {"education.budget": "5"}),
        ({"foo[bar]": "x"}, {"foo[bar]": "x"}),
        ({"tags[]": ["a", "b"]}, {"tags": '["a","b"]'}),
        ({"ho\x00bby\ud800": "x"}, {"hobby\ufffd": "x"}),
        ({"": "x"}, {"unnamed": "x"}),
    ],
)
def test_unknown_fields_are_kept_and_named(parse: Parse, body: dict[str, Any], custom: dict[str, str]) -> None:
    parsed = parse(**body)
    assert parsed.lead.custom == custom
    assert [w.code.value for w in parsed.warnings] == ["unknown_field"]


INVISIBLE = "\u200b\u200d \u2060\ufeff\u00a0\u3164\u2800\ufe0f"


@pytest.mark.parametrize("blank", ["", " \t", None, [], {}, [None, " "], INVISIBLE, [INVISIBLE]])
def test_blanks_are_absent_everywhere(parse: Parse, blank: Any) -> None:
    parsed = parse(city=blank, hobby=blank, universities=blank, education=blank, custom={"k": blank}, consent=blank)
    assert parsed == parse()


def test_the_bodys_own_custom_is_kept_without_a_warning(parse: Parse) -> None:
    parsed = parse(custom={"Shoe size": 43, "cats": ["a"]}, **{"custom[Dog's name]": "Rex", "custom.x": "y"})
    assert parsed.lead.custom == {"Shoe size": "43", "cats": '["a"]', "Dog's name": "Rex", "x": "y"}
    assert parsed.warnings == ()


def test_two_values_under_one_custom_name_are_both_kept(parse: Parse) -> None:
    assert parse(custom={"hobby": "chess"}, hobby="go").lead.custom == {"hobby": "chess\ngo"}
    assert parse(custom={"hobby": "go"}, hobby="go").lead.custom == {"hobby": "go"}


def test_an_empty_list_for_an_optional_group_is_an_absent_group(parse: Parse) -> None:
    assert parse(utm=[], custom=[], education=[], preferences=[], user_preferences=[]) == parse()


def test_control_keys_leave_no_trace(parse: Parse) -> None:
    assert parse(_next="/x", _hp="", _charset_="UTF-8") == parse()


def test_other_names_with_an_underscore_are_unknown_fields(parse: Parse) -> None:
    parsed = parse(_Foo={"a": 1})
    assert parsed.lead.custom == {"_Foo": '{"a":1}'}
    assert [(w.field, w.code.value) for w in parsed.warnings] == [("_Foo", "unknown_field")]


LONG = "k" * 64
FIFTY = {f"k{n}": "v" for n in range(50)}


@pytest.mark.parametrize(
    ("custom", "kept", "warned"),
    [
        (FIFTY | {"k50": "a", "k51": "b"}, FIFTY | {OTHERS: "k50: a\nk51: b"}, {(OTHERS, "unknown_field")}),
        ({"k" * 65: "v"}, {"k" * 64: "k" * 65 + ": v"}, {("k" * 64, "cut")}),
        (
            {"k" * 64 + "a": "1", "k" * 64 + "b": "2"},
            {"k" * 64: f"{'k' * 64}a: 1\n{'k' * 64}b: 2"},
            {("k" * 64, "cut")},
        ),
        ({"k": "v" * 2_001}, {"k": "v" * 2_000}, {("k", "cut")}),
        ({"k": ["v" * 1_998]}, {"k": '["' + "v" * 1_998}, {("k", "cut")}),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_custom_has_limits(parse: Parse, custom: dict[str, Any], kept: Any, warned: Any, own: bool) -> None:
    parsed = parse(**({"custom": custom} if own else custom))
    assert parsed.lead.custom == kept
    found = {(w.field, w.code.value) for w in parsed.warnings}
    assert warned <= found
    assert own is (found == warned)
    assert parse(**parsed.lead.to_dict()).lead == parsed.lead


def test_thousands_of_fields_are_kept_in_a_text_with_a_limit(parse: Parse) -> None:
    parsed = parse(**{f"k{n}": "v" for n in range(5_000)})
    assert len(parsed.lead.custom) == 51
    assert len(parsed.lead.custom[OTHERS]) <= 10_000
    assert len(parsed.warnings) <= 100


def test_custom_at_its_limits(parse: Parse) -> None:
    custom = {f"{n:064}": "ü" * 2_000 for n in range(50)}
    assert parse(**custom).lead.custom == custom


@pytest.mark.parametrize("group", ["preferences", "user_preferences", "utm", "custom", "personal_info"])
@pytest.mark.parametrize(("wrong", "kept"), [("text", "text"), (5, "5"), (True, "true"), (["x"], '["x"]')])
def test_a_group_that_is_no_object_is_kept(parse: Parse, group: str, wrong: Any, kept: str) -> None:
    parsed = parse(**{group: wrong})
    assert parsed.lead.custom == {group: kept}
    assert [w.field for w in parsed.warnings] == ([] if group == "custom" else [group])

"""Every field type: refused values, and the conversion of accepted ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crmgate.model import Consent
from crmgate.schemas import Parsed, parse_application
from crmgate.schemas.faults import InvalidFields
from crmgate.web.body import WrittenFloat
from tests.cases import all_cases

Parse = Callable[..., Parsed]
TOMORROW = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()

REFUSED = [
    ("first_name", {"id": 1}, "required"),
    ("first_name", "x" * 101, "too_long"),
    ("country", "x" * 101, "too_long"),
    ("email", "nobody", "invalid_email"),
    ("email", "a@b", "invalid_email"),
    ("email", "a b@example.com", "invalid_email"),
    ("email", "a@@example.com", "invalid_email"),
    ("email", '"a b"@example.com', "invalid_email"),
    ("email", "a@[127.0.0.1]", "invalid_email"),
    ("email", "ayşe@example.com", "invalid_email"),
    ("email", "a@localhost", "invalid_email"),
    ("email", "a" * 250 + "@example.com", "too_long"),
    ("phone", "98", "invalid_phone"),
    ("phone", "call me", "invalid_phone"),
    ("phone", "+999 123456789", "invalid_phone"),
    ("phone", "+905321234567890123", "invalid_phone"),
    ("phone", "00", "invalid_phone"),
    ("phone", "5" * 101, "too_long"),
    ("birth_date", "2001-02-30", "invalid_date"),
    ("birth_date", "31.04.2001", "invalid_date"),
    ("birth_date", TOMORROW, "invalid_date"),
    ("additional_info", "x" * 20_001, "too_long"),
]

TAKEN = [
    ("first_name", "  Zoë ", "Zoë"),
    ("first_name", "Zoe\u0308", "Zoë"),
    ("first_name", "A\x00\x07\x9fb\nc", "Ab c"),
    ("first_name", "👩‍🎓", "👩‍🎓"),
    ("first_name", "می\u200cخواهم", "می\u200cخواهم"),
    ("first_name", "x" * 100, "x" * 100),
    ("email", "Ayse.Yilmaz@Example.TEST", "Ayse.Yilmaz@example.test"),
    ("email", "Postmaster@example.com", "Postmaster@example.com"),
    ("email", "\u200eayse@example.com\u200f", "ayse@example.com"),
    ("email", "a+b@münchen.example.com", "a+b@xn--mnchen-3ya.example.com"),
    ("phone", "0532 123 45 67", "+905321234567"),
    ("phone", 5321234567, "+905321234567"),
    ("phone", "(0532) 123-45-67", "+905321234567"),
    ("phone", "0090 532 123 45 67", "+905321234567"),
    ("phone", "(00 49) 151 97971147", "+4915197971147"),
    ("phone", "+90 (532) 123 45 67", "+905321234567"),
    ("phone", "٠٥٣٢ ١٢٣ ٤٥ ٦٧", "+905321234567"),
    ("phone", "۰۰۹۸ ۹۱۲ ۳۴۵ ۶۷۸۹", "+989123456789"),
    ("phone", "\u202a+90 532 123 45 67\u202c", "+905321234567"),
    ("birth_date", "2001-12-31", "2001-12-31"),
    ("birth_date", "31.12.2001", "2001-12-31"),
    ("birth_date", "1.2.2001", "2001-02-01"),
    ("graduation_year", "2024", 2024),
    ("graduation_year", 1900, 1900),
    ("gpa", WrittenFloat("3.50"), "3.50"),
    ("gpa", 4, "4"),
    ("budget", "€8.000", "€8.000"),
    ("budget", 8_000, "8000"),
    ("start_date", "Eylül 2027", "Eylül 2027"),
    ("scholarship_needed", True, "yes"),
    ("scholarship_needed", False, "no"),
    ("scholarship_needed", "%50", "%50"),
    ("user_type", "STUDENT", "student"),
    ("language", "Both", "both"),
    ("scholarship", True, "yes"),
    ("scholarship", "No", "no"),
    ("scholarship", "on", "yes"),
    ("university_chosen", False, "no"),
    ("universities", ["A", None, " ", "B"], ("A", "B")),
    ("referral_code", "tg_bot-7", "tg_bot-7"),
    ("source", "home.faq", "home.faq"),
    ("additional_info", "a\r\nb\tc", "a\r\nb\tc"),
    ("additional_info", "x" * 20_000, "x" * 20_000),
    ("consent", "on", Consent(given=True)),
    ("consent", {"text": "I agree"}, Consent(text="I agree")),
    ("consent_at", "2026-11-23t10:00:00.5+03:00", Consent(at="2026-11-23T07:00:00.500Z")),
]


@all_cases(("name", "value", "code"), REFUSED)
def test_refused(parse: Parse, name: str, value: Any, code: str) -> None:
    alone = {"phone": ""} if name == "email" else {}  # beside a good phone, an unusable email is kept
    with pytest.raises(InvalidFields) as refused:
        parse(**alone | {name: value})
    [error] = refused.value.errors
    assert error.code == code
    assert error.field.rpartition(".")[2] in (name, name.partition("_")[2], "given")
    assert error.message[0].isupper()
    assert str(value) not in error.message


@all_cases(("name", "value", "kept"), TAKEN)
def test_taken(parse: Parse, name: str, value: Any, kept: Any) -> None:
    parsed = parse(**{name: value})
    assert getattr(parsed.lead, name.removesuffix("_at")) == kept
    assert parsed.warnings == ()
    assert parsed.lead.custom == {}


def test_a_message_names_the_limit(parse: Parse) -> None:
    with pytest.raises(InvalidFields) as refused:
        parse(additional_info="x" * 20_001)
    assert refused.value.errors[0].message == "At most 20,000 characters are accepted."


def test_an_address_outside_ascii_is_refused_with_the_reason(parse: Parse) -> None:
    with pytest.raises(InvalidFields) as refused:
        parse(email="ayşe@example.com", phone="")
    assert "unaccented Latin letters" in refused.value.errors[0].message


@pytest.mark.parametrize(
    ("raw", "errors"),
    [
        ({}, {("personal_info.first_name", "required"), ("personal_info", "contact_required")}),
        ({"first_name": "A"}, {("personal_info", "contact_required")}),
        (
            {"personal_info": []},
            {
                ("personal_info", "contact_required"),
                ("personal_info.first_name", "required"),
            },
        ),
        ({"first_name": "A", "phone": " ", "email": ""}, {("personal_info", "contact_required")}),
        ({"first_name": "A", "phone": "1"}, {("personal_info.phone", "invalid_phone")}),
        ({"email": "a@example.com"}, {("personal_info.first_name", "required")}),
        ({"email": "a@example.com", "first_name": "\u200b\u200d \ufeff"}, {("personal_info.first_name", "required")}),
        (
            {"phone": "1", "birth_date": "31.02.2001", "utm": {"term": {}}, "user_type": "x", "custom": 5},
            {
                ("personal_info.first_name", "required"),
                ("personal_info.phone", "invalid_phone"),
                ("personal_info.birth_date", "invalid_date"),
            },
        ),
    ],
)
def test_all_errors_are_reported_at_once(raw: dict[str, Any], errors: set[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFields) as refused:
        parse_application(raw, default_region="TR")
    assert {(e.field, e.code.value) for e in refused.value.errors} == errors


@pytest.mark.parametrize(
    ("raw", "kept"),
    [({"email": "a@example.com"}, ("a@example.com", "")), ({"phone": "05321234567"}, ("", "+905321234567"))],
)
def test_one_contact_is_enough(raw: dict[str, str], kept: tuple[str, str]) -> None:
    lead = parse_application({"first_name": "A"} | raw, default_region="TR").lead
    assert (lead.email, lead.phone) == kept


@pytest.mark.parametrize(("region", "phone"), [("TR", "+905321234567"), ("DE", "+495321234567")])
def test_the_region_decides_what_a_local_number_means(region: str, phone: str) -> None:
    assert parse_application({"first_name": "A", "phone": "05321234567"}, default_region=region).lead.phone == phone


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("referral_code", "a b", "DIRECT"),
        ("referral_code", "x" * 65, "DIRECT"),
        ("referral_code", "javascript:alert(1)", "DIRECT"),
        ("referral_code", "kod.ü", "DIRECT"),
        ("source", "my page", "website"),
        ("session", "a;b", ""),
    ],
)
def test_an_unusable_code_is_kept_as_text(parse: Parse, name: str, value: str, default: str) -> None:
    parsed = parse(**{name: value})
    assert getattr(parsed.lead, name) == default
    assert parsed.lead.custom == {name: value}
    assert [(w.field, w.code.value) for w in parsed.warnings] == [(name, "unusable_value")]


def test_a_long_utm_value_is_cut_and_the_lead_accepted(parse: Parse) -> None:
    parsed = parse(utm={"term": "t" * 256, "medium": "m" * 255})
    assert (parsed.lead.utm.term, parsed.lead.utm.medium) == ("t" * 255, "m" * 255)
    assert parsed.lead.custom == {"utm.term": "t" * 256}
    assert [(w.field, w.code.value) for w in parsed.warnings] == [("utm.term", "cut")]


@pytest.mark.parametrize(
    ("typed", "phone"),
    [
        ("0212 555 12 34 ext. 17", "+902125551234"),
        ("Tel: 0532 123 45 67", "+905321234567"),
    ],
)
def test_text_beside_a_phone_number_is_kept(parse: Parse, typed: str, phone: str) -> None:
    parsed = parse(phone=typed)
    assert parsed.lead.phone == phone
    assert parsed.lead.custom == {"phone": typed}
    assert [(w.field, w.code.value) for w in parsed.warnings] == [("personal_info.phone", "partly_read")]

"""Phones and emails as visitors write them: understood, kept in the text with a warning, or refused with the reason."""

from __future__ import annotations

import pytest

from crmgate.schemas import Sender, parse_application
from crmgate.schemas.faults import InvalidFields
from tests.schemas.test_intake_names import ADA, PHONE, failing, parsed

QUIET = [
    ("998901234567", "TR", "+998901234567"),
    ("380501234567", "TR", "+380501234567"),
    ("4915112345678", "TR", "+4915112345678"),
    ("905321234567", "DE", "+905321234567"),
    ("905321234567", "US", "+905321234567"),
    ("0905321234567", "TR", "+905321234567"),
    ("00905321234567", "US", "+905321234567"),
    ("011 90 532 123 45 67", "US", "+905321234567"),
    ("810 90 532 123 45 67", "RU", "+905321234567"),
    ("+5215541637145", "TR", "+525541637145"),
    ("5215541637145", "TR", "+525541637145"),
    ("+5491123456789", "TR", "+5491123456789"),
    ("+55 11 98765-4321", "TR", "+5511987654321"),
    ("8 (912) 345-67-89", "RU", "+79123456789"),
    ("8 701 123 45 67", "KZ", "+77011234567"),
    ("89123456789", "TR", "+79123456789"),
    ("+8 912 345 67 89", "TR", "+79123456789"),
    ("+0532 123 45 67", "TR", "+905321234567"),
    ("+90 (0532) 123 45 67", "TR", "+905321234567"),
    ("+49 (0)151 97971147", "TR", "+4915197971147"),
    ("＋９０ ５３２ １２３ ４５ ６７", "TR", "+905321234567"),
    ("０５３２１２３４５６７", "TR", "+905321234567"),
    ("٠٥٣٢ ١٢٣ ٤٥ ٦٧", "TR", "+905321234567"),
    ("0151/97971147", "DE", "+4915197971147"),
    ("0532.123.45.67", "TR", "+905321234567"),
    ("0532_123_45_67", "TR", "+905321234567"),
    ("+44 7682812646", "TR", "+447682812646"),
    (5321234567, "TR", "+905321234567"),
    (905321234567.0, "TR", "+905321234567"),
    ({"countryCode": "+90", "number": "532 123 45 67"}, "TR", "+905321234567"),
    (["0532 123 45 67"], "TR", "+905321234567"),
]
"""Typed numbers, the default region, and the number that is read without a warning."""

WARNED = [
    ("+90 90 532 123 45 67", "TR", "+905321234567", "partly_read"),
    ("+90+905321234567", "TR", "+905321234567", "partly_read"),
    ("+551187654321", "TR", "+5511987654321", "partly_read"),
    ("11 8765-4321", "BR", "+5511987654321", "partly_read"),
    ("011 15-2345-6789", "AR", "+5491123456789", "partly_read"),
    ("0532 123 45 67 / 0533 765 43 21", "TR", "+905321234567", "partly_read"),
    ("05321234567/05337654321", "TR", "+905321234567", "partly_read"),
    ("0532 123 45 67 - 0533 765 43 21", "TR", "+905321234567", "partly_read"),
    ("0532 123 45 67, 0533 765 43 21", "TR", "+905321234567", "partly_read"),
    ("05321234567 05337654321", "TR", "+905321234567", "partly_read"),
    ("0532 123 45 67 veya 0533 765 43 21", "TR", "+905321234567", "partly_read"),
    ("+79123456789; +79123456780", "TR", "+79123456789", "partly_read"),
    ("0532 123 45 67 (WhatsApp)", "TR", "+905321234567", "partly_read"),
    ("0532 123 45 67 (Ali)", "TR", "+905321234567", "partly_read"),
    ("0212 555 12 34 dahili 12", "TR", "+902125551234", "partly_read"),
    ("0212 555 12 34 ext. 12", "TR", "+902125551234", "partly_read"),
    ("8 495 123-45-67 доб. 12", "RU", "+74951234567", "partly_read"),
    ("0212 555 12 34#12", "TR", "+902125551234", "partly_read"),
    ("ev: 0212 555 12 34 cep: 0532 123 45 67", "TR", "+902125551234", "partly_read"),
    ("Call after 18:00 0532 123 45 67", "TR", "+905321234567", "partly_read"),
    ("https://wa.me/905321234567", "TR", "+905321234567", "partly_read"),
    ("tel:+905321234567", "TR", "+905321234567", "partly_read"),
    ("1-800-FLOWERS", "US", "+18003569377", "partly_read"),
    ("O532 123 45 67", "TR", "+905321234567", "partly_read"),
    ("+undefined1 304 555 0100", "TR", "+13045550100", "partly_read"),
    ("1234567890", "TR", "+901234567890", "doubtful_value"),
    ("07682812646", "GB", "+447682812646", "doubtful_value"),
]
"""Also the code of the warning; the typed text is kept."""


def test_phones_that_are_understood() -> None:
    expected = {"first_name": "Ada"}
    rows = [
        (typed, parsed(ADA | {"phone": typed}, region), expected | {"phone": e164}) for typed, region, e164 in QUIET
    ]
    assert failing(rows) == []


def test_phones_of_which_something_is_kept() -> None:
    rows = []
    for typed, region, e164, code in WARNED:
        lead = {"first_name": "Ada", "phone": e164, "custom": {"phone": typed}}
        rows.append(
            (typed, parsed(ADA | {"phone": typed}, region), lead | {"warnings": [("personal_info.phone", code)]})
        )
    assert failing(rows) == []


EMAILS = [
    ("ada@example.com.", "ada@example.com"),
    ("ada@example.com,", "ada@example.com"),
    ("ada＠example.com", "ada@example.com"),
    ("ada@example．com", "ada@example.com"),
    ("ada@example。com", "ada@example.com"),
    ("ａｄａ@example.com", "ada@example.com"),
    (" ada@example.com\n", "ada@example.com"),
    ("mailto:ada@example.com", "ada@example.com"),
    ("<ada@example.com>", "ada@example.com"),
    ("'ada@example.com'", "ada@example.com"),
    ("o'brien+x@example.com", "o'brien+x@example.com"),
    (["ada@example.com"], "ada@example.com"),
]

KEPT_EMAILS = [
    ("Ada <ada@x.co>", "ada@x.co"),
    ("<Ada> ada@x.co", "ada@x.co"),
    ("a@x.co, b@x.co", "a@x.co"),
    ("a@x.co;b@x.co", "a@x.co"),
    ("a@x.co b@x.co", "a@x.co"),
    ("a@x.co / b@x.co", "a@x.co"),
    ("a@x.co veya b@x.co", "a@x.co"),
    ("E-mail: ada@x.co", "ada@x.co"),
    ("ada@x.co (work)", "ada@x.co"),
    ("ada @ x.co", "ada@x.co"),
    ("ada@gmail .com", "ada@gmail.com"),
    ("mailto:ada@x.co?subject=Hi", "ada@x.co"),
    ("ada@@x.co, b@x.co", "b@x.co"),
]

UNUSABLE_EMAILS = [
    ("ada.@docomo.ne.jp", "a dot has a letter or digit on both sides"),
    ("a..b@docomo.ne.jp", "a dot has a letter or digit on both sides"),
    (".ada@docomo.ne.jp", "a dot has a letter or digit on both sides"),
    ("x@corp.local", "not one of the public internet"),
    ("ayşe@example.com", "unaccented Latin letters"),
    ("a b@example.com", "such as name@example.com"),
    ("ada@gmail,com", "such as name@example.com"),
    ("ada", "such as name@example.com"),
    ("@ada", "such as name@example.com"),
    ("n/a", "such as name@example.com"),
    ("-", "such as name@example.com"),
    ("undefined", "such as name@example.com"),
]


def test_emails_that_are_understood() -> None:
    rows = [(typed, parsed(ADA | {"email": typed}), ADA | {"email": email}) for typed, email in EMAILS]
    assert failing(rows) == []


def test_emails_of_which_something_is_kept() -> None:
    warnings = [("personal_info.email", "partly_read")]
    rows = [
        (
            typed,
            parsed(ADA | {"email": typed}),
            ADA | {"email": email, "custom": {"email": typed}, "warnings": warnings},
        )
        for typed, email in KEPT_EMAILS
    ]
    assert failing(rows) == []


def test_an_unusable_email_is_kept_beside_a_phone_and_else_refused_with_the_reason() -> None:
    rows = []
    for typed, _ in UNUSABLE_EMAILS:
        lead = ADA | {"phone": "+905321234567", "custom": {"email": typed}}
        expected = lead | {"warnings": [("personal_info.email", "unusable_value")]}
        rows.append((typed, parsed(ADA | PHONE | {"email": typed}), expected))
    assert failing(rows) == []
    for typed, reason in UNUSABLE_EMAILS:
        with pytest.raises(InvalidFields) as refused:
            parse_application(ADA | {"email": typed}, default_region="TR")
        [error] = refused.value.errors
        assert reason in error.message, typed


def test_an_unusable_phone_is_kept_beside_an_email() -> None:
    rows = []
    for typed in ("+39", "-", "N/A", "yok", "@ada", "+undefined1 304 555 0100", "0000000000", "5" * 101, True):
        found = parsed(ADA | {"email": "a@x.co", "phone": typed})
        [(field, _)] = found.pop("warnings")
        kept = "true" if typed is True else typed
        rows.append(
            (typed, (field, found), ("personal_info.phone", ADA | {"email": "a@x.co", "custom": {"phone": kept}}))
        )
    assert failing(rows) == []


def test_two_unusable_contacts_are_two_errors() -> None:
    expected = [("personal_info.email", "invalid_email"), ("personal_info.phone", "invalid_phone")]
    assert parsed(ADA | {"email": "ada", "phone": "+39"}) == {"errors": expected}


def test_another_contact_counts_when_the_first_is_unusable() -> None:
    assert parsed(ADA | {"phone": "-", "WhatsApp": "0532 123 45 67"})["phone"] == "+905321234567"
    assert parsed(ADA | {"email": "none", "E-posta": "?", "Mail": "a@x.co"})["email"] == "a@x.co"
    assert parsed(ADA | {"phone": "-", "WhatsApp": "+39"}) == {"errors": [("personal_info.phone", "invalid_phone")]}


def test_an_operators_edit_refuses_an_unusable_contact() -> None:
    body = ADA | {"email": "a@x.co", "phone": "+39"}
    assert parsed(body, sender=Sender.OPERATOR) == {"errors": [("personal_info.phone", "invalid_phone")]}


def test_an_edit_of_another_field_keeps_a_possible_number_without_a_warning() -> None:
    once = parsed(ADA | {"phone": "1234567890"})
    once.pop("warnings")
    assert parsed(once, sender=Sender.OPERATOR) == once

"""Contacts in a usual notation are read without a library, with the library's result."""

from __future__ import annotations

import random
from collections.abc import Iterator

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email

from crmgate.schemas import emails, phones
from crmgate.schemas.readings import Doubt, Reading

LOCALS = ("a", "a.b", "a..b", ".a", "a.", "a+b", "a_b", "-a", "a" * 64, "a" * 65, "A.B", "1", "_")
LABELS = (
    "a", "x-y", "-a", "a-", "a--b", "xn--a", "9a", "1", "a" * 63, "a" * 64, "test", "local", "home", "in-addr", "",
)  # fmt: skip
LASTS = ("com", "org", "tr", "test", "example", "local", "arpa", "onion", "c", "co1", "1", "invalid", "internal", "alt")


def addresses(number: int) -> Iterator[str]:
    chance = random.Random(5)
    for _ in range(number):
        domain = [chance.choice(LABELS) for _ in range(chance.randint(0, 3))]
        yield f"{chance.choice(LOCALS)}@{'.'.join([*domain, chance.choice(LASTS)])}"


def test_an_address_that_is_valid_at_first_sight_is_valid() -> None:
    usual = [address for address in addresses(20_000) if emails._is_usual(address)]
    assert len(usual) > 1000
    for address in usual:
        found = validate_email(address, check_deliverability=False, test_environment=True, allow_smtputf8=False)
        assert f"{found.local_part}@{found.ascii_domain}" == address


@pytest.mark.parametrize(
    "address",
    ["a@b@example.com", "a@example.com\n", "a@example", "a@localhost", "a@printer.local", "a@xn--.com", "ü@example.com",
     "a@exämple.com", "a@-b.com", '"a b"@example.com', "a@[127.0.0.1]", "a@example.c", "a@Example.com"],
)  # fmt: skip
def test_any_other_address_is_left_to_the_library(address: str) -> None:
    assert not emails._is_usual(address)


@pytest.mark.parametrize("address", ["ada@example.com", "a.b+c_d-e@mail.x-y.example.org", "1@9a.travel"])
def test_a_usual_address(address: str) -> None:
    assert emails._is_usual(address)
    assert emails.read(address) == Reading(address)
    validate_email(address, check_deliverability=False, test_environment=True)


def test_an_address_of_the_library_alone_is_valid_too() -> None:
    with pytest.raises(EmailNotValidError):
        validate_email("a@printer.local", check_deliverability=False, test_environment=True)
    assert emails.read("Ada@EXAMPLE.com").value == "Ada@example.com"


def numbers(region: str, code: str, chance: random.Random) -> Iterator[str]:
    """Numbers of a region, most of them with another digit, a digit more or less, and another prefix."""
    kinds = (phonenumbers.example_number_for_type(region, kind) for kind in range(11))
    known = [phonenumbers.national_significant_number(number) for number in kinds if number]
    for _ in range(20):
        national = list(chance.choice(known))
        for _ in range(chance.randint(0, 3)):
            national[chance.randrange(len(national))] = chance.choice("0123456789")
        prefix = chance.choice([f"+{code}", f"+{code}0", "0", "", f"00{code}", code, "+", "(0)"])
        digits = prefix + "".join(national[: len(national) - chance.choice((0, 0, 0, 1))])
        marks = (chance.choice((" ", "-", ".", " (", ") ")) if chance.random() < 0.2 else "" for _ in digits)
        yield "".join(digit + mark for digit, mark in zip(digits, marks, strict=True))


def test_a_number_in_a_usual_notation_is_the_one_that_the_library_reads() -> None:
    chance, read = random.Random(7), 0
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        plan = phones._plan.__wrapped__(region)
        for typed in numbers(region, plan.code, chance) if plan else ():
            text = phones._prepared(typed)
            if usual := phones._usual(text, region):
                read += 1
                number = phones._certain(text, region)
                assert number is not None, (region, typed)
                assert (phones._e164(number), phones._doubt(typed, text, number)) == (usual, Doubt.NONE), (
                    region,
                    typed,
                )
    assert read > 200


@pytest.mark.parametrize(
    ("typed", "region", "usual"),
    [
        ("0532 123 45 67", "TR", "+905321234567"), ("+90 (532) 123-45-67", "TR", "+905321234567"),
        ("532 123 45 67", "TR", "+905321234567"), ("030 901820", "DE", "+4930901820"),
        ("+44 7911 123456", "TR", ""), ("905321234567", "TR", ""), ("0532 123 45 67 ext 3", "TR", ""),
        ("8 912 345 67 89", "RU", ""), ("202 555 0143", "US", ""), ("1532 123 45 67", "TR", ""),
    ],
)  # fmt: skip
def test_what_a_usual_notation_is(typed: str, region: str, usual: str) -> None:
    assert phones._usual(phones._prepared(typed), region) == usual

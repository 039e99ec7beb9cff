"""Only the operator decides where a messenger link leads."""

from __future__ import annotations

import pytest

from crmgate.channels import Channel, canonical_name
from crmgate.config import Settings
from crmgate.errors import ConfigError
from tests.cases import all_cases

ENVIRON = {"CRM_PROVIDER": "espocrm"}
SEND = "https://api.whatsapp.com/send?phone=905321234567"

LINKS = [
    ("telegram", "https://t.me/bot", "REF_1", "https://t.me/bot?start=REF_1"),
    ("telegram", "https://t.me/bot", "", "https://t.me/bot"),
    ("telegram", "https://t.me/bot?startapp={ref}", "REF", "https://t.me/bot?startapp=REF"),
    ("telegram", "https://t.me/bot/app", "REF_1", "https://t.me/bot/app?startapp=REF_1"),
    ("telegram", "https://t.me/bot/app", "", "https://t.me/bot/app"),
    ("telegram", "https://t.me/bot/app?mode=compact", "REF", "https://t.me/bot/app?mode=compact&startapp=REF"),
    ("telegram", "https://bot.t.me/app", "REF", "https://bot.t.me/app?startapp=REF"),
    ("telegram", "https://bot.t.me", "REF", "https://bot.t.me?start=REF"),
    ("telegram", "https://t.me/bot?startapp", "REF", "https://t.me/bot?startapp=REF"),
    ("telegram", "https://t.me/bot?startapp=&mode=compact", "REF", "https://t.me/bot?mode=compact&startapp=REF"),
    ("telegram", "https://t.me/bot?startapp", "", "https://t.me/bot?startapp"),
    ("telegram", "https://t.me/bot/app?startapp=x{ref}", "REF", "https://t.me/bot/app?startapp=xREF"),
    ("telegram", "https://t.me/channel/123", "REF", "https://t.me/channel/123?start=REF"),
    ("telegram", "https://t.me/+AbCdEf", "REF", "https://t.me/+AbCdEf"),
    ("telegram", "https://t.me/joinchat/AbCdEf", "REF", "https://t.me/joinchat/AbCdEf"),
    ("telegram", "https://links.example.com/bot/app", "REF", "https://links.example.com/bot/app?start=REF"),
    ("whatsapp", "https://wa.me/905321234567", "REF", "https://wa.me/905321234567?text=REF"),
    ("whatsapp", SEND, "REF", f"{SEND}&text=REF"),
    ("whatsapp", "https://wa.me/message/ABC123", "REF", "https://wa.me/message/ABC123"),
    ("whatsapp", "https://wa.me/qr/ABC123", "REF", "https://wa.me/qr/ABC123"),
    ("whatsapp", "https://wa.me/message/ABC?text={ref}", "REF", "https://wa.me/message/ABC?text=REF"),
    ("whatsapp", "https://chat.whatsapp.com/AbC", "REF", "https://chat.whatsapp.com/AbC"),
    ("whatsapp", "https://links.example.com/wa", "REF", "https://links.example.com/wa?text=REF"),
    ("whatsapp", "https://wa.me/905321234567?text=Hi%20{ref}", "REF", "https://wa.me/905321234567?text=Hi%20REF"),
    ("whatsapp", "https://wa.me/905321234567?text=Hi%20{ref}", "", "https://wa.me/905321234567?text=Hi%20"),
    ("whatsapp", "https://wa.me/905321234567#top", "REF", "https://wa.me/905321234567?text=REF#top"),
    ("instagram", "https://instagram.com/x", "REF", "https://instagram.com/x"),
    ("instagram", "https://ig.me/m/x?ref={ref}", "REF", "https://ig.me/m/x?ref=REF"),
    ("line", "https://line.me/{ref}/{ref}", "a&b?#/", "https://line.me/a%26b%3F%23%2F/a%26b%3F%23%2F"),
]
WRONG_LINKS = [
    "t.me/bot", "http://t.me/bot", "tg://resolve?domain=bot", "javascript:alert(1)", "https://", "https:///bot",
    "https://[::1", "https://t.me:99999/bot", "https://me:pw@t.me/bot", "https://{ref}/bot", "https://{ref}.t.me/",
    "https://t.me/bot?x={session}", "https://t.me/{bot", "https://t.me/my bot", "https://t.me/büt",
    "https://t.me/\r\nSet-Cookie:x=y", "https://t.me\\@evil.example/",
]  # fmt: skip
WRONG_CHANNELS = [
    "https://line.me/x", "line=", "=https://line.me", "LINE=https://line.me", "li ne=https://line.me",
    "line=http://line.me", "line=https://line.me,line=https://line.me", "telegram=https://t.me/bot",
    "telegram_bot=https://t.me/bot", "line=https://line.me/a,b",
]  # fmt: skip


@all_cases(("name", "url", "code", "link"), LINKS)
def test_the_referral_code_is_forwarded(name: str, url: str, code: str, link: str) -> None:
    settings = {f"{name.upper()}_URL": url} if name != "line" else {"MESSENGER_CHANNELS": f"line={url}"}
    assert Settings.load(ENVIRON | settings).channels == {name: Channel(name, url)}
    assert Channel(name, url).link(code) == link


@all_cases("url", [*WRONG_LINKS, "https://t.me/bot?start=", "https://t.me/bot?a=b&start=x"])
def test_a_link_that_cannot_be_one_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load(ENVIRON | {"TELEGRAM_URL": url})
    [problem] = caught.value.problems
    assert problem.startswith("TELEGRAM_URL, got ")
    assert problem.endswith("It takes an https address such as https://t.me/example_bot.")


WHATSAPP = [
    ("https://wa.me/+905321234567", "https://wa.me/905321234567"),
    ("https://wa.me/%2B905321234567", "https://wa.me/905321234567"),
    ("https://wa.me/05321234567", "https://wa.me/905321234567"),
    ("https://wa.me/00905321234567/", "https://wa.me/905321234567"),
    ("https://wa.me/+90-(532)-123-45-67", "https://wa.me/905321234567"),
    ("https://wa.me/0532%20123%2045%2067?text=Merhaba%20{ref}", "https://wa.me/905321234567?text=Merhaba%20{ref}"),
    ("https://wa.me/+9005321234567", "https://wa.me/905321234567"),
    ("https://wa.me/4915112345678", "https://wa.me/4915112345678"),
    ("https://api.whatsapp.com/send?phone=+905321234567", "https://api.whatsapp.com/send?phone=905321234567"),
    ("https://api.whatsapp.com/send/?text={ref}&phone=05321234567&app_absent=0",
     "https://api.whatsapp.com/send/?text={ref}&phone=905321234567&app_absent=0"),
    ("https://wa.me/message/ABC0532", "https://wa.me/message/ABC0532"),
    ("https://wa.me/qr/ABC0532", "https://wa.me/qr/ABC0532"),
    ("https://whatsapp.com/channel/0532", "https://whatsapp.com/channel/0532"),
    ("https://links.example.com/+90", "https://links.example.com/+90"),
]  # fmt: skip


@all_cases(("written", "meant"), WHATSAPP)
def test_a_number_of_whatsapp_has_only_digits(written: str, meant: str) -> None:
    assert Settings.load(ENVIRON | {"WHATSAPP_URL": written}).channels["whatsapp"].url == meant


def test_a_number_of_whatsapp_without_a_country_code_is_of_the_region() -> None:
    written = {"WHATSAPP_URL": "https://wa.me/015112345678", "DEFAULT_PHONE_REGION": "DE"}
    assert Settings.load(ENVIRON | written).channels["whatsapp"].url == "https://wa.me/4915112345678"


DEAD_LINKS = [
    ("WHATSAPP_URL", "https://wa.me/", "The address has no phone number."),
    ("WHATSAPP_URL", "https://wa.me/?text={ref}", "The address has no phone number."),
    ("WHATSAPP_URL", "https://api.whatsapp.com/send?text=Hi%20{ref}", "The address has no phone number."),
    ("WHATSAPP_URL", "https://wa.me/0532", "0532 cannot be a phone number: write it with its country code."),
    ("WHATSAPP_URL", "https://wa.me/+905321234567x", "+905321234567x is not a phone number."),
    ("WHATSAPP_URL", "https://wa.me/905321234567?text=Hi", "It already has the parameter text"),
    ("TELEGRAM_URL", "https://t.me/", "It names no bot."),
    ("TELEGRAM_URL", "https://t.me/@example_bot", "The name of a bot has no @ in an address."),
    ("TELEGRAM_URL", "https://t.me/bot/app?startapp=x", "It already has the parameter startapp"),
]


@all_cases(("name", "url", "problem"), DEAD_LINKS)
def test_an_address_that_opens_no_chat_stops_the_start(name: str, url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load(ENVIRON | {name: url})
    [sentence] = caught.value.problems
    assert sentence.startswith(f"{name}, got ")
    assert problem in sentence


@all_cases("value", [*WRONG_CHANNELS, *(f"line={url}" for url in WRONG_LINKS)])
def test_further_channels_are_checked_the_same(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load(ENVIRON | {"MESSENGER_CHANNELS": value})
    assert [problem.partition(",")[0] for problem in caught.value.problems] == ["MESSENGER_CHANNELS"]


def test_several_channels() -> None:
    listed = " viber=https://viber.example/a%2Cb , line=https://line.me/{ref} ,"
    settings = Settings.load(ENVIRON | {"MESSENGER_CHANNELS": listed, "WHATSAPP_URL": "https://wa.me/905321234567"})
    assert list(settings.channels) == ["whatsapp", "viber", "line"]
    assert settings.channels["viber"].link("REF") == "https://viber.example/a%2Cb"


@pytest.mark.parametrize("typed", ["telegram", "Telegram", " TELEGRAM ", "telegramBot", "telegram_bot", "telegram-bot"])
def test_a_channel_has_one_form(typed: str) -> None:
    assert canonical_name(typed) == "telegram"

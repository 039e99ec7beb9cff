"""Only the operator decides where a messenger link leads."""

from __future__ import annotations

import pytest

from crmgate.channels import Channel, canonical_name
from crmgate.config import Settings
from crmgate.errors import ConfigError
from tests.cases import all_cases

ENVIRON = {"CRM_PROVIDER": "espocrm"}

LINKS = [
    ("telegram", "https://t.me/bot", "REF_1", "https://t.me/bot?start=REF_1"),
    ("telegram", "https://t.me/bot", "", "https://t.me/bot"),
    ("telegram", "https://t.me/bot?startapp={ref}", "REF", "https://t.me/bot?startapp=REF"),
    ("whatsapp", "https://wa.me/905", "REF", "https://wa.me/905?text=REF"),
    ("whatsapp", "https://api.whatsapp.com/send?phone=905", "REF", "https://api.whatsapp.com/send?phone=905&text=REF"),
    ("whatsapp", "https://wa.me/905?text=Merhaba%20{ref}", "REF", "https://wa.me/905?text=Merhaba%20REF"),
    ("whatsapp", "https://wa.me/905?text=Merhaba%20{ref}", "", "https://wa.me/905?text=Merhaba%20"),
    ("whatsapp", "https://wa.me/905#top", "REF", "https://wa.me/905?text=REF#top"),
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


@all_cases("value", [*WRONG_CHANNELS, *(f"line={url}" for url in WRONG_LINKS)])
def test_further_channels_are_checked_the_same(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load(ENVIRON | {"MESSENGER_CHANNELS": value})
    assert [problem.partition(",")[0] for problem in caught.value.problems] == ["MESSENGER_CHANNELS"]


def test_several_channels() -> None:
    listed = " viber=https://viber.example/a%2Cb , line=https://line.me/{ref} ,"
    settings = Settings.load(ENVIRON | {"MESSENGER_CHANNELS": listed, "WHATSAPP_URL": "https://wa.me/905"})
    assert list(settings.channels) == ["whatsapp", "viber", "line"]
    assert settings.channels["viber"].link("REF") == "https://viber.example/a%2Cb"


@pytest.mark.parametrize("typed", ["telegram", "Telegram", " TELEGRAM ", "telegramBot", "telegram_bot", "telegram-bot"])
def test_a_channel_has_one_form(typed: str) -> None:
    assert canonical_name(typed) == "telegram"

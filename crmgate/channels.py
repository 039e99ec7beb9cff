"""Messenger channels and the settings with their addresses.

An address is a template in which `{ref}` stands for the referral code. Telegram and WhatsApp have their own parameter
for it, which is added if the template has no `{ref}`:

- Telegram's bots: `start` (https://core.telegram.org/api/links#bot-links).
- Telegram's Mini Apps: `startapp` (https://core.telegram.org/api/links#main-mini-app-links and #direct-mini-app-links).
- WhatsApp's chats with a number: `text` (https://faq.whatsapp.com/5913398998672934).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit, urlunsplit

import marshmallow
from marshmallow import fields

WELL_KNOWN = ("telegram", "whatsapp", "instagram")
"""Channels with their own setting, `<NAME>_URL`. A click may name them even if the setting is empty."""
PLACEHOLDER = "{ref}"

_ALIASES = {"telegrambot": "telegram"}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PRINTABLE = re.compile(r"[!-~]+")
_TELEGRAM = re.compile(r"(?:(?P<bot>[a-z0-9_]+)\.)?(?:t\.me|telegram\.me|telegram\.dog)")
_TELEGRAM_PLACES = ("c", "s", "joinchat", "addlist", "addstickers", "addemoji", "share")
"""First parts of the path of an address in Telegram that is no bot. An invitation can also begin with a plus sign."""
_MINI_APP = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,}")
_WHATSAPP = re.compile(r"(?:[a-z]+\.)*(?:wa\.me|whatsapp\.com)")
_WHATSAPP_CHAT = re.compile(r"/(?:\+?[\d(). -]|%|send\b).*")
"""Path of an address that opens a chat with a number. Others, such as `/message/...` and `/qr/...`, take no text."""


def canonical_name(typed: str) -> str:
    """Canonical name of a channel: `Telegram` and `telegramBot` become `telegram`."""
    name = typed.strip().lower()
    return _ALIASES.get(re.sub(r"[_-]", "", name), name)


def known_channels(configured: Iterable[str]) -> set[str]:
    """Names of the channels that a click may name."""
    return {*WELL_KNOWN, *configured}


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel: its name and the template of its address."""

    name: str
    url: str

    def link(self, referral: str) -> str:
        """Address for a visitor with this referral code; the code is empty for a visitor without one."""
        code, parts = quote(referral, safe=""), urlsplit(self.url)
        parameter = _parameter(self.name, parts)
        if PLACEHOLDER in self.url or not parameter or not code:
            return self.url.replace(PLACEHOLDER, code)
        others = [pair for pair in parts.query.split("&") if pair and pair.partition("=")[0] != parameter]
        return urlunsplit(parts._replace(query="&".join([*others, f"{parameter}={code}"])))


def _parameter(channel: str, parts: SplitResult) -> str:
    """Query parameter that takes the referral code; empty if the address cannot take one."""
    if channel == "telegram":
        return _telegram_parameter(parts)
    if channel == "whatsapp":
        takes_text = not _WHATSAPP.fullmatch(parts.hostname or "") or _WHATSAPP_CHAT.fullmatch(parts.path)
        return "text" if takes_text else ""
    return ""


def _telegram_parameter(parts: SplitResult) -> str:
    if "startapp" in dict(parse_qsl(parts.query, keep_blank_values=True)):
        return "startapp"
    host = _TELEGRAM.fullmatch(parts.hostname or "")
    bot, *rest = [*filter(None, (host["bot"] if host else "", *parts.path.split("/"))), ""]
    if bot.startswith("+") or bot in _TELEGRAM_PLACES:
        return ""
    return "startapp" if host and _MINI_APP.fullmatch(rest[0] if rest else "") else "start"


class Link(fields.String):
    """Setting with the address of `channel`: https, with `{ref}` as the only placeholder."""

    def __init__(self, channel: str, **options: Any) -> None:
        super().__init__(**options)
        self.channel = channel

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        return _checked(self.channel, str(value))


class Links(fields.Field[tuple[Channel, ...]]):
    """Setting with further channels: `name=address`, separated by commas (a comma in an address is `%2C`)."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> tuple[Channel, ...]:
        channels: dict[str, Channel] = {}
        for pair in filter(None, (word.strip() for word in str(value).split(","))):
            name, _, url = (part.strip() for part in pair.partition("="))
            if not _NAME.fullmatch(name) or not url:
                raise marshmallow.ValidationError(f"Not a name and an address: {pair}.")
            if name in WELL_KNOWN:
                raise marshmallow.ValidationError(f"{name} has a setting of its own: {name.upper()}_URL.")
            if name in channels or canonical_name(name) != name:
                raise marshmallow.ValidationError(f"The name {name} is taken.")
            channels[name] = Channel(name, _checked(name, url))
        return tuple(channels.values())


def _checked(channel: str, url: str) -> str:
    """The address, if a browser can open it and a visitor cannot change its host. Raises `ValidationError`."""
    problem = _problem(channel, url)
    if problem:
        raise marshmallow.ValidationError(f"{channel}: {problem}")
    return url


def _problem(channel: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "Not an address."
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        return "Spaces and letters beyond ASCII have to be percent-encoded."
    # An app's own scheme (tg:, whatsapp:) fails on a device without the app; https opens the app too.
    if parts.scheme != "https" or not host:
        return "Not an https address."
    if "@" in parts.netloc or "{" in parts.netloc:
        return "Neither a user name nor {ref} is allowed before the path: a visitor could choose the host."
    if re.search(r"[{}]", url.replace(PLACEHOLDER, "")):
        return "The only placeholder is {ref}."
    return (_telegram_problem(parts) if channel == "telegram" else "") or _taken(channel, parts)


def _telegram_problem(parts: SplitResult) -> str:
    host = _TELEGRAM.fullmatch(parts.hostname or "")
    if host and not host["bot"] and not parts.path.strip("/"):
        return "It names no bot."
    return "The name of a bot has no @ in an address." if host and parts.path.startswith("/@") else ""


def _taken(channel: str, parts: SplitResult) -> str:
    """The problem of an address in which the parameter of the referral code has a value of its own."""
    parameter, query = _parameter(channel, parts), dict(parse_qsl(parts.query, keep_blank_values=True))
    # `?startapp` without a value opens the Mini App of the bot.
    if PLACEHOLDER in parts.geturl() or parameter not in query or (parameter == "startapp" and not query["startapp"]):
        return ""
    return f"It already has the parameter {parameter}: put {{ref}} where the referral code belongs."

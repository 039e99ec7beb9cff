"""Messenger channels and the settings with their addresses.

An address is a template in which `{ref}` stands for the referral code. Telegram and WhatsApp have their own parameter
for it (https://core.telegram.org/api/links#bot-links, https://faq.whatsapp.com/5913398998672934). It is added if the
template has no `{ref}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import marshmallow
from marshmallow import fields

WELL_KNOWN = ("telegram", "whatsapp", "instagram")
"""Channels with their own setting, `<NAME>_URL`. A click may name them even if the setting is empty."""
PARAMETERS: Mapping[str, str] = {"telegram": "start", "whatsapp": "text"}
"""Query parameter that takes the referral code, by channel."""
PLACEHOLDER = "{ref}"

_ALIASES = {"telegrambot": "telegram"}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PRINTABLE = re.compile(r"[!-~]+")


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
        code = quote(referral, safe="")
        parameter = PARAMETERS.get(self.name)
        if PLACEHOLDER in self.url or not parameter or not code:
            return self.url.replace(PLACEHOLDER, code)
        parts = urlsplit(self.url)
        query = f"{parts.query}&{parameter}={code}".lstrip("&")
        return urlunsplit(parts._replace(query=query))


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
    parameter = PARAMETERS.get(channel)
    if parameter and PLACEHOLDER not in url and parameter in dict(parse_qsl(parts.query, keep_blank_values=True)):
        return f"It already has the parameter {parameter}: put {{ref}} where the referral code belongs."
    return ""

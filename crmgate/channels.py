"""The messengers that a visitor can be sent to, and the settings that say where each of them is.

An address is a template: `{ref}` in it stands for the referral code. Telegram and WhatsApp have a parameter of their
own for it (https://core.telegram.org/api/links#bot-links, https://faq.whatsapp.com/5913398998672934), which is added
where the template does not say another place.
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
"""Channels with a setting of their own, `<NAME>_URL`. A click may name them even where they lead nowhere."""
PARAMETERS: Mapping[str, str] = {"telegram": "start", "whatsapp": "text"}
PLACEHOLDER = "{ref}"

_ALIASES = {"telegrambot": "telegram"}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PRINTABLE = re.compile(r"[!-~]+")


def canonical_name(typed: str) -> str:
    """A channel as it may be typed, in its one form: `Telegram` and `telegramBot` are `telegram`."""
    name = typed.strip().lower()
    return _ALIASES.get(re.sub(r"[_-]", "", name), name)


def known_channels(configured: Iterable[str]) -> set[str]:
    """The channels that a click may name."""
    return {*WELL_KNOWN, *configured}


@dataclass(frozen=True, slots=True)
class Channel:
    """A messenger by name, and where it is."""

    name: str
    url: str

    def link(self, referral: str) -> str:
        """The address for a visitor with this referral code, empty for one without."""
        code = quote(referral, safe="")
        parameter = PARAMETERS.get(self.name)
        if PLACEHOLDER in self.url or not parameter or not code:
            return self.url.replace(PLACEHOLDER, code)
        parts = urlsplit(self.url)
        query = f"{parts.query}&{parameter}={code}".lstrip("&")
        return urlunsplit(parts._replace(query=query))


class Link(fields.String):
    """The address of the channel `channel`: https, and no place in it for a code but `{ref}`."""

    def __init__(self, channel: str, **options: Any) -> None:
        super().__init__(**options)
        self.channel = channel

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        return _checked(self.channel, str(value))


class Links(fields.Field[tuple[Channel, ...]]):
    """Further channels: `name=address`, separated by commas (a comma in an address is `%2C`)."""

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
    """The address, if a browser can be sent there and nobody but the operator says where that is."""
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
    # An app's own scheme (tg:, whatsapp:) leads nowhere on a device without the app; https opens the app too.
    if parts.scheme != "https" or not host:
        return "Not an https address."
    if "@" in parts.netloc or "{" in parts.netloc:
        return "Neither a user name nor {ref} may stand before the path: a visitor could choose the host."
    if re.search(r"[{}]", url.replace(PLACEHOLDER, "")):
        return "The only placeholder is {ref}."
    parameter = PARAMETERS.get(channel)
    if parameter and PLACEHOLDER not in url and parameter in dict(parse_qsl(parts.query, keep_blank_values=True)):
        return f"It has a parameter {parameter} already: say with {{ref}} where in it the referral code belongs."
    return ""

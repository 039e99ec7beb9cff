"""Addresses of WhatsApp: `wa.me/<number>` and `api.whatsapp.com/send?phone=<number>`.

WhatsApp takes only the digits of an international number (https://faq.whatsapp.com/5913398998672934): an address with
a plus sign, with spaces or with the leading zero of a country opens nothing.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import marshmallow

from crmgate.schemas import phones

_SHORT = ("wa.me", "www.wa.me")
_LONG = ("api.whatsapp.com", "web.whatsapp.com", "whatsapp.com", "www.whatsapp.com")
_NUMBER = re.compile(r"[\d+(). -]+")
_PLACE = re.compile(r"[A-Za-z]\w*(/.*)?")
"""Path of an address without a number, such as `message/CODE` or `qr/CODE`."""


def whatsapp_address(url: str, region: str) -> str:
    """The address as WhatsApp takes it; unchanged if it has no number, or is not one of WhatsApp.

    `region` (ISO 3166) is the country of a number without a country code. Raises `ValidationError` for an address that
    opens no chat.
    """
    parts = urlsplit(url)
    if parts.hostname in _SHORT:
        return _short(parts, region)
    if parts.hostname in _LONG and parts.path.strip("/") == "send":
        return _long(parts, region)
    return url


def _short(parts: SplitResult, region: str) -> str:
    typed = unquote(parts.path).strip("/")
    if _PLACE.fullmatch(typed):
        return parts.geturl()
    return urlunsplit(parts._replace(path=f"/{_digits(typed, region)}"))


def _long(parts: SplitResult, region: str) -> str:
    pairs = [pair.partition("=")[::2] for pair in parts.query.split("&")]
    # Not by `parse_qsl`, which reads the plus sign of +90 as a space.
    typed = next((unquote(value) for name, value in pairs if name == "phone"), "")
    number = _digits(typed, region)
    query = "&".join(f"phone={number}" if name == "phone" else f"{name}={value}" for name, value in pairs)
    return urlunsplit(parts._replace(query=query))


def _digits(typed: str, region: str) -> str:
    """The digits of the number with its country code. Raises `ValidationError`."""
    if not typed:
        raise marshmallow.ValidationError("The address has no phone number.")
    if not _NUMBER.fullmatch(typed):
        raise marshmallow.ValidationError(f"{typed} is not a phone number.")
    # Digits alone are an international number, as WhatsApp reads them, unless only a number of `region` is possible.
    international = phones.read(f"+{typed}", region) if re.match("[1-9]", typed) else None
    number = international or phones.read(typed, region)
    if number is None:
        raise marshmallow.ValidationError(f"{typed} cannot be a phone number: write it with its country code.")
    return number.value.removeprefix("+")

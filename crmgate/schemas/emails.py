"""Reads email addresses as people and form tools write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from crmgate.schemas.phones import without_format_characters
from crmgate.schemas.readings import Doubt, Reading

LONGEST = 254
"""Largest number of characters of an address (RFC 5321, 4.5.3.1.3)."""

_END = r"\s<>()\[\],;:\"|/\\?"
_PLAIN = re.compile(rf"[^@{_END}]+@[^@{_END}]+")
_ADDRESS = re.compile(rf"[^{_END}]+@[^@{_END}]+")
_USUAL = re.compile(
    r"(?=[^@]{1,64}@)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?P<last>[a-z]{2,63})"
)
_SPECIAL = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)
"""Last labels of domains that are not on the public internet, and of some that are."""
_MARKS = " \t\r\n,;:<>()[]\"'`"
_AROUND_AT = re.compile(r"\s*@\s*")
_BEFORE_DOT = re.compile(r"(@[\w.-]+)\s+(?=\.\w)")
_OPENS = re.compile(r"[<>()\[\],;:\"|/\\=]\s*\Z")
"""The end of the text before an address: without such a mark, a word before it may be a part of it."""


class NoAddress(ValueError):
    """There is no usable address; the text completes "Expected an email address ..."."""


def read(typed: str) -> Reading:
    """The first address in a text; its domain is in ASCII (RFC 5891), the part before the @ as typed.

    Raises `NoAddress` with the reason, without the text.
    """
    text = _prepared(typed)
    if _PLAIN.fullmatch(text) and (address := _valid(text)):
        return Reading(address)
    for found in _addresses(_AROUND_AT.sub("@", _BEFORE_DOT.sub(r"\1", text))):
        if address := _valid(found):
            return Reading(address, Doubt.NONE if _bare(text) == found else Doubt.PARTLY)
    raise NoAddress(_reason(text))


def _prepared(typed: str) -> str:
    text = without_format_characters(typed)
    if text.isascii():
        return text.strip()
    return unicodedata.normalize("NFKC", text).replace("。", ".").strip()


def _addresses(text: str) -> Iterator[str]:
    """Yield what can be an address; not after a bare word, which may be a part of it (`a b@example.com`)."""
    earlier = False
    for match in _ADDRESS.finditer(text):
        before = text[: match.start()]
        if earlier or not before.strip() or _OPENS.search(before):
            yield _bare(match[0])
        earlier = True


def _bare(text: str) -> str:
    """`text` without `mailto:`, and without punctuation around it."""
    text = text.lstrip(_MARKS).rstrip(f".{_MARKS}")
    return text[7:] if text[:7].lower() == "mailto:" else text


def _valid(address: str) -> str:
    """The address with its domain in ASCII; empty if it is not valid."""
    local = address.rpartition("@")[0]
    if not local.isascii() or len(address) > LONGEST:
        return ""
    if _is_usual(address):
        return address
    try:
        # `test_environment` allows .test domains; it sends no request.
        found = validate_email(address, check_deliverability=False, test_environment=True, allow_smtputf8=False)
    except EmailNotValidError:
        return ""
    return f"{local}@{found.ascii_domain}"


def _is_usual(address: str) -> bool:
    """Whether an address is valid at first sight, as nearly all are: email-validator takes 160 calls to say so.

    Two hyphens in a row begin a domain in another script, which it reads (RFC 5891), or are reserved.
    """
    match = _USUAL.fullmatch(address)
    return match is not None and "--" not in address and match["last"] not in _SPECIAL


def _reason(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if at and not local.isascii():
        return "with only unaccented Latin letters before the @"
    if local.startswith(".") or local.endswith(".") or ".." in local:
        return "such as name@example.com: before the @, a dot has a letter or digit on both sides"
    if at and local and domain.rstrip(".").lower().endswith((".local", ".localhost", ".invalid", ".internal", ".lan")):
        return "such as name@example.com: the domain is not one of the public internet"
    return "such as name@example.com"

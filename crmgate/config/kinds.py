"""Marshmallow fields for the gateway's settings, and checks of single values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import marshmallow
import phonenumbers
from marshmallow import fields, validate
from redis.connection import parse_url

from crmgate.schemas.charset import AUTO, STRICT, codec
from crmgate.schemas.labels import nearest
from crmgate.schemas.vocabulary import APPLICATION, alias_key
from crmgate.store.limits import Limit
from crmgate.store.tokens import configured
from crmgate.store.vault import is_key


class Words(fields.Field[tuple[str, ...]]):
    """A comma-separated list."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> tuple[str, ...]:
        return tuple(word.strip() for word in str(value).split(",") if word.strip())


class FieldAliases(Words):
    """Comma-separated `name=field`: names of a form's fields with the field of an application that each one is."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        aliases, problems = dict[str, str](), []
        for entry in super()._deserialize(value, *args, **options):
            name, _, field = (part.strip() for part in entry.rpartition("="))
            if problem := _alias_problem(entry, name, field) or _repeated(name, aliases):
                problems.append(problem)
            aliases[alias_key(name)] = field
        if problems:
            raise marshmallow.ValidationError(problems)
        return tuple(aliases.items())


def _alias_problem(entry: str, name: str, field: str) -> str:
    if not name or not field:
        return f"Not a name and a field: {entry}."
    if field in APPLICATION.targets or field == APPLICATION.rest:
        return ""
    known = nearest(field, APPLICATION.targets)
    return f"There is no field {field}{f'; did you mean {known}?' if known else '.'}"


def _repeated(name: str, aliases: Mapping[str, str]) -> str:
    return f"The name {name} occurs twice." if alias_key(name) in aliases else ""


class Origins(Words):
    """Comma-separated web origins (RFC 6454)."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> tuple[str, ...]:
        origins = tuple(word.rstrip("/") for word in super()._deserialize(value, *args, **options))
        if wrong := [origin for origin in origins if not _is_origin(origin)]:
            raise marshmallow.ValidationError(f"Not an origin: {', '.join(wrong)}.")
        return origins


_ORIGIN = re.compile(r"https?://([\w.-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?", re.IGNORECASE)


def _is_origin(word: str) -> bool:
    parts = _ORIGIN.fullmatch(word)
    return parts is not None and 0 < int(parts["port"] or 443) < 65536


_HOST = r"[a-z0-9._-]+|\[[0-9a-f:.]+\]"


class Hosts(Words):
    """Comma-separated host names, in lower case."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> tuple[str, ...]:
        hosts = tuple(word.lower().rstrip(".") for word in super()._deserialize(value, *args, **options))
        if wrong := [host for host in hosts if not re.fullmatch(_HOST, host)]:
            raise marshmallow.ValidationError(f"Not a host name: {', '.join(wrong)}.")
        return hosts


def site_hosts(addresses: str) -> tuple[str, ...]:
    """The host names in the addresses of a site of Caddy, such as `https://example.com:8443, www.example.com`."""
    found = (
        re.fullmatch(rf"(?:https?://)?({_HOST})(?::\d+)?", word.lower()) for word in re.split(r"[\s,]+", addresses)
    )
    return tuple(match[1] for match in found if match)


class Delays(fields.Field[tuple[float, ...]]):
    """Comma-separated seconds."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> tuple[float, ...]:
        try:
            delays = tuple(float(word) for word in str(value).split(","))
        except ValueError:
            raise marshmallow.ValidationError("Not a list of numbers.") from None
        if not all(0 < delay <= 86400 for delay in delays):
            raise marshmallow.ValidationError("A delay is out of range.")
        return delays


DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Units of a duration, in seconds."""


class Duration(fields.Field[float]):
    """A number of seconds, minutes, hours or days, such as `12h`, or `0`: in seconds, at most `most`."""

    def __init__(self, most: float, **options: Any) -> None:
        super().__init__(**options)
        self._most = most

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> float:
        found = re.fullmatch(r"([0-9]{1,9})([smhd])|0", str(value))
        seconds = int(found[1]) * DURATIONS[found[2]] if found and found[1] else 0
        if not found or seconds > self._most:
            raise marshmallow.ValidationError("Not a duration, or too long.")
        return float(seconds)


class RateField(fields.Field[Limit | None]):
    """A number in a unit of time, such as `10/hour`; `off` is None."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Limit | None:
        try:
            return None if str(value).lower() == "off" else Limit.parse(str(value))
        except ValueError:
            raise marshmallow.ValidationError("Not a number in a unit of time.") from None


class Region(fields.String):
    """An ISO 3166 region that has telephone numbers."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Any:
        region = str(value).upper()
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise marshmallow.ValidationError("Not a region with telephone numbers.")
        return region


class Charset(fields.String):
    """The charset of forms that name none: the label of one, `auto` or `off`, in lower case."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Any:
        label = str(value).lower()
        if label not in (AUTO, STRICT) and not codec(label):
            raise marshmallow.ValidationError("Not a charset of forms.")
        return label


class ApiTokens(Words):
    """Comma-separated entries `name:scope:sha256`. A message names an entry by its position: it may hold a secret."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        tokens, problems = [], []
        for number, entry in enumerate(super()._deserialize(value, *args, **options), 1):
            try:
                tokens.append(configured(entry))
            except ValueError as error:
                problems.append(f"Entry {number}: {error}")
        if len({token.name for token in tokens}) < len(tokens):
            problems.append("A name occurs twice.")
        if problems:
            raise marshmallow.ValidationError(problems)
        return tuple(tokens)


class PayloadKeys(Words):
    """Comma-separated Fernet keys. A message names a key by its position: it is a secret."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> tuple[str, ...]:
        keys = super()._deserialize(value, *args, **options)
        problems = [
            f"Entry {number}: not a key; `crmgate keys new` makes one."
            for number, key in enumerate(keys, 1) if not is_key(key)
        ]  # fmt: skip
        if len(set(keys)) < len(keys):
            problems.append("A key occurs twice.")
        if problems:
            raise marshmallow.ValidationError(problems)
        return keys


class OneOfWords(fields.String):
    """One of `choices`, in upper or lower case; the value is spelled as in `choices`."""

    def __init__(self, choices: Sequence[str], **options: Any) -> None:
        super().__init__(validate=validate.OneOf(choices), **options)
        self._spelling = {choice.lower(): choice for choice in choices}

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> str:
        return self._spelling.get(str(value).lower(), str(value))


class Switch(OneOfWords):
    """A setting that is `on` or `off`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(("on", "off"), **options)


class Folder(fields.Field[Path]):
    """A folder, which need not exist."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Path:
        return Path(str(value))


class Nodes(fields.Field[tuple[tuple[str, int], ...]]):
    """Comma-separated `host:port`; an IPv6 address is in brackets."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> tuple[tuple[str, int], ...]:
        return tuple(_node(word.strip()) for word in str(value).split(",") if word.strip())


def _node(word: str) -> tuple[str, int]:
    host, _, port = word.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host.replace(":", "/")
    if not _is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise marshmallow.ValidationError(f"Not host:port: {word}.")
    return host, int(port)


def redis_address(value: str) -> None:
    """Refuse an address that redis-py cannot parse. Raises `marshmallow.ValidationError`."""
    try:
        if value:
            parse_url(value)  # type: ignore[no-untyped-call]
    except ValueError:
        raise marshmallow.ValidationError(
            "Not the address of a Redis. Special characters in its password have to be percent-encoded."
        ) from None


def redis_host(value: str) -> None:
    """Refuse a value that is no host name and no IP address. Raises `marshmallow.ValidationError`."""
    if not _is_host(value):
        raise marshmallow.ValidationError("Not a host name. The port has a setting of its own.")


def _is_host(value: str) -> bool:
    try:
        return bool(re.fullmatch(r"[\w.-]+", value) or ipaddress.ip_address(value))
    except ValueError:
        return False


def readable(value: str) -> None:
    """Refuse a file that this process cannot read; an empty value names none. Raises `marshmallow.ValidationError`."""
    try:
        if value:
            Path(value).open("rb").close()
    except OSError as error:
        raise marshmallow.ValidationError(f"The file cannot be read ({type(error).__name__}).") from None

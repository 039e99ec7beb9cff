"""The configuration: environment and `.env`, read and checked once at start; every problem is told at once.

`CoreSettings` is the one list of the gateway's own settings: the documentation and `.env.example` are checked against
it. A plugin declares its settings the same way (`crmgate.provider.ProviderSettings`).
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import marshmallow
import phonenumbers
from dotenv import dotenv_values
from marshmallow import fields, validate
from redis.connection import parse_url

from crmgate.errors import ConfigError
from crmgate.provider import LOCAL_HOSTS, given, setting_problems


class Words(fields.Field[tuple[str, ...]]):
    """A comma-separated list."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> tuple[str, ...]:
        return tuple(word.strip() for word in str(value).split(",") if word.strip())


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


class Region(fields.String):
    """An ISO 3166 region that has telephone numbers."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Any:
        region = str(value).upper()
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise marshmallow.ValidationError("Not a region with telephone numbers.")
        return region


def _redis_address(value: str) -> None:
    """Refuse what redis-py could not parse, rather than let the first connection fail on it."""
    try:
        if value:
            parse_url(value)  # type: ignore[no-untyped-call]
    except ValueError:
        raise marshmallow.ValidationError(
            "Not the address of a Redis. Special characters in its password have to be percent-encoded."
        ) from None


def _redis_host(value: str) -> None:
    if not re.fullmatch(r"[\w.-]+", value):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise marshmallow.ValidationError("Not a host name. The port has a setting of its own.") from None


def _setting(kind: type[fields.Field[Any]], default: Any, takes: str, help: str, **options: Any) -> Any:
    metadata = {"takes": takes, "help": help} | options.pop("metadata", {})
    required = default is marshmallow.missing
    return kind(load_default=default, required=required, metadata=metadata, **options)


def _seconds(default: float, low: float, high: float, help: str) -> Any:
    takes = f"seconds, {low:g} to {high:g}"
    return _setting(fields.Float, default, takes, help, validate=validate.Range(low, high))


_SECRET = {"secret": True}


class CoreSettings(marshmallow.Schema):
    """The gateway's own settings by their names in the environment."""

    class Meta:
        unknown = marshmallow.EXCLUDE

    CRM_PROVIDER = _setting(
        fields.String, marshmallow.missing, "the name of a plugin, such as espocrm or bitrix",
        "The CRM that gets the leads",
    )  # fmt: skip
    CRM_TIMEOUT = _seconds(10.0, 0.1, 60, "How long one request to the CRM may take in the worker")
    CRM_INLINE_BUDGET = _seconds(3.0, 0.1, 30, "How long a visitor may wait for the first attempt, all requests")
    CRM_RETRY_DELAYS = _setting(
        Delays, (1.0, 5.0, 25.0), "seconds, separated by commas, each up to 86400",
        "The waits between attempts; one more attempt than waits, then a dead letter",
    )  # fmt: skip
    CRM_MAX_CONCURRENCY = _setting(
        fields.Integer, 4, "a number, 1 to 100",
        "How many operations are under way in the CRM at once, in all processes together; what comes on top waits"
        " for its turn", validate=validate.Range(1, 100),
    )  # fmt: skip
    CRM_DELIVERY = _setting(
        fields.String, "inline", "inline or queued", "Whether the web request tries the CRM at once",
        validate=validate.OneOf(["inline", "queued"]),
    )  # fmt: skip
    CRM_ON_DUPLICATE = _setting(
        fields.String, "note", "note, update or create",
        "What becomes of an application of somebody whose email or phone the CRM knows: a note on that lead that"
        " changes nothing else, an update of it, or a second lead",
        validate=validate.OneOf(["note", "update", "create"]),
    )  # fmt: skip
    CRM_ON_REJECTED_FIELD = _setting(
        fields.String, "describe", "describe or dead",
        "What becomes of a value that the CRM refuses: it is moved into the description, or the operation becomes a"
        " dead letter", validate=validate.OneOf(["describe", "dead"]),
    )  # fmt: skip
    CRM_HTTP_HOSTS = _setting(
        Words, LOCAL_HOSTS, "host names, separated by commas", "The hosts to which a CRM's address may use http"
    )
    PLUGINS_DIR = _setting(fields.String, "plugins", "a folder", "The folder with the CRM plugins")
    PLUGINS_ALLOWED = _setting(
        Words, (), "file names without .py, separated by commas", "Load only these plugin files (empty: all)"
    )
    DEFAULT_PHONE_REGION = _setting(
        Region, "TR", "an ISO 3166 region such as TR or DE", "The country of phone numbers without a country code"
    )
    ALLOWED_ORIGINS = _setting(
        Origins, (), "origins such as https://www.example.com, separated by commas",
        "The sites whose forms may redirect back",
    )  # fmt: skip
    REDIS_URL = _setting(
        fields.String, "", "redis://[:password@]host:port/db, rediss:// or unix://",
        "The Redis that keeps the submissions", validate=_redis_address, metadata=_SECRET,
    )  # fmt: skip
    REDIS_HOST = _setting(
        fields.String, "127.0.0.1", "a host name or an IP address", "The host of Redis where REDIS_URL is not set",
        validate=_redis_host,
    )  # fmt: skip
    REDIS_PORT = _setting(
        fields.Integer, 6379, "a port, 1 to 65535", "The port of Redis where REDIS_URL is not set",
        validate=validate.Range(1, 65535),
    )  # fmt: skip
    REDIS_PASSWORD = _setting(
        fields.String, "", "text", "The password of Redis where REDIS_URL is not set", metadata=_SECRET
    )
    REDIS_TIMEOUT = _seconds(1.0, 0.05, 30, "How long Redis may take to answer")
    LOG_LEVEL = _setting(
        fields.String, "INFO", "DEBUG, INFO, WARNING or ERROR", "How much is logged",
        validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]),
    )  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The checked configuration. `environ` is what plugins read their own settings from; it is never shown.

    Blank variables are kept in it: an empty `<PROVIDER>_MAP_<FACT>` says that a fact is not sent.
    """

    provider: str
    timeout: float
    inline_budget: float
    retry_delays: tuple[float, ...]
    max_concurrency: int
    delivery: str
    on_duplicate: str
    on_rejected_field: str
    http_hosts: tuple[str, ...]
    plugins_dir: Path
    plugins_allowed: tuple[str, ...]
    default_phone_region: str
    allowed_origins: tuple[str, ...]
    redis_url: str = field(repr=False)
    redis_timeout: float
    log_level: str
    environ: Mapping[str, str] = field(repr=False, default_factory=dict)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read and check the settings; by default those of the process and of `.env`. Raises `ConfigError`.

        White space around a value, such as the line end that a file of secrets leaves behind, does not count.
        """
        source = {name: value.strip() for name, value in (environment() if environ is None else environ).items()}
        schema, problems = CoreSettings(), list[str]()
        written = given(schema, source, problems)
        try:
            values = schema.load({name: value for name, value in written.items() if value})
        except marshmallow.ValidationError as error:
            problems += setting_problems(schema, error, written)
        if problems:
            raise ConfigError(problems)
        return cls(
            provider=values["CRM_PROVIDER"],
            timeout=values["CRM_TIMEOUT"],
            inline_budget=values["CRM_INLINE_BUDGET"],
            retry_delays=values["CRM_RETRY_DELAYS"],
            max_concurrency=values["CRM_MAX_CONCURRENCY"],
            delivery=values["CRM_DELIVERY"],
            on_duplicate=values["CRM_ON_DUPLICATE"],
            on_rejected_field=values["CRM_ON_REJECTED_FIELD"],
            http_hosts=values["CRM_HTTP_HOSTS"],
            plugins_dir=Path(values["PLUGINS_DIR"]),
            plugins_allowed=values["PLUGINS_ALLOWED"],
            default_phone_region=values["DEFAULT_PHONE_REGION"],
            allowed_origins=values["ALLOWED_ORIGINS"],
            redis_url=values["REDIS_URL"] or _redis_url(values),
            redis_timeout=values["REDIS_TIMEOUT"],
            log_level=values["LOG_LEVEL"],
            environ=source,
        )


def environment() -> dict[str, str]:
    """The variables of `.env` in the working directory, overridden by those of the process. Raises `ConfigError`."""
    try:
        written = dotenv_values(".env", encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = f".env: the file cannot be read ({type(error).__name__}). It takes UTF-8 text, readable by this user."
    else:
        return {name: value for name, value in written.items() if value is not None} | dict(os.environ)
    raise ConfigError([problem])  # out here: the decoder's error holds the file's text, which is secret


def _redis_url(values: Mapping[str, Any]) -> str:
    password = f":{quote(values['REDIS_PASSWORD'], safe='')}@" if values["REDIS_PASSWORD"] else ""
    host = f"[{values['REDIS_HOST']}]" if ":" in values["REDIS_HOST"] else values["REDIS_HOST"]
    return f"redis://{password}{host}:{values['REDIS_PORT']}/0"

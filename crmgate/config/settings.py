"""The checked settings as one object."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import marshmallow
from dotenv import dotenv_values

from crmgate.channels import WELL_KNOWN, Channel
from crmgate.config.declared import CoreSettings
from crmgate.config.kinds import Switch, site_hosts
from crmgate.config.redis_server import redis_url
from crmgate.config.sources import read_sources
from crmgate.errors import ConfigError
from crmgate.plugin_kit.settings import given, setting_problems
from crmgate.sources.model import Source
from crmgate.store.client import RedisAddress
from crmgate.store.limits import Limit
from crmgate.store.tokens import Token

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class Limits:
    """Rate limits of submissions, look-ups and sources; None: no limit."""

    address: Limit | None = None
    person: Limit | None = None
    lookups: Limit | None = None
    source: Limit | None = None


@dataclass(frozen=True)
class Settings:
    """The checked configuration. Times are in seconds.

    `environ` holds the variables from which plugins read their own settings; it is never shown. It includes blank ones:
    an empty `<PROVIDER>_MAP_<FACT>` means that a fact is not sent.
    """

    provider: str
    timeout: float
    inline_budget: float
    retry_delays: tuple[float, ...]
    max_concurrency: int
    epidemic_after: int
    delivery: str
    on_duplicate: str
    on_update: str
    on_rejected_field: str
    http_hosts: tuple[str, ...]
    plugins_dir: Path
    plugins_allowed: tuple[str, ...]
    default_phone_region: str
    field_aliases: Mapping[str, str]
    default_form_charset: str
    refuse_files: bool
    allowed_origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    channels: Mapping[str, Channel]
    minimal_leads: bool
    trusted_proxies: int
    api_tokens: tuple[Token, ...] = field(repr=False)
    metrics_public: bool
    limits: Limits
    honeypot_field: str
    min_fill_seconds: float
    suspect_days: float
    payload_keep: float
    reconcile: str
    dead_days: float
    payload_keys: tuple[str, ...] = field(repr=False)
    redis: RedisAddress
    alert_waiting_minutes: float
    log_level: str
    log_format: str
    spool_dir: Path | None = None
    spool_max: float = 100.0
    """Megabytes."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    environ: Mapping[str, str] = field(repr=False, default_factory=dict)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read and check settings, by default those of the process and of `.env`. Raises `ConfigError`.

        White space around a value is removed, such as the line end of a file with a secret.
        """
        source = {name: value.strip() for name, value in (environment() if environ is None else environ).items()}
        schema, problems = CoreSettings(), list[str]()
        written = given(schema, source, problems)
        try:
            values = _meant(schema, schema.load({name: value for name, value in written.items() if value}))
            values["ALLOWED_HOSTS"] = values["ALLOWED_HOSTS"] or site_hosts(source.get("APP_DOMAIN", ""))
        except marshmallow.ValidationError as error:
            problems += setting_problems(schema, error, written)
        sources, wrong = read_sources(source)
        if problems := [*problems, *wrong]:
            raise ConfigError(problems)
        return cls(
            **_named(cls, "", values), **_named(cls, "CRM_", values),
            channels=_channels(values),
            limits=Limits(**_named(Limits, "RATE_LIMIT_", values)),
            redis=RedisAddress(**_named(RedisAddress, "REDIS_", values)),
            sources=sources,
            environ=source,
        )  # fmt: skip


def environment() -> dict[str, str]:
    """The variables of `.env` in the working directory, overridden by those of the process. Raises `ConfigError`."""
    try:
        written = dotenv_values(".env", encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = f".env: the file cannot be read ({type(error).__name__}). It takes UTF-8 text, readable by this user."
    else:
        return {name: value for name, value in written.items() if value is not None} | dict(os.environ)
    raise ConfigError([problem])  # outside of `except`: the decoder's error contains the text of the file, a secret


def _meant(schema: marshmallow.Schema, loaded: Mapping[str, Any]) -> dict[str, Any]:
    """The loaded values with switches as booleans, pairs as a mapping, and one address of Redis."""
    switches = {name: loaded[name] == "on" for name, declared in schema.fields.items() if isinstance(declared, Switch)}
    values = {**loaded, **switches, "FIELD_ALIASES": dict(loaded["FIELD_ALIASES"])}
    return values | {"REDIS_URL": values["REDIS_URL"] or redis_url(values)}


def _named(record: type[DataclassInstance], prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the fields of `record` whose setting is named `prefix` and the field in capitals."""
    settings = {declared.name: f"{prefix}{declared.name.upper()}" for declared in fields(record)}
    return {name: values[setting] for name, setting in settings.items() if setting in values}


def _channels(values: Mapping[str, Any]) -> dict[str, Channel]:
    known = (Channel(name, url) for name in WELL_KNOWN if (url := values[f"{name.upper()}_URL"]))
    return {channel.name: channel for channel in (*known, *values["MESSENGER_CHANNELS"])}

"""The configuration: environment and `.env`, read and checked once at start; every problem is told at once.

`CoreSettings` is the one list of the gateway's own settings: the documentation and `.env.example` are checked against
it. A plugin declares its settings the same way (`crmgate.provider.ProviderSettings`).
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import marshmallow
import phonenumbers
from dotenv import dotenv_values
from marshmallow import fields, validate
from redis.connection import parse_url

from crmgate.channels import WELL_KNOWN, Channel, Link, Links
from crmgate.errors import ConfigError
from crmgate.limits import UNITS, Limit
from crmgate.logs import FORMATS
from crmgate.provider import LOCAL_HOSTS, given, setting_problems
from crmgate.redis_client import RedisAddress
from crmgate.tokens import Token, configured


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


class Rate(fields.Field[Limit | None]):
    """A number in a unit of time; None where it is `off`."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Limit | None:
        try:
            return None if value == "off" else Limit.parse(str(value))
        except ValueError:
            raise marshmallow.ValidationError("Not a number in a unit of time.") from None


class Region(fields.String):
    """An ISO 3166 region that has telephone numbers."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> Any:
        region = str(value).upper()
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise marshmallow.ValidationError("Not a region with telephone numbers.")
        return region


class ApiTokens(Words):
    """Comma-separated entries `name:scope:sha256`. Messages tell an entry by its place: it may hold a secret."""

    def _deserialize(self, value: Any, *args: Any, **options: Any) -> Any:
        tokens, problems = [], []
        for number, entry in enumerate(super()._deserialize(value, *args, **options), 1):
            try:
                tokens.append(configured(entry))
            except ValueError as error:
                problems.append(f"Entry {number}: {error}")
        if len({token.name for token in tokens}) < len(tokens):
            problems.append("A name stands twice.")
        if problems:
            raise marshmallow.ValidationError(problems)
        return tuple(tokens)


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
    if not _is_host(value):
        raise marshmallow.ValidationError("Not a host name. The port has a setting of its own.")


def _is_host(value: str) -> bool:
    try:
        return bool(re.fullmatch(r"[\w.-]+", value) or ipaddress.ip_address(value))
    except ValueError:
        return False


class Nodes(fields.Field[tuple[tuple[str, int], ...]]):
    """Comma-separated `host:port`; an IPv6 address stands in brackets."""

    def _deserialize(self, value: Any, *_args: Any, **_options: Any) -> tuple[tuple[str, int], ...]:
        return tuple(_node(word.strip()) for word in str(value).split(",") if word.strip())


def _node(word: str) -> tuple[str, int]:
    host, _, port = word.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host.replace(":", "/")
    if not _is_host(host) or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise marshmallow.ValidationError(f"Not host:port: {word}.")
    return host, int(port)


def _readable(value: str) -> None:
    try:
        if value:
            Path(value).open("rb").close()
    except OSError as error:
        raise marshmallow.ValidationError(f"The file cannot be read ({type(error).__name__}).") from None


def _setting(kind: type[fields.Field[Any]], default: Any, takes: str, help: str, **options: Any) -> Any:
    metadata = {"takes": takes, "help": help} | options.pop("metadata", {})
    required = default is marshmallow.missing
    return kind(load_default=default, required=required, metadata=metadata, **options)


def _seconds(default: float, low: float, high: float, help: str) -> Any:
    takes = f"seconds, {low:g} to {high:g}"
    return _setting(fields.Float, default, takes, help, validate=validate.Range(low, high))


def _switch(help: str, *, default: str = "off") -> Any:
    return _setting(fields.String, default, "on or off", help, validate=validate.OneOf(["on", "off"]))


def _link(channel: str, what: str, example: str) -> Any:
    takes = f"an https address such as {example}"
    return _setting(Link, "", takes, f"Where `/go/{channel}` leads: {what}", channel=channel)


def _rate(default: str, help: str) -> Any:
    takes = f"a number per {', '.join(UNITS)}, such as {default}, or off"
    return _setting(Rate, Limit.parse(default), takes, help)


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
        Words, (), "names of files without .py, and of folders, separated by commas",
        "Load only these plugins of the folder (empty: all)",
    )  # fmt: skip
    DEFAULT_PHONE_REGION = _setting(
        Region, "TR", "an ISO 3166 region such as TR or DE", "The country of phone numbers without a country code"
    )
    ALLOWED_ORIGINS = _setting(
        Origins, (), "origins such as https://www.example.com, separated by commas",
        "The sites whose scripts may send submissions (CORS), and whose forms may redirect back",
    )  # fmt: skip
    TELEGRAM_URL = _link("telegram", "your bot", "https://t.me/example_bot")
    WHATSAPP_URL = _link("whatsapp", "your number", "https://wa.me/905321234567")
    INSTAGRAM_URL = _link("instagram", "your page", "https://ig.me/m/example?ref={ref}")
    MESSENGER_CHANNELS = _setting(
        Links, (), "name=address, separated by commas; a comma in an address is %2C",
        "Further channels: `/go/<name>` leads to the address, with the referral code in the place of `{ref}`",
    )  # fmt: skip
    MINIMAL_LEADS = _switch(
        "Whether a click on a messenger link makes a lead for somebody who has none yet; off: it is only counted",
        default="on",
    )
    RATE_LIMIT_ADDRESS = _rate(
        "60/minute",
        "How many submissions are taken from one network address (of IPv6: from one /64); so many clicks on links are"
        " recorded, too",
    )
    RATE_LIMIT_PERSON = _rate("10/hour", "How many applications are taken with one email or one phone number")
    RATE_LIMIT_LOOKUPS = _rate("300/minute", "How often one network address may ask how far submissions have come")
    HONEYPOT_FIELD = _setting(
        fields.String, "_hp", "a field name of at most 64 characters",
        "A form field that no visitor sees: whoever fills it in is a robot, and the submission a suspect",
        validate=validate.Length(max=64),
    )  # fmt: skip
    MIN_FILL_SECONDS = _seconds(
        2.0, 0, 60,
        "A form that was open for less time (its field `_t`, in milliseconds) is a suspect; 0: time does not matter",
    )  # fmt: skip
    API_TOKENS = _setting(
        ApiTokens, (), "name:scope:hash, separated by commas; `crmgate tokens new --env` makes one",
        "API tokens that work while Redis is away, too, as hashes", metadata=_SECRET,
    )  # fmt: skip
    METRICS_PUBLIC = _switch("Whether `/metrics` needs no token")
    TRUSTED_PROXIES = _setting(
        fields.Integer, 0, "a number, 0 to 10",
        "How many proxies in front of crmgate are yours: so many entries of X-Forwarded-For are believed, and"
        " X-Forwarded-Proto",
        validate=validate.Range(0, 10),
    )  # fmt: skip
    REDIS_URL = _setting(
        fields.String, "", "redis://[[user]:password@]host:port/db, rediss:// or unix://",
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
    REDIS_USERNAME = _setting(
        fields.String, "", "text", "The user of Redis (ACL) where REDIS_URL is not set; empty: the default user"
    )
    REDIS_PASSWORD = _setting(
        fields.String, "", "text", "The password of Redis where REDIS_URL is not set", metadata=_SECRET
    )
    REDIS_TLS = _switch("Whether Redis, and its Sentinels, are reached by TLS where REDIS_URL is not set")
    REDIS_CA_FILE = _setting(
        fields.String, "", "a PEM file", "Who signed the certificate of Redis; empty: somebody whom the system trusts",
        validate=_readable,
    )  # fmt: skip
    REDIS_CERT_FILE = _setting(
        fields.String, "", "a PEM file", "The gateway's own certificate, if Redis asks for one", validate=_readable
    )
    REDIS_KEY_FILE = _setting(fields.String, "", "a PEM file", "The private key of REDIS_CERT_FILE", validate=_readable)
    REDIS_SENTINELS = _setting(
        Nodes, (), "host:port of each Sentinel, separated by commas", "The Sentinels that say which Redis is the master"
    )
    REDIS_SENTINEL_MASTER = _setting(
        fields.String, "mymaster", "the name in the Sentinels' configuration", "What the Sentinels call this Redis"
    )
    REDIS_SENTINEL_USERNAME = _setting(fields.String, "", "text", "The user of the Sentinels, if they have users")
    REDIS_SENTINEL_PASSWORD = _setting(
        fields.String, "", "text", "The password of the Sentinels, if they ask for one", metadata=_SECRET
    )
    REDIS_CLUSTER = _switch("Whether it is a Redis Cluster; REDIS_URL or REDIS_HOST names any of its nodes")
    REDIS_REPLICAS = _setting(
        fields.Integer, 0, "a number, 0 to 10",
        "How many replicas have to hold a submission before it counts as accepted: with 1 a failover loses none",
        validate=validate.Range(0, 10),
    )  # fmt: skip
    REDIS_TIMEOUT = _seconds(1.0, 0.05, 30, "How long Redis may take to answer")
    LOG_LEVEL = _setting(
        fields.String, "INFO", "DEBUG, INFO, WARNING or ERROR", "How much is logged",
        validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]),
    )  # fmt: skip
    LOG_FORMAT = _setting(
        fields.String, "json", "json or console", "How a line of the log looks: for machines, or for people",
        validate=validate.OneOf(FORMATS),
    )  # fmt: skip

    @marshmallow.validates_schema(pass_original=True)
    def _one_redis(self, values: Mapping[str, Any], given: Mapping[str, str], **_options: Any) -> None:
        if problems := dict(_contradictions(values, given)):
            raise marshmallow.ValidationError({name: [problem] for name, problem in problems.items()})


def _contradictions(values: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Settings that name two servers, or that would silently count for nothing: each with what to do."""
    url, sentinels, cluster = values["REDIS_URL"], values["REDIS_SENTINELS"], values["REDIS_CLUSTER"] == "on"
    login: dict[str, Any] = parse_url(url or "redis://")  # type: ignore[no-untyped-call]
    if cluster and sentinels:
        yield "REDIS_CLUSTER", "A Redis Cluster has no Sentinels: leave REDIS_SENTINELS out."
    if cluster and (login.get("db") or "path" in login):
        yield "REDIS_CLUSTER", "REDIS_URL names a socket, or a database other than 0: no Redis Cluster has that."
    if cluster and values["REDIS_REPLICAS"]:
        yield "REDIS_REPLICAS", "crmgate cannot wait for the replicas of a Redis Cluster: leave it out."
    for name in given.keys() & ({"REDIS_URL", "REDIS_HOST"} if sentinels else set()):
        yield name, "REDIS_SENTINELS say already where Redis is: leave one of them out."
    for name in given.keys() & (set() if sentinels else _OF_SENTINELS):
        yield name, "It counts only together with REDIS_SENTINELS."
    tls = url.startswith("rediss:") if url else values["REDIS_TLS"] == "on"
    if values["REDIS_TLS"] == "on" and not tls:
        yield "REDIS_TLS", "REDIS_URL says that itself: let it begin with rediss://."
    for name in given.keys() & (set() if tls else _OF_TLS):
        yield name, "Redis is not reached by TLS: set REDIS_TLS=on, or let REDIS_URL begin with rediss://."
    if tls and bool(values["REDIS_CERT_FILE"]) != bool(values["REDIS_KEY_FILE"]):
        yield "REDIS_CERT_FILE", "A certificate and its key belong together: set REDIS_KEY_FILE as well, or neither."


_OF_SENTINELS = {"REDIS_SENTINEL_MASTER", "REDIS_SENTINEL_USERNAME", "REDIS_SENTINEL_PASSWORD"}
_OF_TLS = {"REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How often somebody may; None: without a limit."""

    address: Limit | None = None
    person: Limit | None = None
    lookups: Limit | None = None


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
    channels: Mapping[str, Channel]
    minimal_leads: bool
    trusted_proxies: int
    api_tokens: tuple[Token, ...] = field(repr=False)
    metrics_public: bool
    limits: Limits
    honeypot_field: str
    min_fill_seconds: float
    redis: RedisAddress
    log_level: str
    log_format: str
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
            channels=_channels(values),
            minimal_leads=values["MINIMAL_LEADS"] == "on",
            trusted_proxies=values["TRUSTED_PROXIES"],
            api_tokens=values["API_TOKENS"],
            metrics_public=values["METRICS_PUBLIC"] == "on",
            limits=Limits(values["RATE_LIMIT_ADDRESS"], values["RATE_LIMIT_PERSON"], values["RATE_LIMIT_LOOKUPS"]),
            honeypot_field=values["HONEYPOT_FIELD"],
            min_fill_seconds=values["MIN_FILL_SECONDS"],
            redis=_redis(values),
            log_level=values["LOG_LEVEL"],
            log_format=values["LOG_FORMAT"],
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


def _channels(values: Mapping[str, Any]) -> dict[str, Channel]:
    known = (Channel(name, url) for name in WELL_KNOWN if (url := values[f"{name.upper()}_URL"]))
    return {channel.name: channel for channel in (*known, *values["MESSENGER_CHANNELS"])}


def _redis(values: Mapping[str, Any]) -> RedisAddress:
    return RedisAddress(
        url=values["REDIS_URL"] or _redis_url(values),
        timeout=values["REDIS_TIMEOUT"],
        cluster=values["REDIS_CLUSTER"] == "on",
        sentinels=values["REDIS_SENTINELS"],
        sentinel_master=values["REDIS_SENTINEL_MASTER"],
        sentinel_username=values["REDIS_SENTINEL_USERNAME"],
        sentinel_password=values["REDIS_SENTINEL_PASSWORD"],
        ca_file=values["REDIS_CA_FILE"],
        cert_file=values["REDIS_CERT_FILE"],
        key_file=values["REDIS_KEY_FILE"],
        replicas=values["REDIS_REPLICAS"],
    )


def _redis_url(values: Mapping[str, Any]) -> str:
    scheme = "rediss" if values["REDIS_TLS"] == "on" else "redis"
    user, password = (quote(values[name], safe="") for name in ("REDIS_USERNAME", "REDIS_PASSWORD"))
    login = f"{user}:{password}@" if user or password else ""
    host = f"[{values['REDIS_HOST']}]" if ":" in values["REDIS_HOST"] else values["REDIS_HOST"]
    return f"{scheme}://{login}{host}:{values['REDIS_PORT']}/0"

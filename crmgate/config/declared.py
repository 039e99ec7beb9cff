"""The list of the gateway's own settings: type, default and help text of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import marshmallow
from marshmallow import fields, validate

from crmgate.channels import Link, Links
from crmgate.config.kinds import (
    ApiTokens,
    Charset,
    Delays,
    Duration,
    FieldAliases,
    Folder,
    Hosts,
    Nodes,
    OneOfWords,
    Origins,
    PayloadKeys,
    RateField,
    Region,
    Switch,
    Words,
    readable,
    redis_address,
    redis_host,
)
from crmgate.config.redis_server import contradictions
from crmgate.config.whatsapp import whatsapp_address
from crmgate.logs import FORMATS
from crmgate.plugin_kit.settings import LOCAL_HOSTS
from crmgate.schemas.charset import AUTO
from crmgate.store.gate import EPIDEMIC_AFTER
from crmgate.store.keys import RECEIPT_SECONDS
from crmgate.store.limits import UNITS, Limit


def _setting(kind: type[fields.Field[Any]], default: Any, takes: str, help: str, **options: Any) -> Any:
    metadata = {"takes": takes, "help": help} | options.pop("metadata", {})
    required = default is marshmallow.missing
    return kind(load_default=default, required=required, metadata=metadata, **options)


def _seconds(default: float, low: float, high: float, help: str) -> Any:
    return _amount("seconds", default, low, high, help)


def _amount(unit: str, default: float, low: float, high: float, help: str, *, zero: str = "") -> Any:
    """A number of `unit`; `zero` says what 0 means."""
    takes = f"{unit}, {low:g} to {high:g}" + (f"; 0: {zero}" if zero else "")
    return _setting(fields.Float, default, takes, help, validate=validate.Range(low, high))


def _switch(help: str, *, default: str = "off") -> Any:
    return _setting(Switch, default, "on or off", help)


def _link(channel: str, what: str, example: str) -> Any:
    takes = f"an https address such as {example}"
    return _setting(Link, "", takes, f"Target of `/go/{channel}`: {what}", channel=channel)


def _choice(choices: tuple[str, ...], help: str) -> Any:
    """A setting with a few values, of which the first is the default."""
    takes = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return _setting(OneOfWords, choices[0], takes, help, choices=choices)


def _rate(default: str, help: str) -> Any:
    takes = f"a number per {', '.join(UNITS)}, such as {default}, or off"
    return _setting(RateField, Limit.parse(default), takes, help)


_SECRET = {"secret": True}


class CoreSettings(marshmallow.Schema):
    """The gateway's own settings by their names in the environment."""

    class Meta:
        unknown = marshmallow.EXCLUDE

    CRM_PROVIDER = _setting(
        fields.String, marshmallow.missing, "the name of a plugin, such as espocrm or bitrix",
        "The CRM that receives the leads",
    )  # fmt: skip
    CRM_TIMEOUT = _seconds(10.0, 0.1, 60, "Time limit of one request to the CRM in the worker")
    CRM_INLINE_BUDGET = _seconds(
        3.0, 0.1, 30, "Time limit of the first attempt, during which the visitor waits, for all of its requests"
    )
    CRM_RETRY_DELAYS = _setting(
        Delays, (1.0, 5.0, 25.0), "seconds, separated by commas, each up to 86400",
        "Delays between attempts. After the last delay one more attempt follows, then the operation is a dead letter",
    )  # fmt: skip
    CRM_MAX_CONCURRENCY = _setting(
        fields.Integer, 4, "a number, 1 to 100",
        "Number of operations that are sent to the CRM at the same time, by all processes together; further operations"
        " wait", validate=validate.Range(1, 100),
    )  # fmt: skip
    CRM_EPIDEMIC_AFTER = _setting(
        fields.Integer, EPIDEMIC_AFTER, "a number, 2 to 100",
        "Number of different operations in a row, refused for the same reason, after which nothing is sent until one"
        " of them is delivered", validate=validate.Range(2, 100),
    )  # fmt: skip
    CRM_DELIVERY = _choice(
        ("inline", "queued"),
        "Place of the first attempt: in the web request (inline) or in the worker (queued)",
    )
    CRM_ON_DUPLICATE = _choice(
        ("note", "update", "create"),
        "Action when the CRM has a lead with the email or phone of an application: add a note to that lead and change"
        " nothing else, update that lead, or create a second lead",
    )
    CRM_ON_UPDATE = _choice(
        ("describe", "overwrite"),
        "Action when an update brings a value that differs from the CRM's: describe the new value and keep the CRM's,"
        " or write the new value and describe the previous one. Empty fields are filled in both cases",
    )
    CRM_ON_REJECTED_FIELD = _choice(
        ("describe", "dead"),
        "Action when the CRM refuses a value: move the value into the description, or make the operation a dead letter",
    )
    CRM_HTTP_HOSTS = _setting(
        Words,
        LOCAL_HOSTS,
        "host names, separated by commas",
        "Hosts that the address of a CRM may name with http instead of https",
    )
    PLUGINS_DIR = _setting(
        Folder, Path("plugins"), "a folder",
        "Folder with your own plugins, in addition to those that come with crmgate. A plugin here replaces the one of"
        " the same name that comes with crmgate",
    )  # fmt: skip
    PLUGINS_ALLOWED = _setting(
        Words, (), "names of files without .py, and of folders, separated by commas",
        "Plugins to load, of those in PLUGINS_DIR and those that come with crmgate; empty: all",
    )  # fmt: skip
    DEFAULT_PHONE_REGION = _setting(
        Region, "TR", "an ISO 3166 region such as TR or DE", "Country of phone numbers that have no country code"
    )
    FIELD_ALIASES = _setting(
        FieldAliases, (), "name=field, separated by commas, such as your-name=full_name,q5=phone",
        "Names of your form's fields with the field of an application that each one is. `name=custom` keeps a field in"
        " `custom` although its name is a usual one",
    )  # fmt: skip
    DEFAULT_FORM_CHARSET = _setting(
        Charset, AUTO, "auto, off or a charset such as windows-1251",
        "Charset of forms that are not UTF-8 and name no charset. auto: windows-1251 for Russian text, else"
        " windows-1254. off: such a form is refused",
    )  # fmt: skip
    REFUSE_FILES = _switch(
        "on: a form with a file is refused. off: the file is left out, and its name and size are kept"
    )
    ALLOWED_ORIGINS = _setting(
        Origins, (), "origins such as https://www.example.com, separated by commas",
        "Sites that may send submissions from a script (CORS) and that forms may redirect back to",
    )  # fmt: skip
    ALLOWED_HOSTS = _setting(
        Hosts, (), "host names such as crm.example.com, separated by commas, without ports",
        "Names under which visitors reach this gateway; requests for another host are refused. Empty: APP_DOMAIN, and"
        " without it every name. `localhost`, `/healthz`, `/readyz` and `/metrics` are not restricted",
    )  # fmt: skip
    TELEGRAM_URL = _link("telegram", "the address of your bot", "https://t.me/example_bot")
    WHATSAPP_URL = _link("whatsapp", "the address of your number", "https://wa.me/905321234567")
    INSTAGRAM_URL = _link("instagram", "the address of your page", "https://ig.me/m/example?ref={ref}")
    MESSENGER_CHANNELS = _setting(
        Links, (), "name=address, separated by commas; a comma in an address is %2C",
        "Further channels: `/go/<name>` redirects to the address, with the referral code in place of `{ref}`",
    )  # fmt: skip
    MINIMAL_LEADS = _switch(
        "on: a click on a messenger link creates a lead for a visitor without one. off: the click is only counted",
        default="on",
    )
    RATE_LIMIT_ADDRESS = _rate(
        "60/minute",
        "Limit of submissions from one network address. Of IPv6 it is the limit of a /64; a /48 has ten times that"
        " limit. Recorded clicks on links have a limit of the same size",
    )
    RATE_LIMIT_PERSON = _rate(
        "10/hour",
        "Limit of applications with one email address or one phone number, and of clicks in one session. Submissions"
        " above it are accepted, and kept until an operator releases them",
    )
    RATE_LIMIT_LOOKUPS = _rate("300/minute", "Limit of status requests for submissions from one network address")
    RATE_LIMIT_SOURCE = _rate("600/minute", "Limit of requests of one source (`/in/<source>`) with the right secret")
    HONEYPOT_FIELD = _setting(
        fields.String, "_hp", "a field name of at most 64 characters",
        "Name of a form field that visitors do not see. A submission with a value in it is a suspected bot submission",
        validate=validate.Length(max=64),
    )  # fmt: skip
    MIN_FILL_SECONDS = _seconds(
        2.0, 0, 60,
        "Shortest time that a visitor has a form open (form field `_t`, in milliseconds); a faster submission is a"
        " suspected bot submission. 0: no check",
    )  # fmt: skip
    SUSPECT_DAYS = _amount("days", 30.0, 1, 3650, "Age at which a suspect that no operator released is discarded")
    PAYLOAD_KEEP = _setting(
        Duration, 0, "0, or a duration up to 7d, such as 12h or 7d",
        "Time for which the data of a delivered operation are kept, so that `crmgate reconcile --repair` can send it"
        " again. 0: they are removed with the delivery", most=RECEIPT_SECONDS,
    )  # fmt: skip
    RECONCILE = _choice(
        ("off", "daily"),
        "daily: once a day a worker compares the delivered operations of the last 7 days with the CRM",
    )
    DEAD_DAYS = _amount(
        "days", 0.0, 0, 3650,
        "Age at which a dead letter that no operator retried or discarded is discarded, with an entry in the audit log",
        zero="never",
    )  # fmt: skip
    PAYLOAD_KEYS = _setting(
        PayloadKeys, (), "Fernet keys, separated by commas; `crmgate keys new` makes one",
        "Keys that encrypt the payloads in Redis. The first one encrypts, all of them decrypt. Empty: no encryption",
        metadata=_SECRET,
    )  # fmt: skip
    API_TOKENS = _setting(
        ApiTokens, (), "name:scope:hash, separated by commas; `crmgate tokens new --env` makes one",
        "API tokens, as hashes, that also work while Redis is unavailable", metadata=_SECRET,
    )  # fmt: skip
    METRICS_PUBLIC = _switch("on: `/metrics` needs no token")
    TRUSTED_PROXIES = _setting(
        fields.Integer, 0, "a number, 0 to 10",
        "Number of your own proxies in front of crmgate. That number of entries of X-Forwarded-For is trusted, from the"
        " right; with at least one proxy, X-Forwarded-Proto is trusted too",
        validate=validate.Range(0, 10),
    )  # fmt: skip
    REDIS_URL = _setting(
        fields.String, "", "redis://[[user]:password@]host:port/db, rediss:// or unix://",
        "Address of the Redis that stores the submissions", validate=redis_address, metadata=_SECRET,
    )  # fmt: skip
    REDIS_HOST = _setting(
        fields.String, "127.0.0.1", "a host name or an IP address", "Host of Redis if REDIS_URL is not set",
        validate=redis_host,
    )  # fmt: skip
    REDIS_PORT = _setting(
        fields.Integer, 6379, "a port, 1 to 65535", "Port of Redis if REDIS_URL is not set",
        validate=validate.Range(1, 65535),
    )  # fmt: skip
    REDIS_USERNAME = _setting(
        fields.String, "", "text", "User of Redis (ACL) if REDIS_URL is not set; empty: the default user"
    )
    REDIS_PASSWORD = _setting(fields.String, "", "text", "Password of Redis if REDIS_URL is not set", metadata=_SECRET)
    REDIS_TLS = _switch("on: connections to Redis and its Sentinels use TLS; with REDIS_URL use rediss:// instead")
    REDIS_CA_FILE = _setting(
        fields.String, "", "a PEM file",
        "Certificate authority of the certificate of Redis; empty: those that the system trusts", validate=readable,
    )  # fmt: skip
    REDIS_CERT_FILE = _setting(
        fields.String, "", "a PEM file", "Client certificate of the gateway, if Redis requires one", validate=readable
    )
    REDIS_KEY_FILE = _setting(fields.String, "", "a PEM file", "Private key of REDIS_CERT_FILE", validate=readable)
    REDIS_SENTINELS = _setting(
        Nodes, (), "host:port of each Sentinel, separated by commas", "Sentinels that name the current master"
    )
    REDIS_SENTINEL_MASTER = _setting(
        fields.String,
        "mymaster",
        "the name in the configuration of the Sentinels",
        "Name of this Redis in the Sentinels",
    )
    REDIS_SENTINEL_USERNAME = _setting(fields.String, "", "text", "User of the Sentinels, if they require one")
    REDIS_SENTINEL_PASSWORD = _setting(
        fields.String, "", "text", "Password of the Sentinels, if they require one", metadata=_SECRET
    )
    REDIS_CLUSTER = _switch("on: Redis is a Redis Cluster; REDIS_URL or REDIS_HOST names any of its nodes")
    REDIS_REPLICAS = _setting(
        fields.Integer, 0, "a number, 0 to 10",
        "Number of replicas that must have a submission before it is accepted; with 1, a failover loses no submission",
        validate=validate.Range(0, 10),
    )  # fmt: skip
    REDIS_TIMEOUT = _seconds(1.0, 0.05, 30, "Time limit of one call of Redis")
    SPOOL_DIR = _setting(
        Folder, None, "a folder on a local disk, not NFS",
        "Folder for the spool: submissions that Redis does not take are kept there until Redis takes them. Each host"
        " has its own; its web processes share it. Empty: no spool",
    )  # fmt: skip
    SPOOL_MAX = _amount(
        "megabytes", 100.0, 1, 100_000, "Size of the spool from which submissions are refused with 503"
    )  # fmt: skip
    ALERT_WAITING_MINUTES = _amount(
        "minutes", 15.0, 0, 10080,
        "Age of the oldest waiting operation from which listeners, such as the alerts, are called", zero="never",
    )  # fmt: skip
    LOG_LEVEL = _setting(
        OneOfWords, "INFO", "DEBUG, INFO, WARNING or ERROR", "Lowest level of the log lines that are written",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
    )  # fmt: skip
    LOG_FORMAT = _choice(FORMATS, "Format of a log line: json for programs, console for people")

    @marshmallow.post_load
    def _numbers(self, values: dict[str, Any], **_options: Any) -> dict[str, Any]:
        """The values with the numbers in addresses of WhatsApp as it takes them."""
        try:
            return values | {"WHATSAPP_URL": whatsapp_address(values["WHATSAPP_URL"], values["DEFAULT_PHONE_REGION"])}
        except marshmallow.ValidationError as error:
            raise marshmallow.ValidationError({"WHATSAPP_URL": error.messages}) from None

    @marshmallow.validates_schema(pass_original=True)
    def _one_redis(self, values: Mapping[str, Any], given: Mapping[str, str], **_options: Any) -> None:
        if problems := dict(contradictions(values, given)):
            raise marshmallow.ValidationError({name: [problem] for name, problem in problems.items()})

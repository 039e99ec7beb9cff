"""The list of the gateway's own settings: what each takes, what it is for, and its default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import marshmallow
from marshmallow import fields, validate

from crmgate.channels import Link, Links
from crmgate.config.kinds import (
    ApiTokens,
    Delays,
    Folder,
    Nodes,
    Origins,
    RateField,
    Region,
    Switch,
    Words,
    readable,
    redis_address,
    redis_host,
)
from crmgate.config.redis_server import contradictions
from crmgate.logs import FORMATS
from crmgate.plugin_kit.settings import LOCAL_HOSTS
from crmgate.store.gate import EPIDEMIC_AFTER
from crmgate.store.limits import UNITS, Limit


def _setting(kind: type[fields.Field[Any]], default: Any, takes: str, help: str, **options: Any) -> Any:
    metadata = {"takes": takes, "help": help} | options.pop("metadata", {})
    required = default is marshmallow.missing
    return kind(load_default=default, required=required, metadata=metadata, **options)


def _seconds(default: float, low: float, high: float, help: str) -> Any:
    takes = f"seconds, {low:g} to {high:g}"
    return _setting(fields.Float, default, takes, help, validate=validate.Range(low, high))


def _switch(help: str, *, default: str = "off") -> Any:
    return _setting(Switch, default, "on or off", help)


def _link(channel: str, what: str, example: str) -> Any:
    takes = f"an https address such as {example}"
    return _setting(Link, "", takes, f"Where `/go/{channel}` leads: {what}", channel=channel)


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
    CRM_EPIDEMIC_AFTER = _setting(
        fields.Integer, EPIDEMIC_AFTER, "a number, 2 to 100",
        "Number of different operations in a row, refused for the same reason, after which nothing is sent until one"
        " of them is delivered", validate=validate.Range(2, 100),
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
    PLUGINS_DIR = _setting(Folder, Path("plugins"), "a folder", "The folder with the CRM plugins")
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
        "The Redis that keeps the submissions", validate=redis_address, metadata=_SECRET,
    )  # fmt: skip
    REDIS_HOST = _setting(
        fields.String, "127.0.0.1", "a host name or an IP address", "The host of Redis where REDIS_URL is not set",
        validate=redis_host,
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
        validate=readable,
    )  # fmt: skip
    REDIS_CERT_FILE = _setting(
        fields.String, "", "a PEM file", "The gateway's own certificate, if Redis asks for one", validate=readable
    )
    REDIS_KEY_FILE = _setting(fields.String, "", "a PEM file", "The private key of REDIS_CERT_FILE", validate=readable)
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
    ALERT_WAITING_MINUTES = _setting(
        fields.Float, 15.0, "minutes, 0 to 10080; 0: never",
        "Age of the oldest waiting operation from which listeners, such as the alerts, are called",
        validate=validate.Range(0, 10080),
    )  # fmt: skip
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
        if problems := dict(contradictions(values, given)):
            raise marshmallow.ValidationError({name: [problem] for name, problem in problems.items()})

"""The configuration is checked once, whole, and never shows a secret."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from crmgate.config import CoreSettings, Limits, Settings
from crmgate.errors import ConfigError
from crmgate.plugin_kit.settings import secret_names
from crmgate.sources.model import Source
from crmgate.store.client import RedisAddress
from crmgate.store.limits import Limit
from tests.cases import all_cases

CANARY = "c4n4ry"
ENVIRON = {"CRM_PROVIDER": "espocrm"}


def problems(environ: Mapping[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        Settings.load(environ)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert CANARY not in shown
    assert caught.value.__context__ is None
    return caught.value.problems


WRONG = {
    "CRM_TIMEOUT": ["0", "61", "soon", "nan", "inf", "-1", "1,5", "10s"],
    "CRM_INLINE_BUDGET": ["0", "31", "soon", "nan"],
    "CRM_RETRY_DELAYS": ["soon", "1,,5", "1,5,", "0", "-1,5", "1,86401", "nan", "inf", "1;5", ","],
    "CRM_DELIVERY": ["later", "true"],
    "DEFAULT_PHONE_REGION": ["TUR", "XX", "Turkey", "90"],
    "FIELD_ALIASES": ["x", "=email", "x=", "x=nowhere", "x=email,X=phone", "x=email,y", "x=personal_info"],
    "DEFAULT_FORM_CHARSET": ["utf-7", "1254", "idna", "windows-12544"],
    "REFUSE_FILES": ["yes"],
    "ALLOWED_ORIGINS": [
        "www.example.com", "https://", "*", "null", "ftp://example.com", "https://example.com/form", "https://a b",
        "https://example.com:99999", "https://[::1", "https://example.com?x", "https://ok.example.com,nonsense",
    ],
    "RATE_LIMIT_ADDRESS": ["0/minute", "60", "/minute", "60/week", "-1/hour", "many", "60 / minute", "²/hour"],
    "MIN_FILL_SECONDS": ["-1", "61", "soon"],
    "HONEYPOT_FIELD": ["x" * 65],
    "SUSPECT_DAYS": ["0", "3651", "soon", "nan"], "PAYLOAD_KEEP": ["8d", "169h", "7", "soon", "-1d", "1.5d"],
    "RECONCILE": ["on", "hourly"], "DEAD_DAYS": ["-1", "3651", "soon", "nan"],
    "REDIS_HOST": ["redis:6379", "redis://x", "a b", "host/0", "me@host", "[::1]"],
    "REDIS_PORT": ["0", "65536", "x", "6379.5", "-1"],
    "REDIS_TLS": ["yes", "1"],
    "REDIS_CA_FILE": ["/nowhere/ca.pem", "/"],
    "REDIS_CERT_FILE": ["/nowhere/cert.pem"],
    "REDIS_KEY_FILE": ["/nowhere/key.pem"],
    "REDIS_SENTINELS": ["one", "one:0", "one:65536", "::1:26379", "redis://one:26379", "one:26379,two", ":26379"],
    "REDIS_CLUSTER": ["yes"],
    "REDIS_REPLICAS": ["-1", "11", "all"],
    "REDIS_TIMEOUT": ["0", "31", "x"],
    "LOG_LEVEL": ["TRACE", "10"],
    "METRICS_PUBLIC": ["true"],
    "LOG_FORMAT": ["text"],
}  # fmt: skip


@all_cases(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_reported_with_its_name_what_it_was_and_what_it_takes(name: str, value: str) -> None:
    [problem] = problems(ENVIRON | {name: value})
    takes = CoreSettings().fields[name].metadata["takes"]
    assert problem.startswith(f"{name}, got {value!r}: ")
    assert problem.endswith(f" It takes {takes}.")


KEY = "k" * 43 + "="


@all_cases(
    ("value", "wrong"),
    [
        (CANARY, "Entry 1: not a key; `crmgate keys new` makes one."),
        (f"{KEY},{CANARY}", "Entry 2: not a key; `crmgate keys new` makes one."),
        (f"{KEY[:-1]}", "Entry 1: not a key; `crmgate keys new` makes one."),
        (f"{KEY},{KEY}", "A key occurs twice."),
    ],
)
def test_a_wrong_key_for_payloads_is_named_by_its_position(value: str, wrong: str) -> None:
    [problem] = problems(ENVIRON | {"PAYLOAD_KEYS": value})
    assert problem.startswith(f"PAYLOAD_KEYS, got a value that is not shown: {wrong}")
    assert KEY[:-1] not in problem


@pytest.mark.parametrize("environ", [{}, {"CRM_PROVIDER": ""}, {"CRM_PROVIDER": " \t\n"}])
def test_there_is_no_default_provider(environ: dict[str, str]) -> None:
    [problem] = problems(environ)
    assert problem == (
        "CRM_PROVIDER: Missing data for required field. It takes the name of a plugin, such as espocrm or bitrix."
    )


def test_every_problem_is_reported_at_once() -> None:
    found = problems({name: values[0] for name, values in WRONG.items()})
    assert sorted(re.split("[,:]", problem)[0] for problem in found) == sorted({"CRM_PROVIDER", *WRONG})


def test_the_origin_that_is_wrong_is_named() -> None:
    [problem] = problems(ENVIRON | {"ALLOWED_ORIGINS": "https://ok.example.com,nonsense"})
    assert ": Not an origin: nonsense. It takes " in problem


def test_credentials_in_an_address_are_not_shown() -> None:
    [problem] = problems(ENVIRON | {"ALLOWED_ORIGINS": f"https://me:{CANARY}@x@example.com"})
    assert problem.startswith(
        "ALLOWED_ORIGINS, got 'https://***@example.com': Not an origin: https://***@example.com. "
    )


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert Settings.load(ENVIRON) == Settings(
        provider="espocrm", timeout=10.0, inline_budget=3.0, retry_delays=(1.0, 5.0, 25.0), max_concurrency=4,
        epidemic_after=5, delivery="inline",
        on_duplicate="note", on_update="describe", on_rejected_field="describe",
        http_hosts=("localhost", "127.0.0.1", "::1"), plugins_dir=Path("plugins"), plugins_allowed=(),
        default_phone_region="TR", field_aliases={}, default_form_charset="auto", refuse_files=False,
        allowed_origins=(), allowed_hosts=(), redis=RedisAddress("redis://127.0.0.1:6379/0"),
        api_tokens=(), metrics_public=False, log_level="INFO", log_format="json",
        channels={}, minimal_leads=True, trusted_proxies=0, environ=ENVIRON,
        limits=Limits(Limit(60, 60), Limit(10, 3600), Limit(300, 60), Limit(600, 60)), suspect_days=30.0,
        payload_keep=0.0, reconcile="off", dead_days=0.0, payload_keys=(),
        honeypot_field="_hp", min_fill_seconds=2.0, alert_waiting_minutes=15.0,
    )  # fmt: skip


def test_every_default_is_one_that_its_own_check_lets_pass() -> None:
    schema = CoreSettings()
    for name, declared in schema.fields.items():
        default = declared.load_default
        if declared.required or default in ("", (), None):
            continue
        written = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        needed = {"REDIS_SENTINELS": "localhost:26379"} if name.startswith("REDIS_SENTINEL_") else {}
        assert schema.load(ENVIRON | needed | {name: written})[name] == default


TOKEN = f"ops:read:{'0' * 64}"
OTHER = {
    "CRM_PROVIDER": "bitrix", "CRM_TIMEOUT": "5", "CRM_INLINE_BUDGET": "5", "CRM_RETRY_DELAYS": "5",
    "CRM_MAX_CONCURRENCY": "5", "CRM_EPIDEMIC_AFTER": "7", "CRM_DELIVERY": "queued", "CRM_ON_DUPLICATE": "create",
    "CRM_ON_UPDATE": "overwrite", "CRM_ON_REJECTED_FIELD": "dead", "CRM_HTTP_HOSTS": "x", "PLUGINS_DIR": "x",
    "PLUGINS_ALLOWED": "x", "DEFAULT_PHONE_REGION": "DE", "FIELD_ALIASES": "x=email",
    "DEFAULT_FORM_CHARSET": "windows-1252", "REFUSE_FILES": "on",
    "ALLOWED_ORIGINS": "https://x", "ALLOWED_HOSTS": "x",
    "TELEGRAM_URL": "https://x",
    "WHATSAPP_URL": "https://x", "INSTAGRAM_URL": "https://x", "MESSENGER_CHANNELS": "line=https://x",
    "MINIMAL_LEADS": "off", "RATE_LIMIT_ADDRESS": "off", "RATE_LIMIT_PERSON": "off", "RATE_LIMIT_LOOKUPS": "off",
    "RATE_LIMIT_SOURCE": "5/hour",
    "HONEYPOT_FIELD": "x", "MIN_FILL_SECONDS": "5", "SUSPECT_DAYS": "5", "PAYLOAD_KEEP": "7d", "RECONCILE": "daily",
    "DEAD_DAYS": "5", "PAYLOAD_KEYS": f"{'k' * 43}=", "API_TOKENS": TOKEN, "METRICS_PUBLIC": "on",
    "TRUSTED_PROXIES": "5", "REDIS_URL": "redis://x", "REDIS_HOST": "x", "REDIS_PORT": "5", "REDIS_USERNAME": "x",
    "REDIS_PASSWORD": "x", "REDIS_TLS": "on", "REDIS_CA_FILE": __file__, "REDIS_CERT_FILE": __file__,
    "REDIS_KEY_FILE": __file__, "REDIS_SENTINELS": "x:5", "REDIS_SENTINEL_MASTER": "x",
    "REDIS_SENTINEL_USERNAME": "x", "REDIS_SENTINEL_PASSWORD": "x", "REDIS_CLUSTER": "on", "REDIS_REPLICAS": "5",
    "REDIS_TIMEOUT": "5", "SPOOL_DIR": "x", "SPOOL_MAX": "5", "ALERT_WAITING_MINUTES": "5",
    "LOG_LEVEL": "DEBUG", "LOG_FORMAT": "console",
}  # fmt: skip
PAIR = {"REDIS_TLS": "on", "REDIS_CERT_FILE": "/dev/null", "REDIS_KEY_FILE": "/dev/null"}
NEEDED = {"REDIS_CA_FILE": PAIR, "REDIS_CERT_FILE": PAIR, "REDIS_KEY_FILE": PAIR}
SENTINELS = {"REDIS_SENTINELS": "a:1"}


@all_cases("name", CoreSettings().fields)
def test_each_setting_counts(name: str) -> None:
    assert name in OTHER, f"write another value than the default of {name} into OTHER"
    environ = ENVIRON | NEEDED.get(name, SENTINELS if name.startswith("REDIS_SENTINEL_") else {})
    before, after = (replace(Settings.load(given), environ={}) for given in (environ, environ | {name: OTHER[name]}))
    assert before != after, f"{name} has no effect: crmgate/config/settings.py has no field for it"


def test_blank_is_absent() -> None:
    blank = {name: " \t" for name in CoreSettings().fields if name != "CRM_PROVIDER"}
    assert Settings.load(ENVIRON | blank) == Settings.load(ENVIRON | dict.fromkeys(blank, ""))
    assert Settings.load(ENVIRON | blank).redis.url == "redis://127.0.0.1:6379/0"


def test_white_space_around_a_value_does_not_count() -> None:
    written = {
        "CRM_PROVIDER": " espocrm\r\n",
        "CRM_TIMEOUT": "5 ",
        "REDIS_PASSWORD": "secret\n",
        "LOG_LEVEL": "\tDEBUG",
    }
    settings = Settings.load(written)
    assert (settings.provider, settings.timeout, settings.log_level) == ("espocrm", 5.0, "DEBUG")
    assert settings.redis.url == "redis://:secret@127.0.0.1:6379/0"


def test_a_blank_setting_of_a_plugin_reaches_it() -> None:
    """Empty says there that a fact is not sent."""
    assert Settings.load(ENVIRON | {"ESPOCRM_MAP_CITY": " "}).environ["ESPOCRM_MAP_CITY"] == ""


@all_cases(
    ("name", "value", "attribute", "expected"),
    [
        ("CRM_RETRY_DELAYS", "0.5, 2", "retry_delays", (0.5, 2.0)),
        ("CRM_DELIVERY", "Queued", "delivery", "queued"),
        ("CRM_ON_DUPLICATE", "UPDATE", "on_duplicate", "update"),
        ("CRM_ON_UPDATE", "Overwrite", "on_update", "overwrite"),
        ("CRM_ON_REJECTED_FIELD", "Dead", "on_rejected_field", "dead"),
        ("METRICS_PUBLIC", "ON", "metrics_public", True),
        ("LOG_LEVEL", "info", "log_level", "INFO"),
        ("LOG_LEVEL", "Warning", "log_level", "WARNING"),
        ("LOG_FORMAT", "JSON", "log_format", "json"),
        ("CRM_HTTP_HOSTS", " espo , crm.internal,", "http_hosts", ("espo", "crm.internal")),
        ("CRM_HTTP_HOSTS", ",", "http_hosts", ()),
        ("PLUGINS_ALLOWED", "espocrm", "plugins_allowed", ("espocrm",)),
        ("PLUGINS_DIR", "/srv/plugins", "plugins_dir", Path("/srv/plugins")),
        ("DEFAULT_PHONE_REGION", "de", "default_phone_region", "DE"),
        (
            "FIELD_ALIASES",
            "Your-Name = full_name, q5=phone,a=b=custom, c=education.level,",
            "field_aliases",
            {"your-name": "full_name", "q5": "phone", "a=b": "custom", "c": "education.level"},
        ),
        ("CRM_INLINE_BUDGET", "0.1", "inline_budget", 0.1),
        (
            "ALLOWED_ORIGINS",
            "https://www.example.com/, http://localhost:8000,https://[::1]:8443",
            "allowed_origins",
            ("https://www.example.com", "http://localhost:8000", "https://[::1]:8443"),
        ),
        ("ALLOWED_HOSTS", "CRM.example.com, [::1]", "allowed_hosts", ("crm.example.com", "[::1]")),
        ("APP_DOMAIN", "App.example.com", "allowed_hosts", ("app.example.com",)),
        (
            "APP_DOMAIN",
            "https://a.example.com:8443, b.example.com",
            "allowed_hosts",
            ("a.example.com", "b.example.com"),
        ),
        ("APP_DOMAIN", "*.example.com", "allowed_hosts", ()),
    ],
)
def test_values_are_turned_into_what_they_mean(name: str, value: str, attribute: str, expected: object) -> None:
    assert getattr(Settings.load(ENVIRON | {name: value}), attribute) == expected


def test_an_unknown_field_of_an_alias_is_named_with_the_nearest() -> None:
    [problem] = problems(ENVIRON | {"FIELD_ALIASES": "isim=fulname,tel=phnoe"})
    assert "There is no field fulname; did you mean full_name?" in problem
    assert "There is no field phnoe; did you mean phone?" in problem


@pytest.mark.parametrize(
    "secrets",
    [
        {"REDIS_PASSWORD": CANARY},
        {"REDIS_URL": f"redis://:{CANARY}@localhost"},
        {"REDIS_SENTINELS": "localhost:1", "REDIS_SENTINEL_PASSWORD": CANARY},
        {"ESPOCRM_API_KEY": CANARY, "BITRIX_WEBHOOK_URL": f"https://b24.example.com/rest/1/{CANARY}/"},
    ],
)
def test_settings_show_no_secret(secrets: dict[str, str]) -> None:
    settings = Settings.load(ENVIRON | secrets)
    assert CANARY not in f"{settings!r}{settings}"
    assert "espocrm" in repr(settings)


@pytest.mark.parametrize(
    "wrong", [{"CRM_TIMEOUT": "x"}, {"REDIS_URL": f"http://{CANARY}"}, {"REDIS_PORT": "x", "ALLOWED_ORIGINS": "x"}]
)
def test_problems_show_no_secret(wrong: dict[str, str]) -> None:
    problems(ENVIRON | {"REDIS_PASSWORD": CANARY, "ESPOCRM_API_KEY": CANARY} | wrong)


@all_cases("entry", [
    f"{CANARY}", f"site:read:{CANARY}", f"{CANARY}:read:{'0' * 64}:x", f"{CANARY}:admin:{'0' * 64}",
    f"a b:read:{'0' * 64}", f"site:read:{'A' * 64}", f"site:read:{'0' * 63}", "site:read:", "::",
])  # fmt: skip
def test_a_wrong_token_entry_is_reported_by_its_place_and_never_shown(entry: str) -> None:
    [problem] = problems(ENVIRON | {"API_TOKENS": f"ok:read:{'0' * 64},{entry}"})
    assert problem.startswith("API_TOKENS, got a value that is not shown: Entry 2: ")
    assert "crmgate tokens new --env" in problem


def test_a_name_of_a_token_stands_once() -> None:
    [problem] = problems(ENVIRON | {"API_TOKENS": ",".join([f"site:read:{'0' * 64}"] * 2)})
    assert "A name occurs twice." in problem


def test_what_holds_a_password_is_declared_secret() -> None:
    assert secret_names(CoreSettings) == [
        "PAYLOAD_KEYS", "API_TOKENS", "REDIS_URL", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD",
    ]  # fmt: skip


def test_each_setting_says_what_it_takes_and_what_it_is_for() -> None:
    for name, declared in CoreSettings().fields.items():
        assert declared.metadata["takes"], name
        assert declared.metadata["help"], name


def test_a_secret_switches_a_source_on() -> None:
    environ = ENVIRON | {
        "SOURCE_TILDA_SECRET": "s1", "SOURCE_CONTACT_FORM_7_SECRET": "s2", "SOURCE_SHOP_SECRET": "s3",
        "SOURCE_SHOP_MAP": "first_name=data.0.name, email=To%2C reply ,", "SOURCE_SHOP_ID": "X-Delivery",
        "SOURCE_SHOP_TOOL": "cf7", "SOURCE_OFF_SECRET": " ", "SOURCE_OFF_MAP": "x", "SOURCE_DATE_EPOCH": "1",
    }  # fmt: skip
    paths = {"first_name": "data.0.name", "email": "To, reply"}
    assert Settings.load(environ).sources == {
        "tilda": Source("tilda", "s1"), "contactform7": Source("contact_form_7", "s2"),
        "shop": Source("shop", "s3", "cf7", paths, "X-Delivery"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"SOURCE_A_MAP": "first_name"}, "SOURCE_A_MAP, got 'first_name'"), ({"SOURCE_A_MAP": "=x"}, "SOURCE_A_MAP"),
        ({"SOURCE_A_TOOL": "nothing"}, "SOURCE_A_TOOL, got 'nothing': it takes one of tilda, typeform"),
        ({"SOURCE_A__SECRET": "y"}, "has the same name"),
    ],
)  # fmt: skip
def test_wrong_settings_of_a_source(more: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Settings.load(ENVIRON | {"SOURCE_A_SECRET": "the-secret"} | more)
    assert named in str(refused.value)
    assert "the-secret" not in str(refused.value)


def test_the_secret_of_a_source_is_not_shown() -> None:
    assert "s3cr3t" not in repr(Settings.load(ENVIRON | {"SOURCE_A_SECRET": "s3cr3t"}))

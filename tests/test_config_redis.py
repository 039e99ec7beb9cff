"""The settings of Redis: an address or its parts, Sentinel, cluster, TLS, and settings that exclude each other."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
import redis

from crmgate.config import Settings
from tests.cases import all_cases
from tests.test_config import CANARY, ENVIRON, problems


@all_cases(
    "url",
    [
        f"http://:{CANARY}@localhost",
        f"localhost:6379/{CANARY}",
        f"redis://:{CANARY}/slash@localhost:6379/0",
        f"redis://:{CANARY}#hash@localhost:6379/0",
        f"redis://:{CANARY}?mark@localhost:6379/0",
        f"redis://:{CANARY}@localhost:port/0",
        f"redis://:{CANARY}@localhost:99999/0",
        f"redis://:{CANARY}@[::1/0",
        f"redis://:{CANARY}@localhost/0?socket_timeout=soon",
        CANARY,
    ],
)
def test_an_address_of_redis_that_cannot_work_is_reported_without_showing_it(url: str) -> None:
    [problem] = problems(ENVIRON | {"REDIS_URL": url})
    assert problem.startswith("REDIS_URL, got a value that is not shown: ")
    assert problem.endswith(" It takes redis://[[user]:password@]host:port/db, rediss:// or unix://.")


@pytest.mark.parametrize(
    "url",
    ["redis://localhost", "rediss://u:p@r.example.com:6380/1", "unix:///run/redis.sock?db=2", "redis://[::1]:6379"],
)
def test_an_address_of_redis_is_taken_as_it_is(url: str) -> None:
    assert Settings.load(ENVIRON | {"REDIS_URL": url, "REDIS_HOST": "ignored"}).redis.url == url


CONTRADICTIONS = [
    ({"REDIS_URL": "redis://a", "REDIS_SENTINELS": "b:1"}, "REDIS_URL", "leave one of them out"),
    ({"REDIS_HOST": "a", "REDIS_SENTINELS": "b:1"}, "REDIS_HOST", "leave one of them out"),
    ({"REDIS_CLUSTER": "on", "REDIS_SENTINELS": "b:1"}, "REDIS_CLUSTER", "leave REDIS_SENTINELS out"),
    ({"REDIS_CLUSTER": "on", "REDIS_URL": "redis://a/1"}, "REDIS_CLUSTER", "a database other than 0"),
    ({"REDIS_CLUSTER": "on", "REDIS_URL": "unix:///a"}, "REDIS_CLUSTER", "a socket"),
    ({"REDIS_CLUSTER": "on", "REDIS_REPLICAS": "1"}, "REDIS_REPLICAS", "leave it out"),
    ({"REDIS_SENTINEL_MASTER": "leads"}, "REDIS_SENTINEL_MASTER", "only together with REDIS_SENTINELS"),
    ({"REDIS_SENTINEL_PASSWORD": CANARY}, "REDIS_SENTINEL_PASSWORD", "only together with REDIS_SENTINELS"),
    ({"REDIS_TLS": "on", "REDIS_URL": "redis://a"}, "REDIS_TLS", "begin with rediss://"),
    ({"REDIS_CA_FILE": __file__}, "REDIS_CA_FILE", "set REDIS_TLS=on"),
    ({"REDIS_CA_FILE": __file__, "REDIS_URL": "redis://a"}, "REDIS_CA_FILE", "begin with rediss://"),
    ({"REDIS_TLS": "on", "REDIS_CERT_FILE": __file__}, "REDIS_CERT_FILE", "set REDIS_KEY_FILE as well"),
    ({"REDIS_TLS": "on", "REDIS_KEY_FILE": __file__}, "REDIS_CERT_FILE", "set REDIS_KEY_FILE as well"),
]


@all_cases(("environ", "name", "remedy"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_reported(environ: dict[str, str], name: str, remedy: str) -> None:
    [problem] = problems(ENVIRON | environ)
    assert problem.startswith(name)
    assert remedy in problem


def test_the_parts_of_a_redis_become_its_address() -> None:
    parts = {"REDIS_USERNAME": "me@x", "REDIS_PASSWORD": "a/b", "REDIS_TLS": "on", "REDIS_CA_FILE": __file__}
    address = Settings.load(ENVIRON | parts).redis
    assert (address.url, address.ca_file) == ("rediss://me%40x:a%2Fb@127.0.0.1:6379/0", __file__)
    sentinels = {"REDIS_SENTINELS": "one:26379, [::1]:26380 ,10.0.0.1:1", "REDIS_SENTINEL_MASTER": "leads"}
    address = Settings.load(ENVIRON | sentinels).redis
    assert address.sentinels == (("one", 26379), ("::1", 26380), ("10.0.0.1", 1))
    assert address.sentinel_master == "leads"


@all_cases("password", ["plain", "p@ss:w/rd?#[%]&+ =", "%2F", "ünï💥", "a" * 300, "#"])
@all_cases(("host", "port"), [("redis", "6379"), ("10.0.0.1", "1"), ("::1", "65535"), ("a-b.example_c", "80")])
def test_a_password_of_redis_arrives_as_it_was_written(password: str, host: str, port: str) -> None:
    settings = Settings.load(ENVIRON | {"REDIS_HOST": host, "REDIS_PORT": port, "REDIS_PASSWORD": password})
    client = redis.Redis.from_url(settings.redis.url)
    arguments = client.connection_pool.connection_kwargs
    assert (arguments["host"], arguments["port"], arguments["password"]) == (host, int(port), password)
    assert arguments.get("db", 0) == 0
    assert unquote(settings.redis.url).count(password) == 1


def test_without_a_password_none_is_sent() -> None:
    assert Settings.load(ENVIRON).redis.url == "redis://127.0.0.1:6379/0"

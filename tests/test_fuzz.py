"""No request to any route causes a 5xx or stores an incomplete operation.

The real application on a real Redis, with a CRM that answers, refuses or is away. `make fuzz` sends 20,000 requests and
more, with another seed each time; the test suite 1,000, the same each time. (Single routes: web/test_random_bodies.)
"""

from __future__ import annotations

import json
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crmgate import create_app
from crmgate.config import Settings
from crmgate.model import Activity, Kind, Lead, Operation, State
from crmgate.store.keys import PREFIX
from crmgate.store.ledger import Ledger
from tests.processes import RedisProcess
from tests.web.test_random_bodies import NAMES, TEXTS

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "400"))
THOROUGH = REQUESTS > 1000
UNREADY = {"/readyz"}
"""Paths that answer 503 correctly, because no worker runs in this test."""
PLUGIN = """
from itertools import cycle
from crmgate import hookimpl
from crmgate.errors import OutcomeUnknown, Rejected, Unavailable
from crmgate.model import Connection, Delivered
from crmgate.provider import CRMProvider

# Every second operation succeeds, so that neither an outage nor an epidemic shuts the gate: no worker would open it.
TROUBLE = cycle((None, Rejected, None, OutcomeUnknown, None, Unavailable))

class Fickle(CRMProvider):
    name = label = "fickle"
    capabilities = frozenset({"update_lead", "log_activity"})

    def _do(self, operation):
        trouble = next(TROUBLE)
        if trouble:
            raise trouble("fickle as it is", provider="fickle", operation=operation.id)
        return Delivered("fickle", operation.id)

    @hookimpl
    def create_lead(self, lead, operation):
        return self._do(operation)

    @hookimpl
    def update_lead(self, lead_id, lead, operation):
        return self._do(operation)

    @hookimpl
    def log_activity(self, activity, lead_id, operation):
        return self._do(operation)

    @hookimpl
    def create_minimal_lead(self, activity, operation):
        return self._do(operation)

    @hookimpl
    def find_lead(self, operation):
        return None

    @hookimpl
    def test_connection(self):
        return Connection("fickle", True, 1.0)
"""


@pytest.fixture(scope="module")
def app(redis_process: RedisProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "fickle.py").write_text(PLUGIN)
    with redis.Redis.from_url(redis_process.url) as client:
        client.flushall()
    environ = {
        "CRM_PROVIDER": "fickle", "PLUGINS_DIR": str(folder), "REDIS_URL": redis_process.url, "LOG_LEVEL": "ERROR",
        "TELEGRAM_URL": "https://t.me/example_bot", "ALLOWED_ORIGINS": "https://www.example.com",
        "RATE_LIMIT_ADDRESS": "off", "RATE_LIMIT_LOOKUPS": "off", "RATE_LIMIT_PERSON": "100/second",
    }  # fmt: skip
    app = create_app(Settings.load(environ))
    quiet = logging.getLogger("crmgate.delivery.attempt")  # the CRM's troubles are meant
    quiet.setLevel(logging.CRITICAL)
    yield app
    quiet.setLevel(logging.NOTSET)
    app.extensions["crmgate.clicks"].stop()


# Headers and bytes of the wire are latin-1 without line ends: the server refuses the others before the application.
HEADER = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=80)
TEXT = st.sampled_from(TEXTS) | st.text(max_size=40) | st.text(st.characters(), max_size=12)
NAME = st.sampled_from(NAMES) | st.sampled_from(["_hp", "_t", "channel", "metadata", "custom", "session"]) | TEXT
LEAF = TEXT | st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([10**400, 1e308, -0.0])
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4), max_leaves=12
)
GOOD = st.sampled_from(
    [
        {"first_name": "Ayşe", "phone": "05321234567"},
        {"personal_info": {"first_name": "Ada", "email": "ada@example.com"}, "session": "s1"},
        {"first_name": "A", "email": "a@example.com", "session": "s1", "_hp": "x"},
        {"channel": "telegram", "referral_code": "R1", "session": "s1"},
        {"channel": "telegramBot", "ref": "R1", "metadata": {"page": "/x"}},
        {},
    ]
)
FIELDS = st.builds(lambda good, more: good | more, GOOD, st.dictionaries(NAME, VALUE, max_size=6))


def form(fields: dict[str, Any]) -> bytes:
    return urlencode([(name, str(value)) for name, value in fields.items()], errors="surrogatepass").encode()


def multipart(fields: dict[str, Any]) -> bytes:
    def part(name: str, value: Any) -> bytes:
        text = f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        return text.encode(errors="surrogatepass")

    return b"".join(part(name, value) for name, value in fields.items()) + b"--b--\r\n"


def dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def damaged(body: bytes, places: list[tuple[int, int]]) -> bytes:
    data = bytearray(body or b"{}")
    for place, byte in places:
        data[place % len(data)] = byte
    return bytes(data)


KINDS = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
BYTE = st.integers(0, 255)
BODY = st.one_of(
    st.tuples(st.just("application/json"), FIELDS.map(dump)),
    st.tuples(st.just("application/x-www-form-urlencoded"), FIELDS.map(form)),
    st.tuples(st.just("multipart/form-data; boundary=b"), FIELDS.map(multipart)),
    st.tuples(
        st.sampled_from(KINDS),
        st.builds(damaged, FIELDS.map(dump) | FIELDS.map(multipart), st.lists(st.tuples(st.integers(0), BYTE))),
    ),
    st.tuples(HEADER, st.binary(max_size=60)),
    st.tuples(st.just("application/json"), VALUE.map(lambda value: json.dumps(value).encode())),
)  # fmt: skip
GETS = [
    "/go/telegram", "/go/telegramBot", "/go/nope", "/api/v1/operations/nope", "/api/v1/operations/" + "0" * 32,
    "/healthz", "/readyz", "/metrics", "/api/v1/crm/test",
]  # fmt: skip
POSTS = ["/api/v1/applications"] * 12 + ["/api/v1/messenger-events"] * 6
TARGET = st.sampled_from([("POST", path) for path in POSTS] + [("GET", path) for path in GETS] + [("", "")] * 2)
ANYWHERE = st.sampled_from([*POSTS, *GETS]) | TEXT.map(lambda text: "/" + quote(text, errors="surrogatepass"))
ANYHOW = st.sampled_from(["POST", "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"])
TARGETS = st.builds(lambda known, *any: known if known[0] else any, TARGET, ANYHOW, ANYWHERE)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Accept", "Authorization", "Cookie", "Idempotency-Key", "Origin", "Prefer", "User-Agent", "X-Forwarded-For",
         "X-Request-ID", "X-HTTP-Method-Override", "Content-Encoding", "If-None-Match", "Range", "Host"]
    ),
    HEADER | st.sampled_from(
        ["text/html", "respond-async", "k1", "crmgate_session=s1; crmgate_ref=R1", "https://www.example.com",
         "Bearer x", "bytes=0-", "localhost", "127.0.0.1"]
    ),
    max_size=4,
)  # fmt: skip


def test_no_request_breaks_it_and_all_that_is_stored_is_whole(
    app: Flask, redis_process: RedisProcess, record_property: Any
) -> None:
    client, seen = app.test_client(), Counter[int]()
    thorough = settings(
        max_examples=REQUESTS, deadline=None, database=None, derandomize=not THOROUGH, print_blob=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    @thorough
    @given(target=TARGETS, headers=HEADERS, body=BODY, query=st.dictionaries(NAME, TEXT, max_size=3))
    def send(target: tuple[str, str], headers: dict[str, str], body: tuple[str, bytes], query: dict[str, str]) -> None:
        seen[one(client, *target, headers, body, query)] += 1

    send()
    app.extensions["crmgate.clicks"].stop()
    assert sum(seen.values()) >= REQUESTS * 0.9
    assert {201, 202, 400, 404, 422} <= seen.keys(), seen
    with redis.Redis.from_url(redis_process.url) as server:
        stored = check_all(app.extensions["crmgate"].ledger, server)
    assert stored.keys() >= {State.DELIVERED, State.SUSPECT}, stored
    print(f"\n{sum(seen.values())} requests: {dict(sorted(seen.items()))}; stored: {dict(stored)}")


def one(
    client: FlaskClient, method: str, path: str, headers: dict[str, str], body: tuple[str, bytes], query: dict[str, str]
) -> int:
    kind, data = body
    encoded = urlencode(query, errors="surrogatepass")
    # A test client is a browser that keeps its cookies; here each request is somebody else's.
    client.delete_cookie("crmgate_session")
    answer = client.open(path, method=method, headers=headers, data=data, content_type=kind, query_string=encoded)
    assert answer.status_code < 500 or path in UNREADY, answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["X-Request-ID"])
    if answer.status_code >= 400 and answer.mimetype != "text/html" and path not in UNREADY and method != "HEAD":
        assert answer.mimetype == "application/problem+json"
        assert answer.json["status"] == answer.status_code
    return answer.status_code


def check_all(ledger: Ledger, server: redis.Redis) -> Counter[str]:
    """Every stored operation is valid and in the one place where it is found again; how many there are by state."""
    states = Counter[str]()
    for key in server.scan_iter(f"{PREFIX}op:*"):
        operation = ledger.get(key.decode().rpartition(":")[2])
        assert operation is not None
        check(operation)
        check_place(operation, server)
        states[State(operation.state)] += 1
    return states


def check(operation: Operation) -> None:
    kind, payload = Kind(operation.kind), dict(operation.payload)
    if State(operation.state) in (State.DELIVERED, State.DISCARDED):
        assert payload == {}
        return
    record: Lead | Activity = operation.lead if kind in (Kind.CREATE_LEAD, Kind.UPDATE_LEAD) else operation.activity
    assert record.to_dict() == payload
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", record.referral_code)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", record.session)
    if isinstance(record, Lead):
        assert 1 <= len(record.first_name) <= 100
        assert record.email or record.phone
        assert re.fullmatch(r"(\+[1-9][0-9]{4,14})?", record.phone)
        assert len(record.custom) <= 60
    for text in texts(payload):
        text.encode("utf-8")
        assert text == unicodedata.normalize("NFC", text)
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from (name, *texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def check_place(operation: Operation, server: redis.Redis) -> None:
    places = [
        name
        for name in ("due", "held:fickle", "dead", "suspect")
        if server.zscore(PREFIX + name, operation.id) is not None
    ]
    ended = operation.state in (State.DELIVERED, State.DISCARDED)
    assert len(places) == (0 if ended else 1), (operation.state, places)
    assert (operation.state == State.SUSPECT) == (places == ["suspect"])
    assert (server.ttl(f"{PREFIX}op:{operation.id}") > 0) == ended, "what has not ended never vanishes"

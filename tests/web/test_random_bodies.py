"""Random bodies: the answer is always a success or a 4xx problem, never a 5xx. `make fuzz` sends four times as many."""

from __future__ import annotations

import json
import os
import random
import re
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from crmgate.schemas.application import ApplicationSchema

URL = "/api/v1/applications"
EACH = 100 if "FUZZ_REQUESTS" in os.environ else 25
"""Number of random requests of each seed."""
GROUPS = {name: getattr(field, "schema", None) for name, field in ApplicationSchema().fields.items()}
NAMES = [
    *GROUPS,
    *(leaf for schema in GROUPS.values() if schema for leaf in schema.fields),
    *(f"{name}[{leaf}]" for name, schema in GROUPS.items() if schema for leaf in schema.fields),
    "utm_source", "ref", "consent_at", "firstName", "custom[x]", "universities[]", "_next", "_schema", "", "[", "a[b",
    "]", ".", "..", "personal_info.", "custom.", "0", "__class__", "\x00", "\ud800", "İ", "x" * 70,
]  # fmt: skip
TEXTS = [
    "", " ", "Ayşe", "a@example.com", "05321234567", "+", "00", "2024", "2001-01-01", "0000-00-00", "yes", "on",
    "student", "2026-11-23T10:00:00Z", "9999-12-31T23:59:59-23:59", "\x00", "\ud83d", "\ud83d\ude00", "'\";--", "{x}",
    "{0.__class__}", "%s", "=1+1", "x" * 300, "\u202e", "/", "//evil", "@", "a@", "@b", "null", "ß" * 101, "٣",
]  # fmt: skip


def random_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(10 if depth < 4 else 7)
    if kind < 4:
        return rng.choice(TEXTS)
    if kind < 7:
        return rng.choice([None, True, False, 0, -1, 2024, 3.5, 1e308, -0.0, 10**300, "".join(random_chars(rng))])
    if kind < 8:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(NAMES): random_value(rng, depth + 1) for _ in range(rng.randrange(6))}


def random_chars(rng: random.Random) -> list[str]:
    return [chr(rng.choice([rng.randrange(128), rng.randrange(0x3000), rng.randrange(0x110000)])) for _ in range(8)]


def random_body(rng: random.Random) -> dict[str, Any]:
    body = {rng.choice(NAMES): random_value(rng) for _ in range(rng.randrange(12))}
    return ({"first_name": "Ayşe", "phone": "05321234567"} if rng.random() < 0.5 else {}) | body


def check(answer: Any) -> None:
    assert answer.status_code in (201, 303, 400, 413, 422), answer.text
    if answer.status_code == 422:
        assert answer.json["errors"]
        assert all(error["message"] for error in answer.json["errors"])


@pytest.mark.parametrize("seed", range(20))
def test_random_json(client: FlaskClient, gateway: Any, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(EACH):
        check(client.post(URL, data=json.dumps(random_body(rng)), content_type="application/json"))
    assert gateway.submitted
    for _, payload, _ in gateway.submitted:
        json.dumps(payload, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("seed", range(10))
def test_random_forms(client: FlaskClient, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(EACH):
        pairs = [(rng.choice(NAMES), str(random_value(rng))) for _ in range(rng.randrange(12))]
        form = "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)
        check(client.post(URL, data=form, content_type="application/x-www-form-urlencoded"))


@pytest.mark.parametrize("seed", range(5))
def test_random_links(client: FlaskClient, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(EACH):
        pairs = [(rng.choice(NAMES), str(random_value(rng))) for _ in range(rng.randrange(12))]
        query = "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)
        answer = client.get(f"/go/telegram?{query}")
        assert answer.status_code == 302, answer.text
        assert re.fullmatch(r"https://t\.me/example_bot(\?start=[A-Za-z0-9_-]{1,64})?", answer.headers["Location"])


def encode(text: str) -> str:
    return quote(text, errors="surrogatepass")


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=b"])
def test_random_bytes(client: FlaskClient, content_type: str) -> None:
    rng = random.Random(7)
    for _ in range(3 * EACH):
        good = (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--b--' if "b=" in content_type else b'{"a":1}'
        )
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        check(client.post(URL, data=bytes(data), content_type=content_type))

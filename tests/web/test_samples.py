"""Submissions of the site's forms: each is accepted, and every value is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from crmgate.model import Lead
from crmgate.schemas import parse_application
from tests.cases import all_cases

SAMPLES = (Path(__file__).parents[1] / "data" / "applications.jsonl").read_text("utf-8").splitlines()


def values(node: Any) -> Iterator[Any]:
    if isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from values(child)
    else:
        yield node


def digits(text: str) -> str:
    return "".join(char for char in text if char.isdecimal()).lstrip("0")


def flat(raw: dict[str, Any]) -> dict[str, Any]:
    """The same submission with flat names."""
    form: dict[str, Any] = {}
    for name, value in raw.items():
        if isinstance(value, dict):
            form |= {f"utm_{leaf}" if name == "utm" else leaf: inner for leaf, inner in value.items()}
        else:
            form[name] = value
    return form


def test_there_are_samples() -> None:
    assert len(SAMPLES) == 300


@all_cases("line", SAMPLES)
def test_every_typed_value_is_found_again(line: str) -> None:
    raw = json.loads(line)
    phone = raw["personal_info"].pop("phone", "")
    with_phone = raw | {"personal_info": raw["personal_info"] | {"phone": phone}}
    parsed = parse_application(with_phone, default_region="TR")
    assert parsed.warnings == ()
    found = list(values(parsed.lead.to_dict()))
    assert [value for value in values(raw) if value not in found] == []
    assert parsed.lead.phone.endswith(digits(phone))
    assert Lead.from_dict(json.loads(json.dumps(parsed.lead.to_dict()))) == parsed.lead


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_json_flat_json_and_forms_mean_the_same(client: FlaskClient, gateway: Any, content_type: str) -> None:
    for line in SAMPLES[:60]:
        raw = json.loads(line)
        form = flat(raw)
        for answer in (
            client.post("/api/v1/applications", json=raw),
            client.post("/api/v1/applications", json=form),
            client.post("/api/v1/applications", data=form, content_type=content_type),
        ):
            assert answer.status_code == 201, answer.json
            assert "warnings" not in answer.json
        first, second, third = (payload for _, payload, _ in gateway.submitted[-3:])
        assert first == second == third

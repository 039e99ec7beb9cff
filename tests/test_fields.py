"""Each field of a lead and of a click is known wherever the code or a page lists them.

`docs/adding.md` says what to do when one of these tests fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from marshmallow import Schema
from marshmallow import fields as marshmallow_fields

from crmgate.channels import WELL_KNOWN
from crmgate.model import Activity, Consent, Kind, Lead, Operation, Utm, new_id
from crmgate.plugin_kit.mapping import FieldMap, activity_facts, describe, lead_facts
from crmgate.schemas import parse_application
from crmgate.schemas.application import ApplicationSchema
from crmgate.schemas.event import MessengerEventSchema
from crmgate.schemas.fields import TextMap
from crmgate.schemas.parse import parse_event
from crmgate.testing.contract import samples
from crmgate.testing.contract.text import contains, texts
from tests.test_model import FULL_LEAD

HTTP = (Path(__file__).parents[1] / "docs" / "http.md").read_text()


def example(schema: Schema) -> dict[str, Any]:
    """A body with a value for each field of a schema: the example that the description of the API shows, or a text."""
    return {name: _example(declared) for name, declared in schema.fields.items()}


def _example(declared: Any) -> Any:
    if isinstance(declared, marshmallow_fields.Nested):
        return example(declared.schema)
    usual = {"shoe_size": "38"} if isinstance(declared, TextMap) else "text"
    return declared.metadata.get("examples", [usual])[0]


def blank(record: Any, path: str = "") -> Iterator[str]:
    """The fields that hold no more than their default, those of the records inside included."""
    for each in fields(record):
        value, default = getattr(record, each.name), getattr(type(record)(), each.name)
        if is_dataclass(value):
            yield from blank(value, f"{path}{each.name}.")
        elif value == default:
            yield path + each.name


def test_each_field_of_a_lead_can_be_sent_by_a_form() -> None:
    lead = parse_application(example(ApplicationSchema()), default_region="TR").lead
    missing = {*blank(lead)} - {"source"}  # its example is the default
    assert not missing, f"crmgate/schemas/application.py: no field fills {missing} of a Lead"
    assert "source" in ApplicationSchema().fields


def test_each_field_of_a_click_can_be_sent() -> None:
    body = example(MessengerEventSchema())
    click = parse_event(body, channels=set(WELL_KNOWN), occurred_at="2026-11-23T04:59:00Z").activity
    missing = {*blank(click)}
    assert not missing, f"crmgate/schemas/event.py: no field fills {missing} of an Activity"


@pytest.mark.parametrize(
    ("name", "sample"),
    [("FULL", samples.FULL), ("CLICK", samples.CLICK), ("NEWS", samples.NEWS)],
)
def test_the_samples_of_the_contract_kit_have_a_value_for_each_field(name: str, sample: Lead | Activity) -> None:
    missing = {*blank(sample)} - ({"utm.content", "utm.term"} if isinstance(sample, Activity) else set())
    assert not missing, f"crmgate/testing/contract/samples.py: {name} has no value for {missing}"


def test_the_lead_that_survives_json_has_a_value_for_each_field() -> None:
    missing = {*blank(FULL_LEAD)}
    assert not missing, f"tests/test_model.py: FULL_LEAD has no value for {missing}"


def test_each_field_reaches_the_description() -> None:
    for sample, facts in ((samples.FULL, lead_facts), (samples.NEWS, activity_facts)):
        operation = Operation(new_id(), Kind.CREATE_LEAD, sample.to_dict(), 0.0)
        text = sample.additional_info if isinstance(sample, Lead) else ""
        said = describe(FieldMap().apply(facts(sample, operation)).rest, operation, text)  # type: ignore[operator]
        for name, value in sample.to_dict().items():
            lost = [word for word in texts(value) if not contains(said, word)]
            assert not lost, f"crmgate/plugin_kit/mapping.py: {name} is not in the description ({lost})"


@pytest.mark.parametrize(
    ("heading", "schema"),
    [("POST /api/v1/applications", ApplicationSchema), ("POST /api/v1/messenger-events", MessengerEventSchema)],
)
def test_the_example_body_of_the_documentation_has_each_field(heading: str, schema: type[Schema]) -> None:
    [section] = re.findall(rf"^## `{heading}`\n(.*?)(?=^## )", HTTP, re.MULTILINE | re.DOTALL)
    bodies = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", section, re.DOTALL)]
    missing = min(({*_paths(schema())} - {*_keys(body)} - {"custom"} for body in bodies), key=len)
    assert not missing, f"docs/http.md: the example under `{heading}` does not have {missing}"


def _paths(schema: Schema) -> Iterator[str]:
    for name, declared in schema.fields.items():
        yield name
        if isinstance(declared, marshmallow_fields.Nested):
            yield from (f"{name}.{inner}" for inner in declared.schema.fields)


def _keys(body: dict[str, Any]) -> Iterator[str]:
    for name, value in body.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)


def test_a_blank_field_is_seen() -> None:
    assert {*blank(Lead(utm=Utm("google"), consent=Consent(True)))} >= {"first_name", "utm.term", "consent.text"}

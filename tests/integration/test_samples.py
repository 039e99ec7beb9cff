"""Every submission of the samples reaches the CRM once, with every value that was typed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stack import Stack
from tests.plugins.bitrix.rig import shown

SAMPLES = [
    json.loads(line) for line in (Path(__file__).parent.parent / "data/applications.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize("provider", ["espocrm", "bitrix"])
def test_every_sample_becomes_one_lead_with_everything_in_it(tmp_path: Path, provider: str) -> None:
    with Stack(tmp_path, provider) as stack:
        stack.start()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(stack.post, SAMPLES))
        assert {answer.status_code for answer in answers} <= {201, 202}
        ids = [answer.json()["id"] for answer in answers]
        operations = [stack.wait_for(operation_id, "delivered") for operation_id in ids]
        assert stack.ledger.stats()["delivered"] == 300
        leads = leads_by_id(stack)
        assert len(leads) == 300
        records = [operation.delivered.record_id for operation in operations if operation.delivered]
        assert sorted(records) == sorted(leads)
        lost = {
            number: missing
            for number, (sample, record) in enumerate(zip(SAMPLES, records, strict=True))
            if (missing := [value for value in typed(sample) if not found(value, leads[record])])
        }
        assert lost == {}


def leads_by_id(stack: Stack) -> dict[str, Mapping[str, Any]]:
    entity = "Lead" if stack.env["CRM_PROVIDER"] == "espocrm" else "lead"
    return {str(lead["id"]): lead for lead in stack.fake.records()[entity]}


def typed(value: Any) -> Iterator[str]:
    """Every value that stands in a submission."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from typed(item)
    elif isinstance(value, list):
        for item in value:
            yield from typed(item)
    else:
        yield str(value)


def found(value: str, lead: Mapping[str, Any]) -> bool:
    """Whether a typed value stands in a lead; a phone number by its digits, since the CRM keeps E.164."""
    text = "\n".join(typed(lead))
    if shown(value) in shown(text):
        return True
    digits = "".join(filter(str.isdigit, value)).lstrip("0")
    return len(digits) >= 7 and digits in "".join(c for c in text if c.isdigit() or c == "\n")

"""Requests to the fake Bitrix24, and what its answers say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

PHONE = {"typeId": "PHONE", "valueType": "WORK", "value": "+12025550119"}
EMAIL = {"typeId": "EMAIL", "valueType": "WORK", "value": "anna@example.com"}
Call = Callable[..., requests.Response]


def error(response: requests.Response) -> tuple[int, str]:
    """The status and the code of a failure, which has no result."""
    body = response.json()
    assert "result" not in body
    assert isinstance(body["error_description"], str)
    return response.status_code, body["error"]


def find(call: Call, **conditions: Any) -> list[dict[str, Any]]:
    response = call("crm.item.list", entityTypeId=1, filter=conditions, order={"id": "ASC"}, start=-1)
    items: list[dict[str, Any]] = response.json()["result"]["items"]
    return items

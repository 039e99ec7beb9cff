"""The fake HubSpot answers as the vendor's pages and recorded answers say (named in its docstring)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from crmgate.testing.hubspot import FakeHubSpot

CONTACTS, NOTES = "/crm/v3/objects/contacts", "/crm/v3/objects/notes"
HOUR = 3600.0


@pytest.fixture
def account() -> Iterator[FakeHubSpot]:
    with FakeHubSpot() as fake:
        yield fake


def ask(account: FakeHubSpot, path: str, body: Any = None, method: str = "POST") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {account.token}"}
    answer = requests.request(method, account.url + path, json=body, headers=headers, timeout=10)
    return answer.status_code, answer.json()


def contact(account: FakeHubSpot, **properties: str) -> tuple[int, dict[str, Any]]:
    return ask(account, CONTACTS, {"properties": properties})


def found(account: FakeHubSpot, by: str, *values: str) -> tuple[int, dict[str, Any]]:
    inputs = [{"id": value} for value in values]
    return ask(account, f"{CONTACTS}/batch/read", {"idProperty": by, "inputs": inputs, "properties": ["email"]})


def searched(account: FakeHubSpot, value: str) -> tuple[int, dict[str, Any]]:
    filters = [{"propertyName": "email", "operator": "EQ", "value": value}]
    return ask(account, f"{CONTACTS}/search", {"filterGroups": [{"filters": filters}]})


def test_an_email_is_on_one_contact(account: FakeHubSpot) -> None:
    status, made = contact(account, email="Ada@Example.org")
    assert (status, made["properties"]["email"]) == (201, "ada@example.org")
    status, refused = contact(account, email="ada@example.org")
    assert (status, refused["category"]) == (409, "CONFLICT")
    assert refused["message"] == f"Contact already exists. Existing ID: {made['id']}"
    assert {"status", "correlationId"} <= refused.keys()


def test_a_unique_value_is_on_one_contact_also_if_it_is_deleted(account: FakeHubSpot) -> None:
    made = contact(account, lastname="A", crmgate_operation_id="1")[1]
    account.delete_contact(made["id"])
    status, refused = contact(account, lastname="B", crmgate_operation_id="1")
    assert (status, refused["errors"][0]["code"]) == (400, "CONFLICTING_UNIQUE_VALUE")
    assert refused["message"].startswith('Property values were not valid: [{"isValid": false')
    account.conflict_status = 409
    assert contact(account, lastname="B", crmgate_operation_id="1")[0] == 409


def test_a_batch_without_some_records_is_a_207(account: FakeHubSpot) -> None:
    contact(account, email="ada@example.org")
    status, body = found(account, "email", "ada@example.org", "nobody@example.org")
    assert (status, len(body["results"]), body["numErrors"]) == (207, 1, 1)
    assert body["errors"][0]["context"] == {"ids": ["nobody@example.org"]}
    assert found(account, "email", "ada@example.org")[0] == 200
    assert found(account, "city", "London")[0] == 400, "not unique"
    assert found(account, "email", *map(str, range(101)))[0] == 400


def test_the_search_lags_and_reads_do_not(account: FakeHubSpot) -> None:
    account.search_lag = HOUR
    contact(account, email="ada@example.org")
    assert searched(account, "ada@example.org")[1]["total"] == 0
    assert len(found(account, "email", "ada@example.org")[1]["results"]) == 1
    account.search_lag, account.read_lag = 0.0, HOUR
    assert searched(account, "ada@example.org")[1]["total"] == 1
    assert found(account, "email", "ada@example.org")[1]["results"] == []


def test_limits_have_a_policy_and_no_category(account: FakeHubSpot) -> None:
    account.searches_a_second = 0
    status, body = searched(account, "ada@example.org")
    assert (status, body["policyName"], body["errorType"]) == (429, "SECONDLY", "RATE_LIMIT")
    account.policy = "DAILY"
    status, body = contact(account, email="ada@example.org")
    assert (status, body["message"], "category" in body) == (429, "You have reached your daily limit.", False)


def test_a_note_needs_its_time_and_a_contact(account: FakeHubSpot) -> None:
    made = contact(account, lastname="A")[1]["id"]
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 202}]
    note = {"hs_timestamp": "2026-01-01T00:00:00Z", "hs_note_body": "x"}
    for properties, target, status in ((note, made, 201), ({}, made, 400), (note, "999", 400)):
        associations = [{"to": {"id": target}, "types": types}]
        assert ask(account, NOTES, {"properties": properties, "associations": associations})[0] == status
    path = "/crm/v4/associations/contacts/notes/batch/read"
    status, body = ask(account, path, {"inputs": [{"id": made}, {"id": "999"}]})
    assert (status, body["errors"][0]["subCategory"]) == (207, "crm.associations.NO_ASSOCIATIONS_FOUND")
    assert [str(one["toObjectId"]) for one in body["results"][0]["to"]] == [*account.notes]


def test_scopes_and_the_token(account: FakeHubSpot) -> None:
    account.scopes = ["crm.objects.contacts.read"]
    status, body = contact(account, lastname="A")
    assert (status, body["category"]) == (403, "MISSING_SCOPES")
    assert ask(account, f"{CONTACTS}?limit=1", method="GET")[0] == 200
    info = "/oauth/v2/private-apps/get/access-token-info"
    assert ask(account, info, {"tokenKey": account.token})[1]["scopes"] == account.scopes
    wrong = {"Authorization": "Bearer x"}
    answer = requests.get(account.url + CONTACTS, headers=wrong, timeout=10)
    assert (answer.status_code, answer.json()["category"]) == (401, "INVALID_AUTHENTICATION")


def test_a_contact_needs_an_email_or_a_name(account: FakeHubSpot) -> None:
    assert contact(account, phone="+12025550119")[0] == 400

"""HubSpot: what each answer means, and which properties a refusal names."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.hubspot import FakeHubSpot
from tests.cases import all_cases
from tests.plugins.hubspot.rig import (
    ADA,
    CONTACTS,
    KEY,
    TEXT,
    Connect,
    click,
    contacts,
    creation,
    deliver,
    failure,
    only,
    update,
    writes,
)

JSON, HTML = "application/json", "text/html"
LIMIT = (RateLimited, Code.RATE_LIMITED)
RIGHTS, CREDENTIALS = (AuthFailed, Code.NO_PERMISSION), (AuthFailed, Code.BAD_CREDENTIALS)
ELSEWHERE, UNKNOWN = (Unavailable, Code.INVALID_RESPONSE), (OutcomeUnknown, Code.SERVER_ERROR)
REFUSED = (Rejected, Code.INVALID_REQUEST)
ANSWERS: list[tuple[int, str, str, tuple[type[ProviderError], Code], float | None]] = [
    (401, "{}", JSON, CREDENTIALS, None),
    (401, "<p>no</p>", HTML, CREDENTIALS, None),
    (403, '{"category": "MISSING_SCOPES"}', JSON, RIGHTS, None),
    (403, "<p>no</p>", HTML, ELSEWHERE, None),
    (404, "<p>no</p>", HTML, ELSEWHERE, None),
    (404, '{"message": "no such path"}', JSON, ELSEWHERE, None),
    (405, "{}", JSON, ELSEWHERE, None),
    (302, "", HTML, ELSEWHERE, None),
    (400, "<p>no</p>", HTML, ELSEWHERE, None),
    (400, '{"message": "Invalid input JSON"}', JSON, REFUSED, None),
    (414, '{"message": "too long"}', JSON, REFUSED, None),
    (423, "{}", JSON, LIMIT, 2.0),
    (429, '{"policyName": "DAILY"}', JSON, LIMIT, 900.0),
    (429, '{"policyName": "TEN_SECONDLY_ROLLING"}', JSON, LIMIT, 10.0),
    (429, '{"policyName": "SECONDLY"}', JSON, LIMIT, 1.0),
    (429, '{"policyName": "ada@example.org"}', JSON, LIMIT, None),
    (429, "<p>slow down</p>", HTML, LIMIT, None),
    (477, "", JSON, (RateLimited, Code.MAINTENANCE), None),
    (500, "{}", JSON, UNKNOWN, None),
    (502, "<p>no</p>", HTML, UNKNOWN, None),
    (524, "<p>no</p>", HTML, UNKNOWN, None),
    (200, '{"id": "101"}', JSON, UNKNOWN, None),
    (201, '{"id": "101x"}', JSON, UNKNOWN, None),
]


@all_cases("status, body, content_type, expected, wait", ANSWERS)
def test_each_answer_to_a_create(
    account: FakeHubSpot, crm: HookCaller, status: int, body: str, content_type: str,
    expected: tuple[type[ProviderError], Code], wait: float | None,
) -> None:  # fmt: skip
    account.heal()
    account.fail("answer", status=status, body=body, content_type=content_type, path=CONTACTS)
    error = failure(lambda: deliver(crm, creation()))
    assert (type(error), error.code, error.retry_after, error.status) == (*expected, wait, status)
    assert "ada@example.org" not in f"{error} {error.vendor_code}"


@all_cases("header, wait", [("7", 7.0), ("1.5", 2.0), ("", 900.0), ("soon", 900.0)])
def test_retry_after_comes_before_the_policy(account: FakeHubSpot, crm: HookCaller, header: str, wait: float) -> None:
    account.heal()
    body = '{"policyName": "DAILY"}'
    account.fail("answer", status=429, headers={"Retry-After": header}, body=body, content_type=JSON)
    assert failure(lambda: deliver(crm, creation())).retry_after == wait


def test_the_vendors_own_429_and_scopes(account: FakeHubSpot, crm: HookCaller) -> None:
    account.policy = "DAILY"
    assert failure(lambda: deliver(crm, creation())).vendor_code == "DAILY"
    account.policy, account.scopes = "", ["crm.objects.contacts.read"]
    error = failure(lambda: deliver(crm, creation()))
    assert (type(error), error.vendor_code) == (AuthFailed, "MISSING_SCOPES")
    assert "crm.objects.contacts.write" in error.detail


class TestRefusedProperties:
    def test_an_invalid_email_moves_into_the_text(self, account: FakeHubSpot, crm: HookCaller) -> None:
        made = deliver(crm, creation(replace(ADA, email="ada@example.abcdefghijklmnopqrstu")))
        contact = only(account)
        assert (made.moved, "email" in contact) == (("email",), False)
        assert "Email: ada@example.abcdefghijklmnopqrstu" in contact[TEXT]

    def test_a_property_that_is_gone_moves_and_is_left_out_next_time(
        self, account: FakeHubSpot, crm: HookCaller
    ) -> None:
        del account.definitions["city"]
        assert deliver(crm, creation()).moved == ("city",)
        again = deliver(crm, creation(replace(ADA, email="b@example.org", phone="")))
        assert (again.moved, again.dropped) == ((), ("city",))
        assert [TEXT in one and "City: London" in one[TEXT] for one in contacts(account)] == [True, True]
        assert len(writes(account)) == 3

    def test_several_at_once(self, account: FakeHubSpot, crm: HookCaller) -> None:
        account.add_property("city", options=["Paris"])
        account.add_property("country", "number")
        lead = replace(ADA, country="Iceland", email="nobody")
        assert set(deliver(crm, creation(lead)).moved) == {"city", "country", "email"}
        text = only(account)[TEXT]
        assert [line for line in ("City: London", "Country: Iceland", "Email: nobody") if line not in text] == []

    def test_of_an_update_too(self, account: FakeHubSpot, crm: HookCaller) -> None:
        lead_id = deliver(crm, click()).record_id
        account.add_property("city", options=["Paris"])
        assert deliver(crm, update(lead_id)).moved == ("city",)
        assert "City: London" in only(account)[TEXT]

    def test_dead_letters_by_configuration(self, account: FakeHubSpot, connect: Connect) -> None:
        error = failure(lambda: deliver(connect(on_rejected_field="dead"), creation(replace(ADA, email="nobody"))))
        assert isinstance(error, Rejected)
        assert error.fields == {"email": "INVALID_EMAIL"}
        assert "nobody" not in str(error)

    @all_cases(
        "body",
        [
            {"message": 'Property values were not valid: [{"name": "city", "error": "INVALID_OPTION"}]'},
            {"message": 'Property values were not valid: [{"name": "city", "error": "INVALID_OPTION"}] and more'},
            {"errors": [{"message": "no", "code": "INVALID_OPTION", "context": {"propertyName": ["city"]}}]},
            {"errors": [{"message": "no", "code": "INVALID_OPTION", "context": {"propertyName": "city"}}]},
            {"errors": [{"message": "no", "code": "INVALID_OPTION", "in": "city"}]},
        ],
    )
    def test_each_form_names_the_property(self, account: FakeHubSpot, connect: Connect, body: dict[str, Any]) -> None:
        crm = connect(on_rejected_field="dead")
        account.heal()
        account.fail("answer", status=400, body=json.dumps(body), content_type=JSON, path=CONTACTS)
        error = failure(lambda: deliver(crm, creation()))
        assert isinstance(error, Rejected)
        assert (error.fields, error.code) == ({"city": "INVALID_OPTION"}, Code.INVALID_VALUE)

    @all_cases(
        "body",
        [
            '{"message": "Property values were not valid: [{"}',
            '{"message": "[{[[", "errors": "many"}',
            '{"errors": [1, null, {"in": "Ada Lovelace", "code": "ada@example.org"}]}',
            '{"message": ["x"], "errors": {}}',
        ],
    )
    def test_an_unreadable_refusal_names_nothing(self, account: FakeHubSpot, crm: HookCaller, body: str) -> None:
        account.heal()
        account.fail("answer", status=400, body=body, content_type=JSON, path=CONTACTS)
        error = failure(lambda: deliver(crm, creation()))
        assert isinstance(error, Rejected)
        assert (error.fields, "Ada" in str(error)) == ({}, False)


@pytest.mark.parametrize("name", [KEY, TEXT, "crmgate_phone"])
def test_a_missing_property_of_crmgate_concerns_every_contact(
    account: FakeHubSpot, crm: HookCaller, name: str
) -> None:  # fmt: skip
    """It makes no dead letter of a submission: deliveries pause until the setup has run."""
    del account.definitions[name]
    error = failure(lambda: deliver(crm, creation()))
    assert isinstance(error, AuthFailed)
    assert (name in error.detail, "crmgate crm setup" in error.detail) == (True, True)
    connection = crm.test_connection(5.0)
    assert (connection.connected, connection.refused) == (False, True)


@pytest.mark.parametrize("name", [KEY, "crmgate_phone"])
def test_a_read_by_a_missing_property_concerns_every_contact(account: FakeHubSpot, crm: HookCaller, name: str) -> None:
    del account.definitions[name]
    error = failure(lambda: crm.find(creation(), 5.0))
    assert isinstance(error, AuthFailed)
    assert (name in error.detail, "crmgate crm setup" in error.detail) == (True, True)


class TestBatches:
    """A part of a batch that could not be read is no proof that a contact does not exist."""

    @all_cases(
        "status, body",
        [
            (207, {"results": [], "errors": [{"category": "INTERNAL_ERROR"}]}),
            (207, {"results": [], "errors": [{"category": "OBJECT_NOT_FOUND"}, {"category": "RATE_LIMITS"}]}),
            (207, {"results": []}),
            (200, {"results": [], "errors": [{"category": "INTERNAL_ERROR"}]}),
            (200, {"status": "COMPLETE"}),
            (202, {"results": []}),
        ],
    )
    def test_is_an_outage(self, account: FakeHubSpot, crm: HookCaller, status: int, body: dict[str, Any]) -> None:
        account.heal()
        account.fail("answer", status=status, body=json.dumps(body), content_type=JSON, path="/batch/read")
        assert isinstance(failure(lambda: crm.find(creation(), 5.0)), Unavailable)

    def test_a_missing_contact_is_none(self, account: FakeHubSpot, crm: HookCaller) -> None:
        assert crm.find(creation(), 5.0) is None
        assert {one.path for one in account.requests} == {"/crm/v3/objects/contacts/batch/read"}


@all_cases("lead_id", ["999999", "D_5", "1/../2", ""])
def test_a_contact_that_is_gone(account: FakeHubSpot, crm: HookCaller, lead_id: str) -> None:
    error = failure(lambda: deliver(crm, update(lead_id)))
    assert isinstance(error, NotFound)
    assert writes(account) == []


def test_a_contact_that_goes_between_read_and_change(account: FakeHubSpot, crm: HookCaller) -> None:
    lead_id = deliver(crm, creation()).record_id
    body = '{"status": "error", "message": "resource not found"}'
    account.fail("answer", status=404, body=body, content_type=JSON, method="PATCH")
    assert isinstance(failure(lambda: deliver(crm, update(lead_id, replace(ADA, city="Paris")))), NotFound)

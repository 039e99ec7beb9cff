"""HubSpot: persons whom the account knows, and values that only one contact can have."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import OutcomeUnknown, Unavailable
from crmgate.model import Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.hubspot import FakeHubSpot
from tests.cases import all_cases
from tests.plugins.hubspot.rig import (
    ADA,
    CONTACTS,
    KEY,
    PHONE,
    PHONE_ONLY,
    TEXT,
    Connect,
    click,
    contacts,
    creation,
    deliver,
    failure,
    notes,
    only,
    text_of_records,
    update,
    writes,
)

AGAIN = replace(ADA, last_name="King", city="Paris", additional_info="walnut allergy")
JSON = "application/json"


class TestPolicies:
    def test_note(self, account: FakeHubSpot, crm: HookCaller) -> None:
        first = deliver(crm, creation())
        second = creation(AGAIN)
        made = deliver(crm, second)
        assert (made.record_id, made.adopted, only(account)["lastname"]) == (first.record_id, True, "Lovelace")
        [note] = notes(account)
        assert [one for one in ("Last name: King", "walnut allergy", second.tracking_code) if one not in note] == []

    def test_update(self, account: FakeHubSpot, connect: Connect) -> None:
        crm = connect(on_duplicate="update")
        deliver(crm, creation(replace(ADA, city="")))
        second = creation(AGAIN)
        assert deliver(crm, second).adopted
        contact = only(account)
        assert (contact["city"], contact["lastname"], notes(account)) == ("Paris", "Lovelace", [])
        assert [one for one in ("Last name: King", second.tracking_code) if one not in contact[TEXT]] == []

    @pytest.mark.parametrize("lead", [ADA, PHONE_ONLY], ids=["email", "phone"])
    def test_create(self, account: FakeHubSpot, connect: Connect, lead: Lead) -> None:
        """HubSpot allows an email for one contact only, so the second one has it in its text."""
        crm = connect(on_duplicate="create")
        operations = [creation(lead), creation(lead)]
        made = [deliver(crm, one) for one in operations]
        assert [one.adopted for one in made] == [False, False]
        assert [one[KEY] for one in contacts(account)] == [one.id for one in operations]
        assert [PHONE in one for one in contacts(account)] == [False, False]
        second = contacts(account)[1]
        assert ("email" in second, lead.email in second[TEXT]) == (False, True)

    def test_a_known_person_needs_no_search(self, account: FakeHubSpot, crm: HookCaller) -> None:
        deliver(crm, creation())
        account.requests.clear()
        deliver(crm, creation())
        assert [one.path.rpartition("objects")[2] for one in account.requests] == [
            "/contacts", "/contacts/batch/read", "/contacts/batch/read", "/notes"
        ]  # fmt: skip


class TestOnePhone:
    """HubSpot has no unique phones. The property of crmgate has."""

    def test_an_invalid_email_beside_a_known_phone(self, account: FakeHubSpot, crm: HookCaller) -> None:
        deliver(crm, creation(PHONE_ONLY))
        operation = creation(replace(PHONE_ONLY, email="nobody"))
        assert deliver(crm, operation).adopted
        assert "Email: nobody" in notes(account)[0]
        found = crm.find(operation, 5.0)
        assert found is not None
        assert found.record_id == only(account)["id"]

    def test_two_emails_with_one_phone_are_one_contact(self, account: FakeHubSpot, crm: HookCaller) -> None:
        deliver(crm, creation())
        assert deliver(crm, creation(replace(ADA, email="countess@example.org"))).adopted
        assert only(account)[PHONE] == "+905321234567"
        assert "countess@example.org" in notes(account)[0]

    def test_a_click_that_gets_its_phone_later(self, account: FakeHubSpot, crm: HookCaller) -> None:
        deliver(crm, update(deliver(crm, click()).record_id, PHONE_ONLY))
        assert deliver(crm, creation(PHONE_ONLY)).adopted
        assert only(account)[PHONE] == "+12025550119"

    def test_an_update_with_the_phone_of_another_contact(self, account: FakeHubSpot, crm: HookCaller) -> None:
        deliver(crm, creation(PHONE_ONLY))
        visitor = deliver(crm, click()).record_id
        assert deliver(crm, update(visitor, PHONE_ONLY)).record_id == visitor
        assert [one.get(PHONE) for one in contacts(account)] == ["+12025550119", None]
        assert [one["phone"] for one in contacts(account)] == ["+12025550119"] * 2

    def test_an_email_of_another_contact_moves_into_the_text(self, account: FakeHubSpot, crm: HookCaller) -> None:
        deliver(crm, creation())
        visitor = deliver(crm, click()).record_id
        made = deliver(crm, update(visitor, replace(ADA, phone="")))
        assert made.moved == ("email",)
        assert "Email: ada@example.org" in contacts(account)[1][TEXT]


class TestConflicts:
    """Each form of the answer, and answers that cannot be resolved."""

    @pytest.mark.parametrize("status", [400, 409])
    def test_an_operation_that_is_sent_twice(self, account: FakeHubSpot, crm: HookCaller, status: int) -> None:
        account.conflict_status = status
        for operation in (creation(), creation(PHONE_ONLY), click()):
            made = [deliver(crm, operation) for _ in range(2)]
            assert (made[0].record_id, made[1].adopted) == (made[1].record_id, True)
        assert (len(contacts(account)), notes(account)) == (3, [])

    @all_cases(
        "body",
        [
            {"message": "Contact already exists. Existing ID: {id}", "category": "CONFLICT"},
            {"message": "Contact already exists. Existing ID: 999", "category": "CONFLICT"},
            {"message": "Contact already exists", "category": "OBJECT_ALREADY_EXISTS", "error": "CONTACT_EXISTS"},
            {},
        ],
    )
    def test_of_an_email(self, account: FakeHubSpot, crm: HookCaller, body: dict[str, Any]) -> None:
        account.contacts.clear()
        account.heal()
        known = account.add_contact({"email": ADA.email}).id
        text = json.dumps(body).replace("{id}", known)
        account.fail("answer", status=409, body=text, content_type=JSON, method="POST", path=CONTACTS)
        assert deliver(crm, creation()).record_id == known

    @pytest.mark.parametrize(("status", "body"), [(409, "{}"), (409, "<p>"), (400, "already has that value")])
    def test_with_a_contact_that_is_not_shown(
        self, account: FakeHubSpot, crm: HookCaller, status: int, body: str
    ) -> None:
        """It makes neither a dead letter nor a second contact: the next attempt looks again."""
        message = json.dumps({"message": body}) if status == 400 else body
        account.fail("answer", status=status, body=message, content_type=JSON, path=CONTACTS, times=1)
        assert isinstance(failure(lambda: deliver(crm, creation())), OutcomeUnknown)
        assert contacts(account) == []

    def test_when_the_contact_cannot_be_read(self, account: FakeHubSpot, crm: HookCaller) -> None:
        deliver(crm, creation())
        account.fail("answer", status=503, path="/batch/read")
        assert isinstance(failure(lambda: deliver(crm, creation())), Unavailable)
        assert len(contacts(account)) == 1


class TestDeletedContacts:
    """Staff deleted the contact. HubSpot keeps it for 90 days, and may keep its unique values."""

    @pytest.mark.parametrize("lead", [ADA, PHONE_ONLY], ids=["email", "phone"])
    def test_the_person_gets_another_one(self, account: FakeHubSpot, crm: HookCaller, lead: Lead) -> None:
        account.delete_contact(deliver(crm, creation(lead)).record_id)
        operation = creation(lead)
        assert not deliver(crm, operation).adopted
        assert only(account)[KEY] == operation.id
        assert lead.phone in text_of_records(account)
        assert lead.email in text_of_records(account)

    def test_a_repaired_operation_gets_another_id(self, account: FakeHubSpot, crm: HookCaller) -> None:
        operation = creation(replace(ADA, phone=""))
        gone = deliver(crm, operation)
        account.delete_contact(gone.record_id)
        again = replace(operation, repairs=1)
        assert crm.find(again, 5.0) is None
        made = deliver(crm, again)
        assert only(account)[KEY] == f"{operation.id}-1"
        assert crm.find(again, 5.0) == replace(made, adopted=True)
        receipt = replace(again, payload={}, delivered=gone)
        assert crm.find_many([receipt], 5.0) == {operation.id: made.record_id}


def test_no_address_has_personal_data_or_the_token(account: FakeHubSpot, crm: HookCaller) -> None:
    operation = creation()
    lead_id = deliver(crm, operation).record_id
    deliver(crm, creation(AGAIN))
    deliver(crm, update(lead_id, AGAIN))
    crm.find(operation, 5.0)
    crm.test_connection(5.0)
    addresses = " ".join(f"{one.path}?{one.query}" for one in account.requests)
    assert [one for one in ("ada", "Ada", "905321234567", "Lovelace", account.token) if one in addresses] == []


def test_markup_of_a_visitor_is_escaped_in_a_note(account: FakeHubSpot, crm: HookCaller) -> None:
    deliver(crm, creation())
    deliver(crm, creation(replace(ADA, additional_info="<img src=x>\nsecond")))
    assert "&lt;img src=x&gt;<br>second" in notes(account)[0]


def test_a_text_that_is_full_gets_no_more_of_an_update(account: FakeHubSpot, crm: HookCaller) -> None:
    """The whole submission is a note then, and is found there."""
    lead_id = deliver(crm, creation()).record_id
    account.contacts[lead_id].properties[TEXT] = "x" * 64_900
    operation = update(lead_id, AGAIN)
    deliver(crm, operation)
    assert [method for method, _ in writes(account)] == ["POST", "POST"]
    assert "walnut allergy" in notes(account)[0]
    found = crm.find(operation, 5.0)
    assert found is not None
    assert found.record_id == lead_id


def test_many_notes_are_read_page_by_page(account: FakeHubSpot, crm: HookCaller) -> None:
    lead_id = deliver(crm, creation()).record_id
    target = [{"to": {"id": lead_id}, "types": [{"associationTypeId": 202}]}]
    for number in range(620):
        account.add_note({"hs_timestamp": "2026-01-01T00:00:00Z", "hs_note_body": f"note {number}"}, target)
    operation = creation()
    deliver(crm, operation)
    receipts = [replace(one, delivered=crm.find(one, 5.0), payload={}) for one in (operation,)]
    account.requests.clear()
    assert crm.find_many(receipts, 5.0) == {operation.id: lead_id}
    assert len(account.requests) == 1 + 2 + 7 + 0

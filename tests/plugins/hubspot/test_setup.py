"""HubSpot: the setup, the connection test, the comparison of the mapping, updates, clicks and receipts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crmgate.errors import AuthFailed, ConfigError
from crmgate.model import FieldState
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.hubspot import FakeHubSpot
from crmgate.testing.hubspot.fake import READ, SCHEMAS_READ, WRITE
from tests.cases import all_cases
from tests.plugins.hubspot.rig import (
    ADA,
    KEY,
    PHONE,
    PHONE_ONLY,
    TEXT,
    Connect,
    activity,
    checks,
    click,
    connected,
    contacts,
    creation,
    deliver,
    failure,
    notes,
    only,
    update,
    writes,
)

OWN = (KEY, PHONE, TEXT)


class TestSetup:
    def test_it_creates_what_is_missing(self) -> None:
        with FakeHubSpot(ready=False) as account:
            crm = connected(account, HUBSPOT_MAP_REFERRAL_CODE="referral_code")
            before = crm.provision(5.0, apply=False)
            assert [step.what for step in before.steps if not step.done] == [
                *(f"contact property {name}" for name in OWN), "contact property referral_code"
            ]  # fmt: skip
            assert all(step.done for step in crm.provision(5.0, apply=True).steps)
            made = [account.definitions[name] for name in (*OWN, "referral_code")]
            assert [one["hasUniqueValue"] for one in made] == [True, True, False, False]
            assert [one["fieldType"] for one in made] == ["text", "text", "textarea", "text"]
            assert account.definitions["referral_code"]["label"] == "Referral code"
            deliver(crm, creation(replace(ADA, referral_code="INSTA-24")))
            assert only(account)["referral_code"] == "INSTA-24"

    def test_a_property_without_unique_values_is_named(self, account: FakeHubSpot, crm: HookCaller) -> None:
        account.definitions[KEY]["hasUniqueValue"] = False
        [step] = [step for step in crm.provision(5.0, apply=True).steps if not step.done]
        assert "does not have unique values" in step.what
        assert writes(account) == []
        connection = crm.test_connection(5.0)
        assert (connection.connected, connection.refused, checks(crm)[KEY][0]) == (False, True, False)

    def test_a_name_that_hubspot_does_not_allow(self, account: FakeHubSpot, connect: Connect) -> None:
        crm = connect(HUBSPOT_MAP_CITY="My City")
        [step] = [step for step in crm.provision(5.0, apply=True).steps if not step.done]
        assert "HubSpot allows no such name" in step.what

    def test_two_at_once(self, account: FakeHubSpot, crm: HookCaller) -> None:
        """The other one creates the property after this one has read the list."""
        listed = '{"results": [{"name": "email"}]}'
        account.fail("answer", status=200, body=listed, content_type="application/json", method="GET", times=1)
        assert all(step.done for step in crm.provision(5.0, apply=True).steps)

    def test_without_the_scope(self, account: FakeHubSpot, crm: HookCaller) -> None:
        del account.definitions[KEY]
        account.scopes = [READ, WRITE, SCHEMAS_READ]
        error = failure(lambda: crm.provision(5.0, apply=True))
        assert isinstance(error, AuthFailed)
        assert "crm.schemas.contacts.write" in error.detail


class TestConnection:
    def test_good(self, crm: HookCaller) -> None:
        connection = crm.test_connection(5.0)
        assert (connection.connected, connection.refused) == (True, False)
        assert [check.name for check in connection.checks if not check.ok] == []
        assert {"contacts", "notes", "scopes", *OWN, "property email"} <= {check.name for check in connection.checks}

    @all_cases("scope, name, connected", [(WRITE, "scopes", False), (READ, "contacts", False)])
    def test_a_missing_scope(
        self, account: FakeHubSpot, crm: HookCaller, scope: str, name: str, connected: bool
    ) -> None:  # fmt: skip
        account.scopes = [one for one in FakeHubSpot().scopes if one != scope]
        connection = crm.test_connection(5.0)
        assert (connection.connected, connection.refused) == (connected, True)
        ok, detail = checks(crm)[name]
        assert (ok, scope in detail) == (False, True)

    def test_scopes_that_hubspot_does_not_show(self, account: FakeHubSpot, crm: HookCaller) -> None:
        account.has_token_info = False
        assert crm.test_connection(5.0).connected
        assert checks(crm)["scopes"] == (True, "not checked: HubSpot does not return the scopes of this token")

    def test_a_missing_mapped_property_is_no_outage(self, account: FakeHubSpot, crm: HookCaller) -> None:
        del account.definitions["city"]
        assert crm.test_connection(5.0).connected
        ok, detail = checks(crm)["property city"]
        assert (ok, "HUBSPOT_MAP_CITY" in detail) == (False, True)
        [line] = [line for line in crm.describe_fields(5.0) if line.problem]
        assert (line.fact, line.found) == ("city", FieldState.MISSING)

    def test_a_property_that_is_read_only(self, account: FakeHubSpot, connect: Connect) -> None:
        crm = connect(HUBSPOT_MAP_CITY="createdate")
        [line] = [line for line in crm.describe_fields(5.0) if line.problem]
        assert (line.name, line.found) == ("createdate", FieldState.READ_ONLY)
        assert deliver(crm, creation()).moved == ("createdate",)


def test_settings(account: FakeHubSpot) -> None:
    with pytest.raises(ConfigError) as caught:
        connected(account, HUBSPOT_TOKEN="two words", HUBSPOT_APP_URL="not an address")
    text = str(caught.value)
    assert ("HUBSPOT_TOKEN" in text, "HUBSPOT_APP_URL" in text, "two words" in text) == (True, True, False)


def test_links_to_contacts(account: FakeHubSpot, connect: Connect) -> None:
    made = deliver(connect(HUBSPOT_APP_URL="https://app-eu1.hubspot.com/contacts/1234567/"), creation())
    assert made.url == f"https://app-eu1.hubspot.com/contacts/1234567/record/0-1/{made.record_id}"
    assert deliver(connect(), click()).url == ""


def test_a_person_without_name_and_email(account: FakeHubSpot, crm: HookCaller) -> None:
    """HubSpot requires an email or a name."""
    deliver(crm, creation(replace(PHONE_ONLY, first_name="")))
    assert only(account)["lastname"] == "-"
    deliver(crm, update(only(account)["id"], replace(PHONE_ONLY, last_name="Hopper")))
    assert only(account)["lastname"] == "Hopper"


class TestUpdates:
    def test_a_click_becomes_a_person(self, account: FakeHubSpot, crm: HookCaller) -> None:
        lead_id = deliver(crm, click()).record_id
        assert (only(account)["firstname"], only(account)["lastname"]) == ("Messenger", "Lead")
        operation = update(lead_id)
        assert deliver(crm, operation).record_id == lead_id
        contact = only(account)
        assert [contact[one] for one in ("firstname", "lastname", "email", PHONE)] == [
            "Ada", "Lovelace", "ada@example.org", "+905321234567"
        ]  # fmt: skip
        assert contact[TEXT].startswith("Channel: telegram")
        account.requests.clear()
        assert deliver(crm, operation).adopted, "a second time changes nothing"
        assert writes(account) == []

    def test_overwrite(self, account: FakeHubSpot, connect: Connect) -> None:
        crm = connect(on_update="overwrite")
        lead_id = deliver(crm, creation()).record_id
        deliver(crm, update(lead_id, replace(ADA, last_name="King")))
        assert only(account)["lastname"] == "King"
        assert "Last name: was: Lovelace" in only(account)[TEXT]

    def test_the_answer_about_another_contact_confirms_nothing(self, account: FakeHubSpot, crm: HookCaller) -> None:
        lead_id = deliver(crm, click()).record_id
        account.fail("answer", status=200, body='{"id": "7"}', content_type="application/json", method="PATCH")
        assert failure(lambda: deliver(crm, update(lead_id))).code == "invalid_response"


def test_a_click_is_a_note_of_the_time_of_the_submission(account: FakeHubSpot, crm: HookCaller) -> None:
    lead_id = deliver(crm, creation()).record_id
    operation = activity(lead_id)
    deliver(crm, replace(operation, accepted_at=1_800_000_000.0))
    [note] = account.notes.values()
    assert note.properties["hs_timestamp"] == "2027-01-15T08:00:00.000Z"
    assert account.contacts[lead_id].notes == [note.id]
    assert "<br>Channel: telegram<br>" in notes(account)[0]


def test_many_receipts_cost_few_requests(account: FakeHubSpot, crm: HookCaller) -> None:
    """50 receipts: contacts by id, their notes, the texts of the notes, and contacts by operation id."""
    operations = [creation(replace(ADA, email=f"p{number}@example.org", phone="")) for number in range(20)]
    made = [deliver(crm, one) for one in operations]
    clicks = [activity(one.record_id) for one in made]
    receipts = [replace(one, delivered=deliver(crm, one), payload={}) for one in clicks]
    receipts += [replace(one, delivered=two, payload={}) for one, two in zip(operations, made, strict=True)]
    gone = made[0].record_id
    account.delete_contact(gone)
    account.requests.clear()
    found = crm.find_many(receipts, 5.0)
    assert len(account.requests) == 4
    lost = {one.id for one in receipts if one.delivered and one.delivered.record_id == gone}
    assert {one.id for one in receipts} - found.keys() == lost
    assert len(contacts(account)) == 19

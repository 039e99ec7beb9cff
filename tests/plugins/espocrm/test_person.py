"""The search for leads of the same person: by the email and by the phone, also with many leads and after a merge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import AuthFailed, Code
from crmgate.model import Lead
from crmgate.testing.espocrm import GATEWAY_ROLE, OPERATION_FIELD, FakeEspoCRM, cost
from tests.plugins.espocrm.rig import ADA, PHONE, click, create, operation, provider, sent, update

BOTH = replace(ADA, phone=PHONE.phone)
BEA = Lead(first_name="Bea", email="b@example.org")


def searches(crm: FakeEspoCRM) -> list[str]:
    return [one.query for one in crm.requests if one.method == "GET" and "where" in one.query]


def unchecked(crm: FakeEspoCRM) -> list[bool]:
    """For each create, whether it leaves EspoCRM's check for duplicates out."""
    posts = [one for one in crm.requests if one.method == "POST" and one.path.endswith("/Lead")]
    return [one.header("X-Skip-Duplicate-Check") == "true" for one in posts]


class TestManyLeads:
    @pytest.mark.parametrize("leads", [5_000, 200_000])
    @pytest.mark.parametrize("lead", [ADA, PHONE, BOTH], ids=["email", "phone", "both"])
    def test_the_number_of_leads_does_not_count(self, crm: FakeEspoCRM, leads: int, lead: Lead) -> None:
        plugin = provider(crm.url)
        create(plugin, BEA)
        crm.virtual_leads = leads
        crm.requests.clear()
        create(plugin, lead)
        assert [cost.seconds(request, leads) for request in crm.requests] == [0.0] * len(crm.requests)
        assert (len(searches(crm)), sent(crm, "POST")) == (bool(lead.email) + bool(lead.phone), 1)

    def test_no_search_combines_two_fields(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(BOTH)
        create(plugin, BOTH, wanted)
        create(plugin, BOTH)
        plugin.find_lead(operation=wanted)
        plugin.find_lead(operation=operation(BOTH))
        kinds = {one.partition("=")[2].partition("&")[0] for one in searches(crm)}
        assert kinds == {"equals"}

    def test_the_metadata_are_read_once(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        for _ in range(3):
            click(plugin)
            create(plugin, BEA)
        assert sum("Metadata" in one.path for one in crm.requests) == 1


class TestOwnCheck:
    """EspoCRM's check is left out only where crmgate has searched, and the unique index protects."""

    def test_it_is_left_out(self, crm: FakeEspoCRM) -> None:
        create(provider(crm.url), BOTH)
        assert unchecked(crm) == [True]

    def test_without_the_unique_index_it_stays(self, crm: FakeEspoCRM) -> None:
        crm.unique_key(OPERATION_FIELD, on=False)
        create(provider(crm.url), BOTH)
        assert unchecked(crm) == [False]

    def test_without_a_field_for_the_operation_id_it_stays(self, crm: FakeEspoCRM) -> None:
        create(provider(crm.url, ESPOCRM_MAP_OPERATION_ID=""), BOTH)
        assert unchecked(crm) == [False]

    @pytest.mark.parametrize("hidden", ["emailAddress", "phoneNumber"])
    def test_where_the_role_hides_a_field_it_stays(self, crm: FakeEspoCRM, hidden: str) -> None:
        crm.set_role(GATEWAY_ROLE, fieldData={"Lead": {hidden: {"read": "no"}}})
        create(provider(crm.url), BOTH)
        assert unchecked(crm) == [False]

    @pytest.mark.parametrize("fault", [{"status": 403, "content_type": "application/json"}, {"status": 500}])
    def test_where_the_metadata_are_not_shown_it_stays(self, crm: FakeEspoCRM, fault: dict[str, Any]) -> None:
        crm.fail("answer", path="Metadata", **fault)
        create(provider(crm.url), BOTH)
        assert unchecked(crm) == [False]

    def test_a_refused_key_is_refused_once_an_attempt(self, crm: FakeEspoCRM) -> None:
        with pytest.raises(AuthFailed) as raised:
            create(provider(crm.url, ESPOCRM_API_KEY="wrong"), BOTH)
        assert (raised.value.code, len(crm.requests)) == (Code.BAD_CREDENTIALS, 1)

    def test_other_indexes_do_not_count(self, crm: FakeEspoCRM) -> None:
        crm.unique_key(OPERATION_FIELD, on=False)
        crm.unique_key("referralCodeC")
        create(provider(crm.url), BOTH)
        assert unchecked(crm) == [False]


class TestSecondary:
    """Staff who merge leads make emails and phones secondary: lists do not show them, but a search finds them."""

    def merged(self, crm: FakeEspoCRM) -> str:
        first = crm.add_lead(lastName="A", emailAddress="a@example.org", phoneNumber="+905321234560")["id"]
        second = crm.add_lead(lastName="B", emailAddress="B@example.org", phoneNumber=PHONE.phone)["id"]
        crm.merge_leads(first, second)
        return str(first)

    @pytest.mark.parametrize("lead", [BEA, PHONE, replace(BEA, phone="+905559999999")])
    def test_the_lead_is_found(self, crm: FakeEspoCRM, lead: Lead) -> None:
        first = self.merged(crm)
        assert create(provider(crm.url), lead).record_id == first
        assert len(crm.leads) == 1

    @pytest.mark.parametrize("limit", [{"emailAddress": {"read": "no"}}, {}])
    def test_the_lead_of_a_409_is_adopted(self, crm: FakeEspoCRM, limit: dict[str, Any]) -> None:
        first = self.merged(crm)
        if limit:
            crm.set_role(GATEWAY_ROLE, fieldData={"Lead": {"phoneNumber": {"read": "no"}}})
        crm.fail("answer", status=200, body='{"list": []}', content_type="application/json", path="where", times=2)
        crm.unique_key(OPERATION_FIELD, on=False)
        assert create(provider(crm.url), BEA).record_id == first
        assert unchecked(crm) == [False]

    def test_what_was_written_on_it_is_found_again(self, crm: FakeEspoCRM) -> None:
        first, plugin, wanted = self.merged(crm), provider(crm.url), operation(BEA)
        create(plugin, BEA, wanted)
        assert plugin.find_lead(operation=wanted).record_id == first

    def test_an_accent_makes_another_person(self, crm: FakeEspoCRM) -> None:
        crm.add_lead(lastName="X", emailAddress="ö@example.org")
        assert not create(provider(crm.url), Lead(first_name="O", email="o@example.org")).adopted

    @pytest.mark.parametrize("status", [403, 404])
    def test_a_lead_that_cannot_be_read_is_another_person(self, crm: FakeEspoCRM, status: int) -> None:
        self.merged(crm)
        reason = {"X-Status-Reason": "No 'read' access."}
        crm.fail(
            "answer", status=status, content_type="application/json", headers=reason, method="GET", path=r"Lead/\w"
        )
        assert not create(provider(crm.url), BEA).adopted

    def test_the_oldest_counts_also_if_its_address_is_secondary(self, crm: FakeEspoCRM) -> None:
        first = self.merged(crm)
        crm.add_lead(lastName="C", emailAddress="b@example.org")
        assert create(provider(crm.url), BEA).record_id == first


def test_an_update_needs_no_search(crm: FakeEspoCRM) -> None:
    made = crm.add_lead(lastName="A")["id"]
    update(provider(crm.url), made, ADA)
    assert searches(crm) == []

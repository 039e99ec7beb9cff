"""Mandatory user fields that a lead leaves empty. A portal enforces them over REST only if it is configured so."""

from __future__ import annotations

from typing import Any

import pytest

from crmgate.errors import RateLimited, Rejected, Unavailable
from crmgate.model import CrmField
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
    CLICK,
    FULL,
    Connect,
    calls,
    checks,
    click,
    creation,
    deliver,
    existing,
    failure,
    methods,
    only_lead,
    update,
    warm,
)

USER_FIELDS = r"userfield\.list"


def described(crm: HookCaller) -> dict[str, CrmField]:
    return {line.name: line for line in crm.describe_fields(5.0)}


def refusal(crm: HookCaller) -> Rejected:
    error = failure(lambda: deliver(crm, creation(ANNA)))
    assert isinstance(error, Rejected)
    return error


def writes(portal: FakeBitrix24) -> int:
    return sum(name.endswith(".add") for name in methods(portal))


@BOTH_APIS
class TestRefused:
    @pytest.fixture(autouse=True)
    def enforced(self, portal: FakeBitrix24) -> None:
        portal.enforce_required = True

    @pytest.mark.parametrize("kind", ["iblock_element", "date", "double", "boolean", "employee"])
    def test_nothing_stands_in(self, portal: FakeBitrix24, crm: HookCaller, kind: str) -> None:
        portal.add_user_field("UF_CRM_OFFICE", kind, mandatory=True)
        error = refusal(crm)
        assert [*error.fields] == ["UF_CRM_OFFICE"]
        assert "UF_CRM_OFFICE" in error.detail
        assert (portal.leads, writes(portal)) == ({}, 1)

    def test_a_list_without_items(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_LIST", "enumeration", [], mandatory=True)
        assert [*refusal(crm).fields] == ["UF_CRM_LIST"]

    def test_a_stand_in_that_is_refused_is_not_sent_again(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        warm(crm, portal)
        portal.requests.clear()
        portal.fail_with("CRM_FIELD_ERROR_REQUIRED", 'Required "UF_CRM_OFFICE"', path=r"crm\.(item|lead)\.add")
        assert [*refusal(crm).fields] == ["UF_CRM_OFFICE"]
        assert writes(portal) == 2

    def test_a_sixth_mandatory_field(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        for number in range(6):
            portal.add_user_field(f"UF_CRM_EXTRA_{number}", mandatory=True)
        assert [*refusal(crm).fields] == ["UF_CRM_EXTRA_5"]
        assert writes(portal) == 6

    def test_dead_when_so_configured(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        crm = connect(on_rejected_field="dead")
        assert [*refusal(crm).fields] == ["UF_CRM_OFFICE"]
        assert "the portal refuses such leads" in described(crm)["UF_CRM_OFFICE"].problem

    def test_a_lost_answer_about_user_fields_is_unavailable(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        portal.fail("drop", path=USER_FIELDS)
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), Unavailable)
        assert portal.leads == {}

    def test_user_fields_that_are_not_shown(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        portal.fail_with("ACCESS_DENIED", path=USER_FIELDS)
        assert [*refusal(crm).fields] == ["UF_CRM_OFFICE"]

    def test_a_limit_during_the_second_request(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        warm(crm, portal)
        portal.fail_with("QUERY_LIMIT_EXCEEDED", path=r"crm\.(item|lead)\.add", every=2, times=1)
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), RateLimited)
        assert portal.leads == {}


@BOTH_APIS
class TestStandIn:
    def test_nothing_is_sent_to_a_portal_that_demands_nothing(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_LIST", "enumeration", ["First", "Second"], mandatory=True)
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        assert deliver(crm, creation(ANNA)).moved == ()
        assert not {"UF_CRM_LIST", "UF_CRM_OFFICE"} & only_lead(portal).keys()

    def test_a_refused_value_alone_demands_nothing(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_1234567896", mandatory=True)
        warm(crm, portal)
        bad = 'Bad "UF_CRM_1234567896"'
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", bad, path=r"crm\.(item|lead)\.add", times=1)
        assert deliver(crm, creation(FULL)).moved == ("UF_CRM_1234567896",)
        assert "UF_CRM_1234567896" not in only_lead(portal)

    @pytest.mark.parametrize("by_label", [False, True])
    def test_a_dash_and_an_item(self, portal: FakeBitrix24, crm: HookCaller, by_label: bool) -> None:
        portal.enforce_required, portal.name_fields_by_label = True, by_label
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True, label="Office")
        portal.add_user_field("UF_CRM_LIST", "enumeration", ["First", "Second"], mandatory=True, label="Branch")
        delivered = [deliver(crm, creation(ANNA)), deliver(crm, click(CLICK))]
        (first, _) = portal.user_fields["UF_CRM_LIST"].options
        for lead in portal.records()["lead"]:
            assert (lead["UF_CRM_OFFICE"], lead["UF_CRM_LIST"]) == ("-", first)
            assert "UF_CRM_" not in lead["comments"]
        assert [one.moved for one in delivered] == [("UF_CRM_OFFICE", "UF_CRM_LIST")] * 2

    def test_a_field_that_became_mandatory_a_moment_ago(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        warm(crm, portal)
        portal.enforce_required = True
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        deliver(crm, creation(ANNA))
        assert only_lead(portal)["UF_CRM_OFFICE"] == "-"
        assert len(calls(portal, "crm.lead.userfield.list")) == 2

    def test_a_list_without_the_item(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.enforce_required = True
        portal.add_user_field("UF_CRM_1234567893", "enumeration", ["Veli"], mandatory=True)
        assert deliver(crm, creation(FULL)).moved == ("UF_CRM_1234567893",)
        assert "User type: student" in only_lead(portal)["comments"]

    def test_a_refused_value_is_described_and_replaced(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.enforce_required = True
        portal.add_user_field("UF_CRM_1234567896", mandatory=True)
        warm(crm, portal)
        bad = 'Bad "UF_CRM_1234567896"'
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", bad, path=r"crm\.(item|lead)\.add", times=1)
        assert deliver(crm, creation(FULL)).moved == ("UF_CRM_1234567896",)
        assert only_lead(portal)["UF_CRM_1234567896"] == "-"
        assert "Field of study: Bilgisayar Mühendisliği" in only_lead(portal)["comments"]

    def test_an_update(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal)
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        bad = 'Required field "UF_CRM_OFFICE" is not filled'
        portal.fail_with("CRM_FIELD_ERROR_REQUIRED", bad, path=r"crm\.(item|lead)\.update", times=1)
        assert deliver(crm, update(lead, ANNA)).moved == ("UF_CRM_OFFICE",)
        assert only_lead(portal)["UF_CRM_OFFICE"] == "-"


class TestReported:
    @pytest.mark.parametrize(
        ("kind", "options", "words"),
        [
            ("string", {}, "'-' is sent instead"),
            ("date", {}, "the portal refuses such leads"),
            ("iblock_element", {}, "the portal refuses such leads"),
        ],
    )
    def test_a_field_without_a_fact(
        self, portal: FakeBitrix24, crm: HookCaller, kind: str, options: dict[str, Any], words: str
    ) -> None:
        portal.add_user_field("UF_CRM_OFFICE", kind, mandatory=True, **options)
        line, connection = described(crm)["UF_CRM_OFFICE"], crm.test_connection(5.0)
        assert (line.fact, line.type) == ("", kind)
        assert words in line.problem
        assert "BITRIX_MAP_<FACT>=UF_CRM_OFFICE" in line.problem
        assert checks(crm)["field UF_CRM_OFFICE"] == (False, line.problem)
        assert (connection.connected, connection.refused) == (True, False)

    def test_the_item_of_a_list(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.add_user_field("UF_CRM_LIST", "enumeration", ["First", "Second"], mandatory=True)
        line, (first, _) = described(crm)["UF_CRM_LIST"], portal.user_fields["UF_CRM_LIST"].options
        assert line.options == ("First", "Second")
        assert f"'{first}' is sent instead" in line.problem

    def test_a_mapped_field_without_a_stand_in(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_user_field("UF_CRM_START", "date", mandatory=True)
        crm = connect(BITRIX_MAP_START_DATE="UF_CRM_START")
        line = described(crm)["UF_CRM_START"]
        assert line.fact == "start_date"
        assert "not every lead has a value for it" in line.problem
        assert checks(crm)["field UF_CRM_START"] == (False, line.problem)

    @pytest.mark.parametrize(("fact", "kind"), [("CITY", "string"), ("REFERRAL_CODE", "url")])
    def test_a_mapped_field_that_is_filled(self, portal: FakeBitrix24, connect: Connect, fact: str, kind: str) -> None:
        portal.add_user_field("UF_CRM_OFFICE", kind, mandatory=True)
        crm = connect(**{f"BITRIX_MAP_{fact}": "UF_CRM_OFFICE"})
        assert described(crm)["UF_CRM_OFFICE"].problem == ""
        assert checks(crm)["field UF_CRM_OFFICE"] == (True, "")

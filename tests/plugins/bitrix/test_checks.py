"""The Bitrix24 plugin: the connection test."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import LIST, TABLE, Connect, calls, checks


class TestConnectionTest:
    FIELDS = ("REFERRAL_CODE", *(f"123456789{digit}" for digit in "34672"))

    def test_a_good_portal(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail("latency", seconds=0.05, path="profile")
        result = crm.test_connection(5.0)
        assert (result.provider, result.connected) == ("bitrix", True)
        assert 50 <= result.latency_ms < 1000
        names = ["webhook", "scope", "crm mode", "lookup", "sources", *(f"field UF_CRM_{name}" for name in self.FIELDS)]
        assert [(check.name, check.ok, check.detail) for check in result.checks] == [(name, True, "") for name in names]

    def test_nothing_is_written(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        crm.test_connection(5.0)
        assert not portal.leads
        assert {request.path.rpartition("/")[2] for request in portal.requests} == {
            "profile.json",
            "scope.json",
            "crm.settings.mode.get.json",
            "crm.item.list.json",
            "crm.duplicate.findbycomm.json",
            "crm.status.list.json",
            "crm.item.fields.json",
            "crm.lead.userfield.list.json",
        }

    @pytest.mark.parametrize("code", [TABLE[0][0], TABLE[4][0], TABLE[7][0], TABLE[11][0], TABLE[17][0]])
    def test_errors_of_the_first_request(self, portal: FakeBitrix24, crm: HookCaller, code: str) -> None:
        portal.fail_with(code)
        result = crm.test_connection(5.0)
        assert not result.connected
        (check,) = result.checks
        assert (check.name, check.ok) == ("webhook", False)
        assert code in check.detail
        assert "BITRIX_WEBHOOK_URL" in check.detail or code == "OVERLOAD_LIMIT"
        assert portal.secret not in check.detail

    def test_no_server_at_the_address(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.stop()
        result = crm.test_connection(5.0)
        assert not result.connected
        assert "BITRIX_WEBHOOK_URL" in result.checks[0].detail

    def test_without_the_permission(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.scopes = ["tasks", "crm_of_another_kind"]
        result = crm.test_connection(5.0)
        assert not result.connected
        assert result.refused, "no lead can be delivered"
        assert [check.ok for check in result.checks] == [True, False]
        assert "permission CRM" in result.checks[1].detail

    def test_a_narrower_right_is_no_refusal(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.can_read = False
        result = crm.test_connection(5.0)
        assert [check.name for check in result.checks if not check.ok] == ["lookup"]
        assert (result.connected, result.refused) == (True, False)

    def test_a_user_who_is_no_administrator(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.admin = False
        ok, detail = checks(crm)["rights"]
        assert ok, "the role of this user may be wide enough; no method tells"
        assert "leads of everybody" in detail

    @pytest.mark.parametrize(("user", "ok"), [("7", True), ("8", False), ("99", False)])
    def test_the_assigned_user(self, portal: FakeBitrix24, connect: Connect, user: str, ok: bool) -> None:
        portal.scopes = ["crm", "user_brief"]
        result = connect(BITRIX_ASSIGNED_BY_ID=user).test_connection(5.0)
        (check,) = (one for one in result.checks if one.name == "assigned user")
        assert check.ok is ok
        assert ok or ("BITRIX_ASSIGNED_BY_ID" in check.detail and user in check.detail)
        assert result.connected

    def test_an_assigned_user_who_cannot_be_looked_up(self, portal: FakeBitrix24, connect: Connect) -> None:
        ok, detail = checks(connect(BITRIX_ASSIGNED_BY_ID="99"))["assigned user"]
        assert ok
        assert "user_brief" in detail

    def test_no_assigned_user_is_looked_up(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        assert "assigned user" not in checks(crm)
        assert calls(portal, "user.get") == []

    def test_simple_mode_is_reported(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.simple_mode = True
        ok, detail = checks(crm)["crm mode"]
        assert ok
        assert "set BITRIX_TARGET=deal" in detail

    def test_without_the_right_to_read(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.can_read = False
        result = crm.test_connection(5.0)
        assert result.connected
        (bad,) = (check for check in result.checks if not check.ok)
        assert bad.name == "lookup"
        assert "BITRIX_WEBHOOK_URL" in bad.detail
        assert "right to read" in bad.detail

    def test_origins_that_cannot_be_looked_up(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.unfilterable = ["originatorId"]
        ok, detail = checks(crm)["lookup"]
        assert not ok
        assert "created twice" in detail

    def test_a_missing_source(self, portal: FakeBitrix24, connect: Connect) -> None:
        del portal.sources["PARTNER"]
        ok, detail = checks(connect())["sources"]
        assert not ok
        assert "PARTNER" in detail
        assert "BITRIX_VALUES_SOURCE_ID" in detail
        assert checks(connect(BITRIX_MAP_SOURCE_ID=""))["sources"] == (True, "")

    def test_a_missing_field(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.remove_user_field("UF_CRM_1234567893")
        result = connect().test_connection(5.0)
        assert result.connected
        (bad,) = (check for check in result.checks if not check.ok)
        assert bad.name == "field UF_CRM_1234567893"
        assert "BITRIX_MAP_USER_TYPE" in bad.detail
        assert "field UF_CRM_1234567893" not in checks(connect(BITRIX_MAP_USER_TYPE=""))

    def test_a_list_needs_item_ids(self, portal: FakeBitrix24, connect: Connect) -> None:
        ids = portal.make_enumeration("UF_CRM_1234567893", "Student", "Ebeveyn")
        ok, detail = checks(connect())["field UF_CRM_1234567893"]
        assert not ok
        assert "BITRIX_VALUES_USER_TYPE" in detail
        assert "parent" in detail
        assert f"{ids['Ebeveyn']} is Ebeveyn" in detail
        for table, good in ((f"student={ids['Student']},parent={ids['Ebeveyn']}", True), ("student=Student", False)):
            assert checks(connect(BITRIX_VALUES_USER_TYPE=table))["field UF_CRM_1234567893"][0] is good

    @pytest.mark.parametrize(
        ("kind", "options", "good"),
        [("string", {}, True), ("double", {}, False), ("boolean", {}, False), ("string", {"multiple": True}, True)],
    )
    def test_types(self, portal: FakeBitrix24, crm: HookCaller, kind: str, options: dict[str, Any], good: bool) -> None:
        portal.add_user_field("UF_CRM_1234567893", kind, **options)
        ok, detail = checks(crm)["field UF_CRM_1234567893"]
        assert ok is good
        assert good or "BITRIX_MAP_USER_TYPE" in detail

    def test_a_mandatory_field_that_nothing_fills(self, portal: FakeBitrix24, connect: Connect) -> None:
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        ok, detail = checks(connect())["field UF_CRM_OFFICE"]
        assert not ok
        assert "BITRIX_MAP_" in detail
        assert checks(connect(BITRIX_MAP_CITY="UF_CRM_OFFICE"))["field UF_CRM_OFFICE"] == (True, "")

    def test_fields_on_later_pages(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        for number in range(120):
            portal.add_user_field(f"UF_CRM_OTHER_{number}", sort=1)
        assert crm.test_connection(5.0).checks[-1].ok
        assert len(calls(portal, "crm.lead.userfield.list")) == 3

    @pytest.mark.parametrize("path", ["scope", "mode", LIST, "findbycomm", "status", "userfield"])
    @pytest.mark.parametrize("result", [None, 0, "x", {}, [], [[]], ["x"]])
    def test_strange_answers_raise_nothing(self, portal: FakeBitrix24, crm: HookCaller, path: str, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}), path=path)
        assert crm.test_connection(5.0).checks[0].ok

    @pytest.mark.parametrize("path", ["scope", "mode", LIST, "findbycomm", "status", "userfield"])
    def test_a_failing_request_is_one_failed_check(self, portal: FakeBitrix24, crm: HookCaller, path: str) -> None:
        portal.fail("answer", status=502, body="<html>", path=path)
        bad = [check for check in crm.test_connection(5.0).checks if not check.ok]
        assert len(bad) == 1
        assert "BITRIX_" in bad[0].detail

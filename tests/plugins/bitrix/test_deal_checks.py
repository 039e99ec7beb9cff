"""With deals as the target: checks of the portal, the setup of fields, and wrong settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crmgate.errors import ConfigError
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.bitrix24.fields import PRESET
from tests.plugins.bitrix.rig import (
    ANNA,
    Connect,
    calls,
    checks,
    creation,
    deliver,
    methods,
)
from tests.plugins.bitrix.test_deals import (
    DEALS,
    crm,
    only,
    portal,
)

__all__ = ["crm", "portal"]  # fixtures


class TestChecks:
    def test_a_good_portal(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        result = crm.test_connection(5.0)
        assert result.connected
        fields = [f"field {name}" for name in ("UF_CRM_REFERRAL_CODE", *(f"UF_CRM_123456789{n}" for n in "34672"))]
        names = ["webhook", "scope", "crm mode", "lookup", "pipeline", "sources", *fields]
        assert [(check.name, check.ok, check.detail) for check in result.checks] == [(name, True, "") for name in names]
        assert not {"crm.lead.userfield.list", "crm.lead.fields"} & {*methods(portal)}
        assert {call["entityTypeId"] for call in calls(portal, "crm.item.fields")} == {2, 3}

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"BITRIX_DEAL_CATEGORY": "9"}, ["BITRIX_DEAL_CATEGORY", "pipeline 9", "3 is Students"]),
            ({"BITRIX_DEAL_STAGE": "C3:GONE"}, ["BITRIX_DEAL_STAGE", "C3:GONE", "C3:NEW"]),
            ({"BITRIX_DEAL_CATEGORY": ""}, ["BITRIX_DEAL_STAGE", "C3:PREPARATION", "EXECUTING"]),
        ],
    )
    def test_a_missing_pipeline_or_stage(
        self, portal: FakeBitrix24, connect: Connect, wrong: dict[str, str], words: list[str]
    ) -> None:
        ok, detail = checks(connect(**DEALS | wrong))["pipeline"]
        assert not ok
        assert [word for word in words if word not in detail] == []

    @pytest.mark.parametrize("path", ["category", "status", "findbycomm", r"item\.fields", "userfield"])
    @pytest.mark.parametrize("result", [None, 0, {}, [[]], {"categories": ["x"]}])
    def test_strange_answers_raise_nothing(self, portal: FakeBitrix24, crm: HookCaller, path: str, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}), path=path)
        assert crm.test_connection(5.0).checks[0].ok

    def test_lists_of_stages_that_are_refused_stop_no_deal(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail_with("ACCESS_DENIED", path="category|status")
        deliver(crm, creation(ANNA))
        assert only(portal.deals)["stageId"] == "C3:PREPARATION"

    def test_the_search_for_contacts_is_refused(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.can_read = False
        ok, detail = checks(crm)["lookup"]
        assert not ok
        assert "contacts" in detail

    def test_a_user_who_is_no_administrator(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.admin = False
        assert "deals and contacts of everybody" in checks(crm)["rights"][1]

    def test_a_missing_field_of_deals(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        del portal.deal_fields["UF_CRM_1234567893"]
        assert not checks(crm)["field UF_CRM_1234567893"][0]
        (line,) = (line for line in crm.describe_fields(5.0) if line.name == "UF_CRM_1234567893")
        assert "not on the portal" in line.problem

    def test_a_standard_field_that_no_deal_has(self, portal: FakeBitrix24, connect: Connect) -> None:
        crm = connect(**DEALS, BITRIX_MAP_BIRTH_DATE="birthdate")
        ok, detail = checks(crm)["field birthdate"]
        assert not ok
        assert "a deal has no such field" in detail
        assert all(line.problem == "" for line in crm.describe_fields(5.0) if line.name in ("PHONE", "lastName"))

    def test_the_setup_creates_fields_of_deals(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.deal_fields.clear()
        steps = crm.provision(apply=True, budget=5.0).steps
        assert portal.deal_fields.keys() == PRESET.keys()
        assert {(step.what.startswith("deal field UF_CRM_"), step.done) for step in steps} == {(True, True)}

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("BITRIX_TARGET", "contact"),
            ("BITRIX_DEAL_CATEGORY", "-1"),
            ("BITRIX_DEAL_CATEGORY", "Students"),
            ("BITRIX_DEAL_STAGE", "In progress!"),
            ("BITRIX_API", "lead"),
        ],
    )
    def test_wrong_settings_are_named(self, connect: Connect, setting: str, value: str) -> None:
        with pytest.raises(ConfigError, match=setting):
            connect(**DEALS | {setting: value})

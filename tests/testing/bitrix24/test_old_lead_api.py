"""The fake Bitrix24: the older methods of leads, `crm.lead.*`."""

from __future__ import annotations

from typing import Any

import pytest

from crmgate.testing.bitrix24 import FakeBitrix24
from tests.testing.bitrix24.rig import EMAIL, PHONE, Call, error, find


class TestOldLeadApi:
    def test_a_lead_written_the_old_way_is_the_same_lead(self, call: Call) -> None:
        fields = {
            "NAME": "Anna",
            "STATUS_ID": "IN_PROCESS",
            "ORIGIN_ID": "op-1",
            "UF_CRM_REFERRAL_CODE": "ABC",
            "PHONE": [{"VALUE": "+1", "VALUE_TYPE": "WORK"}],
            "EMAIL": "ignored@example.com",
            "name": "ignored",
        }
        lead_id = call("crm.lead.add", fields=fields).json()["result"]
        item = call("crm.item.get", entityTypeId=1, id=lead_id, useOriginalUfNames="Y").json()["result"]["item"]
        assert (item["name"], item["stageId"], item["UF_CRM_REFERRAL_CODE"]) == ("Anna", "IN_PROCESS", "ABC")
        assert [row["value"] for row in item["fm"]] == ["+1"]
        assert find(call, **{"=originId": "op-1"})[0]["id"] == lead_id

    def test_get_answers_in_capitals_and_text(self, call: Call, add: Any) -> None:
        row_id = add(name="Anna", opportunity=5, fm=[PHONE])["fm"][0]["id"]
        lead = call("crm.lead.get", id=1).json()["result"]
        assert (lead["ID"], lead["NAME"], lead["OPPORTUNITY"], lead["LAST_NAME"]) == ("1", "Anna", "5.0", None)
        phone = {"ID": str(row_id), "VALUE_TYPE": "WORK", "VALUE": PHONE["value"], "TYPE_ID": "PHONE"}
        assert lead["PHONE"] == [phone]
        assert "EMAIL" not in lead

    def test_update_adds_rows_without_an_id(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        add(name="Anna", fm=[PHONE])
        rows = [{"VALUE": "+49301234567", "VALUE_TYPE": "WORK"}]
        assert call("crm.lead.update", id=1, fields={"LAST_NAME": "Lee", "PHONE": rows}).json()["result"] is True
        assert (crm.leads[1]["name"], crm.leads[1]["lastName"], len(crm.leads[1]["fm"])) == ("Anna", "Lee", 2)

    @pytest.mark.parametrize(
        ("method", "lead_id", "text"),
        [
            ("get", 99, "Not found"),
            ("update", 99, "Lead is not found"),
            ("get", 0, "ID is not defined or invalid."),
            ("update", "x", "ID is not defined"),
        ],
    )
    def test_errors_have_an_empty_code(self, call: Call, method: str, lead_id: Any, text: str) -> None:
        response = call(f"crm.lead.{method}", id=lead_id, fields={})
        assert error(response) == (400, "")
        assert text in response.json()["error_description"]

    def test_list_masks(self, call: Call, add: Any) -> None:
        add(name="Anna", fm=[PHONE], UF_CRM_REFERRAL_CODE="ABC")
        (standard,) = call("crm.lead.list").json()["result"]
        (chosen,) = call("crm.lead.list", select=["ID", "UF_*", "PHONE"]).json()["result"]
        assert standard["NAME"] == "Anna"
        assert {"PHONE", "UF_CRM_REFERRAL_CODE"}.isdisjoint(standard)
        assert chosen["UF_CRM_REFERRAL_CODE"] == "ABC"
        assert chosen["PHONE"][0]["VALUE"] == PHONE["value"]
        assert "NAME" not in chosen

    @pytest.mark.parametrize(
        ("conditions", "found"),
        [
            ({"PHONE": PHONE["value"]}, ["1"]),
            ({"EMAIL": "nobody@example.com"}, []),
            ({"%PHONE": "5550"}, ["1"]),
            ({"ORIGIN_ID": "op-2"}, ["2"]),
            ({"NONSENSE": "x"}, ["1", "2"]),
        ],
    )
    def test_list_filters(self, call: Call, add: Any, conditions: dict[str, str], found: list[str]) -> None:
        add(originId="op-1", fm=[PHONE])
        add(originId="op-2", fm=[EMAIL])
        body = call("crm.lead.list", filter=conditions, select=["ID"]).json()
        assert ([row["ID"] for row in body["result"]], body["total"]) == (found, len(found))

    def test_fields(self, call: Call) -> None:
        fields = call("crm.lead.fields").json()["result"]
        assert {"ID", "STATUS_ID", "UTM_SOURCE", "PHONE", "UF_CRM_REFERRAL_CODE"} <= fields.keys()

"""The fake Bitrix24: fields of the portal's own."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from crmgate.testing.bitrix24 import FakeBitrix24
from tests.processes import DEADLINE
from tests.testing.bitrix24.rig import Call, error


class TestUserFields:
    def test_the_preset(self, call: Call) -> None:
        body = call("crm.lead.userfield.list").json()
        names = [row["FIELD_NAME"] for row in body["result"]]
        assert names == ["UF_CRM_REFERRAL_CODE", *(f"UF_CRM_123456789{i}" for i in (2, 3, 4, 6, 7))]
        assert {row["USER_TYPE_ID"] for row in body["result"]} == {"string"}
        assert body["total"] == 6

    def test_without_the_preset_mapped_values_are_lost(self) -> None:
        with FakeBitrix24(preset=False) as bare:
            params = {"entityTypeId": 1, "useOriginalUfNames": "Y", "fields": {"UF_CRM_REFERRAL_CODE": "ABC"}}
            item = requests.post(f"{bare.webhook_url}crm.item.add", json=params, timeout=DEADLINE).json()["result"][
                "item"
            ]
        assert "UF_CRM_REFERRAL_CODE" not in item

    def test_a_new_field_gets_the_prefix_and_takes_values(self, call: Call, add: Any) -> None:
        fields = {"FIELD_NAME": "CITY", "USER_TYPE_ID": "string", "LABEL": "City", "XML_ID": "CRMGATE_CITY"}
        field_id = call("crm.lead.userfield.add", fields=fields).json()["result"]
        (row,) = call("crm.lead.userfield.list", filter={"FIELD_NAME": "UF_CRM_CITY"}).json()["result"]
        assert (row["ID"], row["XML_ID"], row["ENTITY_ID"]) == (str(field_id), "CRMGATE_CITY", "CRM_LEAD")
        assert add(UF_CRM_CITY="Izmir")["UF_CRM_CITY"] == "Izmir"

    @pytest.mark.parametrize(
        ("given", "full"),
        [("note", "UF_CRM_NOTE"), ("UF_NOTE", "UF_CRM_NOTE"), ("UF_CRM_NOTE", "UF_CRM_NOTE"), ("N" * 43, None)],
    )
    def test_the_prefix(self, crm: FakeBitrix24, call: Call, given: str, full: str | None) -> None:
        assert call("crm.lead.userfield.add", fields={"FIELD_NAME": given, "USER_TYPE_ID": "string"}).ok
        assert (full or f"UF_CRM_{given}") in crm.user_fields

    def test_labels_are_only_listed_for_a_language(self, call: Call) -> None:
        bare = call("crm.lead.userfield.list").json()["result"][0]
        labelled = call("crm.lead.userfield.list", filter={"LANG": "en"}).json()["result"][0]
        assert "EDIT_FORM_LABEL" not in bare
        assert labelled["EDIT_FORM_LABEL"] == "Referral code"

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"USER_TYPE_ID": "string"}, ""),
            ({"FIELD_NAME": "A"}, ""),
            ({"FIELD_NAME": "A", "USER_TYPE_ID": "nonsense"}, "ERROR_CORE"),
            ({"FIELD_NAME": "N" * 44, "USER_TYPE_ID": "string"}, "ERROR_CORE"),
            ({"FIELD_NAME": "A-B", "USER_TYPE_ID": "string"}, "ERROR_CORE"),
            ({"FIELD_NAME": "REFERRAL_CODE", "USER_TYPE_ID": "string"}, "ERROR_CORE"),
            (
                {"FIELD_NAME": "A", "USER_TYPE_ID": "enumeration", "LIST": [{"VALUE": v, "XML_ID": "X"} for v in "ab"]},
                "ERROR_CORE",
            ),
        ],
    )
    def test_a_field_that_cannot_be_added(self, crm: FakeBitrix24, call: Call, fields: Any, code: str) -> None:
        assert error(call("crm.lead.userfield.add", fields=fields)) == (400, code)
        assert len(crm.user_fields) == 6

    def test_only_administrators_add_fields(self, crm: FakeBitrix24, call: Call) -> None:
        crm.admin = False
        assert error(call("crm.lead.userfield.add", fields={"FIELD_NAME": "A", "USER_TYPE_ID": "string"})) == (400, "")
        assert call("profile").json()["result"]["ADMIN"] is False

    def test_an_enumeration_takes_item_ids_only(self, call: Call, add: Any) -> None:
        options = [{"VALUE": "Student", "XML_ID": "STUDENT"}, {"VALUE": ""}, {"VALUE": "Parent"}]
        fields = {"FIELD_NAME": "KIND", "USER_TYPE_ID": "enumeration", "LIST": options}
        assert call("crm.lead.userfield.add", fields=fields).ok
        (row,) = call("crm.lead.userfield.list", filter={"USER_TYPE_ID": "enumeration"}).json()["result"]
        assert [(item["VALUE"], item["XML_ID"]) for item in row["LIST"]] == [("Student", "STUDENT"), ("Parent", "")]
        student = row["LIST"][0]["ID"]
        assert add(UF_CRM_KIND=student)["UF_CRM_KIND"] == int(student)
        assert add(UF_CRM_KIND="")["UF_CRM_KIND"] is None
        for refused in ("Student", "STUDENT", 999):
            response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields={"UF_CRM_KIND": refused})
            assert error(response) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")

    def test_a_preset_field_can_be_made_an_enumeration(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        ids = crm.make_enumeration("UF_CRM_1234567893", "student", "parent")
        params = {"entityTypeId": 1, "useOriginalUfNames": "Y", "fields": {"UF_CRM_1234567893": "student"}}
        assert error(call("crm.item.add", **params)) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")
        assert add(UF_CRM_1234567893=ids["student"])["UF_CRM_1234567893"] == ids["student"]
        described = call("crm.item.fields", **params).json()["result"]["fields"]["UF_CRM_1234567893"]
        assert [item["VALUE"] for item in described["items"]] == ["student", "parent"]

    def test_a_refused_field_may_be_named_by_its_label(self, crm: FakeBitrix24, call: Call) -> None:
        crm.make_enumeration("UF_CRM_1234567893", "student")
        crm.name_fields_by_label = True
        fields = {"UF_CRM_1234567893": "x"}
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields=fields)
        assert '"User type"' in response.json()["error_description"]

    def test_a_multiple_field_takes_a_list(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        crm.add_user_field("TAGS", multiple=True)
        assert add(UF_CRM_TAGS=["a", "", "b"])["UF_CRM_TAGS"] == ["a", "b"]
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields={"UF_CRM_TAGS": "a"})
        assert error(response) == (400, "100")

    def test_a_mandatory_field_may_stay_empty(self, crm: FakeBitrix24, add: Any) -> None:
        crm.add_user_field("CITY", mandatory=True)
        assert add()["UF_CRM_CITY"] is None

    def test_a_portal_may_enforce_mandatory_fields(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        crm.enforce_required = True
        lead_id = add()["id"]
        crm.add_user_field("CITY", mandatory=True)
        params = {"entityTypeId": 1, "useOriginalUfNames": "Y", "id": lead_id}
        assert error(call("crm.item.add", **params, fields={})) == (400, "CRM_FIELD_ERROR_REQUIRED")
        assert call("crm.item.update", **params, fields={"name": "Anna"}).ok
        cleared = call("crm.item.update", **params, fields={"UF_CRM_CITY": ""})
        assert error(cleared) == (400, "CRM_FIELD_ERROR_REQUIRED")

    def test_a_removed_field_is_ignored_again(self, crm: FakeBitrix24, add: Any) -> None:
        add(UF_CRM_REFERRAL_CODE="ABC")
        crm.remove_user_field("UF_CRM_REFERRAL_CODE")
        assert "UF_CRM_REFERRAL_CODE" not in add(UF_CRM_REFERRAL_CODE="ABC")
        assert "UF_CRM_REFERRAL_CODE" not in crm.leads[1]

    def test_the_description_of_fields(self, call: Call) -> None:
        fields = call("crm.item.fields", entityTypeId=1, useOriginalUfNames="Y").json()["result"]["fields"]
        assert fields["stageId"]["upperName"] == "STATUS_ID"
        assert fields["id"]["isReadOnly"] is True
        assert fields["UF_CRM_REFERRAL_CODE"]["isDynamic"] is True
        assert "fm" in fields

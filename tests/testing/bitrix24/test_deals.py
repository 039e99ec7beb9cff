"""Contacts and deals of the fake Bitrix24.

Evidence, under https://apidocs.bitrix24.com/api-reference/crm/: universal/crm-item-add.html,
universal/object-fields.html, universal/category/crm-category-list.html, status/index.html,
duplicates/crm-duplicate-find-by-comm.html, timeline/comments/crm-timeline-comment-add.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from crmgate.testing.bitrix24 import FakeBitrix24
from tests.processes import DEADLINE

Call = Callable[..., requests.Response]
ROWS = {
    "n0": {"typeId": "PHONE", "valueType": "WORK", "value": "+905321234567"},
    "n1": {"typeId": "EMAIL", "valueType": "WORK", "value": "anna@example.com"},
}


@pytest.fixture
def crm() -> Iterator[FakeBitrix24]:
    with FakeBitrix24() as fake:
        yield fake


@pytest.fixture
def call(crm: FakeBitrix24) -> Call:
    def post(method: str, **params: Any) -> requests.Response:
        return requests.post(f"{crm.webhook_url}{method}.json", json=params, timeout=DEADLINE)

    return post


def made(call: Call, entity: int, **fields: Any) -> dict[str, Any]:
    response = call("crm.item.add", entityTypeId=entity, useOriginalUfNames="Y", fields=fields)
    assert response.status_code == 200, response.text
    item: dict[str, Any] = response.json()["result"]["item"]
    return item


def error(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


class TestContacts:
    def test_one_is_found_by_phone_and_email(self, call: Call) -> None:
        contact = made(call, 3, name="Anna", lastName="Lee", originatorId="crmgate", fm=ROWS)
        assert (contact["hasPhone"], contact["hasEmail"], contact["entityTypeId"]) == ("Y", "Y", 3)
        for kind, value in (("PHONE", "90 532 1234567"), ("EMAIL", "ANNA@example.com")):
            found = call("crm.duplicate.findbycomm", type=kind, values=[value], entity_type="CONTACT").json()
            assert found["result"] == {"CONTACT": [contact["id"]]}
        assert (
            call("crm.duplicate.findbycomm", type="PHONE", values=["1"], entity_type="CONTACT").json()["result"] == []
        )

    def test_without_a_type_leads_and_contacts_are_found(self, call: Call) -> None:
        contact, lead = made(call, 3, fm=ROWS), made(call, 1, fm=ROWS)
        found = call("crm.duplicate.findbycomm", type="EMAIL", values=["anna@example.com"]).json()["result"]
        assert found == {"LEAD": [lead["id"]], "CONTACT": [contact["id"]]}

    def test_an_update_adds_a_row(self, call: Call) -> None:
        contact = made(call, 3, name="Anna", fm=ROWS)
        fm = {"n0": {"typeId": "PHONE", "value": "+12025550119"}}
        item = call("crm.item.update", entityTypeId=3, id=contact["id"], fields={"fm": fm}).json()["result"]["item"]
        assert ([row["value"] for row in item["fm"]][-1], item["name"]) == ("+12025550119", "Anna")
        found = call("crm.duplicate.findbycomm", type="PHONE", values=["12025550119"]).json()["result"]
        assert found == {"CONTACT": [contact["id"]]}


class TestDeals:
    def test_one_is_made_and_found_by_origin(self, crm: FakeBitrix24, call: Call) -> None:
        crm.categories = {0: "General", 3: "Students"}
        crm.add_deal_field("REFERRAL_CODE")
        contact = made(call, 3, name="Anna")["id"]
        origin = {"originatorId": "crmgate", "originId": "op-1"}
        wanted = {"title": "Anna", "contactId": contact, "categoryId": 3, "stageId": "C3:NEW", "comments": "hello"}
        deal = made(call, 2, **wanted, **origin, UF_CRM_REFERRAL_CODE="ABC")
        assert deal | wanted | origin | {"UF_CRM_REFERRAL_CODE": "ABC"} == deal
        assert (deal["closed"], deal["stageSemanticId"], deal["contactIds"]) == ("N", "P", [contact])
        made(call, 2, originatorId="crmgate", originId="op-2")
        params = {"filter": {"=originatorId": "crmgate", "=originId": "op-1"}, "select": ["id", "stageId"], "start": -1}
        body = call("crm.item.list", entityTypeId=2, **params).json()
        assert body["result"] == {"items": [{"id": deal["id"], "stageId": "C3:NEW"}]}
        assert call("crm.item.get", entityTypeId=2, id=deal["id"]).json()["result"]["item"]["title"] == "Anna"

    @pytest.mark.parametrize(
        ("stage", "closed", "semantics"), [("EXECUTING", "N", "P"), ("WON", "Y", "S"), ("APOLOGY", "Y", "F")]
    )
    def test_the_stage_says_whether_a_deal_is_closed(self, call: Call, stage: str, closed: str, semantics: str) -> None:
        deal = made(call, 2)
        assert (deal["categoryId"], deal["stageId"], deal["closed"]) == (0, "NEW", "N")
        params = {"entityTypeId": 2, "id": deal["id"], "fields": {"stageId": stage}}
        item = call("crm.item.update", **params).json()["result"]["item"]
        assert (item["closed"], item["stageSemanticId"]) == (closed, semantics)

    def test_the_open_deals_of_a_contact(self, call: Call) -> None:
        contact = made(call, 3, name="Anna")["id"]
        made(call, 2, contactId=contact, stageId="LOSE")
        deal = made(call, 2, contactId=contact)
        conditions = {"=contactId": contact, "=closed": "N"}
        rows = call("crm.item.list", entityTypeId=2, filter=conditions, select=["id"]).json()["result"]["items"]
        assert rows == [{"id": deal["id"]}]

    @pytest.mark.parametrize("fields", [{"stageId": "NONSENSE"}, {"categoryId": 9}, {"stageId": "C9:NEW"}])
    def test_what_a_pipeline_lacks_is_refused(self, crm: FakeBitrix24, call: Call, fields: dict[str, Any]) -> None:
        response = call("crm.item.add", entityTypeId=2, fields=fields)
        assert error(response) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")
        assert not crm.deals

    def test_pipelines_and_their_stages(self, crm: FakeBitrix24, call: Call) -> None:
        crm.categories = {0: "General", 3: "Students"}
        body = call("crm.category.list", entityTypeId=2).json()
        assert [(row["id"], row["name"], row["isDefault"]) for row in body["result"]["categories"]] == [
            (0, "General", "Y"),
            (3, "Students", "N"),
        ]
        rows = call("crm.status.list", filter={"ENTITY_ID": "DEAL_STAGE_3"}).json()["result"]
        assert [row["STATUS_ID"] for row in rows][:1] == ["C3:NEW"]
        closing = {row["STATUS_ID"]: row["SEMANTICS"] for row in rows if row["SEMANTICS"]}
        assert closing == {"C3:WON": "S", "C3:LOSE": "F", "C3:APOLOGY": "F"}

    def test_user_fields(self, call: Call) -> None:
        fields = {"FIELD_NAME": "CITY", "USER_TYPE_ID": "string", "LABEL": "City"}
        assert call("crm.deal.userfield.add", fields=fields).ok
        (row,) = call("crm.deal.userfield.list").json()["result"]
        assert (row["FIELD_NAME"], row["ENTITY_ID"]) == ("UF_CRM_CITY", "CRM_DEAL")
        described = call("crm.item.fields", entityTypeId=2, useOriginalUfNames="Y").json()["result"]["fields"]
        assert {"UF_CRM_CITY", "contactId", "categoryId", "stageId", "closed"} <= described.keys()
        assert "UF_CRM_CITY" not in [row["FIELD_NAME"] for row in call("crm.lead.userfield.list").json()["result"]]

    def test_comments_on_the_timeline(self, crm: FakeBitrix24, call: Call) -> None:
        deal, lead = made(call, 2)["id"], made(call, 1)["id"]
        assert deal == lead
        fields = {"ENTITY_ID": deal, "ENTITY_TYPE": "deal", "COMMENT": "called"}
        assert call("crm.timeline.comment.add", fields=fields).ok
        owner = {"ENTITY_ID": deal, "ENTITY_TYPE": "deal"}
        assert [row["COMMENT"] for row in call("crm.timeline.comment.list", filter=owner).json()["result"]] == [
            "called"
        ]
        assert crm.comments_of(lead) == []

    def test_a_missing_deal(self, call: Call) -> None:
        for method in ("get", "update"):
            response = call(f"crm.item.{method}", entityTypeId=2, id=9, fields={})
            assert error(response) == (400, "NOT_FOUND")

    def test_without_the_right_to_write(self, crm: FakeBitrix24, call: Call) -> None:
        deal = made(call, 2)["id"]
        crm.access_denied = True
        assert error(call("crm.item.add", entityTypeId=2, fields={})) == (400, "CRM_ITEM_ADD_ACCESS_DENIED")
        response = call("crm.item.update", entityTypeId=2, id=deal, fields={})
        assert error(response) == (400, "CRM_ITEM_UPDATE_ACCESS_DENIED")

    def test_records_hold_them(self, crm: FakeBitrix24, call: Call) -> None:
        made(call, 2, title="D")
        made(call, 3, name="C")
        records = requests.get(f"{crm.url}/__fake__/records", timeout=DEADLINE).json()
        assert (records["deal"][0]["title"], records["contact"][0]["name"]) == ("D", "C")

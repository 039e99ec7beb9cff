"""The fake Bitrix24: leads and their duplicates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from crmgate.testing.bitrix24 import FakeBitrix24
from tests.testing.bitrix24.rig import EMAIL, PHONE, Call, error, find


class TestCreate:
    def test_the_documented_example(self, crm: FakeBitrix24, add: Any) -> None:
        fields = {
            "title": "Site: Anna",
            "name": "Anna",
            "lastName": "Lee",
            "stageId": "NEW",
            "sourceId": "WEB",
            "sourceDescription": "landing /pricing",
            "comments": "Хочу учиться 🎓",
            "assignedById": 1,
            "opened": "Y",
            "originatorId": "crmgate",
            "originId": "op-1",
            "utmSource": "google",
            "utmMedium": "cpc",
            "utmCampaign": "q1",
            "utmContent": "a",
            "utmTerm": "k",
            "UF_CRM_REFERRAL_CODE": "ABC",
        }
        item = add(**fields, fm=[PHONE, EMAIL])
        assert item | fields == item
        assert [row["typeId"] for row in item["fm"]] == ["PHONE", "EMAIL"]
        assert (item["hasPhone"], item["hasEmail"], item["entityTypeId"]) == ("Y", "Y", 1)
        assert crm.records()["lead"][0] | fields == crm.records()["lead"][0]

    def test_defaults(self, add: Any) -> None:
        item = add()
        assert (item["title"], item["stageId"], item["sourceId"]) == (f"Lead #{item['id']}", "NEW", "CALL")
        assert (item["opened"], item["assignedById"], item["name"]) == ("Y", 1, None)

    def test_duplicates_are_not_checked(self, crm: FakeBitrix24, add: Any) -> None:
        assert add(originId="op-1", fm=[PHONE])["id"] != add(originId="op-1", fm=[PHONE])["id"]
        assert len(crm.leads) == 2

    def test_unknown_and_read_only_fields_are_silently_ignored(self, add: Any) -> None:
        item = add(id=99, createdBy=7, NAME="Anna", nonsense=1, UF_CRM_NONSENSE="x")
        assert (item["id"], item["createdBy"], item["name"]) == (1, 1, None)
        assert {"nonsense", "UF_CRM_NONSENSE"}.isdisjoint(item)

    @pytest.mark.parametrize(
        ("asked", "understood", "name"),
        [
            ("Y", True, "UF_CRM_REFERRAL_CODE"),
            ("N", True, "ufCrmReferralCode"),
            (None, True, "ufCrmReferralCode"),
            ("Y", False, "ufCrmReferralCode"),
        ],
    )
    def test_names_of_user_fields(
        self, crm: FakeBitrix24, call: Call, asked: str | None, understood: bool, name: str
    ) -> None:
        crm.original_uf_names = understood
        fields = {"UF_CRM_REFERRAL_CODE": "original", "ufCrmReferralCode": "camel"}
        item = call("crm.item.add", entityTypeId=1, useOriginalUfNames=asked, fields=fields).json()["result"]["item"]
        assert item[name] == fields[name]
        assert len(fields.keys() & item.keys()) == 1

    def test_a_numbered_user_field_keeps_its_underscore(self, call: Call) -> None:
        fields = {"ufCrm_1234567893": "student"}
        item = call("crm.item.add", entityTypeId=1, fields=fields).json()["result"]["item"]
        assert item["ufCrm_1234567893"] == "student"

    @pytest.mark.parametrize("fm", ["+12025550119", 5, None, {}, [], ["+1"], [{"typeId": "PHONE"}], [{"value": "+1"}]])
    def test_fm_that_is_no_rows_is_ignored(self, add: Any, fm: Any) -> None:
        item = add(fm=fm)
        assert (item["fm"], item["hasPhone"]) == ([], "N")

    @pytest.mark.parametrize(
        "fields",
        [
            {"stageId": "NONSENSE"},
            {"assignedById": "Anna"},
            {"opportunity": "much"},
            {"name": ["Anna"]},
            {"UF_CRM_REFERRAL_CODE": {"a": 1}},
        ],
    )
    def test_a_bad_value_is_refused_whole(self, crm: FakeBitrix24, call: Call, fields: dict[str, Any]) -> None:
        response = call("crm.item.add", entityTypeId=1, useOriginalUfNames="Y", fields={"title": "x"} | fields)
        assert error(response) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")
        assert next(iter(fields)) in response.json()["error_description"]
        assert not crm.leads

    def test_any_source_is_stored(self, add: Any) -> None:
        assert add(sourceId="NONSENSE")["sourceId"] == "NONSENSE"

    @pytest.mark.parametrize("source", ["NONSENSE", "web"])
    def test_a_portal_can_be_made_to_check_sources(self, crm: FakeBitrix24, call: Call, source: str) -> None:
        crm.check_sources = True
        response = call("crm.item.add", entityTypeId=1, fields={"sourceId": source})
        assert error(response) == (400, "CRM_FIELD_ERROR_VALUE_NOT_VALID")

    def test_values_come_back_as_the_portal_keeps_them(self, add: Any) -> None:
        item = add(name=5, lastName="", opportunity="12.5", assignedById="3", opened=False, birthdate="2000-01-31")
        assert (item["name"], item["lastName"], item["opportunity"]) == ("5", None, 12.5)
        assert (item["assignedById"], item["opened"], item["birthdate"]) == (3, "N", "2000-01-31T03:00:00+03:00")

    def test_a_date_that_nobody_can_read_is_silently_not_set(self, add: Any) -> None:
        assert add(title="x", birthdate="yesterday")["birthdate"] is None

    def test_names_and_titles_are_cut(self, add: Any) -> None:
        item = add(title="t" * 256, name="n" * 51, lastName="l" * 51)
        assert [len(item[name]) for name in ("title", "name", "lastName")] == [255, 50, 50]

    @pytest.mark.parametrize("kind", [4, 0, None, "lead"])
    def test_other_entity_types_are_not_there(self, call: Call, kind: Any) -> None:
        for method in ("add", "update", "get", "list", "fields"):
            response = call(f"crm.item.{method}", entityTypeId=kind, id=1, fields={})
            assert error(response) == (400, "NOT_FOUND")

    def test_fields_are_required(self, call: Call) -> None:
        assert error(call("crm.item.add", entityTypeId=1)) == (400, "100")
        assert error(call("crm.item.add", entityTypeId=1, fields="x")) == (400, "")

    def test_without_the_right_to_write(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        lead_id = add()["id"]
        crm.access_denied = True
        codes = {"add": "CRM_ITEM_ADD_ACCESS_DENIED", "update": "CRM_ITEM_UPDATE_ACCESS_DENIED", "get": "ACCESS_DENIED"}
        for method, code in codes.items():
            assert error(call(f"crm.item.{method}", entityTypeId=1, id=lead_id, fields={})) == (400, code)
        for method in ("add", "update", "get"):
            assert error(call(f"crm.lead.{method}", id=lead_id, fields={})) == (400, "")
        assert len(crm.leads) == 1

    def test_many_at_once(self, crm: FakeBitrix24, add: Any) -> None:
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda i: add(originId=f"op-{i}", fm=[PHONE])["id"], range(200)))
        assert len(set(ids)) == len(crm.leads) == 200


class TestUpdate:
    def test_only_what_is_named_changes(self, call: Call, add: Any) -> None:
        item = add(name="Anna", lastName="Lee", fm=[PHONE])
        params = {"entityTypeId": 1, "id": item["id"], "fields": {"lastName": "Ray"}}
        changed = call("crm.item.update", **params).json()["result"]["item"]
        assert (changed["name"], changed["lastName"], changed["fm"]) == ("Anna", "Ray", item["fm"])

    def test_a_phone_sent_again_is_there_once(self, call: Call, add: Any) -> None:
        item = add(fm=[PHONE])
        changed = call("crm.item.update", entityTypeId=1, id=item["id"], fields={"fm": [PHONE]}).json()
        assert [row["value"] for row in changed["result"]["item"]["fm"]] == [PHONE["value"]]

    @pytest.mark.parametrize("by_key", [True, False])
    def test_a_row_with_its_id_is_replaced_or_removed(self, call: Call, add: Any, by_key: bool) -> None:
        first, second = (row["id"] for row in add(fm=[PHONE, EMAIL])["fm"])
        rows: Any = {first: {"typeId": "PHONE", "value": "+2"}, second: {"typeId": "EMAIL", "value": ""}}
        if not by_key:
            rows = [{"id": number} | row for number, row in rows.items()]
        item = call("crm.item.update", entityTypeId=1, id=1, fields={"fm": rows}).json()["result"]["item"]
        assert item["fm"] == [{"id": first, "valueType": "WORK", "value": "+2", "typeId": "PHONE"}]
        assert (item["hasPhone"], item["hasEmail"]) == ("Y", "N")

    def test_a_refused_update_changes_nothing(self, call: Call, add: Any, crm: FakeBitrix24) -> None:
        add(name="Anna")
        before = crm.records()
        fields = {"name": "Eve", "stageId": "NONSENSE", "fm": [PHONE]}
        assert error(call("crm.item.update", entityTypeId=1, id=1, fields=fields))[0] == 400
        assert crm.records() == before

    @pytest.mark.parametrize("lead_id", [99, 0, -1, "x", None])
    def test_a_missing_lead(self, call: Call, lead_id: Any) -> None:
        for method in ("get", "update"):
            response = call(f"crm.item.{method}", entityTypeId=1, id=lead_id, fields={})
            assert error(response) == (400, "NOT_FOUND")

    def test_a_deleted_lead_is_gone_everywhere(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        lead_id = add(originId="op-1", fm=[PHONE])["id"]
        crm.add_comment(lead_id, "called")
        crm.delete_lead(lead_id)
        assert crm.records() == {"lead": [], "comment": []}
        assert find(call, **{"=originId": "op-1"}) == []
        values = [PHONE["value"]]
        assert call("crm.duplicate.findbycomm", entity_type="LEAD", type="PHONE", values=values).json()["result"] == []


class TestList:
    def test_by_origin(self, call: Call, add: Any) -> None:
        add(originatorId="other", originId="op-1")
        wanted = add(originatorId="crmgate", originId="op-1", stageId="JUNK")["id"]
        add(originatorId="crmgate", originId="op-2")
        conditions = {"=originatorId": "crmgate", "=originId": "op-1"}
        params = {"entityTypeId": 1, "select": ["id", "stageId", "originId"], "filter": conditions, "start": -1}
        body = call("crm.item.list", **params, order={"id": "ASC"}).json()
        assert body["result"] == {"items": [{"id": wanted, "stageId": "JUNK", "originId": "op-1"}]}
        assert {"total", "next"}.isdisjoint(body)

    def test_an_update_moves_a_lead_to_its_new_origin(self, call: Call, add: Any) -> None:
        call("crm.item.update", entityTypeId=1, id=add(originId="op-1")["id"], fields={"originId": "op-2"})
        assert [len(find(call, **{"=originId": origin})) for origin in ("op-1", "op-2")] == [0, 1]

    @pytest.mark.parametrize(
        ("conditions", "ids"),
        [
            ({}, [1, 2, 3]),
            ({"id": 2}, [2]),
            ({"=name": "Anna"}, [1]),
            ({"=name": ["Anna", "Eve"]}, [1, 3]),
            ({"@name": ["Anna", "Bob"]}, [1, 2]),
            ({"!@name": ["Anna", "Bob"]}, [3]),
            ({"!=name": "Anna"}, [2, 3]),
            ({"!name": "Anna"}, [2, 3]),
            ({"!=lastName": ""}, [2]),
            ({"lastName": ""}, [1, 3]),
            ({"%name": "n"}, [1]),
            ({"=%name": "B%"}, [2]),
            ({"%=name": "%e"}, [3]),
            ({"!%name": "n"}, [2, 3]),
            ({"!=%name": "B%"}, [1, 3]),
            ({">id": 1, "<=id": "2"}, [2]),
            ({">=opportunity": 9}, [1, 2]),
            ({"<opportunity": 100}, [2]),
            ({"@originId": ["op-1", "op-3"]}, [1, 3]),
            ({"=originId": "op-1", "=name": "Bob"}, []),
            ({"logic": "OR", "=originId": "op-1", "=name": "Bob"}, [1, 2]),
            ({"0": {"logic": "OR", "0": {"=name": "Anna"}, "1": {"=name": "Eve"}}, ">id": 1}, [3]),
        ],
    )
    def test_filters(self, call: Call, add: Any, conditions: dict[str, Any], ids: list[int]) -> None:
        add(name="Anna", opportunity=100, originId="op-1")
        add(name="Bob", lastName="Lee", opportunity=20, originId="op-2")
        add(name="Eve", originId="op-3")
        assert [item["id"] for item in find(call, **conditions)] == ids

    @pytest.mark.parametrize(
        "params",
        [
            {"filter": {"=ORIGIN_ID": "x"}},
            {"filter": {"nonsense": 1}},
            {"filter": {"0": {"nonsense": 1}}},
            {"filter": {"fm": 1}},
            {"order": {"nonsense": "ASC"}},
            {"order": {"id": "UP"}},
        ],
    )
    def test_a_bad_filter_or_order_is_refused(self, call: Call, params: dict[str, Any]) -> None:
        assert error(call("crm.item.list", entityTypeId=1, **params)) == (400, "INVALID_ARG_VALUE")

    def test_a_portal_may_refuse_to_filter_by_origin(self, crm: FakeBitrix24, call: Call) -> None:
        crm.unfilterable = ["originId"]
        response = call("crm.item.list", entityTypeId=1, filter={"=originId": "op-1"})
        assert error(response) == (400, "INVALID_ARG_VALUE")

    def test_pages_of_fifty(self, call: Call, add: Any) -> None:
        for _ in range(120):
            add()
        pages = [call("crm.item.list", entityTypeId=1, select=["id"], start=start).json() for start in (0, 50, 100)]
        assert [len(page["result"]["items"]) for page in pages] == [50, 50, 20]
        assert [(page["total"], page.get("next")) for page in pages] == [(120, 50), (120, 100), (120, None)]
        order = {"id": "DESC"}
        last = call("crm.item.list", entityTypeId=1, select=["id"], order=order, start=-1).json()
        assert last["result"]["items"][0] == {"id": 120}

    def test_order_by_two_fields(self, call: Call, add: Any) -> None:
        for name, last in (("B", "x"), ("A", "x"), ("C", "a")):
            add(name=name, lastName=last)
        items = call("crm.item.list", entityTypeId=1, order={"lastName": "DESC", "name": "ASC"}).json()
        assert [item["name"] for item in items["result"]["items"]] == ["A", "B", "C"]

    def test_fm_comes_only_with_the_star(self, call: Call, add: Any) -> None:
        add(fm=[PHONE])
        named = call("crm.item.list", entityTypeId=1, select=["id", "fm"]).json()["result"]["items"]
        everything = call("crm.item.list", entityTypeId=1, select=["*"]).json()["result"]["items"]
        assert named == [{"id": 1}]
        assert everything[0]["fm"][0]["value"] == PHONE["value"]

    def test_without_the_right_to_read_lists_are_empty(self, crm: FakeBitrix24, call: Call, add: Any) -> None:
        add(originId="op-1")
        crm.can_read = False
        assert find(call, **{"=originId": "op-1"}) == []
        assert error(call("crm.item.get", entityTypeId=1, id=1)) == (400, "ACCESS_DENIED")


class TestDuplicates:
    def search(self, call: Call, kind: str, *values: str, **more: str) -> Any:
        return call("crm.duplicate.findbycomm", type=kind, values=values, **more).json()["result"]

    def test_by_phone_and_email(self, call: Call, add: Any) -> None:
        first, second = add(fm=[PHONE, EMAIL])["id"], add(fm=[PHONE])["id"]
        assert self.search(call, "PHONE", PHONE["value"], entity_type="LEAD") == {"LEAD": [first, second]}
        assert self.search(call, "EMAIL", "nobody@example.com", EMAIL["value"]) == {"LEAD": [first]}

    @pytest.mark.parametrize("value", ["2025550119", "", "+1", "+"])
    def test_no_match_is_a_list(self, call: Call, add: Any, value: str) -> None:
        add(fm=[PHONE])
        assert self.search(call, "PHONE", value, entity_type="LEAD") == []

    def test_only_leads_live_here(self, call: Call, add: Any) -> None:
        add(fm=[PHONE])
        assert self.search(call, "PHONE", PHONE["value"], entity_type="CONTACT") == []

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"values": ["1"]}, "Communication type is not defined"),
            ({"type": "FAX", "values": ["1"]}, "Communication type 'FAX' is not supported in current context"),
            ({"type": "PHONE"}, "Communication values is not defined"),
            ({"type": "PHONE", "values": []}, "Communication values is not defined"),
        ],
    )
    def test_bad_questions(self, call: Call, params: dict[str, Any], code: str) -> None:
        assert error(call("crm.duplicate.findbycomm", **params)) == (400, code)

    def test_values_beyond_twenty_are_ignored(self, call: Call, add: Any) -> None:
        lead = add(fm=[PHONE])["id"]
        others = [str(i) for i in range(1000, 1020)]
        assert self.search(call, "PHONE", *others[1:], PHONE["value"]) == {"LEAD": [lead]}
        assert self.search(call, "PHONE", *others, PHONE["value"]) == []

    def test_without_the_right_to_read(self, crm: FakeBitrix24, call: Call) -> None:
        crm.can_read = False
        response = call("crm.duplicate.findbycomm", type="PHONE", values=["1"])
        assert error(response) == (400, "")
        assert response.json()["error_description"] == "Access denied."

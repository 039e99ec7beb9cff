"""The Bitrix24 plugin: records of an earlier attempt, and people that the portal already has."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import Code, OutcomeUnknown, RateLimited, Rejected, Unavailable, Unsupported
from crmgate.model import Delivered, Lead, Operation
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ADD,
    ANNA,
    BOTH_APIS,
    CLICK,
    COMMENT,
    FULL,
    Connect,
    assert_has_every_fact,
    bring,
    calls,
    click,
    creation,
    deliver,
    existing,
    failure,
    methods,
    only_lead,
)


class TestFindLead:
    def test_nothing_is_there(self, crm: HookCaller) -> None:
        assert crm.find(creation(ANNA), 5.0) is None

    @BOTH_APIS
    @pytest.mark.parametrize("operation", [creation(ANNA), click(CLICK)], ids=lambda operation: operation.kind)
    def test_a_lead_whose_answer_was_lost_is_adopted(
        self, portal: FakeBitrix24, crm: HookCaller, api: str, operation: Operation
    ) -> None:
        portal.fail("drop", when="after", path=rf"crm\.{api}\.add", times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        found = crm.find(operation, 5.0)
        lead = str(only_lead(portal)["id"])
        assert found == Delivered("bitrix", lead, f"{portal.url}/crm/lead/details/{lead}/", adopted=True)
        assert len(calls(portal, f"crm.{api}.add")) == 1

    def test_after_a_request_that_never_arrived_there_is_none(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(ANNA)
        portal.fail("drop", when="before", path=ADD, times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert crm.find(operation, 5.0) is None
        deliver(crm, operation)
        assert only_lead(portal)["originId"] == operation.id

    def test_the_stage_does_not_matter(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.simple_mode = True
        operation = creation(ANNA)
        delivered = deliver(crm, operation)
        assert only_lead(portal)["stageId"] == "CONVERTED"
        found = crm.find(operation, 5.0)
        assert found
        assert found.record_id == delivered.record_id

    def test_the_oldest_of_several(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(ANNA)
        first = deliver(crm, operation)
        portal.save_lead({"originId": operation.id, "originatorId": "crmgate"}, [])
        found = crm.find(operation, 5.0)
        assert found
        assert found.record_id == first.record_id

    def test_leads_of_others_are_not_adopted(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = creation(ANNA)
        deliver(crm, creation(ANNA))
        portal.save_lead({"originId": operation.id, "originatorId": "another system"}, [])
        assert crm.find(operation, 5.0) is None

    def test_a_portal_that_refuses_the_filter(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.unfilterable = ["originId"]
        error = failure(lambda: crm.find(creation(ANNA), 5.0))
        assert (type(error), error.vendor_code) == (Rejected, "INVALID_ARG_VALUE")

    def test_a_portal_that_ignores_the_filter(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": {"items": [{"id": 1, "originId": "other"}]}}))
        assert isinstance(failure(lambda: crm.find(creation(ANNA), 5.0)), Unsupported)

    @pytest.mark.parametrize("result", [None, [], {"items": None}, "x"])
    def test_a_strange_list(self, portal: FakeBitrix24, crm: HookCaller, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}))
        error = failure(lambda: crm.find(creation(ANNA), 5.0))
        assert (type(error), error.code) == (Unavailable, Code.INVALID_RESPONSE)


@BOTH_APIS
class TestDuplicates:
    SAME = pytest.mark.parametrize(
        "known",
        [
            {"phone": ANNA.phone},
            {"phone": ANNA.phone[1:]},
            {"email": ANNA.email},
            {"phone": ANNA.phone, "email": "x@y.zz"},
        ],
        ids=["phone", "phone without plus", "email", "both"],
    )

    @SAME
    def test_note(self, portal: FakeBitrix24, crm: HookCaller, known: dict[str, str]) -> None:
        lead = existing(portal, **known)
        before = only_lead(portal)
        operation = creation(ANNA)
        delivered = deliver(crm, operation)
        assert (delivered.record_id, delivered.adopted) == (str(lead), True)
        assert only_lead(portal) == before
        (comment,) = portal.comments_of(lead)
        assert operation.tracking_code in comment["COMMENT"]
        assert_has_every_fact(ANNA, comment["COMMENT"])

    def test_a_note_has_every_fact(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal, email=FULL.email)
        deliver(crm, creation(FULL))
        assert_has_every_fact(FULL, portal.comments_of(lead)[0]["COMMENT"].replace("\u2060", ""))

    @SAME
    def test_update(self, portal: FakeBitrix24, connect: Connect, known: dict[str, str]) -> None:
        lead = existing(portal, **known)
        delivered = deliver(connect("update"), creation(ANNA))
        assert (delivered.record_id, delivered.adopted) == (str(lead), True)
        record = only_lead(portal)
        assert (record["name"], record["title"]) == ("Anna", "Theirs")
        assert not portal.comments

    @SAME
    def test_create(self, portal: FakeBitrix24, connect: Connect, known: dict[str, str]) -> None:
        existing(portal, **known)
        assert not deliver(connect("create"), creation(ANNA)).adopted
        assert len(portal.leads) == 2
        assert "batch" not in methods(portal)

    @pytest.mark.parametrize("policy", ["note", "update", "create"])
    def test_an_equal_name_alone_is_another_person(self, portal: FakeBitrix24, connect: Connect, policy: str) -> None:
        existing(portal, phone="+49301234567", name="Anna", lastName="Lee")
        assert not deliver(connect(policy), creation(ANNA)).adopted
        assert len(portal.leads) == 2

    @pytest.mark.parametrize("policy", ["note", "update"])
    def test_the_operations_own_lead_is_adopted(self, portal: FakeBitrix24, connect: Connect, policy: str) -> None:
        existing(portal, email=ANNA.email, phone=ANNA.phone)
        crm, operation = connect(policy), creation(ANNA)
        made = deliver(connect("create"), operation).record_id
        before = portal.records()
        delivered = deliver(crm, operation)
        assert (delivered.record_id, delivered.adopted) == (made, True)
        assert portal.records() == before

    def test_the_oldest_that_is_open(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        existing(portal, email=ANNA.email, stageId="CONVERTED")
        wanted = existing(portal, phone=ANNA.phone)
        existing(portal, email=ANNA.email)
        assert deliver(crm, creation(ANNA)).record_id == str(wanted)

    @pytest.mark.parametrize("phone", ["+74949123456", "+84949123456"])
    def test_a_phone_of_another_country_is_another_person(
        self, portal: FakeBitrix24, crm: HookCaller, phone: str
    ) -> None:  # fmt: skip
        """The search for duplicates takes +7 and +8 for equal."""
        other = phone.translate(str.maketrans("78", "87"))
        deliver(crm, creation(Lead("Ivan", phone=other)))
        existing(portal, phone=f"{other[:2]} {other[2:5]} {other[5:]}")
        linh = deliver(crm, creation(Lead("Linh", phone=phone)))
        assert (linh.adopted, len(portal.leads)) == (False, 3)
        assert deliver(crm, creation(Lead("Linh", phone=phone))).record_id == linh.record_id

    @pytest.mark.parametrize("known", ["84949123456", "8 (494) 912-34-56", "7 494 9123456", "+7 494 9123456"])
    def test_a_phone_without_its_country_is_the_same_person(
        self, portal: FakeBitrix24, crm: HookCaller, known: str
    ) -> None:  # fmt: skip
        lead = existing(portal, phone=known)
        assert deliver(crm, creation(Lead("Ivan", phone="+74949123456"))).record_id == str(lead)

    def test_an_equal_email_is_the_same_person_with_each_phone(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal, phone="+84949123456", email=ANNA.email)
        assert deliver(crm, creation(replace(ANNA, phone="+74949123456"))).record_id == str(lead)

    def test_without_the_list_of_phones_the_search_decides(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal, phone="+84949123456")
        body = {
            "result": {"result": [], "result_error": {"lead": {"error": "", "error_description": "Access denied."}}}
        }
        portal.fail("answer", status=200, body=json.dumps(body), path="batch", every=2, times=1)
        assert deliver(crm, creation(Lead("Ivan", phone="+74949123456"))).record_id == str(lead)

    def test_simple_mode_makes_new_leads(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.simple_mode = True
        deliver(crm, creation(ANNA))
        assert not deliver(crm, creation(ANNA)).adopted

    @pytest.mark.parametrize("known", [{"phone": ANNA.phone}, {"phone": ANNA.phone[1:]}, {"email": ANNA.email}])
    def test_the_search_shows_only_the_20_oldest(
        self, portal: FakeBitrix24, crm: HookCaller, known: dict[str, str]
    ) -> None:  # fmt: skip
        for _ in range(20):
            existing(portal, stageId="CONVERTED", **known)
        wanted = existing(portal, **known)
        assert deliver(crm, creation(ANNA)).record_id == str(wanted)

    def test_a_note_on_the_21st_is_found_again(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        for _ in range(20):
            existing(portal, phone=ANNA.phone, stageId="CONVERTED")
        existing(portal, phone=ANNA.phone)
        portal.fail("drop", when="after", path=COMMENT, times=1)
        bring(crm, creation(ANNA))
        assert (len(portal.leads), len(portal.comments)) == (21, 1)

    @pytest.mark.parametrize("code", ["", "ACCESS_DENIED"])
    def test_a_lead_is_created_though_the_list_of_newer_ones_is_refused(
        self, portal: FakeBitrix24, crm: HookCaller, code: str
    ) -> None:  # fmt: skip
        for _ in range(20):
            existing(portal, phone=ANNA.phone, stageId="CONVERTED")
        denied = {"error": code, "error_description": "Access denied."}
        body = {"result": {"result": [], "result_error": dict.fromkeys(("PHONE0", "PHONE1"), denied)}}
        portal.fail("answer", status=200, body=json.dumps(body), path="batch", every=2, times=1)
        assert not deliver(crm, creation(ANNA)).adopted

    def test_many_namesakes(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        first, *_ = [existing(portal, email=ANNA.email) for _ in range(70)]
        portal.fail("drop", when="after", path=COMMENT, times=1)
        assert bring(crm, creation(ANNA)).record_id == str(first)
        assert (len(portal.leads), len(portal.comments)) == (70, 1)

    @pytest.mark.parametrize("policy", ["note", "update"])
    def test_nothing_is_written_twice(self, portal: FakeBitrix24, connect: Connect, policy: str) -> None:
        lead = existing(portal, email=ANNA.email)
        crm = connect(policy)
        portal.fail("drop", when="after", path=rf"{COMMENT}|\.update", every=2)
        for _ in range(4):
            bring(crm, creation(ANNA))
        shown = str(only_lead(portal)) + str(portal.comments_of(lead))
        assert shown.count("Tracking code") == 4

    def test_a_note_is_found_after_its_lead_was_converted(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal, email=ANNA.email)
        operation = creation(ANNA)
        deliver(crm, operation)
        portal.save_lead({"stageId": "CONVERTED"}, [], lead)
        found = crm.find(operation, 5.0)
        assert found
        assert found.record_id == str(lead)

    def test_a_lead_deleted_in_between(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        existing(portal, email=ANNA.email)
        portal.fail_with("OWNER_NOT_FOUND", path=COMMENT)
        assert not deliver(crm, creation(ANNA)).adopted

    def test_a_click_searches_for_no_person(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = click(CLICK)
        deliver(crm, operation)
        deliver(crm, click(CLICK))
        assert len(portal.leads) == 2
        assert "batch" not in methods(portal)

    def test_a_lead_is_created_though_the_look_up_is_refused(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.can_read = False
        assert not deliver(crm, creation(ANNA)).adopted

    @pytest.mark.parametrize("code", ["QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT", "INTERNAL_SERVER_ERROR"])
    def test_one_that_failed_is_tried_again(self, portal: FakeBitrix24, crm: HookCaller, code: str) -> None:
        body = {"result": {"result": [], "result_error": {"PHONE": {"error": code}, "EMAIL": {"error": code}}}}
        portal.fail("answer", status=200, body=json.dumps(body), path="batch")
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), Unavailable | RateLimited)
        assert not portal.leads

    @pytest.mark.parametrize("result", [None, [], {}, "x", {"result": {"PHONE": []}, "result_error": []}])
    def test_half_an_answer_is_none(self, portal: FakeBitrix24, crm: HookCaller, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}), path="batch")
        assert type(failure(lambda: deliver(crm, creation(ANNA)))) is Unavailable
        assert not portal.leads

    def test_odd_addresses_reach_the_portal_as_they_are(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        email = "a&b=c%20+[x]@example.com"
        lead = existing(portal, email=email)
        assert deliver(crm, creation(Lead("Anna", email=email))).record_id == str(lead)

"""The Bitrix24 plugin: updates of a lead, and activities on it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from crmgate.errors import Code, Forbidden, NotFound, OutcomeUnknown
from crmgate.model import Activity, Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
    CLICK,
    COMMENT,
    FULL,
    activity,
    assert_has_every_fact,
    bring,
    calls,
    click,
    contacts,
    deliver,
    existing,
    failure,
    only_lead,
    text_of_record,
    update,
)


@BOTH_APIS
class TestUpdate:
    def test_a_minimal_lead_becomes_a_person(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = deliver(crm, click(CLICK)).record_id
        operation = update(lead, FULL)
        delivered = deliver(crm, operation)
        assert (delivered.record_id, delivered.adopted, delivered.dropped) == (lead, False, ())
        record = only_lead(portal)
        assert (record["title"], record["name"]) == ("Lead - Ayşe Gül Öztürk-Şahin", "Ayşe Gül")
        assert contacts(record) == [("PHONE", "+905321234567"), ("EMAIL", "ayse@example.com.tr")]
        assert_has_every_fact(FULL, text_of_record(record))
        assert "Channel: telegram" in record["comments"]
        assert operation.tracking_code in record["comments"]
        assert record["originId"] != operation.id

    def test_a_repeated_update_changes_nothing(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = update(deliver(crm, click(CLICK)).record_id, FULL)
        deliver(crm, operation)
        before = only_lead(portal)
        deliver(crm, operation)
        after = only_lead(portal)
        assert {**before, "updatedTime": ""} == {**after, "updatedTime": ""}

    @pytest.mark.parametrize(
        ("phone", "email"), [(ANNA.phone, ""), ("+1 (202) 555-0119", "ANNA@example.com"), ("", ANNA.email)]
    )
    def test_contacts_are_not_doubled(self, portal: FakeBitrix24, crm: HookCaller, phone: str, email: str) -> None:
        lead = existing(portal, phone, email)
        deliver(crm, update(lead, ANNA))
        deliver(crm, update(lead, ANNA))
        assert sorted(kind for kind, _ in contacts(only_lead(portal))) == ["EMAIL", "PHONE"]

    def test_a_second_phone_is_added(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        deliver(crm, update(existing(portal, "+49301234567"), ANNA))
        assert [one for kind, one in contacts(only_lead(portal)) if kind == "PHONE"] == ["+49301234567", ANNA.phone]

    def test_what_is_not_said_stays(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        values = {"lastName": "Lee", "sourceId": "PARTNER", "utmSource": "ig", "UF_CRM_REFERRAL_CODE": "REF7"}
        lead = existing(portal, "+49301234567", originId="x", originatorId="y", **values)
        before = only_lead(portal)
        deliver(crm, update(lead, Lead(first_name="Anna")))
        after = only_lead(portal)
        changed = {name for name in after if after[name] != before.get(name)} - {"updatedTime"}
        assert changed == {"name", "comments", "UF_CRM_1234567892"}
        assert after["title"] == "Theirs"

    def test_other_facts_are_described(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal, name="Ann", UF_CRM_REFERRAL_CODE="REF7")
        deliver(crm, update(lead, Lead(first_name="Anna", referral_code="REF8")))
        record = only_lead(portal)
        assert (record["name"], record["UF_CRM_REFERRAL_CODE"]) == ("Ann", "REF7")
        assert {"First name: Anna", "Referral code: REF8"} <= set(record["comments"].splitlines())

    @pytest.mark.parametrize("lead", ["999", "5f8a", "", "-1"])
    def test_a_lead_that_is_not_there(self, crm: HookCaller, lead: str) -> None:
        for operation in (update(lead, ANNA), activity(lead)):
            assert type(failure(lambda done=operation: deliver(crm, done))) is NotFound
            assert crm.find(operation, 5.0) is None

    def test_a_lost_answer(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        operation = update(existing(portal), ANNA)
        assert crm.find(operation, 5.0) is None
        portal.fail("drop", when="after", path=r"crm\.(item|lead)\.update", times=1)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        found = crm.find(operation, 5.0)
        assert found
        assert (found.record_id, found.adopted) == (operation.lead_id, True)

    def test_without_the_right_to_read(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal)
        portal.can_read = False
        assert isinstance(failure(lambda: deliver(crm, update(lead, ANNA))), Forbidden)


@BOTH_APIS
class TestActivities:
    def test_it_is_sent_whole(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal)
        operation = activity(lead)
        assert deliver(crm, operation).record_id == str(lead)
        (comment,) = portal.comments_of(lead)
        for line in ("Channel: telegram", "Referral code: REF7", "UTM source: ig", "page: /apply", "notes: ğ"):
            assert line in comment["COMMENT"].splitlines()
        assert operation.tracking_code in comment["COMMENT"]
        assert operation.id not in comment["COMMENT"]
        assert only_lead(portal).get("comments") is None

    def test_it_is_never_logged_twice(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal)
        portal.fail("drop", when="after", path=COMMENT, every=2)
        for _ in range(6):
            bring(crm, activity(lead))
        assert len(portal.comments) == 6

    def test_bbcode_stays_text(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal)
        deliver(crm, activity(lead, Activity("telegram", metadata={"notes": "[user=1]a[/user]"})))
        assert not re.search(r"\[(/?\w|\*)", portal.comments_of(lead)[0]["COMMENT"])

    def test_refusals(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        lead = existing(portal)
        portal.access_denied = True
        assert isinstance(failure(lambda: deliver(crm, activity(lead))), Forbidden)
        portal.access_denied, portal.can_read = False, False
        assert crm.find(activity(lead), 5.0) is None
        assert isinstance(failure(lambda: deliver(crm, activity(lead))), Forbidden)

    def test_a_lead_that_may_not_be_commented_on_holds_nothing_else_up(
        self, portal: FakeBitrix24, crm: HookCaller
    ) -> None:  # fmt: skip
        locked, open_one = existing(portal), existing(portal)
        portal.locked_timelines = [locked]
        error = failure(lambda: deliver(crm, activity(locked)))
        assert (type(error), error.code) == (Forbidden, Code.FORBIDDEN)
        assert deliver(crm, activity(open_one)).record_id == str(open_one)

    def test_nothing_is_written_on_a_lead_that_was_deleted(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        """The portal lets an administrator comment on it, and nobody would read that."""
        lead = existing(portal)
        portal.delete_lead(lead)
        assert isinstance(failure(lambda: deliver(crm, activity(lead))), NotFound)
        assert calls(portal, "crm.timeline.comment.add") == []

    @pytest.mark.parametrize("result", [None, "", [], {}, True])
    def test_a_success_without_a_comment_is_none(self, portal: FakeBitrix24, crm: HookCaller, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}), path=COMMENT)
        assert isinstance(failure(lambda: deliver(crm, activity(existing(portal)))), OutcomeUnknown)

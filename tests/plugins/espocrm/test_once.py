"""The EspoCRM plugin: no lead is made twice, and none is given up."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from crmgate.errors import Code, Duplicate, OutcomeUnknown
from crmgate.model import Activity, Delivered, Kind, Lead
from crmgate.provider import time_budget
from crmgate.testing.espocrm import OPERATION_FIELD, FakeEspoCRM
from tests.plugins.espocrm.rig import ADA, CLICK, JSON, click, create, operation, provider, sent

RACERS = 8


class TestDuplicates:
    def test_a_name_alone_makes_no_duplicate(self, crm: FakeEspoCRM) -> None:
        other = crm.add_lead(firstName="Ada", lastName="Lovelace", emailAddress="another@example.org")
        delivered = create(provider(crm.url))
        assert (len(crm.leads), delivered.adopted) == (2, False)
        assert delivered.record_id != other["id"]
        assert sent(crm, "POST") == 1

    def test_the_lead_of_this_operation_is_adopted_though_it_is_not_the_first(self, crm: FakeEspoCRM) -> None:
        wanted = operation(ADA)
        crm.add_lead(firstName="Ada", lastName="Lovelace")
        own = crm.add_lead(firstName="Ada", lastName="Lovelace", **{OPERATION_FIELD: wanted.id})
        delivered = create(provider(crm.url), wanted=wanted)
        assert (delivered.record_id, delivered.adopted, len(crm.leads)) == (own["id"], True, 2)

    def test_the_lead_of_this_operation_is_adopted_though_it_is_not_shown(self, crm: FakeEspoCRM) -> None:
        crm.unique_key(OPERATION_FIELD, on=False)
        wanted = operation(ADA)
        for _ in range(5):
            crm.add_lead(firstName="Ada", lastName="Lovelace")
        own = crm.add_lead(firstName="Ada", lastName="Lovelace", **{OPERATION_FIELD: wanted.id})
        assert create(provider(crm.url), wanted=wanted).record_id == own["id"]
        assert len(crm.leads) == 6

    @pytest.mark.parametrize("body", ["", "[", "{}", "[]", '[null, "x"]', '[{"crmgateOperationIdC": "ID"}]'])
    def test_a_lead_is_created_after_a_409_without_a_record(self, crm: FakeEspoCRM, body: str) -> None:
        wanted = operation(ADA)
        crm.unique_key(OPERATION_FIELD, on=False)
        crm.fail("answer", status=409, body=body.replace("ID", wanted.id), content_type=JSON, method="POST", times=1)
        create(provider(crm.url), wanted=wanted)
        assert [lead[OPERATION_FIELD] for lead in crm.leads] == [wanted.id]

    def test_a_409_though_the_check_was_skipped(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=409, body="[]", content_type=JSON, method="POST")
        with pytest.raises(Duplicate):
            create(provider(crm.url))
        assert sent(crm, "POST") == 1

    def test_clicks_are_no_duplicates_of_each_other(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        assert len({click(plugin).record_id for _ in range(3)}) == 3
        assert sent(crm, "POST") == 3


class TestExactlyOnce:
    @pytest.mark.parametrize("kind", ["drop", "hang"])
    @pytest.mark.parametrize("lead", [ADA, Lead(first_name="Ada", phone="+905321234567")])
    def test_a_lead_whose_answer_got_lost_is_found_and_adopted(self, crm: FakeEspoCRM, kind: Any, lead: Lead) -> None:
        plugin, wanted = provider(crm.url), operation(lead)
        crm.fail(kind, when="after", method="POST", times=1)
        with time_budget(0.5), pytest.raises(OutcomeUnknown):
            create(plugin, lead, wanted)
        (stored,) = crm.leads
        for found in (plugin.find_lead(operation=wanted), create(plugin, lead, wanted)):
            assert found == Delivered(
                "espocrm", stored["id"], f"{crm.url}/#Lead/view/{stored['id']}", adopted=True
            )  # fmt: skip
        assert len(crm.leads) == 1

    def test_a_request_that_never_arrived_leaves_nothing_to_find(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(ADA)
        crm.fail("drop", method="POST", times=1)
        with pytest.raises(OutcomeUnknown):
            create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted) is None

    def test_a_click_whose_answer_got_lost_is_adopted(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(CLICK, Kind.CREATE_MINIMAL_LEAD)
        crm.fail("drop", when="after", method="POST", times=1)
        with pytest.raises(OutcomeUnknown):
            click(plugin, wanted)
        assert click(plugin, wanted).adopted
        assert len(crm.leads) == 1

    @pytest.mark.parametrize("data", [ADA, Lead(first_name="Ada", phone="+905321234567"), CLICK])
    def test_a_race_for_the_unique_key_makes_one_lead(self, crm: FakeEspoCRM, data: Lead | Activity) -> None:
        crm.race_window = 0.2
        wanted, plugin, barrier = operation(data), provider(crm.url), threading.Barrier(RACERS)
        delivered: list[Delivered] = []

        def run() -> None:
            barrier.wait()
            delivered.append(create(plugin, data, wanted) if isinstance(data, Lead) else click(plugin, wanted))

        threads = [threading.Thread(target=run) for _ in range(RACERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (lead,) = crm.leads
        assert [one.record_id for one in delivered] == [lead["id"]] * RACERS
        assert [one.adopted for one in delivered].count(False) == 1

    def test_the_oldest_of_several_leads_is_found(self, crm: FakeEspoCRM) -> None:
        crm.unique_key(OPERATION_FIELD, on=False)
        wanted = operation(ADA)
        first, *_ = [crm.add_lead(lastName="Ada", **{OPERATION_FIELD: wanted.id}) for _ in range(3)]
        assert provider(crm.url).find_lead(operation=wanted).record_id == first["id"]

    def test_only_exactly_this_operation_is_found(self, crm: FakeEspoCRM) -> None:
        wanted = operation(ADA)
        crm.add_lead(lastName="Ada", **{OPERATION_FIELD: f"{wanted.id.upper()} "})
        plugin = provider(crm.url)
        assert plugin.find_lead(operation=wanted) is None
        rows = json.dumps({"total": -2, "list": [{"id": "1"}, {"id": "2", OPERATION_FIELD: "another"}, 3]})
        crm.fail("answer", status=200, body=rows, content_type=JSON)
        assert plugin.find_lead(operation=wanted) is None

    def test_looking_up_does_not_count_all_leads(self, crm: FakeEspoCRM) -> None:
        provider(crm.url).find_lead(operation=operation(ADA))
        assert crm.requests[0].header("X-No-Total") == "true"

    def test_a_renamed_field_is_searched(self, crm: FakeEspoCRM) -> None:
        crm.add_field("cKey", "varchar")
        plugin, wanted = provider(crm.url, ESPOCRM_MAP_OPERATION_ID="cKey"), operation(ADA)
        delivered = create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted).record_id == delivered.record_id
        assert create(plugin, wanted=wanted).adopted

    def test_without_the_field_a_lead_is_found_by_its_person_and_tracking_code(self, crm: FakeEspoCRM) -> None:
        crm.remove_field(OPERATION_FIELD)
        plugin, wanted = provider(crm.url), operation(ADA)
        made = create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted).record_id == made.record_id
        assert plugin.find_lead(operation=operation(ADA)) is None

    def test_without_the_field_a_lead_is_sent_again_where_duplicates_are_allowed(self, crm: FakeEspoCRM) -> None:
        crm.remove_field(OPERATION_FIELD)
        plugin, wanted = provider(crm.url, {"on_duplicate": "create"}), operation(ADA)
        create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted) is None
        assert not create(plugin, wanted=wanted).adopted

    def test_a_field_that_the_role_hides_cannot_be_searched(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"read": "all"}}, fieldData={"Lead": {OPERATION_FIELD: {"read": "no"}}})
        assert provider(crm.url).find_lead(operation=operation(ADA)) is None

    def test_without_a_mapping_nothing_is_asked(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, {"on_duplicate": "create"}, ESPOCRM_MAP_OPERATION_ID="")
        assert plugin.find_lead(operation=operation(ADA)) is None
        assert crm.requests == []

    def test_an_empty_500_that_nothing_explains_stays_unknown(self, crm: FakeEspoCRM) -> None:
        with pytest.raises(OutcomeUnknown) as raised:
            create(provider(crm.url), Lead(first_name="Ada", email="a@example.org", additional_info="\ud800"))
        assert (raised.value.code, raised.value.status) == (Code.SERVER_ERROR, 500)
        assert crm.leads == []

    def test_a_deadlock_passes(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(ADA)
        crm.fail("answer", status=500, content_type=JSON, method="POST", times=1)
        with pytest.raises(OutcomeUnknown):
            create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted) is None
        assert create(plugin, wanted=wanted).record_id == crm.leads[0]["id"]

    def test_the_key_of_a_deleted_lead_stays_taken(self, crm: FakeEspoCRM) -> None:
        plugin, wanted = provider(crm.url), operation(ADA)
        create(plugin, wanted=wanted)
        crm.database.table("Lead").records[crm.leads[0]["id"]]["deleted"] = True
        with pytest.raises(OutcomeUnknown):
            create(plugin, wanted=wanted)

    def test_an_empty_500_stays_unknown_when_the_look_up_fails(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=500, content_type=JSON, method="POST")
        crm.fail("drop", method="GET", path=f"={OPERATION_FIELD}&")
        with pytest.raises(OutcomeUnknown) as raised:
            create(provider(crm.url))
        assert (raised.value.code, raised.value.status) == (Code.CONNECTION_DROPPED, 500)

"""The EspoCRM plugin: updates of a lead, and activities on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    Unavailable,
    Unsupported,
)
from crmgate.model import Delivered, Kind, Lead
from crmgate.testing.espocrm import GATEWAY_ROLE, OPERATION_FIELD, FakeEspoCRM
from tests.plugins.espocrm.rig import (
    ADA,
    CLICK,
    FULL,
    NO_CALLS,
    NO_LOGS,
    about,
    click,
    deliver,
    log,
    logged,
    operation,
    provider,
    sent,
    update,
    user_id,
    words,
)


class TestUpdate:
    @pytest.mark.parametrize("kind", ["drop", "answer"])
    def test_an_update_whose_answer_got_lost_is_not_written_twice(self, crm: FakeEspoCRM, kind: Any) -> None:
        known = crm.add_lead(lastName="Byron", description="by hand")
        wanted = about(known["id"], FULL, Kind.UPDATE_LEAD)
        crm.fail(kind, when="after", status=502, method="PUT", times=1)
        assert deliver(provider(crm.url), wanted).adopted
        assert crm.leads[0]["description"].count(wanted.tracking_code) == 1
        assert sent(crm, "PUT") == 1

    def test_an_update_that_never_arrived_is_sent_again(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron")
        crm.fail("drop", method="PUT", times=1)
        assert not deliver(provider(crm.url), about(known["id"], ADA, Kind.UPDATE_LEAD)).adopted
        assert crm.leads[0]["firstName"] == "Ada"

    def test_the_same_operation_changes_nothing_a_second_time(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron")
        plugin, wanted = provider(crm.url), about(known["id"], FULL, Kind.UPDATE_LEAD)
        update(plugin, known["id"], FULL, wanted)
        before = crm.leads
        assert update(plugin, known["id"], FULL, wanted).adopted
        assert crm.leads == before

    @pytest.mark.parametrize("lead_id", ["6b03b0155fea3963a", "nonexistent/../1"])
    def test_a_lead_that_is_gone(self, crm: FakeEspoCRM, lead_id: str) -> None:
        plugin = provider(crm.url)
        with pytest.raises(ProviderError) as raised:
            update(plugin, lead_id, ADA)
        assert isinstance(raised.value, NotFound | Unavailable)
        assert [one.path.count("/") for one in crm.requests] == [4], "whatever an id holds, it is one part of the path"

    def test_nothing_is_found_of_an_update_on_a_lead_that_is_gone(self, crm: FakeEspoCRM) -> None:
        gone = about("6b03b0155fea3963a", ADA, Kind.UPDATE_LEAD)
        assert provider(crm.url).find_lead(operation=gone) is None

    def test_a_role_that_may_not_edit_is_a_matter_of_this_lead(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron")
        crm.set_role({"Lead": {"create": "yes", "read": "all", "edit": "no"}})
        with pytest.raises(Forbidden, match="Lead: edit") as raised:
            update(provider(crm.url), known["id"], ADA)
        assert raised.value.code is Code.FORBIDDEN

    def test_the_lead_of_a_click_becomes_the_person(self, crm: FakeEspoCRM) -> None:
        plugin, clicked = provider(crm.url), operation(CLICK, Kind.CREATE_MINIMAL_LEAD)
        minimal = click(plugin, clicked)
        lead, wanted = replace(FULL, referral_code="DIRECT"), about(minimal.record_id, FULL, Kind.UPDATE_LEAD)
        delivered = update(plugin, minimal.record_id, lead, wanted)
        (record,) = crm.leads
        assert delivered == Delivered("espocrm", record["id"], f"{crm.url}/#Lead/view/{record['id']}")
        assert (record["firstName"], record["lastName"]) == (FULL.first_name, FULL.last_name)
        assert record["emailAddress"] == FULL.email
        assert record[OPERATION_FIELD] == clicked.id
        assert record["referralCodeC"] == "TG-1", "the default replaces no code that is known"
        shown = "\n".join(str(value) for value in record.values())
        assert [word for word in words(FULL.to_dict()) if word not in shown and word != FULL.referral_code] == []
        codes = [
            shown.index(code) for code in (clicked.tracking_code, "Update of 2026-01-02 03:00", wanted.tracking_code)
        ]
        assert codes == sorted(codes)

    @pytest.mark.parametrize(
        ("lead", "first", "last"),
        [
            (Lead(first_name="Ada", email="a@example.org"), "Ada", "-"),
            (Lead(last_name="Lovelace", email="a@example.org"), None, "Lovelace"),
            (Lead(email="a@example.org"), "Messenger", "Lead"),
        ],
    )
    def test_a_person_does_not_keep_half_of_the_name_of_a_click(
        self, crm: FakeEspoCRM, lead: Lead, first: str | None, last: str
    ) -> None:
        plugin = provider(crm.url)
        minimal = click(plugin)
        assert update(plugin, minimal.record_id, lead).dropped == ()
        assert (crm.leads[0].get("firstName"), crm.leads[0]["lastName"]) == (first, last)

    def test_what_the_lead_says_nothing_about_stays(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(
            firstName="Ada", lastName="Byron", source="Partner", phoneNumber="+905321234567", universityC="Koç",
            description="A note by hand", referralCodeC="OLD",
        )  # fmt: skip
        update(provider(crm.url), known["id"], Lead(first_name="Ada", email="ada@example.org"))
        (record,) = crm.leads
        kept = ("lastName", "source", "phoneNumber", "universityC", "referralCodeC")
        assert [record[name] for name in kept] == ["Byron", "Partner", "+905321234567", "Koç", "OLD"]
        assert record["description"].startswith("A note by hand\n\nUpdate of")
        assert record["emailAddress"] == "ada@example.org"
        assert record.get(OPERATION_FIELD) is None

    def test_a_refused_value_stands_in_the_new_part_of_the_description(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(firstName="Ada", lastName="-", description="By hand")
        lead = Lead(last_name="x > y", phone="05551112233")
        delivered = update(provider(crm.url), known["id"], lead)
        assert delivered.moved == ("lastName", "phoneNumber")
        assert crm.leads[0]["lastName"] == "-"
        by_hand, _, added = crm.leads[0]["description"].partition("\n\nUpdate of")
        assert by_hand == "By hand"
        assert {"Last name: x > y", "Phone: 05551112233"} <= set(added.splitlines())

    def test_a_dropped_value_is_added_to_the_description(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron", description="By hand")
        crm.remove_field("universityC")
        assert update(provider(crm.url), known["id"], Lead(universities=("Koç",))).dropped == ("universityC",)
        assert crm.leads[0]["description"].startswith("By hand")
        assert "University: Koç" in crm.leads[0]["description"].splitlines()

    def test_a_description_that_the_role_hides_is_not_overwritten(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron", description="By hand")
        crm.set_role(GATEWAY_ROLE, fieldData={"Lead": {"description": {"read": "no", "edit": "no"}}})
        assert update(provider(crm.url), known["id"], FULL).dropped == ("description",)
        assert crm.leads[0]["description"] == "By hand"
        assert "First line" in logged(crm)[0]


class TestActivities:
    @pytest.mark.parametrize("role", [GATEWAY_ROLE, NO_CALLS], ids=["call", "note"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_lost_answer_is_not_logged_twice(self, crm: FakeEspoCRM, when: Any, role: dict[str, Any]) -> None:
        crm.set_role(role)
        known = crm.add_lead(lastName="Byron")
        wanted = about(known["id"], CLICK, Kind.LOG_ACTIVITY)
        crm.fail("drop", when=when, method="POST", path="/Call" if role is GATEWAY_ROLE else "/Note", times=1)
        delivered = deliver(provider(crm.url), wanted)
        assert (delivered.record_id, delivered.adopted) == (known["id"], when == "after")
        assert [text.count(wanted.tracking_code) > 0 for text in logged(crm)] == [True]

    def test_a_click_is_a_call_that_was_held(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron")
        wanted = about(known["id"], CLICK, Kind.LOG_ACTIVITY)
        delivered = log(provider(crm.url), known["id"], wanted)
        assert delivered == Delivered("espocrm", known["id"], f"{crm.url}/#Lead/view/{known['id']}")
        (call,) = crm.calls
        expected = {
            "name": f"telegram {wanted.tracking_code}", "status": "Held", "parentType": "Lead",
            "parentId": known["id"], "dateStart": "2026-01-02 03:04:05", "dateEnd": "2026-01-02 03:04:05",
            "assignedUserId": user_id(crm, "gateway"),
        }  # fmt: skip
        assert call.items() >= expected.items()
        lines = call["description"].splitlines()
        assert {"Channel: telegram", "Referral code: TG-1", "UTM source: ig", "page: /en", "Session: s-1"} <= set(lines)

    @pytest.mark.parametrize(
        ("at", "start"),
        [
            ("2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05"),
            ("2026-01-02T03:04:05+03:00", "2026-01-02 00:04:05"),
            ("2026-01-02T03:04:05", "2026-01-02 03:04:05"),
            ("", "2026-01-02 03:00:00"),
        ],
    )
    def test_times_are_utc(self, crm: FakeEspoCRM, at: str, start: str) -> None:
        known = crm.add_lead(lastName="Byron")
        log(provider(crm.url), known["id"], activity=replace(CLICK, occurred_at=at))
        assert crm.calls[0]["dateStart"] == start

    def test_an_activity_with_an_unreadable_time_is_logged(self, crm: FakeEspoCRM) -> None:
        log(provider(crm.url), crm.add_lead(lastName="Byron")["id"], activity=replace(CLICK, occurred_at="yesterday"))
        assert len(crm.calls) == 1

    def test_the_api_user_is_read_once(self, crm: FakeEspoCRM) -> None:
        known, plugin = crm.add_lead(lastName="Byron"), provider(crm.url)
        for _ in range(3):
            log(plugin, known["id"])
        assert (sent(crm, "GET"), sent(crm, "POST")) == (1, 3)

    def test_the_configured_user_gets_the_call(self, crm: FakeEspoCRM) -> None:
        sales = crm.add_user("sales", type="regular")
        log(provider(crm.url, ESPOCRM_ASSIGNED_USER_ID=sales["id"]), crm.add_lead(lastName="Byron")["id"])
        assert crm.calls[0]["assignedUserId"] == sales["id"]
        assert sent(crm, "GET") == 0

    @pytest.mark.parametrize("assignee", ["", "6b03b0155fea3963a"])
    def test_where_no_call_is_possible_it_is_a_note(self, crm: FakeEspoCRM, assignee: str) -> None:
        crm.set_role(GATEWAY_ROLE if assignee else NO_CALLS)
        known = crm.add_lead(lastName="Byron")
        wanted = about(known["id"], CLICK, Kind.LOG_ACTIVITY)
        settings = {"ESPOCRM_ASSIGNED_USER_ID": assignee} if assignee else {}
        assert log(provider(crm.url, **settings), known["id"], wanted).record_id == known["id"]
        assert crm.calls == []
        assert crm.notes[0]["parentId"] == known["id"]
        assert crm.notes[0]["post"].startswith(f"telegram {wanted.tracking_code}\n")
        assert "Referral code: TG-1" in crm.notes[0]["post"]

    @pytest.mark.parametrize("role", [GATEWAY_ROLE, NO_CALLS, NO_LOGS], ids=["call", "note", "neither"])
    def test_a_lead_that_is_gone(self, crm: FakeEspoCRM, role: dict[str, Any]) -> None:
        crm.set_role(role)
        plugin, gone = provider(crm.url), about("6b03b0155fea3963a", CLICK, Kind.LOG_ACTIVITY)
        with pytest.raises(NotFound):
            log(plugin, "6b03b0155fea3963a", gone)
        assert plugin.find_lead(operation=gone) is None

    def test_a_role_that_allows_neither_does_not_stop_the_leads(self, crm: FakeEspoCRM) -> None:
        crm.set_role(NO_LOGS)
        with pytest.raises(Unsupported, match="Call: create") as raised:
            log(provider(crm.url), crm.add_lead(lastName="Byron")["id"])
        assert raised.value.code is Code.NO_PERMISSION

    def test_a_bad_key_is_not_taken_for_a_lack_of_rights(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron")
        plugin = provider(crm.url, ESPOCRM_API_KEY="wrong", ESPOCRM_ASSIGNED_USER_ID=user_id(crm, "gateway"))
        gone = about(known["id"], CLICK, Kind.LOG_ACTIVITY)
        for attempt in (lambda: log(plugin, known["id"], gone), lambda: plugin.find_lead(operation=gone)):
            with pytest.raises(AuthFailed) as raised:
                attempt()
            assert raised.value.code is Code.BAD_CREDENTIALS
        assert len(crm.requests) == 2

    def test_an_answer_without_an_id_is_not_known(self, crm: FakeEspoCRM) -> None:
        known = crm.add_lead(lastName="Byron")
        crm.fail("answer", status=200, body="{}", content_type="application/json", path="/Call")
        with pytest.raises(OutcomeUnknown):
            log(provider(crm.url), known["id"])

    def test_another_click_on_the_same_lead_is_not_found(self, crm: FakeEspoCRM) -> None:
        known, plugin = crm.add_lead(lastName="Byron"), provider(crm.url)
        log(plugin, known["id"])
        assert plugin.find_lead(operation=about(known["id"], CLICK, Kind.LOG_ACTIVITY)) is None

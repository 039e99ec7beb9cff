"""The EspoCRM plugin and what is in the CRM already: updates, activities, duplicates, refused and dropped values."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Activity, Delivered, Kind, Lead, Operation, new_id
from crmgate.testing.espocrm import GATEWAY_ROLE, OPERATION_FIELD, FakeEspoCRM
from tests.plugins.test_espocrm import ADA, CLICK, FULL, click, create, operation, provider, sent, user_id, words
from tests.plugins.test_espocrm import crm as crm

UPDATE, CREATE = {"on_duplicate": "update"}, {"on_duplicate": "create"}
NO_CALLS = {**GATEWAY_ROLE, "Call": {"create": "no", "read": "no"}}
NO_LOGS = {**NO_CALLS, "Lead": {**GATEWAY_ROLE["Lead"], "stream": "no"}}
PHONE = Lead(first_name="Ada", phone="+905321234567")
AT = 1_767_322_800.0  # 2026-01-02 03:00:00 UTC


def about(lead_id: str, data: Lead | Activity, kind: Kind) -> Operation:
    return Operation(id=new_id(), kind=kind, payload=data.to_dict(), accepted_at=AT, lead_id=lead_id)


def update(plugin: Any, lead_id: str, lead: Lead, wanted: Operation | None = None) -> Delivered:
    made = wanted or about(lead_id, lead, Kind.UPDATE_LEAD)
    delivered: Delivered = plugin.update_lead(lead_id=lead_id, lead=lead, operation=made)
    return delivered


def log(plugin: Any, lead_id: str, wanted: Operation | None = None, activity: Activity = CLICK) -> Delivered:
    made = wanted or about(lead_id, activity, Kind.LOG_ACTIVITY)
    delivered: Delivered = plugin.log_activity(activity=activity, lead_id=lead_id, operation=made)
    return delivered


def deliver(plugin: Any, wanted: Operation, attempts: int = 5) -> Delivered:
    """As the gateway does: look first after an outcome that is not known."""
    look = False
    for _ in range(attempts):
        try:
            found: Delivered | None = plugin.find_lead(operation=wanted) if look else None
            if found:
                return found
            match wanted.kind:
                case Kind.UPDATE_LEAD:
                    return update(plugin, wanted.lead_id, wanted.lead, wanted)
                case Kind.LOG_ACTIVITY:
                    return log(plugin, wanted.lead_id, wanted, wanted.activity)
                case Kind.CREATE_MINIMAL_LEAD:
                    return click(plugin, wanted)
            return create(plugin, wanted.lead, wanted)
        except OutcomeUnknown:
            look = True
    raise AssertionError("never delivered")


def written(crm: FakeEspoCRM) -> list[tuple[str, str]]:
    return [(one.method, one.path.removeprefix("/api/v1/")) for one in crm.requests if one.method != "GET"]


def logged(crm: FakeEspoCRM) -> list[str]:
    """The texts of all calls and notes."""
    calls = [f"{call['name']}\n{call['description']}" for call in crm.calls]
    return calls + [str(note["post"]) for note in crm.notes]


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
        with pytest.raises(Rejected, match="Lead: edit") as raised:
            update(provider(crm.url), known["id"], ADA)
        assert raised.value.code is Code.NO_PERMISSION

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
        told = "\n".join(str(value) for value in record.values())
        assert [word for word in words(FULL.to_dict()) if word not in told and word != FULL.referral_code] == []
        codes = [
            told.index(code) for code in (clicked.tracking_code, "Update of 2026-01-02 03:00", wanted.tracking_code)
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
        known = crm.add_lead(firstName="Ada", lastName="Byron", description="By hand")
        lead = Lead(last_name="x > y", phone="05551112233")
        delivered = update(provider(crm.url), known["id"], lead)
        assert delivered.moved == ("lastName", "phoneNumber")
        assert crm.leads[0]["lastName"] == "Byron"
        lines = crm.leads[0]["description"].splitlines()
        assert lines[0] == "By hand"
        assert {"Last name: x > y", "Phone: 05551112233"} <= set(lines[1:])

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

    def test_an_odd_time_costs_no_activity(self, crm: FakeEspoCRM) -> None:
        log(provider(crm.url), crm.add_lead(lastName="Byron")["id"], activity=replace(CLICK, occurred_at="yesterday"))
        assert len(crm.calls) == 1

    def test_who_the_api_user_is_is_asked_once(self, crm: FakeEspoCRM) -> None:
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


EMAIL = {"lastName": "Byron", "emailAddress": "ADA@Example.org"}
MATCHES: dict[str, tuple[Lead, dict[str, str]]] = {
    "email": (ADA, EMAIL),
    "email and name": (ADA, {"firstName": "Ada", "lastName": "Lovelace", "emailAddress": "ada@example.org"}),
    "phone": (PHONE, {"lastName": "Byron", "phoneNumber": "+905321234567"}),
    "phone as typed": (replace(PHONE, phone="+90 532 123 45 67"), {"lastName": "X", "phoneNumber": "+905321234567"}),
    "phone, another email": (replace(ADA, phone=PHONE.phone), {"lastName": "Byron", "phoneNumber": PHONE.phone}),
}
OTHERS: dict[str, tuple[Lead, dict[str, str]]] = {
    "name": (ADA, {"firstName": "Ada", "lastName": "Lovelace"}),
    "name, with a phone": (replace(ADA, phone=PHONE.phone), {"firstName": "Áda", "lastName": "LOVELACE"}),
    "email but for an accent": (ADA, {"lastName": "Byron", "emailAddress": "áda@example.org"}),
    "no email at all": (PHONE, {"firstName": "Ada", "lastName": "-"}),
}


class TestDuplicatePolicies:
    @pytest.mark.parametrize(("lead", "known"), list(MATCHES.values()), ids=list(MATCHES))
    def test_note(self, crm: FakeEspoCRM, lead: Lead, known: dict[str, str]) -> None:
        person, wanted = crm.add_lead(**known, description="By hand"), operation(lead)
        delivered = create(provider(crm.url), lead, wanted)
        assert delivered == Delivered("espocrm", person["id"], f"{crm.url}/#Lead/view/{person['id']}", adopted=True)
        kept = {name: value for name, value in person.items() if name != "streamUpdatedAt"}
        assert len(crm.leads) == 1
        assert crm.leads[0].items() >= kept.items()
        (text,) = logged(crm)
        assert text.startswith(f"Application {wanted.tracking_code}")
        assert [word for word in words(lead.to_dict()) if word not in text] == []
        assert crm.calls[0]["parentId"] == person["id"]

    def test_a_note_holds_all_facts(self, crm: FakeEspoCRM) -> None:
        crm.add_lead(lastName="X", emailAddress=FULL.email)
        create(provider(crm.url), FULL)
        (text,) = logged(crm)
        assert [word for word in words(FULL.to_dict()) if word not in text] == []
        assert {"Email: ayse@example.org", "Source: landing", "Language: both"} <= set(text.splitlines())

    @pytest.mark.parametrize(("lead", "known"), list(MATCHES.values()), ids=list(MATCHES))
    def test_update(self, crm: FakeEspoCRM, lead: Lead, known: dict[str, str]) -> None:
        person, wanted = crm.add_lead(**known, description="By hand"), operation(lead)
        delivered = create(provider(crm.url, UPDATE), lead, wanted)
        assert (delivered.record_id, delivered.adopted) == (person["id"], True)
        (record,) = crm.leads
        assert record["firstName"] == "Ada"
        assert record["description"].startswith("By hand\n\nUpdate of")
        assert wanted.tracking_code in record["description"]
        assert logged(crm) == []

    @pytest.mark.parametrize(("lead", "known"), [*MATCHES.values(), *OTHERS.values()], ids=[*MATCHES, *OTHERS])
    def test_create(self, crm: FakeEspoCRM, lead: Lead, known: dict[str, str]) -> None:
        crm.add_lead(**known)
        assert not create(provider(crm.url, CREATE), lead).adopted
        assert len(crm.leads) == 2
        assert written(crm) == [("POST", "Lead")]
        assert sent(crm, "GET") == 0

    @pytest.mark.parametrize("policy", [{}, UPDATE])
    @pytest.mark.parametrize(("lead", "known"), list(OTHERS.values()), ids=list(OTHERS))
    def test_other_people(self, crm: FakeEspoCRM, policy: Any, lead: Lead, known: dict[str, str]) -> None:
        person = crm.add_lead(**known)
        delivered = create(provider(crm.url, policy), lead)
        assert not delivered.adopted
        assert delivered.record_id != person["id"]
        assert (len(crm.leads), logged(crm)) == (2, [])

    @pytest.mark.parametrize("policy", [{}, UPDATE, CREATE])
    @pytest.mark.parametrize("lead", [ADA, PHONE])
    def test_the_own_lead_is_adopted(self, crm: FakeEspoCRM, policy: Any, lead: Lead) -> None:
        plugin, wanted = provider(crm.url, policy), operation(lead)
        first, second = create(plugin, lead, wanted), create(plugin, lead, wanted)
        assert (first.adopted, second.adopted, second.record_id) == (False, True, first.record_id)
        assert (len(crm.leads), logged(crm)) == (1, [])
        assert crm.leads[0]["description"].count(wanted.tracking_code) == 1

    @pytest.mark.parametrize("lead", [ADA, replace(ADA, phone=PHONE.phone)])
    def test_the_oldest_is_taken(self, crm: FakeEspoCRM, lead: Lead) -> None:
        namesake = crm.add_lead(firstName="Ada", lastName="Lovelace")
        crm.change_lead(namesake["id"], createdAt="2020-01-01 00:00:00")
        people = [crm.add_lead(**EMAIL) for _ in range(3)]
        for person, year in zip(people, (2025, 2023, 2024), strict=True):
            crm.change_lead(person["id"], createdAt=f"{year}-01-01 00:00:00")
        assert create(provider(crm.url), lead).record_id == people[1]["id"]

    def test_a_person_that_a_full_list_leaves_out_is_found(self, crm: FakeEspoCRM) -> None:
        for _ in range(6):
            crm.add_lead(firstName="Ada", lastName="Lovelace")
        person = crm.add_lead(**EMAIL)
        assert create(provider(crm.url)).record_id == person["id"]
        assert len(crm.leads) == 7

    def test_a_phone_that_the_role_hides_is_not_looked_up(self, crm: FakeEspoCRM) -> None:
        crm.add_lead(lastName="Byron", phoneNumber=PHONE.phone)
        crm.set_role(GATEWAY_ROLE, fieldData={"Lead": {"phoneNumber": {"read": "no"}}})
        assert not create(provider(crm.url), PHONE).adopted
        assert len(crm.leads) == 2

    def test_what_cannot_be_added_becomes_a_lead(self, crm: FakeEspoCRM) -> None:
        crm.add_lead(**EMAIL)
        for policy, role in (({}, NO_LOGS), (UPDATE, {"Lead": {"create": "yes", "read": "all", "edit": "no"}})):
            crm.set_role(role)
            assert not create(provider(crm.url, policy)).adopted
        assert len(crm.leads) == 3

    def test_an_outage_at_the_look_up_creates_nothing(self, crm: FakeEspoCRM) -> None:
        crm.fail("drop", method="GET")
        with pytest.raises(Unavailable):
            create(provider(crm.url), PHONE)
        assert crm.leads == []

    @pytest.mark.parametrize("policy", [{}, UPDATE])
    @pytest.mark.parametrize("role", [GATEWAY_ROLE, NO_CALLS], ids=["call", "note"])
    def test_a_lost_answer_is_not_told_twice(self, crm: FakeEspoCRM, policy: Any, role: dict[str, Any]) -> None:
        crm.set_role(role)
        person = crm.add_lead(**EMAIL)
        wanted = operation(replace(ADA, phone=PHONE.phone))
        method, path = ("PUT", "/Lead/") if policy else ("POST", "/Call" if role is GATEWAY_ROLE else "/Note")
        crm.fail("drop", when="after", method=method, path=path, times=1)
        assert deliver(provider(crm.url, policy), wanted).record_id == person["id"]
        told = [*logged(crm), *(str(lead.get("description")) for lead in crm.leads)]
        assert len([text for text in told if wanted.tracking_code in text]) == 1
        assert len(crm.leads) == 1

    def test_a_409_that_stays_is_told(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=409, body="[]", content_type="application/json", method="POST")
        with pytest.raises(Duplicate):
            create(provider(crm.url, CREATE))


class TestMany:
    @pytest.mark.parametrize("name", ["Ada", "Ada{}"], ids=["one name", "many names"])
    def test_every_third_answer_lost_makes_no_lead_twice(self, crm: FakeEspoCRM, name: str) -> None:
        crm.fail("drop", when="after", method="POST", path="/Lead", every=3)
        plugin = provider(crm.url)
        leads = [
            Lead(first_name=name.format(n), email=f"ada{n}@example.org", phone=f"+9053212345{n:02}" if n % 2 else "")
            for n in range(60)
        ]
        found = [deliver(plugin, operation(lead)) for lead in leads]
        assert len({one.record_id for one in found}) == 60
        assert sorted(lead["emailAddress"] for lead in crm.leads) == sorted(lead.email for lead in leads)
        assert any(one.adopted for one in found)

    @pytest.mark.parametrize("policy", [{}, UPDATE, CREATE])
    def test_a_hundred_creates_of_one_operation_make_one_lead(self, crm: FakeEspoCRM, policy: Any) -> None:
        crm.race_window = 0.02
        plugin, wanted, barrier = provider(crm.url, policy), operation(FULL), threading.Barrier(16)

        def run(number: int) -> Delivered:
            if number < 16:
                barrier.wait()
            return create(plugin, FULL, wanted)

        with ThreadPoolExecutor(16) as pool:
            delivered = list(pool.map(run, range(100)))
        (lead,) = crm.leads
        assert {one.record_id for one in delivered} == {lead["id"]}
        assert [one.adopted for one in delivered].count(False) == 1
        assert logged(crm) == []


class TestRefusedAndDropped:
    @pytest.mark.parametrize(
        ("attributes", "moved"),
        [
            ({"first_name": "A" * 101}, ("firstName",)),
            ({"last_name": "x > y"}, ("lastName",)),
            ({"first_name": "<b>", "last_name": "=1+1"}, ("firstName", "lastName")),
            ({"email": "ünlü@örnek.com", "phone": "05551112233"}, ("emailAddress", "phoneNumber")),
            ({"referral_code": "R" * 65, "universities": ["U" * 151]}, ("referralCodeC", "universityC")),
        ],
    )
    def test_a_refused_value_costs_no_lead(
        self, crm: FakeEspoCRM, attributes: dict[str, Any], moved: tuple[str, ...]
    ) -> None:
        lead = Lead.from_dict({"first_name": "Ada", "email": "a@example.org"} | attributes)
        wanted = operation(lead)
        delivered = create(provider(crm.url), lead, wanted)
        (record,) = crm.leads
        assert (set(delivered.moved), delivered.dropped) == (set(moved), ())
        told = "\n".join(str(value) for value in record.values())
        assert [word for word in words(lead.to_dict()) if word not in told] == []
        assert (record["lastName"] == "-", record[OPERATION_FIELD]) == (
            "lastName" in moved or not lead.last_name,
            wanted.id,
        )

    def test_options_fields_and_an_assignee_that_are_gone(self, crm: FakeEspoCRM) -> None:
        crm.set_options("source", ["", "Call"])
        crm.set_options("userTypeC", ["", "Student"])
        crm.remove_field("universityC")
        crm.remove_field("languageC")
        plugin = provider(crm.url, ESPOCRM_ASSIGNED_USER_ID="6b03b0155fea3963a")
        for number in range(10):
            lead = replace(FULL, email=f"a{number}@example.org", phone="", first_name=f"Ada{number}")
            delivered = create(plugin, lead)
            assert set(delivered.moved) == {"source", "userTypeC", "assignedUserId"}
            assert set(delivered.dropped) == {"universityC", "languageC"}
            told = "\n".join(str(value) for value in crm.leads[-1].values())
            assert [word for word in words(lead.to_dict()) if word not in told] == []
            assert {"User type: student", "Language: both", "University: Koç"} <= set(told.splitlines())
        assert len(crm.leads) == 10
        assert sent(crm, "PUT") == 1, "what was dropped once is described from then on"
        problems = {one.name: one.problem for one in plugin.describe_fields() if one.problem}
        assert problems.keys() == {"source", "userTypeC", "universityC", "languageC"}

    def test_a_dropped_field_is_tried_again_after_a_while(
        self, crm: FakeEspoCRM, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        crm.remove_field("universityC")
        plugin = provider(crm.url)
        create(plugin, FULL)
        crm.add_field("universityC", "varchar")
        plugin._dropped_until = dict.fromkeys(plugin._dropped_until, 0.0)  # as long after
        assert create(plugin, replace(FULL, first_name="Eva", email="e@example.org", phone="")).dropped == ()
        assert crm.leads[1]["universityC"] == "Koç"

    def test_a_field_that_the_role_may_not_edit(self, crm: FakeEspoCRM) -> None:
        crm.set_role(GATEWAY_ROLE, fieldData={"Lead": {"languageC": {"edit": "no"}}})
        assert create(provider(crm.url), FULL).dropped == ("languageC",)
        assert "Language: both" in crm.leads[0]["description"].splitlines()
        assert "First line" in crm.leads[0]["description"]

    @pytest.mark.parametrize("kind", ["drop", "answer"])
    def test_the_lead_is_delivered_though_nothing_can_be_added(self, crm: FakeEspoCRM, kind: Any) -> None:
        crm.remove_field("universityC")
        crm.fail(kind, status=500, path="/Lead/|/Note")
        delivered = create(provider(crm.url), FULL)
        assert (delivered.record_id, delivered.dropped) == (crm.leads[0]["id"], ("universityC",))

    @pytest.mark.parametrize("hidden", ["description", "edit"])
    def test_where_the_description_cannot_be_changed_it_is_a_note(self, crm: FakeEspoCRM, hidden: str) -> None:
        crm.remove_field("universityC")
        if hidden == "description":
            crm.set_role(GATEWAY_ROLE, fieldData={"Lead": {"description": {"edit": "no"}}})
        else:
            crm.set_role({**GATEWAY_ROLE, "Lead": {**GATEWAY_ROLE["Lead"], "edit": "no"}})
        create(provider(crm.url), FULL)
        (note,) = crm.notes
        assert {"University: Koç", "First line"} <= set(note["post"].splitlines())

    def test_the_operation_id_and_an_unnamed_person_are_not_described(self, crm: FakeEspoCRM) -> None:
        crm.remove_field(OPERATION_FIELD)
        wanted = operation(PHONE)
        assert create(provider(crm.url), PHONE, wanted).dropped == (OPERATION_FIELD,)
        assert written(crm) == [("POST", "Lead")]
        assert wanted.id not in json.dumps(crm.leads)

"""The EspoCRM plugin: people that EspoCRM already has, and values that it refuses or drops."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import Duplicate, Unavailable
from crmgate.model import Delivered, Lead
from crmgate.plugin_kit.records import DROPPED_SECONDS
from crmgate.testing.espocrm import GATEWAY_ROLE, OPERATION_FIELD, FakeEspoCRM
from tests.plugins.espocrm.rig import (
    ADA,
    CREATE,
    FULL,
    NO_CALLS,
    NO_LOGS,
    PHONE,
    UPDATE,
    create,
    deliver,
    logged,
    operation,
    provider,
    sent,
    words,
    written,
)

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
        assert not [request for request in crm.requests if "where" in request.query]

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
    def test_a_lost_answer_causes_no_second_note(self, crm: FakeEspoCRM, policy: Any, role: dict[str, Any]) -> None:
        crm.set_role(role)
        person = crm.add_lead(**EMAIL)
        wanted = operation(replace(ADA, phone=PHONE.phone))
        method, path = ("PUT", "/Lead/") if policy else ("POST", "/Call" if role is GATEWAY_ROLE else "/Note")
        crm.fail("drop", when="after", method=method, path=path, times=1)
        assert deliver(provider(crm.url, policy), wanted).record_id == person["id"]
        texts = [*logged(crm), *(str(lead.get("description")) for lead in crm.leads)]
        assert len([text for text in texts if wanted.tracking_code in text]) == 1
        assert len(crm.leads) == 1

    def test_a_409_that_stays_is_reported(self, crm: FakeEspoCRM) -> None:
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
            ({"referral_code": "R" * 65, "universities": ["U" * 256]}, ("referralCodeC", "universityC")),
        ],
    )
    def test_a_lead_with_a_refused_value_is_created(
        self, crm: FakeEspoCRM, attributes: dict[str, Any], moved: tuple[str, ...]
    ) -> None:
        lead = Lead.from_dict({"first_name": "Ada", "email": "a@example.org"} | attributes)
        wanted = operation(lead)
        delivered = create(provider(crm.url), lead, wanted)
        (record,) = crm.leads
        assert (set(delivered.moved), delivered.dropped) == (set(moved), ())
        texts = "\n".join(str(value) for value in record.values())
        assert [word for word in words(lead.to_dict()) if word not in texts] == []
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
            texts = "\n".join(str(value) for value in crm.leads[-1].values())
            assert [word for word in words(lead.to_dict()) if word not in texts] == []
            assert "assignedUserId" not in crm.leads[-1]["description"]
            assert {"User type: student", "Language: both", "University: Koç"} <= set(texts.splitlines())
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
        real = time.monotonic
        monkeypatch.setattr("time.monotonic", lambda: real() + DROPPED_SECONDS)
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

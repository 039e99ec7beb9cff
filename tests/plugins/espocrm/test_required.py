"""Fields that EspoCRM requires and that a lead leaves empty."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from crmgate.errors import Rejected, Unavailable
from crmgate.model import CrmField
from crmgate.testing.espocrm import GATEWAY_ROLE, FakeEspoCRM
from tests.plugins.espocrm.rig import ADA, DEAD, FULL, PHONE, click, create, failing, provider, sent, update

METADATA = r"/Metadata"
FLAW = "Field validation failure; entityType: Lead, field: officeC, type: {}."
NOTHING_STANDS_IN: dict[str, dict[str, Any]] = {
    "link": {"entity": "Account"},
    "date": {},
    "datetime": {},
    "int": {},
    "float": {},
    "currency": {},
    "multiEnum": {"options": ["A", "B"]},
    "enum": {"options": ["", "A", "B"]},
    "url": {},
}
"""Types of required fields, with their options, for which nobody knows a value."""


def described(plugin: Any) -> dict[str, CrmField]:
    return {line.name: line for line in plugin.describe_fields()}


def refusal(plugin: Any) -> Rejected:
    with pytest.raises(Rejected) as raised:
        create(plugin)
    return raised.value


class TestNothingStandsIn:
    @pytest.mark.parametrize("kind", NOTHING_STANDS_IN)
    def test_the_refusal_names_the_field(self, crm: FakeEspoCRM, kind: str) -> None:
        crm.added_fields = {"officeC": {"type": kind, "required": True, **NOTHING_STANDS_IN[kind]}}
        error = refusal(provider(crm.url))
        assert error.fields == {"officeC": "required"}
        assert "officeC" in error.detail
        assert (crm.leads, sent(crm, "POST")) == ([], 1)

    @pytest.mark.parametrize("name", ["emailAddress", "phoneNumber"])
    def test_no_contact_is_invented(self, crm: FakeEspoCRM, name: str) -> None:
        crm.require_field(name)
        lead = replace(ADA, email="") if name == "emailAddress" else ADA
        with pytest.raises(Rejected) as raised:
            create(provider(crm.url), lead)
        assert [*raised.value.fields] == [name]

    def test_a_stand_in_that_is_refused_is_not_sent_again(self, crm: FakeEspoCRM) -> None:
        crm.add_field("officeC", "varchar", required=True)
        crm.fail(
            "answer", status=400, content_type="application/json", method="POST", path="/Lead",
            headers={"X-Status-Reason": FLAW.format("required")},
        )  # fmt: skip
        assert [*refusal(provider(crm.url)).fields] == ["officeC"]
        assert sent(crm, "POST") == 2

    def test_another_flaw_of_a_field_that_was_not_sent(self, crm: FakeEspoCRM) -> None:
        crm.add_field("officeC", "varchar")
        crm.fail(
            "answer", status=400, content_type="application/json", method="POST", path="/Lead",
            headers={"X-Status-Reason": FLAW.format("pattern")},
        )  # fmt: skip
        assert refusal(provider(crm.url)).fields == {"officeC": "pattern"}
        assert sent(crm, "POST") == 1

    def test_a_sixth_required_field_is_refused(self, crm: FakeEspoCRM) -> None:
        for number in range(6):
            crm.add_field(f"extra{number}C", "varchar", required=True)
        assert [*refusal(provider(crm.url)).fields] == ["extra5C"]
        assert sent(crm, "POST") == 6

    def test_metadata_that_are_not_shown(self, crm: FakeEspoCRM) -> None:
        crm.add_field("officeC", "varchar", required=True)
        crm.fail("answer", status=400, path=METADATA)
        assert refusal(provider(crm.url)).fields == {"officeC": "required"}

    def test_a_lost_answer_about_metadata_is_unavailable(self, crm: FakeEspoCRM) -> None:
        crm.add_field("officeC", "varchar", required=True)
        crm.fail("drop", path=METADATA)
        with pytest.raises(Unavailable):
            create(provider(crm.url))
        assert crm.leads == []

    def test_dead_when_so_configured(self, crm: FakeEspoCRM) -> None:
        crm.add_field("officeC", "varchar", required=True)
        plugin = provider(crm.url, DEAD)
        assert [*refusal(plugin).fields] == ["officeC"]
        assert sent(crm, "POST") == 1
        assert "EspoCRM refuses such leads" in described(plugin)["officeC"].problem


class TestStandIn:
    @pytest.mark.parametrize(
        ("kind", "options", "value"),
        [
            ("varchar", {}, "-"),
            ("text", {}, "-"),
            ("enum", {"options": ["", "A", "B"], "default": "B"}, "B"),
            ("enum", {"options": ["", "A", "B"], "default": "gone"}, "A"),
        ],
    )
    def test_a_new_lead(self, crm: FakeEspoCRM, kind: str, options: dict[str, Any], value: str) -> None:
        crm.add_field("officeC", kind, required=True, **options)
        plugin = provider(crm.url)
        for delivered in (create(plugin), click(plugin)):
            assert delivered.moved == ("officeC",)
        assert [lead["officeC"] for lead in crm.leads] == [value, value]
        assert all("officeC" not in lead["description"] for lead in crm.leads)

    def test_it_is_sent_only_on_demand(self, crm: FakeEspoCRM) -> None:
        crm.add_field("officeC", "varchar", required=True)
        create(provider(crm.url))
        bodies = [json.loads(request.body) for request in crm.requests if request.method == "POST"]
        assert [body.get("officeC") for body in bodies] == [None, "-"]

    def test_a_value_of_the_visitor_is_kept(self, crm: FakeEspoCRM) -> None:
        crm.require_field("universityC")
        delivered = create(provider(crm.url), FULL)
        assert (delivered.moved, crm.leads[0]["universityC"]) == ((), "Koç")

    def test_a_refused_value_is_described_and_replaced(self, crm: FakeEspoCRM) -> None:
        crm.add_field("fieldOfStudyC", "varchar", required=True, maxLength=5)
        delivered = create(provider(crm.url), FULL)
        assert (delivered.moved, crm.leads[0]["fieldOfStudyC"]) == (("fieldOfStudyC",), "-")
        assert "Mühendislik" in crm.leads[0]["description"]

    def test_several_fields(self, crm: FakeEspoCRM) -> None:
        for number in range(5):
            crm.add_field(f"extra{number}C", "varchar", required=True)
        assert len(create(provider(crm.url)).moved) == 5

    def test_an_update(self, crm: FakeEspoCRM) -> None:
        lead = crm.add_lead(lastName="Lovelace")["id"]
        crm.add_field("officeC", "varchar", required=True)
        crm.fail(
            "answer", status=400, content_type="application/json", method="PUT", path="/Lead", times=1,
            headers={"X-Status-Reason": FLAW.format("required")},
        )  # fmt: skip
        assert update(provider(crm.url), lead, ADA).moved == ("officeC",)
        assert crm.leads[0]["officeC"] == "-"


class TestReported:
    @pytest.mark.parametrize("name", ["accountName", "emailAddress", "phoneNumber", "officeC"])
    def test_the_connection_test_and_the_fields_name_it(self, crm: FakeEspoCRM, name: str) -> None:
        crm.added_fields = {"officeC": {"type": "link", "entity": "Account"}}
        crm.require_field(name)
        plugin = provider(crm.url)
        connection = plugin.test_connection()
        assert failing(connection).keys() == {f"field {name}"}
        assert (connection.connected, connection.refused) == (True, False)
        assert {line for line, field in described(plugin).items() if field.problem} == {name}
        assert [check.name for check in connection.checks].count(f"field {name}") == 1

    @pytest.mark.parametrize(
        ("kind", "options", "stated"),
        [
            ("varchar", {}, "'-' is sent instead"),
            ("enum", {"options": ["A", "B"], "default": "B"}, "'B' is sent instead"),
            ("enum", {"options": ["A", "B"]}, "EspoCRM refuses such leads"),
            ("date", {}, "EspoCRM refuses such leads"),
        ],
    )
    def test_what_is_sent_instead(self, crm: FakeEspoCRM, kind: str, options: dict[str, Any], stated: str) -> None:
        crm.add_field("officeC", kind, required=True, **options)
        plugin = provider(crm.url)
        line = described(plugin)["officeC"]
        assert (line.fact, line.type, line.options) == ("", kind, tuple(options.get("options", ())))
        assert stated in line.problem
        assert "ESPOCRM_MAP_<FACT>=officeC" in line.problem
        assert failing(plugin.test_connection())["field officeC"] == line.problem

    def test_a_mapped_field_without_a_stand_in_keeps_its_fact(self, crm: FakeEspoCRM) -> None:
        crm.require_field("emailAddress")
        line = described(provider(crm.url))["emailAddress"]
        assert line.fact == "email"
        assert "not every lead has a value for it" in line.problem
        with pytest.raises(Rejected):
            create(provider(crm.url), PHONE)

    @pytest.mark.parametrize("name", ["firstName", "lastName", "description", "referralCodeC", "universityC"])
    def test_a_field_that_is_filled_is_no_problem(self, crm: FakeEspoCRM, name: str) -> None:
        crm.require_field(name)
        assert failing(provider(crm.url).test_connection()) == {}
        create(provider(crm.url))

    def test_an_assigned_user_from_the_settings(self, crm: FakeEspoCRM) -> None:
        crm.require_field("assignedUser")
        assert failing(provider(crm.url).test_connection()).keys() == {"field assignedUser"}
        user = crm.add_user("boss", roleData=GATEWAY_ROLE)["id"]
        assert failing(provider(crm.url, ESPOCRM_ASSIGNED_USER_ID=user).test_connection()) == {}

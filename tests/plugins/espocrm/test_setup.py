"""The EspoCRM plugin: what it says about the fields, and how it sets EspoCRM up."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from crmgate.errors import AuthFailed, Code, ConfigError, OutcomeUnknown, ProviderError, RateLimited, Unavailable
from crmgate.model import Provision
from crmgate.testing.espocrm import GATEWAY_ROLE, OPERATION_FIELD, FakeEspoCRM
from tests.plugins.espocrm.rig import FULL, create, failing, operation, provider, written

ADMIN = {"ESPOCRM_ADMIN_USERNAME": "admin", "ESPOCRM_ADMIN_PASSWORD": "Admin-Fake-1"}
NO_KEY = {"ESPOCRM_API_KEY": ""}
FIELDS = ["referralCodeC", "userTypeC", "languageC", "fieldOfStudyC", "universityC", OPERATION_FIELD]


@pytest.fixture
def stock() -> Iterator[FakeEspoCRM]:
    """EspoCRM as it was installed: no fields, no API user."""
    with FakeEspoCRM(custom_fields=False, api_key=None) as crm:
        yield crm


def setup(plugin: Any, apply: bool = True) -> Provision:
    provision: Provision = plugin.provision(apply=apply)
    return provision


def undone(provision: Provision) -> list[str]:
    return [step.what for step in provision.steps if not step.done]


def lead_fields(crm: FakeEspoCRM) -> dict[str, Any]:
    return crm.database.types["Lead"].fields


class TestProvision:
    def test_twice_changes_nothing_the_second_time_and_the_key_delivers(self, stock: FakeEspoCRM) -> None:
        first = setup(provider(stock.url, **ADMIN | NO_KEY))
        assert undone(first) == []
        stock.requests.clear()
        second = setup(provider(stock.url, **ADMIN | NO_KEY))
        assert (undone(second), written(stock)) == ([], [])
        assert second.settings == first.settings
        assert first.settings.keys() == {"ESPOCRM_API_KEY"}
        plugin = provider(stock.url, **first.settings)
        wanted = operation(FULL)
        delivered = create(plugin, FULL, wanted)
        assert (delivered.dropped, delivered.moved) == ((), ())
        assert plugin.find_lead(operation=wanted).record_id == delivered.record_id
        assert failing(plugin.test_connection()).keys() == {f"field {OPERATION_FIELD}"}, "only the files make an index"
        stock.unique_key(OPERATION_FIELD)
        assert failing(plugin.test_connection()) == {}
        assert [one.problem for one in plugin.describe_fields()] == [""] * 11

    def test_without_apply_nothing_is_written(self, stock: FakeEspoCRM) -> None:
        plan = setup(provider(stock.url, **ADMIN | NO_KEY), apply=False)
        assert written(stock) == []
        assert plan.settings == {}
        named = " ".join(undone(plan))
        assert all(name in named for name in [*FIELDS, "role crmgate", "API user crmgate"])

    def test_the_fields_have_their_literal_names(self, stock: FakeEspoCRM) -> None:
        setup(provider(stock.url, **ADMIN | NO_KEY))
        assert {name for name, one in lead_fields(stock).items() if one.get("isCustom")} == set(FIELDS)
        assert lead_fields(stock)["userTypeC"]["options"] == ["", "student", "parent"]
        assert stock.database.types["Lead"].labels["fieldOfStudyC"] == "Field of study"
        assert stock.database.settings["customPrefixDisabled"] is False

    @pytest.mark.parametrize("kind", ["drop", "answer"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_failure_half_way_is_mended_by_another_run(self, stock: FakeEspoCRM, kind: Any, when: Any) -> None:
        stock.fail(kind, when=when, status=502, path="fieldManager", method="POST", times=1)
        plugin = provider(stock.url, **ADMIN | NO_KEY)
        with pytest.raises(OutcomeUnknown):
            setup(plugin)
        assert stock.database.settings["customPrefixDisabled"] is False
        assert undone(setup(plugin)) == []

    def test_a_prefix_that_was_off_stays_off(self, stock: FakeEspoCRM) -> None:
        stock.database.settings["customPrefixDisabled"] = True
        setup(provider(stock.url, **ADMIN | NO_KEY))
        assert stock.database.settings["customPrefixDisabled"] is True
        assert ("PUT", "Settings") not in written(stock)

    def test_the_prefix_comes_back_though_the_answer_to_turning_it_off_got_lost(self, stock: FakeEspoCRM) -> None:
        stock.fail("drop", when="after", path="Settings", method="PUT", times=1)
        with pytest.raises(OutcomeUnknown):
            setup(provider(stock.url, **ADMIN | NO_KEY))
        assert stock.database.settings["customPrefixDisabled"] is False

    def test_options_are_added_and_none_is_removed(self, crm: FakeEspoCRM) -> None:
        crm.set_options("userTypeC", ["", "student", "Alumni"])
        crm.set_options("source", ["", "Call"])
        assert undone(setup(provider(crm.url, **ADMIN))) == []
        assert lead_fields(crm)["userTypeC"]["options"] == ["", "student", "Alumni", "parent"]
        assert lead_fields(crm)["source"]["options"] == ["", "Call", "Web Site", "Partner"]
        assert ("PUT", "Admin/fieldManager/Lead/source") in written(crm)

    def test_what_a_person_must_decide_is_a_step_that_stays_undone(self, crm: FakeEspoCRM) -> None:
        crm.add_field("universityC", "bool")
        crm.add_field(OPERATION_FIELD, "varchar", maxLength=16)
        left = undone(setup(provider(crm.url, **ADMIN, ESPOCRM_MAP_CITY="my_city")))
        assert written(crm) == []
        assert [text.split()[1].rstrip(":") for text in left] == ["universityC", OPERATION_FIELD, "my_city"]
        assert "type bool" in left[0]
        assert "needs 32" in left[1]

    def test_fields_that_are_configured_are_made(self, crm: FakeEspoCRM) -> None:
        settings = {
            "ESPOCRM_MAP_CUSTOM_SHOE_SIZE": "shoeSizeC",
            "ESPOCRM_MAP_UNIVERSITY": "",
            "ESPOCRM_MAP_CITY": "city",
        }
        crm.remove_field("universityC")
        setup(provider(crm.url, **ADMIN, **settings))
        assert {"shoeSizeC", "city"} <= lead_fields(crm).keys()
        assert "universityC" not in lead_fields(crm)
        assert crm.database.types["Lead"].labels["shoeSizeC"] == "Shoe size"

    def test_the_user_behind_the_key_is_kept(self, crm: FakeEspoCRM) -> None:
        provision = setup(provider(crm.url, **ADMIN))
        assert (undone(provision), written(crm)) == ([], [])
        assert provision.settings == {"ESPOCRM_API_KEY": "KEY-GATEWAY"}

    def test_the_keys_of_a_user_with_hmac(self, crm: FakeEspoCRM) -> None:
        roles = [crm.records()["Role"][0]["id"]]
        user = crm.add_user("signing", type="api", authMethod="Hmac", apiKey="KEY-HMAC", rolesIds=roles)
        keys = {"ESPOCRM_API_KEY": "KEY-HMAC", "ESPOCRM_SECRET_KEY": user["secretKey"]}
        assert setup(provider(crm.url, **ADMIN, **keys)).settings == keys

    def test_rights_that_are_missing_are_named_and_not_given(self, crm: FakeEspoCRM) -> None:
        crm.set_role({**GATEWAY_ROLE, "Call": False, "Lead": {**GATEWAY_ROLE["Lead"], "edit": "own"}})
        (shown,) = undone(setup(provider(crm.url, **ADMIN)))
        assert "Lead: edit: all" in shown
        assert "Call: create: yes" in shown
        assert "Lead: read" not in shown
        assert written(crm) == []

    def test_a_role_that_is_there_is_used(self, stock: FakeEspoCRM) -> None:
        role = stock.add_record("Role", name="crmgate", data=GATEWAY_ROLE, assignmentPermission="all")
        assert undone(setup(provider(stock.url, **ADMIN | NO_KEY))) == []
        made = next(user for user in stock.records()["User"] if user["userName"] == "crmgate")
        assert (made["rolesIds"], made["type"], len(stock.records()["Role"])) == ([role["id"]], "api", 2)

    def test_a_wrong_key_is_tried_once(self, stock: FakeEspoCRM) -> None:
        setup(provider(stock.url, **ADMIN, ESPOCRM_API_KEY="old"))
        assert sum(bool(one.header("X-Api-Key")) for one in stock.requests) == 1

    @pytest.mark.parametrize("index", [True, False])
    def test_the_unique_index_is_left_to_the_files(self, crm: FakeEspoCRM, index: bool) -> None:
        crm.unique_key(OPERATION_FIELD, on=index)
        (shown,) = [step.what for step in setup(provider(crm.url, **ADMIN)).steps if OPERATION_FIELD in step.what]
        assert ("contrib/espocrm" in shown) != index

    @pytest.mark.parametrize("given", [{}, {"ESPOCRM_ADMIN_USERNAME": "admin"}, {"ESPOCRM_ADMIN_PASSWORD": "x"}])
    def test_an_administrator_is_needed(self, crm: FakeEspoCRM, given: dict[str, str]) -> None:
        for apply in (False, True):
            with pytest.raises(ConfigError) as raised:
                setup(provider(crm.url, **given), apply)
            assert {problem.split(":")[0] for problem in raised.value.problems} == ADMIN.keys() - given.keys()
        assert crm.requests == []

    def test_a_wrong_password(self, crm: FakeEspoCRM) -> None:
        with pytest.raises(AuthFailed, match="ESPOCRM_ADMIN_PASSWORD") as raised:
            setup(provider(crm.url, **ADMIN | {"ESPOCRM_ADMIN_PASSWORD": "CANARY-PASSWORD"}))
        assert raised.value.code is Code.BAD_CREDENTIALS
        assert "CANARY" not in f"{raised.value!r} {vars(raised.value)}"
        assert len(crm.requests) == 1

    def test_somebody_who_is_no_administrator(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=403, content_type="application/json", path="Settings")
        crm.remove_field("universityC")
        with pytest.raises(AuthFailed, match="ESPOCRM_ADMIN_USERNAME") as raised:
            setup(provider(crm.url, **ADMIN))
        assert raised.value.code is Code.NO_PERMISSION

    def test_the_lockout_keeps_its_name(self, crm: FakeEspoCRM) -> None:
        crm.lockout_limit = -1
        with pytest.raises(RateLimited) as raised:
            setup(provider(crm.url, **ADMIN))
        assert raised.value.code is Code.LOCKED_OUT

    def test_outages(self, crm: FakeEspoCRM) -> None:
        for attribute in ("database_down", "php_down"):
            setattr(crm, attribute, True)
            with pytest.raises(Unavailable):
                setup(provider(crm.url, **ADMIN))
            setattr(crm, attribute, False)

    @pytest.mark.parametrize("body", ["", "[]", "null", "<h1>Welcome</h1>"])
    def test_nothing_is_made_where_nothing_can_be_read(self, crm: FakeEspoCRM, body: str) -> None:
        crm.fail("answer", status=200, body=body, path="Metadata")
        with pytest.raises(Unavailable):
            setup(provider(crm.url, **ADMIN))
        assert written(crm) == []

    def test_no_secret_is_logged(self, stock: FakeEspoCRM, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        plugin = provider(stock.url, **ADMIN | NO_KEY)
        key = setup(plugin).settings["ESPOCRM_API_KEY"]
        assert key not in caplog.text
        assert "Admin-Fake-1" not in caplog.text + repr(plugin)
        assert plugin.redact("Admin-Fake-1") == "***"


class TestWithoutAKey:
    def test_a_key_is_required_unless_one_is_to_be_made(self, crm: FakeEspoCRM) -> None:
        with pytest.raises(ConfigError, match="ESPOCRM_API_KEY"):
            provider(crm.url, **NO_KEY)

    def test_nothing_is_sent_without_a_key(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url, **ADMIN | NO_KEY)
        with pytest.raises(AuthFailed, match="ESPOCRM_API_KEY"):
            create(plugin)
        assert not plugin.test_connection().connected
        assert crm.requests == []


class TestDescribeFields:
    def test_all_is_well(self, crm: FakeEspoCRM) -> None:
        described = {one.fact: one for one in provider(crm.url).describe_fields()}
        assert all(not one.problem for one in described.values())
        assert described["user_type"].options == ("", "student", "parent")
        assert (described["email"].name, described["email"].type) == ("emailAddress", "email")
        assert list(described)[-1] == "operation_id"

    @pytest.mark.parametrize(
        ("name", "definition", "words"),
        [
            ("universityC", {"type": "bool"}, ("type bool", "ESPOCRM_MAP_UNIVERSITY")),
            ("languageC", {"type": "int"}, ("int", "ESPOCRM_MAP_LANGUAGE")),
            ("referralCodeC", {"type": "email"}, ("email", "ESPOCRM_MAP_REFERRAL_CODE")),
            ("referralCodeC", {"type": "varchar", "maxLength": 20}, ("20", "64", "maximum length")),
            ("languageC", {"type": "varchar", "maxLength": 4}, ("4", "7")),
            (OPERATION_FIELD, {"type": "varchar", "maxLength": 31}, ("31", "32")),
            ("userTypeC", {"type": "enum", "options": ["", "student"]}, ("'parent'", "ESPOCRM_VALUES_USER_TYPE")),
        ],
    )
    def test_a_field_that_does_not_take_its_fact(
        self, crm: FakeEspoCRM, name: str, definition: dict[str, Any], words: tuple[str, ...]
    ) -> None:
        crm.add_field(name, **definition)
        plugin = provider(crm.url)
        problems = {one.name: one.problem for one in plugin.describe_fields() if one.problem}
        assert problems.keys() == {name}
        assert all(word in problems[name] for word in words)
        assert failing(plugin.test_connection()) == {f"field {name}": problems[name]}

    @pytest.mark.parametrize(
        ("setting", "type_", "good"),
        [
            ("ESPOCRM_MAP_GRADUATION_YEAR", "int", True), ("ESPOCRM_MAP_BIRTH_DATE", "date", True),
            ("ESPOCRM_MAP_CUSTOM_SHOE", "int", True), ("ESPOCRM_MAP_CITY", "int", False),
            ("ESPOCRM_MAP_CITY", "text", True), ("ESPOCRM_MAP_PHONE", "email", False),
        ],
    )  # fmt: skip
    def test_types(self, crm: FakeEspoCRM, setting: str, type_: str, good: bool) -> None:
        crm.add_field("cOdd", type_)
        (described,) = [one for one in provider(crm.url, **{setting: "cOdd"}).describe_fields() if one.name == "cOdd"]
        assert (described.problem == "") == good

    def test_missing_fields(self, crm: FakeEspoCRM) -> None:
        for name in FIELDS:
            crm.remove_field(name)
        missing = {one.name: one for one in provider(crm.url).describe_fields() if one.problem}
        assert list(missing) == FIELDS
        assert all(f"Lead has no field {name}" in one.problem and not one.type for name, one in missing.items())

    @pytest.mark.parametrize(
        "definition",
        [[], "x", {"type": ["enum"]}, {"type": "enum", "options": {}}, {"type": "varchar", "maxLength": "x"}],
    )
    def test_malformed_metadata_raise_nothing(self, crm: FakeEspoCRM, definition: Any) -> None:
        crm.fail("answer", status=200, body=json.dumps({"fields": {"universityC": definition}}), path="Metadata")
        assert len(provider(crm.url).describe_fields()) == 11

    def test_an_outage(self, crm: FakeEspoCRM) -> None:
        crm.php_down = True
        with pytest.raises(ProviderError):
            provider(crm.url).describe_fields()

"""The EspoCRM plugin: its settings, its login and the connection test."""

from __future__ import annotations

import base64

import pytest
import requests_mock as mocking

from crmgate.errors import AuthFailed, Code, ConfigError
from crmgate.plugin_host.loader import discover
from crmgate.provider import time_budget
from crmgate.testing.espocrm import OPERATION_FIELD, FakeEspoCRM
from tests.plugins.espocrm.rig import ADA, JSON, NOBODY, ROOT, create, failing, operation, provider


class TestHmac:
    @pytest.fixture
    def settings(self, crm: FakeEspoCRM) -> dict[str, str]:
        roles = [crm.records()["Role"][0]["id"]]
        user = crm.add_user("signing", type="api", authMethod="Hmac", apiKey="KEY-HMAC", rolesIds=roles)
        return {"ESPOCRM_API_KEY": "KEY-HMAC", "ESPOCRM_SECRET_KEY": user["secretKey"]}

    def test_every_request_is_signed(self, crm: FakeEspoCRM, settings: dict[str, str]) -> None:
        plugin, wanted = provider(crm.url, **settings), operation(ADA)
        delivered = create(plugin, wanted=wanted)
        assert plugin.find_lead(operation=wanted).record_id == delivered.record_id
        assert all(check.ok for check in plugin.test_connection().checks)
        assert all(not request.header("X-Api-Key") for request in crm.requests)

    def test_a_wrong_secret_is_a_bad_key(self, crm: FakeEspoCRM, settings: dict[str, str]) -> None:
        with pytest.raises(AuthFailed) as raised:
            create(provider(crm.url, **settings | {"ESPOCRM_SECRET_KEY": "wrong"}))
        assert raised.value.code is Code.BAD_CREDENTIALS

    def test_the_signature_of_the_contract(self) -> None:
        plugin = provider(NOBODY, ESPOCRM_API_KEY="key", ESPOCRM_SECRET_KEY="secret")
        with mocking.Mocker() as mocker:
            mocker.get(mocking.ANY, json={"list": []})
            mocker.post(mocking.ANY, json={"id": "5"})
            create(plugin)
        # printf 'POST /Lead' | openssl dgst -sha256 -hmac secret
        digest = "56d691fd26ad8ff5446d99b858d84467e6dd9fc17f05e115aa84bea15d24eb1d"
        wanted = base64.b64encode(f"key:{digest}".encode()).decode()
        (signed,) = [one for one in mocker.request_history if (one.method, one.path) == ("POST", "/api/v1/lead")]
        assert signed.headers["X-Hmac-Authorization"] == wanted


class TestConnectionTest:
    def test_all_is_well(self, crm: FakeEspoCRM) -> None:
        connection = provider(crm.url).test_connection()
        assert (connection.provider, connection.connected, failing(connection)) == ("espocrm", True, {})
        assert 0 < connection.latency_ms < 5000
        names = [check.name for check in connection.checks]
        assert names[:5] == ["connection", "create leads", "read leads", "update leads", "log activities"]
        assert (names[5], names[-1], len(names)) == ("field firstName", "operation id", 16)
        assert crm.leads == []

    @pytest.mark.parametrize(
        ("attributes", "hint"),
        [
            ({"maintenance": True}, "maintenance"),
            ({"database_down": True}, "database"),
            ({"php_down": True}, "PHP"),
        ],
    )
    def test_an_outage_has_its_name(self, crm: FakeEspoCRM, attributes: dict[str, bool], hint: str) -> None:
        crm.configure(attributes)
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert failing(connection).keys() == {"connection"}
        assert hint in failing(connection)["connection"]

    def test_a_bad_key_and_the_lockout(self, crm: FakeEspoCRM) -> None:
        bad = provider(crm.url, ESPOCRM_API_KEY="wrong")
        details = [failing(bad.test_connection())["connection"] for _ in range(12)]
        assert details[0].startswith("bad_credentials (HTTP 401)")
        assert details[-1].startswith("locked_out (HTTP 403)")
        assert all("ESPOCRM_API_KEY" in detail for detail in details[:-1])
        assert not bad.test_connection().refused, "a lockout refuses good keys, too"

    def test_a_role_without_rights(self, crm: FakeEspoCRM) -> None:
        crm.set_role({})
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert failing(connection)["connection"].startswith("no_permission (HTTP 403)")
        assert "read: all" in failing(connection)["connection"]

    def test_a_role_that_may_only_read(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"create": "no", "read": "all"}})
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert connection.refused, "no lead can be delivered"
        assert failing(connection) == {
            "create leads": "the role of the API user has Lead: create: no, but crmgate needs Lead: create: yes"
        }

    @pytest.mark.parametrize("lacking", [{"edit": "no"}, {"stream": "no"}, {"edit": "own", "read": "own"}])
    def test_a_narrower_right_is_no_refusal(self, crm: FakeEspoCRM, lacking: dict[str, str]) -> None:
        crm.set_role({"Lead": {"create": "yes", "read": "all", "edit": "all", "stream": "all"} | lacking})
        connection = provider(crm.url).test_connection()
        assert (connection.connected, connection.refused) == (True, False)

    @pytest.mark.parametrize("path", ["/elsewhere", "/api"])
    def test_no_espocrm_at_the_address(self, crm: FakeEspoCRM, path: str) -> None:
        connection = provider(crm.url + path).test_connection()
        assert not connection.connected
        assert "ESPOCRM_URL" in failing(connection)["connection"]

    @pytest.mark.parametrize("body", ["<h1>Welcome</h1>", "{}", "[]", '"x"', "null", '{"list": {}}'])
    def test_another_program_at_the_address(self, crm: FakeEspoCRM, body: str) -> None:
        crm.fail("answer", status=200, body=body)
        connection = provider(crm.url).test_connection()
        assert not connection.connected
        assert "ESPOCRM_URL" in failing(connection)["connection"]

    def test_no_server_and_no_answer(self, crm: FakeEspoCRM) -> None:
        assert "ESPOCRM_URL" in failing(provider(NOBODY).test_connection())["connection"]
        crm.fail("hang")
        with time_budget(1.0):  # enough for a request to be sent on a busy machine
            assert "timeout" in failing(provider(crm.url).test_connection())["connection"]

    def test_each_missing_field_is_named_with_its_setting(self, crm: FakeEspoCRM) -> None:
        crm.remove_field("universityC")
        crm.remove_field("referralCodeC")
        crm.add_field("cReferralCode", "varchar")
        connection = provider(crm.url).test_connection()
        assert connection.connected
        failed = failing(connection)
        assert failed.keys() == {"field universityC", "field referralCodeC"}
        assert "ESPOCRM_MAP_UNIVERSITY" in failed["field universityC"]
        assert "Create it." in failed["field universityC"]
        assert "There is cReferralCode." in failed["field referralCodeC"]
        assert "ESPOCRM_MAP_REFERRAL_CODE" in failed["field referralCodeC"]

    def test_fields_that_are_configured_are_the_ones_that_are_checked(self, crm: FakeEspoCRM) -> None:
        settings = {"ESPOCRM_MAP_CUSTOM_SHOE_SIZE": "cShoe", "ESPOCRM_MAP_UNIVERSITY": ""}
        crm.remove_field("universityC")
        failed = failing(provider(crm.url, **settings).test_connection())
        assert failed.keys() == {"field cShoe"}
        assert "ESPOCRM_MAP_CUSTOM_SHOE_SIZE" in failed["field cShoe"]

    def test_each_missing_option_is_named_with_its_setting(self, crm: FakeEspoCRM) -> None:
        crm.set_options("source", ["", "Call"])
        crm.set_options("userTypeC", ["", "student", "Parent"])
        failed = failing(provider(crm.url).test_connection())
        assert failed.keys() == {"field source", "field userTypeC"}
        assert "'Web Site', 'Partner'" in failed["field source"]
        assert "ESPOCRM_VALUES_SOURCE" in failed["field source"]
        assert "'parent'" in failed["field userTypeC"]
        assert "ESPOCRM_VALUES_USER_TYPE" in failed["field userTypeC"]

    @pytest.mark.parametrize("defect", ["missing", "hidden", "unmapped"])
    def test_an_operation_id_that_cannot_be_looked_up(self, crm: FakeEspoCRM, defect: str) -> None:
        if defect == "missing":
            crm.remove_field(OPERATION_FIELD)
        if defect == "hidden":
            rights = {"Lead": {"create": "yes", "read": "all"}}
            crm.set_role(rights, fieldData={"Lead": {OPERATION_FIELD: {"read": "no"}}})
        settings = {"ESPOCRM_MAP_OPERATION_ID": ""} if defect == "unmapped" else {}
        failed = failing(provider(crm.url, **settings).test_connection())
        assert failed.keys() == {"operation id"} | ({f"field {OPERATION_FIELD}"} if defect == "hidden" else set())
        assert "ESPOCRM_MAP_OPERATION_ID" in failed["operation id"]
        assert "twice" in failed["operation id"]

    def test_what_cannot_be_read_is_reported_and_does_not_disconnect(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=404, path="App/user|Metadata|where")
        connection = provider(crm.url).test_connection()
        assert connection.connected
        assert failing(connection).keys() == {"rights", "fields", "operation id"}

    def test_metadata_that_say_nothing_are_a_failed_check(self, crm: FakeEspoCRM) -> None:
        crm.fail("answer", status=200, body="", content_type=JSON, path="Metadata")
        assert failing(provider(crm.url).test_connection()).keys() == {"fields"}

    def test_an_enum_without_a_list_of_options_is_not_judged(self, crm: FakeEspoCRM) -> None:
        crm.add_field("userTypeC", "enum", options=None)
        assert failing(provider(crm.url).test_connection()) == {}


class TestSettings:
    def test_what_is_required(self) -> None:
        plugin = discover(ROOT / "plugins", ("espocrm",)).providers["espocrm"]
        with pytest.raises(ConfigError) as raised:
            plugin({})
        assert [problem.split(":")[0] for problem in raised.value.problems] == ["ESPOCRM_URL", "ESPOCRM_API_KEY"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("ESPOCRM_URL", "crm.example.com"),
            ("ESPOCRM_URL", "http://crm.example.com"),
            ("ESPOCRM_API_KEY", "two words"),
            ("ESPOCRM_API_KEY", "kéy"),
            ("ESPOCRM_SECRET_KEY", "line\nbreak"),
            ("ESPOCRM_ASSIGNED_USER_ID", "https://crm.example.com/#User/view/1"),
            ("ESPOCRM_MAP_SHOE_SIZE", "cShoeSize"),
        ],
    )
    def test_each_problem_names_its_setting(self, name: str, value: str) -> None:
        with pytest.raises(ConfigError) as raised:
            provider(**{"url": "https://crm.example.com"} | {name: value})
        (problem,) = raised.value.problems
        assert problem.startswith(name)
        assert ("KEY" in name) != (value in problem or "_MAP_" in name or "in the clear" in problem)

    def test_every_setting_says_what_it_is(self) -> None:
        schema = discover(ROOT / "plugins", ("espocrm",)).providers["espocrm"].Settings()
        assert all(field.metadata["help"] for field in schema.fields.values())

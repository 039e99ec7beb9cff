"""The Bitrix24 plugin: its settings, and portals that were renamed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import requests_mock

from crmgate.errors import AuthFailed, ConfigError, OutcomeUnknown
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
from tests.cases import all_cases
from tests.plugins.bitrix.rig import (
    ANNA,
    BOTH_APIS,
    Connect,
    checks,
    creation,
    deliver,
    failure,
    mocked,
    only_lead,
    plugins,
)
from tests.processes import DEADLINE

OLD, NEW = "https://old.bitrix24.de", "https://new.bitrix24.de"


class TestRenamedPortal:
    @pytest.fixture
    def crm(self, adding: Connect) -> HookCaller:
        return adding()

    @pytest.fixture
    def internet(self) -> Iterator[requests_mock.Mocker]:
        with requests_mock.Mocker(real_http=True, case_sensitive=True) as mocker:
            yield mocker

    def test_the_request_is_repeated_at_the_new_address(
        self, portal: FakeBitrix24, connect: Connect, internet: requests_mock.Mocker
    ) -> None:
        settings = {"BITRIX_WEBHOOK_URL": portal.webhook_url.replace(portal.url, OLD)}
        crm = connect(on_duplicate="create", **settings)
        internet.post(re.compile(OLD), text=redirecting(NEW))
        internet.post(re.compile(NEW), content=relayed(portal))
        operation = creation(ANNA)
        deliver(crm, operation)
        assert {request.method for request in portal.requests} == {"POST"}
        assert only_lead(portal)["fm"]
        assert crm.find(operation, 5.0)
        ok, detail = checks(crm)["webhook"]
        assert ok
        assert "new.bitrix24.de" in detail
        internet.post(re.compile(OLD), content=relayed(portal))
        assert checks(crm)["webhook"] == (True, "")

    def test_a_second_redirect_is_not_followed(
        self, portal: FakeBitrix24, connect: Connect, internet: requests_mock.Mocker
    ) -> None:
        crm = connect(on_duplicate="create", BITRIX_WEBHOOK_URL=portal.webhook_url.replace(portal.url, OLD))
        internet.post(re.compile(OLD), content=relayed(portal))
        deliver(crm, creation(ANNA))  # it knows the fields from now on
        internet.post(re.compile(OLD), text=redirecting(NEW))
        internet.post(re.compile(NEW), text=redirecting(OLD))
        before = internet.call_count
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), OutcomeUnknown)
        assert internet.call_count == before + 2

    def test_a_redirect_to_the_same_place_leads_nowhere(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.renamed_to = portal.url
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), AuthFailed)
        assert len(portal.requests) == 1

    @pytest.mark.parametrize("status", [300, 303, 304])
    def test_other_redirects_do_not_mean_a_new_address(
        self, portal: FakeBitrix24, crm: HookCaller, status: int
    ) -> None:
        portal.fail("answer", status=status, headers={"Location": "https://127.0.0.1/"})
        assert isinstance(failure(lambda: deliver(crm, creation(ANNA))), OutcomeUnknown)

    @all_cases("status", [301, 302, 307, 308])
    @all_cases(
        "to",
        [
            "https://new.bitrix24.de{path}",
            "https://new.bitrix24.de:443{path}",
            "//new.bitrix24.de{path}",
        ],
    )
    def test_where_the_secret_may_go(self, status: int, to: str) -> None:
        assert refusal("https://old.bitrix24.de/rest/1/s3cret/", to, status) is None

    @all_cases(
        "to",
        [
            "",
            "{path}",
            "https://old.bitrix24.de/auth/?backurl={path}",
            "https://new.bitrix24.de/rest/1/other/crm.item.add.json",
            "https://new.bitrix24.de/rest/1/s3cret/crm.item.delete.json",
            "http://old.bitrix24.de{path}",
            "http://old.bitrix24.de:8080{path}",
            "http://new.bitrix24.de{path}",
            "https://new.bitrix24.de:8443{path}",
            "https://old.bitrix24.de:8443{path}",
            "https://new.bitrix24.com{path}",
            "https://new.bitrix24.de.evil.example{path}",
            "https://evilbitrix24.de{path}",
            "https://a.b.bitrix24.de{path}",
            "https://user:pass@new.bitrix24.de{path}",
            "https://evil.example{path}",
            "https://evil.example\\.bitrix24.de{path}",
            "//evil.example{path}",
            "ftp://old.bitrix24.de{path}",
            "https://[{path}",
            "https://old.bitrix24.de:x{path}",
        ],
    )
    def test_where_it_may_not(self, to: str) -> None:
        error = refusal("https://old.bitrix24.de/rest/1/s3cret/", to)
        assert error
        assert "BITRIX_WEBHOOK_URL" in error.detail
        assert "s3cret" not in str(error)

    def test_a_portal_of_ones_own_stays_on_its_host(self) -> None:
        webhook = "https://crm.example.com/rest/1/s3cret/"
        assert refusal(webhook, "https://new.example.com{path}")

    @pytest.mark.parametrize(
        ("here", "to", "follows"),
        [
            ("https://crm.internal", "https://crm.internal:444", False),
            ("https://crm.internal:8443", "https://crm.internal:8444", False),
            ("http://crm.internal:8443", "https://crm.internal:8443", True),
            ("https://crm.internal:8443", "https://crm.internal", True),
            ("http://crm.internal:8080", "http://crm.internal:8081", False),
            ("http://crm.internal:8080", "http://crm.internal", False),
            ("http://crm.internal:8080", "https://crm.internal:8443", False),
        ],
    )
    def test_another_port_of_the_same_host_is_another_place(self, here: str, to: str, follows: bool) -> None:
        assert (refusal(f"{here}/rest/1/s3cret/", f"{to}{{path}}") is None) is follows

    def test_http_on_a_host_of_ones_own_may_become_https(self) -> None:
        assert refusal("http://crm.internal/rest/1/s3cret/", "https://crm.internal{path}") is None


def redirecting(to: str) -> Callable[[Any, Any], str]:
    """Answers with a redirect to the same path at `to`."""

    def answer(request: Any, context: Any) -> str:
        context.status_code, context.headers = 302, {"Location": to + request.path}
        return ""

    return answer


def relayed(portal: FakeBitrix24) -> Callable[[Any, Any], bytes]:
    """Answers with what `portal` says."""

    def answer(request: Any, context: Any) -> bytes:
        answer = requests.post(portal.url + request.path, json=request.json(), timeout=DEADLINE)
        context.status_code, context.headers = answer.status_code, answer.headers
        return answer.content

    return answer


def refusal(webhook: str, to: str, status: int = 302) -> AuthFailed | None:
    """The error after a redirect to `to`, where the secret was not sent; None when the lead was made there."""
    crm = plugins().choose("bitrix", {"BITRIX_WEBHOOK_URL": webhook}, 5.0, ("crm.internal",), on_duplicate="create")
    location = to.format(path="/rest/1/s3cret/crm.item.add.json")
    with requests_mock.Mocker() as http:
        http.post(requests_mock.ANY, json=lambda request, _: mocked(request))
        http.post(f"{webhook}crm.item.add.json", status_code=status, headers={"Location": location})
        error = None
        try:
            deliver(crm, creation(ANNA))
        except AuthFailed as refused:
            error = refused
    creates = [
        request for request in http.request_history if "userfield" not in request.path and "item.add" in request.path
    ]
    assert [request.method for request in creates] == ["POST"] * (1 if error else 2)
    return error


class TestSettings:
    @pytest.mark.parametrize(
        "address",
        [
            "https://example.bitrix24.com/rest/1/s3cret",
            "https://example.bitrix24.com/rest/1/s3cret/",
            "https://crm.example.com:8443/rest/27/S3cret_-9/",
        ],
    )
    def test_good_addresses(self, address: str) -> None:
        plugins().choose("bitrix", {"BITRIX_WEBHOOK_URL": address}, 5.0, ())

    @all_cases(
        "address",
        [
            "s3cret",
            "https://example.bitrix24.com/",
            "https://example.bitrix24.com/rest/s3cret/",
            "https://example.bitrix24.com/rest/1/s3cret/profile.json",
            "https://example.bitrix24.com/rest/1/s3cret/?x=1",
            "https://example.bitrix24.com/rest/1/s3cret/#x",
            "https://user:s3cret@example.bitrix24.com/rest/1/s3cret/",
            "https://example.bitrix24.com/rest/anna/s3cret/",
            "https://example.bitrix24.com/rest/1/s3cret/\n/",
            "http://example.bitrix24.com/rest/1/s3cret/",
            "",
        ],
    )
    def test_bad_addresses(self, address: str) -> None:
        with pytest.raises(ConfigError) as caught:
            plugins().choose("bitrix", {"BITRIX_WEBHOOK_URL": address}, 5.0, ())
        (problem,) = caught.value.problems
        assert problem.startswith("BITRIX_WEBHOOK_URL")
        assert "/rest/<user id>/<secret>/" in problem or "CRM_HTTP_HOSTS" in problem
        assert "s3cret" not in problem

    @pytest.mark.parametrize("value", ["anna", "0", "-1", "1.5"])
    def test_the_assigned_user_is_a_number(self, connect: Connect, value: str) -> None:
        with pytest.raises(ConfigError, match="BITRIX_ASSIGNED_BY_ID"):
            connect(BITRIX_ASSIGNED_BY_ID=value)

    def test_unknown_facts_are_problems(self, connect: Connect) -> None:
        with pytest.raises(ConfigError, match="BITRIX_MAP_NAME"):
            connect(BITRIX_MAP_NAME="name")

    def test_the_api(self, portal: FakeBitrix24, connect: Connect) -> None:
        with pytest.raises(ConfigError, match="BITRIX_API"):
            connect(BITRIX_API="deal")

    def test_capabilities(self) -> None:
        hooks = {"create_lead", "create_minimal_lead", "find_lead", "update_lead", "log_activity", "provision"}
        assert hooks <= plugins().providers["bitrix"].capabilities

    @BOTH_APIS
    def test_a_portal_as_it_should_be(self, portal: FakeBitrix24, connect: Connect) -> None:
        assert all(check.ok for check in connect().test_connection(5.0).checks)

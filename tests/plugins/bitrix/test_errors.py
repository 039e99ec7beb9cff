"""The Bitrix24 plugin: what each error means."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from requests.structures import CaseInsensitiveDict

from crmgate.errors import (
    AuthFailed,
    Code,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.model import Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.provider import Answer, FieldMap
from crmgate.testing.bitrix24 import FakeBitrix24
from plugins.bitrix.answers import ERRORS, failure_in
from plugins.bitrix.api import BitrixApi
from tests.cases import all_cases
from tests.plugins.bitrix.rig import (
    ADD,
    ANNA,
    FULL,
    REFUSED,
    RIGHTS,
    TABLE,
    UNKNOWN,
    Connect,
    calls,
    creation,
    deliver,
    failure,
)

UNNAMED: list[tuple[Any, int, tuple[type[ProviderError], Code]]] = [
    *((code, status, REFUSED) for code in ("", None) for status in (200, 400)),
    *((code, status, UNKNOWN) for code in (0, "0", 400, "12", "ERROR_CORE", "error_core") for status in (200, 400)),
    *((code, 429, (RateLimited, Code.RATE_LIMITED)) for code in ("", "NEW_CODE", "OVERLOAD_LIMIT", "ACCESS_DENIED")),
    *((code, status, UNKNOWN) for code in ("", 0, "NEW_CODE") for status in (500, 502, 503)),
    (100, 400, REFUSED),
    ("NEW_CODE", 400, REFUSED),
    ("NEW_CODE", 401, RIGHTS),
    ("NEW_CODE", 403, RIGHTS),
    ({"code": "nested"}, 400, REFUSED),
]
CODES = ("NEW_CODE", "ERROR_CORE", "error_core", "OVERLOAD_LIMIT", "ACCESS_DENIED")
COMMENTS = ("crm.timeline.comment.add", "crm.timeline.comment.list")
NO_ANSWERS = {
    "html": "<html><h1>Bad Gateway</h1></html>",
    "empty": "",
    "truncated": '{"result": {"item": {"id": 34',
    "list": "[]",
    "null": "null",
    "text": '"x"',
    "object": "{}",
    "deep": "[" * 9999,
}


def answering(status: int, body: str) -> BitrixApi:
    """The API client with one answer to every request."""
    settings = {
        "BITRIX_WEBHOOK_URL": "https://portal.example/rest/1/secret/",
        "BITRIX_API": "item",
        "BITRIX_TARGET": "lead",
    }
    answer = Answer(status, CaseInsensitiveDict(), body.encode())
    return BitrixApi(settings, lambda *_, **__: answer, FieldMap())


class TestTable:
    """The table of errors as data, and the calls that read it."""

    @all_cases(("code", "status", "expected"), TABLE)
    def test_every_code(self, code: str, status: int, expected: Any) -> None:
        for given in (status, 200):
            found = failure_in({"error": code, "error_description": "<b>A text</b>"}, given, read=False)
            assert (found.kind, found.code, found.vendor_code) == (*expected, code)
            assert "A text" not in found.words

    @all_cases(("code", "status", "expected"), TABLE)
    def test_the_case_does_not_matter(self, code: str, status: int, expected: Any) -> None:
        for change in (str.lower, str.upper, str.swapcase):
            assert failure_in({"error": change(code)}, status, read=False).kind is expected[0]

    @all_cases(("code", "status", "expected"), TABLE)
    def test_a_read_has_no_unknown_outcome(self, code: str, status: int, expected: Any) -> None:
        kind = Unavailable if expected[0] is OutcomeUnknown else expected[0]
        assert failure_in({"error": code}, status, read=True).kind is kind

    def test_the_table_names_every_code(self) -> None:
        texts = {
            "access denied", "not found", "lead is not found", "user is not found or is not active",
            "rest is available only by subscription",
        }  # fmt: skip
        assert {code.lower() for code, _, _ in TABLE} | texts == {*ERRORS}

    @all_cases(("code", "status", "expected"), UNNAMED)
    def test_without_a_known_code(self, code: Any, status: int, expected: Any) -> None:
        found = failure_in({"error": code, "error_description": "Text"}, status, read=False)
        assert (found.kind, found.code) == expected
        assert found.vendor_code in ("", "0", "12", "100", "400", *CODES)

    @pytest.mark.parametrize(("text", "kind"), [("Access denied.", AuthFailed), ("Not found", NotFound)])
    def test_the_old_methods_send_a_text(self, text: str, kind: type[ProviderError]) -> None:
        assert failure_in({"error": "", "error_description": text}, 400, read=False).kind is kind

    @all_cases("method", ["crm.item.get", "crm.item.update", "crm.lead.update", *COMMENTS])
    @all_cases("code", ["ACCESS_DENIED", "Access denied", ""])
    def test_access_denied_by_a_method_about_one_lead_concerns_this_lead(self, method: str, code: str) -> None:
        body = {"error": code, "error_description": "Access denied."}
        assert failure_in(body, 400, read=False, method=method).kind is Forbidden
        for add in ("crm.item.add", "crm.lead.add"):
            assert failure_in(body, 400, read=False, method=add).kind is AuthFailed

    @pytest.mark.parametrize(("method", "kind"), [("crm.item.add", OutcomeUnknown), ("crm.lead.add", Rejected)])
    def test_an_unlisted_text_without_a_code(self, method: str, kind: type[ProviderError]) -> None:
        """Errors of `crm.item.*` can be added after the record was saved; the old methods refuse values this way."""
        body = {"error": "", "error_description": "Kotanız doldu."}
        assert failure_in(body, 400, read=False, method=method).kind is kind

    def test_a_fault_that_names_a_field_of_the_request_is_a_refusal(self, portal: FakeBitrix24) -> None:
        api = answering(400, json.dumps({"error": "0", "error_description": "Invalid value in 'lastName'"}))
        error = failure(lambda: api.call("crm.item.add", {"fields": {"lastName": "x"}}, safe=False))
        assert isinstance(error, Rejected)
        assert [*error.fields] == ["lastName"]

    def test_a_missing_subscription_concerns_every_method(self) -> None:
        body = {"error": "ACCESS_DENIED", "error_description": "REST is available only by subscription."}
        for method in ("crm.item.add", *COMMENTS):
            found = failure_in(body, 401, read=False, method=method)
            assert (found.kind, found.code) == RIGHTS
            assert "Market" in found.words

    def test_a_user_field_is_refused_with_error_core(self) -> None:
        body = {"error": "ERROR_CORE", "error_description": "The field exists."}
        assert failure_in(body, 400, read=False, method="crm.lead.userfield.add").kind is Rejected

    @all_cases("status", [200, 400, 404, 500, 502, 503])
    @all_cases("body", NO_ANSWERS.values(), ids=NO_ANSWERS)
    def test_what_is_no_answer_of_bitrix24(self, status: int, body: str) -> None:
        for safe, kind in ((False, OutcomeUnknown), (True, Unavailable)):
            error = failure(lambda: answering(status, body).call("crm.item.add", {}, safe=safe))  # noqa: B023
            assert (type(error), error.status) == (kind, status)
            assert "Gateway" not in str(error)


class TestErrors:
    @pytest.fixture
    def crm(self, adding: Connect) -> HookCaller:
        return adding()

    @pytest.mark.parametrize("at_200", [False, True], ids=["status", "200"])
    @pytest.mark.parametrize("row", [TABLE[0], TABLE[4], TABLE[7], TABLE[20]], ids=lambda row: row[0])
    def test_a_code_over_http(self, portal: FakeBitrix24, crm: HookCaller, row: Any, at_200: bool) -> None:
        code, status, expected = row
        portal.fail_with(code, "<b>A text</b>", status=200 if at_200 else status)
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code, error.vendor_code) == (*expected, code)
        assert error.status == (200 if at_200 else status)
        assert "A text" not in str(error)
        assert len(portal.requests) == 1

    def test_a_read_over_http(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail_with("INTERNAL_SERVER_ERROR", status=500)
        assert type(failure(lambda: crm.find(creation(ANNA), 5.0))) is Unavailable

    @pytest.mark.parametrize("body", [NO_ANSWERS["html"], NO_ANSWERS["truncated"]])
    def test_no_answer_of_bitrix24_over_http(self, portal: FakeBitrix24, crm: HookCaller, body: str) -> None:
        portal.fail("answer", status=200, body=body)
        assert type(failure(lambda: deliver(crm, creation(ANNA)))) is OutcomeUnknown
        assert type(failure(lambda: crm.find(creation(ANNA), 5.0))) is Unavailable

    @pytest.mark.parametrize(
        "result", [None, True, [], {}, {"item": {}}, {"item": {"id": None}}, {"item": {"id": "x"}}]
    )
    def test_a_success_without_a_lead_is_none(self, portal: FakeBitrix24, crm: HookCaller, result: Any) -> None:
        portal.fail("answer", status=200, body=json.dumps({"result": result}))
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (OutcomeUnknown, Code.INVALID_RESPONSE)

    def test_a_hanging_portal(self, portal: FakeBitrix24, adding: Connect) -> None:
        crm = adding(timeout=0.2)
        portal.fail("hang")
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (OutcomeUnknown, Code.TIMEOUT)
        assert type(failure(lambda: crm.find(creation(ANNA), 5.0))) is Unavailable

    @pytest.mark.parametrize(("when", "stored"), [("before", 0), ("after", 1)])
    def test_a_dropped_connection(self, portal: FakeBitrix24, crm: HookCaller, when: Any, stored: int) -> None:
        portal.fail("drop", when=when)
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (OutcomeUnknown, Code.CONNECTION_DROPPED)
        assert len(portal.leads) == stored
        assert len(calls(portal, "crm.item.add")) == 1

    def test_a_server_error_after_the_work_was_done(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.fail_with("INTERNAL_SERVER_ERROR", when="after", path=ADD)
        operation = creation(ANNA)
        assert isinstance(failure(lambda: deliver(crm, operation)), OutcomeUnknown)
        assert crm.find(operation, 5.0)

    def test_no_server_at_the_address(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.stop()
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == (Unavailable, Code.CONNECTION_FAILED)

    def test_a_wrong_secret(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.secret = "changed"
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert isinstance(error, AuthFailed)
        assert "BITRIX_WEBHOOK_URL" in error.detail


class TestPatience:
    @pytest.fixture
    def crm(self, adding: Connect) -> HookCaller:
        return adding()

    def test_the_bucket_asks_for_none(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.rate_limit, portal.burst = True, 1
        deliver(crm, creation(ANNA))
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.retry_after) == (RateLimited, None)
        assert len(portal.leads) == 1

    def test_operating_time_is_waited_for(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.time_in_time_limits = True
        portal.time_limits["crm.item.add"] = time.time() + 90
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert isinstance(error, RateLimited)
        assert error.retry_after == pytest.approx(90, abs=2)

    @pytest.mark.parametrize(
        ("section", "expected"),
        [
            ({"operating_reset_at": 5030, "finish": 5000.5}, 29.5),
            ({"operating_reset_at": 9000, "finish": 5000}, 600),
            ({"operating_reset_at": 4000, "finish": 5000}, 0),
            ({"operating_reset_at": 0}, 0),
            ({"operating_reset_at": "soon", "finish": 5000}, 600),
            ({}, 600),
            (None, 600),
        ],
    )
    def test_by_the_clock_of_the_portal(
        self, portal: FakeBitrix24, crm: HookCaller, section: Any, expected: float
    ) -> None:
        body = {"error": "OPERATION_TIME_LIMIT", "error_description": "", "time": section}
        portal.fail("answer", status=429, body=json.dumps(body))
        assert failure(lambda: deliver(crm, creation(ANNA))).retry_after == pytest.approx(expected, abs=5)

    def test_without_a_time_the_last_good_answer_says_it(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        times = {"operating_reset_at": 5090, "finish": 5000}
        answers = [
            {"status": 200, "body": json.dumps({"result": {"item": {"id": 1}}, "time": times})},
            {"status": 429, "body": json.dumps({"error": "OPERATION_TIME_LIMIT", "error_description": ""})},
        ]
        for answer in answers:
            portal.heal()
            portal.fail("answer", path=ADD, **answer)
            if answer["status"] == 200:
                deliver(crm, creation(ANNA))
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.retry_after) == (RateLimited, pytest.approx(90, abs=5))

    @pytest.mark.parametrize("body", ["<h1>Too Many Requests</h1>", "", '{"error": "OTHER"}', '{"result": true}'])
    def test_every_429_is_a_rate_limit(self, portal: FakeBitrix24, crm: HookCaller, body: str) -> None:
        portal.fail("answer", status=429, body=body, headers={"Retry-After": "7.2"})
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.retry_after) == (RateLimited, 8.0)

    def test_retry_after_is_read_where_it_comes(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        body = json.dumps({"error": "QUERY_LIMIT_EXCEEDED", "error_description": ""})
        portal.fail("answer", status=503, body=body, headers={"Retry-After": "12"})
        assert failure(lambda: deliver(crm, creation(ANNA))).retry_after == 12.0


class TestRejectedFields:
    @pytest.fixture
    def crm(self, adding: Connect) -> HookCaller:
        return adding()

    def rejected(self, crm: HookCaller, lead: Lead = FULL) -> Rejected:
        error = failure(lambda: deliver(crm, creation(lead)))
        assert isinstance(error, Rejected)
        return error

    def test_a_value_that_a_list_no_longer_has(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.make_enumeration("UF_CRM_1234567893", "Student")
        error = self.rejected(crm)
        assert error.fields == {"UF_CRM_1234567893": "the portal refuses a value"}
        assert "UF_CRM_1234567893 (BITRIX_MAP_USER_TYPE, BITRIX_VALUES_USER_TYPE)" in error.detail

    def test_a_source_that_was_removed(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.check_sources = True
        del portal.sources["PARTNER"]
        assert list(self.rejected(crm).fields) == ["sourceId"]

    def test_a_field_that_became_mandatory(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.enforce_required = True
        portal.add_user_field("UF_CRM_OFFICE", mandatory=True)
        error = self.rejected(crm)
        assert (error.code, list(error.fields)) == (Code.INVALID_VALUE, ["UF_CRM_OFFICE"])

    def test_a_field_called_by_its_label(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.make_enumeration("UF_CRM_1234567893", "Student")
        portal.name_fields_by_label = True
        assert list(self.rejected(crm).fields) == ["UF_CRM_1234567893"]
        self.rejected(crm)
        assert len(calls(portal, "batch")) == 1

    def test_a_label_that_cannot_be_looked_up(self, portal: FakeBitrix24, crm: HookCaller) -> None:
        portal.make_enumeration("UF_CRM_1234567893", "Student")
        portal.name_fields_by_label = True
        portal.fail("drop", path="batch")
        assert self.rejected(crm).fields == {}

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("Value &quot;Ayşe&quot; of <b>'name'</b> is bad", ["name"]),
            ("[lastName] and {utmTerm}: «Öztürk»", ["lastName", "utmTerm"]),
            ('Invalid phone in "PHONE"', ["PHONE"]),
            ("name is bad", []),
            ("<" * 999_000, []),
            (None, []),
            ({"a": 1}, []),
        ],
    )
    def test_names_are_taken_from_the_text_and_nothing_else(
        self, portal: FakeBitrix24, crm: HookCaller, text: Any, named: list[str]
    ) -> None:
        portal.fail_with("CRM_FIELD_ERROR_VALUE_NOT_VALID", text)
        error = self.rejected(crm)
        assert list(error.fields) == named
        assert "Ayşe" not in str(error) + repr(error.fields)

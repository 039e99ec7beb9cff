"""The Bitrix24 plugin: what each error means."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from crmgate.errors import AuthFailed, Code, OutcomeUnknown, ProviderError, RateLimited, Rejected, Unavailable
from crmgate.model import Lead
from crmgate.plugin_host.caller import HookCaller
from crmgate.testing.bitrix24 import FakeBitrix24
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
    *((code, status, REFUSED) for code in ("", 0, "0", None) for status in (200, 400)),
    *((code, status, UNKNOWN) for code in ("", 0, "NEW_CODE") for status in (500, 502, 503)),
    (100, 400, REFUSED),
    ("NEW_CODE", 400, REFUSED),
    ("NEW_CODE", 401, RIGHTS),
    ("NEW_CODE", 403, RIGHTS),
    ({"code": "nested"}, 400, REFUSED),
]


class TestErrors:
    @pytest.fixture
    def crm(self, adding: Connect) -> HookCaller:
        return adding()

    @pytest.mark.parametrize("at_200", [False, True], ids=["status", "200"])
    @pytest.mark.parametrize(("code", "status", "expected"), TABLE)
    def test_every_code(
        self, portal: FakeBitrix24, crm: HookCaller, code: str, status: int, expected: Any, at_200: bool
    ) -> None:
        portal.fail_with(code, "<b>A text</b>", status=200 if at_200 else status)
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code, error.vendor_code) == (*expected, code)
        assert error.status == (200 if at_200 else status)
        assert "A text" not in str(error)
        assert len(portal.requests) == 1

    @pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
    @pytest.mark.parametrize(("code", "status", "expected"), TABLE)
    def test_the_case_does_not_matter(
        self, portal: FakeBitrix24, crm: HookCaller, code: str, status: int, expected: Any, change: Callable[[str], str]
    ) -> None:
        portal.fail_with(change(code), status=status)
        assert type(failure(lambda: deliver(crm, creation(ANNA)))) is expected[0]

    @pytest.mark.parametrize(("code", "status", "expected"), UNNAMED)
    def test_without_a_known_code(
        self, portal: FakeBitrix24, crm: HookCaller, code: Any, status: int, expected: Any
    ) -> None:
        portal.fail("answer", status=status, body=json.dumps({"error": code, "error_description": "Text"}))
        error = failure(lambda: deliver(crm, creation(ANNA)))
        assert (type(error), error.code) == expected
        assert error.vendor_code in ("", "100", "NEW_CODE")

    @pytest.mark.parametrize(("code", "status", "expected"), TABLE)
    def test_a_read_has_no_unknown_outcome(
        self, portal: FakeBitrix24, crm: HookCaller, code: str, status: int, expected: Any
    ) -> None:
        portal.fail_with(code, status=status)
        kind = Unavailable if expected[0] is OutcomeUnknown else expected[0]
        assert type(failure(lambda: crm.find(creation(ANNA), 5.0))) is kind

    @pytest.mark.parametrize("status", [200, 400, 404, 500, 502, 503])
    @pytest.mark.parametrize(
        "body",
        [
            "<html><h1>Bad Gateway</h1></html>",
            "",
            '{"result": {"item": {"id": 34',
            "[]",
            "null",
            '"x"',
            "{}",
            "[" * 9999,
        ],
        ids=["html", "empty", "truncated", "list", "null", "text", "object", "deep"],
    )
    def test_what_is_no_answer_of_bitrix24(self, portal: FakeBitrix24, crm: HookCaller, status: int, body: str) -> None:
        portal.fail("answer", status=status, body=body)
        for act, kind in (
            (lambda: deliver(crm, creation(ANNA)), OutcomeUnknown),
            (lambda: crm.find(creation(ANNA), 5.0), Unavailable),
        ):
            error = failure(act)
            assert (type(error), error.status) == (kind, status)
            assert "Gateway" not in str(error)

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

    def test_nobody_listens(self, portal: FakeBitrix24, crm: HookCaller) -> None:
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
        assert failure(lambda: deliver(crm, creation(ANNA))).retry_after == expected


class TestRejectedFields:
    @pytest.fixture
    def crm(self, adding: Connect) -> HookCaller:
        return adding()

    def rejected(self, crm: HookCaller, lead: Lead = FULL) -> Rejected:
        error = failure(lambda: deliver(crm, creation(lead)))
        assert isinstance(error, Rejected)
        return error

    def test_a_value_that_a_list_does_not_have_any_more(self, portal: FakeBitrix24, crm: HookCaller) -> None:
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

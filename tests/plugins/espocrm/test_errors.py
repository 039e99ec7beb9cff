"""The EspoCRM plugin: what each answer means, those included that were recorded of a real EspoCRM."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests_mock as mocking
from requests.structures import CaseInsensitiveDict

from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.model import Lead
from crmgate.provider import Answer, time_budget
from crmgate.testing.espocrm import FakeEspoCRM
from plugins.espocrm.answers import error_for, was_created
from plugins.espocrm.api import rows_of
from tests.cases import all_cases
from tests.plugins.espocrm.rig import (
    ADA,
    DEAD,
    HTML,
    JSON,
    NOBODY,
    ROOT,
    click,
    create,
    operation,
    provider,
    replay,
    user_id,
)

EXCHANGES = ROOT / "tests" / "contracts" / "espocrm" / "exchanges"
NGINX = "<html><head><title>404 Not Found</title></head></html>"
FLAW = "Field validation failure; entityType: Lead, field: {}, type: {}."
ANSWERS: dict[str, tuple[int, str, str | None, str, type[ProviderError], type[ProviderError], Code]] = {
    # what happened: status, content type, X-Status-Reason, body, error of a create, of a look-up, code
    "bad key": (401, HTML, None, "", AuthFailed, AuthFailed, Code.BAD_CREDENTIALS),
    "lockout": (403, HTML, None, "", RateLimited, RateLimited, Code.LOCKED_OUT),
    "no right": (403, JSON, "No create access.", "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "no right, without its name": (403, JSON, "", "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "no right, no reason": (403, JSON, None, "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "no right, as HTML": (403, HTML, "", "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "no right to read": (403, JSON, "No read access.", "", AuthFailed, AuthFailed, Code.NO_PERMISSION),
    "another's lead": (403, JSON, "No 'read' access.", "", Forbidden, Forbidden, Code.FORBIDDEN),
    "no edit": (403, JSON, "No edit access.", "", Forbidden, Forbidden, Code.FORBIDDEN),
    "a script": (403, JSON, "Region closed.", "", Forbidden, Forbidden, Code.FORBIDDEN),
    "a script, as HTML": (403, HTML, "Bölge kapalı.", "", Forbidden, Forbidden, Code.FORBIDDEN),
    "a script that says none": (403, JSON, "none of these regions", "", Forbidden, Forbidden, Code.FORBIDDEN),
    "firewall": (403, HTML, None, "<h1>Blocked</h1>", Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "odd reason": (400, JSON, "Yılmaz ist 'ünlü'.", "", Rejected, Rejected, Code.INVALID_REQUEST),
    "no JSON object": (400, JSON, "Body is not a JSON object.", "", Rejected, Rejected, Code.INVALID_REQUEST),
    "bad request page": (400, HTML, None, NGINX, Rejected, Rejected, Code.INVALID_REQUEST),
    "invalid": (400, JSON, FLAW.format("cMustHave", "pattern"), "{}", Rejected, Rejected, Code.INVALID_VALUE),
    "no controller": (
        404, JSON, "Controller 'Lead' does not exist.", "", Unsupported, Unsupported, Code.UNSUPPORTED,
    ),
    "no record": (404, JSON, "Record 5 not found.", "", NotFound, NotFound, Code.NOT_FOUND),
    "another server": (404, HTML, None, NGINX, Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "no such method": (405, HTML, None, NGINX, Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "redirect": (301, HTML, None, NGINX, Unavailable, Unavailable, Code.INVALID_RESPONSE),
    "too large": (413, HTML, None, NGINX, Rejected, Rejected, Code.INVALID_REQUEST),
    "too many": (429, HTML, None, NGINX, RateLimited, RateLimited, Code.RATE_LIMITED),
    "database down": (500, HTML, None, "", OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "error page": (500, HTML, None, "<h1>Fatal error</h1>", OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "PHP down": (502, HTML, None, NGINX, OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "maintenance": (
        503, HTML, "Application is in maintenance mode.", '{"message": "x"}', Unavailable, Unavailable,
        Code.MAINTENANCE,
    ),
    "overload": (503, HTML, None, NGINX, OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "proxy gave up": (504, HTML, None, NGINX, OutcomeUnknown, Unavailable, Code.SERVER_ERROR),
    "truncated": (200, JSON, None, '{"id":"6b03b07947e1a', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "empty": (200, JSON, None, "", OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "no id": (200, JSON, None, '{"lastName": "x"}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "empty id": (200, JSON, None, '{"id": ""}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "null id": (200, JSON, None, '{"id": null}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "not an object": (200, JSON, None, '["x"]', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "not UTF-8": (200, JSON, None, '{"id": "\udcff"}', OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "a website": (200, HTML, None, "<h1>Welcome</h1>", OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
    "nothing": (204, JSON, None, "", OutcomeUnknown, Unavailable, Code.INVALID_RESPONSE),
}  # fmt: skip
REFUSED: dict[str, dict[str, str]] = {
    FLAW.format("phoneNumber", "valid"): {"phoneNumber": "valid"},
    FLAW.format("lastName", "pattern"): {"lastName": "pattern"},
    FLAW.format("cMustHave", "required"): {"cMustHave": "required"},
    "Assignment failure: assigned user or team not allowed.": {"assignedUserId": "assignment"},
    "Can't relate with non-existing record. entity type: Lead, link: campaign.": {"campaignId": "link"},
    "Can't relate with non-existing record. entity type: Lead, link: assignedUser.": {"assignedUserId": "link"},
    "No foreign record access for link operation (Lead:assignedUser).": {"assignedUserId": "link"},
    "The field: Lovelace, type: secret.": {},
}


def answer(status: int, content_type: str, reason: str | None, body: str = "") -> Answer:
    """An answer as HTTP clients read it: the bytes of a reason are UTF-8, and headers are Latin-1."""
    raw = {} if reason is None else {"X-Status-Reason": reason.encode().decode("latin-1")}
    headers = CaseInsensitiveDict({"Content-Type": content_type, **raw})
    return Answer(status, headers, body.encode(errors="surrogateescape"))


class TestTable:
    """The table of errors as data."""

    @all_cases("row", list(ANSWERS.values()), ids=list(ANSWERS))
    def test_each_answer_has_its_error(self, row: tuple[Any, ...]) -> None:
        *reply, on_write, on_read, code = row
        for read, kind in ((False, on_write), (True, on_read)):
            error = error_for(answer(*reply), read=read)
            assert (type(error), error.code, error.status) == (kind, code, row[0])
            assert error.detail

    @all_cases("row", list(ANSWERS.values()), ids=list(ANSWERS))
    def test_no_answer_is_a_record_or_a_list(self, row: tuple[Any, ...]) -> None:
        assert not was_created(answer(*row[:4]))
        with pytest.raises(row[5]):
            rows_of(answer(*row[:4]))

    @pytest.mark.parametrize(("reason", "fields"), list(REFUSED.items()))
    def test_a_refused_field_is_named(self, reason: str, fields: dict[str, str]) -> None:
        error = error_for(answer(400 if "field:" in reason else 403, JSON, reason), read=False)
        assert isinstance(error, Rejected)
        assert error.fields == fields
        assert all(name in str(error) for name in fields)
        assert "Lovelace" not in str(error)


class TestErrors:
    @pytest.mark.parametrize("name", ["bad key", "invalid", "PHP down", "maintenance", "truncated", "null id"])
    def test_an_answer_in_every_hook(self, name: str) -> None:
        *reply, on_create, on_find, code = ANSWERS[name]
        plugin = provider(NOBODY)
        with mocking.Mocker() as mocker:
            replay(mocker, *reply)
            mocker.get(mocking.ANY, json={"list": []})
            with pytest.raises(ProviderError) as created:
                create(plugin)
            with pytest.raises(ProviderError) as clicked:
                click(plugin)
            writes = [one for one in mocker.request_history if one.method == "POST"]
            assert len(writes) == 2, "none of these answers justifies a second request"
            replay(mocker, *reply)
            with pytest.raises(ProviderError) as found:
                plugin.find_lead(operation=operation(ADA))
        for error, kind in ((created.value, on_create), (clicked.value, on_create), (found.value, on_find)):
            assert (type(error), error.code, error.status) == (kind, code, ANSWERS[name][0])

    @pytest.mark.parametrize(
        ("attributes", "fields"),
        [
            ({"first_name": "A" * 101}, {"firstName": "maxLength"}),
            ({"last_name": "x > y"}, {"lastName": "pattern"}),
            ({"email": "ünlü@örnek.com"}, {"emailAddress": "emailAddress"}),
            ({"phone": "05551112233"}, {"phoneNumber": "valid"}),
            ({"referral_code": "R" * 65}, {"referralCodeC": "maxLength"}),
        ],
    )
    def test_values_that_espocrm_refuses(
        self, crm: FakeEspoCRM, attributes: dict[str, str], fields: dict[str, str]
    ) -> None:
        with pytest.raises(Rejected) as raised:
            create(
                provider(crm.url, DEAD), Lead.from_dict({"first_name": "Ada", "email": "a@example.org"} | attributes)
            )
        assert (raised.value.fields, raised.value.code) == (fields, Code.INVALID_VALUE)

    def test_an_option_that_espocrm_does_not_have(self, crm: FakeEspoCRM) -> None:
        crm.set_options("source", ["", "Call"])
        with pytest.raises(Rejected) as raised:
            create(provider(crm.url, DEAD))
        assert raised.value.fields == {"source": "valid"}

    @pytest.mark.parametrize(("permission", "flaw"), [("not-set", "assignment"), ("all", "link")])
    @pytest.mark.parametrize("assignee", ["6b03b0155fea3963a", "admin"])
    def test_an_assignee_that_espocrm_refuses(
        self, crm: FakeEspoCRM, assignee: str, permission: str, flaw: str
    ) -> None:
        crm.set_role({"Lead": {"create": "yes", "read": "all"}}, assignmentPermission=permission)
        given = user_id(crm, assignee) if assignee == "admin" else assignee
        with pytest.raises(Rejected, match="ESPOCRM_ASSIGNED_USER_ID") as raised:
            create(provider(crm.url, DEAD, ESPOCRM_ASSIGNED_USER_ID=given))
        assert raised.value.fields == {"assignedUserId": flaw}

    def test_outages_of_espocrm(self, crm: FakeEspoCRM) -> None:
        plugin = provider(crm.url)
        for attribute, kind, code in (
            ("maintenance", Unavailable, Code.MAINTENANCE),
            ("database_down", Unavailable, Code.SERVER_ERROR),
            ("php_down", Unavailable, Code.SERVER_ERROR),
        ):
            setattr(crm, attribute, True)
            with pytest.raises(ProviderError) as raised:
                create(plugin)
            assert (type(raised.value), raised.value.code) == (kind, code)
            setattr(crm, attribute, False)
        create(plugin)

    def test_a_bad_key_is_distinguished_from_the_lockout_that_follows(self, crm: FakeEspoCRM) -> None:
        bad = provider(crm.url, ESPOCRM_API_KEY="wrong")
        codes = []
        for _ in range(12):
            with pytest.raises((AuthFailed, RateLimited)) as raised:
                create(bad)
            codes.append(raised.value.code)
        assert codes == [Code.BAD_CREDENTIALS] * 11 + [Code.LOCKED_OUT]
        with pytest.raises(RateLimited) as raised:
            create(provider(crm.url))
        assert (raised.value.code, raised.value.retry_after) == (Code.LOCKED_OUT, 60.0)
        assert "ESPOCRM_API_KEY" not in raised.value.detail, "this key may be right"

    def test_a_role_without_the_right_to_create(self, crm: FakeEspoCRM) -> None:
        crm.set_role({"Lead": {"create": "no", "read": "all"}})
        with pytest.raises(AuthFailed) as raised:
            create(provider(crm.url))
        assert raised.value.code is Code.NO_PERMISSION

    def test_a_script_that_refuses_one_lead(self, crm: FakeEspoCRM) -> None:
        crm.forbidden = {"ada@": "Bölge kapalı."}
        with pytest.raises(Forbidden, match=r"data/logs .*: Bölge kapalı") as raised:
            create(provider(crm.url), Lead(first_name="Ada", email="ada@example.org"))
        assert raised.value.code is Code.FORBIDDEN
        assert create(provider(crm.url), Lead(first_name="Bo", email="bo@example.org")).record_id

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize(("kind", "code"), [("hang", Code.TIMEOUT), ("drop", Code.CONNECTION_DROPPED)])
    def test_an_answer_that_never_came(self, crm: FakeEspoCRM, kind: Any, when: Any, code: Code) -> None:
        plugin = provider(crm.url)
        crm.fail(kind, when=when, method="POST")
        with time_budget(0.5), pytest.raises(OutcomeUnknown) as created:
            create(plugin)
        crm.fail(kind, when=when, method="GET")
        with time_budget(0.3), pytest.raises(Unavailable) as found:
            plugin.find_lead(operation=operation(ADA))
        assert (created.value.code, found.value.code) == (code, code)
        assert len(crm.leads) == (when == "after")

    def test_no_server_at_the_address(self) -> None:
        with pytest.raises(Unavailable) as raised:
            create(provider(NOBODY))
        assert raised.value.code is Code.CONNECTION_FAILED

    @pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("soon", None), ("-1", None)])
    def test_retry_after_of_a_proxy(self, crm: FakeEspoCRM, value: str, seconds: float | None) -> None:
        crm.fail("answer", status=429, headers={"Retry-After": value})
        with pytest.raises(RateLimited) as raised:
            create(provider(crm.url))
        assert raised.value.retry_after == seconds


def recorded() -> Iterator[Any]:
    """The creates of leads and what a real EspoCRM answered to them."""
    for file in sorted(EXCHANGES.glob("*.json")):
        for number, exchange in enumerate(json.loads(file.read_text())):
            request = exchange.get("request", {"method": "", "path": ""})
            whole = "body_cut_from_chars" not in exchange.get("response", {})
            if whole and (request["method"], request["path"]) == ("POST", "/api/v1/Lead"):
                yield pytest.param(exchange["response"], id=f"{file.stem}-{number}")


@all_cases("response", list(recorded()))
def test_recorded_creates(response: Mapping[str, Any]) -> None:
    """Every answer of a real EspoCRM to a create means a record, or an error of the right family."""
    headers = {name.lower(): value for name, value in response["headers"].items()}
    families: dict[int, tuple[type[ProviderError], ...]] = {
        400: (Rejected,), 401: (AuthFailed,), 403: (AuthFailed, RateLimited, Rejected), 409: (Duplicate,),
        500: (OutcomeUnknown,), 502: (OutcomeUnknown,), 503: (Unavailable,),
    }  # fmt: skip
    with mocking.Mocker() as mocker:
        mocker.get(mocking.ANY, json={"total": -2, "list": []})
        reason = {k: v for k, v in headers.items() if k == "x-status-reason"}
        reply = {"Content-Type": headers["content-type"], **reason}
        mocker.post(mocking.ANY, status_code=response["status"], headers=reply, text=response["body"])
        if response["status"] == 200:
            assert create(provider(NOBODY)).record_id == json.loads(response["body"])["id"]
            return
        with pytest.raises(families[response["status"]]):
            create(provider(NOBODY))


@pytest.mark.parametrize("form", ["seconds", "fraction", "date"])
def test_a_limit_ends_when_the_proxy_says(crm: FakeEspoCRM, form: str) -> None:
    crm.limit_form, crm.limited_until = form, time.time() + 90
    with pytest.raises(RateLimited) as refused:
        create(provider(crm.url))
    assert refused.value.retry_after == pytest.approx(90, abs=30)

"""Recordings hold no secret and no person, and the same value has the same stand-in everywhere."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from crmgate.plugin_host.trial.data import NO_RUN, TrialData
from crmgate.plugin_host.trial.exchanges import Content, Exchange
from crmgate.plugin_host.trial.masking import Masker, shape
from crmgate.plugin_kit.transport import Answer

SAMPLE, CANONICAL = TrialData("c0ffee123456", 1.8e9), TrialData(NO_RUN, 1.8e9)
SECRET, HOOK = "s3cr3t/K+ey", "https://firm.crm.test/rest/1/hook4711secret/"


def observed(answer: Any, sent: Any = None, url: str = "https://firm.crm.test/leads", **options: Any) -> Exchange:
    request = requests.Request("POST", url, json=sent, **options).prepare()
    headers = CaseInsensitiveDict({"Content-Type": "application/json"})
    return Exchange.observed(request, Answer(200, headers, json.dumps(answer).encode()))


def masked(*exchanges: Exchange, settings: tuple[str, ...] = ()) -> list[Exchange]:
    masker = Masker(SAMPLE, [SECRET, HOOK], ["https://firm.crm.test", *settings])
    masker.learn(exchanges)
    return [masker.exchange(one) for one in exchanges]


def answer_of(*exchanges: Exchange, settings: tuple[str, ...] = ()) -> Any:
    body = masked(*exchanges, settings=settings)[-1].answer
    assert body is not None
    return body.value


@pytest.mark.parametrize(
    "text",
    [SECRET, f"key={quote(SECRET, safe='')}&x=1", base64.b64encode(SECRET.encode()).decode(), HOOK,
     f"see {HOOK}crm.lead.add", "hook4711secret", "ask s3cr3t/K+ey!"],
)  # fmt: skip
def test_a_secret_of_the_settings_is_replaced_in_every_form(text: str) -> None:
    found = json.dumps(masked(observed({"echo": text, text: 1}, {"sent": text}))[0].to_dict())
    for part in ("s3cr3t", "hook4711", "firm.crm", base64.b64encode(SECRET.encode()).decode()[:10], "K%2Bey"):
        assert part not in found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("write to bob@firm.de", "write to person-1@example.com"),
        ("mailto:bob%40firm.de", "mailto:person-1@example.com"),
        ("call +49 (30) 9012-3456", "call +00 (00) 0000-0001"),
        ("0532 123 45 67", "0000 000 00 01"),
        ("(212) 736-5000 is open", "(000) 000-0001 is open"),
        ("eyJhbGciOi.eyJzdWIi.c2lnbmF0", "0000000000.00000000.00000001"),
        ("9f86d081884c7d659a2feaa0c55ad015", "0" * 31 + "1"),
        ("2026-11-28T18:01:15.123+00:00", "2026-11-28T18:01:15.123+00:00"),
        ("2026-11-28 18:01", "2026-11-28 18:01"),
        ("UF_CRM_REFERRAL_CODE_OF_LEAD", "UF_CRM_REFERRAL_CODE_OF_LEAD"),
        ("6b0b1a5e045b170af", "6b0b1a5e045b170af"),
        ("3 of 10,500 EUR", "3 of 10,500 EUR"),
    ],
)
def test_what_looks_like_a_person_or_a_token_is_replaced_and_nothing_else(value: str, shown: str) -> None:
    assert answer_of(observed({"note": value}))["note"] == shown


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ({"phone": "905321234567"}, {"phone": "000000000001"}),
        ({"mobile": 905321234567}, {"mobile": 1}),
        ({"phone": "9053 21234567", "note": "905321234567!"}, {"phone": "0000 00000001", "note": "000000000000!"}),
        ({"access_token": "short1"}, {"access_token": "masked-1"}),
        ({"password": "abc"}, {"password": "masked-1"}),
        ({"ownerName": "Egon Quarz", "text": "Egon Quarz came"}, {"ownerName": "Person 1", "text": "Person 1 came"}),
        ({"user": {"name": "Egon", "email": ""}}, {"user": {"name": "Person 1", "email": ""}}),
        ({"fields": [{"name": "city", "type": "enum"}]}, {"fields": [{"name": "city", "type": "enum"}]}),
        ({"id": 51234567890, "ok": True, "none": None}, {"id": 51234567890, "ok": True, "none": None}),
    ],
)  # fmt: skip
def test_members_are_replaced_by_their_names(answer: Any, shown: Any) -> None:
    assert answer_of(observed(answer)) == shown


def test_the_test_data_become_those_of_no_run() -> None:
    one, other = SAMPLE.operation_id("create"), CANONICAL.operation_id("create")
    digits = SAMPLE.phone.removeprefix("+1")
    spelt = f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"
    wanted = CANONICAL.phone.removeprefix("+1")
    sent = {"mail": SAMPLE.email.upper(), "phone": SAMPLE.phone, "name": SAMPLE.last_name, "id": one}
    (found,) = masked(observed({"phone": spelt, "mobile": int(SAMPLE.phone[1:])}, sent))
    assert found.body is not None
    assert found.answer is not None
    assert found.body.value == {
        "mail": f"CRMGATE-TEST-{NO_RUN}@EXAMPLE.COM", "phone": CANONICAL.phone, "name": CANONICAL.last_name,
        "id": other,
    }  # fmt: skip
    assert found.answer.value == {
        "phone": f"({wanted[:3]}) {wanted[3:6]}-{wanted[6:]}", "mobile": int(CANONICAL.phone[1:])
    }  # fmt: skip


def test_an_id_of_an_answer_is_the_id_in_the_next_path() -> None:
    first = observed({"id": "9f86d081884c7d659a2feaa0c55ad015"})
    second = observed({}, url="https://firm.crm.test/leads/9f86d081884c7d659a2feaa0c55ad015?x=a%40b.de")
    one, two = masked(first, second)
    assert one.answer is not None
    assert two.path == f"/leads/{one.answer.value['id']}"
    assert two.query == [["x", "a@b.de"]], "the plugin sends it of its own, and so it does again"


def test_a_token_of_an_answer_and_the_host_that_it_is_for_are_replaced_in_texts() -> None:
    first = observed({"access_token": "short1"}, url="https://login.other.test/token")
    second = observed({"note": "short1 is for login.other.test"}, url="https://login.other.test/use/short1")
    one, two = masked(first, second)
    assert (one.path, two.path) == ("/token", "/use/masked-1")
    assert two.answer == Content("json", {"note": "masked-1 is for crm.example"})


def test_what_the_plugin_sends_of_its_own_stays_also_in_answers() -> None:
    """Otherwise the replay would wait for another request than the plugin sends."""
    sent = {"when": "01-02-2026 10:20", "from": "gateway@own.example"}
    (found,) = masked(observed({"echo": "01-02-2026 10:20 gateway@own.example"}, sent))
    assert found.body == Content("json", sent)


def test_what_a_setting_has_is_replaced_in_requests() -> None:
    (found,) = masked(observed({}, {"owner": "boss@firm.de"}), settings=("boss@firm.de",))
    assert found.body == Content("json", {"owner": "person-1@example.com"})


def test_an_answer_that_is_no_utf_8_is_masked_too() -> None:
    request = requests.Request("GET", "https://firm.crm.test/x").prepare()
    body = f"Stra\u00dfe, bob@firm.de, {SECRET}".encode("latin-1")
    (found,) = masked(Exchange.observed(request, Answer(200, CaseInsensitiveDict(), body)))
    assert found.answer is not None
    assert found.answer.written() == "Stra\u00dfe, person-1@example.com, a0aa0a/A+aa".encode("latin-1")


def test_a_short_secret_under_a_telling_name_is_replaced_in_a_request() -> None:
    (found,) = masked(observed({}, {"password": "abc"}))
    assert found.body == Content("json", {"password": "masked-1"})


def test_credentials_of_headers_and_what_they_contain_are_replaced() -> None:
    basic = base64.b64encode(b"apiuser:pass-of-api").decode()
    answer = {"echo": "Bearer tok-77-abc", "user": "pass-of-api", "session": "sess-1234"}
    headers = {
        "Authorization": f"Basic {basic}",
        "X-Auth": "Basic x",
        "X-Session-Id": "Bearer tok-77-abc",
        "X-Own": "fine",
    }
    text = json.dumps([one.to_dict() for one in masked(observed(answer, {}, headers=headers))])
    for part in (basic, "pass-of-api", "tok-77-abc", "sess-1234"):
        assert part not in text
    assert '"X-Own": "fine"' in text
    assert '"Authorization": "***"' in text


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk_Live-A8f3", "aa_Aaaa-A0a0"),
        ("whsec_Ab3=", "whsec_Aa0="),
        ("Basic !", "Aaaaa !"),
        ("https://a.bitrix24.com/rest/1/abc123xyz/", "https://crm.example/rest/1/aaa000aaa/"),
    ],
)
def test_a_stand_in_has_the_form_of_the_secret(secret: str, shown: str) -> None:
    assert shape(secret) == shown


def test_an_exchange_survives_its_file() -> None:
    form = Exchange.observed(requests.Request("POST", "https://a.test/x?a=1", data={"b": "2"}).prepare(), None)
    binary = observed({}, None, data=b"\xff\x00")
    for one in (form, binary, observed({"a": [1]}, {"b": None})):
        again = Exchange.from_dict(json.loads(json.dumps(one.to_dict())))
        assert (again.key(), again.status, again.answer) == (one.key(), one.status, one.answer)
    assert form.body == Content("form", [["b", "2"]])
    assert form.status is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"at": "2026-11-28T18:01:15Z"}, {"at": "2027-01-01T00:00:00.5+00:00"}, True),
        ({"at": 1795889790}, {"at": 1795889999}, True),
        ({"token": "one"}, {"token": "two"}, True),
        ({"key": "0b5f2ab3-6a0e-4f5c-8f1e-1d2c3b4a5f60"}, {"key": "1c5f2ab3-6a0e-4f5c-8f1e-1d2c3b4a5f60"}, True),
        ({"name": "one"}, {"name": "two"}, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
    ],
)
def test_requests_are_the_same_if_only_moments_ids_and_credentials_differ(one: Any, other: Any, same: bool) -> None:
    assert (observed({}, one).key() == observed({}, other).key()) is same

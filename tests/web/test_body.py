"""Request bodies of every media type, invalid ones first."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from crmgate.web.body import read_body

URL = "/api/v1/applications"
VALID = b'"first_name": "Ay\xc5\x9fe", "email": "ayse@example.test"'


def post(client: FlaskClient, data: bytes, content_type: str = "application/json") -> Any:
    return client.post(URL, data=data, content_type=content_type)


@pytest.mark.parametrize(
    ("data", "status", "problem"),
    [
        (b"", 400, "empty-body"),
        (b"  \n", 400, "empty-body"),
        (b"\xef\xbb\xbf", 400, "empty-body"),
        (b"{", 400, "malformed-json"),
        (b"{'a': 1}", 400, "malformed-json"),
        (b"{%s} {}" % VALID, 400, "malformed-json"),
        (b"{%s, \"city\": \"\xff\"}" % VALID, 400, "malformed-json"),
        (b"{%s, \"city\": \"\xed\xa0\x80\"}" % VALID, 400, "malformed-json"),
        (('{"a": "' + "b" * 9 + '"}').encode("utf-16"), 400, "malformed-json"),
        (b"[{%s}, {%s}]" % (VALID, VALID), 400, "malformed-json"),
        (b"[[{%s}]]" % VALID, 400, "malformed-json"),
        (b'"{"', 400, "malformed-json"),
        (b'"text"', 400, "malformed-json"),
        (b"null", 400, "malformed-json"),
        (b"{%s, \"gpa\": NaN}" % VALID, 400, "malformed-json"),
        (b"{%s, \"gpa\": -Infinity}" % VALID, 400, "malformed-json"),
        (b"{%s, \"gpa\": 1e999}" % VALID, 400, "malformed-json"),
        (b"{%s, \"budget\": %s}" % (VALID, b"9" * 5_000), 400, "malformed-json"),
        (b"{%s, \"city\": \"a\", \"city\": \"b\"}" % VALID, 400, "malformed-json"),
        (b"{%s, \"utm\": {\"term\": 1, \"term\": 2}}" % VALID, 400, "malformed-json"),
        (b"[" * 60_000, 400, "too-deep"),
        (b"{%s, \"x\": %s}" % (VALID, b"[" * 8 + b"]" * 8), 400, "too-deep"),
        (b"{%s, \"x\": %s}" % (VALID, b'{"a":' * 7 + b"[1]" + b"}" * 7), 400, "too-deep"),
        (b"{%s, \"x\": \"%s\"}" % (VALID, b"y" * 65 * 1024), 413, "body-too-large"),
        (b"{}", 422, "invalid-body"),
    ],
)  # fmt: skip
def test_bad_json_is_a_problem_that_says_why(
    client: FlaskClient, gateway: Any, data: bytes, status: int, problem: str
) -> None:
    answer = post(client, data)
    assert (answer.status_code, answer.json["type"]) == (status, f"/problems/{problem}")
    assert answer.content_type == "application/problem+json"
    assert len(answer.json["detail"]) > 10
    assert gateway.submitted == []


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (b"{%s, \"x\": %s}" % (VALID, b"[" * 7 + b"1" + b"]" * 7), "[[[[[[[1]]]]]]]"),
        (b"{%s, \"x\": %s}" % (VALID, b"9" * 1_000), "9" * 1_000),
        (b"{%s, \"x\": 3.50}" % VALID, "3.50"),
        (b"{%s, \"x\": \"a\\ud83d\"}" % VALID, "a\ufffd"),
        (b"{%s, \"x\": [\"\\udc00\"]}" % VALID, '["\ufffd"]'),
        (b"{%s, \"x\": \"a\\u0000b\"}" % VALID, "ab"),
    ],
)  # fmt: skip
def test_odd_json_is_taken(client: FlaskClient, gateway: Any, data: bytes, kept: str) -> None:
    answer = post(client, data)
    assert answer.status_code == 201
    assert gateway.submitted[0][1]["custom"] == {"x": kept}


def test_a_byte_order_mark_is_ignored(client: FlaskClient) -> None:
    assert post(client, b"\xef\xbb\xbf{%s}" % VALID, "application/json; charset=utf-8").status_code == 201


@pytest.mark.parametrize("content_type", ["application/xml", "application/octet-stream", "text/html"])
def test_another_media_type_names_those_accepted(client: FlaskClient, content_type: str) -> None:
    answer = post(client, b"{%s}" % VALID, content_type)
    assert answer.status_code == 415
    for accepted in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert accepted in answer.json["detail"]
        assert accepted in answer.headers["Accept"]


def test_no_body_and_no_content_type_is_an_empty_body(client: FlaskClient) -> None:
    answer = client.post(URL)
    assert (answer.status_code, answer.json["type"]) == (400, "/problems/empty-body")


@pytest.mark.parametrize("content_type", ["", "text/plain"])
def test_a_text_that_is_no_form_and_no_json_is_unsupported(client: FlaskClient, content_type: str) -> None:
    assert client.post(URL, data=b"hello", content_type=content_type or None).status_code == 415


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 400),
        (b"", "multipart/form-data; boundary=x", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 400),
        (b"anything", "multipart/form-data", 400),
        (b"a=" + b"b" * 65 * 1024, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"k%d=v" % n for n in range(5_000)), "application/x-www-form-urlencoded", 422),
    ],
)
def test_bad_forms(client: FlaskClient, data: bytes, content_type: str, status: int) -> None:
    assert post(client, data, content_type).status_code == status


def test_a_form_of_too_many_parts_is_too_large(client: FlaskClient) -> None:
    answer = client.post(URL, data={f"k{n}": "v" for n in range(201)}, content_type="multipart/form-data")
    assert (answer.status_code, answer.json["type"]) == (413, "/problems/body-too-large")


def test_a_file_is_refused_by_name_where_files_are_refused(client: FlaskClient, services: Any, gateway: Any) -> None:
    services.settings.refuse_files = True
    answer = client.post(URL, data={"first_name": "A", "phone": "05321234567", "cv": (io.BytesIO(b"%PDF"), "cv.pdf")})
    assert answer.status_code == 422
    assert [(e["field"], e["code"]) for e in answer.json["errors"]] == [("cv", "file_refused")]
    assert gateway.submitted == []


def test_a_file_input_left_empty_is_no_file(client: FlaskClient) -> None:
    answer = client.post(URL, data={"first_name": "A", "phone": "05321234567", "cv": (io.BytesIO(b""), "")})
    assert answer.status_code == 201


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_repeated_form_names_become_lists(app: Flask, content_type: str) -> None:
    data = {"programs": ["Tıp", "Psychology"], "city": "İzmir"}
    with app.test_request_context(method="POST", data=data, content_type=content_type):
        assert read_body() == (data, [])


def test_a_json_number_keeps_its_spelling(app: Flask) -> None:
    with app.test_request_context(method="POST", data=b'{"gpa": 3.50}', content_type="application/json"):
        gpa = read_body()[0]["gpa"]
    assert (gpa, str(gpa), json.dumps(gpa)) == (3.5, "3.50", "3.5")
    assert not request


def test_a_part_of_a_form_without_a_name_is_kept(client: FlaskClient, gateway: Any) -> None:
    part = b"--b\r\nContent-Disposition: form-data%b\r\n\r\n%b\r\n"
    named = part % (b'; name="first_name"', b"Ada") + part % (b'; name="phone"', b"05321234567")
    data = named + part % (b"", b"one") + part % (b'; name=""', b"two") + b"--b--\r\n"
    assert post(client, data, "multipart/form-data; boundary=b").status_code == 201
    [(_, payload, _)] = gateway.submitted
    assert {word for text in payload["custom"].values() for word in ("one", "two") if word in text} == {"one", "two"}
    file = part % (b'; filename="x.txt"', b"x") + b"--b--\r\n"
    answer = post(client, named + file, "multipart/form-data; boundary=b")
    assert [(w["field"], w["code"]) for w in answer.json["warnings"]] == [("", "file_left_out")]


OLD = b"first_name=%D6zg%FCr&email=a%40b.co"


@pytest.mark.parametrize(
    ("data", "content_type", "default"),
    [
        (OLD, "application/x-www-form-urlencoded", "off"),
        (OLD, "application/x-www-form-urlencoded; charset=utf-8", "off"),
        (b"first_name=%81&email=a%40b.co", "application/x-www-form-urlencoded", "auto"),
        (b"first_name=%81&email=a%40b.co", "application/x-www-form-urlencoded", "windows-1252"),
        (b"first_name=%81&email=a%40b.co", "application/x-www-form-urlencoded; charset=shift_jis", "off"),
    ],
)
def test_a_form_in_no_known_charset_is_refused(
    client: FlaskClient, services: Any, gateway: Any, data: bytes, content_type: str, default: str
) -> None:
    services.settings.default_form_charset = default
    answer = post(client, data, content_type)
    assert (answer.status_code, answer.json["type"]) == (400, "/problems/malformed-form")
    assert gateway.submitted == []


@pytest.mark.parametrize(
    ("default", "name"), [("windows-1254", "Şe"), ("windows-1252", "Þe"), ("windows-1251", "Юe"), ("auto", "Şe")]
)
def test_the_setting_decides_what_an_old_form_means(
    client: FlaskClient, services: Any, gateway: Any, default: str, name: str
) -> None:
    services.settings.default_form_charset = default
    answer = post(client, b"first_name=%DEe&email=a%40b.co", "application/x-www-form-urlencoded")
    assert [warning["code"] for warning in answer.json["warnings"]] == ["charset_guessed"]
    assert gateway.submitted[0][1]["first_name"] == name


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("uuid", "uuid"), ('"uuid"', "uuid"), (' "uuid" ', "uuid"), (r'"a\"b\\c"', 'a"b\\c'), ('"uuid";v=1', "uuid"),
        ('"uuid"; a; b="x;y"', "uuid"), ("a\"b", 'a"b'), ('"two words"', "two words"),
    ],
)  # fmt: skip
def test_a_key_may_be_a_structured_field(client: FlaskClient, gateway: Any, sent: str, key: str) -> None:
    body = {"first_name": "Ada", "email": "ada@example.com"}
    assert client.post(URL, json=body, headers={"Idempotency-Key": sent}).status_code == 201
    assert [sent for sent, _ in gateway.keys] == [key]


@pytest.mark.parametrize("sent", ['"', '""', '"a', '"a\\x"', '"a", "b"', '"a" b', '"a"b', '"' + "x" * 256 + '"', '"ü"'])
def test_a_malformed_structured_key_is_refused(client: FlaskClient, gateway: Any, sent: str) -> None:
    body = {"first_name": "Ada", "email": "ada@example.com"}
    answer = client.post(URL, json=body, headers={"Idempotency-Key": sent})
    assert (answer.status_code, answer.json["type"]) == (400, "/problems/invalid-idempotency-key")
    assert gateway.submitted == []

"""Bodies and credentials of requests: forms, raw content, files, Basic authentication; and the size of an answer."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar
from urllib.parse import parse_qsl

import pytest
import requests.auth

from crmgate.errors import Code, OutcomeUnknown, OutOfTime, Rejected, Unavailable
from crmgate.plugin_kit.transport import MAX_BODY
from crmgate.provider import time_budget
from crmgate.testing.server import Request, Response
from tests.provider.rig import TOKEN, Probe, Script, failure, probe, send, settings, verdict


def sent(crm: Script, **options: Any) -> Request:
    """The only request that reached the CRM."""
    probe().request("POST", crm.url, **options)
    [request] = crm.requests
    return request


@pytest.mark.parametrize("data", [{"name": ["Ayşe", "Ada"]}, [("name", "Ayşe"), ("name", "Ada")]])
def test_a_form(crm: Script, data: Any) -> None:
    request = sent(crm, data=data)
    assert request.header("Content-Type") == "application/x-www-form-urlencoded"
    assert parse_qsl(request.body.decode()) == [("name", "Ayşe"), ("name", "Ada")]


@pytest.mark.parametrize(
    ("content", "body"),
    [("<a>Ayşe 👍</a>", "<a>Ayşe 👍</a>".encode()), (b"\xff\x00", b"\xff\x00"), ("", b""), (b"", b"")],
)
def test_content_goes_out_as_it_is(crm: Script, content: str | bytes, body: bytes) -> None:
    request = sent(crm, content=content, headers={"Content-Type": "application/xml"})
    assert (request.body, request.header("Content-Type")) == (body, "application/xml")
    assert request.header("Content-Length") == str(len(body))


def test_files_and_fields_share_a_form(crm: Script) -> None:
    request = sent(crm, data={"lead": "A1"}, files={"cv": ("özgeçmiş.pdf", b"%PDF-1", "application/pdf")})
    assert request.header("Content-Type").startswith("multipart/form-data; boundary=")
    for part in (
        b'name="lead"\r\n\r\nA1\r\n',
        b"Content-Type: application/pdf\r\n\r\n%PDF-1\r\n",
        "özgeçmiş.pdf".encode(),
    ):
        assert part in request.body


def test_basic_authentication_is_in_utf8(crm: Script) -> None:
    kind, _, value = sent(crm, json={}, auth=("kullanıcı", "şifre:1")).header("Authorization").partition(" ")
    assert (kind, base64.b64decode(value).decode()) == ("Basic", "kullanıcı:şifre:1")


def test_a_function_adds_credentials(crm: Script) -> None:
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        assert isinstance(request.body, bytes)
        request.headers["X-Signature"] = request.body[:6].decode()
        return request

    assert sent(crm, content="signed", auth=sign).header("X-Signature") == "signed"


def test_an_authentication_that_would_send_a_second_request_does_not(crm: Script) -> None:
    crm.response = Response(401, "", {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'})
    assert probe().request("POST", crm.url, json={}, auth=requests.auth.HTTPDigestAuth("u", "p")).status == 401
    assert len(crm.requests) == 1


@pytest.mark.parametrize(
    "bodies",
    [{"json": {}, "data": {}}, {"json": {}, "content": ""}, {"content": b"", "files": {}}, {"json": 0, "files": {}}],
)
def test_two_bodies_are_a_bug(crm: Script, bodies: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="one body"):
        probe().request("POST", crm.url, **bodies)
    assert crm.requests == []


BODIES: dict[str, dict[str, Any]] = {
    "form": {"data": {"a": TOKEN}}, "content": {"content": TOKEN}, "files": {"files": {"a": TOKEN}},
    "auth": {"auth": ("me", TOKEN)},
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_the_errors_are_the_same_and_show_no_secret(crm: Script, body: dict[str, Any]) -> None:
    def post() -> object:
        return send(probe(), crm.url, **body)

    crm.fail("drop", when="after")
    assert verdict(failure(post)) == (OutcomeUnknown, Code.CONNECTION_DROPPED)
    crm.heal()
    crm.response = Response(200, b"x" * (MAX_BODY + 1))
    assert verdict(failure(post)) == (OutcomeUnknown, Code.INVALID_RESPONSE)
    with time_budget(0.0):
        assert verdict(failure(post)) == (OutOfTime, Code.OUT_OF_TIME)
    crm.stop()
    try:
        assert verdict(failure(post)) == (Unavailable, Code.CONNECTION_FAILED)
    finally:
        crm.start()


def test_content_that_cannot_be_sent_is_refused(crm: Script) -> None:
    assert verdict(failure(lambda: send(probe(), crm.url, content="\ud800"))) == (Rejected, Code.INVALID_REQUEST)
    assert verdict(failure(lambda: send(probe(), crm.url, auth=("\ud800", "")))) == (Rejected, Code.INVALID_REQUEST)
    assert crm.requests == []


class Small(Probe):
    """A provider with short answers."""

    MAX_BODY: ClassVar[int] = 10


def test_a_plugin_sets_the_size_of_an_answer(crm: Script) -> None:
    small = Small(settings())
    crm.response = Response(200, b"x" * 10)
    assert small.request("POST", crm.url).body == b"x" * 10
    crm.response = Response(200, b"x" * 11)
    error = failure(lambda: small.request("POST", crm.url))
    assert (*verdict(error), error.status) == (OutcomeUnknown, Code.INVALID_RESPONSE, 200)
    assert len(probe().request("POST", crm.url).body) == 11


@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
def test_credentials_in_a_text_are_masked(kind: str) -> None:
    assert probe().redact(json.dumps({"got": f"{kind} bWU6Y2FuYXJ5=="})) == json.dumps({"got": f"{kind} ***"})
    assert probe().redact(f"{kind} is") == f"{kind} is"


def test_a_concealed_value_is_masked() -> None:
    provider = probe()
    provider.conceal("s3ss10n")
    provider.conceal("")
    assert provider.redact("the session s3ss10n has ended") == "the session *** has ended"

"""Answers as they come back, and what is refused about them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from crmgate.errors import Code, OutcomeUnknown, ProviderError, Unavailable
from crmgate.plugin_kit.transport import MAX_BODY
from crmgate.testing.server import Response
from tests.provider.rig import (
    Script,
    failure,
    probe,
    send,
    verdict,
)


def test_the_whole_answer_comes_back_whatever_its_status(crm: Script) -> None:
    provider = probe()
    for status in (200, 201, 204, 400, 401, 404, 429, 500, 503):
        crm.response = Response(
            status, "" if status == 204 else '{"a": 1}', {"Retry-After": "7"}, "Text/JSON; charset=x"
        )
        answer = send(provider, crm.url)
        assert (answer.status, answer.headers["retry-after"], answer.content_type) == (status, "7", "text/json")
        if status != 204:
            assert answer.json() == {"a": 1}


@pytest.mark.parametrize("body", ["", "<html>", "{", '{"a"', b"\xff\xfe\xfd", "[" * 100_000])
def test_a_body_that_is_no_json_is_a_value_error(crm: Script, body: str | bytes) -> None:
    crm.response = Response(200, body)
    answer = send(probe(), crm.url)
    with pytest.raises(ValueError, match=r".+"):
        answer.json()


@pytest.mark.parametrize(("method", "kind"), [("POST", OutcomeUnknown), ("GET", Unavailable)])
@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_body_of_more_than_a_megabyte_is_refused(
    crm: Script, status: int, zipped: bool, method: str, kind: type[ProviderError]
) -> None:
    body, headers = b"x" * (MAX_BODY + 1), {"Location": "/elsewhere"}
    if zipped:
        body, headers = gzip.compress(bytes(50 * MAX_BODY)), headers | {"Content-Encoding": "gzip"}
    crm.response = Response(status, body, headers)
    error = failure(lambda: send(probe(), crm.url, method))
    assert (*verdict(error), error.status) == (kind, Code.INVALID_RESPONSE, status)


def test_a_body_of_a_megabyte_passes(crm: Script) -> None:
    crm.response = Response(200, b"x" * MAX_BODY)
    assert len(send(probe(), crm.url).body) == MAX_BODY


def test_a_compressed_body_is_unpacked_and_a_broken_one_refused(crm: Script) -> None:
    packed = gzip.compress(b'{"a": 1}')
    crm.response = Response(200, packed, {"Content-Encoding": "gzip"})
    assert send(probe(), crm.url).json() == {"a": 1}
    crm.response = Response(200, b"no gzip", {"Content-Encoding": "gzip"})
    assert verdict(failure(lambda: send(probe(), crm.url))) == (OutcomeUnknown, Code.INVALID_RESPONSE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["{url}/elsewhere", "/elsewhere", "https://evil.invalid/", "http://[::1", ""])
def test_redirects_are_not_followed(crm: Script, status: int, target: str) -> None:
    crm.response = Response(status, "", {"Location": target.format(url=crm.url)})
    assert send(probe(), crm.url).status == status
    assert len(crm.requests) == 1


def test_what_goes_out(crm: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password from-netrc")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    probe().request("POST", f"{crm.url}/a", json={"name": "Ayşe"}, params={"q": "ü"}, headers={"X-A": "1"})
    [request] = crm.requests
    assert (request.method, request.path, request.query) == ("POST", "/a", "q=%C3%BC")
    assert json.loads(request.body) == {"name": "Ayşe"}
    assert (request.header("X-A"), request.header("User-Agent")) == ("1", "crmgate")
    assert request.header("Authorization") == ""

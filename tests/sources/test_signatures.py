"""Signatures: those that the tools document are right; any change, another secret or an old one is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest

from crmgate.sources import SourceRequest
from crmgate.sources.tools import tool_of

NOW = 1_800_000_000.0
BODY = '{"name": "Özgür"}'.encode()


def digest(signed: bytes, secret: bytes = b"the-secret") -> bytes:
    return hmac.new(secret, signed, hashlib.sha256).digest()


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


STAMP, MILLIS = str(int(NOW)), str(int(NOW * 1000))
SIGNED = {
    "typeform": {"typeform-signature": "sha256=" + b64(digest(BODY))},
    "meta": {"x-hub-signature-256": "sha256=" + digest(BODY).hex()},
    "webflow": {"x-webflow-timestamp": MILLIS, "x-webflow-signature": digest(MILLIS.encode() + b":" + BODY).hex()},
    "acme": {
        "webhook-id": "msg_1", "webhook-timestamp": STAMP,
        "webhook-signature": "v1,AAAA v1," + b64(digest(f"msg_1.{STAMP}.".encode() + BODY)),
    },
}  # fmt: skip


def verified(name: str, request: SourceRequest, secret: str = "the-secret", now: float = NOW) -> bool | None:
    check = tool_of(name).check
    assert check is not None
    return check(secret, request, now)


@pytest.mark.parametrize("name", SIGNED)
def test_only_the_signature_of_this_body_with_this_secret_is_right(name: str) -> None:
    request = SourceRequest("POST", SIGNED[name], BODY)
    assert verified(name, request) is True
    assert verified(name, replace(request, body=BODY + b" ")) is False
    assert verified(name, request, "the-secreT") is False
    assert verified(name, replace(request, headers={})) is None
    for header, value in SIGNED[name].items():
        assert verified(name, replace(request, headers=SIGNED[name] | {header: value + "0"})) is False
        assert verified(name, replace(request, headers=SIGNED[name] | {header: ""})) is False
        assert verified(name, replace(request, headers=SIGNED[name] | {header: "é²"})) is False


@pytest.mark.parametrize("name", ["webflow", "acme"])
@pytest.mark.parametrize(("seconds", "right"), [(299, True), (-299, True), (301, False), (-301, False)])
def test_a_time_stamp_is_right_for_five_minutes(name: str, seconds: float, right: bool) -> None:
    assert verified(name, SourceRequest("POST", SIGNED[name], BODY), now=NOW + seconds) is right


def test_the_example_of_standard_webhooks() -> None:
    """That of the specification: the secret is Base64 after `whsec_`."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }  # fmt: skip
    request = SourceRequest("POST", headers, b'{"test": 2432232314}')
    assert verified("acme", request, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330.0) is True
    assert verified("acme", request, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1614265330.0) is False

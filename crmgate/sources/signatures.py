"""Verifies the signature of a request over its raw body, in constant time, and makes that of Standard Webhooks.

A check answers True, False for a wrong or outdated signature, and None for a request without a signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

from crmgate.sources.model import SourceRequest

TOLERANCE = 300
"""Seconds by which the time stamp of a signature may differ from the clock."""

Check = Callable[[str, SourceRequest, float], bool | None]
"""Takes the secret, the request and the time in seconds since the epoch."""


def same(left: str, right: str) -> bool:
    """Whether two texts are equal, compared in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())


def typeform(secret: str, request: SourceRequest, now: float) -> bool | None:  # noqa: ARG001
    """`Typeform-Signature: sha256=` and the digest in Base64."""
    given = request.headers.get("typeform-signature")
    return None if given is None else same(given, "sha256=" + _base64(_digest(secret.encode(), request.body)))


def meta(secret: str, request: SourceRequest, now: float) -> bool | None:  # noqa: ARG001
    """`X-Hub-Signature-256: sha256=` and the digest in hexadecimal."""
    given = request.headers.get("x-hub-signature-256")
    return None if given is None else same(given, "sha256=" + _digest(secret.encode(), request.body).hex())


def webflow(secret: str, request: SourceRequest, now: float) -> bool | None:
    """`X-Webflow-Signature`: the digest of `<time stamp>:<body>` in hexadecimal; the time stamp is in milliseconds."""
    given, stamp = request.headers.get("x-webflow-signature"), request.headers.get("x-webflow-timestamp", "")
    if given is None:
        return None
    signed = stamp.encode() + b":" + request.body
    return _is_now(stamp, now, per_second=1000) and same(given, _digest(secret.encode(), signed).hex())


def standard(secret: str, request: SourceRequest, now: float) -> bool | None:
    """Standard Webhooks: `Webhook-Signature` has one or more signatures `v1,<Base64>` of `<id>.<time stamp>.<body>`."""
    given, stamp = request.headers.get("webhook-signature"), request.headers.get("webhook-timestamp", "")
    if given is None:
        return None
    right = sign_standard(secret, request.headers.get("webhook-id", ""), stamp, request.body)
    return _is_now(stamp, now) and any(same(one, right) for one in given.split())


def sign_standard(secret: str, identifier: str, stamp: str, body: bytes) -> str:
    """The signature `v1,<Base64>` of Standard Webhooks. `stamp` is the header `webhook-timestamp`."""
    return "v1," + _base64(_digest(_key(secret), f"{identifier}.{stamp}.".encode() + body))


def _key(secret: str) -> bytes:
    """The key of Standard Webhooks: the Base64 after `whsec_`, or the secret itself."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True) if "whsec_" in secret else secret.encode()
    except binascii.Error:
        return secret.encode()


def _digest(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, signed, hashlib.sha256).digest()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _is_now(stamp: str, now: float, per_second: int = 1) -> bool:
    return stamp.isdecimal() and len(stamp) < 20 and abs(int(stamp) / per_second - now) <= TOLERANCE

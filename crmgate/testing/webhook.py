"""A fake receiver of Standard Webhooks (https://www.standardwebhooks.com): verifies, and recognizes a repetition.

    python -m crmgate.testing.webhook --port 8090

It answers as n8n, Make, Zapier or a system of your own do (`style`), each in a way that says nothing about the record.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from crmgate.testing.server import FakeCRM, Request, Response, serve

__all__ = ["ANSWERS", "SECRET", "FakeReceiver"]

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, fixed").decode()
TOLERANCE = 300
"""Seconds by which the time stamp may differ from the clock."""
ANSWERS: Mapping[str, Response] = {
    "own": Response(204, "", content_type=""),
    "n8n": Response(200, '{"message": "Workflow was started"}'),
    "make": Response(200, "Accepted", content_type="text/plain"),
    "zapier": Response(200, '{"status": "success", "id": "0190", "attempt": "0190", "request_id": "0190"}'),
}
"""Successful answers by style."""


class FakeReceiver(FakeCRM):
    """Stores each event once, by its `webhook-id`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, secret: str = SECRET, style: str = "own") -> None:
        super().__init__(host, port)
        self.secret, self.style = secret, style
        self.events: dict[str, dict[str, Any]] = {}
        """The events by their `webhook-id`."""

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The events in their order."""
        with self.lock:
            return {"events": [{"webhook-id": key, **event} for key, event in self.events.items()]}

    def answer(self, request: Request) -> Response:
        """The answer to an event. `OPTIONS` starts nothing."""
        if request.path != "/hook":
            return Response(404, '{"code": 404, "message": "The requested webhook is not registered."}')
        if request.method == "OPTIONS":
            return Response(204, headers={"Allow": "OPTIONS, POST"}, content_type="")
        if request.method != "POST":
            return Response(405, headers={"Allow": "OPTIONS, POST"}, content_type="")
        if not self._is_signed(request):
            return Response(401, '{"message": "No matching signature found"}')
        with self.lock:
            self.events.setdefault(request.header("webhook-id"), json.loads(request.body))
        return ANSWERS[self.style]

    def _is_signed(self, request: Request) -> bool:
        """Whether one of the signatures is right, and the time stamp is near the time of the request."""
        key, stamp = base64.b64decode(self.secret.removeprefix("whsec_")), request.header("webhook-timestamp")
        signed = b".".join((request.header("webhook-id").encode(), stamp.encode(), request.body))
        right = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        given = [one.partition(",") for one in request.header("webhook-signature").split()]
        fresh = stamp.isdecimal() and abs(int(stamp) - request.at) <= TOLERANCE
        return fresh and any(version == "v1" and signature == right for version, _, signature in given)

    @property
    def hook(self) -> str:
        """Address of the webhook."""
        return f"{self.url}/hook"


if __name__ == "__main__":
    serve(FakeReceiver())

"""A correct plugin for Acme with OAuth 2: each request has an access token that the fake issues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from crmgate.provider import Answer, OAuth2
from crmgate.testing import Request, Response
from tests.testing.contract.acme import Acme, FakeAcme

KEY = "acme-key-4711"


class FakeAcmeOAuth(FakeAcme):
    """Acme with an authorization server at `/token`."""

    def answer(self, request: Request) -> Response:
        if request.path == "/token":
            return self._issued(request)
        known = request.header("Authorization") == "Bearer access-4711"
        headers = dict(request.headers) | ({"X-Acme-Key": KEY} if known else {})
        return super().answer(replace(request, headers=headers))

    def _issued(self, request: Request) -> Response:
        if f"client_secret={KEY}".encode() not in request.body:
            return Response(401, '{"error": "invalid_client"}')
        return Response(200, json.dumps({"access_token": "access-4711", "token_type": "bearer", "expires_in": 60}))


class AcmeOAuth(Acme):
    """Sends each request with an access token."""

    def __init__(self, environ: Mapping[str, str], **options: Any) -> None:
        super().__init__(environ, **options)
        address, key = f"{self.settings['ACME_URL']}/token", self.settings["ACME_KEY"]
        self.oauth = OAuth2(self, address, "gate", key, secret_in_body=True)

    def _send(self, method: str, path: str, **content: Any) -> Answer:
        return self.oauth.request(method, f"{self.settings['ACME_URL']}/{path}", **content)

"""A CRM with an authorization server (RFC 6749), and a provider that sends requests with its tokens."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from crmgate.provider import CRMProvider, OAuth2, ProviderSettings, secret, web_address
from crmgate.store.access_tokens import AccessTokens
from crmgate.store.client import connect
from crmgate.testing import FakeCRM, Request, Response
from tests.processes import DEADLINE

CLIENT, SECRET, REFRESH = "crm:gate", "s3cret/canary %ü", "refresh-canary-0"


class FakeClub(FakeCRM):
    """Issues tokens at `/token`, and answers everything else to a request with the last token.

    A refresh token can be used once, if `rotates` is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rotates, self.lifetime, self.more = False, 3600, dict[str, Any]()
        self.refresh, self.issued, self.accepted = REFRESH, 0, ""
        self.written: list[Any] = []

    def records(self) -> dict[str, list[dict[str, Any]]]:
        return {"written": self.written}

    def answer(self, request: Request) -> Response:
        with self.lock:
            return self._token(request) if request.path == "/token" else self._api(request)

    def _token(self, request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode()))
        if (form.pop("client_id", ""), form.pop("client_secret", "")) != (CLIENT, SECRET) and not _basic(request):
            return Response(401, json.dumps({"error": "invalid_client", "error_description": SECRET}))
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh:
            return Response(400, json.dumps({"error": "invalid_grant", "error_description": form["refresh_token"]}))
        self.issued += 1
        self.accepted = f"access-canary-{self.issued}"
        answer = {"access_token": self.accepted, "token_type": "Bearer", "expires_in": self.lifetime}
        if self.rotates:
            self.refresh = f"refresh-canary-{self.issued}"
            answer["refresh_token"] = self.refresh
        return Response(200, json.dumps(answer | self.more))

    def _api(self, request: Request) -> Response:
        if request.header("Authorization") != f"Bearer {self.accepted}":
            return Response(401, json.dumps({"error": f"wrong {request.header('Authorization')}"}))
        self.written.append(json.loads(request.body or "null"))
        return Response(201, json.dumps({"id": str(len(self.written))}))

    def revoke(self) -> None:
        """The CRM accepts the last token no longer."""
        self.accepted = "revoked"

    def asked(self) -> list[Request]:
        """The requests for a token."""
        return [request for request in self.requests if request.path == "/token"]


def _basic(request: Request) -> bool:
    kind, _, value = request.header("Authorization").partition(" ")
    user, _, password = base64.b64decode(value).decode().partition(":")
    return (kind, unquote_plus(user), unquote_plus(password)) == ("Basic", CLIENT, SECRET)


class Club(CRMProvider):
    """A provider with OAuth 2."""

    name = "club"
    label = "Club"

    class Settings(ProviderSettings):
        """The address and the secrets."""

        CLUB_URL = web_address(required=True)
        CLUB_SECRET = secret(required=True)
        CLUB_REFRESH = secret(load_default="")

    def __init__(self, environ: Mapping[str, str], *, oauth: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(environ, **options)
        self.url, self.secret = self.settings["CLUB_URL"], self.settings["CLUB_SECRET"]
        token = {"refresh_token": self.settings["CLUB_REFRESH"], **(oauth or {})}
        self.oauth = OAuth2(self, f"{self.url}/token", CLIENT, self.secret, **token)

    def write(self, what: str = "lead") -> int:
        """Status of the answer to a write."""
        return self.oauth.request("POST", f"{self.url}/leads", json=what).status


def club(fake: FakeClub, secret: str = SECRET, refresh: str = "", **options: Any) -> Club:
    """A provider of the fake; with `refresh` its grant is that of refresh tokens."""
    settings = {"CLUB_URL": fake.url, "CLUB_SECRET": secret, "CLUB_REFRESH": refresh}
    return Club(settings, timeout=DEADLINE, **options)


if __name__ == "__main__":  # one of several processes that share a token
    address, redis_url = sys.argv[1:]
    provider = Club({"CLUB_URL": address, "CLUB_SECRET": SECRET, "CLUB_REFRESH": REFRESH}, timeout=DEADLINE)
    provider.tokens = AccessTokens(connect(redis_url, timeout=DEADLINE))
    print("ready", flush=True)
    sys.stdin.readline()
    print(provider.write(), flush=True)

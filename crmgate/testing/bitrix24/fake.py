"""A fake Bitrix24: a real HTTP server that answers as the vendor's REST documentation says.

It holds one portal with leads, contacts, deals and the comments on their timelines, reached through an inbound webhook:
`{url}/rest/{user_id}/{secret}/{method}.json`. Plain attributes set rights, limits and errors of the portal; the faults
of `FakeCRM` are broken connections, delays and foreign bodies.

    python -m crmgate.testing.bitrix24 --port 8091

The other modules of this package hold its parts: wire (HTTP format), fields, portal (leads and comments),
shelves (contacts and deals), markup (`comments`), multifields and phones, switches, query (lists), and the REST methods
in items, leads and methods.
The contract is https://apidocs.bitrix24.com (limits, batch, system errors, and the page of each method).
Where the documentation leaves a behaviour open, a comment there names the interpretation of the fake.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote

from crmgate.testing.bitrix24 import items, leads, methods
from crmgate.testing.bitrix24.portal import Portal
from crmgate.testing.bitrix24.wire import (
    Params,
    Reply,
    VendorError,
    flatten,
    parameters,
    parse_query,
    php_array,
    resolve,
    time_section,
    yes,
)
from crmgate.testing.server import FakeCRM, Fault, Request, Response
from crmgate.testing.transport import Dropped

METHODS = leads.METHODS | items.METHODS | methods.METHODS
BATCH_LIMIT = 50
JSON = "application/json; charset=utf-8"
_SECTIONS = ("result", "result_error", "result_total", "result_next", "result_time")
_WEBHOOK = re.compile(r"/rest/(?P<user>[^/]+)/(?P<secret>[^/]+)/(?P<method>[^/]+?)(\.json)?/?")


class FakeBitrix24(Portal, FakeCRM):
    """A fake Bitrix24 portal. `preset=False` leaves out the user fields that crmgate maps by default."""

    server_header = "nginx"

    def __init__(self, host: str = "127.0.0.1", port: int = 0, preset: bool = True) -> None:
        FakeCRM.__init__(self, host, port)
        Portal.__init__(self, preset)
        self.secret = "fakesecret123456"  # noqa: S105 - opens nothing but this fake
        self.scopes = ["crm"]
        self.rate_limit = False
        """Whether the leaky bucket is active: a burst of `burst` requests, then `leak_per_second`."""
        self.burst = 50
        self.leak_per_second = 2.0
        self.clock: Callable[[], float] = time.monotonic
        """Clock of the bucket. A test can set its own clock instead of waiting."""
        self.limited_until = 0.0
        """Time (seconds since the epoch) until which every call is refused with QUERY_LIMIT_EXCEEDED."""
        self.time_limits: dict[str, float] = {}
        """Methods without operating time, each with the time (seconds since the epoch) at which they answer again."""
        self.system_error: str | None = None
        """Code of `SYSTEM_ERRORS` with which every call is refused, such as `"OVERLOAD_LIMIT"`; None: no error."""
        self.errors_at_200 = False
        """Whether errors come with HTTP 200, as the documentation allows."""
        self.batch_ends_after: int | None = None
        """Number of commands of a batch after which the portal fails: the others are not carried out, and no answer
        comes. PHP ends like this at a limit of time or memory. None: it carries out all of them."""
        self.renamed_to: str | None = None
        """The portal's new address (`http://host:port`): every call is redirected there."""
        self._level, self._leaked_at = 0.0, 0.0

    @property
    def webhook_url(self) -> str:
        """Address of the inbound webhook, for `BITRIX_WEBHOOK_URL`."""
        return f"{self.url}/rest/{self.user_id}/{self.secret}/"

    def fail_with(self, code: str, description: str = "", status: int | None = None, **options: Any) -> Fault:
        """Add a fault that answers with one of the vendor's errors; `options` are those of `Fault`."""
        usual = VendorError.system(code)
        body = json.dumps({"error": code, "error_description": description or usual.description})
        options = {"content_type": JSON, "status": status or usual.status} | options
        return self.fail("answer", body=body, **options)

    def answer(self, request: Request) -> Response:
        if self.renamed_to:
            return _redirect(self.renamed_to, request)
        if not request.path.startswith("/rest/"):
            return Response(404, "<html><body><h1>404 Not Found</h1></body></html>", content_type="text/html")
        started = time.time()
        with self.lock:
            status, body = self._outcome(request)
            body = body | {"time": time_section(started, time.time())} if "result" in body else body
            payload = json.dumps(body)
        return Response(200 if self.errors_at_200 else status, payload, content_type=JSON)

    def _outcome(self, request: Request) -> tuple[int, dict[str, Any]]:
        method = ""
        try:
            # The bucket comes first: a request that it refuses was not processed, so it is always safe to repeat.
            self._admit()
            method = self._authorized(request.path)
            return 200, self._call(method, parameters(request)).body()
        except VendorError as failure:
            return failure.status, failure.body() | self._limit_section(failure, method)

    def _admit(self) -> None:
        # One bucket for portal and source address; the fake has one client. Open in the documentation:
        # whether refused requests fill it, too. Here they do not, or a client that retries would never get in.
        if self.limited_until > time.time():
            raise VendorError.system("QUERY_LIMIT_EXCEEDED")
        if not self.rate_limit:
            return
        now = self.clock()
        self._level = max(0.0, self._level - (now - self._leaked_at) * self.leak_per_second)
        self._leaked_at = now
        if self._level + 1 > self.burst:
            raise VendorError.system("QUERY_LIMIT_EXCEEDED")
        self._level += 1

    def _authorized(self, path: str) -> str:
        """The method that a path names, if its credential is valid."""
        if self.system_error:
            raise VendorError.system(self.system_error)
        parts = _WEBHOOK.fullmatch(unquote(path))
        if parts is None:
            raise VendorError.system("NO_AUTH_FOUND")
        known = compare_digest(parts["secret"].encode(), self.secret.encode())
        if parts["user"] != str(self.user_id) or not known:
            raise VendorError.system("INVALID_CREDENTIALS")
        self.must_be_subscribed()
        return parts["method"]

    def _call(self, method: str, params: Params) -> Reply:
        match method:
            case "batch":
                return Reply(self._batch(params))
            case "scope":
                return Reply(list(self.scopes))
        if method not in METHODS:
            raise VendorError.system("ERROR_METHOD_NOT_FOUND")
        if not _allowed(method, self.scopes):
            raise VendorError.system("insufficient_scope")
        if self.time_limits.get(method, 0) > time.time():
            raise VendorError.system("OPERATION_TIME_LIMIT")
        return METHODS[method](self, params)

    def _limit_section(self, failure: VendorError, method: str) -> dict[str, Any]:
        if failure.code != "OPERATION_TIME_LIMIT" or not self.time_in_time_limits:
            return {}
        now = time.time()
        reset = {"operating_reset_at": int(self.time_limits.get(method, now + 600)), "operating": 480.0}
        return {"time": time_section(now, now) | reset}

    def _batch(self, params: Params) -> dict[str, Any]:
        # One unit of the bucket and no transaction: what ran before an error stays.
        sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
        for index, (name, command) in enumerate(_commands(params.get("cmd"))):
            if index == self.batch_ends_after:
                raise Dropped
            started = time.time()
            try:
                reply = self._command(str(command), index, sections["result"])
            except VendorError as failure:
                sections["result_error"][name] = failure.body()
                if yes(params.get("halt")):
                    break
            else:
                _note(sections, name, reply, time_section(started, time.time()))
        return {name: php_array(section) for name, section in sections.items()}

    def _command(self, command: str, index: int, results: dict[str, Any]) -> Reply:
        if index >= BATCH_LIMIT:
            raise VendorError.system("ERROR_BATCH_LENGTH_EXCEEDED")
        method, _, arguments = command.partition("?")
        if method == "batch":
            raise VendorError.system("ERROR_BATCH_METHOD_NOT_ALLOWED")
        return self._call(method, resolve(parse_query(arguments), results))


def _allowed(method: str, scopes: list[str]) -> bool:
    needed = {"crm": {"crm"}, "user": {"user", "user_brief", "user_basic"}}.get(method.partition(".")[0])
    return not needed or bool(needed & set(scopes))


def _commands(cmd: Any) -> list[tuple[str, Any]]:
    """Named commands in their order; a list's names are its positions, and come back as a list."""
    return list(cmd.items()) if isinstance(cmd, dict) else [(str(i), one) for i, one in enumerate(flatten(cmd))]


def _note(sections: dict[str, dict[str, Any]], name: str, reply: Reply, taken: dict[str, Any]) -> None:
    noted = {"result": reply.result, "result_total": reply.total, "result_next": reply.next, "result_time": taken}
    for section, value in noted.items():
        if value is not None or section == "result":
            sections[section][name] = value


def _redirect(address: str, request: Request) -> Response:
    query = f"?{request.query}" if request.query else ""
    return Response(302, "", {"Location": f"{address.rstrip('/')}{request.path}{query}"}, "text/html")

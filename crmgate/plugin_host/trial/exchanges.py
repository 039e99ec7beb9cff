"""Requests that a plugin sent, with the answers, in a form that is readable as JSON and comparable."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import requests

from crmgate.plugin_kit.transport import Answer

Pairs = list[list[str]]
HIDDEN = "***"
SENSITIVE = re.compile(r"(?i)token|api.?key|secret|cookie|session|signature|passw|authorization|credential|assertion")
"""Names of parameters and members whose value is a credential."""
_CREDENTIAL = re.compile(r"(?i)auth|token|(?<!idempotency-)key|secret|cookie|session|signature|passw")
"""Names of headers whose value is a credential."""
_NOT_REQUEST = re.compile(r"(?i)user-agent|accept-encoding|connection|content-length|host|accept$")
_NOT_ANSWER = re.compile(
    r"(?i)server|connection|keep-alive|content-(length|encoding|security-policy)|transfer-encoding|set-cookie|via|vary"
    r"|strict-transport.*|x-powered-by|x-frame.*|x-xss.*|x-content-type.*|cf-.*|nel|report-to|alt-svc|.*(request|trace|correl).*"
)
_BOUNDARY = re.compile(r"boundary=\"?([^\";,\s]+)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?")
_EPOCH = re.compile(r"(?<!\d)[12]\d{9}(\d{3})?(?!\d)")
_UUID = re.compile(r"(?i)\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


@dataclass(frozen=True)
class Content:
    """A body as JSON, as the pairs of a form, as text, or as bytes (each one a character): `form` says which."""

    form: str
    value: Any

    @classmethod
    def read(cls, body: bytes, content_type: str) -> Content | None:
        """The body as its content type says; None if it is empty."""
        if not body:
            return None
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return cls("bytes", _without_boundary(body.decode("latin-1"), content_type))
        if "urlencoded" in content_type:
            return cls("form", _pairs(text))
        try:
            return cls("json", json.loads(text))
        except ValueError:
            return cls("text", _without_boundary(text, content_type))

    def written(self) -> bytes:
        """The body as bytes."""
        match self.form:
            case "json":
                return json.dumps(self.value, ensure_ascii=False).encode()
            case "form":
                return urlencode(self.value).encode()
            case "bytes":
                return str(self.value).encode("latin-1")
        return str(self.value).encode()


@dataclass(frozen=True)
class Exchange:
    """A request and its answer. `status` is None if there was no answer.

    `origin` is the scheme, host and port of the request. `path` is percent-encoded.
    """

    method: str
    path: str
    query: Pairs = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content | None = None
    status: int | None = None
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    answer: Content | None = None
    origin: str = ""
    credentials: tuple[str, ...] = ()
    """Values of headers that are credentials. They are never written."""

    @classmethod
    def observed(cls, request: requests.PreparedRequest, answer: Answer | None) -> Exchange:
        """A request of `CRMProvider.request`."""
        url, headers = urlsplit(str(request.url)), {**request.headers}
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        secret = {name: str(value) for name, value in headers.items() if _CREDENTIAL.search(name)}
        about = {name: str(value) for name, value in headers.items() if not _NOT_REQUEST.match(name)}
        sent = cls(
            str(request.method), url.path or "/", _pairs(url.query), about | dict.fromkeys(secret, HIDDEN),
            Content.read(body if isinstance(body, bytes) else b"", about.get("Content-Type", "")),
            origin=f"{url.scheme}://{url.netloc}", credentials=tuple(_credentials(secret.values())),
        )  # fmt: skip
        return sent if answer is None else sent._answered(answer)

    def _answered(self, answer: Answer) -> Exchange:
        headers = {name: value for name, value in answer.headers.items() if not _NOT_ANSWER.fullmatch(name)}
        if "Retry-After" not in answer.headers:
            headers = {name: value for name, value in headers.items() if name.lower() != "date"}
        body = Content.read(answer.body, answer.headers.get("Content-Type", ""))
        known = {name: getattr(self, name) for name in ("query", "headers", "body", "origin", "credentials")}
        return Exchange(self.method, self.path, status=answer.status, answer_headers=headers, answer=body, **known)

    def mapped(self, text: Callable[[str], str], value: Callable[[Any], Any]) -> Exchange:
        """A copy whose texts went through `text`, and whose queries and bodies went through `value`."""

        def body(one: Content | None) -> Content | None:
            return Content(one.form, value(one.value)) if one else None

        def headers(them: Mapping[str, str]) -> dict[str, str]:
            return {name: HIDDEN if _CREDENTIAL.search(name) else text(one) for name, one in them.items()}

        return Exchange(
            self.method, "/".join(quote(text(unquote(part)), safe="") for part in self.path.split("/")),
            value(self.query), headers(self.headers), body(self.body),
            self.status, headers(self.answer_headers), body(self.answer),
        )  # fmt: skip

    def key(self) -> str:
        """What another request must have in common with this one: method, path, query and body.

        The order of members and parameters does not count, and neither do credentials, moments and random ids (UUID).
        """
        content = self.body.value if self.body else None
        if self.body and self.body.form == "form":
            content = sorted(self.body.value)
        query = _sorted(_open(sorted(self.query)))
        return _settled(f"{self.method} {unquote(self.path)} {query} {_sorted(_open(content))}")

    def to_dict(self) -> dict[str, Any]:
        """The exchange for a file."""
        request: dict[str, Any] = {"method": self.method, "path": self.path}
        if self.query:
            request["query"] = self.query
        request |= {"headers": dict(self.headers)} | _body_json(self.body)
        if self.status is None:
            return {"request": request, "answer": None}
        return {
            "request": request,
            "answer": {"status": self.status, "headers": dict(self.answer_headers)} | _body_json(self.answer),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Exchange:
        """An exchange of a file."""
        request, answer = data["request"], data["answer"] or {}
        return cls(
            request["method"], request["path"], request.get("query", []), request.get("headers", {}),
            _body_of(request), answer.get("status"), answer.get("headers", {}), _body_of(answer),
        )  # fmt: skip


def over_texts(change: Callable[[str], str], value: Any) -> Any:
    """A JSON value whose texts went through `change`, also those in the names of members."""
    match value:
        case str():
            return change(value)
        case list():
            return [over_texts(change, one) for one in value]
        case dict():
            return {change(name): over_texts(change, one) for name, one in value.items()}
    return value


FORMS = ("json", "form", "text", "bytes")


def _body_json(body: Content | None) -> dict[str, Any]:
    return {body.form: body.value} if body else {}


def _body_of(data: Mapping[str, Any]) -> Content | None:
    return next((Content(form, data[form]) for form in FORMS if form in data), None)


def _pairs(text: str) -> Pairs:
    return [[name, value] for name, value in parse_qsl(text, keep_blank_values=True)]


def _without_boundary(text: str, content_type: str) -> str:
    """A multipart body with a boundary that is the same in each run."""
    found = _BOUNDARY.search(content_type)
    return text.replace(found[1], "boundary") if found else text


def _credentials(values: Iterable[str]) -> Iterable[str]:
    """The values, their last words (`Bearer <token>`), and the decoded user and password of Basic."""
    for value in values:
        scheme, _, last = value.rpartition(" ")
        yield from (value, last)
        if scheme.lower() == "basic":
            with contextlib.suppress(binascii.Error):  # a server may take Basic with anything
                yield from base64.b64decode(last).decode("utf-8", "replace").split(":", 1)


def _open(value: Any) -> Any:
    """A JSON value without the values of credentials."""
    match value:
        case [str(name), str()] if SENSITIVE.search(name):
            return [name, HIDDEN]
        case list():
            return [_open(one) for one in value]
        case dict():
            return {name: HIDDEN if SENSITIVE.search(name) else _open(one) for name, one in value.items()}
    return value


def _sorted(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _settled(text: str) -> str:
    return _UUID.sub("<uuid>", _EPOCH.sub("<moment>", _MOMENT.sub("<moment>", text)))

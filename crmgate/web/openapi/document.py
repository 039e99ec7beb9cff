"""Builds the OpenAPI document from the routes of the application and the descriptions of the views."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from apispec import APISpec
from flask import Flask
from werkzeug.routing import Rule

from crmgate import __version__
from crmgate.web.answers import ProblemSchema
from crmgate.web.codes import ProblemCode
from crmgate.web.openapi.convert import Plugin, flat_schema, sample
from crmgate.web.openapi.describe import JSON, Body, Describe, Example, ResponseDoc, description_of
from crmgate.web.pages import FORM_TYPES
from crmgate.web.problems import MEDIA_TYPE

PUBLISHED = re.compile(r"/(api|go|in|healthz|readyz|metrics)(/|$)")
"""The routes for programs. The document does not contain pages and files for people."""

_ABOUT = """\
crmgate accepts submissions from the visitors of a website and delivers each of them to the CRM exactly once.

JSON in, JSON out; names in snake_case; times in RFC 3339, UTC. Every failure is a problem document (RFC 9457): switch
on its `type`.
"""
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "The id of this request in the gateway's log: yours if you sent one, else a new one."
    },
    "Location": {
        "description": "Address of the operation or job, or the target of the redirect.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "Seconds to wait before asking again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "Preference-Applied": {"description": "`respond-async` if you preferred it."},
    "WWW-Authenticate": {"description": "What is missing (RFC 6750)."},
    "Accept": {"description": "The accepted media types."},
    "Content-Disposition": {"description": "The name of the file."},
    "ETag": {"description": "The version of the answer's content."},
    "Set-Cookie": {"description": "The visitor's session and referral code, unless the visitor has these cookies."},
}
_REQUEST_ID = {
    "name": "X-Request-ID", "in": "header", "description": "Your own id for this request.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
}  # fmt: skip
_ALWAYS = ("X-Request-ID",)
_BY_STATUS = {
    401: ("WWW-Authenticate",), 403: ("WWW-Authenticate",), 409: ("Retry-After",), 415: ("Accept",),
    429: ("Retry-After",), 503: ("Retry-After",),
}  # fmt: skip
_SCHEME = {
    "type": "http", "scheme": "bearer",
    "description": "An API token from `crmgate tokens new`. Scope `read`: read only; `operate`: read and change.",
}  # fmt: skip


def build(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of `app`. Raises `LookupError` for a published view without a description."""
    plugin = Plugin()
    spec = APISpec(
        "crmgate", __version__, "3.1.1", plugins=[plugin],
        info={"description": _ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/", "description": "This gateway"}],
    )  # fmt: skip
    spec.components.security_scheme("token", _SCHEME)
    spec.components.parameter("RequestId", "header", _REQUEST_ID)
    spec.components.schema("Problem", schema=ProblemSchema)
    for name, header in HEADERS.items():
        spec.components.header(name, {"schema": {"type": "string"}, **header})
    tags = dict[str, None]()
    for rule, method, described in _described(app):
        assert plugin.converter is not None
        operation = _operation(rule, described, plugin.converter, spec)
        common: list[Any] = ["RequestId"]
        spec.path(template(rule), operations={method: operation}, parameters=common)
        tags[described.tag] = None
    for tag in tags:
        spec.tag({"name": tag})
    document: dict[str, Any] = spec.to_dict()
    return document


def template(rule: Rule) -> str:
    """The path of a rule in the notation of OpenAPI."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _described(app: Flask) -> Iterator[tuple[Rule, str, Describe]]:
    for rule in app.url_map.iter_rules():
        if not PUBLISHED.match(rule.rule):
            continue
        described = description_of(app.view_functions[rule.endpoint])
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if described is None:
                raise LookupError(f"{method} {rule.rule} ({rule.endpoint}) has no @Describe(...)")
            yield rule, method.lower(), described


def _security(described: Describe) -> list[dict[str, list[str]]]:
    token = {"token": [str(described.token or "read")]}
    if described.token:
        return [token]
    return [{}, token] if described.more_with_token else []


def _operation(rule: Rule, described: Describe, converter: Any, spec: APISpec) -> dict[str, Any]:
    query = converter.schema2parameters(described.query, location="query") if described.query else []
    found: dict[str, Any] = {
        "operationId": re.sub(r"\W", "_", rule.endpoint),
        "summary": described.summary,
        "description": described.about,
        "tags": [described.tag],
        "parameters": [*(dict(parameter) for parameter in described.parameters), *query],
        "responses": _responses(described),
        "security": _security(described),
    }
    if described.body:
        content = dict(_content(described.body, converter, spec))
        found["requestBody"] = {"required": not described.body.optional, "content": content}
    return found


def _content(body: Body, converter: Any, spec: APISpec) -> Iterator[tuple[str, Any]]:
    name = body.schema.__name__.removesuffix("Schema") + "Flat"
    flat = {"$ref": f"#/components/schemas/{name}"}
    if body.forms:
        words = "The same fields with flat names, as an HTML form sends them."
        spec.components.schema(name, flat_schema(body.schema, converter, words))
    for media in (JSON, *(FORM_TYPES if body.forms else ())):
        schema = flat if media in FORM_TYPES else {"anyOf": [body.schema, flat]} if body.forms else body.schema
        examples = {_key(example.title): _example(example) for example in body.examples if example.media == media}
        yield media, {"schema": schema} | ({"examples": examples} if examples else {})


def _example(example: Example) -> dict[str, Any]:
    """An example with its headers and expected status, for which OpenAPI has no standard members."""
    sent = {"x-headers": dict(example.headers)} if example.headers else {}
    return {"summary": example.title, "value": example.value, "x-status": example.status} | sent


def _key(title: str) -> str:
    return re.sub(r"\W+", "_", title).strip("_").lower()


def _responses(described: Describe) -> dict[str, Any]:
    found = {status: _answer(answer) for status, answer in described.answers.items()}
    by_status: dict[int, list[ProblemCode]] = {}
    for code in described.every_problem:
        by_status.setdefault(code.status, []).append(code)
    pages = any("text/html" in answer.also for answer in described.answers.values())
    for status, codes in by_status.items():
        problem = _problem(status, codes, pages)
        known = found.get(status)
        found[status] = problem if known is None else _merged(known, problem)
    return {str(status): found[status] for status in sorted(found)}


def _answer(answer: ResponseDoc) -> dict[str, Any]:
    content: dict[str, Any] = {media: {"schema": {"type": "string"}} for media in answer.also}
    if answer.schema:
        example = sample(answer.schema) | ({"status": answer.status} if answer.status else {})
        content = {answer.media: {"schema": answer.schema, "example": example}} | content
    elif answer.media != JSON:
        content[answer.media] = {"schema": {"type": "string"}}
    found: dict[str, Any] = {"description": answer.about, "headers": _headers((*_ALWAYS, *answer.headers))}
    return found | ({"content": content} if content else {})


def _problem(status: int, codes: list[ProblemCode], pages: bool) -> dict[str, Any]:
    narrowed = {"properties": {"type": {"enum": [code.uri for code in codes]}, "status": {"const": status}}}
    content: dict[str, Any] = {
        MEDIA_TYPE: {
            "schema": {"allOf": [ProblemSchema, narrowed]},
            "examples": {str(code): {"summary": code.summary, "value": _sample_of(code)} for code in codes},
        }
    }
    if pages:
        content["text/html"] = {"schema": {"type": "string"}}
    headers = (*_ALWAYS, *_BY_STATUS.get(status, ()))
    words = "\n".join(f"- `{code}`: {code.summary}." for code in codes)
    return {"description": words, "headers": _headers(headers), "content": content}


def _sample_of(code: ProblemCode) -> dict[str, Any]:
    found = sample(ProblemSchema) | {"type": code.uri, "title": code.summary, "status": code.status}
    if code is not ProblemCode.INVALID_BODY:
        del found["errors"]
        found["detail"] = "The failure and its remedy."
    return found


def _merged(known: dict[str, Any], problem: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": f"{known['description']}\n\n{problem['description']}",
        "headers": known["headers"] | problem["headers"],
        "content": known["content"] | problem["content"],
    }


def _headers(names: Iterable[str]) -> dict[str, dict[str, str]]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}

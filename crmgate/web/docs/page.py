"""Converts the OpenAPI document for the page: resolves every reference, turns each example into a curl command."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt
from markupsafe import Markup

from crmgate.schemas.vocabulary import flat_prefix
from crmgate.store.tokens import Scope
from crmgate.web.pages import FORM_TYPES

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One row of a table of fields. `flat` is the field's flat name, empty if it is the same."""

    name: str
    flat: str
    required: bool
    takes: str
    about: Markup
    group: bool = False
    inner: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A command to copy."""

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class ReplyRow:
    """One status of an answer, with its headers, media types and example."""

    status: str
    reason: str
    about: Markup
    headers: tuple[str, ...]
    media: str
    example: str


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the document."""

    anchor: str
    method: str
    path: str
    summary: str
    about: Markup
    access: str
    parameters: tuple[FieldRow, ...]
    body: tuple[FieldRow, ...]
    media: tuple[str, ...]
    requests: tuple[Sample, ...]
    replies: tuple[ReplyRow, ...]


def page(document: Mapping[str, Any], base: str) -> dict[str, list[Route]]:
    """The routes by tag. `base` is the address of the gateway without a trailing slash."""
    return _Reader(document, base).read()


class _Reader:
    def __init__(self, document: Mapping[str, Any], base: str) -> None:
        self._document, self._base = document, base

    def read(self) -> dict[str, list[Route]]:
        found: dict[str, list[Route]] = {tag["name"]: [] for tag in self._document["tags"]}
        for path, methods in self._document["paths"].items():
            for method, operation in methods.items():
                if method != "parameters":
                    found[operation["tags"][0]].append(self._route(path, method.upper(), operation))
        return found

    def _route(self, path: str, method: str, operation: Mapping[str, Any]) -> Route:
        body = operation.get("requestBody", {}).get("content", {})
        return Route(
            anchor=operation["operationId"].replace("_", "-"), method=method, path=path, summary=operation["summary"],
            about=markdown(operation["description"]), access=_access(operation["security"]),
            parameters=tuple(self._parameter(parameter) for parameter in operation["parameters"]),
            body=tuple(self._fields(body[JSON]["schema"])) if JSON in body else (), media=tuple(body),
            requests=tuple(self._requests(path, method, operation)),
            replies=tuple(self._reply(*reply) for reply in operation["responses"].items()),
        )  # fmt: skip

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in node:
            return node
        found: Any = self._document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return {**found, **{name: value for name, value in node.items() if name != "$ref"}}

    def _parameter(self, given: Mapping[str, Any]) -> FieldRow:
        place = "in the path" if given["in"] == "path" else given["in"]
        takes = ", ".join(filter(None, (place, _takes(self._resolved(given["schema"])))))
        return FieldRow(given["name"], "", given.get("required", False), takes, inline(given.get("description", "")))

    def _fields(self, schema: Mapping[str, Any], group: str = "") -> Iterator[FieldRow]:
        """Yield the fields of a body; the fields of a group follow it."""
        whole = self._resolved(schema)
        if "anyOf" in whole and "properties" not in whole:  # the nested form stands first
            whole = self._resolved(whole["anyOf"][0])
        for name, inner in whole.get("properties", {}).items():
            declared = self._resolved(inner)
            nested = "properties" in declared
            flat = f"{flat_prefix(group)}{name}"
            about = inline(declared.get("description", ""))
            required = name in whole.get("required", ())
            takes = "" if nested else _takes(declared)
            yield FieldRow(name, "" if flat == name else flat, required, takes, about, nested, bool(group))
            if nested:
                yield from self._fields(declared, name)

    def _requests(self, path: str, method: str, operation: Mapping[str, Any]) -> Iterator[Sample]:
        content = operation.get("requestBody", {}).get("content", {})
        examples = [(media, example) for media in content for example in content[media].get("examples", {}).values()]
        for media, example in examples:
            yield Sample(example["summary"], self._curl(path, method, operation, media, example))
        if not examples:
            yield Sample("", self._curl(path, method, operation))

    def _curl(self, path: str, method: str, operation: Mapping[str, Any], media: str = "", example: Any = None) -> str:
        given: Mapping[str, Any] = example or {}
        body, sent, needed = given.get("value"), dict(given.get("x-headers", {})), dict[str, str]()
        for parameter in operation["parameters"]:
            if parameter["name"] == "If-Match":
                needed = {"If-Match": parameter["example"]}
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(str(parameter.get("example", "..."))))
        parts = [f"curl {shlex.quote(self._base + path)}"]
        implied = "POST" if body is not None else "GET"
        if method != implied:
            parts.append(f"-X {method}")
        if _access(operation["security"]) in tuple(Scope):
            parts.append('-H "Authorization: Bearer $TOKEN"')
        parts += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in (needed | sent).items()]
        if body is not None and media in FORM_TYPES:
            parts += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in body.items()]
        elif body is not None:
            parts += [f"-H 'Content-Type: {media}'", f"-d {shlex.quote(pretty(body))}"]
        return " \\\n  ".join(parts)

    def _reply(self, status: str, given: Mapping[str, Any]) -> ReplyRow:
        content = given.get("content", {})
        media = next(iter(content), "")
        shown = content.get(media, {})
        examples = [example["value"] for example in shown.get("examples", {}).values()]
        # Of several problems, one with field errors is the best example; the others differ only in their texts.
        examples.sort(key=lambda example: "errors" not in example)
        example = shown.get("example", next(iter(examples), None))
        headers = tuple(name for name in given["headers"] if name != "X-Request-ID")
        words = markdown(given["description"])
        reason = HTTPStatus(int(status)).phrase
        return ReplyRow(
            status, reason, words, headers, " or ".join(content), "" if example is None else pretty(example)
        )


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False})


def markdown(text: str) -> Markup:
    """Markdown as HTML; HTML in the text is escaped."""
    return Markup(_markdown().render(text))  # noqa: S704 - see above


def inline(text: str) -> Markup:
    """Markdown as HTML without paragraphs."""
    return Markup(_markdown().renderInline(text))  # noqa: S704


def pretty(value: Any) -> str:
    """JSON for people: a value that fits on one line is not broken."""
    return _pretty(value, "")


def _pretty(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + len(indent) <= 72 or not isinstance(value, dict | list):
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(name, ensure_ascii=False)}: {_pretty(item, inner)}" for name, item in value.items()]
    else:
        items = [_pretty(item, inner) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{last}"


def _access(security: list[Mapping[str, list[str]]]) -> str:
    """The required scope; `optional` if a token is optional and shows more; empty if the route takes none."""
    if not security:
        return ""
    return "optional" if {} in security else security[0]["token"][0]


def _takes(schema: Mapping[str, Any]) -> str:
    """The constraints of a schema as text."""
    kinds = schema.get("type", [])
    words = [" or ".join([kinds] if isinstance(kinds, str) else kinds)]
    if "enum" in schema:
        words = ["yes or no, true or false" if True in schema["enum"] else " | ".join(schema["enum"])]
    if "items" in schema:
        words = [f"list of {_takes(schema['items'])}"]
    if "maxLength" in schema:
        words.append(f"at most {schema['maxLength']:,} characters")
    if "maxItems" in schema:
        words.append(f"at most {schema['maxItems']} entries")
    if "minimum" in schema:
        words.append(f"{schema['minimum']} to {schema['maximum']}")
    if "maxProperties" in schema:
        words.append(f"at most {schema['maxProperties']} texts")
    if schema.get("format") in ("email", "date-time"):
        words.append("email address" if schema["format"] == "email" else "RFC 3339")
    return re.sub(r"^, ", "", ", ".join(word for word in words if word))

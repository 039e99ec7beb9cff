"""Converts marshmallow schemas to JSON Schema, to examples, and to the flat names of forms."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from crmgate.schemas.coded import Coded
from crmgate.schemas.vocabulary import flat_prefix

_CONTROL = {
    "_next": {
        "type": "string",
        "description": "HTML forms only: the address to which the browser is redirected. Its origin must be allowed.",
    },
    "_charset_": {
        "type": "string",
        "description": "HTML forms only: the charset of the form. Browsers fill it in.",
    },
    "_hp": {
        "type": "string",
        "maxLength": 0,
        "description": "Honeypot, hidden from people: a value marks a robot. `HONEYPOT_FIELD` sets its name.",
    },
    "_t": {
        "type": "number",
        "minimum": 0,
        "description": "Milliseconds that the form was open, from a script. Below `MIN_FILL_SECONDS` it is a robot.",
    },
}


class Converter(OpenAPIConverter):
    """apispec's converter, with the JSON Schema of our own fields, and docstrings as descriptions."""

    def init_attribute_functions(self) -> None:
        """Called once by the base class."""
        super().init_attribute_functions()  # type: ignore[no-untyped-call]
        self.add_attribute_function(_own_schema)  # type: ignore[no-untyped-call]

    def schema2jsonschema(self, schema: Any) -> dict[str, Any]:
        """The JSON Schema of a marshmallow schema."""
        found: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        # Unknown members are accepted unless a schema forbids them, and answers may get more members later.
        found.pop("additionalProperties", None)
        kind = schema if isinstance(schema, type) else type(schema)
        words = inspect.getdoc(kind) or ""
        return {"description": " ".join(words.split()), **found, **getattr(kind, "json_schema", {})}


def _own_schema(_converter: OpenAPIConverter, field: fields.Field[Any], **_ret: Any) -> dict[str, Any]:
    return field.json_schema() if isinstance(field, Coded) else {}


class Plugin(MarshmallowPlugin):
    """apispec's plugin with this converter."""

    Converter = Converter


def flat_schema(schema: type[Schema], converter: Converter, words: str) -> dict[str, Any]:
    """The JSON Schema of the same fields with flat names, as an HTML form sends them; `words` describes it."""
    properties, required, choices = dict[str, Any](), list[str](), list[Any]()
    for name, path, declared in flat_fields(schema):
        properties[name] = converter.field2property(declared) | _path(name, path, declared)
        if declared.required:
            required.append(name)
    for group in schema().fields.values():
        if isinstance(group, fields.Nested) and group.required:
            choices += getattr(type(group.schema), "json_schema", {}).get("anyOf", [])
    more = {"anyOf": choices} if choices else {}
    return {
        "type": "object", "description": words, "properties": properties | _CONTROL, "required": required,
        "additionalProperties": True, **more,
    }  # fmt: skip


def flat_fields(schema: type[Schema]) -> Iterator[tuple[str, str, fields.Field[Any]]]:
    """Yield the flat name, the path and the field of each field, except `custom`, which a flat body does not need."""
    for name, declared in schema().fields.items():
        if isinstance(declared, fields.Nested):
            for leaf, inner in declared.schema.fields.items():
                yield f"{flat_prefix(name)}{leaf}", f"{name}.{leaf}", inner
        elif name != "custom":
            yield name, name, declared


def query_of(schema: type[Schema], *without: str) -> list[dict[str, Any]]:
    """The query parameters for the fields of `schema`, except `without`. None of them is required."""
    described = ((name, declared.metadata.get("description", "")) for name, _, declared in flat_fields(schema))
    return [
        {"name": name, "in": "query", "schema": {"type": "string"}} | ({"description": words} if words else {})
        for name, words in described if name not in without
    ]  # fmt: skip


def _path(name: str, path: str, declared: fields.Field[Any]) -> dict[str, str]:
    words = declared.metadata.get("description", "")
    return {"description": f"`{path}`. {words}".strip()} if path != name else {}


def sample(schema: type[Schema] | Schema) -> dict[str, Any]:
    """An example built from the examples of the fields; a field without one is null or absent."""
    instance = schema() if isinstance(schema, type) else schema
    found = {name: (_sample(declared), declared) for name, declared in instance.fields.items()}
    return {
        name: value for name, (value, declared) in found.items()
        if value is not None or (declared.required and declared.allow_none)
    }  # fmt: skip


def _sample(declared: fields.Field[Any]) -> Any:
    if isinstance(declared, fields.Nested):
        return sample(declared.schema) or None
    if "examples" in declared.metadata:
        return declared.metadata["examples"][0]
    if isinstance(declared, fields.List) and isinstance(declared.inner, fields.Nested):
        return [sample(declared.inner.schema)]
    return None

"""Typeform: `form_response.answers`, each with the id, the ref and the type of its question.

https://www.typeform.com/developers/webhooks/example-payload/. The title of a question is in `definition.fields`; a
question may have questions inside (`properties.fields`). Hidden fields and variables have names of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.schemas.labelled import Answer
from crmgate.sources.answers import collected
from crmgate.sources.model import Parsed, Received, SourceRequest

_MEANING = {"email": "email", "phone_number": "phone"}
"""Fields that the type of an answer implies."""


def parse(request: SourceRequest) -> Parsed:
    """Read one response. A partial response is a delivery of its own: the complete one comes later."""
    data = request.mapping()
    response = data["form_response"]
    delivery = str(response.get("token") or data.get("event_id") or "")
    if data.get("event_type", "form_response") != "form_response":
        delivery = f"{data['event_type']} {data.get('event_id', '')}"
    return [Received(collected(_answers(response)), delivery)]


def _answers(response: Mapping[str, Any]) -> Iterator[Answer]:
    definition = response.get("definition") or {}
    titles = dict(_titles(definition.get("fields") or []))
    for answer in response.get("answers") or []:
        field = answer.get("field") or {}
        title = titles.get(field.get("id")) or titles.get(field.get("ref")) or str(field.get("id") or "")
        yield (str(field.get("ref") or ""), title, *_implied(answer)), _value(answer)
    yield from (((name,), value) for name, value in (response.get("hidden") or {}).items())
    for variable in response.get("variables") or []:
        yield (str(variable.get("key", "")),), variable.get(str(variable.get("type")))
    yield ("source_description",), definition.get("title", "")


def _titles(fields: list[Any]) -> Iterator[tuple[Any, str]]:
    for field in fields:
        title = str(field.get("title") or "")
        yield from ((field.get(name), title) for name in ("id", "ref") if field.get(name))
        yield from _titles((field.get("properties") or {}).get("fields") or field.get("fields") or [])


def _implied(answer: Mapping[str, Any]) -> tuple[str, ...]:
    return (_MEANING[answer["type"]],) if answer.get("type") in _MEANING else ()


def _value(answer: Mapping[str, Any]) -> Any:
    kind = answer.get("type", "text")
    value = answer.get(kind, answer.get("text"))
    match kind:
        case "boolean":
            return "yes" if value else "no"
        case "choice":
            return _one(value)
        case "choices":
            return [*(value.get("labels") or []), value.get("other")]
        case "payment":
            return [value.get("amount"), "paid" if value.get("success") else "not paid"]
    return value


def _one(choice: Mapping[str, Any]) -> Any:
    return choice.get("label") or choice.get("other")

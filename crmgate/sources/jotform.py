"""JotForm: a multipart form whose field `rawRequest` has the answers as JSON, by names such as `q3_fullName`.

https://www.jotform.com/help/245-how-to-setup-a-webhook-with-jotform/. A name, an address, a phone and a date consist of
parts. Without `rawRequest` the answers are the fields of the form itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.schemas.labelled import Answer
from crmgate.schemas.vocabulary import named
from crmgate.sources.answers import collected, plain
from crmgate.sources.model import Parsed, Received, SourceRequest

_QUESTION = re.compile(r"q\d+_(.+)")


def parse(request: SourceRequest) -> Parsed:
    """Read one submission."""
    data = request.mapping()
    raw = data.get("rawRequest")
    answers = json.loads(raw) if isinstance(raw, str) and raw else raw or data
    if not isinstance(answers, dict):
        raise ValueError("rawRequest is not an object")
    found = list(_answers(answers)) or list(_pretty(str(data.get("pretty", ""))))
    title = (("source_description",), data.get("formTitle", ""))
    submission = data.get("submissionID") or data.get("submission_id") or answers.get("submissionID") or ""
    return [Received(collected([*found, title]), str(submission))]


def _answers(raw: Mapping[str, Any]) -> Iterator[Answer]:
    has_name = False
    for key, value in raw.items():
        question = _QUESTION.fullmatch(key)
        name = question[1] if question else key
        if not question and not _is_files(value) and named(key) is None:
            continue  # what the page of the form adds: `slug`, `jsExecutionTracker` and others
        if not isinstance(value, Mapping):
            yield (name,), value
        elif "first" in value and "last" in value:
            yield from _name(name, value, of_the_person=not has_name)
            has_name = True
        else:
            yield from _parts(name, value)


def _pretty(text: str) -> Iterator[Answer]:
    """The answers in `Full Name:Ada Lovelace, E-mail:ada@example.com`, the only ones that some copies have."""
    label, value = "", ""
    for part in text.split(", "):
        name, colon, rest = part.partition(":")
        if colon:
            yield (label,), value
            label, value = name, rest
        else:
            value = f"{value}, {part}"
    yield (label,), value


def _is_files(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and str(value[0]).startswith("https://")


def _name(name: str, value: Mapping[str, Any], *, of_the_person: bool) -> Iterator[Answer]:
    """The first name in the form is that of the person, a further one is that of somebody else, such as a parent."""
    if not of_the_person:
        yield (name,), " ".join(filter(None, (str(value.get(part) or "") for part in ("first", "middle", "last"))))
        return
    yield ("first_name",), " ".join(filter(None, (str(value.get("first") or ""), str(value.get("middle") or ""))))
    yield ("last_name",), value.get("last")


def _parts(name: str, value: Mapping[str, Any]) -> Iterator[Answer]:
    if "phone" in value or "full" in value:
        yield (name, "phone"), _phone(value)
    elif "addr_line1" in value:
        yield ("city",), value.get("city")
        yield ("country",), value.get("country")
        yield (name,), plain(value)
    elif {"year", "month", "day"} <= value.keys():
        yield (name,), _date(value)
    else:
        yield (name,), list(value.values())


def _phone(value: Mapping[str, Any]) -> str:
    if value.get("full"):
        return str(value["full"])
    country = str(value.get("country") or "").lstrip("+")
    rest = " ".join(filter(None, (str(value.get("area") or ""), str(value.get("phone") or ""))))
    return f"+{country} {rest}" if country and rest else rest


def _date(value: Mapping[str, Any]) -> str:
    year, month, day = (str(value[part] or "") for part in ("year", "month", "day"))
    time = ":".join(filter(None, (str(value.get(part) or "") for part in ("hour", "min"))))
    return " ".join(filter(None, (f"{year}-{month:0>2}-{day:0>2}" if year else "", time, str(value.get("ampm") or ""))))

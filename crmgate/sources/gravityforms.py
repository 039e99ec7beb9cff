"""Gravity Forms with its Webhooks Add-On: the values by the number of the field (`2`, `1.3`), or by names of your own.

https://docs.gravityforms.com/entry-object/. The parts of a field have fixed numbers: of a name 3 is the first and 6 the
last name, of an address 3 is the city and 6 the country. Without names, the first email is the person's email and the
first phone the phone; `SOURCE_GRAVITYFORMS_MAP` names further fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.schemas.labelled import Answer
from crmgate.sources.answers import collected, flat, plain
from crmgate.sources.model import Parsed, Received, SourceRequest

_NUMBER = re.compile(r"(\d+)(?:\.(\d+))?")
_NAME, _ADDRESS, _CONSENT = frozenset("23468"), frozenset("123456"), frozenset("123")
_TECHNICAL = (
    "id entry_id form_id post_id date_created date_updated is_starred is_read ip source_url user_agent currency"
    " payment_status payment_date payment_amount payment_method transaction_id is_fulfilled created_by"
    " transaction_type status source_id is_approved resumed submission_speeds"
)


def parse(request: SourceRequest) -> Parsed:
    """Read one entry."""
    data = request.mapping()
    if isinstance(data.get("entry"), dict):
        data = data["entry"]
    own = {name: value for name, value in data.items() if name not in _TECHNICAL.split()}
    numbered = {name: value for name, value in own.items() if _NUMBER.fullmatch(name)}
    named = {name: value for name, value in own.items() if name not in numbered}
    page = (("Page URL",), data.get("source_url", ""))
    return [
        Received(
            collected([*flat(named), *_numbered(numbered), page]), str(data.get("id") or data.get("entry_id") or "")
        )
    ]


def _numbered(values: Mapping[str, Any]) -> Iterator[Answer]:
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        number, _, part = name.partition(".")
        groups.setdefault(number, {})[part] = value
    named = False
    for number, parts in groups.items():
        if not named and parts.keys() <= _NAME and parts.keys() & {"3", "6"}:
            named = True
            yield ("first_name",), " ".join(filter(None, (str(parts.get(part) or "") for part in "34")))
            yield ("last_name",), parts.get("6")
        else:
            yield from _other(f"field {number}", parts)


def _other(name: str, parts: Mapping[str, Any]) -> Iterator[Answer]:
    if parts.keys() == _ADDRESS and all(parts[part] for part in "136"):
        yield ("city",), parts["3"]
        yield ("country",), parts["6"]
    if parts.keys() == _CONSENT and parts["1"] == "1" and str(parts["3"]).isdecimal():
        yield ("consent_given",), "yes"
        yield ("consent_text",), parts["2"]
        return
    yield (name,), plain([value for value in parts.values() if value])

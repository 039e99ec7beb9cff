"""Google Forms, by a script of the form or of its sheet (docs/sources.md has it): `namedValues` by question.

https://developers.google.com/apps-script/guides/triggers/events#form-submit. A value is a list with one entry. The
script may send several responses in one list. `id` is the id of the response, if the script sends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crmgate.sources.answers import collected, flat
from crmgate.sources.model import Parsed, Received, SourceRequest

_TECHNICAL = ("id", "responseId", "response_id", "authMode", "triggerUid", "range", "source", "values", "formTitle")


def parse(request: SourceRequest) -> Parsed:
    """Read one response, or each of a list of responses."""
    data = request.data()
    if isinstance(data, Mapping) and isinstance(data.get("responses"), list):
        data = data["responses"]
    return [_response(each) for each in (data if isinstance(data, list) else [data])]


def _response(event: Mapping[str, Any]) -> Received:
    values = event.get("namedValues") or event.get("answers") or event.get("response")
    if values is None:
        values = {name: value for name, value in event.items() if name not in _TECHNICAL}
    delivery = event.get("id") or event.get("responseId") or event.get("response_id") or ""
    title = (("source_description",), event.get("formTitle", ""))
    return Received(collected([*flat(values), title]), str(delivery))

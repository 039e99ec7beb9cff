"""Tilda: a form-encoded body with `Name`, `Email`, `Phone` and the names that the editor gave to the other fields.

https://help.tilda.cc/webhook. After its address is entered, Tilda sends `test=test` and expects the status 200. The
cookies of the page are read for `TILDAUTM`, the campaign of the visit, and otherwise left out: they are the visitor's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, unquote_plus

from crmgate.schemas.labelled import Answer
from crmgate.sources.answers import collected, flat
from crmgate.sources.model import Handshake, Parsed, Received, SourceRequest

_TECHNICAL = ("tranid", "formid", "formname", "COOKIES", "test", "token", "_mp", "formservices[]", "formservices")


def parse(request: SourceRequest) -> Parsed:
    """Read one submission."""
    data = request.mapping()
    if data.get("test") == "test" and "tranid" not in data:
        return Handshake()
    fields = {"source_description": data.get("formname", "")} | dict(_campaign(str(data.get("COOKIES", ""))))
    return [Received(collected(_answers(fields | data)), str(data.get("tranid", "")))]


def _answers(data: Mapping[str, Any]) -> Iterator[Answer]:
    for name, value in data.items():
        if name == "payment":
            yield from ((("payment", f"payment {names[-1]}"), part) for names, part in flat(value, "payment"))
        elif name not in _TECHNICAL:
            yield (name,), value


def _campaign(cookies: str) -> Iterator[tuple[str, str]]:
    """The `utm` parameters in `TILDAUTM=utm_source=google|||utm_medium=cpc`, whose value is percent-encoded."""
    for cookie in cookies.split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == "TILDAUTM":
            pairs = (pair.partition("=") for pair in unquote(value).split("|||"))
            yield from ((key, unquote_plus(found)) for key, _, found in pairs if key.startswith("utm_"))

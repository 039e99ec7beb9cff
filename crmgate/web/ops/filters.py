"""The filter in the address of a page: the same names as in the API, and times without an offset are UTC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict

from flask import request

from crmgate.model import rfc3339
from crmgate.operators.inventory import Filter
from crmgate.web.filters import Asked, read_list

PAGE = 50
"""Operations on a page."""
TIMES = ("accepted_from", "accepted_to", "dead_before")
_NOT_IN_THE_FILTER = ("limit", "cursor", "csrf", "live")
_LOCAL = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?)?", re.ASCII)


def asked(source: Mapping[str, str] | None = None) -> Asked:
    """The filter and the cursor in `source`, by default the query. Raises `Problem`: 400 with every error."""
    query = dict(source if source is not None else request.args)
    chosen = {name: _utc(name, value.strip()) for name, value in query.items() if name not in _NOT_IN_THE_FILTER}
    return read_list(chosen | {"cursor": query.get("cursor", ""), "limit": str(PAGE)})


def fields(wanted: Filter) -> dict[str, str]:
    """The filter as fields of a form or a query, without empty ones. `asked` reads them."""
    found = {name: value for name, value in asdict(wanted).items() if value not in ("", None)}
    return {name: rfc3339(value) if name in TIMES else str(value) for name, value in found.items()}


def _utc(name: str, value: str) -> str:
    """A time of a form as RFC 3339."""
    found = _LOCAL.fullmatch(value) if name in TIMES else None
    if found is None:
        return value
    day, time, seconds = found.groups()
    return f"{day}T{time or '00:00'}{seconds or ':00'}Z"

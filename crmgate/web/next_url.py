"""`_next`: the page to which a form post redirects the visitor. Restricted to allowed origins: no open redirect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import request

from crmgate.schemas.coded import single
from crmgate.schemas.codes import FieldCode
from crmgate.schemas.faults import FieldError
from crmgate.web.origins import is_own

# Browsers read a backslash as a slash and drop tabs and line breaks: they would open another address than the one that
# was checked here.
_AMBIGUOUS = re.compile(r"[\\\s\x00-\x1f\x7f]")
# Two leading slashes would lead to another host.
_HTTP_OR_PATH = re.compile(r"https?://|/(?!/)", re.IGNORECASE)


def next_url(raw: Mapping[str, Any]) -> tuple[str | None, list[FieldError]]:
    """The absolute address in `_next`, None without one; and an error if it leads to another site."""
    value = single(raw.get("_next")) or ""
    if value == "":
        return None, []
    target = _absolute(value)
    if target is not None and is_own(target):
        return target, []
    message = "Expected an address on this site or on one of the allowed origins."
    return None, [FieldError("_next", FieldCode.INVALID_NEXT, message)]


def _absolute(value: Any) -> str | None:
    if not isinstance(value, str) or _AMBIGUOUS.search(value) or not _HTTP_OR_PATH.match(value):
        return None
    return request.host_url.rstrip("/") + value if value.startswith("/") else value

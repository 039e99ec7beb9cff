"""`_next`: the page to which a form post redirects the visitor. Restricted to allowed origins: no open redirect."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from typing import Any

from flask import request

from crmgate.schemas.canonical import FieldWarning
from crmgate.schemas.coded import single
from crmgate.schemas.codes import WarningCode
from crmgate.web.origins import is_own

log = logging.getLogger(__name__)

# Browsers read a backslash as a slash and drop tabs and line breaks: they would open another address than the one that
# was checked here.
_AMBIGUOUS = re.compile(r"[\\\s\x00-\x1f\x7f]")
# Two leading slashes would lead to another host.
_HTTP_OR_PATH = re.compile(r"https?://|/(?!/)", re.IGNORECASE)
_logged = threading.Event()


def next_url(raw: Mapping[str, Any]) -> tuple[str | None, list[FieldWarning]]:
    """The absolute address in `_next`, None without a usable one; and a warning if it leads to another site."""
    value = single(raw.get("_next")) or ""
    if value == "":
        return None, []
    target = _absolute(value)
    if target is not None and is_own(target):
        return target, []
    _log_once()
    message = "It is no address on this site or on one of the allowed origins: there was no redirect."
    return None, [FieldWarning("_next", WarningCode.INVALID_NEXT, message)]


def _absolute(value: Any) -> str | None:
    if not isinstance(value, str) or _AMBIGUOUS.search(value) or not _HTTP_OR_PATH.match(value):
        return None
    return request.host_url.rstrip("/") + value if value.startswith("/") else value


def _log_once() -> None:
    """Log the first such address of this process, without the address: it may contain a visitor's input."""
    if not _logged.is_set():
        _logged.set()
        log.warning(
            "a form names a page in `_next` that is not on this site or in ALLOWED_ORIGINS: its visitors get the"
            " thank-you page instead"
        )

"""`_next`: the page to which a form post redirects the visitor. Restricted to allowed origins: no open redirect."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

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
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,100}")
_MOST = 20
_logged: set[str] = set()
"""The hosts that the log has named, at most `_MOST`: each once, because every submission of a page has the same."""


def next_url(raw: Mapping[str, Any]) -> tuple[str | None, list[FieldWarning]]:
    """The absolute address in `_next`, None without a usable one; and a warning if it leads to another site."""
    value = single(raw.get("_next")) or ""
    if value == "":
        return None, []
    target = _absolute(value)
    if target is not None and is_own(target):
        return target, []
    _log(_host(value))
    message = "It is no address on this site or on one of the allowed origins: there was no redirect."
    return None, [FieldWarning("_next", WarningCode.INVALID_NEXT, message)]


def _absolute(value: Any) -> str | None:
    if not isinstance(value, str) or _AMBIGUOUS.search(value) or not _HTTP_OR_PATH.match(value):
        return None
    return request.host_url.rstrip("/") + value if value.startswith("/") else value


def _host(value: Any) -> str:
    """The host in an address, empty if there is none; without user name, path and query, which may be personal data."""
    try:
        host = urlsplit(str(value)).hostname or ""
    except ValueError:
        return ""
    return host if _HOST.fullmatch(host) else ""


def _log(host: str) -> None:
    if host not in _logged and len(_logged) < _MOST:
        _logged.add(host)
        log.warning("_next: %s is not in ALLOWED_ORIGINS; the visitor gets the thank-you page", host or "a text")

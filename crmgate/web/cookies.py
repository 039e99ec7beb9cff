"""The two cookies that tie a visitor's clicks and application together. The first touch wins: none is overwritten."""

from __future__ import annotations

import re

from flask import request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.schemas import REFERRAL_CODE, TOKEN

SESSION, REFERRAL = "crmgate_session", "crmgate_ref"
LIFETIME = 30 * 24 * 3600
"""Seconds, counted from the first touch."""

_COOKIES: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("session", SESSION, TOKEN),
    ("referral_code", REFERRAL, REFERRAL_CODE),
)


def remembered() -> dict[str, str]:
    """`session` and `referral_code` as the visitor's cookies have them; a value that crmgate never wrote is none."""
    found = ((field, request.cookies.get(name, ""), pattern) for field, name, pattern in _COOKIES)
    return {field: value for field, value, pattern in found if pattern.fullmatch(value)}


def remember(response: BaseResponse, fields: dict[str, str]) -> None:
    """Set the cookies of `session` and `referral_code` where the visitor has none."""
    known = remembered()
    for field, name, _ in _COOKIES:
        if field in fields and field not in known:
            response.set_cookie(
                name, fields[field], max_age=LIFETIME, secure=request.is_secure, httponly=True, samesite="Lax"
            )

"""The two cookies that connect a visitor's clicks and application. The first touch wins: no cookie is overwritten."""

from __future__ import annotations

import re

from flask import request
from werkzeug.wrappers import Response as BaseResponse

from crmgate.schemas import REFERRAL_CODE, TOKEN
from crmgate.web.current import environ

SESSION, REFERRAL = "crmgate_session", "crmgate_ref"
LIFETIME = 30 * 24 * 3600
"""Lifetime of the cookies in seconds, from the first touch."""

_COOKIES: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("session", SESSION, TOKEN),
    ("referral_code", REFERRAL, REFERRAL_CODE),
)


def remembered() -> dict[str, str]:
    """`session` and `referral_code` from the visitor's cookies, without values that crmgate cannot have written."""
    if "HTTP_COOKIE" not in environ():
        return {}
    found = ((field, request.cookies.get(name, ""), pattern) for field, name, pattern in _COOKIES)
    return {field: value for field, value, pattern in found if pattern.fullmatch(value)}


def remember(response: BaseResponse, fields: dict[str, str]) -> None:
    """Set the cookies for `session` and `referral_code` from `fields`, unless the visitor already has them."""
    known = remembered()
    for field, name, _ in _COOKIES:
        if field in fields and field not in known:
            response.set_cookie(
                name, fields[field], max_age=LIFETIME, secure=request.is_secure, httponly=True, samesite="Lax"
            )

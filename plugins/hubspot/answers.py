"""Answers of HubSpot: the error that an answer means, the properties that a refusal names, and conflicts.

Errors have the form `{"status": "error", "message", "category", "correlationId", "errors": [...]}`; each key may be
missing (api-reference/error-handling). A message can repeat what the visitor typed, so an error of the plugin contains
only names of properties and codes of HubSpot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    NotFound,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
)
from crmgate.provider import Answer, lost

from .records import OWN

SETUP = "run `crmgate crm setup`, which creates it"
_TOKEN = "HubSpot refuses the token: check HUBSPOT_TOKEN"  # noqa: S105 - no token
_SCOPES = (
    "the private app lacks a scope: it needs crm.objects.contacts.read, crm.objects.contacts.write and"
    " crm.schemas.contacts.read, and crm.schemas.contacts.write for the setup"
)
_ELSEWHERE = "no HubSpot answers at this address: check HUBSPOT_URL"
WAITS = {"DAILY": 900.0, "TEN_SECONDLY_ROLLING": 10.0, "SECONDLY": 1.0}
"""Seconds to wait by the policy that a 429 names. HubSpot documents no header Retry-After for it.

The daily limit ends at midnight in the time zone of the account, which the answer does not name.
"""
LOCK_SECONDS = 2.0
"""Duration of a lock (423)."""
UNIQUE = "CONFLICTING_UNIQUE_VALUE"
EXISTING = re.compile(r"Contact already exists\. Existing ID: ([0-9]{1,20})\b")
NAME, CODE = re.compile(r"[a-z][a-z0-9_]{0,99}"), re.compile(r"[A-Z][A-Z_]{0,63}")


def error_for(answer: Answer, *, read: bool) -> ProviderError:
    """The error that an unexpected answer means. `read`: the request changed nothing."""
    body, status = _body(answer), answer.status
    if status == 401:
        return AuthFailed(_TOKEN, status=status, vendor_code=_category(body))
    if status in (423, 429, 477):
        return _limited(answer, body)
    if status >= 500 or status < 300:
        return lost(
            read, Code.SERVER_ERROR, "HubSpot, or a server in front of it, failed or sent something else", status
        )
    if status < 400 or not (body or answer.content_type == "application/json"):
        return Unavailable(_ELSEWHERE, code=Code.INVALID_RESPONSE, status=status)
    if status == 403:
        return AuthFailed(_SCOPES, code=Code.NO_PERMISSION, status=status, vendor_code=_category(body))
    if status in (404, 405):
        return _missing(body, status)
    if status == 409:
        detail = "HubSpot reports a conflict with another record"
        return Duplicate(detail, status=status, vendor_code=_category(body))
    return _refusal(body, status)


def _limited(answer: Answer, body: Mapping[str, Any]) -> RateLimited:
    """429: a limit of requests; 423: a lock for 2 s; 477: the account moves to another data centre, for hours."""
    policy = str(body.get("policyName"))
    known = LOCK_SECONDS if answer.status == 423 else WAITS.get(policy)
    wait = known if answer.retry_after is None else answer.retry_after
    code = Code.MAINTENANCE if answer.status == 477 else Code.RATE_LIMITED
    shown = policy if policy in WAITS else ""
    detail = "HubSpot accepts no more requests for now"
    return RateLimited(detail, code=code, status=answer.status, retry_after=wait, vendor_code=shown)


def _missing(body: Mapping[str, Any], status: int) -> ProviderError:
    if _category(body) == "OBJECT_NOT_FOUND" or body.get("message") == "resource not found":
        return NotFound("HubSpot has no such record", status=status)
    return Unavailable(_ELSEWHERE, code=Code.INVALID_RESPONSE, status=status)


def _refusal(body: Mapping[str, Any], status: int) -> ProviderError:
    flaws = flaws_in(body)
    lacking = [name for name, flaw in flaws.items() if name in OWN and flaw == "PROPERTY_DOESNT_EXIST"]
    if lacking:  # it concerns every contact
        detail = f"HubSpot has no contact property {', '.join(lacking)}: {SETUP}"
        return AuthFailed(detail, code=Code.NO_PERMISSION, status=status)
    named = ", ".join(f"{name} ({flaw})" if flaw else name for name, flaw in flaws.items())
    detail = f"HubSpot refuses the value of a property: {named}" if named else "HubSpot refuses the request"
    code = Code.INVALID_VALUE if named else Code.INVALID_REQUEST
    return Rejected(detail, fields=flaws, code=code, status=status, vendor_code=_category(body))


def flaws_in(body: Mapping[str, Any]) -> dict[str, str]:
    """HubSpot's code of each refused property, by the name of the property.

    A list of them is in `errors`, and as JSON at the end of `message`: `Property values were not valid: [{...}]`.
    """
    flaws = dict[str, str]()
    for one in (*_listed(body.get("errors")), *_listed(_list_in(str(body.get("message"))))):
        code = str(one.get("error") or one.get("code") or "")
        for name in filter(NAME.fullmatch, _names(one)):
            flaws[name] = (code if CODE.fullmatch(code) else "") or flaws.get(name, "")
    return flaws


def _names(one: Mapping[str, Any]) -> Iterator[str]:
    yield str(one.get("name") or one.get("in") or "")
    context = one.get("context")
    named = context.get("propertyName") if isinstance(context, dict) else None
    yield from map(str, named if isinstance(named, list) else [named or ""])


def _list_in(message: str) -> Any:
    """The JSON list in a message; None: there is none."""
    start = message.find("[{")
    if start < 0:
        return None
    try:
        return json.JSONDecoder().raw_decode(message, start)[0]
    except (ValueError, RecursionError):
        return None


def is_conflict(answer: Answer) -> bool:
    """Whether HubSpot refuses a write because another contact has the value of a unique property.

    For the email the answer is a 409. The answer for a property with `hasUniqueValue` is not documented; integrations
    report a 400 with the code `CONFLICTING_UNIQUE_VALUE` or with the words "already has that value".
    """
    if answer.status == 409:
        return True
    body = _body(answer)
    named = UNIQUE in flaws_in(body).values() or "already has that value" in str(body.get("message"))
    return answer.status == 400 and named


def existing_id(answer: Answer) -> str:
    """Id of the contact that a 409 names; empty: it names none."""
    found = EXISTING.match(str(_body(answer).get("message")))
    return found[1] if found else ""


def made_id(answer: Answer) -> str:
    """Id of a record that the answer confirms to be new; empty: it confirms none."""
    found = _body(answer).get("id")
    return found if answer.status == 201 and isinstance(found, str) and found.isdecimal() else ""


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    """Rows of a list or a batch, without the records that HubSpot does not have. Raises `ProviderError`.

    A 207 has the rest of a batch. Any error in it but a missing record leaves open whether a record exists.
    """
    body = _body(answer)
    rows = body.get("results")
    if answer.status not in (200, 207) or not isinstance(rows, list):
        raise error_for(answer, read=True)
    others = [one for one in _listed(body.get("errors")) if _category(one) != "OBJECT_NOT_FOUND"]
    if others or (answer.status == 207 and not isinstance(body.get("errors"), list)):
        raise Unavailable("HubSpot could not read some records", code=Code.SERVER_ERROR, status=answer.status)
    return _listed(rows)


def _body(answer: Answer) -> Mapping[str, Any]:
    return answer.parsed if isinstance(answer.parsed, dict) else {}


def _listed(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _category(body: Mapping[str, Any]) -> str:
    """HubSpot's category of an error; empty for anything else, which could be a text."""
    category = str(body.get("category"))
    return category if CODE.fullmatch(category) else ""

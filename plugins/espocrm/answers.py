"""What EspoCRM answers: which error it is, and which field it is about."""

from __future__ import annotations

import re
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
    Unsupported,
)
from crmgate.provider import Answer

LOCKOUT_SECONDS = 60.0
VALIDATION = re.compile(r"Field validation failure; entityType: \w+, field: (\w+), type: (\w+)\.", re.ASCII)
LINK = re.compile(r"(?:Can't relate .* link: |No foreign record access .*\(Lead:)(\w+)", re.ASCII)
_ASSIGNEE = "the user in ESPOCRM_ASSIGNED_USER_ID does not exist, or the role lacks assignmentPermission or User: read"
# An answer is written as "STATUS MEDIA-TYPE empty|filled: REASON" and meets the first pattern that fits its beginning.
# REASON is EspoCRM's header X-Status-Reason, "none" without one. It can repeat what the visitor typed, so it only
# chooses the row: no word of an answer gets into an error, but names of fields. No class: nobody knows whether the
# record was made. That holds for the 500 of a stopped database and the 502 of a stopped PHP too: both refuse before
# they store anything, but a PHP or a database that dies at work, after it stored the lead, answers with the same.
RULES: tuple[tuple[str, type[ProviderError] | None, Code, str], ...] = (
    (r"400 .*Field validation failure", Rejected, Code.INVALID_VALUE, "EspoCRM refuses the value of a field"),
    (r"401", AuthFailed, Code.BAD_CREDENTIALS,
     "EspoCRM refuses the key: check ESPOCRM_API_KEY, ESPOCRM_SECRET_KEY (HMAC) and that the API user is active"),
    (r"403 .*No edit access", Rejected, Code.NO_PERMISSION, "the role of the API user lacks Lead: edit: all"),
    (r"403 .*link: parent", NotFound, Code.NOT_FOUND, "EspoCRM has no such lead (any more)"),
    (r"403 .*(Assignment failure|assignedUser)", Rejected, Code.INVALID_VALUE, _ASSIGNEE),
    (r"403 .*(Can't relate|No foreign record access)", Rejected, Code.INVALID_VALUE,
     "a record that the lead is to be linked with does not exist or may not be read"),
    (r"403 text/html empty: none", AuthFailed, Code.LOCKED_OUT,
     "too many refused logins from this address: EspoCRM locks every key out for a minute. Check ESPOCRM_API_KEY"),
    (r"403 (application/json|.*: (?!none))", AuthFailed, Code.NO_PERMISSION,
     "the role of the API user forbids it: it needs Lead with create: yes and read: all"),
    (r"403", Unavailable, Code.INVALID_RESPONSE, "something in front of EspoCRM refuses the request"),
    (r"404 .*: Controller ", Unsupported, Code.UNSUPPORTED, "this EspoCRM has no such kind of record"),
    (r"404 .*: (?!none)", NotFound, Code.NOT_FOUND, "EspoCRM has no such record"),
    (r"(3..|404|405)", Unavailable, Code.INVALID_RESPONSE,
     "no EspoCRM answers at this address: check ESPOCRM_URL (redirects are not followed)"),
    (r"409", Duplicate, Code.DUPLICATE, "EspoCRM reports a conflict with a lead that it does not show"),
    (r"429", RateLimited, Code.RATE_LIMITED, "too many requests for something in front of EspoCRM"),
    (r"4..", Rejected, Code.INVALID_REQUEST, "EspoCRM refuses the request"),
    (r"503 .*maintenance mode", Unavailable, Code.MAINTENANCE, "EspoCRM is in maintenance mode"),
    (r"500 application/json", None, Code.SERVER_ERROR, "EspoCRM failed at this request"),
    (r"500 text/html empty", None, Code.SERVER_ERROR, "the database of EspoCRM is down, or PHP failed"),
    (r"502", None, Code.SERVER_ERROR, "PHP does not run behind the web server of EspoCRM, or failed"),
    (r"5..", None, Code.SERVER_ERROR, "an error inside EspoCRM or in front of it"),
    (r"", None, Code.INVALID_RESPONSE, "the answer is not EspoCRM's: check ESPOCRM_URL"),
)  # fmt: skip


def was_made(answer: Answer) -> bool:
    match answer.status, answer.parsed:
        case 200, {"id": str(made)} if made:
            return True
    return False


def rows_with_id(rows: Any) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict) and row.get("id")] if isinstance(rows, list) else []


def flaws_in(reason: str) -> dict[str, str]:
    """The field that EspoCRM refuses, by the name that it was sent under. It names no more than one."""
    if flaw := VALIDATION.match(reason):
        return {flaw[1]: flaw[2]}
    if link := LINK.match(reason):
        return {f"{link[1]}Id": "link"}
    return {"assignedUserId": "assignment"} if reason.startswith("Assignment failure") else {}


def unsearchable(answer: Answer) -> bool:
    """Whether a filter named a field that does not exist or that the role hides."""
    return answer.status == 400 and "attribute" in reason_of(answer)


def reason_of(answer: Answer) -> str:
    return answer.headers.get("X-Status-Reason", "none")

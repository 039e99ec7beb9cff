"""Answers of EspoCRM: the error that an answer means, and the field that a refusal names."""

from __future__ import annotations

import re
from typing import Any

from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    Forbidden,
    NotFound,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.provider import Answer, lost

LOCKOUT_SECONDS = 60.0
VALIDATION = re.compile(r"Field validation failure; entityType: \w+, field: (\w+), type: (\w+)\.", re.ASCII)
LINK = re.compile(r"(?:Can't relate .* link: |No foreign record access .*\(Lead:)(\w+)", re.ASCII)
_LOGS = "the files in data/logs on EspoCRM's server say more"
_ASSIGNEE = "the user in ESPOCRM_ASSIGNED_USER_ID does not exist, or the role lacks assignmentPermission or User: read"
# Each rule is matched against "STATUS MEDIA-TYPE empty|filled: REASON"; the first match applies. REASON is the header
# X-Status-Reason ("none" without one). It can repeat what the visitor typed, so it only selects the rule: an error
# contains names of fields but no other word of an answer. The exception is `Forbidden`: an administrator's script gives
# its reason, in which crmgate masks the visitor's data. "No create access." and "No read access." concern the role. All
# other reasons of a 403 concern one record, also "No 'read' access.": that record belongs to another user.
# A rule without an error class means an unknown outcome, also for the 500 of a stopped database and the 502 of a
# stopped PHP. Both refuse requests before they store anything, but a PHP or a database that crashes after it stored the
# lead sends the same answer.
RULES: tuple[tuple[str, type[ProviderError] | None, Code, str], ...] = (
    (r"400 .*Field validation failure", Rejected, Code.INVALID_VALUE, "EspoCRM refuses the value of a field"),
    (r"401", AuthFailed, Code.BAD_CREDENTIALS,
     "EspoCRM refuses the key: check ESPOCRM_API_KEY, ESPOCRM_SECRET_KEY (HMAC) and that the API user is active"),
    (r"403 .*: No (create|read) access\.\Z", AuthFailed, Code.NO_PERMISSION,
     "the role of the API user forbids it: it needs Lead with create: yes and read: all"),
    (r"403 .*: No edit access", Forbidden, Code.FORBIDDEN,
     "the role of the API user lacks Lead: edit: all, or does not allow it for this lead"),
    (r"403 .*: No 'read' access", Forbidden, Code.FORBIDDEN, "the role of the API user lacks Lead: read: all"),
    (r"403 .*link: parent", NotFound, Code.NOT_FOUND, "EspoCRM does not have the lead"),
    (r"403 .*(Assignment failure|assignedUser)", Rejected, Code.INVALID_VALUE, _ASSIGNEE),
    (r"403 .*(Can't relate|No foreign record access)", Rejected, Code.INVALID_VALUE,
     "the lead refers to a record that does not exist or that the role may not read"),
    # A lockout says nothing about this key: another client at the same address may have used wrong ones.
    (r"403 text/html empty: none", RateLimited, Code.LOCKED_OUT,
     "EspoCRM refuses every login from this address for a minute, because too many failed. If this repeats, look for"
     " the client with the wrong key"),
    (r"403 .*: (?!none\Z).", Forbidden, Code.FORBIDDEN, f"EspoCRM, or a script in it, refuses this record; {_LOGS}"),
    (r"403 (application/json|.*: \Z)", AuthFailed, Code.NO_PERMISSION,
     "the role of the API user forbids it: it needs Lead with create: yes and read: all"),
    (r"403", Unavailable, Code.INVALID_RESPONSE, "something in front of EspoCRM refuses the request"),
    (r"404 .*: Controller ", Unsupported, Code.UNSUPPORTED, "this EspoCRM has no such kind of record"),
    (r"404 .*: (?!none)", NotFound, Code.NOT_FOUND, "EspoCRM has no such record"),
    (r"(3..|404|405)", Unavailable, Code.INVALID_RESPONSE,
     "no EspoCRM answers at this address: check ESPOCRM_URL (redirects are not followed)"),
    (r"409", Duplicate, Code.DUPLICATE, "EspoCRM reports a conflict with a record that it does not show"),
    (r"429", RateLimited, Code.RATE_LIMITED, "too many requests for something in front of EspoCRM"),
    (r"4..", Rejected, Code.INVALID_REQUEST, f"EspoCRM, or a script in it, refuses the request; {_LOGS}"),
    (r"503 .*maintenance mode", Unavailable, Code.MAINTENANCE, "EspoCRM is in maintenance mode"),
    (r"500 application/json", None, Code.SERVER_ERROR, f"EspoCRM, or a script in it, failed at this request; {_LOGS}"),
    (r"500 text/html empty", None, Code.SERVER_ERROR, f"the database of EspoCRM is down, or PHP failed; {_LOGS}"),
    (r"502", None, Code.SERVER_ERROR, "PHP does not run behind the web server of EspoCRM, or failed"),
    (r"5..", None, Code.SERVER_ERROR, f"an error inside EspoCRM or in front of it; {_LOGS}"),
    (r"", None, Code.INVALID_RESPONSE, "the answer is not EspoCRM's: check ESPOCRM_URL"),
)  # fmt: skip


def error_for(answer: Answer, *, read: bool) -> ProviderError:
    """The error that an unexpected answer means. `read`: the request changed nothing."""
    reason, filled = reason_of(answer), "filled" if answer.body else "empty"
    subject = f"{answer.status} {answer.content_type} {filled}: {reason}"
    kind, code, detail = next(rule[1:] for rule in RULES if re.match(rule[0], subject))
    if kind is None:
        return lost(read, code, detail, answer.status)
    if kind is Rejected:
        flaws = flaws_in(reason)
        named = ", ".join(f"{field} ({flaw})" for field, flaw in flaws.items())
        return Rejected(f"{detail}: {named}" if named else detail, fields=flaws, code=code, status=answer.status)
    if kind is Forbidden:
        detail = f"{detail}: {reason}"
    wait = LOCKOUT_SECONDS if code is Code.LOCKED_OUT else answer.retry_after
    return kind(detail, code=code, status=answer.status, retry_after=wait)


def was_created(answer: Answer) -> bool:
    """Whether the answer confirms a new record."""
    match answer.status, answer.parsed:
        case 200, {"id": str(made)} if made:
            return True
    return False


def rows_with_id(rows: Any) -> list[dict[str, Any]]:
    """The rows that are objects with an id."""
    return [row for row in rows if isinstance(row, dict) and row.get("id")] if isinstance(rows, list) else []


def flaws_in(reason: str) -> dict[str, str]:
    """The refused field by the name under which it was sent; EspoCRM names at most one."""
    if flaw := VALIDATION.match(reason):
        return {flaw[1]: flaw[2]}
    if link := LINK.match(reason):
        return {f"{link[1]}Id": "link"}
    return {"assignedUserId": "assignment"} if reason.startswith("Assignment failure") else {}


def unsearchable(answer: Answer) -> bool:
    """Whether a filter named a field that does not exist or that the role hides."""
    return answer.status == 400 and "attribute" in reason_of(answer)


def reason_of(answer: Answer) -> str:
    """The header X-Status-Reason, or "none"."""
    raw = answer.headers.get("X-Status-Reason", "none")
    try:
        return raw.encode("latin-1").decode()  # EspoCRM sends UTF-8, and HTTP clients read headers as Latin-1
    except UnicodeError:
        return raw

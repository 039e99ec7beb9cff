"""Errors of Bitrix24: what a code or a text means, and the fields that a text names."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

from crmgate.errors import (
    AuthFailed,
    Code,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)

from .values import MULTIFIELDS, spelt_old

CLOUD = re.compile(r"[a-z0-9-]+\.(bitrix24\.[a-z]+(?:\.[a-z]{2})?)")
RENEW = "put the address of a working inbound webhook into BITRIX_WEBHOOK_URL"
RIGHTS = (
    "give the webhook of BITRIX_WEBHOOK_URL the permission CRM, and its user the right to read, add and change leads"
)
ADMIN = "only a CRM administrator may add user fields: let one make a webhook and put it into BITRIX_WEBHOOK_URL"
BROKEN = (OutcomeUnknown, Code.SERVER_ERROR, "the portal failed while it processed the request")
ERRORS: Mapping[str, tuple[type[ProviderError], Code, str]] = {
    "query_limit_exceeded": (RateLimited, Code.RATE_LIMITED, "too many requests"),
    "operation_time_limit": (RateLimited, Code.RATE_LIMITED, "the method has used up its operating time"),
    # A manual block of the portal: like refused credentials, it fails each request until a person has it lifted.
    "overload_limit": (AuthFailed, Code.LOCKED_OUT, "Bitrix24 has blocked REST for this portal: ask its support"),
    "internal_server_error": BROKEN,
    "error_unexpected_answer": BROKEN,
    "no_auth_found": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "invalid_credentials": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "expired_token": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "portal_deleted": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "insufficient_scope": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "user_access_error": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "access_denied": (AuthFailed, Code.NO_PERMISSION, f"{RIGHTS}; REST needs a commercial plan"),
    "access denied": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "invalid_request": (Unsupported, Code.INVALID_REQUEST, "the portal takes https only: change BITRIX_WEBHOOK_URL"),
    "error_method_not_found": (Unsupported, Code.UNSUPPORTED, "the portal lacks this method: CRM 25.0.0 is needed"),
    "error_batch_method_not_allowed": (Unsupported, Code.UNSUPPORTED, "the method is not allowed in a batch"),
    "error_batch_length_exceeded": (Unsupported, Code.UNSUPPORTED, "the batch is too long"),
    "crm_field_error_value_not_valid": (Rejected, Code.INVALID_VALUE, "the portal refuses a value"),
    "crm_field_error_required": (Rejected, Code.INVALID_VALUE, "the portal requires a value that is missing"),
    "invalid_arg_value": (Rejected, Code.INVALID_REQUEST, "the portal refuses an argument"),
    "100": (Rejected, Code.INVALID_REQUEST, "the portal refuses the form of the request"),
    "not_found": (NotFound, Code.NOT_FOUND, "the portal has no such record, or no leads at all"),
    "not found": (NotFound, Code.NOT_FOUND, "the portal has no such record"),
    "owner_not_found": (NotFound, Code.NOT_FOUND, "the lead does not exist"),
}
"""Vendor code in lower case: error class, code of crmgate, detail. `OutcomeUnknown` applies to writes only.

The old methods send no code; then the text of their error is looked up here.
"""


@dataclass(frozen=True, slots=True)
class BitrixFailure:
    """What an error answer means. `retry_after` is in seconds."""

    kind: type[ProviderError]
    code: Code
    words: str
    vendor_code: str
    retry_after: float | None = None


def failure_in(body: Mapping[str, Any], status: int, *, read: bool) -> BitrixFailure:
    """The meaning of an answer that has an `error`. `read`: the request changed nothing."""
    code = "" if body["error"] in (0, "0", None) else str(body["error"])
    key = code.lower() or description(body).strip(" .\n").lower()
    kind, ours, words = ERRORS.get(key) or unlisted(status)
    if read and kind is OutcomeUnknown:
        kind = Unavailable
    # An unlisted code can be any text, also one that the visitor typed.
    shown = code if code.lower() in ERRORS or re.fullmatch(r"[A-Z0-9_]{1,64}", code) else ""
    wait = patience(body) if code.lower() == "operation_time_limit" else None
    return BitrixFailure(kind, ours, words, shown, wait)


def unlisted(status: int) -> tuple[type[ProviderError], Code, str]:
    """The meaning of an error without a listed code, by the status of the answer."""
    if status >= 500:
        return BROKEN
    if status in (401, 403):
        return AuthFailed, Code.NO_PERMISSION, RIGHTS
    return Rejected, Code.INVALID_REQUEST, "the portal refuses the request"


def description(body: Mapping[str, Any]) -> str:
    """Text of an error without markup. It can repeat what a visitor typed, so it never leaves this plugin."""
    return re.sub(r"<[^<>]*>", "", unescape(str(body.get("error_description"))[:1000]))


def quoted(body: Mapping[str, Any]) -> list[str]:
    """Quoted parts of the text of an error."""
    return re.findall(r"""["'«{\[(]([^"'«»{}\[\]()]+)["'»}\])]""", description(body))


def named_fields(body: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Fields that an error names, in the spelling of either API; each by the name under which it was sent."""
    sent = {spelt_old(name): name for name in (*params.get("fields", {}), *MULTIFIELDS)}
    named = (sent.get(spelt_old(name), name) for name in quoted(body))
    return [name for name in named if name in sent.values() or re.fullmatch(r"UF_CRM_[A-Z0-9_]+", name)]


def patience(body: Mapping[str, Any]) -> float:
    """Seconds until a method has operating time again, by the portal's clock if the answer has its time.

    Operating time is counted over ten minutes, so a block never lasts longer.
    """
    match body.get("time"):
        case {"operating_reset_at": int() | float() as reset, **rest}:
            now = rest.get("finish")
            return min(max(reset - (now if isinstance(now, int | float) else time.time()), 0.0), 600.0)
    return 600.0


def renamed(old: str, new: str) -> bool:
    """Whether both hosts are portals of the same cloud domain: a rename changes the first label only."""
    domains = [CLOUD.fullmatch(host) for host in (old, new)]
    return all(domains) and len({domain[1] for domain in domains if domain}) == 1

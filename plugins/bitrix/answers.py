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
    Forbidden,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)

from .values import MULTIFIELDS, spelt_old

OPERATING_WINDOW = 600.0
"""Seconds over which the operating time of a method is counted: a block lasts no longer."""
CLOUD = re.compile(r"[a-z0-9-]+\.(bitrix24\.[a-z]+(?:\.[a-z]{2})?)")
RENEW = "put the address of a working inbound webhook into BITRIX_WEBHOOK_URL"
RIGHTS = (
    "give the webhook of BITRIX_WEBHOOK_URL the permission CRM, and its user the right to read, add and change leads"
    " (with BITRIX_TARGET=deal: deals and contacts)"
)
ADMIN = "only a CRM administrator may add user fields: let one make a webhook and put it into BITRIX_WEBHOOK_URL"
SUBSCRIPTION = "the portal allows REST only with a subscription: in the cloud, book Bitrix24 Market"
LOCKED = (Forbidden, Code.FORBIDDEN, "the user of the webhook may not read or change this record")
OF_ONE_RECORD = re.compile(r"crm\.(?:timeline\.comment\.(?:add|list)|(?:item|lead)\.(?:get|update))")
"""Methods about one record: access denied by them concerns this record, not the webhook."""
BROKEN = (OutcomeUnknown, Code.SERVER_ERROR, "the portal failed while it processed the request")
NO_CODE = (
    "the portal refuses the request without a code: if this happens to every lead, see whether its disk quota is used"
    " up and its plan includes leads"
)
REFUSES = "the portal refuses the request"
Meaning = tuple[type[ProviderError], Code, str]
ERRORS: Mapping[str, Meaning] = {
    "query_limit_exceeded": (RateLimited, Code.RATE_LIMITED, "too many requests"),
    "operation_time_limit": (RateLimited, Code.RATE_LIMITED, "the method has used up its operating time"),
    # A manual block of the portal: like refused credentials, it fails each request until a person has it lifted.
    "overload_limit": (AuthFailed, Code.LOCKED_OUT, "Bitrix24 has blocked REST for this portal: ask its support"),
    "internal_server_error": BROKEN,
    "error_unexpected_answer": BROKEN,
    "wrong_encoding": BROKEN,  # sent after the write
    "error_core": BROKEN,
    "no_auth_found": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "invalid_credentials": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "expired_token": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "portal_deleted": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "insufficient_scope": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "user_access_error": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "allowed_only_intranet_user": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "access_denied": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "access denied": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "crm_item_add_access_denied": (AuthFailed, Code.NO_PERMISSION, RIGHTS),
    "crm_item_update_access_denied": LOCKED,
    "payment_required": (AuthFailed, Code.NO_PERMISSION, SUBSCRIPTION),
    "rest is available only by subscription": (AuthFailed, Code.NO_PERMISSION, SUBSCRIPTION),
    "authorization_error": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
    "user is not found or is not active": (AuthFailed, Code.BAD_CREDENTIALS, RENEW),
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
    "lead is not found": (NotFound, Code.NOT_FOUND, "the portal has no such record"),
    "owner_not_found": (NotFound, Code.NOT_FOUND, "the record does not exist"),
}
"""Vendor code in lower case: error class, code of crmgate, detail. `OutcomeUnknown` applies to writes only.

The old methods send no code; then the text of their error is looked up here.
"""


@dataclass(frozen=True, slots=True)
class BitrixFailure:
    """What an error answer means. `doubtful`: if the text names a field of the request, the portal refused a value."""

    kind: type[ProviderError]
    code: Code
    words: str
    vendor_code: str
    doubtful: bool = False


def failure_in(body: Mapping[str, Any], status: int, *, read: bool, method: str = "") -> BitrixFailure:
    """The meaning of an answer of `method` that has an `error`. `read`: the request changed nothing."""
    code = "" if body["error"] is None else str(body["error"])
    text = description(body).strip(" .\n").lower()
    doubtful = status < 500 and status != 429 and _is_fault(code.lower(), text, method)
    kind, ours, words = BROKEN if doubtful else _meaning(code.lower(), text, status, method)
    words = NO_CODE if doubtful and not code else words
    if read and kind is OutcomeUnknown:
        kind = Unavailable
    # An unlisted code can be any text, also one that the visitor typed.
    shown = code if code.lower() in ERRORS or re.fullmatch(r"[A-Z0-9_]{1,64}", code) else ""
    return BitrixFailure(kind, ours, words, shown, doubtful and not read)


def _is_fault(code: str, text: str, method: str) -> bool:
    """Whether an error below status 500 can be a fault of the portal, which may have saved the record before.

    The REST layer turns every exception into an error with status 400: its number, `0` and `ERROR_CORE` are codes of
    exceptions. Adding a user field refuses values with ERROR_CORE, and the old methods refuse them without a code.
    """
    if code == "error_core":
        return not method.endswith(".userfield.add")
    if code:
        return code.isdecimal() and code != "100" and not (code == "0" and text in ERRORS)
    return method.startswith("crm.item.") and text not in ERRORS


def _meaning(code: str, text: str, status: int, method: str) -> Meaning:
    if status == 429:
        return ERRORS["query_limit_exceeded"]
    if "available only by subscription" in text:
        return ERRORS["payment_required"]
    key = code if code not in ("", "0") else text
    if key in ("access_denied", "access denied") and OF_ONE_RECORD.fullmatch(method):
        return LOCKED
    if key == "error_core":  # of a method that adds a user field
        return unlisted(400)
    return ERRORS.get(key) or unlisted(status, NO_CODE if not code else REFUSES)


def unlisted(status: int, refusal: str = REFUSES) -> Meaning:
    """The meaning of an error without a listed code, by the status of the answer; `refusal` describes a refusal."""
    if status >= 500:
        return BROKEN
    if status in (401, 403):
        return AuthFailed, Code.NO_PERMISSION, RIGHTS
    return Rejected, Code.INVALID_REQUEST, refusal


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


def operating_reset(times: Any) -> float | None:
    """Seconds until a method has operating time again, from the `time` of an answer; None if it does not say.

    The clock of the portal is used if the answer has its time.
    """
    match times:
        case {"operating_reset_at": int() | float() as reset, **rest}:
            now = rest.get("finish")
            wait = reset - (now if isinstance(now, int | float) else time.time())
            return min(max(wait, 0.0), OPERATING_WINDOW)
    return None


def renamed(old: str, new: str) -> bool:
    """Whether both hosts are portals of the same cloud domain: a rename changes the first label only."""
    domains = [CLOUD.fullmatch(host) for host in (old, new)]
    return all(domains) and len({domain[1] for domain in domains if domain}) == 1

"""All errors of crmgate. The class of a `ProviderError` says what crmgate does next.

| class | next step |
|---|---|
| `Unavailable` | retry later |
| `OutcomeUnknown` | search in the CRM first, then retry (see `crmgate.policy.DeliveryMode`) |
| `OutOfTime` | retry soon: the time of the attempt was over before the request was sent |
| `Rejected`, `Forbidden`, `NotFound`, `Unsupported`, `Duplicate` | dead letter: a person decides about this record |
| `NotFound`, `Forbidden` of an update or an activity | create another lead: this one is gone, or may not be changed |
| `AuthFailed`, `RateLimited` | pause the provider: every other request would fail too |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypedDict, Unpack

__all__ = [
    "AuthFailed",
    "Code",
    "ConfigError",
    "Duplicate",
    "Forbidden",
    "NotFound",
    "OutOfTime",
    "OutcomeUnknown",
    "ProviderError",
    "RateLimited",
    "Rejected",
    "Unavailable",
    "Unsupported",
]
"""The errors that plugins raise and catch; the others are internal to crmgate."""


class Code(StrEnum):
    """Reasons for which a CRM request can fail, independent of the CRM. `vendor_code` has the CRM's own code."""

    CONNECTION_FAILED = "connection_failed"
    TIMEOUT = "timeout"
    OUT_OF_TIME = "out_of_time"
    CONNECTION_DROPPED = "connection_dropped"
    SERVER_ERROR = "server_error"
    MAINTENANCE = "maintenance"
    INVALID_RESPONSE = "invalid_response"
    RATE_LIMITED = "rate_limited"
    INVALID_VALUE = "invalid_value"
    INVALID_REQUEST = "invalid_request"
    DUPLICATE = "duplicate"
    NOT_FOUND = "not_found"
    UNSUPPORTED = "unsupported"
    BAD_CREDENTIALS = "bad_credentials"
    NO_PERMISSION = "no_permission"
    FORBIDDEN = "forbidden"
    LOCKED_OUT = "locked_out"
    PLUGIN_BUG = "plugin_bug"
    OUTCOME_UNKNOWN = "outcome_unknown"


class CrmgateError(Exception):
    """Base class of every error that crmgate raises."""


class ConfigError(CrmgateError):
    """The configuration is invalid. `problems` has one sentence for each invalid setting, with its name."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class PluginError(CrmgateError):
    """A plugin cannot be loaded: its file, the reason and the remedy."""

    def __init__(self, file: str, reason: str, remedy: str) -> None:
        self.file, self.reason, self.remedy = file, reason, remedy
        super().__init__(f"{file}: {reason} {remedy}")


class LedgerUnavailable(CrmgateError):
    """A read or write of the ledger failed. A write may have happened, unless Redis `refused` it."""

    def __init__(self, reason: str = "", *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(reason)


class SpoolUnavailable(CrmgateError):
    """A read or write of the spool failed, or the spool is full. Nothing was written."""


class KeyReused(CrmgateError):
    """An idempotency key was used again with another submission."""


class StillRunning(CrmgateError):
    """An idempotency key was used again while its first request is still running."""


class TooMany(CrmgateError):
    """A submission was not recorded, because it exceeds a rate limit; `wait` is in seconds."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        super().__init__(f"{wait:.3f} s")


class NoSuchOperation(CrmgateError):
    """The ledger has no operation with this id: it never existed, or it expired."""


class OperationEnded(CrmgateError):
    """The operation cannot be changed, because it has ended; `state` says how."""

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(state)


class AttemptUnderWay(CrmgateError):
    """The operation cannot be changed now, because an attempt to deliver it is under way."""


class ChangedMeanwhile(CrmgateError):
    """The operation changed after the editor read it."""


class JobRunning(CrmgateError):
    """A job that retries dead letters is running already; `job` is its id. Only one runs at a time."""

    def __init__(self, job: str) -> None:
        self.job = job
        super().__init__(job)


class UnusableBackup(CrmgateError):
    """A backup cannot be restored; the text is the end of a sentence that begins with the name of its file."""


class LedgerNotEmpty(CrmgateError):
    """A backup is not restored, because the ledger has operations already."""


class NotAccepted(CrmgateError):
    """A submission was neither recorded nor delivered. `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: int = 10) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class Options(TypedDict, total=False):
    """Keyword arguments of every `ProviderError`."""

    code: Code | None
    vendor_code: str
    status: int | None
    retry_after: float | None
    provider: str
    operation: str


class ProviderError(CrmgateError):
    """A request to a CRM failed.

    `detail` is for the operator. It must contain no personal data and no secret, and is cut to 300 characters.
    `retry_after` is in seconds.
    """

    default_code = Code.SERVER_ERROR

    def __init__(
        self,
        detail: str = "",
        *,
        code: Code | None = None,
        vendor_code: str = "",
        status: int | None = None,
        retry_after: float | None = None,
        provider: str = "",
        operation: str = "",
    ) -> None:
        self.detail = detail[:300]
        self.code = code or self.default_code
        self.vendor_code = vendor_code[:100]
        self.status = status
        self.retry_after = retry_after
        self.provider = provider
        self.operation = operation
        super().__init__()  # no args: they would keep the detail before it is cut and redacted

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        where = f"{self.provider}: " if self.provider else ""
        extra = ", ".join(filter(None, (f"HTTP {self.status}" if self.status else "", self.vendor_code)))
        return f"{where}{self.code}{f' ({extra})' if extra else ''}{f': {self.detail}' if self.detail else ''}"


class Unavailable(ProviderError):
    """The CRM is not reachable, or refused the request before any work. A retry is safe."""


class RateLimited(ProviderError):
    """The CRM accepts no more requests for now; nothing was done. Nothing is sent for `retry_after` seconds."""

    default_code = Code.RATE_LIMITED


class OutcomeUnknown(ProviderError):
    """The request was sent and the CRM may have carried it out. Before a retry, crmgate calls `find_lead`.

    With `delivery = "idempotent"` it is sent again without a look-up, with `"at_most_once"` it is a dead letter.
    """

    default_code = Code.TIMEOUT


class Unsettled(OutcomeUnknown):
    """Raised by the gateway: `find_lead` found nothing, but the CRM may still process an earlier request."""


class OutOfTime(ProviderError):
    """A request was not sent, because the time of the attempt was over. This says nothing about the CRM."""

    default_code = Code.OUT_OF_TIME


class Rejected(ProviderError):
    """The CRM refuses the data. `fields` maps names of CRM fields to the reason for their refusal."""

    default_code = Code.INVALID_VALUE

    def __init__(
        self, detail: str = "", *, fields: Mapping[str, str] | None = None, **options: Unpack[Options]
    ) -> None:
        self.fields = dict(fields or {})
        super().__init__(detail, **options)


class Forbidden(ProviderError):
    """The CRM refuses to touch this one record. The credentials, and the rights for other records, are fine.

    After a refused update or activity crmgate creates another lead; after activities only once in a row.
    """

    default_code = Code.FORBIDDEN


class NotFound(ProviderError):
    """The record to change does not exist. After an update or an activity crmgate creates another lead."""

    default_code = Code.NOT_FOUND


class Unsupported(ProviderError):
    """The CRM, or this version of it, does not support the operation."""

    default_code = Code.UNSUPPORTED


class Duplicate(ProviderError):
    """The CRM already has a record of this person. `existing` is its id."""

    default_code = Code.DUPLICATE

    def __init__(self, detail: str = "", *, existing: str = "", **options: Unpack[Options]) -> None:
        self.existing = existing
        super().__init__(detail, **options)


class AuthFailed(ProviderError):
    """The CRM refuses the credentials, or the account lacks a right: every other request would fail too.

    A refusal that concerns one record is `Forbidden`.
    """

    default_code = Code.BAD_CREDENTIALS

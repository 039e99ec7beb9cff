"""The error family, named after what to do next.

| class | next step |
|---|---|
| `Unavailable`, `RateLimited` | try again later |
| `OutcomeUnknown` | look in the CRM first, then try again |
| `Rejected`, `NotFound`, `Unsupported`, `Duplicate` | give up: a person has to decide |
| `AuthFailed` | pause the provider: every other request would fail as well |
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
    "NotFound",
    "OutcomeUnknown",
    "ProviderError",
    "RateLimited",
    "Rejected",
    "Unavailable",
    "Unsupported",
]
"""The errors that plugins raise and catch; the others are internal to crmgate."""


class Code(StrEnum):
    """What went wrong with a CRM request, in a short fixed list; the vendor's own code stands beside it."""

    CONNECTION_FAILED = "connection_failed"
    TIMEOUT = "timeout"
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
    LOCKED_OUT = "locked_out"
    PLUGIN_BUG = "plugin_bug"


class CrmgateError(Exception):
    """Base of every error that crmgate raises."""


class ConfigError(CrmgateError):
    """The configuration cannot work. `problems` holds one sentence a problem, each naming its setting."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class PluginError(CrmgateError):
    """A plugin file cannot be used: which file, why, and what to do."""

    def __init__(self, file: str, reason: str, remedy: str) -> None:
        self.file, self.reason, self.remedy = file, reason, remedy
        super().__init__(f"{file}: {reason} {remedy}")


class LedgerUnavailable(CrmgateError):
    """Redis did not take or give a record. Whether a write arrived is not known, unless Redis `refused` it."""

    def __init__(self, reason: str = "", *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(reason)


class KeyReused(CrmgateError):
    """An idempotency key came a second time, with another submission."""


class StillRunning(CrmgateError):
    """An idempotency key came a second time while its first request is still being answered."""


class NoSuchOperation(CrmgateError):
    """There is no operation with this id, or it is no longer kept."""


class NotKeptAside(CrmgateError):
    """The operation is neither a dead letter nor a suspect (any more); `state` is what it is."""

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(state)


class ChangedMeanwhile(CrmgateError):
    """Something happened to an operation since its editor looked at it."""


class JobRunning(CrmgateError):
    """Only one job retries dead letters at a time; `job` is the id of the one that does."""

    def __init__(self, job: str) -> None:
        self.job = job
        super().__init__(job)


class NotAccepted(CrmgateError):
    """A submission could be neither recorded nor delivered. `retry_after` is in seconds."""

    def __init__(self, reason: str, retry_after: int = 10) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class Options(TypedDict, total=False):
    """What every `ProviderError` takes by keyword."""

    code: Code | None
    vendor_code: str
    status: int | None
    retry_after: float | None
    provider: str
    operation: str


class ProviderError(CrmgateError):
    """A CRM did not do what it was asked.

    `detail` is for the operator and must hold no personal data and no secret; it is cut to 300 characters.
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
        super().__init__()  # no args: they would keep the detail as it was before it was cut and redacted

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        where = f"{self.provider}: " if self.provider else ""
        extra = ", ".join(filter(None, (f"HTTP {self.status}" if self.status else "", self.vendor_code)))
        return f"{where}{self.code}{f' ({extra})' if extra else ''}{f': {self.detail}' if self.detail else ''}"


class Unavailable(ProviderError):
    """The CRM was not reached, or said so before it did anything. Safe to send again."""


class RateLimited(ProviderError):
    """Too many requests. Safe to send again after `retry_after` seconds."""

    default_code = Code.RATE_LIMITED


class OutcomeUnknown(ProviderError):
    """The request went out and may have been carried out: look in the CRM before sending it again."""

    default_code = Code.TIMEOUT


class Unsettled(OutcomeUnknown):
    """Raised by the gateway: nothing was found, but the CRM may still be at work on an earlier request."""


class Rejected(ProviderError):
    """The CRM refuses the data. `fields` maps the CRM's field name to what it says is wrong with it."""

    default_code = Code.INVALID_VALUE

    def __init__(
        self, detail: str = "", *, fields: Mapping[str, str] | None = None, **options: Unpack[Options]
    ) -> None:
        self.fields = dict(fields or {})
        super().__init__(detail, **options)


class NotFound(ProviderError):
    """The record to change does not exist (any more)."""

    default_code = Code.NOT_FOUND


class Unsupported(ProviderError):
    """This CRM, or this version of it, cannot do that."""

    default_code = Code.UNSUPPORTED


class Duplicate(ProviderError):
    """The CRM already knows this person. `existing` is the id of the record found."""

    default_code = Code.DUPLICATE

    def __init__(self, detail: str = "", *, existing: str = "", **options: Unpack[Options]) -> None:
        self.existing = existing
        super().__init__(detail, **options)


class AuthFailed(ProviderError):
    """The CRM refuses the credentials or the rights behind them: no other request would fare better."""

    default_code = Code.BAD_CREDENTIALS

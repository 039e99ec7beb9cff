"""What to do after an attempt. Pure: it reads no clock, and the random numbers are an argument."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    NotFound,
    OutcomeUnknown,
    OutOfTime,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsettled,
)

JITTER = 0.2
"""Share by which a delay is randomly lengthened or shortened, so that waiting operations do not retry all at once."""
MAX_RETRY_AFTER = 15 * 60.0
"""The longest wait in seconds that a CRM can demand with `Retry-After`."""
SETTLE_SECONDS = 10.0
"""Seconds after a request of unknown outcome during which the CRM may still store the record, or not show it yet.

An attempt that does not find the record sends nothing during this time: a CRM without a unique key, such as Bitrix24,
would store it twice. A provider whose search lags longer says so in `settle_seconds`."""
REFUSED_PROBE = 30.0
"""Seconds between two connection tests with refused credentials. EspoCRM locks an address out after 11 in 60 s."""
OUT_OF_TIME_DELAY = 1.0
"""Seconds until the retry of an attempt whose time was over before it sent anything."""
WORKER_SILENCE = 30.0
"""Seconds without a heartbeat after which a worker counts as stopped."""


class DeliveryMode(StrEnum):
    """What a request of unknown outcome leads to at a destination: the attribute `delivery` of a provider."""

    EXACTLY_ONCE = "exactly_once"
    """The destination can be searched: the operation is sent again if `find_lead` finds nothing."""
    IDEMPOTENT = "idempotent"
    """The destination recognizes a repetition by its key, the operation id: the operation is sent again."""
    AT_MOST_ONCE = "at_most_once"
    """Neither: the operation is a dead letter, and only an operator can have it sent again."""

    @property
    def searched(self) -> bool:
        """Whether the destination is searched before an operation of unknown outcome is sent again."""
        match self:
            case DeliveryMode.EXACTLY_ONCE:
                return True
            case DeliveryMode.IDEMPOTENT | DeliveryMode.AT_MOST_ONCE:
                return False
            case _:
                assert_never(self)

    @property
    def repeatable(self) -> bool:
        """Whether an operation of unknown outcome is sent again without the decision of an operator."""
        match self:
            case DeliveryMode.EXACTLY_ONCE | DeliveryMode.IDEMPOTENT:
                return True
            case DeliveryMode.AT_MOST_ONCE:
                return False
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True)
class Done:
    """The CRM confirmed the record."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again in `delay` seconds; `left` more retries follow after that one."""

    delay: float
    left: int


@dataclass(frozen=True, slots=True)
class Dead:
    """The operation becomes a dead letter: a person has to look at it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The operation waits for its provider's gate; the attempt does not count."""


Verdict = Done | Retry | Dead | Hold


def decide(
    error: ProviderError | None, attempts: int, delays: Sequence[float], rng: random.Random, *, asked: bool,
    repeatable: bool = True,
) -> Verdict:  # fmt: skip
    """The verdict on an attempt that ended with `error` (None: delivered).

    `attempts` is the number of attempts that count, this one included, so it is at least 1. `delays` are the seconds to
    wait after the first, second ... of them. `asked` says whether a hook of the provider was called. `Retry-After` is a
    floor (RFC 9110, 10.2.3), capped at `MAX_RETRY_AFTER`. Without `repeatable` only an operator may
    send an operation again whose outcome is unknown.
    """
    same_again = len(delays) - attempts + 1
    match error:
        case None:
            return Done()
        case OutcomeUnknown() if not repeatable:
            return Dead()
        case Unsettled():
            return Retry(error.retry_after or 0.0, left=same_again)
        case OutOfTime() if not asked:
            return Retry(OUT_OF_TIME_DELAY, left=same_again)
        case AuthFailed() | RateLimited():
            return Hold()
        case Unavailable() | OutcomeUnknown() | OutOfTime() if attempts <= len(delays):
            delay = delays[attempts - 1] * rng.uniform(1 - JITTER, 1 + JITTER)
            floor = min(error.retry_after or 0.0, MAX_RETRY_AFTER)
            return Retry(max(delay, floor), left=len(delays) - attempts)
    return Dead()


def counts(error: ProviderError | None, *, asked: bool) -> bool:
    """Whether an attempt uses up one of the operation's retries."""
    if isinstance(error, Unsettled | AuthFailed | RateLimited):
        return False
    return asked or not isinstance(error, OutOfTime)


def is_outage(error: ProviderError | None) -> bool:
    """Whether a failure says that the CRM is unavailable, rather than anything about the operation."""
    if isinstance(error, Unsettled):
        return False
    unanswered = isinstance(error, OutcomeUnknown) and error.code not in (Code.PLUGIN_BUG, Code.OUTCOME_UNKNOWN)
    return isinstance(error, Unavailable) or unanswered


def outcome_unknown(error: ProviderError | None, *, asked: bool) -> bool:
    """Whether the CRM may have stored the record, or may yet store it, although the attempt failed."""
    return asked and isinstance(error, OutcomeUnknown) and not isinstance(error, Unsettled)


def refusal(error: ProviderError, *, asked: bool) -> str:
    """The refusal as `code field`: equal for different operations that the CRM refuses for the same reason.

    If no field is named, the vendor's code replaces it. Empty if the failure can only concern this one record: the
    record is missing, the person is known already, or no hook of the provider was called.
    """
    if isinstance(error, NotFound | Duplicate) or not asked:
        return ""
    return f"{error.code} {refused_fields(error) or error.vendor_code}".strip()


def refused_fields(error: ProviderError) -> str:
    """Names of the CRM fields that were refused, separated by commas; empty if the CRM names none."""
    return ",".join(sorted(error.fields)) if isinstance(error, Rejected) else ""

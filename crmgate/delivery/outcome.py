"""The outcome of an attempt, and its form for the ledger. Pure: no clock, no Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crmgate.errors import (
    AuthFailed,
    Code,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    OutOfTime,
    ProviderError,
    RateLimited,
    Unsettled,
    Unsupported,
)
from crmgate.kinds import traits
from crmgate.model import Connection, Delivered, Event, EventType, Operation
from crmgate.policy import (
    MAX_RETRY_AFTER,
    Dead,
    Verdict,
    counts,
    is_outage,
    outcome_unknown,
    refusal,
    refused_fields,
)
from crmgate.store.entries import Claim, GateEvent, NoClaim, Remake, Result, Written

ALL_DESCRIBED = "the CRM refused the record and named no field: all optional values are in the description"
"""Detail of the event of such a delivery."""
FIELDS = 200
"""Largest number of characters of the names of refused fields that an event keeps."""

DETAIL = 300
"""Largest number of characters of the detail of an event."""
MAY_HAVE_ARRIVED = ". It may have arrived: look for its tracking code there. A retry sends it again."

Reason = NoClaim | Literal[Written.LOST, Written.ENDED, "unrecorded", "batch", ""]
"""Why an attempt has no verdict: it was not made, or its outcome is not recorded.

`batch`: several operations were sent together. The ledger schedules what follows for each of them.
"""


@dataclass(frozen=True, slots=True)
class Following:
    """An operation whose lease was taken in the step that recorded the operation before it.

    Nothing is sent after `deadline`, a time of `time.monotonic`.
    """

    claim: Claim
    deadline: float


@dataclass(frozen=True)
class Outcome:
    """The outcome of an attempt. If `verdict` is None, `reason` says why.

    `following` is the operation that the caller attempts next (`Delivery.follow`).
    """

    verdict: Verdict | None
    reason: Reason = ""
    delivered: Delivered | None = None
    error: ProviderError | None = None
    following: Following | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer of a provider: a confirmation or an error, and the number of requests that were sent.

    `asked`: whether one of its hooks was called. A plugin may have its own transport, whose requests are not counted.
    `repeatable`: false if only an operator may send an operation of unknown outcome again (`AT_MOST_ONCE`).
    """

    delivered: Delivered | None
    error: ProviderError | None
    used: int = 0
    asked: bool = True
    repeatable: bool = True

    @property
    def final(self) -> bool:
        """Whether the operation may have arrived, and is not sent again by itself."""
        return not self.repeatable and isinstance(self.error, OutcomeUnknown)


def result(claim: Claim, provider: str, duration: float, sent: Sent, verdict: Verdict, settle: float) -> Result:
    """The outcome of an attempt that took `duration` seconds, for the ledger.

    `settle`: seconds for which the CRM may be processing a request of unknown outcome.
    """
    error = sent.error
    return Result(
        _event(provider, claim.at, duration, sent),
        sent.used,
        event=gate_event(sent, verdict),
        outage=is_outage(error) and not sent.final,
        floor=error is not None and error.retry_after is not None,
        settle=settle if outcome_unknown(error, asked=sent.asked) else 0.0,
        final=sent.final,
    )


def gate_event(sent: Sent, verdict: Verdict) -> GateEvent | None:
    """The event of the provider's gate after an attempt; None for no event."""
    error = sent.error
    if error is None:
        return GateEvent("delivered")
    if isinstance(error, AuthFailed):
        return GateEvent("login_refused", refusal(error, asked=sent.asked), answered=False)
    if isinstance(error, RateLimited):
        wait = error.retry_after
        return GateEvent("limited", wait=None if wait is None else min(wait, MAX_RETRY_AFTER))
    if is_outage(error):
        return GateEvent("unavailable")
    if not isinstance(verdict, Dead):
        return None
    if sent.final:  # no refusal that other operations could share
        return GateEvent("refusal")
    answered = sent.asked and not isinstance(error, OutOfTime) and error.code != Code.PLUGIN_BUG
    return GateEvent("refusal", refusal(error, asked=sent.asked), answered=answered)


def _event(provider: str, at: float, duration: float, sent: Sent) -> Event:
    error, delivered = sent.error, sent.delivered
    if error is None:
        detail = ALL_DESCRIBED if delivered and delivered.unnamed else ""
        return Event(at, round(duration, 3), provider, EventType.DELIVERED, detail=detail)
    code, detail = (Code.OUTCOME_UNKNOWN, final_detail(error)) if sent.final else (error.code, error.detail)
    return Event(
        at, round(duration, 3), provider, EventType.FAILED,
        code, error.status, error.vendor_code, detail, counts(error, asked=sent.asked),
        refused_fields(error)[:FIELDS],
    )  # fmt: skip


def looks_next(claim: Claim, sent: Sent) -> bool:
    """Whether the CRM has to be searched before the operation is sent again."""
    return claim.look_first or isinstance(sent.error, OutcomeUnknown)


def remakes(operation: Operation, error: ProviderError | None) -> Remake:
    """Whether the operation creates another lead, because the CRM no longer has its lead or refuses to change it.

    Refused activities do so only once in a row: otherwise a CRM that refuses all of them gets a lead for each click.
    The lead of an application is subject to the search for duplicates.
    """
    if not operation.kind.known or not traits(operation.kind).needs_lead:
        return ""
    if isinstance(error, Forbidden):
        return "once" if traits(traits(operation.kind).without_lead).minimal else "always"
    return "always" if isinstance(error, NotFound) else ""


def unsettled(wait: float, provider: str) -> Unsettled:
    """The error of an attempt that found no record; nothing is sent for `wait` seconds."""
    detail = "not found, but the CRM may still store, or not show yet, what an earlier request of unknown outcome sent"
    return Unsettled(detail, code=Code.TIMEOUT, retry_after=wait, provider=provider)


def interrupted(provider: str) -> OutcomeUnknown:
    """The error of an operation whose earlier attempt may have arrived, where it can be neither searched nor repeated.

    Nothing is sent.
    """
    detail = "an earlier attempt ended without a recorded outcome, as when a process is killed"
    return OutcomeUnknown(detail, code=Code.OUTCOME_UNKNOWN, provider=provider)


def final_detail(error: ProviderError) -> str:
    """Detail of the last event of a dead letter that may have arrived, for operators: at most 300 characters."""
    reason = error.detail if error.code is Code.OUTCOME_UNKNOWN else f"{error.code}: {error.detail}"
    return f"{reason[: DETAIL - len(MAY_HAVE_ARRIVED)]}{MAY_HAVE_ARRIVED}"


def out_of_time(provider: str) -> OutOfTime:
    """The error of an attempt whose time was over before the operation was sent."""
    return OutOfTime("the time of the attempt was over before the operation was sent", provider=provider)


def not_configured(operation: Operation) -> Unsupported:
    """The error of an attempt whose record is in a CRM that is no longer configured."""
    detail = (
        f"The record to change is in the CRM {operation.provider!r}, which is no longer configured. Set it up again"
        " and release this dead letter, or discard it."
    )
    return Unsupported(detail, provider=operation.provider, operation=operation.id)


def undecryptable(operation: Operation) -> Unsupported:
    """The error of an attempt whose payload is damaged: the key that it names does not decrypt it."""
    return Unsupported(operation.unreadable, operation=operation.id)


def failed_test(connection: Connection) -> ProviderError | None:
    """The failure of a connection test, for listeners; None if it passed."""
    if connection.connected:
        return None
    failed = [f"{check.name}: {check.detail}" for check in connection.checks if not check.ok]
    kind = AuthFailed if connection.refused else ProviderError
    return kind("; ".join(failed), provider=connection.provider)

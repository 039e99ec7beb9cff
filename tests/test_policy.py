"""The whole table of verdicts, and the meaning of each error for the operation and for the CRM."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    OutOfTime,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsettled,
    Unsupported,
)
from crmgate.policy import (
    JITTER,
    MAX_RETRY_AFTER,
    OUT_OF_TIME_DELAY,
    Dead,
    Done,
    Hold,
    Retry,
    Verdict,
    counts,
    decide,
    is_outage,
    outcome_unknown,
    refusal,
)
from tests.cases import all_cases

DELAYS = (1.0, 5.0, 25.0)
AGAIN = (Unavailable, OutcomeUnknown, OutOfTime)
GIVE_UP = (Rejected, Forbidden, NotFound, Unsupported, Duplicate, ProviderError)
HELD = (AuthFailed, RateLimited)


class Dice(random.Random):
    """Always shows the same face: 0.0 is the shortest delay, 1.0 the longest, 0.5 the one configured."""

    def __init__(self, face: float) -> None:
        super().__init__()
        self.face = face

    def random(self) -> float:
        return self.face


def after(
    error: ProviderError | None, attempts: int = 1, delays: Sequence[float] = DELAYS, face: float = 0.5, *,
    asked: bool = True,
) -> Verdict:  # fmt: skip
    return decide(error, attempts, delays, Dice(face), asked=asked)


@all_cases("attempts", [1, 2, 3, 4, 5])
@all_cases("kind", GIVE_UP)
def test_a_failure_that_no_retry_repairs_makes_a_dead_letter_at_once(kind: type[ProviderError], attempts: int) -> None:
    assert after(kind(retry_after=5), attempts) == Dead()


@all_cases("attempts", [4, 5, 100])
@all_cases("kind", AGAIN)
def test_when_the_retries_are_used_up_it_is_dead(kind: type[ProviderError], attempts: int) -> None:
    assert after(kind(retry_after=5), attempts) == Dead()


@all_cases(("attempts", "delay", "left"), [(1, 1.0, 2), (2, 5.0, 1), (3, 25.0, 0)])
@all_cases("kind", AGAIN)
def test_a_temporary_failure_is_retried_on_schedule(
    kind: type[ProviderError], attempts: int, delay: float, left: int
) -> None:
    assert after(kind(), attempts) == Retry(delay, left)


def test_without_delays_there_are_no_retries() -> None:
    assert after(Unavailable(), delays=()) == Dead()


def test_a_plugin_bug_is_tried_again_because_the_record_may_exist() -> None:
    assert after(OutcomeUnknown(code=Code.PLUGIN_BUG)) == Retry(1.0, 2)


@all_cases("attempts", [1, 4, 1000])
@all_cases("retry_after", [None, 1, 120, math.inf])
@all_cases("kind", HELD)
def test_a_failure_that_every_operation_would_meet_holds_it(
    kind: type[ProviderError], retry_after: float | None, attempts: int
) -> None:
    """However many attempts there were, and whether a request went out: the gate knows until when."""
    assert after(kind(retry_after=retry_after), attempts) == Hold()
    assert after(kind(retry_after=retry_after), attempts, asked=False) == Hold()


@pytest.mark.parametrize(("attempts", "left"), [(1, 3), (2, 2), (4, 0)])
def test_without_time_to_send_it_is_tried_again_soon_and_uses_no_retry(attempts: int, left: int) -> None:
    assert after(OutOfTime(), attempts, asked=False) == Retry(OUT_OF_TIME_DELAY, left)


@pytest.mark.parametrize(("attempts", "left"), [(1, 3), (2, 2), (4, 0)])
def test_what_may_still_appear_in_the_crm_is_waited_for_and_uses_no_retry(attempts: int, left: int) -> None:
    assert after(Unsettled(retry_after=7.0), attempts) == Retry(7.0, left)


def test_a_confirmed_record_is_done() -> None:
    assert after(None) == Done()


@all_cases(
    ("retry_after", "wait"),
    [
        (None, 5.0),
        (0, 5.0),
        (-30, 5.0),
        (4.9, 5.0),
        (5.1, 5.1),
        (60, 60.0),
        (MAX_RETRY_AFTER, MAX_RETRY_AFTER),
        (MAX_RETRY_AFTER + 1, MAX_RETRY_AFTER),
        (1e12, MAX_RETRY_AFTER),
        (math.inf, MAX_RETRY_AFTER),
        (math.nan, 5.0),
    ],
)
@all_cases("kind", AGAIN)
def test_retry_after_is_a_floor_with_a_cap(kind: type[ProviderError], retry_after: float | None, wait: float) -> None:
    assert after(kind(retry_after=retry_after), attempts=2) == Retry(wait, 1)


@pytest.mark.parametrize(("face", "wait"), [(0.0, 20.0), (0.25, 22.5), (0.5, 25.0), (1.0, 30.0)])
def test_jitter_spreads_a_delay_by_a_fifth_either_way(face: float, wait: float) -> None:
    verdict = after(Unavailable(), attempts=3, face=face)
    assert isinstance(verdict, Retry)
    assert verdict.delay == pytest.approx(wait, abs=1e-6)


def test_a_seeded_generator_gives_the_same_spread_within_its_bounds() -> None:
    def spread() -> list[float]:
        rng = random.Random(20260101)
        verdicts = [decide(Unavailable(), 2, DELAYS, rng, asked=True) for _ in range(500)]
        return [verdict.delay for verdict in verdicts if isinstance(verdict, Retry)]

    waits = spread()
    assert waits == spread()
    assert len(set(waits)) > 490
    assert 5 * (1 - JITTER) <= min(waits) < 4.1
    assert 5.9 < max(waits) <= 5 * (1 + JITTER)


def test_a_delay_longer_than_the_cap_is_the_operators_own_choice() -> None:
    assert after(Unavailable(retry_after=60), delays=(3600.0,)) == Retry(3600.0, 0)


@pytest.mark.parametrize(
    ("error", "when_asked", "unasked"),
    [
        (None, True, True),
        (Unavailable(), True, True),
        (OutcomeUnknown(), True, True),
        (Rejected(), True, True),
        (OutOfTime(), True, False),
        (Unsettled(), False, False),
        (AuthFailed(), False, False),
        (RateLimited(), False, False),
    ],
    ids=repr,
)
def test_an_attempt_uses_a_retry_unless_the_crm_or_the_time_is_to_blame(
    error: ProviderError | None, when_asked: bool, unasked: bool
) -> None:
    assert (counts(error, asked=True), counts(error, asked=False)) == (when_asked, unasked)


@all_cases(
    ("error", "outage"),
    [
        (None, False),
        (Unavailable(code=Code.MAINTENANCE), True),
        (OutcomeUnknown(), True),
        (OutcomeUnknown(code=Code.PLUGIN_BUG), False),
        (Unsettled(), False),
        (OutOfTime(), False),
        (RateLimited(), False),
        (AuthFailed(), False),
        (Forbidden(), False),
        (Rejected(), False),
        (ProviderError(), False),
    ],
    ids=repr,
)
def test_which_failures_say_that_the_crm_is_unavailable(error: ProviderError | None, outage: bool) -> None:
    assert is_outage(error) == outage


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (None, False),
        (OutcomeUnknown(), True),
        (OutcomeUnknown(code=Code.PLUGIN_BUG), True),
        (Unsettled(), False),
        (Unavailable(), False),
        (OutOfTime(), False),
        (Rejected(), False),
    ],
    ids=repr,
)
def test_after_which_failures_the_record_may_exist(error: ProviderError | None, unknown: bool) -> None:
    assert outcome_unknown(error, asked=True) == unknown
    assert not outcome_unknown(error, asked=False), "nothing was asked that could have been stored"


@all_cases(
    ("error", "when_asked", "unasked"),
    [
        (Rejected(fields={"phone": "no", "city": "no"}, vendor_code="E1"), "invalid_value city,phone", ""),
        (Rejected(vendor_code="E1"), "invalid_value E1", ""),
        (Rejected(), "invalid_value", ""),
        (Rejected("of one person", code=Code.INVALID_REQUEST), "invalid_request", ""),
        (Forbidden(vendor_code="ACCESS_DENIED"), "forbidden ACCESS_DENIED", ""),
        (AuthFailed(vendor_code="EXPIRED"), "bad_credentials EXPIRED", ""),
        (OutcomeUnknown(code=Code.PLUGIN_BUG), "plugin_bug", ""),
        (NotFound(), "", ""),
        (Duplicate(existing="6b03"), "", ""),
        (Unsupported(), "unsupported", ""),
    ],
    ids=repr,
)
def test_what_operations_have_in_common_that_are_refused_for_the_same_reason(
    error: ProviderError, when_asked: str, unasked: str
) -> None:
    assert (refusal(error, asked=True), refusal(error, asked=False)) == (when_asked, unasked)

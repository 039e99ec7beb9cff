"""The whole table of verdicts: what happens after an attempt."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from crmgate.errors import (
    AuthFailed,
    Code,
    Duplicate,
    NotFound,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Rejected,
    Unavailable,
    Unsupported,
)
from crmgate.policy import JITTER, MAX_RETRY_AFTER, PROBE_INTERVAL, Dead, Done, Pause, Retry, Verdict, decide

NOW = 1_800_000_000.0
DELAYS = (1.0, 5.0, 25.0)
AGAIN = (Unavailable, RateLimited, OutcomeUnknown)
GIVE_UP = (Rejected, NotFound, Unsupported, Duplicate, ProviderError)


class Dice(random.Random):
    """Always shows the same face: 0.0 is the shortest delay, 1.0 the longest, 0.5 the one configured."""

    def __init__(self, face: float) -> None:
        super().__init__()
        self.face = face

    def random(self) -> float:
        return self.face


def after(
    error: ProviderError | None, attempts: int = 1, delays: Sequence[float] = DELAYS, face: float = 0.5
) -> Verdict:
    return decide(error, attempts, delays, NOW, Dice(face))


@pytest.mark.parametrize("attempts", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", GIVE_UP)
def test_what_no_retry_can_mend_is_dead_at_once(kind: type[ProviderError], attempts: int) -> None:
    assert after(kind(retry_after=5), attempts) == Dead()


@pytest.mark.parametrize("attempts", [4, 5, 100])
@pytest.mark.parametrize("kind", AGAIN)
def test_when_the_retries_are_used_up_it_is_dead(kind: type[ProviderError], attempts: int) -> None:
    assert after(kind(retry_after=5), attempts) == Dead()


@pytest.mark.parametrize(("attempts", "delay", "left"), [(1, 1.0, 2), (2, 5.0, 1), (3, 25.0, 0)])
@pytest.mark.parametrize("kind", AGAIN)
def test_what_may_pass_is_tried_again_on_schedule(
    kind: type[ProviderError], attempts: int, delay: float, left: int
) -> None:
    assert after(kind(), attempts) == Retry(NOW + delay, left)


def test_without_delays_there_are_no_retries() -> None:
    assert after(Unavailable(), delays=()) == Dead()


def test_a_plugin_bug_is_tried_again_because_the_record_may_exist() -> None:
    assert after(OutcomeUnknown(code=Code.PLUGIN_BUG)) == Retry(NOW + 1.0, 2)


@pytest.mark.parametrize("attempts", [1, 4, 1000])
def test_refused_credentials_pause_however_many_attempts_there_were(attempts: int) -> None:
    assert after(AuthFailed(), attempts) == Pause(NOW + PROBE_INTERVAL)


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(None, PROBE_INTERVAL), (1, PROBE_INTERVAL), (120, 120), (MAX_RETRY_AFTER + 1, MAX_RETRY_AFTER)],
)
def test_a_locked_out_gateway_waits_as_long_as_the_crm_asks(retry_after: float | None, wait: float) -> None:
    assert after(AuthFailed(code=Code.LOCKED_OUT, retry_after=retry_after)) == Pause(NOW + wait)


def test_a_confirmed_record_is_done() -> None:
    assert after(None) == Done()


@pytest.mark.parametrize(
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
@pytest.mark.parametrize("kind", AGAIN)
def test_retry_after_is_a_floor_with_a_cap(kind: type[ProviderError], retry_after: float | None, wait: float) -> None:
    assert after(kind(retry_after=retry_after), attempts=2) == Retry(NOW + wait, 1)


@pytest.mark.parametrize(("face", "wait"), [(0.0, 20.0), (0.25, 22.5), (0.5, 25.0), (1.0, 30.0)])
def test_jitter_spreads_a_delay_by_a_fifth_either_way(face: float, wait: float) -> None:
    verdict = after(Unavailable(), attempts=3, face=face)
    assert isinstance(verdict, Retry)
    assert verdict.at == pytest.approx(NOW + wait, abs=1e-6)


def test_a_seeded_generator_gives_the_same_spread_within_its_bounds() -> None:
    def spread() -> list[float]:
        rng = random.Random(20260101)
        verdicts = [decide(Unavailable(), 2, DELAYS, NOW, rng) for _ in range(500)]
        return [verdict.at - NOW for verdict in verdicts if isinstance(verdict, Retry)]

    waits = spread()
    assert waits == spread()
    assert len(set(waits)) > 490
    assert 5 * (1 - JITTER) <= min(waits) < 4.1
    assert 5.9 < max(waits) <= 5 * (1 + JITTER)


def test_a_delay_longer_than_the_cap_is_the_operators_own_choice() -> None:
    assert after(Unavailable(retry_after=60), delays=(3600.0,)) == Retry(NOW + 3600.0, 0)

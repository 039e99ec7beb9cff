"""Decides the next step after an attempt. Pure: the time and the random generator are arguments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from crmgate.errors import AuthFailed, Code, OutcomeUnknown, ProviderError, RateLimited, Unavailable, Unsettled

JITTER = 0.2
"""Share by which a delay is randomly lengthened or shortened, so that waiting operations do not retry all at once."""
MAX_RETRY_AFTER = 15 * 60.0
"""Longest `Retry-After` that is respected, in seconds."""
SETTLE_SECONDS = 10.0
"""Seconds after a timed-out request during which nothing is sent again, even if a look-up finds no record: the CRM may
still be processing the request, and a CRM without a unique key, such as Bitrix24, would store the lead twice."""
PROBE_INTERVAL = 30.0
"""Seconds between two attempts with refused credentials. EspoCRM locks an address out after 11 within 60 s."""
WORKER_SILENCE = 30.0
"""Seconds without a heartbeat after which a worker counts as stopped."""


@dataclass(frozen=True, slots=True)
class Done:
    """The CRM confirmed the record."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again at `at` (seconds since the epoch); `left` more retries follow after that one."""

    at: float
    left: int


@dataclass(frozen=True, slots=True)
class Dead:
    """The operation becomes a dead letter: a person has to decide."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing to this provider until `until` (seconds since the epoch). The attempt uses up no retry."""

    until: float


Verdict = Done | Retry | Dead | Pause


def is_outage(error: ProviderError) -> bool:
    """Whether a failure means that the CRM is unavailable, rather than that the operation is at fault."""
    if isinstance(error, Unsettled):
        return False
    return isinstance(error, Unavailable) or (isinstance(error, OutcomeUnknown) and error.code != Code.PLUGIN_BUG)


def decide(
    error: ProviderError | None, attempts: int, delays: Sequence[float], now: float, rng: random.Random
) -> Verdict:
    """Verdict on an attempt that ended with `error` (None: delivered).

    `attempts` is the number of attempts made, including this one. `delays` are the seconds to wait after the first,
    second ... attempt. `now` is in seconds since the epoch. `Retry-After` is a lower bound for the delay (RFC 9110,
    10.2.3), capped at `MAX_RETRY_AFTER`.
    """
    if error is None:
        return Done()
    if isinstance(error, Unsettled):
        return Retry(now + (error.retry_after or 0.0), left=len(delays) - attempts + 1)
    floor = min(error.retry_after or 0.0, MAX_RETRY_AFTER)
    if isinstance(error, AuthFailed):
        return Pause(now + max(PROBE_INTERVAL, floor))
    if not isinstance(error, Unavailable | RateLimited | OutcomeUnknown) or attempts > len(delays):
        return Dead()
    delay = delays[attempts - 1] * rng.uniform(1 - JITTER, 1 + JITTER)
    return Retry(now + max(delay, floor), left=len(delays) - attempts)

"""What to do after an attempt. Pure: the clock and the dice are arguments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from crmgate.errors import AuthFailed, Code, OutcomeUnknown, ProviderError, RateLimited, Unavailable, Unsettled

JITTER = 0.2
"""A delay is spread by up to this share either way, so that a thousand waiting leads do not arrive as one."""
MAX_RETRY_AFTER = 15 * 60.0
"""Seconds. A CRM may ask for patience, not for eternity."""
SETTLE_SECONDS = 10.0
"""After a request that ran into the time limit the CRM may still be at work on it. For so long, one that does not find
the record sends nothing: a CRM without a unique key, such as Bitrix24, would have two."""
PROBE_INTERVAL = 30.0
"""Seconds between two tries with refused credentials. EspoCRM locks an address out after 11 in 60 s."""
WORKER_SILENCE = 30.0
"""Seconds after which a worker that gave no sign of life counts as gone."""


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
    """A person has to look at it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is sent to this provider until `until` (seconds since the epoch); the attempt does not count."""

    until: float


Verdict = Done | Retry | Dead | Pause


def is_outage(error: ProviderError) -> bool:
    """Whether a failure says that the CRM is away, rather than anything about the operation."""
    if isinstance(error, Unsettled):
        return False
    return isinstance(error, Unavailable) or (isinstance(error, OutcomeUnknown) and error.code != Code.PLUGIN_BUG)


def decide(
    error: ProviderError | None, attempts: int, delays: Sequence[float], now: float, rng: random.Random
) -> Verdict:
    """The verdict on an attempt that ended with `error` (None: delivered).

    `attempts` counts the attempts made, this one included, so it is at least 1; `delays` are the seconds to wait after
    the first, second ... of them. `Retry-After` is a floor (RFC 9110, 10.2.3), capped at `MAX_RETRY_AFTER`.
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

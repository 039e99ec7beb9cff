"""Causes of dead letters, figures by hour and the latest events, for the page Now."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

from crmgate.errors import SpoolUnavailable
from crmgate.model import EventType, Operation, State
from crmgate.operators.inventory import Filter, code_of, provider_of
from crmgate.store.spool import SpoolFigures
from crmgate.web.services import services

log = logging.getLogger(__name__)

HOUR = 3600
READ = 1000
"""Number of records that are read for a figure."""


@dataclass(frozen=True, slots=True)
class CauseCount:
    """Dead letters with the same provider, code and field of their last failure; `oldest` is the time of a death."""

    provider: str
    code: str
    field: str
    count: int
    oldest: float
    remedy: str


@dataclass(frozen=True, slots=True)
class HourCount:
    """Operations that were accepted, delivered and that died in the hour that begins `at` (seconds since the epoch)."""

    at: float
    accepted: int
    delivered: int
    dead: int


def causes() -> list[CauseCount]:
    """The causes of the newest dead letters, the largest first."""
    groups: dict[tuple[str, str], list[float]] = {}
    for one in services().inventory.page(Filter(state=State.DEAD), limit=READ, scan=READ).items:
        groups.setdefault((provider_of(one), code_of(one)), []).append(one.dead_at)
    found = [CauseCount(*cause, "", len(times), min(times), "") for cause, times in groups.items()]
    return sorted(found, key=lambda cause: -cause.count)


def spool() -> SpoolFigures:
    """What the spool of this host holds; zeros without a spool."""
    own = services().spool
    try:
        return own.figures() if own and own.on else SpoolFigures()
    except SpoolUnavailable as error:
        log.error("%s", error)
        return SpoolFigures()


def hours(now: float, number: int = 24) -> list[HourCount]:
    """The last `number` hours, the oldest first; the last one is not over."""
    last = int(now // HOUR)
    since = Filter(accepted_from=float((last - number + 1) * HOUR))
    lately = services().inventory.page(since, limit=READ, scan=READ).items
    accepted = Counter(int(one.accepted_at // HOUR) for one in lately)
    delivered = Counter(int(at // HOUR) for one in lately for at in _delivered(one))
    dead = Counter(int(one.dead_at // HOUR) for one in lately if one.dead_at)
    numbers = range(last - number + 1, last + 1)
    return [HourCount(hour * HOUR, accepted[hour], delivered[hour], dead[hour]) for hour in numbers]


def _delivered(operation: Operation) -> list[float]:
    return [event.at for event in operation.events if event.outcome is EventType.DELIVERED]

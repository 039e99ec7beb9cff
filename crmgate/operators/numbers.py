"""Numbers for operators and for marketing: causes of dead letters, figures by hour and by day, the latest events.

The pages, the JSON interface and the command line use this module. No answer contains personal data, and none needs a
scan of the operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta

import redis

from crmgate.operators.remedies import remedy
from crmgate.store.causes import CauseGroup, Causes
from crmgate.store.tallies import HOUR, Dimension, Happening, Tallies, Tally

KEPT_DAYS = 400
"""Number of days for which the figures of a day are kept."""
KEPT_HOURS = 48
"""Number of hours for which the figures of an hour are kept."""


@dataclass(frozen=True, slots=True)
class CauseCount:
    """Dead letters with the same cause: provider, code and field of their last failure.

    `field`: names of CRM fields, separated by commas. `oldest` is the time at which the oldest one became a dead
    letter, in seconds since the epoch. `remedy` says in words what to do. All three texts are empty for the dead
    letters of more causes than are counted, and for those without a failed attempt.
    """

    provider: str
    code: str
    field: str
    count: int
    oldest: float
    remedy: str


@dataclass(frozen=True, slots=True)
class CauseCounts:
    """The causes, the largest first. `dead`: number of dead letters. `indexed`: number of those in `items`.

    After an upgrade the worker needs some seconds to index the dead letters of the version before.
    """

    items: tuple[CauseCount, ...]
    dead: int
    indexed: int


@dataclass(frozen=True, slots=True)
class HourCount:
    """Operations that were accepted, were delivered or became dead letters in the hour from `at` (epoch seconds) on."""

    at: float
    accepted: int
    delivered: int
    dead: int


@dataclass(frozen=True, slots=True)
class Amounts:
    """Numbers of applications (accepted, delivered, dead letters), clicks, and clicks that became applications."""

    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    clicks: int = 0
    applied: int = 0


@dataclass(frozen=True, slots=True)
class DayCount:
    """The figures of one day (UTC) and one value of a dimension. `value` is None for the rest of the values."""

    day: date
    value: str | None
    figures: Amounts


@dataclass(frozen=True, slots=True)
class DayTotal:
    """The figures of one day (UTC)."""

    day: date
    figures: Amounts


@dataclass(frozen=True, slots=True)
class ValueCount:
    """The figures of one value over several days. `value` is None for the rest of the values."""

    value: str | None
    figures: Amounts


class Numbers:
    """Reads the numbers. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float]) -> None:
        """`clock`: the time by Redis's clock, in seconds since the epoch."""
        self._causes, self._tallies, self._clock = Causes(client), Tallies(client), clock

    def today(self) -> date:
        """The current day (UTC), by Redis's clock."""
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def causes(self) -> CauseCounts:
        """The causes of the dead letters, the largest first."""
        groups = self._causes.groups()
        return CauseCounts(tuple(map(_cause, groups.items)), groups.dead, groups.indexed)

    def hours(self, number: int = 24) -> list[HourCount]:
        """The last `number` hours, the oldest first; the last one is not over. At most `KEPT_HOURS`."""
        last = int(self._clock() // HOUR)
        numbers = range(last - min(number, KEPT_HOURS) + 1, last + 1)
        counts = self._tallies.hours(numbers)
        return [HourCount(hour * HOUR, *_three(count)) for hour, count in zip(numbers, counts, strict=True)]

    def days(self, since: date, until: date, dimension: Dimension) -> list[DayCount]:
        """The figures of each day from `since` to `until`, both included, by the values of a dimension.

        The days in their order, the values of a day by their figures, the largest first. A day without an event has no
        row. At most the last `KEPT_DAYS` days before `until`.
        """
        numbers = _numbers(since, until)
        found = self._tallies.days(numbers, dimension)
        return [
            DayCount(_EPOCH + timedelta(days=number), row.value, row.figures)
            for number, values in zip(numbers, found, strict=True)
            for row in _ranked(values)
        ]

    def values(self, since: date, until: date, dimension: Dimension) -> list[ValueCount]:
        """The figures from `since` to `until`, both included, by the values of a dimension, the largest first."""
        return _ranked(self._tallies.values(_numbers(since, until), dimension))

    def totals(self, since: date, until: date) -> list[DayTotal]:
        """The figures of all values for each day from `since` to `until`, both included, also of days without an event.

        Each application has a source, and each click a channel. So the sums over these dimensions are exact.
        """
        numbers = _numbers(since, until)
        sources, channels = (
            self._tallies.totals(numbers, dimension) for dimension in (Dimension.SOURCE, Dimension.CHANNEL)
        )
        return [
            DayTotal(_EPOCH + timedelta(days=number), _figures(Counter(applied) + Counter(clicked)))
            for number, applied, clicked in zip(numbers, sources, channels, strict=True)
        ]

    def totals_of(self, since: date, until: date, dimension: Dimension, value: str) -> list[DayTotal]:
        """The figures of one value for each day from `since` to `until`, both included, also without an event."""
        numbers = _numbers(since, until)
        found = self._tallies.of_value(numbers, dimension, value)
        return [
            DayTotal(_EPOCH + timedelta(days=number), _figures(Counter(counts)))
            for number, counts in zip(numbers, found, strict=True)
        ]

    def latest(self, limit: int = 10) -> list[Happening]:
        """The latest events, newest first: deliveries, dead letters, gates that were shut or opened, ended jobs."""
        return self._tallies.latest(limit)


_EPOCH = date(1970, 1, 1)


def _numbers(since: date, until: date) -> range:
    """Numbers of the days since the epoch; at most the last `KEPT_DAYS`."""
    last = (until - _EPOCH).days
    return range(max((since - _EPOCH).days, last - KEPT_DAYS + 1), last + 1)


def _cause(group: CauseGroup) -> CauseCount:
    cause = group.cause
    what_to_do = remedy(cause.code, cause.field)
    return CauseCount(cause.provider, cause.code, cause.field, group.count, group.oldest, what_to_do)


def _three(counts: dict[str, int]) -> Iterator[int]:
    return (counts.get(name, 0) for name in (Tally.ACCEPTED, Tally.DELIVERED, Tally.DEAD))


def _ranked(values: dict[str, Counter[str]]) -> list[ValueCount]:
    """The values with their figures, the largest first, and the rest as the last one."""
    rows = [ValueCount(value or None, _figures(counts)) for value, counts in values.items()]
    return sorted(rows, key=lambda row: (row.value is None, -_size(row.figures), row.value or ""))


def _figures(counts: Counter[str]) -> Amounts:
    return Amounts(*(counts[field.name] for field in fields(Amounts)))


def _size(figures: Amounts) -> int:
    return figures.accepted + figures.clicks

"""Figures by hour and by day, and the latest events. They contain no personal data.

The scripts of the ledger count in the same step as the change. Hours count all operations. Days count applications and
clicks by the value of each dimension, for the people who ask where applications come from. A value that looks like an
email or a phone number is counted under the rest, and so are the values beyond `VALUES` of a day.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from crmgate.kinds import traits
from crmgate.model import Activity, Kind, Lead
from crmgate.store import keys
from crmgate.store.keys import translated

HOUR, DAY = 3600, 24 * 3600
VALUES = 200
"""Largest number of values of one dimension that are counted on one day, for each event."""
LENGTH = 64
"""Largest number of characters of a value; the rest is cut off."""
EVENTS_KEPT = 200
"""Number of events that are kept, approximately."""

_PHONE = re.compile(r"(?:\+|%2B|0)[\d\s().-]{7,}", re.IGNORECASE)


class Dimension(StrEnum):
    """What the figures of a day are counted by."""

    SOURCE = "source"
    """Source of an application."""
    REFERRAL = "referral"
    """Referral code of an application or a click."""
    CHANNEL = "channel"
    """Messenger channel of a click."""
    UTM_SOURCE = "utm_source"
    UTM_MEDIUM = "utm_medium"
    UTM_CAMPAIGN = "utm_campaign"


class Tally(StrEnum):
    """Events that are counted for each day. A click counts in the last two only."""

    ACCEPTED = "accepted"
    """Applications that were accepted."""
    DELIVERED = "delivered"
    """Applications that the CRM confirmed."""
    DEAD = "dead"
    """Applications that became dead letters."""
    CLICKS = "clicks"
    """Clicks on messenger links."""
    APPLIED = "applied"
    """Visits with a click that an application followed, under the values of the last click."""


class Happened(StrEnum):
    """Kinds of events in the list of the latest ones."""

    DELIVERED = "delivered"
    DEAD = "dead"
    SHUT = "shut"
    """Nothing is sent to the provider from now on; `detail` is the cause."""
    OPENED = "opened"
    """Operations are sent to the provider again; `detail` is the cause that ended."""
    FINISHED = "finished"
    """A job has ended; `detail` is the number of retried dead letters."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One event. `on` is the id of an operation or a job, or the name of a provider.

    `at` is in seconds since the epoch.
    """

    at: float
    what: str
    on: str
    detail: str


def labels(kind: Kind, payload: Mapping[str, Any]) -> str:
    """The values that an operation is counted by: one `dimension|value` per line, the channel of a click first."""
    utm = payload.get("utm") or {}
    if traits(kind).payload is Activity:
        first = Dimension.CHANNEL, payload.get("channel")
    else:
        first = Dimension.SOURCE, payload.get("source", Lead.source)
    counted = (first, (Dimension.REFERRAL, payload.get("referral_code", Lead.referral_code)), *_utm(utm))
    return "\n".join([f"{dimension}|{_value(text)}" for dimension, text in counted if text])


def _utm(utm: Mapping[str, Any]) -> tuple[tuple[Dimension, str | None], ...]:
    return (
        (Dimension.UTM_SOURCE, utm.get("source")), (Dimension.UTM_MEDIUM, utm.get("medium")),
        (Dimension.UTM_CAMPAIGN, utm.get("campaign")),
    )  # fmt: skip


def _value(text: str) -> str:
    """A value as it is counted; empty, which is the rest, if it may be personal data."""
    shown = text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)
    shown = shown[:LENGTH].strip()
    return "" if may_be_personal(shown) else shown


def may_be_personal(text: str) -> bool:
    """Whether a text that should describe a visit may be an email or a phone number instead."""
    return "@" in text or "%40" in text or (text[:1] in "+%0" and _PHONE.fullmatch(text) is not None)


class Tallies:
    """Reads the figures. Every method raises `LedgerUnavailable`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def hours(self, numbers: range) -> list[dict[str, int]]:
        """Events by name for each hour, named by its number since the epoch."""
        found = self._hashes([keys.hour(number) for number in numbers])
        return [{name.decode(): int(count) for name, count in hour.items()} for hour in found]

    def days(self, numbers: range, dimension: Dimension) -> list[dict[str, Counter[str]]]:
        """Events by value for each day, named by its number since the epoch. The value of the rest is empty."""
        found = self._hashes([keys.day(number, dimension) for number in numbers])
        return [_by_value(day) for day in found]

    def values(self, numbers: range, dimension: Dimension) -> dict[str, Counter[str]]:
        """Events by value, of all these days together. Sums before it reads the names: a year has many of them."""
        total: dict[bytes, int] = {}
        for day in self._hashes([keys.day(number, dimension) for number in numbers]):
            for name, count in day.items():
                total[name] = total.get(name, 0) + int(count)
        return _by_value(total)

    def totals(self, numbers: range, dimension: Dimension) -> list[dict[str, int]]:
        """Events of all values together for each day."""
        return [_total(day) for day in self._hashes([keys.day(number, dimension) for number in numbers])]

    def of_value(self, numbers: range, dimension: Dimension, value: str) -> list[dict[str, int]]:
        """Events of one value for each day."""
        names = [f"{event}|{value}" for event in Tally]
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for number in numbers:
                pipe.hmget(keys.day(number, dimension), names)
            found: list[list[bytes | None]] = pipe.execute()
        return [{event: int(count or 0) for event, count in zip(Tally, day, strict=True)} for day in found]

    def latest(self, limit: int) -> list[Happening]:
        """The latest events, newest first; at most `EVENTS_KEPT`."""
        with translated():
            found = self._redis.xrevrange(keys.EVENTS, count=limit)
        return [_happening(stored) for _, stored in found]  # type: ignore[arg-type, union-attr]

    def _hashes(self, names: list[str]) -> list[dict[bytes, bytes]]:
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(name)
            found: list[dict[bytes, bytes]] = pipe.execute()
        return found


def _total(day: Mapping[bytes, bytes]) -> dict[str, int]:
    counts: dict[bytes, int] = {}
    for name, count in day.items():
        event, bar, _ = name.partition(b"|")
        if bar:
            counts[event] = counts.get(event, 0) + int(count)
    return {event.decode(): count for event, count in counts.items()}


def _by_value(day: Mapping[bytes, bytes | int]) -> dict[str, Counter[str]]:
    values: dict[str, Counter[str]] = {}
    for event, value, count in _counts(day):
        values.setdefault(value, Counter())[event] += count
    return values


def _counts(day: Mapping[bytes, bytes | int]) -> Iterator[tuple[str, str, int]]:
    for name, count in day.items():
        event, bar, value = name.decode().partition("|")
        if bar:  # a field without a bar is the number of values of an event
            yield event, value, int(count)


def _happening(stored: Mapping[bytes, bytes]) -> Happening:
    what, on, detail = (stored.get(name, b"").decode() for name in (b"what", b"on", b"detail"))
    return Happening(float(stored.get(b"at", 0)), what, on, detail)

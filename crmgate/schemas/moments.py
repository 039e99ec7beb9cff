"""Reads dates and times in the notations of programs: RFC 3339, SQL, epoch, JavaScript's `Date`, RFC 9110, RFC 5322."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    "(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    "|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?[\s,.]+)?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4}|\d{2})"
_DATES = tuple(re.compile(_WEEKDAY + form, re.ASCII | re.IGNORECASE) for form in (
    r"(?P<year>\d{4})(?P<mark>[-/.])(?P<m>\d{1,2})(?P=mark)(?P<day>\d{1,2})",
    r"(?P<day>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<year>\d{4})",
    r"(?P<first>\d{1,2})(?P<mark>[-/])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4})",
    rf"{_DAY}[\s.-]+(?:of\s+)?{_MONTH}[\s.,-]+{_YEAR}",
    rf"{_MONTH}[\s.]+{_DAY}[\s,]+(?P<year>\d{{4}})",
    r"(?P<year>(?:19|20)\d\d)(?P<m>\d\d)(?P<day>\d\d)",
))  # fmt: skip
_TIME = re.compile(
    r"(?<!\d)(?P<h>\d{1,2}):(?P<min>\d\d)(?::(?P<s>\d\d)(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?:\s?(?P<half>[ap])\.?m\.?(?![a-z]))?"
    r"(?:\s*(?P<utc>utc|gmt|ut|z)(?![a-z]))?(?:\s*(?P<sign>[+-])(?P<zh>\d\d):?(?P<zm>\d\d)?(?!\d))?"
    r"(?:\s*(?:\([^)]*\)|\[[^\]]*\]|[A-Z]{2,5}(?![a-z])))?",
    re.ASCII | re.IGNORECASE,
)
_BESIDE_TIME = re.compile(r"(?<=\d)T\s|\bat\b", re.IGNORECASE)
_COMPACT = re.compile(
    r"((?:19|20)\d\d)(\d\d)(\d\d)T?(\d\d)(\d\d)(\d\d)?((?:[.,]\d+)?)(Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"\d{9,19}(?:\.\d+)?|\d(?:\.\d+)?e\+?\d{1,2}", re.ASCII | re.IGNORECASE)
_DOTNET = re.compile(r"/?Date\((\d{9,16})(?:[+-]\d{4})?\)/?", re.ASCII)
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Read:
    """A date with its time of day. `zone` is None if the text names none."""

    day: date
    clock: time | None = None
    zone: timezone | None = None


def moment(text: str) -> tuple[float, bool] | None:
    """Seconds since the epoch, and whether `text` names the time zone; None if it is not a plausible time.

    Without a zone the time counts as UTC. A date alone is its midnight.
    """
    try:
        when, exact = _iso(text) or _number(text) or _written(text)
    except (TypeError, ValueError, OverflowError):  # no date, or an impossible one
        return None
    return (when.timestamp(), exact) if _EARLIEST <= when < _LATEST else None


def day(text: str) -> date | None:
    """The day that `text` names, None if it names none. Raises `ValueError` for a day that does not exist.

    A time other than midnight is no date of a calendar: its day depends on the zone of its author.
    """
    read = _read(text)
    return read.day if read and read.clock in (None, time()) else None


def _iso(text: str) -> tuple[datetime, bool] | None:
    if text[10:11] not in ("T", "t", " "):
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when, True) if when.tzinfo else (when.replace(tzinfo=UTC), False)


def _number(text: str) -> tuple[datetime, bool] | None:
    match = _DOTNET.fullmatch(text)
    text = match[1] if match else text
    if not _NUMBER.fullmatch(text) or _COMPACT.fullmatch(text):
        return None
    number = float(text)
    # Seconds, or milliseconds, microseconds or nanoseconds: each of them of a time between 1973 and 5138.
    power = next((power for power in (0, 3, 6, 9) if number < 10 ** (11 + power)), 12)
    return datetime.fromtimestamp(number / 10**power, UTC), True


def _written(text: str) -> tuple[datetime, bool]:
    if not (read := _read(text)):
        raise ValueError
    return datetime.combine(read.day, read.clock or time(), read.zone or UTC), read.zone is not None


def _read(text: str) -> Read | None:
    text = _COMPACT.sub(_spaced, text) if _COMPACT.fullmatch(text) else text
    match = _TIME.search(text)
    if match is None:
        found = _day(text, american=False)
        return Read(found) if found else None
    rest = f"{text[: match.start()]} {text[match.end() :]}"
    found = _day(_BESIDE_TIME.sub(" ", rest), american=match["half"] is not None)
    return Read(found, _clock(match), _zone(match)) if found else None


def _spaced(match: re.Match[str]) -> str:
    year, month, number, hour, minute, second, part, zone = match.groups()
    return f"{year}-{month}-{number} {hour}:{minute}:{second or '00'}{part or ''}{zone or ''}"


def _day(text: str, *, american: bool) -> date | None:
    text = text.strip(" \t,.;")
    match = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    if match is None:
        return None
    parts = match.groupdict()
    year = int(parts["year"]) + (2000 if len(parts["year"]) == 2 else 0)
    if parts.get("first"):
        return _slashed(year, int(parts["first"]), int(parts["second"] or 0), american)
    month = parts.get("month")
    number = _MONTHS.index(month[:3].lower()) + 1 if month else int(parts["m"])
    return date(year, number, int(parts["day"]))


def _slashed(year: int, first: int, second: int, american: bool) -> date | None:
    """The day of 31/12/2026 or 12/31/2026; None for 3/4/2026, which can be both, unless it is `american`."""
    if american or (second > 12 >= first):
        return date(year, first, second)
    return date(year, second, first) if first > 12 or first == second else None


def _clock(match: re.Match[str]) -> time:
    hour = int(match["h"])
    if match["half"]:
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)
    return time(hour, int(match["min"]), int(match["s"] or 0), int((match["part"] or "").ljust(6, "0")[:6]))


def _zone(match: re.Match[str]) -> timezone | None:
    if not match["sign"]:
        return UTC if match["utc"] else None
    offset = timedelta(hours=int(match["zh"]), minutes=int(match["zm"] or 0))
    return timezone(offset if match["sign"] == "+" else -offset)
